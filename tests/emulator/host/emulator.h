// What kernels, compiled for the host, and the emulated device know of each other.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace emulator {

struct Index { unsigned x, y, z; };

constexpr unsigned kWarp = 32;

// Work of a whole warp: gets what each lane brought, null where a lane takes no part.
using Collective = void (*)(void* const* lanes);

// The thread that runs now, and its block.
extern const Index* thread_index;
extern Index block_index, block_shape, grid_shape;

// `line`: where the call stands in the CUDA source. All that wait together must wait at the same line.
void block_barrier(int line);
void warp_collective(Collective work, void* brought, unsigned mask, int line);
unsigned live_lanes();

// Shared memory: the array declared at a line of the source, the same for all threads of the block; and the one of the launch.
void* shared_array(int line, size_t bytes, size_t alignment);
void* dynamic_shared();
bool in_shared(const void* address, size_t bytes);

// cp.async: copies of this thread. They may happen at once or not before they are waited for.
void copy_begin(void* shared, const void* global, int bytes);
void copy_commit();
void copy_wait(int pending);

// Ends the launch with an error that names kernel, block and thread.
[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

// One kernel of a module; a module exports `kernel_of_<name>`.
struct Kernel {
  void (*run)(void* const* arguments);
  const size_t* argument_sizes;
  size_t arguments;
  unsigned max_threads;  // of __launch_bounds__; 0: none given
  int arch;              // compute capability that it was compiled for, 90 for 9.0
};

}  // namespace emulator
