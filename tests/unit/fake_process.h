// SPDX-License-Identifier: BSD-2-Clause
// A process with one thread and an fd table, for unit tests of core/file: system calls are called
// as functions, user memory is the test's own.
#pragma once
#include <stddef.h>
#include <stdint.h>

struct process;

// Fresh RAM and the process; makes it the current one. Each test runs in a process of its own.
struct process *fake_process_start(void);
// The next time the thread would block this runs instead, once; without one the wait ends with a
// signal (-EINTR).
void fake_on_wait(void (*function)(void));
extern uint64_t fake_time;   // what time_now says
extern int fake_last_signal; // last one sent

// Calls a handler with up to six arguments: CALL(sys_read, fd, buffer, size).
#define CALL(handler, ...) handler((const uint64_t[6]){FAKE_EACH(__VA_ARGS__, 0, 0, 0, 0, 0, 0)})
#define FAKE_EACH(a, b, c, d, e, f, ...)                                                           \
    (uint64_t)(a), (uint64_t)(b), (uint64_t)(c), (uint64_t)(d), (uint64_t)(e), (uint64_t)(f)

// A newc archive being put together.
struct fake_archive {
    uint8_t bytes[1 << 16];
    size_t size;
};
void fake_archive_add(struct fake_archive *archive, const char *name, uint32_t mode, uint32_t inode,
                      uint32_t links, const void *data, size_t size);
