// Included before every CUDA source: the words of CUDA C++ in terms of the emulator. C++17.
#pragma once
#define TGRAPH_EMULATED 1
#define __CUDA_ARCH__ 900  // generated sources ask for these; they shall take the branches that nvcc takes
#define __CUDACC_VER_MAJOR__ 13
#define __CUDACC_VER_MINOR__ 0

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "../host/emulator.h"

// Declarations

#define __global__ __attribute__((visibility("default")))
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __maxnreg__(...)
#define __grid_constant__
#define __align__(n) alignas(n)
#define __restrict__  // threads of a block do see what others wrote, after a barrier

// Shared arrays: compiler.py rewrites their declarations to these, as C++ has no such storage class.
#define EMULATED_SHARED(type, name, size) \
  type* name = static_cast<type*>(::emulator::shared_array(__LINE__, sizeof(type) * (size), 128))
#define EMULATED_DYNAMIC_SHARED(type, name) type* name = static_cast<type*>(::emulator::dynamic_shared())

// Kernels: compiler.py adds one of these for each, so that the host can call it with an array of arguments.
namespace emulator {
template <size_t... i> struct Places {};

template <class... T> struct Caller {
  static constexpr size_t sizes[sizeof...(T) + 1] = {sizeof(T)...};
  template <size_t... i> static void call(void (*kernel)(T...), void* const* arguments, Places<i...>) {
    kernel(*static_cast<T*>(arguments[i])...);
  }
  static void call(void (*kernel)(T...), void* const* arguments) { call(kernel, arguments, Places<__integer_pack(sizeof...(T))...>()); }
};

template <class... T> Caller<T...> caller_of(void (*)(T...)) { return {}; }
}  // namespace emulator

#define EMULATED_KERNEL(name, max_threads, arch)                                                                    \
  extern "C" __attribute__((visibility("default"))) const ::emulator::Kernel kernel_of_##name = {                   \
      [](void* const* arguments) { decltype(::emulator::caller_of(&name))::call(&name, arguments); },               \
      decltype(::emulator::caller_of(&name))::sizes, sizeof(decltype(::emulator::caller_of(&name))::sizes) / sizeof(size_t) - 1, \
      max_threads, arch};

// Where a thread is

#define threadIdx (*::emulator::thread_index)
#define blockIdx (::emulator::block_index)
#define blockDim (::emulator::block_shape)
#define gridDim (::emulator::grid_shape)
constexpr int warpSize = ::emulator::kWarp;

#include "vector_types.h"
#include "math_functions.h"
#include "warp.h"
#include "atomics.h"
#include "tensor_core.h"
