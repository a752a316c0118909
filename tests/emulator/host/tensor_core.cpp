// What a warp does together on tensor cores, as the PTX ISA (9.7.14) has it. Compiled once, not with every kernel.
#include "../device/emulated.h"

namespace emulator {

// ldmatrix: lane l brings the address of row l%8 of matrix l/8, and gets elements 2(l%4), 2(l%4)+1 of row l/4 of each.
struct MatrixRows {
  const uint16_t* row;
  unsigned* registers;
};

template <int matrices, bool transposed> void ldmatrix(unsigned* registers, const void* row, int line) {
  MatrixRows mine{static_cast<const uint16_t*>(row), registers};
  warp_collective([](void* const* lanes) {
    auto of = [&](int lane) { return static_cast<MatrixRows*>(lanes[lane]); };
    for (int i = 0; i < int(kWarp); ++i)
      if (!of(i)) fail("ldmatrix needs all 32 lanes");
    uint16_t m[matrices][8][8];
    for (int i = 0; i < 8 * matrices; ++i) {
      if (!in_shared(of(i)->row, 16)) fail("ldmatrix: the address of lane %d, %p, is not in shared memory", i, of(i)->row);
      if (reinterpret_cast<uintptr_t>(of(i)->row) % 16) fail("ldmatrix: the address of lane %d is not aligned to 16 bytes", i);
      __builtin_memcpy(m[i / 8][i % 8], of(i)->row, 16);
    }
    for (int lane = 0; lane < int(kWarp); ++lane)
      for (int i = 0; i < matrices; ++i) {
        auto element = [&](int r, int c) -> unsigned { return transposed ? m[i][c][r] : m[i][r][c]; };
        int r = lane / 4, c = lane % 4 * 2;
        of(lane)->registers[i] = element(r, c) | element(r, c + 1) << 16;
      }
  }, &mine, 0xFFFFFFFF, line);
}

// mma.m16n8k16: D[16, 8] += A[16, 16] B[16, 8]. Products and their sums in f64, rounded once to f32.
struct Fragments {
  float* d;
  const unsigned *a, *b;
};

template <class Half> void mma_m16n8k16(float* d, const unsigned* a, const unsigned* b, int line) {
  Fragments mine{d, a, b};
  warp_collective([](void* const* lanes) {
    auto of = [&](int lane) { return static_cast<Fragments*>(lanes[lane]); };
    for (int i = 0; i < int(kWarp); ++i)
      if (!of(i)) fail("mma needs all 32 lanes");
    float A[16][16], B[16][8];
    double D[16][8];
    for (int lane = 0; lane < int(kWarp); ++lane) {
      const Fragments& f = *of(lane);
      int group = lane / 4, pair = lane % 4 * 2;
      for (int half = 0; half < 2; ++half) {  // the low and the high half of a register
        auto number = [&](unsigned r) { return float(emulated_bits<Half>(uint16_t(r >> 16 * half))); };
        for (int i = 0; i < 4; ++i) A[group + i % 2 * 8][pair + half + i / 2 * 8] = number(f.a[i]);
        for (int i = 0; i < 2; ++i) B[pair + half + i * 8][group] = number(f.b[i]);
      }
      for (int i = 0; i < 4; ++i) D[group + i / 2 * 8][pair + i % 2] = f.d[i];
    }
    for (int row = 0; row < 16; ++row)
      for (int k = 0; k < 16; ++k)
        for (int column = 0; column < 8; ++column) D[row][column] += double(A[row][k]) * B[k][column];
    for (int lane = 0; lane < int(kWarp); ++lane)
      for (int i = 0; i < 4; ++i) of(lane)->d[i] = float(D[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2]);
  }, &mine, 0xFFFFFFFF, line);
}

template void ldmatrix<2, false>(unsigned*, const void*, int);
template void ldmatrix<2, true>(unsigned*, const void*, int);
template void ldmatrix<4, false>(unsigned*, const void*, int);
template void ldmatrix<4, true>(unsigned*, const void*, int);
template void mma_m16n8k16<half>(float*, const unsigned*, const unsigned*, int);
template void mma_m16n8k16<nv_bfloat16>(float*, const unsigned*, const unsigned*, int);

}  // namespace emulator
