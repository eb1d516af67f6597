// SPDX-License-Identifier: BSD-2-Clause
// A client's bytes are the input, on a socket and on a serial line; what changes nothing may be
// called.
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "guest-tools/virtd/call.h"
#include "guest-tools/virtd/domain.h"
#include "guest-tools/virtd/domain_xml.h"
#include "guest-tools/virtd/loop.h"
#include "guest-tools/virtd/session.h"
#include "guest-tools/virtd/xdr.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expired(struct timer *timer) {
    (void)timer;
}

static void serve(int rounds) {
    static struct timer at_once = {.expired = expired};
    while (rounds-- > 0) {
        timer_start(&at_once, 0);
        loop_step();
    }
}

static void start(void) {
    static const char definition[] =
        "<domain type='kvm'><name>a</name><uuid>00000000-0000-0000-0000-000000000000</uuid>"
        "<memory>65536</memory><os><type>hvm</type><kernel>/k</kernel></os></domain>";
    enum error_code code;
    char *sentence;
    struct xml *xml = domain_xml_read(definition, sizeof definition - 1, &code, &sentence);

    dispatch_start();
    domain_add(xml)->config = xml;
}

static void run_session(bool serial, const uint8_t *data, size_t size) {
    static struct transport transport = {.name = "fuzz", .role = ROLE_MONITOR};
    uint8_t sink[65536];
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0)
        abort();
    transport.serial = serial;
    session_start(&transport, fds[1])->opened = true;
    if (write(fds[0], data, size) != (ssize_t)size)
        abort();
    serve(4);
    while (read(fds[0], sink, sizeof sink) > 0) {
    }
    transport.serial = false; // so that it ends with its client
    close(fds[0]);
    serve(3);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > 16384)
        return 0;
    if (!domains)
        start();
    run_session(false, data, size);
    run_session(true, data, size);

    // Every reader, on the same bytes.
    uint8_t *copy = malloc(size ? size : 1);
    memcpy(copy, data, size);
    struct xdr_reader reader = {.at = copy, .end = copy + size};
    while (!reader.bad) {
        uint32_t length;
        struct parameter parameter = xdr_get_parameter(&reader);
        if (!reader.bad && strlen(parameter.name) > size)
            abort();
        xdr_get_optional_string(&reader);
        xdr_get_opaque(&reader, &length);
        if (length > size)
            abort();
    }
    free(copy);
    return 0;
}
