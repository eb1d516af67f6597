// SPDX-License-Identifier: BSD-2-Clause
// Numbers of the MSRs only this back end names (APM vol. 2 appendix A); the others are in
// cpu/instruction.h.
#pragma once
#include "arch/x86/cpu/instruction.h"

enum svm_msr_index {
    MSR_TSC_RATIO = 0xc0000104,
    MSR_VM_CR = 0xc0010114,
    MSR_VM_HSAVE_PA = 0xc0010117,
};

#define EFER_SVME      (1ull << 12)
#define VM_CR_LOCK     (1ull << 3)
#define VM_CR_DISABLED (1ull << 4)
