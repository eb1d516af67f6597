// SPDX-License-Identifier: BSD-2-Clause
// The FPU of a CPU; what threads see of it is in arch/x86/context.h.
#pragma once

// Enables the features and sets XCR0 on this CPU; the first call decides for all.
void fpu_cpu_init(void);
