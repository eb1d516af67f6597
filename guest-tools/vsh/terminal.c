// SPDX-License-Identifier: BSD-2-Clause
// A line editor for terminals that know what a VT100 does.
#include "terminal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

enum {
    HISTORY = 32,
    LINE = 256,
    CONTROL = 0x1f,
    ESCAPE = 0x1b,
    BACKSPACE = 0x7f,
    DELETE = 0x100, // what follows are keys of several bytes
    UP,
    DOWN,
    LEFT,
    RIGHT,
    HOME,
    END,
    END_OF_INPUT,
};

static struct termios cooked;
static bool is_raw;
static char history[HISTORY][LINE];
static unsigned lines; // ever entered

static void restore(void) {
    terminal_raw(false);
}

void terminal_raw(bool raw) {
    static bool registered;
    struct termios mode;

    if (raw == is_raw || !isatty(STDIN_FILENO)) {
        return;
    }
    if (raw) {
        tcgetattr(STDIN_FILENO, &cooked);
        if (!registered) {
            registered = true;
            atexit(restore);
        }
    }
    mode = cooked;
    if (raw) {
        cfmakeraw(&mode);
    }
    tcsetattr(STDIN_FILENO, TCSADRAIN, &mode);
    is_raw = raw;
}

static int read_byte(void) {
    unsigned char byte;

    return read(STDIN_FILENO, &byte, 1) == 1 ? byte : END_OF_INPUT;
}

static int read_key(void) {
    static const struct {
        char last;
        int key;
    } sequences[] = {{'A', UP},   {'B', DOWN}, {'C', RIGHT}, {'D', LEFT},
                     {'H', HOME}, {'F', END},  {'3', DELETE}};
    int byte = read_byte();

    if (byte != ESCAPE) {
        return byte;
    }
    byte = read_byte();
    if (byte != '[' && byte != 'O') {
        return ESCAPE;
    }
    byte = read_byte();
    for (size_t i = 0; i < sizeof(sequences) / sizeof(sequences[0]); i++) {
        if (byte == sequences[i].last) {
            if (sequences[i].key == DELETE) {
                read_byte(); // its ~
            }
            return sequences[i].key;
        }
    }
    return ESCAPE;
}

struct editor {
    char *text;
    size_t length, at, size;
    unsigned shown; // line of the history; `lines`: a new one
};

static void draw(const char *prompt, const struct editor *editor) {
    printf("\r%s%.*s\x1b[K", prompt, (int)editor->length, editor->text);
    if (editor->length > editor->at) {
        printf("\x1b[%zuD", editor->length - editor->at);
    }
    fflush(stdout);
}

static void erase(struct editor *editor, size_t from, size_t to) {
    memmove(editor->text + from, editor->text + to, editor->length - to);
    editor->length -= to - from;
    editor->at = from;
}

static void recall(struct editor *editor, unsigned line) {
    const char *text = line == lines ? "" : history[line % HISTORY];

    if (line > lines || line + HISTORY < lines) {
        return;
    }
    editor->shown = line;
    editor->length = editor->at = strlen(text);
    memcpy(editor->text, text, editor->length);
}

static size_t word_begin(const struct editor *editor) {
    size_t at = editor->at;

    while (at && editor->text[at - 1] == ' ') {
        at--;
    }
    while (at && editor->text[at - 1] != ' ') {
        at--;
    }
    return at;
}

static void edit(struct editor *editor, int key) {
    switch (key) {
    case UP:
    case 'P' & CONTROL:
        recall(editor, editor->shown - 1);
        break;
    case DOWN:
    case 'N' & CONTROL:
        recall(editor, editor->shown + 1);
        break;
    case LEFT:
        editor->at -= editor->at > 0;
        break;
    case RIGHT:
        editor->at += editor->at < editor->length;
        break;
    case HOME:
    case 'A' & CONTROL:
        editor->at = 0;
        break;
    case END:
    case 'E' & CONTROL:
        editor->at = editor->length;
        break;
    case 'K' & CONTROL:
        editor->length = editor->at;
        break;
    case 'U' & CONTROL:
        erase(editor, 0, editor->at);
        break;
    case 'W' & CONTROL:
        erase(editor, word_begin(editor), editor->at);
        break;
    case BACKSPACE:
    case '\b':
        if (editor->at) {
            erase(editor, editor->at - 1, editor->at);
        }
        break;
    case DELETE:
        if (editor->at < editor->length) {
            erase(editor, editor->at, editor->at + 1);
        }
        break;
    default:
        if (key >= ' ' && key < BACKSPACE && editor->length + 1 < editor->size) {
            memmove(editor->text + editor->at + 1, editor->text + editor->at,
                    editor->length - editor->at);
            editor->text[editor->at++] = (char)key;
            editor->length++;
        }
    }
}

bool terminal_line(const char *prompt, char *line, size_t size) {
    struct editor editor = {.text = line, .size = size < LINE ? size : LINE, .shown = lines};
    int key;

    terminal_raw(true);
    do {
        draw(prompt, &editor);
        key = read_key();
        if (key == ('C' & CONTROL)) {
            editor.length = editor.at = 0;
        } else if (key == END_OF_INPUT || (key == ('D' & CONTROL) && editor.length == 0)) {
            key = END_OF_INPUT;
        } else if (key != '\r' && key != '\n') {
            edit(&editor, key);
        }
    } while (key != '\r' && key != '\n' && key != END_OF_INPUT);
    terminal_raw(false);
    putchar('\n');
    line[editor.length] = '\0';
    if (editor.length) {
        memcpy(history[lines++ % HISTORY], line, editor.length + 1);
    }
    return key != END_OF_INPUT;
}
