// What g++ calls where code compiled with -fsanitize=alignment,bounds goes wrong; the layouts are those of its runtime library.
#include <sys/types.h>

#include "internal.h"

using namespace emulator;

namespace {
struct SourceLocation { const char* file; uint32_t line, column; };
struct TypeName { uint16_t kind, info; char text[1]; };
struct Misaligned { SourceLocation at; const TypeName* type; };
struct OutOfBounds { SourceLocation at; const TypeName *array, *index; };
}  // namespace

extern "C" void __ubsan_handle_type_mismatch_v1_abort(Misaligned* what, uintptr_t address) {
  fail("line %u: misaligned address 0x%zx of %s, %s", what->at.line, size_t(address), what->type->text,
       describe(reinterpret_cast<void*>(address)).c_str());
}

extern "C" void __ubsan_handle_out_of_bounds_abort(OutOfBounds* what, uintptr_t index) {
  fail("line %u: index %zd is outside of a local array of type %s", what->at.line, ssize_t(index), what->array->text);
}
