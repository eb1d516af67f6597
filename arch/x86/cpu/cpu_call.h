// SPDX-License-Identifier: BSD-2-Clause
// The receiving side of cpu_call.
#pragma once

// Runs what other CPUs want of this one. Interrupt context, or while waiting.
void cpu_call_serve(void);
