// SPDX-License-Identifier: BSD-2-Clause
// The terminal: its mode, and lines edited on it.
#pragma once

#include <stdbool.h>
#include <stddef.h>

// Where standard input is a terminal: raw, so that every byte comes as it is; or as it was.
void terminal_raw(bool raw);

// Reads a line with editing (arrows, Home, End, Ctrl-A E K U W, backspace) and the history of
// earlier ones (up, down). False: end of input.
bool terminal_line(const char *prompt, char *line, size_t size);
