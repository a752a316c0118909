// Stacks of fibers.
#pragma once
#include <stddef.h>

namespace emulator {

constexpr size_t kMaxThreads = 1024;  // of a block

struct Stack {
  char* base;
  size_t bytes;
};

class StackPool {
 public:
  bool reset();  // all are free; false: no memory
  Stack take() { return free_[--count_]; }  // the last one given back: it is in the cache
  void give_back(Stack stack) { free_[count_++] = stack; }

 private:
  char* map_ = nullptr;
  Stack free_[kMaxThreads];
  size_t count_ = 0;
};

}  // namespace emulator
