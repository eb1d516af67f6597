// SPDX-License-Identifier: BSD-2-Clause
// Raw mode, and reading the console's input.
#include "terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "error.h"

#define ESCAPE_CHARACTER 0x1d // Ctrl-], as telnet has it

static int input_fd = -1;
static int output_fd = -1;
static int controller_fd = -1;
static bool raw;
static struct termios original;

static void restore(void) {
    tcsetattr(STDIN_FILENO, TCSADRAIN, &original);
}

static void enter_raw_mode(void) {
    struct termios mode;

    if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &original) < 0) {
        return; // A pipe or file needs no mode.
    }
    mode = original;
    cfmakeraw(&mode);
    if (tcsetattr(STDIN_FILENO, TCSADRAIN, &mode) < 0) {
        warning("cannot put the terminal into raw mode");
        return;
    }
    raw = true;
    atexit(restore);
}

void terminal_open(const struct options *options) {
    int pair[2];

    switch (options->serial == SERIAL_OFF || options->serial == SERIAL_NULL ? options->console
                                                                            : options->serial) {
    case SERIAL_TTY:
        input_fd = STDIN_FILENO;
        output_fd = STDOUT_FILENO;
        enter_raw_mode();
        break;
    case SERIAL_FILE:
        output_fd = open(options->serial_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        if (output_fd < 0) {
            fatal_errno("cannot open %s", options->serial_path);
        }
        break;
    case SERIAL_API:
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) {
            fatal_errno("socketpair");
        }
        input_fd = output_fd = pair[0];
        controller_fd = pair[1];
        break;
    case SERIAL_NULL:
    case SERIAL_OFF:
        break;
    }
}

int terminal_input(void) {
    return input_fd;
}

int terminal_controller(void) {
    return controller_fd;
}

int terminal_output(void) {
    return output_fd;
}

enum terminal_event terminal_read(uint8_t *bytes, size_t *count) {
    ssize_t got = read(input_fd, bytes, *count);

    *count = got > 0 ? (size_t)got : 0;
    if (got == 0 || (got < 0 && errno != EINTR && errno != EAGAIN)) {
        input_fd = -1;
        return TERMINAL_END_OF_INPUT;
    }
    if (raw && memchr(bytes, ESCAPE_CHARACTER, *count)) {
        return TERMINAL_ESCAPE;
    }
    return TERMINAL_INPUT;
}
