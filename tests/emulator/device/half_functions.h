// What both 16-bit floats have: every operation in f32, then rounded once, which is exact for + - * / and sqrt (24 bits are more
// than twice the significand, and two more).
#pragma once

#define EMULATED_HALF_OPERATOR(H, op) inline H operator op(H a, H b) { return H(float(a) op float(b)); } \
  inline H& operator op##=(H& a, H b) { return a = a op b; }
#define EMULATED_HALF_COMPARISON(H, op, word)                              \
  inline bool operator op(H a, H b) { return float(a) op float(b); }       \
  inline bool __h##word(H a, H b) { return float(a) op float(b); }
#define EMULATED_HALF_UNARY(H, name, function) inline H name(H a) { return H(function(float(a))); }

// H: the type. Two: two of them.
#define EMULATED_HALF(H, Two)                                                                                     \
  EMULATED_HALF_OPERATOR(H, +) EMULATED_HALF_OPERATOR(H, -) EMULATED_HALF_OPERATOR(H, *) EMULATED_HALF_OPERATOR(H, /) \
  EMULATED_HALF_COMPARISON(H, >, gt) EMULATED_HALF_COMPARISON(H, <, lt) EMULATED_HALF_COMPARISON(H, >=, ge)       \
  EMULATED_HALF_COMPARISON(H, <=, le) EMULATED_HALF_COMPARISON(H, ==, eq) EMULATED_HALF_COMPARISON(H, !=, ne)     \
  inline H operator-(H a) { return H(-float(a)); }                                                                \
  inline H __hadd(H a, H b) { return a + b; }                                                                     \
  inline H __hsub(H a, H b) { return a - b; }                                                                     \
  inline H __hmul(H a, H b) { return a * b; }                                                                     \
  inline H __hdiv(H a, H b) { return a / b; }                                                                     \
  inline H __hneg(H a) { return -a; }                                                                             \
  inline H __habs(H a) { return H(fabsf(float(a))); }                                                             \
  inline H __hmax(H a, H b) { return H(max(float(a), float(b))); }                                                \
  inline H __hmin(H a, H b) { return H(min(float(a), float(b))); }                                                \
  inline H __hfma(H a, H b, H c) { return H(double(float(a)) * double(float(b)) + double(float(c))); }            \
  inline bool __hisnan(H a) { return float(a) != float(a); }                                                      \
  EMULATED_HALF_UNARY(H, hexp, expf) EMULATED_HALF_UNARY(H, hexp2, exp2f) EMULATED_HALF_UNARY(H, hexp10, exp10f)  \
  EMULATED_HALF_UNARY(H, hlog, logf) EMULATED_HALF_UNARY(H, hlog2, log2f) EMULATED_HALF_UNARY(H, hlog10, log10f)  \
  EMULATED_HALF_UNARY(H, hsin, sinf) EMULATED_HALF_UNARY(H, hcos, cosf) EMULATED_HALF_UNARY(H, htanh, tanhf)      \
  EMULATED_HALF_UNARY(H, hsqrt, sqrtf) EMULATED_HALF_UNARY(H, hrsqrt, rsqrtf) EMULATED_HALF_UNARY(H, hrcp, 1.0f /) \
  EMULATED_HALF_UNARY(H, hfloor, floorf) EMULATED_HALF_UNARY(H, hceil, ceilf) EMULATED_HALF_UNARY(H, htrunc, truncf) \
  EMULATED_HALF_UNARY(H, hrint, rintf)                                                                            \
  struct alignas(4) Two { H x, y; Two() = default; Two(H x, H y) : x(x), y(y) {} };                               \
  inline Two __halves2##Two(H x, H y) { return {x, y}; }                                                          \
  inline H __low2half(Two a) { return a.x; }                                                                      \
  inline H __high2half(Two a) { return a.y; }                                                                     \
  inline Two __hadd2(Two a, Two b) { return {a.x + b.x, a.y + b.y}; }                                             \
  inline Two __hmul2(Two a, Two b) { return {a.x * b.x, a.y * b.y}; }
