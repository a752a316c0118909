// What the parts of the emulated driver know of each other.
#pragma once
#include <string>

#include "emulator.h"

namespace emulator {

// Memory that nobody wrote: NaN in every float format, -1 as an integer. Guards beside what may be written: NaN too, but told apart.
constexpr unsigned char kFresh = 0xFF;
void fill_guard(char* from, char* to);
bool guard_intact(const char* from, const char* to);

struct Launch {
  const char* name;
  const Kernel* kernel;
  void* const* arguments;
  Index grid, block;
  size_t dynamic_shared;
};

// Runs all blocks; where that fails, the reason is the error text.
bool run_grid(const Launch& launch);

// memory.cpp: device memory
void* allocate(size_t bytes);               // null if the device has not that much left
bool release(void* pointer);                // false if it is no allocation
bool holds(const void* pointer, size_t bytes);  // whether an allocation has all of it
std::string describe(const void* pointer);  // where an address lies, for messages
bool guards_intact();                       // of all allocations, and of those freed since; false once for what was overwritten
size_t memory_total();
size_t memory_free();

// The reason of the last failure of this library, for the functions that give error texts and for tests.
void set_error(const std::string& text);
const std::string& error_text();

}  // namespace emulator
