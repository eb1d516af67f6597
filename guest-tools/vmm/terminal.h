// SPDX-License-Identifier: BSD-2-Clause
// The host's side of the guest's console.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "options.h"

enum terminal_event {
    TERMINAL_INPUT,
    TERMINAL_ESCAPE,       // Ctrl-] on a terminal: end the machine
    TERMINAL_END_OF_INPUT, // nothing more will come
};

// Opens the console the options ask for. A terminal is put into raw mode and restored at exit.
void terminal_open(const struct options *options);

// Descriptors to poll and to write; -1 where there is none (any more).
int terminal_input(void);
int terminal_output(void);

// The other end of SERIAL_API's console, which does not block; -1 where the console is another.
int terminal_controller(void);

// Reads at most *count bytes and sets *count to what was read.
enum terminal_event terminal_read(uint8_t *bytes, size_t *count);
