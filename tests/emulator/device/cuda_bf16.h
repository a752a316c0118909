// nv_bfloat16: the upper half of an f32, to nearest even.
#pragma once
#include "half_functions.h"

namespace emulator {

// The f32 next to x towards 0, its last bit set if that is not x: rounding it again gives what rounding x gives.
inline float round_to_odd(double x) {
  float y = float(x);
  if (double(y) == x || y != y) return y;
  unsigned bits = emulated_bits<unsigned>(y);
  if (fabs(double(y)) > fabs(x)) --bits;
  return emulated_bits<float>(bits | 1);
}

inline unsigned short bf16_bits(float x) {
  unsigned bits = emulated_bits<unsigned>(x);
  if (x != x) return 0x7FFF;
  return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
}

inline unsigned short bf16_bits(double x) { return bf16_bits(round_to_odd(x)); }

}  // namespace emulator

struct nv_bfloat16 {
  unsigned short bits;
  nv_bfloat16() = default;
  nv_bfloat16(float x) : bits(::emulator::bf16_bits(x)) {}
  template <class T, class = decltype(double(T()))> nv_bfloat16(T x) : bits(::emulator::bf16_bits(double(x))) {}
  operator float() const { return emulated_bits<float>(unsigned(bits) << 16); }
};
using __nv_bfloat16 = nv_bfloat16;

EMULATED_HALF(nv_bfloat16, nv_bfloat162)
using __nv_bfloat162 = nv_bfloat162;

inline float __bfloat162float(nv_bfloat16 a) { return a; }
inline nv_bfloat16 __float2bfloat16(float x) { return x; }
inline nv_bfloat16 __float2bfloat16_rn(float x) { return x; }
inline nv_bfloat16 __double2bfloat16(double x) { return x; }
inline nv_bfloat162 __floats2bfloat162_rn(float x, float y) { return {nv_bfloat16(x), nv_bfloat16(y)}; }
inline float2 __bfloat1622float2(nv_bfloat162 a) { return {float(a.x), float(a.y)}; }
inline unsigned short __bfloat16_as_ushort(nv_bfloat16 a) { return a.bits; }
inline nv_bfloat16 __ushort_as_bfloat16(unsigned short x) { return emulated_bits<nv_bfloat16>(x); }
