// Of the functions of libcudart.so.13, those that TVM's CUDA runtime calls: errors, devices, memory.
#include "runtime.h"

#include <string.h>

#include <map>

#include "../shared.h"

namespace {

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
}
