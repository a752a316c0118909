// Fibers: stacks of their own that one OS thread switches between.
#pragma once
#include <stddef.h>

namespace emulator {

#if defined(__x86_64__) && !defined(EMULATOR_UCONTEXT)

using Context = void*;  // a stack pointer; the callee-saved registers lie above it

extern "C" void emulator_switch(Context* from, Context to);
// Saves what the calling convention wants kept, and goes on where `to` left off. By a jump: returns to another caller are
// mispredicted, and threads of a kernel stop at the same places.
asm(R"(
  .text
  .p2align 4
  .local emulator_switch
  .type emulator_switch, @function
emulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  popq %rcx
  jmpq *%rcx
  .size emulator_switch, . - emulator_switch
)");

inline void context_switch(Context& from, Context& to) { emulator_switch(&from, to); }

// `entry` will run on [stack, stack + bytes); it must not return.
inline void context_create(Context& context, char* stack, size_t bytes, void (*entry)()) {
  void** top = reinterpret_cast<void**>(stack + bytes / 16 * 16);
  *--top = nullptr;  // keeps the stack as after a call: 8 modulo 16
  *--top = reinterpret_cast<void*>(entry);
  context = top - 6;
}

#else

}  // namespace emulator
#include <ucontext.h>
namespace emulator {

using Context = ucontext_t;

inline void context_switch(Context& from, Context& to) { swapcontext(&from, &to); }

inline void context_create(Context& context, char* stack, size_t bytes, void (*entry)()) {
  getcontext(&context);
  context.uc_stack.ss_sp = stack;
  context.uc_stack.ss_size = bytes / 16 * 16;
  context.uc_link = nullptr;
  makecontext(&context, entry, 0);
}

#endif

}  // namespace emulator
