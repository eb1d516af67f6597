// SPDX-License-Identifier: BSD-2-Clause
// The audit log: a file, or standard error.
#include "access.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "session.h"

static FILE *log_file; // NULL: standard error

void audit_open(const char *path) {
    log_file = path ? fopen(path, "ae") : NULL;
    if (path && !log_file) {
        fprintf(stderr, "virtd: cannot write %s: %s\n", path, strerror(errno));
        exit(1);
    }
    if (log_file) {
        setvbuf(log_file, NULL, _IOLBF, 0);
    }
}

// A name that a client has sent makes neither a line nor a word of its own.
static char *one_word(const char *text) {
    struct buffer word = {0};

    for (; text && *text; text++) {
        unsigned char c = (unsigned char)*text;
        buffer_print(&word, c <= ' ' || c == '%' || c == 0x7f ? "%%%02x" : "%c", c);
    }
    return buffer_take_string(&word);
}

void audit(const struct transport *transport, const struct call *call, enum error_code code) {
    char stamp[32], *subject = one_word(call->subject);
    struct tm tm;
    time_t now = time(NULL);

    strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
    fprintf(log_file ? log_file : stderr, "%s%s transport=%s call=%s domain=%s result=%d\n",
            log_file ? "" : "virtd: audit ", stamp, transport ? transport->name : "-",
            call->procedure->name, *subject ? subject : "-", code);
    free(subject);
}
