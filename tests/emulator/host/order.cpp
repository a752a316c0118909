#include "order.h"

#include <algorithm>
#include <numeric>

namespace emulator {

namespace {

Order order;
uint64_t random_state;

uint64_t random_below(uint64_t n) {  // xorshift64*
  random_state ^= random_state >> 12, random_state ^= random_state << 25, random_state ^= random_state >> 27;
  return (random_state * 0x2545F4914F6CDD1DULL >> 33) % n;
}

}  // namespace

void arrange(unsigned* places, unsigned n) {
  std::iota(places, places + n, 0u);
  if (order.kind == Order::reverse) std::reverse(places, places + n);
  if (order.kind == Order::shuffled)
    for (unsigned i = n; i > 1; --i) std::swap(places[i - 1], places[random_below(i)]);
}

void set_order(const Order& wanted) {
  order = wanted;
  random_state = wanted.seed * 0x9E3779B97F4A7C15ULL + 1;
}

bool early_copies() { return order.early_copies; }

}  // namespace emulator
