// The functions of libcublasLt.so.13 that tgraph calls. Matrices by columns. Numbers and sizes of attributes: cublasLt.h of CUDA 13.
#include <stdlib.h>
#include <string.h>

#include <map>
#include <vector>

#include "../../device/emulated.h"
#include "../objects.h"

using namespace emulator;

namespace {

enum Status { success = 0, not_initialized = 1, invalid_value = 7, execution_failed = 13, not_supported = 15 };
enum Type { f32 = 0, f16 = 2, bf16 = 14 };
constexpr int kCompute32F = 68, kTransposed = 1, kEpilogueDefault = 1, kEpilogueBias = 4;

// The values of attributes by number; an attribute that is not there is not emulated.
struct Attributes {
  std::map<int, std::vector<char>> values;

  template <class T> void known(int number, T value) {
    auto bytes = reinterpret_cast<const char*>(&value);
    values[number].assign(bytes, bytes + sizeof value);
  }

  template <class T> T get(int number) const {
    T value;
    memcpy(&value, values.at(number).data(), sizeof value);
    return value;
  }

  Status set(int number, const void* value, size_t bytes) {
    auto found = values.find(number);
    if (found == values.end() || found->second.size() != bytes) {
      set_error("cuBLASLt: attribute " + std::to_string(number) + " of " + std::to_string(bytes) + " bytes");
      return invalid_value;
    }
    auto from = static_cast<const char*>(value);
    found->second.assign(from, from + bytes);
    return success;
  }
};

struct Layout {
  int type;
  uint64_t rows, columns;
  int64_t distance;

  size_t size() const { return type == f32 ? 4 : 2; }
  size_t bytes() const { return rows && columns ? ((columns - 1) * distance + rows) * size() : 0; }
  bool operator==(const Layout& o) const {
    return type == o.type && rows == o.rows && columns == o.columns && distance == o.distance;
  }
};

struct Algorithm {  // 64 bytes of the caller's
  uint64_t of[8];
};

struct Found {
  Algorithm algorithm;
  size_t workspace;
  int state;
  float waves;
  int reserved[4];
};
static_assert(sizeof(Found) == 96);

struct Handle {};

Status refuse(Status status, const char* reason) {
  set_error(std::string("cuBLASLt: ") + reason);
  return status;
}

float read(const void* from, int type, size_t at) {
  switch (type) {
    case f32: return static_cast<const float*>(from)[at];
    case f16: return static_cast<const half*>(from)[at];
    default: return static_cast<const __nv_bfloat16*>(from)[at];
  }
}

void write(void* to, int type, size_t at, float value) {
  switch (type) {
    case f32: static_cast<float*>(to)[at] = value; break;
    case f16: static_cast<half*>(to)[at] = half(value); break;
    default: static_cast<__nv_bfloat16*>(to)[at] = __nv_bfloat16(value);
  }
}

// Whether sizes and types fit together for D = A^T B + beta C + bias; that is all that tgraph asks for.
Status check(const Attributes& op, const Layout& a, const Layout& b, const Layout& c, const Layout& d) {
  if (op.get<int32_t>(3) != kTransposed || op.get<int32_t>(4) != 0) return refuse(not_supported, "transposes other than of A alone");
  if (a.rows != b.rows || a.columns != d.rows || b.columns != d.columns) return refuse(invalid_value, "sizes do not fit");
  if (c.rows != d.rows || c.columns != d.columns || c.type != d.type) return refuse(invalid_value, "C is not like D");
  if (a.type != b.type || (d.type != a.type && d.type != f32)) return refuse(not_supported, "types");
  uint32_t epilogue = op.get<uint32_t>(7);
  if (epilogue != kEpilogueDefault && epilogue != kEpilogueBias) return refuse(not_supported, "epilogue");
  if ((epilogue == kEpilogueBias) != (op.get<const void*>(8) != nullptr)) return refuse(invalid_value, "a bias without its epilogue");
  for (auto* m : {&a, &b, &c, &d})
    if (m->distance < int64_t(m->rows) || m->distance * m->size() % 16) return refuse(invalid_value, "distance of columns");
  return success;
}

struct Product {
  Layout a, b, c, d;
  const void *A, *B, *C, *bias;
  void* D;
  float alpha, beta;

  bool operator()() const {
    for (size_t j = 0; j < d.columns; ++j)
      for (size_t i = 0; i < d.rows; ++i) {
        float sum = 0;
        for (size_t k = 0; k < a.rows; ++k) sum += read(A, a.type, i * a.distance + k) * read(B, b.type, j * b.distance + k);
        sum *= alpha;
        if (beta != 0) sum += beta * read(C, c.type, j * c.distance + i);
        if (bias) sum += read(bias, d.type, i);
        write(D, d.type, j * d.distance + i, sum);
      }
    return true;
  }
};

}  // namespace

