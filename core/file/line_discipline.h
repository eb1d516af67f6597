// SPDX-License-Identifier: BSD-2-Clause
// The terminal line discipline (termios(3)): cooked and raw input, echo, output conversion. Plain
// data, no waiting, no locks.
#pragma once
#include <asm/termbits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINE_SIZE 4096 // as Linux: bytes of a cooked line, terminator included

struct line_discipline {
    struct termios termios;
    void (*echo)(void *argument, const char *text, size_t length);
    void *argument;
    size_t length; // bytes in `line`
    size_t taken;  // of these, already read
    bool ready;    // cooked: `line` is complete (an empty one is end of file)
    bool literal;  // the next byte is taken as it is (VLNEXT)
    uint8_t line[LINE_SIZE];
};

// Linux's settings of a fresh terminal.
void line_discipline_init(struct line_discipline *line, void (*echo)(void *, const char *, size_t),
                          void *argument);
// The signal the byte stands for (ISIG), 0: none.
int line_discipline_signal(const struct line_discipline *line, uint8_t byte);
// Echoes a signal's character as ^C and, without NOFLSH, drops the unfinished line.
void line_discipline_signalled(struct line_discipline *line, uint8_t byte);
// One received byte. False: not taken, a complete line or (raw) a full buffer waits to be read.
bool line_discipline_input(struct line_discipline *line, uint8_t byte);
// Bytes a read may take now; in cooked mode only of a complete line.
size_t line_discipline_available(const struct line_discipline *line);
// Takes up to `size` bytes. 0 with line->ready before the call: end of file.
size_t line_discipline_take(struct line_discipline *line, uint8_t *to, size_t size);
void line_discipline_set(struct line_discipline *line, const struct termios *termios);
void line_discipline_flush(struct line_discipline *line);
bool line_discipline_is_cooked(const struct line_discipline *line);
// Converts output (OPOST, ONLCR, OCRNL, ...): at most 2 * size bytes into `to`; returns how many.
size_t line_discipline_output(const struct line_discipline *line, const uint8_t *from, size_t size,
                              char *to);
