// One thread runs at a time and gives way at barriers only, so any code without one is atomic.
#pragma once

#define EMULATED_ATOMIC(name, expression)                            \
  template <class T, class V> inline T name(T* address, V operand) { \
    T old = *address, value = operand;                               \
    *address = expression;                                           \
    return old;                                                      \
  }
EMULATED_ATOMIC(atomicAdd, old + value)
EMULATED_ATOMIC(atomicSub, old - value)
EMULATED_ATOMIC(atomicExch, value)
EMULATED_ATOMIC(atomicMax, old > value ? old : value)
EMULATED_ATOMIC(atomicMin, old < value ? old : value)
EMULATED_ATOMIC(atomicAnd, old & value)
EMULATED_ATOMIC(atomicOr, old | value)
EMULATED_ATOMIC(atomicXor, old ^ value)

template <class T, class V> inline T atomicCAS(T* address, V compare, V value) {
  T old = *address;
  if (old == T(compare)) *address = value;
  return old;
}
