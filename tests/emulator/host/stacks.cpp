#include "stacks.h"

#include <sys/mman.h>

namespace emulator {

namespace {
constexpr size_t kPage = 4096, kStack = 128 << 10, kStep = kPage + kStack;  // a page that faults lies below each stack
}

bool StackPool::reset() {
  if (!map_) {
    void* map = mmap(nullptr, kMaxThreads * kStep, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED) return false;
    map_ = static_cast<char*>(map);
    for (size_t i = 0; i < kMaxThreads; ++i) mprotect(map_ + i * kStep, kPage, PROT_NONE);
  }
  // tops at different distances from a multiple of the page, or they would share a few lines of the cache
  for (size_t i = 0; i < kMaxThreads; ++i) free_[i] = {map_ + i * kStep + kPage, kStack - i % 61 * 64};
  count_ = kMaxThreads;
  return true;
}

}  // namespace emulator
