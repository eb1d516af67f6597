// SPDX-License-Identifier: BSD-2-Clause
// Splitting a command line into words.
#pragma once

#include <stddef.h>

// Splits text as a shell does: blanks separate, '...' keeps all, "..." keeps all but \" and \\,
// a backslash outside quotes keeps the next character. The words are in a new buffer that *buffer
// names, to be freed with it. Returns the number of words, or -1 where a quote is not closed or
// there are more than max.
int words_split(const char *text, char **words, int max, char **buffer);
