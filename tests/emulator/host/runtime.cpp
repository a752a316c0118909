// The functions of libcudart.so.13 that TVM's CUDA runtime calls. All work is done before a call returns.
#include <cuda_runtime_api.h>
#include <string.h>
#include <time.h>

#include <map>

#include "objects.h"
#include "shared.h"

using namespace emulator;

namespace {

thread_local cudaError_t last_error = cudaSuccess;

cudaError_t result(cudaError_t code) {
  if (code != cudaSuccess) last_error = code;
  return code;
}

cudaError_t refuse(cudaError_t code, const char* reason) {
  set_error(reason);
  return result(code);
}

cudaError_t not_in_capture() { return refuse(cudaErrorStreamCaptureUnsupported, "not permitted while a stream captures"); }

double now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec * 1e-9;
}

const std::map<int, int> kAttributes = {
    {cudaDevAttrMaxThreadsPerBlock, 1024}, {cudaDevAttrMaxBlockDimX, 1024}, {cudaDevAttrMaxBlockDimY, 1024},
    {cudaDevAttrMaxBlockDimZ, 64}, {cudaDevAttrMaxGridDimX, 0x7FFFFFFF}, {cudaDevAttrMaxGridDimY, 65535},
    {cudaDevAttrMaxGridDimZ, 65535}, {cudaDevAttrMaxSharedMemoryPerBlock, int(kStaticShared)},
    {cudaDevAttrMaxSharedMemoryPerBlockOptin, int(kMostShared)}, {cudaDevAttrMaxSharedMemoryPerMultiprocessor, 228 << 10},
    {cudaDevAttrReservedSharedMemoryPerBlock, 1024}, {cudaDevAttrWarpSize, int(kWarp)}, {cudaDevAttrMaxRegistersPerBlock, 65536},
    {cudaDevAttrMaxRegistersPerMultiprocessor, 65536}, {cudaDevAttrMaxThreadsPerMultiProcessor, 2048},
    {cudaDevAttrMultiProcessorCount, 132}, {cudaDevAttrClockRate, 1980000}, {cudaDevAttrL2CacheSize, 50 << 20},
};

cudaError_t copy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  if (!to_device && !from_device) return refuse(cudaErrorNotSupported, "copy of a kind that is not emulated");
  if (bytes && (holds(to, bytes) != to_device || holds(from, bytes) != from_device))
    return refuse(cudaErrorInvalidValue, "copy past the end of an allocation, or of a kind that the pointers are not");
  switch (submit(stream, [=] { return memmove(to, from, bytes), true; })) {
    case Submitted::done: return cudaSuccess;
    case Submitted::not_in_capture: return result(cudaErrorStreamCaptureImplicit);
    default: return result(cudaErrorIllegalAddress);  // of work before it
  }
}

}  // namespace

extern "C" {

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess: return "cudaSuccess";
    case cudaErrorInvalidValue: return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation: return "cudaErrorMemoryAllocation";
    case cudaErrorIllegalAddress: return "cudaErrorIllegalAddress";
    case cudaErrorLaunchFailure: return "cudaErrorLaunchFailure";
    case cudaErrorNotSupported: return "cudaErrorNotSupported";
    case cudaErrorStreamCaptureUnsupported: return "cudaErrorStreamCaptureUnsupported";
    case cudaErrorStreamCaptureInvalidated: return "cudaErrorStreamCaptureInvalidated";
    case cudaErrorStreamCaptureImplicit: return "cudaErrorStreamCaptureImplicit";
    default: return "cudaErrorUnknown";
  }
}

const char* cudaGetErrorString(cudaError_t error) { return error == cudaSuccess ? "no error" : error_text().c_str(); }

cudaError_t cudaGetLastError() {
  cudaError_t error = last_error;
  last_error = cudaSuccess;
  return error;
}

cudaError_t cudaPeekAtLastError() { return last_error; }

// Devices

