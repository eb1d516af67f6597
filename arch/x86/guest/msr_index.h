// SPDX-License-Identifier: BSD-2-Clause
// Numbers of the MSRs that more than one place names (SDM vol. 4 table 2-2).
#pragma once

#define MSR_INDEX_PRED_CMD          0x49
#define MSR_INDEX_UCODE_REV         0x8b
#define MSR_INDEX_PLATFORM_INFO     0xce
#define MSR_INDEX_ARCH_CAPABILITIES 0x10a
#define MSR_INDEX_FLUSH_CMD         0x10b
#define MSR_INDEX_MTRR_BASE0        0x200
#define MSR_INDEX_MC0_CTL2          0x280
#define MSR_INDEX_PERF_CAPABILITIES 0x345
#define MSR_INDEX_MC0_CTL           0x400
