#include "shared.h"

#include <string.h>

#include <algorithm>

namespace emulator {

namespace {

constexpr size_t kGuard = 256;

struct Array { int line; size_t offset, bytes; };

// The launch's array first, then those with a declaration, in the order in which a thread first came by; guards between.
alignas(1024) char memory[kMostShared + kStaticShared + 64 * kGuard];
size_t dynamic_bytes, used, static_bytes;
std::vector<Array> arrays;

void* append(int line, size_t bytes, size_t alignment) {
  size_t offset = (used + alignment - 1) / alignment * alignment;
  if (offset + bytes + kGuard > sizeof memory) fail("line %d: too many shared arrays", line);
  fill_guard(memory + used, memory + offset);
  memset(memory + offset, kFresh, bytes);
  used = offset + bytes + kGuard;
  fill_guard(memory + offset + bytes, memory + used);
  arrays.push_back({line, offset, bytes});
  return memory + offset;
}

}  // namespace

void shared_begin(size_t bytes) {
  arrays.clear();
  used = static_bytes = 0;
  dynamic_bytes = bytes;
  append(0, bytes, 1024);
}

void shared_end() {
  for (size_t i = 0; i < arrays.size(); ++i) {
    const Array& array = arrays[i];
    size_t end = array.offset + array.bytes, next = i + 1 < arrays.size() ? arrays[i + 1].offset : used;
    if (guard_intact(memory + end, memory + next)) continue;
    if (array.line) fail("wrote beside the shared array of line %d, behind its %zu bytes", array.line, array.bytes);
    fail("wrote beside dynamic shared memory, behind its %zu bytes", array.bytes);
  }
}

void* shared_array(int line, size_t bytes, size_t alignment) {
  for (const Array& array : arrays)
    if (array.line == line) return memory + array.offset;
  static_bytes += bytes;
  if (static_bytes > kStaticShared) fail("the shared arrays need %zu bytes, a block has %zu", static_bytes, kStaticShared);
  return append(line, bytes, alignment);
}

void* dynamic_shared() { return memory; }

bool in_shared(const void* address, size_t bytes) {
  auto at = static_cast<const char*>(address);
  return std::any_of(arrays.begin(), arrays.end(), [&](const Array& array) {
    return at >= memory + array.offset && at + bytes <= memory + array.offset + array.bytes;
  });
}

void CopyQueue::perform(const Copy& copy) {
  memcpy(copy.to, copy.from, copy.bytes);
  memset(copy.to + copy.bytes, 0, 16 - copy.bytes);
}

void CopyQueue::begin(void* to, const void* from, int bytes, bool at_once) {
  if (bytes < 0 || bytes > 16) fail("cp.async of %d bytes", bytes);
  if (reinterpret_cast<uintptr_t>(to) % 16 || reinterpret_cast<uintptr_t>(from) % 16)
    fail("cp.async needs addresses aligned to 16 bytes: to %p from %p", to, from);
  if (!in_shared(to, 16)) fail("cp.async to %p, which is not in shared memory", to);
  Copy copy = {static_cast<char*>(to), static_cast<const char*>(from), bytes};
  if (at_once) return perform(copy);
  copies_.push_back(copy);
  ++uncommitted_;
}

void CopyQueue::commit() {
  groups_.push_back(uncommitted_);
  uncommitted_ = 0;
}

void CopyQueue::wait(int pending) {
  while (groups_.size() > size_t(pending)) {
    auto end = copies_.begin() + groups_.front();
    std::for_each(copies_.begin(), end, perform);
    copies_.erase(copies_.begin(), end);
    groups_.erase(groups_.begin());
  }
}

void CopyQueue::forget() { copies_.clear(), groups_.clear(), uncommitted_ = 0; }

}  // namespace emulator
