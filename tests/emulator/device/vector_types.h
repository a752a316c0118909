// float2, int4, ... and make_float2, ...; aligned as CUDA aligns them, up to the 16 bytes that one access can have.
#pragma once

#define EMULATED_VECTOR1(T, name, a1) \
  struct alignas(a1) name##1 { T x; }; \
  inline name##1 make_##name##1(T x) { return {x}; }
#define EMULATED_VECTOR2(T, name, a2) \
  struct alignas(a2) name##2 { T x, y; }; \
  inline name##2 make_##name##2(T x, T y) { return {x, y}; }
#define EMULATED_VECTOR3(T, name) \
  struct name##3 { T x, y, z; }; \
  inline name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; }
#define EMULATED_VECTOR4(T, name, a4) \
  struct alignas(a4) name##4 { T x, y, z, w; }; \
  inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
#define EMULATED_VECTORS(T, name, a1, a2, a4) \
  EMULATED_VECTOR1(T, name, a1) EMULATED_VECTOR2(T, name, a2) EMULATED_VECTOR3(T, name) EMULATED_VECTOR4(T, name, a4)

EMULATED_VECTORS(signed char, char, 1, 2, 4)
EMULATED_VECTORS(unsigned char, uchar, 1, 2, 4)
EMULATED_VECTORS(short, short, 2, 4, 8)
EMULATED_VECTORS(unsigned short, ushort, 2, 4, 8)
EMULATED_VECTORS(int, int, 4, 8, 16)
EMULATED_VECTORS(unsigned, uint, 4, 8, 16)
EMULATED_VECTORS(long long, longlong, 8, 16, 16)
EMULATED_VECTORS(unsigned long long, ulonglong, 8, 16, 16)
EMULATED_VECTORS(float, float, 4, 8, 16)
EMULATED_VECTORS(double, double, 8, 16, 16)

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
