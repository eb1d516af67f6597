// SPDX-License-Identifier: BSD-2-Clause
// A 6x7 font for ASCII.
#pragma once
#include <stdint.h>

enum { FONT_WIDTH = 6, FONT_HEIGHT = 7 };

// A line of a glyph, 0 the highest; bit FONT_WIDTH - 1 is the leftmost pixel.
uint8_t font_line(char character, unsigned line);
