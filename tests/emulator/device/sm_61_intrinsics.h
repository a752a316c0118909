// Dot products of four bytes.
#pragma once

template <class Byte> inline int emulated_dot4(unsigned a, unsigned b, int sum) {
  for (int i = 0; i < 32; i += 8) sum += int(Byte(a >> i)) * int(Byte(b >> i));
  return sum;
}
inline int __dp4a(int a, int b, int c) { return emulated_dot4<signed char>(a, b, c); }
inline unsigned __dp4a(unsigned a, unsigned b, unsigned c) { return emulated_dot4<unsigned char>(a, b, c); }
