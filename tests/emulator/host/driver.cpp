// The functions of libcuda.so.1 that TVM's CUDA runtime calls.
#include <dlfcn.h>
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "objects.h"
#include "order.h"
#include "shared.h"

namespace emulator {

CUstream_st* capturing;

bool outside_of_capture() {
  if (capturing) capturing->invalidated = true;
  return !capturing;
}

Submitted submit(CUstream_st* stream, const Work& work) {
  if (stream && stream->captured) {
    stream->captured->work.push_back(work);
    return Submitted::done;
  }
  if (!stream && !outside_of_capture()) {
    set_error("work on the default stream while another stream captures");
    return Submitted::not_in_capture;
  }
  return guards_intact() && work() ? Submitted::done : Submitted::failed;
}

int device_arch() {
  const char* wanted = getenv("TGRAPH_EMULATOR_ARCH");
  return wanted ? atoi(wanted) : 90;
}

namespace {

CUresult refuse(CUresult code, const std::string& reason) {
  set_error(reason);
  return code;
}

// An ELF file in memory says where it ends.
size_t elf_size(const void* image) {
  auto header = static_cast<const Elf64_Ehdr*>(image);
  if (memcmp(header->e_ident, ELFMAG, SELFMAG) != 0) return 0;
  size_t end = header->e_shoff + size_t(header->e_shnum) * header->e_shentsize;
  auto sections = reinterpret_cast<const Elf64_Shdr*>(static_cast<const char*>(image) + header->e_shoff);
  for (int i = 0; i < header->e_shnum; ++i)
    if (sections[i].sh_type != SHT_NOBITS) end = std::max<size_t>(end, sections[i].sh_offset + sections[i].sh_size);
  return end;
}

// Arguments are copied where a launch happens later.
struct RecordedLaunch {
  CUfunction function;
  Index grid, block;
  size_t dynamic_shared;
  std::vector<std::vector<char>> values;

  bool operator()() {
    std::vector<void*> arguments;
    for (auto& value : values) arguments.push_back(value.data());
    return run_grid({function->name.c_str(), function->kernel, arguments.data(), grid, block, dynamic_shared});
  }
};

}  // namespace
}  // namespace emulator

using namespace emulator;

