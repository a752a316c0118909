// One block of a launch, and how its threads take turns.
#pragma once
#include <setjmp.h>

#include "internal.h"

namespace emulator {

void begin_launch(const Launch& launch);
void run_block(Index index);

extern sigjmp_buf launch_exit;  // where fail() goes
const char* failure();          // its message

}  // namespace emulator
