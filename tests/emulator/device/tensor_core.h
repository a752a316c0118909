// The instructions behind tgraph's device functions, as the PTX ISA (9.7.9, 9.7.14, 9.7.15) has them.
#pragma once
#include "cuda_bf16.h"
#include "cuda_fp16.h"

namespace emulator {

// tensor_core.cpp
template <int matrices, bool transposed> void ldmatrix(unsigned* registers, const void* row, int line);
template <class Half> void mma_m16n8k16(float* d, const unsigned* a, const unsigned* b, int line);

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
#define EMULATED_COPY_WAIT(n) inline void tg_cp_async_wait_##n() { ::emulator::copy_wait(n); }
EMULATED_COPY_WAIT(0)
EMULATED_COPY_WAIT(1)
EMULATED_COPY_WAIT(2)
EMULATED_COPY_WAIT(3)
EMULATED_COPY_WAIT(4)
EMULATED_COPY_WAIT(5)
EMULATED_COPY_WAIT(6)
EMULATED_COPY_WAIT(7)

inline float tg_shfl_xor(float value, int mask, int line = __builtin_LINE()) {
  return __shfl_xor_sync(0xFFFFFFFF, value, mask, 32, line);
}

// ex2.approx.ftz
inline float tg_exp2(float x) {
  float y = exp2f(fabsf(x) < FLT_MIN ? 0.0f : x);
  return y < FLT_MIN ? 0.0f : y;
}
