// The order in which threads, warps and blocks run between barriers. What depends on it is a race.
#pragma once
#include <stdint.h>

namespace emulator {

struct Order {
  enum Kind { forward, reverse, shuffled } kind = forward;
  uint64_t seed = 0;
  bool early_copies = false;  // asynchronous copies happen at once, not when they are waited for
};

void set_order(const Order& order);
void arrange(unsigned* places, unsigned n);  // a permutation of 0..n-1
bool early_copies();

}  // namespace emulator
