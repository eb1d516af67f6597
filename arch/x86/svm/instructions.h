// SPDX-License-Identifier: BSD-2-Clause
// SVM instructions that C has no word for.
#pragma once
#include <stdint.h>

// Stores FS, GS, TR, LDTR and the MSRs of SYSCALL and SYSENTER into the VMCB at that physical
// address.
static inline void svm_vmsave(uint64_t vmcb) {
    __asm__ volatile("vmsave" ::"a"(vmcb) : "memory");
}
