// SPDX-License-Identifier: BSD-2-Clause
// exit(2) and exit_group(2).
#include "core/process/process.h"
#include "core/process/system_call.h"

int64_t sys_exit(const uint64_t *a) {
    thread_exit((int)a[0]);
}

int64_t sys_exit_group(const uint64_t *a) {
    process_exit((int)(a[0] & 0xff) << 8);
}
