// SPDX-License-Identifier: BSD-2-Clause
// The audit log, on standard error.
#include "access.h"

#include <stdio.h>
#include <time.h>

#include "session.h"

void audit(const struct transport *transport, const struct call *call, enum error_code code) {
    char stamp[32];
    struct tm tm;
    time_t now = time(NULL);

    strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
    fprintf(stderr, "virtd: audit %s transport=%s call=%s domain=%s result=%d\n", stamp,
            transport ? transport->name : "-", call->procedure->name,
            call->subject ? call->subject : "-", code);
}
