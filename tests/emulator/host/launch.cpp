// Runs a grid, block after block, and turns faults of the kernel into errors.
#include <signal.h>

#include <memory>
#include <mutex>
#include <numeric>
#include <vector>

#include "block.h"
#include "order.h"

namespace emulator {

namespace {

constexpr int kSignals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};

void on_fault(int signal, siginfo_t* info, void*) {
  if (signal == SIGFPE) fail("integer division by zero");
  if (signal == SIGILL) fail("illegal instruction");
  fail("illegal address %p, %s", info->si_addr, describe(info->si_addr).c_str());
}

// While it lives, a fault of this OS thread ends the launch. Handlers need a stack of their own: the fiber's may be what overflowed.
class FaultsAreErrors {
 public:
  FaultsAreErrors() : stack_(new char[kStack]) {
    stack_t stack = {};
    stack.ss_sp = stack_.get();
    stack.ss_size = kStack;
    sigaltstack(&stack, &old_stack_);
    struct sigaction action = {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    for (int i = 0; i < 4; ++i) sigaction(kSignals[i], &action, &old_[i]);
  }
  ~FaultsAreErrors() {
    for (int i = 0; i < 4; ++i) sigaction(kSignals[i], &old_[i], nullptr);
    sigaltstack(&old_stack_, nullptr);
  }

 private:
  static constexpr size_t kStack = 64 << 10;
  std::unique_ptr<char[]> stack_;
  stack_t old_stack_;
  struct sigaction old_[4];
};

void run_blocks(Index grid) {
  uint64_t count = uint64_t(grid.x) * grid.y * grid.z;
  std::vector<unsigned> places(count);
  arrange(places.data(), count);
  for (unsigned place : places) run_block({place % grid.x, place / grid.x % grid.y, place / grid.x / grid.y});
}

}  // namespace

bool run_grid(const Launch& launch) {
  static std::mutex one_launch;
  std::lock_guard<std::mutex> lock(one_launch);
  FaultsAreErrors faults;
  if (sigsetjmp(launch_exit, 1)) {
    set_error(failure());
    return false;
  }
  begin_launch(launch);
  run_blocks(launch.grid);
  if (!guards_intact()) {
    set_error(std::string("kernel ") + launch.name + ": " + error_text());
    return false;
  }
  return true;
}

}  // namespace emulator
