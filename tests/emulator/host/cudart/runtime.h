// How functions of the runtime return errors.
#pragma once
#include <cuda_runtime_api.h>

#include "../objects.h"

using namespace emulator;

inline thread_local cudaError_t last_error = cudaSuccess;

inline cudaError_t result(cudaError_t code) {
  if (code != cudaSuccess) last_error = code;
  return code;
}

inline cudaError_t refuse(cudaError_t code, const char* reason) {
  set_error(reason);
  return result(code);
}

inline cudaError_t not_in_capture() { return refuse(cudaErrorStreamCaptureUnsupported, "not permitted while a stream captures"); }
