// SPDX-License-Identifier: BSD-2-Clause
// A text screen on the firmware's framebuffer.
#pragma once
#include <stddef.h>

struct boot_framebuffer;

// `pixels`: where it is mapped; NULL keeps it off.
void framebuffer_init(const struct boot_framebuffer *framebuffer, void *pixels);
// Understands CR, LF, BS and TAB; escape sequences are skipped. Caller holds the console's lock.
void framebuffer_write(const char *text, size_t length);
