// What the opaque handles of the CUDA interface point to here.
#pragma once
#include <cuda.h>

#include <functional>
#include <string>
#include <vector>

#include "internal.h"

struct CUmod_st {
  void* library;
};

struct CUfunc_st {
  std::string name;
  const emulator::Kernel* kernel;
  int dynamic_shared;  // what cuFuncSetAttribute allowed
};

using Work = std::function<bool()>;  // false: failed, with an error text

struct CUgraph_st {
  std::vector<Work> work;
};

struct CUgraphExec_st {
  std::vector<Work> work;
};

struct CUstream_st {
  CUgraph_st* captured = nullptr;  // while it captures
  bool invalidated = false;        // something happened that a capture forbids
};

struct CUevent_st {
  double seconds = -1;
};

namespace emulator {

extern CUstream_st* capturing;  // the stream that captures now; one at most

enum class Submitted { done, failed, not_in_capture };

// Does the work, or adds it to the graph if the stream captures. The default stream refuses while another one captures.
Submitted submit(CUstream_st* stream, const Work& work);

// For calls that would wait or allocate: false, and the capture is spoilt, if there is one.
bool outside_of_capture();

int device_arch();  // 90 for compute capability 9.0

}  // namespace emulator
