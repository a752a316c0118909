// One block of a launch, and how its threads take turns.
#pragma once
#include <setjmp.h>

#include "internal.h"

namespace emulator {

// The order in which threads, warps and blocks run between barriers, and whether asynchronous copies happen at once or at the wait.
struct Order {
  enum Kind { forward, reverse, shuffled } kind = forward;
  uint64_t seed = 0;
  bool early_copies = false;
};
void set_order(const Order& order);
void arrange(unsigned* places, unsigned n);  // a permutation of 0..n-1

void begin_launch(const Launch& launch);
void run_block(Index index);

extern sigjmp_buf launch_exit;  // where fail() goes
const char* failure();          // its message

}  // namespace emulator
