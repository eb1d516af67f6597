// SPDX-License-Identifier: BSD-2-Clause
// Shell-like quoting, without expansion.
#include "words.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\n';
}

// Copies one word to *to, both pointers ending behind it. Returns false where a quote stays open.
static bool copy_word(const char **from, char **to) {
    char quote = '\0';

    for (; **from && (quote || !is_blank(**from)); (*from)++) {
        char c = **from;
        char next = (*from)[1];
        if (quote ? c == quote : c == '\'' || c == '"') {
            quote = quote ? '\0' : c;
            continue;
        }
        bool escapes = quote == '\0' || (quote == '"' && (next == '"' || next == '\\'));
        if (c == '\\' && escapes && next) {
            c = next;
            (*from)++;
        }
        *(*to)++ = c;
    }
    *(*to)++ = '\0';
    return quote == '\0';
}

int words_split(const char *text, char **words, int max, char **buffer) {
    int count = 0;

    *buffer = malloc(2 * strlen(text) + 2);
    if (!*buffer) {
        return -1;
    }
    char *to = *buffer;
    for (;;) {
        while (is_blank(*text)) {
            text++;
        }
        if (!*text) {
            return count;
        }
        if (count == max) {
            return -1;
        }
        words[count++] = to;
        if (!copy_word(&text, &to)) {
            return -1;
        }
    }
}
