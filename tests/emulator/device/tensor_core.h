// The instructions behind tgraph's device functions, as the PTX ISA (9.7.9, 9.7.14, 9.7.15) has them.
#pragma once
#include "cuda_bf16.h"
#include "cuda_fp16.h"

namespace emulator {

// ldmatrix: lane l brings the address of row l%8 of matrix l/8, and gets elements 2(l%4), 2(l%4)+1 of row l/4 of each.
struct MatrixRows {
  const uint16_t* row;
  unsigned* registers;
};

template <int matrices, bool transposed> inline void ldmatrix(unsigned* registers, const void* row, int line) {
  MatrixRows mine{static_cast<const uint16_t*>(row), registers};
  warp_collective([](void* const* lanes) {
    auto of = [&](int lane) { return static_cast<MatrixRows*>(lanes[lane]); };
    for (int i = 0; i < int(kWarp); ++i)
      if (!of(i)) fail("ldmatrix needs all 32 lanes");
    for (int i = 0; i < 8 * matrices; ++i) {
      if (!in_shared(of(i)->row, 16)) fail("ldmatrix: the address of lane %d, %p, is not in shared memory", i, of(i)->row);
      if (reinterpret_cast<uintptr_t>(of(i)->row) % 16) fail("ldmatrix: the address of lane %d is not aligned to 16 bytes", i);
    }
    for (int lane = 0; lane < int(kWarp); ++lane)
      for (int m = 0; m < matrices; ++m) {
        auto element = [&](int r, int c) -> unsigned { return transposed ? of(8 * m + c)->row[r] : of(8 * m + r)->row[c]; };
        int r = lane / 4, c = lane % 4 * 2;
        of(lane)->registers[m] = element(r, c) | element(r, c + 1) << 16;
      }
  }, &mine, 0xFFFFFFFF, line);
}

// mma.m16n8k16: D[16, 8] += A[16, 16] B[16, 8]. Products and their sums in f64, rounded once to f32.
struct Fragments {
  float* d;
  const unsigned *a, *b;
};

template <class Half> inline void mma_m16n8k16(float* d, const unsigned* a, const unsigned* b, int line) {
  Fragments mine{d, a, b};
  warp_collective([](void* const* lanes) {
    auto of = [&](int lane) { return static_cast<Fragments*>(lanes[lane]); };
    for (int i = 0; i < int(kWarp); ++i)
      if (!of(i)) fail("mma needs all 32 lanes");
    double A[16][16], B[16][8];
    for (int lane = 0; lane < int(kWarp); ++lane) {
      int group = lane / 4, pair = lane % 4 * 2;
      for (int half = 0; half < 2; ++half) {  // the low and the high half of a register
        auto number = [&](unsigned r) { return double(float(emulated_bits<Half>(uint16_t(r >> 16 * half)))); };
        for (int i = 0; i < 4; ++i) A[group + i % 2 * 8][pair + half + i / 2 * 8] = number(of(lane)->a[i]);
        for (int i = 0; i < 2; ++i) B[pair + half + i * 8][group] = number(of(lane)->b[i]);
      }
    }
    for (int lane = 0; lane < int(kWarp); ++lane)
      for (int i = 0; i < 4; ++i) {
        int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
        double sum = of(lane)->d[i];
        for (int k = 0; k < 16; ++k) sum += A[row][k] * B[k][column];
        of(lane)->d[i] = float(sum);
      }
  }, &mine, 0xFFFFFFFF, line);
}

}  // namespace emulator

#define EMULATED_LDMATRIX(name, matrices, transposed)                                          \
  inline void name(unsigned* r, const void* p, int line = __builtin_LINE()) {                  \
    ::emulator::ldmatrix<matrices, transposed>(r, p, line);                                    \
  }
EMULATED_LDMATRIX(tg_ldmatrix_x2, 2, false)
EMULATED_LDMATRIX(tg_ldmatrix_x2_trans, 2, true)
EMULATED_LDMATRIX(tg_ldmatrix_x4, 4, false)
EMULATED_LDMATRIX(tg_ldmatrix_x4_trans, 4, true)

inline void tg_mma_m16n8k16_f16(float* d, const unsigned* a, const unsigned* b, int line = __builtin_LINE()) {
  ::emulator::mma_m16n8k16<half>(d, a, b, line);
}
inline void tg_mma_m16n8k16_bf16(float* d, const unsigned* a, const unsigned* b, int line = __builtin_LINE()) {
  ::emulator::mma_m16n8k16<nv_bfloat16>(d, a, b, line);
}

inline void tg_cp_async_16(void* shared, const void* global, int bytes) { ::emulator::copy_begin(shared, global, bytes); }
inline void tg_cp_async_commit() { ::emulator::copy_commit(); }
inline void tg_cp_async_wait(int pending) { ::emulator::copy_wait(pending); }
inline void tg_cp_async_wait_0() { tg_cp_async_wait(0); }
inline void tg_cp_async_wait_1() { tg_cp_async_wait(1); }
inline void tg_cp_async_wait_2() { tg_cp_async_wait(2); }
inline void tg_cp_async_wait_3() { tg_cp_async_wait(3); }
inline void tg_cp_async_wait_4() { tg_cp_async_wait(4); }
inline void tg_cp_async_wait_5() { tg_cp_async_wait(5); }

inline float tg_shfl_xor(float value, int mask, int line = __builtin_LINE()) {
  return __shfl_xor_sync(0xFFFFFFFF, value, mask, 32, line);
}

// ex2.approx.ftz
inline float tg_exp2(float x) {
  float y = exp2f(fabsf(x) < FLT_MIN ? 0.0f : x);
  return y < FLT_MIN ? 0.0f : y;
}
