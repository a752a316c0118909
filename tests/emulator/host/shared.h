// The shared memory of a block, and the asynchronous copies into it.
#pragma once
#include <vector>

#include "internal.h"

namespace emulator {

constexpr size_t kStaticShared = 48 << 10, kMostShared = 227 << 10;  // bytes a block, of compute capability 9.0

void shared_begin(size_t dynamic_bytes);  // a block begins: all bytes fresh
void shared_end();                        // it has ended: fails if bytes beside an array were overwritten

// The cp.async of one thread.
class CopyQueue {
 public:
  void begin(void* to, const void* from, int bytes, bool at_once);
  void commit();
  void wait(int pending);  // performs what lies before the `pending` youngest groups
  void forget();

 private:
  struct Copy { char* to; const char* from; int bytes; };
  static void perform(const Copy& copy);

  std::vector<Copy> copies_;      // begun and not done, oldest first
  std::vector<unsigned> groups_;  // how many copies each committed group has, oldest first
  unsigned uncommitted_ = 0;
};

}  // namespace emulator
