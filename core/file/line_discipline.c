// SPDX-License-Identifier: BSD-2-Clause
// Cooked lines are edited in place; raw bytes pass through the same buffer.
#include "core/file/line_discipline.h"
#include <asm/signal.h>
#include "core/string.h"

#define CONTROL(character) ((character)&0x1f)
#define DELETE             0x7f

void line_discipline_init(struct line_discipline *line, void (*echo)(void *, const char *, size_t),
                          void *argument) {
    *line = (struct line_discipline){.echo = echo, .argument = argument};
    line->termios = (struct termios){
        .c_iflag = ICRNL | IXON,
        .c_oflag = OPOST | ONLCR,
        .c_cflag = B115200 | CS8 | CREAD | HUPCL | CLOCAL,
        .c_lflag = ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN,
        .c_cc = {[VINTR] = CONTROL('C'),
                 [VQUIT] = CONTROL('\\'),
                 [VERASE] = DELETE,
                 [VKILL] = CONTROL('U'),
                 [VEOF] = CONTROL('D'),
                 [VMIN] = 1,
                 [VSTART] = CONTROL('Q'),
                 [VSTOP] = CONTROL('S'),
                 [VSUSP] = CONTROL('Z'),
                 [VREPRINT] = CONTROL('R'),
                 [VDISCARD] = CONTROL('O'),
                 [VWERASE] = CONTROL('W'),
                 [VLNEXT] = CONTROL('V')},
    };
}

bool line_discipline_is_cooked(const struct line_discipline *line) {
    return line->termios.c_lflag & ICANON;
}

// A control character of 0 is disabled (_POSIX_VDISABLE).
static bool is_control(const struct line_discipline *line, unsigned which, uint8_t byte) {
    return byte && line->termios.c_cc[which] == byte;
}

int line_discipline_signal(const struct line_discipline *line, uint8_t byte) {
    if (!(line->termios.c_lflag & ISIG) || line->literal)
        return 0;
    if (is_control(line, VINTR, byte))
        return SIGINT;
    if (is_control(line, VQUIT, byte))
        return SIGQUIT;
    return is_control(line, VSUSP, byte) ? SIGTSTP : 0;
}

static void echo_text(struct line_discipline *line, const char *text, size_t length) {
    line->echo(line->argument, text, length);
}

static bool is_shown_as_caret(const struct line_discipline *line, uint8_t byte) {
    return line->termios.c_lflag & ECHOCTL && (byte < ' ' || byte == DELETE) && byte != '\t' &&
           byte != '\n';
}

static void echo_byte(struct line_discipline *line, uint8_t byte) {
    char text[2];
    size_t length = 1;
    if (is_shown_as_caret(line, byte)) {
        text[0] = '^';
        text[1] = (char)(byte ^ 0x40);
        length = 2;
    } else {
        length = line_discipline_output(line, &byte, 1, text);
    }
    echo_text(line, text, length);
}

void line_discipline_signalled(struct line_discipline *line, uint8_t byte) {
    if (line->termios.c_lflag & ECHO)
        echo_byte(line, byte);
    if (!(line->termios.c_lflag & NOFLSH))
        line_discipline_flush(line);
}

static bool is_utf8_continuation(uint8_t byte) {
    return (byte & 0xc0) == 0x80;
}

static void erase_one(struct line_discipline *line) {
    uint8_t byte = line->line[--line->length];
    while (line->termios.c_iflag & IUTF8 && is_utf8_continuation(byte) && line->length)
        byte = line->line[--line->length];
    if (!(line->termios.c_lflag & ECHO))
        return;
    if (!(line->termios.c_lflag & ECHOE)) {
        echo_byte(line, line->termios.c_cc[VERASE]);
        return;
    }
    echo_text(line, "\b \b", 3);
    if (is_shown_as_caret(line, byte))
        echo_text(line, "\b \b", 3);
}

static void erase_word(struct line_discipline *line) {
    while (line->length && line->line[line->length - 1] == ' ')
        erase_one(line);
    while (line->length && line->line[line->length - 1] != ' ')
        erase_one(line);
}

static void erase_line(struct line_discipline *line) {
    if (line->termios.c_lflag & ECHO && !(line->termios.c_lflag & ECHOKE)) {
        echo_byte(line, line->termios.c_cc[VKILL]);
        if (line->termios.c_lflag & ECHOK)
            echo_byte(line, '\n');
        line->length = 0;
    }
    while (line->length)
        erase_one(line);
}