extern "C" {

size_t cublasLtGetVersion() { return 130002; }

Status cublasLtCreate(Handle** handle) {
  if (!outside_of_capture()) return refuse(not_initialized, "created while a stream captures");
  return *handle = new Handle, success;
}

Status cublasLtMatmulDescCreate(Attributes** made, int compute, int scale) {
  if (compute != kCompute32F || scale != f32) return refuse(not_supported, "compute type");
  *made = new Attributes;
  for (int transpose : {3, 4}) (*made)->known<int32_t>(transpose, 0);
  (*made)->known<uint32_t>(7, kEpilogueDefault);
  (*made)->known<const void*>(8, nullptr);
  return success;
}

Status cublasLtMatmulDescSetAttribute(Attributes* op, int number, const void* value, size_t bytes) {
  return op->set(number, value, bytes);
}

Status cublasLtMatmulDescDestroy(Attributes* op) { return delete op, success; }

Status cublasLtMatrixLayoutCreate(Layout** made, int type, uint64_t rows, uint64_t columns, int64_t distance) {
  if (type != f32 && type != f16 && type != bf16) return refuse(not_supported, "type");
  return *made = new Layout{type, rows, columns, distance}, success;
}

Status cublasLtMatrixLayoutDestroy(Layout* layout) { return delete layout, success; }

Status cublasLtMatmulPreferenceCreate(Attributes** made) {
  *made = new Attributes;
  (*made)->known<uint64_t>(1, 0);  // bytes of workspace
  (*made)->known<uint32_t>(3, 7);  // schemes of reduction: all
  for (int alignment : {5, 6, 7, 8}) (*made)->known<uint32_t>(alignment, 256);
  return success;
}

Status cublasLtMatmulPreferenceSetAttribute(Attributes* wanted, int number, const void* value, size_t bytes) {
  return wanted->set(number, value, bytes);
}

Status cublasLtMatmulPreferenceDestroy(Attributes* wanted) { return delete wanted, success; }

// The algorithm remembers the sizes that it is for, and the alignment. Without any if the environment says so.
Status cublasLtMatmulAlgoGetHeuristic(Handle* handle, Attributes* op, Layout* a, Layout* b, Layout* c, Layout* d,
                                      Attributes* wanted, int count, Found* found, int* number) {
  if (!handle) return refuse(not_initialized, "no handle");
  if (Status status = check(*op, *a, *b, *c, *d)) return status;
  if (wanted->get<uint32_t>(3) != 0) return refuse(not_supported, "sums in parts, whose order is not the same each time");
  *number = 0;
  if (count < 1 || getenv("TGRAPH_EMULATOR_NO_ALGORITHM")) return count < 1 ? invalid_value : success;
  uint32_t alignment = 256;
  for (int which : {5, 6, 7, 8}) alignment = std::min(alignment, wanted->get<uint32_t>(which));
  size_t workspace = std::min<size_t>(wanted->get<uint64_t>(1), 1 << 20);
  *found = {{{d->rows, d->columns, a->rows, uint64_t(a->type), uint64_t(d->type), alignment, workspace, 0}}, workspace, success, 1, {}};
  return *number = 1, success;
}

Status cublasLtMatmul(Handle* handle, Attributes* op, const float* alpha, const void* A, Layout* a, const void* B, Layout* b,
                      const float* beta, const void* C, Layout* c, void* D, Layout* d, const Algorithm* algorithm,
                      void* workspace, size_t workspace_bytes, CUstream_st* stream) {
  if (!handle) return refuse(not_initialized, "no handle");
  if (const char* status = getenv("TGRAPH_EMULATOR_CUBLASLT_STATUS")) return Status(atoi(status));
  if (Status status = check(*op, *a, *b, *c, *d)) return status;
  const uint64_t* of = algorithm->of;
  if (of[0] != d->rows || of[1] != d->columns || of[2] != a->rows || of[3] != uint64_t(a->type) || of[4] != uint64_t(d->type))
    return refuse(invalid_value, "the algorithm is for another product");
  const void* bias = op->get<const void*>(8);
  for (const void* address : {A, B, C, static_cast<const void*>(D), bias})
    if (reinterpret_cast<uintptr_t>(address) % of[5]) return refuse(invalid_value, "alignment");
  if (workspace_bytes < of[6] || (of[6] && !holds(workspace, workspace_bytes))) return refuse(invalid_value, "workspace");
  bool there = holds(A, a->bytes()) && holds(B, b->bytes()) && holds(C, c->bytes()) && holds(D, d->bytes());
  if (!there || (bias && !holds(bias, d->rows * d->size()))) return refuse(execution_failed, "a matrix is not in one allocation");
  if (C == D && *beta != 0 && !(*c == *d)) return refuse(invalid_value, "C in place of D has another layout");
  memset(workspace, 0xFF, of[6]);
  return submit(stream, Product{*a, *b, *c, *d, A, B, C, bias, D, *alpha, *beta}) == Submitted::done ? success : execution_failed;
}
}