cudaError_t cudaGetDeviceCount(int* count) { return *count = 1, cudaSuccess; }
cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : refuse(cudaErrorInvalidDevice, "there is device 0 only"); }

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  if (device != 0) return cudaSetDevice(device);
  if (attribute == cudaDevAttrComputeCapabilityMajor) return *value = device_arch() / 10, cudaSuccess;
  if (attribute == cudaDevAttrComputeCapabilityMinor) return *value = device_arch() % 10, cudaSuccess;
  auto found = kAttributes.find(attribute);
  if (found == kAttributes.end()) return refuse(cudaErrorInvalidValue, "device attribute that is not emulated");
  *value = found->second;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int device) {
  if (device != 0) return cudaSetDevice(device);
  *p = {};
  strcpy(p->name, "emulated device");
  p->totalGlobalMem = memory_total();
  p->sharedMemPerBlock = kStaticShared;
  p->sharedMemPerBlockOptin = kMostShared;
  p->regsPerBlock = 65536;
  p->warpSize = kWarp;
  p->maxThreadsPerBlock = 1024;
  p->major = device_arch() / 10, p->minor = device_arch() % 10;
  p->multiProcessorCount = kAttributes.at(cudaDevAttrMultiProcessorCount);
  p->unifiedAddressing = 1;
  return cudaSuccess;
}

// Memory

cudaError_t cudaMemGetInfo(size_t* available, size_t* total) {
  *available = memory_free(), *total = memory_total();
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** pointer, size_t bytes) {
  if (!outside_of_capture()) return not_in_capture();
  *pointer = bytes ? allocate(bytes) : nullptr;
  return *pointer || !bytes ? cudaSuccess : refuse(cudaErrorMemoryAllocation, "out of memory");
}

cudaError_t cudaFree(void* pointer) {
  if (!outside_of_capture()) return not_in_capture();
  return !pointer || release(pointer) ? cudaSuccess : result(cudaErrorIllegalAddress);
}

cudaError_t cudaMallocHost(void** pointer, size_t bytes) {
  return posix_memalign(pointer, 256, bytes) == 0 ? cudaSuccess : refuse(cudaErrorMemoryAllocation, "out of host memory");
}

cudaError_t cudaFreeHost(void* pointer) { return free(pointer), cudaSuccess; }

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  return copy(to, from, bytes, kind, stream);
}

cudaError_t cudaMemcpyPeerAsync(void* to, int, const void* from, int, size_t bytes, cudaStream_t stream) {
  return copy(to, from, bytes, cudaMemcpyDeviceToDevice, stream);
}

// Streams and events

cudaError_t cudaStreamCreate(cudaStream_t* stream) { return *stream = new CUstream_st, cudaSuccess; }
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) { return cudaStreamCreate(stream); }
cudaError_t cudaStreamDestroy(cudaStream_t stream) { return delete stream, cudaSuccess; }
cudaError_t cudaStreamSynchronize(cudaStream_t) { return outside_of_capture() ? cudaSuccess : not_in_capture(); }
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) { return cudaSuccess; }

cudaError_t cudaEventCreate(cudaEvent_t* event) { return *event = new CUevent_st, cudaSuccess; }
cudaError_t cudaEventDestroy(cudaEvent_t event) { return delete event, cudaSuccess; }
cudaError_t cudaEventSynchronize(cudaEvent_t) { return outside_of_capture() ? cudaSuccess : not_in_capture(); }

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  if (stream && stream->captured) return cudaSuccess;  // orders work within the graph, which is in order anyway
  event->seconds = now();
  return cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  if (start->seconds < 0 || end->seconds < 0) return refuse(cudaErrorInvalidResourceHandle, "an event that was not recorded");
  *milliseconds = float((end->seconds - start->seconds) * 1e3);
  return cudaSuccess;
}

// Graphs

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  if (!stream || capturing) return refuse(cudaErrorStreamCaptureUnsupported, "capture of the default stream, or of two at once");
  stream->captured = new CUgraph_st;
  stream->invalidated = false;
  capturing = stream;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  if (!stream || !stream->captured) return refuse(cudaErrorIllegalState, "the stream does not capture");
  *graph = stream->captured;
  stream->captured = nullptr;
  capturing = nullptr;
  if (!stream->invalidated) return cudaSuccess;
  delete *graph;
  *graph = nullptr;
  return refuse(cudaErrorStreamCaptureInvalidated, "something happened while the stream captured that a capture forbids");
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  *executable = new CUgraphExec_st{graph->work};
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  for (const Work& work : executable->work) {
    Submitted how = submit(stream, work);
    if (how != Submitted::done) return result(how == Submitted::failed ? cudaErrorLaunchFailure : cudaErrorStreamCaptureImplicit);
  }
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) { return delete graph, cudaSuccess; }
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) { return delete executable, cudaSuccess; }
}
