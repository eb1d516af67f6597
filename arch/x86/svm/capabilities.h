// SPDX-License-Identifier: BSD-2-Clause
// What this processor's AMD-V can do (APM vol. 3 appendix E, CPUID 8000_000AH).
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "arch/x86/guest/cpuid.h"

struct svm_capabilities {
    uint32_t asids; // 0 is the host's, guests have 1 .. asids - 1
    bool next_rip, decode_assists, flush_by_asid, clean_bits, tsc_ratio, pause_filter,
        pause_threshold, virtual_nmi;
    bool rdtscp, xsaves, spec_ctrl, monitor, xsave, rdpru;
};

extern struct svm_capabilities svm;

// Fills *capabilities from CPUID. NULL, or what is missing, in words, for the log.
const char *svm_capabilities_read(struct svm_capabilities *capabilities, cpuid_reader read);
// "nested paging, 16 ASIDs, next RIP ..." into out.
void svm_capabilities_describe(const struct svm_capabilities *capabilities, char *out, size_t size);
