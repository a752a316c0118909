// Runs a block: its threads are fibers, and warps run one after the other until all wait at a barrier.
#include "block.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "fiber.h"
#include "order.h"
#include "shared.h"
#include "stacks.h"

namespace emulator {

const Index* thread_index;
Index block_index, block_shape, grid_shape;
sigjmp_buf launch_exit;

namespace {

enum class State { new_, ready, at_barrier, at_collective, done };

struct Thread {
  Context context;
  Stack stack;
  Index index;
  State state;
  int line;  // where it waits
  unsigned mask;
  Collective work;
  void* brought;
  CopyQueue copies;
};

struct Warp {
  Thread* lanes[kWarp];
  unsigned size;
};

const Launch* launch;
Thread threads[kMaxThreads];
StackPool stacks;
Thread* current;  // null while the scheduler runs
Context scheduler;
char message[2048];

void thread_main() {
  launch->kernel->run(launch->arguments);
  current->state = State::done;
  context_switch(current->context, scheduler);
  __builtin_unreachable();
}

void wait(State state, int line) {
  current->state = state;
  current->line = line;
  context_switch(current->context, scheduler);
}

void resume(Thread& thread) {
  if (thread.state == State::new_) {
    thread.stack = stacks.take();
    context_create(thread.context, thread.stack.base, thread.stack.bytes, thread_main);
    thread.state = State::ready;
  }
  current = &thread;
  thread_index = &thread.index;
  context_switch(scheduler, thread.context);
  current = nullptr;
  if (thread.state == State::done) stacks.give_back(thread.stack);
}

bool can_run(const Thread& thread) { return thread.state == State::ready || thread.state == State::new_; }

// All live lanes of the mask must wait at the same call; then its work is done and they may go on.
void run_collective(Warp& warp, Thread& first) {
  void* brought[kWarp] = {};
  for (unsigned i = 0; i < warp.size; ++i) {
    Thread& lane = *warp.lanes[i];
    if (!(first.mask >> i & 1) || lane.state == State::done) continue;
    if (lane.state != State::at_collective || lane.line != first.line || lane.mask != first.mask)
      fail("a warp's threads part: thread (%u, %u, %u) waits at line %d with mask %08x, thread (%u, %u, %u) at line %d%s",
           first.index.x, first.index.y, first.index.z, first.line, first.mask, lane.index.x, lane.index.y, lane.index.z, lane.line,
           lane.state == State::at_barrier ? ", a barrier of the block" : "");
    brought[i] = lane.brought;
  }
  if (first.work) first.work(brought);
  for (unsigned i = 0; i < warp.size; ++i)
    if (brought[i]) warp.lanes[i]->state = State::ready;
}

// Until every thread of the warp is done or waits for the block.
void run_warp(Warp& warp) {
  unsigned lanes[kWarp];
  for (;;) {
    arrange(lanes, warp.size);
    for (unsigned i = 0; i < warp.size; ++i)
      if (can_run(*warp.lanes[lanes[i]])) resume(*warp.lanes[lanes[i]]);
    Thread* waiting = nullptr;
    for (unsigned i = 0; i < warp.size && !waiting; ++i)
      if (warp.lanes[i]->state == State::at_collective) waiting = warp.lanes[i];
    if (!waiting) return;
    run_collective(warp, *waiting);
  }
}

// Lets the threads at the block's barrier go on. False: all are done.
bool release_barrier(size_t count) {
  Thread* first = nullptr;
  size_t waiting = 0;
  for (size_t i = 0; i < count; ++i) {
    Thread& thread = threads[i];
    if (thread.state != State::at_barrier) continue;
    if (first && thread.line != first->line)
      fail("a barrier is not reached by all: thread (%u, %u, %u) waits at line %d, thread (%u, %u, %u) at line %d", first->index.x,
           first->index.y, first->index.z, first->line, thread.index.x, thread.index.y, thread.index.z, thread.line);
    if (!first) first = &thread;
    ++waiting;
  }
  for (size_t i = 0; first && i < count; ++i) {
    if (threads[i].state == State::done)  // legal in hardware, undefined in CUDA C++: no kernel here means to do it
      fail("a barrier is not reached by all: %zu of %zu threads wait at line %d, thread (%u, %u, %u) has ended", waiting, count,
           first->line, threads[i].index.x, threads[i].index.y, threads[i].index.z);
    threads[i].state = State::ready;
  }
  return first != nullptr;
}

}  // namespace

void begin_launch(const Launch& next) {
  launch = &next;
  current = nullptr;
  grid_shape = next.grid, block_shape = next.block;
  if (!stacks.reset()) fail("no memory for the stacks of threads");
}

void run_block(Index index) {
  block_index = index;
  size_t count = size_t(block_shape.x) * block_shape.y * block_shape.z;
  Warp warps[kMaxThreads / kWarp];
  unsigned warp_count = (count + kWarp - 1) / kWarp;
  Index at = {0, 0, 0};
  for (size_t i = 0; i < count; ++i) {
    Thread& thread = threads[i];
    thread.index = at;
    thread.state = State::new_;
    thread.copies.forget();
    warps[i / kWarp].lanes[i % kWarp] = &thread;
    warps[i / kWarp].size = i % kWarp + 1;
    if (++at.x == block_shape.x) at.x = 0, ++at.y;
    if (at.y == block_shape.y) at.y = 0, ++at.z;
  }
  shared_begin(launch->dynamic_shared);
  do {
    unsigned places[kMaxThreads / kWarp];
    arrange(places, warp_count);
    for (unsigned i = 0; i < warp_count; ++i) run_warp(warps[places[i]]);
  } while (release_barrier(count));
  shared_end();
}

void block_barrier(int line) { wait(State::at_barrier, line); }

void warp_collective(Collective work, void* brought, unsigned mask, int line) {
  if (!(mask >> (current - threads) % kWarp & 1)) fail("line %d: the thread is not in its own mask %08x", line, mask);
  current->mask = mask, current->work = work, current->brought = brought;
  wait(State::at_collective, line);
}

unsigned live_lanes() {
  Thread* first = threads + (current - threads) / kWarp * kWarp;
  size_t count = size_t(block_shape.x) * block_shape.y * block_shape.z;
  unsigned live = 0;
  for (size_t i = 0; i < kWarp && first + i < threads + count; ++i) live |= unsigned(first[i].state != State::done) << i;
  return live;
}

void copy_begin(void* to, const void* from, int bytes) { current->copies.begin(to, from, bytes, early_copies()); }
void copy_commit() { current->copies.commit(); }
void copy_wait(int pending) { current->copies.wait(pending); }

void fail(const char* format, ...) {
  int n = snprintf(message, sizeof message, "kernel %s, block (%u, %u, %u)", launch->name, block_index.x, block_index.y, block_index.z);
  if (current)
    n += snprintf(message + n, sizeof message - n, ", thread (%u, %u, %u)", current->index.x, current->index.y, current->index.z);
  n += snprintf(message + n, sizeof message - n, ": ");
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(message + n, sizeof message - n, format, arguments);
  va_end(arguments);
  siglongjmp(launch_exit, 1);
}

const char* failure() { return message; }

}  // namespace emulator
