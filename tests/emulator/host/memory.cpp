// Device memory: pages of the host's between pages that fault, and guard bytes where a page is not full.
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <algorithm>
#include <map>
#include <mutex>

#include "internal.h"

namespace emulator {

namespace {

constexpr size_t kPage = 4096, kAlignment = 256, kDefaultTotal = size_t(8) << 30;

// One page that faults, some pages with the data at their end, guard bytes on both sides of it, one page that faults.
struct Allocation {
  size_t bytes;
  char* map;
  size_t map_bytes;
};

std::recursive_mutex mutex;
std::map<char*, Allocation> allocations;  // by the address of the data
size_t used;
std::string error, overwritten;  // `overwritten`: found at a free, told at the next opportunity

bool intact(char* data, const Allocation& a) {
  return guard_intact(data - kAlignment, data) && guard_intact(data + a.bytes, a.map + a.map_bytes - kPage);
}

void guard(char* data, const Allocation& a) {
  fill_guard(data - kAlignment, data);
  fill_guard(data + a.bytes, a.map + a.map_bytes - kPage);
}

std::string size_text(const Allocation& a) { return "an allocation of " + std::to_string(a.bytes) + " bytes"; }

}  // namespace

constexpr unsigned char kGuardBytes[2] = {0xFE, 0xFF};

void fill_guard(char* from, char* to) {
  for (; from < to; ++from) *from = kGuardBytes[reinterpret_cast<uintptr_t>(from) & 1];
}

bool guard_intact(const char* from, const char* to) {
  return std::all_of(from, to, [](const char& c) { return (unsigned char)c == kGuardBytes[reinterpret_cast<uintptr_t>(&c) & 1]; });
}

size_t memory_total() {
  const char* wanted = getenv("TGRAPH_EMULATOR_MEMORY");
  return wanted ? strtoull(wanted, nullptr, 10) : kDefaultTotal;
}

size_t memory_free() { return memory_total() - std::min(memory_total(), used); }

void* allocate(size_t bytes) {
  std::lock_guard<std::recursive_mutex> lock(mutex);
  if (bytes > memory_free()) return nullptr;
  size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  size_t pages = (kAlignment + rounded + kPage - 1) / kPage * kPage;  // at least kAlignment guard bytes in front
  Allocation a = {bytes, nullptr, pages + 2 * kPage};
  a.map = static_cast<char*>(mmap(nullptr, a.map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  if (a.map == MAP_FAILED) return nullptr;
  mprotect(a.map, kPage, PROT_NONE);
  mprotect(a.map + kPage + pages, kPage, PROT_NONE);
  char* data = a.map + kPage + pages - rounded;
  memset(data, kFresh, bytes);
  guard(data, a);
  allocations[data] = a;
  used += bytes;
  return data;
}

bool release(void* pointer) {
  std::lock_guard<std::recursive_mutex> lock(mutex);
  auto found = allocations.find(static_cast<char*>(pointer));
  if (found == allocations.end()) {
    set_error("cudaFree of a pointer that is no allocation");
    return false;
  }
  if (!intact(found->first, found->second)) overwritten = "something wrote beside " + size_text(found->second) + ", seen when that was freed";
  munmap(found->second.map, found->second.map_bytes);
  used -= found->second.bytes;
  allocations.erase(found);
  return true;
}

bool holds(const void* pointer, size_t bytes) {
  std::lock_guard<std::recursive_mutex> lock(mutex);
  auto at = static_cast<const char*>(pointer);
  auto after = allocations.upper_bound(const_cast<char*>(at));
  if (after == allocations.begin()) return false;
  auto& [data, a] = *std::prev(after);
  return at + bytes <= data + a.bytes;
}

std::string describe(const void* pointer) {
  std::lock_guard<std::recursive_mutex> lock(mutex);
  auto at = static_cast<const char*>(pointer);
  for (auto& [data, a] : allocations) {
    if (at < a.map || at >= a.map + a.map_bytes) continue;
    if (at < data) return std::to_string(data - at) + " bytes before " + size_text(a);
    if (at >= data + a.bytes) return std::to_string(at - data - a.bytes) + " bytes behind the end of " + size_text(a);
    return "byte " + std::to_string(at - data) + " of " + size_text(a);
  }
  return "in no allocation of device memory";
}

bool guards_intact() {
  std::lock_guard<std::recursive_mutex> lock(mutex);
  for (auto& [data, a] : allocations) {
    if (intact(data, a)) continue;
    overwritten = "something wrote beside " + size_text(a);
    guard(data, a);
  }
  if (overwritten.empty()) return true;
  set_error(overwritten);
  overwritten.clear();
  return false;
}

void set_error(const std::string& text) { error = text; }
const std::string& error_text() { return error; }

}  // namespace emulator
