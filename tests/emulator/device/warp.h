// Barriers, and what the lanes of a warp do together. All lanes of `mask` that live must call, from one line.
#pragma once

inline void __syncthreads(int line = __builtin_LINE()) { ::emulator::block_barrier(line); }
inline void __threadfence_block() {}
inline void __threadfence() {}
inline void __threadfence_system() {}

namespace emulator {

struct Nothing {};

inline void wait_for_lanes(unsigned mask, int line) {
  Nothing nothing;
  warp_collective(nullptr, &nothing, mask, line);
}

template <class T> struct Shuffle {
  T value, result;
  int source;
};

// The value of lane `source`; where that takes no part the result is undefined: bytes 0xFF here.
template <class T> inline T shuffle(unsigned mask, T value, int source, int line) {
  Shuffle<T> mine{value, value, source};
  warp_collective([](void* const* lanes) {
    for (unsigned i = 0; i < kWarp; ++i) {
      auto to = static_cast<Shuffle<T>*>(lanes[i]);
      if (!to) continue;
      if (auto from = static_cast<Shuffle<T>*>(lanes[to->source & 31])) to->result = from->value;
      else __builtin_memset(&to->result, 0xFF, sizeof(T));
    }
  }, &mine, mask, line);
  return mine.result;
}

inline int lane() {
  return (thread_index->x + block_shape.x * (thread_index->y + block_shape.y * thread_index->z)) % kWarp;
}

struct Vote {
  bool is;
  unsigned all;
};

inline unsigned ballot(unsigned mask, bool is, int line) {
  Vote mine{is, 0};
  warp_collective([](void* const* lanes) {
    unsigned all = 0;
    for (unsigned i = 0; i < kWarp; ++i) all |= unsigned(lanes[i] && static_cast<Vote*>(lanes[i])->is) << i;
    for (unsigned i = 0; i < kWarp; ++i)
      if (lanes[i]) static_cast<Vote*>(lanes[i])->all = all;
  }, &mine, mask, line);
  return mine.all;
}

}  // namespace emulator

inline void __syncwarp(unsigned mask = 0xFFFFFFFF, int line = __builtin_LINE()) { ::emulator::wait_for_lanes(mask, line); }
inline unsigned __activemask() { return ::emulator::live_lanes(); }

// Lanes read within groups of `width`; beyond a group's end they keep their own value
template <class T> inline T __shfl_sync(unsigned mask, T value, int source, int width = 32, int line = __builtin_LINE()) {
  return ::emulator::shuffle(mask, value, (::emulator::lane() & -width) | (source & (width - 1)), line);
}
template <class T> inline T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, int line = __builtin_LINE()) {
  int mine = ::emulator::lane(), source = mine ^ bits;
  return ::emulator::shuffle(mask, value, source / width > mine / width ? mine : source, line);
}
template <class T> inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, int line = __builtin_LINE()) {
  int mine = ::emulator::lane(), source = mine - int(delta);
  return ::emulator::shuffle(mask, value, source < (mine & -width) ? mine : source, line);
}
template <class T> inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, int line = __builtin_LINE()) {
  int mine = ::emulator::lane(), source = mine + int(delta);
  return ::emulator::shuffle(mask, value, source > (mine | (width - 1)) ? mine : source, line);
}

inline unsigned __ballot_sync(unsigned mask, int is, int line = __builtin_LINE()) { return ::emulator::ballot(mask, is, line); }
inline int __any_sync(unsigned mask, int is, int line = __builtin_LINE()) { return ::emulator::ballot(mask, is, line) != 0; }
inline int __all_sync(unsigned mask, int is, int line = __builtin_LINE()) { return ::emulator::ballot(mask, !is, line) == 0; }
