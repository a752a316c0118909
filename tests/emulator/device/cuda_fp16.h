// half: IEEE binary16, to nearest even.
#pragma once
#include "half_functions.h"

struct half {
  _Float16 value;
  half() = default;
  template <class T, class = decltype(_Float16(T()))> half(T x) : value(_Float16(x)) {}
  operator float() const { return value; }
};
using __half = half;

EMULATED_HALF(half, half2)
using __half2 = half2;

inline half2 make_half2(half x, half y) { return {x, y}; }  // TVM's prelude has the one for bf16
inline float __half2float(half a) { return a; }
inline half __float2half(float x) { return x; }
inline half __float2half_rn(float x) { return x; }
inline half __double2half(double x) { return x; }
inline half __int2half_rn(int x) { return x; }
inline half2 __float2half2_rn(float x) { return {half(x), half(x)}; }
inline half2 __floats2half2_rn(float x, float y) { return {half(x), half(y)}; }
inline float2 __half22float2(half2 a) { return {float(a.x), float(a.y)}; }
inline unsigned short __half_as_ushort(half a) { return emulated_bits<unsigned short>(a); }
inline half __ushort_as_half(unsigned short x) { return emulated_bits<half>(x); }
