// SPDX-License-Identifier: BSD-2-Clause
// A 6x7 font for ASCII.
#pragma once
#include <stdint.h>

enum { FONT_WIDTH = 6, FONT_HEIGHT = 7 };

// FONT_HEIGHT lines from the top; bit FONT_WIDTH - 1 is the leftmost pixel.
const uint8_t *font_glyph(char character);