extern "C" {

CUresult cuGetErrorName(CUresult error, const char** text) {
  // TVM shows nothing but the name, so it tells the reason too
  static thread_local std::string name;
  name = "CUDA error " + std::to_string(error) + (error == CUDA_SUCCESS ? "" : ": " + error_text());
  *text = name.c_str();
  return CUDA_SUCCESS;
}

CUresult cuGetErrorString(CUresult error, const char** text) { return cuGetErrorName(error, text); }

CUresult cuDeviceGetName(char* name, int length, CUdevice) {
  snprintf(name, length, "emulated device");
  return CUDA_SUCCESS;
}

CUresult cuModuleLoadData(CUmodule* module, const void* image) {
  size_t bytes = elf_size(image);
  if (!bytes) return refuse(CUDA_ERROR_INVALID_IMAGE, "the module is no shared object for the host");
  char path[] = "/tmp/emulated-module-XXXXXX";
  int file = mkstemp(path);
  bool written = file >= 0 && write(file, image, bytes) == ssize_t(bytes);
  if (file >= 0) close(file);
  void* library = written ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : nullptr;
  std::string reason = !written ? "cannot write " + std::string(path) : library ? "" : dlerror();
  unlink(path);
  if (!library) return refuse(CUDA_ERROR_INVALID_IMAGE, reason);
  *module = new CUmod_st{library};
  return CUDA_SUCCESS;
}

CUresult cuModuleUnload(CUmodule module) {
  dlclose(module->library);
  delete module;
  return CUDA_SUCCESS;
}

CUresult cuModuleGetFunction(CUfunction* function, CUmodule module, const char* name) {
  auto kernel = static_cast<const Kernel*>(dlsym(module->library, (std::string("kernel_of_") + name).c_str()));
  if (!kernel) return refuse(CUDA_ERROR_NOT_FOUND, std::string("the module has no kernel ") + name);
  if (kernel->arch > device_arch()) return refuse(CUDA_ERROR_NO_BINARY_FOR_GPU, std::string(name) + " needs a newer device");
  *function = new CUfunc_st{name, kernel, int(kStaticShared)};  // lives as long as the process, as a few hundred bytes may
  return CUDA_SUCCESS;
}

CUresult cuFuncSetAttribute(CUfunction function, CUfunction_attribute attribute, int value) {
  if (attribute != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) return refuse(CUDA_ERROR_NOT_SUPPORTED, "function attribute");
  if (value < 0 || size_t(value) > kMostShared)
    return refuse(CUDA_ERROR_INVALID_VALUE, std::to_string(value) + " bytes of shared memory, a block has at most " + std::to_string(kMostShared));
  function->dynamic_shared = value;
  return CUDA_SUCCESS;
}

CUresult cuLaunchKernelEx(const CUlaunchConfig* config, CUfunction function, void** arguments, void** extra) {
  const CUlaunchConfig& c = *config;
  const Kernel& kernel = *function->kernel;
  std::string head = "launch of " + function->name + ": ";
  for (unsigned i = 0; i < c.numAttrs; ++i)
    if (c.attrs[i].id != CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION)  // which is but a hint, where all is serial
      return refuse(CUDA_ERROR_NOT_SUPPORTED, head + "launch attribute " + std::to_string(c.attrs[i].id));
  uint64_t threads = uint64_t(c.blockDimX) * c.blockDimY * c.blockDimZ;
  if (!c.gridDimX || !c.gridDimY || !c.gridDimZ || !threads) return refuse(CUDA_ERROR_INVALID_VALUE, head + "an empty grid");
  if (c.gridDimX > 0x7FFFFFFF || c.gridDimY > 65535 || c.gridDimZ > 65535) return refuse(CUDA_ERROR_INVALID_VALUE, head + "grid too large");
  if (threads > 1024 || c.blockDimZ > 64) return refuse(CUDA_ERROR_INVALID_VALUE, head + "block too large");
  if (kernel.max_threads && threads > kernel.max_threads)
    return refuse(CUDA_ERROR_INVALID_VALUE, head + "more threads than __launch_bounds__ says");
  if (c.sharedMemBytes > unsigned(function->dynamic_shared))
    return refuse(CUDA_ERROR_INVALID_VALUE, head + std::to_string(c.sharedMemBytes) + " bytes of dynamic shared memory are more than allowed");
  if (extra) return refuse(CUDA_ERROR_NOT_SUPPORTED, head + "arguments in a buffer");

  RecordedLaunch launch = {function, {c.gridDimX, c.gridDimY, c.gridDimZ}, {c.blockDimX, c.blockDimY, c.blockDimZ}, c.sharedMemBytes, {}};
  for (size_t i = 0; i < kernel.arguments; ++i) {
    auto value = static_cast<const char*>(arguments[i]);
    launch.values.emplace_back(value, value + kernel.argument_sizes[i]);
  }
  switch (submit(c.hStream, launch)) {
    case Submitted::done: return CUDA_SUCCESS;
    case Submitted::not_in_capture: return CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
    default: return CUDA_ERROR_LAUNCH_FAILED;
  }
}

CUresult cuTensorMapEncodeTiled(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*, const cuuint64_t*,
                                const cuuint32_t*, const cuuint32_t*, CUtensorMapInterleave, CUtensorMapSwizzle, CUtensorMapL2promotion,
                                CUtensorMapFloatOOBfill) {
  return refuse(CUDA_ERROR_NOT_SUPPORTED, "tensor maps are not emulated");
}

// For tests, through ctypes

void emulator_set_order(int kind, uint64_t seed, int early_copies) {
  set_order({static_cast<Order::Kind>(kind), seed, early_copies != 0});
}

// What was written beside device memory and not told yet; null if nothing.
const char* emulator_check() { return guards_intact() ? nullptr : error_text().c_str(); }
}