static bool edit(struct line_discipline *line, uint8_t byte) {
    bool extended = line->termios.c_lflag & IEXTEN;
    if (is_control(line, VERASE, byte)) {
        if (line->length)
            erase_one(line);
    } else if (is_control(line, VKILL, byte)) {
        erase_line(line);
    } else if (extended && is_control(line, VWERASE, byte)) {
        erase_word(line);
    } else if (extended && is_control(line, VLNEXT, byte)) {
        line->literal = true;
    } else if (extended && is_control(line, VREPRINT, byte)) {
        echo_byte(line, '\n');
        for (size_t i = 0; i < line->length; i++)
            echo_byte(line, line->line[i]);
    } else {
        return false;
    }
    return true;
}

static bool ends_line(const struct line_discipline *line, uint8_t byte) {
    return byte == '\n' || is_control(line, VEOL, byte) ||
           (line->termios.c_lflag & IEXTEN && is_control(line, VEOL2, byte));
}

// A full line takes only its end; more is answered with a bell and dropped (IMAXBEL's way, as Linux
// does).
static void cooked_input(struct line_discipline *line, uint8_t byte) {
    if (!line->literal) {
        if (edit(line, byte))
            return;
        if (is_control(line, VEOF, byte)) {
            line->ready = true;
            return;
        }
    }
    bool end = !line->literal && ends_line(line, byte);
    line->literal = false;
    if (!end && line->length >= LINE_SIZE - 1) {
        echo_text(line, "\a", 1);
        return;
    }
    line->line[line->length++] = byte;
    if (line->termios.c_lflag & ECHO || (byte == '\n' && line->termios.c_lflag & ECHONL))
        echo_byte(line, byte);
    line->ready = end;
}

bool line_discipline_input(struct line_discipline *line, uint8_t byte) {
    if (line->ready || line->length == LINE_SIZE)
        return false;
    unsigned flags = line->termios.c_iflag;
    if (flags & ISTRIP)
        byte &= 0x7f;
    if (!line->literal) {
        if (byte == '\r' && flags & IGNCR)
            return true;
        if (byte == '\r' && flags & ICRNL)
            byte = '\n';
        else if (byte == '\n' && flags & INLCR)
            byte = '\r';
    }
    if (line_discipline_is_cooked(line)) {
        cooked_input(line, byte);
        return true;
    }
    line->line[line->length++] = byte;
    if (line->termios.c_lflag & ECHO)
        echo_byte(line, byte);
    return true;
}

size_t line_discipline_available(const struct line_discipline *line) {
    if (line_discipline_is_cooked(line) && !line->ready)
        return 0;
    return line->length - line->taken;
}

size_t line_discipline_take(struct line_discipline *line, uint8_t *to, size_t size) {
    size_t available = line_discipline_available(line);
    if (size > available)
        size = available;
    memcpy(to, line->line + line->taken, size);
    line->taken += size;
    if (line->taken == line->length && (line->ready || size)) {
        line->length = line->taken = 0;
        line->ready = false;
    }
    return size;
}

void line_discipline_flush(struct line_discipline *line) {
    line->length = line->taken = 0;
    line->ready = line->literal = false;
}

// Bytes typed under the old mode stay: an unfinished line becomes readable in raw mode, raw bytes a
// finished line.
void line_discipline_set(struct line_discipline *line, const struct termios *termios) {
    bool was_cooked = line_discipline_is_cooked(line);
    line->termios = *termios;
    bool cooked = line_discipline_is_cooked(line);
    if (was_cooked && !cooked) {
        line->ready = false;
        line->literal = false;
    } else if (!was_cooked && cooked && line->length > line->taken) {
        line->ready = true;
    }
}

size_t line_discipline_output(const struct line_discipline *line, const uint8_t *from, size_t size,
                              char *to) {
    unsigned flags = line->termios.c_oflag;
    size_t length = 0;
    for (size_t i = 0; i < size; i++) {
        uint8_t byte = from[i];
        if (flags & OPOST) {
            if (byte == '\n' && flags & ONLCR)
                to[length++] = '\r';
            else if (byte == '\r' && flags & OCRNL)
                byte = '\n';
        }
        to[length++] = (char)byte;
    }
    return length;
}
