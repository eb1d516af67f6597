// SPDX-License-Identifier: BSD-2-Clause
// virtd's sessions against clients that send anything: the session answers or ends, and the next
// client is served.
#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "guest-tools/virtd/access.h"
#include "guest-tools/virtd/call.h"
#include "guest-tools/virtd/domain.h"
#include "guest-tools/virtd/domain_store.h"
#include "guest-tools/virtd/domain_xml.h"
#include "guest-tools/virtd/loop.h"
#include "guest-tools/virtd/options.h"
#include "guest-tools/virtd/packet.h"
#include "guest-tools/virtd/session.h"
#include "guest-tools/virtd/vmm.h"
#include "guest-tools/virtd/xdr.h"

Suite *virtd_session_suite(void);

#define DEFINITION                                                                                 \
    "<domain type='kvm'><name>fixed</name><uuid>01234567-89ab-cdef-0123-456789abcdef</uuid>"       \
    "<memory>65536</memory><os><type>hvm</type><kernel>/k</kernel></os></domain>"
static const uint8_t fixed_uuid[16] = {1,    0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef,
                                       0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef};

static struct transport sockets = {.name = "unix", .role = ROLE_ADMIN};
static struct transport line = {.name = "serial", .serial = true, .role = ROLE_ADMIN};
static char directory[] = "/tmp/virtd-test-XXXXXX";
static uint32_t state = 1;

static uint32_t random_u32(void) {
    state ^= state << 13, state ^= state >> 17, state ^= state << 5;
    return state;
}

static void start(void) {
    ck_assert_ptr_nonnull(mkdtemp(directory));
    options.state = options.run = directory;
    options.vmm = "/bin/false";
    signal(SIGPIPE, SIG_IGN); // as in main
    vmm_reap_on_signal();
    dispatch_start();
    stderr = fopen("/dev/null", "we"); // the audit log of this many calls
    ck_assert_ptr_nonnull(stderr);
}

static void finish(void) {
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", directory);
    ck_assert_int_eq(system(command), 0);
}

static void expired(struct timer *timer) {
    (void)timer;
}

// Serves what is there, without waiting for more.
static void serve(int rounds) {
    static struct timer at_once = {.expired = expired};
    while (rounds-- > 0) {
        timer_start(&at_once, 0);
        loop_step();
    }
}

static int client;
static uint32_t serial;
static struct buffer from_server;

// Reads what the server has sent. False: it has ended the session.
static bool drain(void) {
    for (;;) {
        ssize_t n = read(client, buffer_room(&from_server, 65536), 65536);
        if (n <= 0)
            return n < 0 && errno == EAGAIN;
        from_server.length += (size_t)n;
    }
}

static void connect_client(const struct transport *transport) {
    int fds[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    client = fds[0];
    session_start(transport, fds[1]);
}

static void disconnect_client(void) {
    close(client);
    buffer_free(&from_server);
    serve(2);
}

static void send_bytes(const void *data, size_t length) {
    ck_assert_int_eq(write(client, data, length), (ssize_t)length);
    serve(3);
}

// A call of `procedure`, in `to`.
static void make_call(struct buffer *to, uint32_t procedure, const struct buffer *arguments) {
    const struct packet packet = {.program = PROGRAM_REMOTE,
                                  .procedure = procedure,
                                  .type = PACKET_CALL,
                                  .serial = serial + 1};
    size_t begin = packet_begin(to, &packet);
    if (arguments)
        buffer_append(to, arguments->data, arguments->length);
    packet_end(to, begin);
    serial++;
}

// Calls, and waits for the reply to this call, whatever else comes. The packet, and its payload at
// the front of from_server.
static struct packet call(uint32_t procedure, const struct buffer *arguments) {
    struct buffer message = {0};
    struct packet packet;
    make_call(&message, procedure, arguments);
    send_bytes(message.data, message.length);
    buffer_free(&message);
    for (int i = 0; i < 1000; i++) {
        ck_assert(drain());
        while (from_server.length >= PACKET_HEADER &&
               packet_parse(&packet, from_server.data, PACKET_HEADER) &&
               from_server.length >= packet.length) {
            if (packet.type == PACKET_REPLY && packet.serial == serial) {
                buffer_consume(&from_server, PACKET_HEADER);
                return packet;
            }
            buffer_consume(&from_server, packet.length);
        }
        serve(1);
    }
    ck_abort_msg("procedure %u has no reply", procedure);
}

static uint32_t result_word(unsigned index) {
    struct xdr_reader reader = {.at = from_server.data + 4 * (size_t)index,
                                .end = from_server.data + from_server.length};
    return xdr_get_u32(&reader);
}

// What every client begins with, and how many domains the list has.
static uint32_t listed_domains(void) {
    struct buffer arguments = {0};
    buffer_free(&from_server);
    ck_assert_int_eq(call(66, NULL).status, PACKET_OK);
    buffer_free(&from_server);
    xdr_put_optional_string(&arguments, "qemu:///system");
    xdr_put_u32(&arguments, 0);
    ck_assert_int_eq(call(1, &arguments).status, PACKET_OK);
    buffer_free(&from_server);
    arguments.length = 0;
    xdr_put_u32(&arguments, 1);
    xdr_put_u32(&arguments, 0);
    ck_assert_int_eq(call(273, &arguments).status, PACKET_OK);
    uint32_t count = result_word(0);
    buffer_free(&arguments);
    buffer_free(&from_server);
    return count;
}

static void check_client(uint32_t count) {
    ck_assert_uint_eq(listed_domains(), count);
}

static uint32_t domain_count(void) {
    uint32_t count = 0;
    for (const struct domain *domain = domains; domain; domain = domain->next)
        count++;
    return count;
}

// The same, whatever domains there are. A transient one may end and go meanwhile.
static void check_any_client(void) {
    uint32_t before = domain_count(), listed = listed_domains();
    ck_assert_uint_le(listed, before);
    ck_assert_uint_ge(listed, domain_count());
}

static void define_fixed(void) {
    struct buffer arguments = {0};
    xdr_put_string(&arguments, DEFINITION);
    ck_assert_int_eq(call(11, &arguments).status, PACKET_OK);
    buffer_free(&arguments);
    buffer_free(&from_server);
}

// --- random messages ---------------------------------------------------------------------------

static void random_bytes(struct buffer *to, uint32_t length) {
    while (length--) {
        uint8_t byte = (uint8_t)random_u32();
        buffer_append(to, &byte, 1);
    }
}

static void random_string(struct buffer *to) {
    static const char *const texts[] = {
        "",
        "fixed",
        "n1",
        DEFINITION,
        "<domain type='kvm'/>",
        "<domain",
        "vda",
        "cpu_shares",
        "<domain type='kvm'><name>n1</name><memory>65536</memory><os><type>hvm</type>"
        "<kernel>/k</kernel></os><on_crash>restart</on_crash></domain>"};
    uint32_t choice = random_u32() % (sizeof texts / sizeof *texts + 1);
    if (choice < sizeof texts / sizeof *texts) {
        xdr_put_string(to, texts[choice]);
        return;
    }
    uint32_t length = random_u32() % 40;
    xdr_put_u32(to, length);
    random_bytes(to, (length + 3) & ~3u);
}

static uint32_t random_word(void) {
    return random_u32() % 4 ? random_u32() % 5 : random_u32();
}

static void random_parameters(struct buffer *to) {
    static const char *const names[] = {"cpu_shares", "vcpu_quota", "vcpu_period", "other"};
    uint32_t count = random_u32() % 4;
    xdr_put_u32(to, count);
    for (uint32_t i = 0; i < count; i++)
        xdr_put_parameter(to, names[random_u32() % 4], 1 + random_u32() % 6, random_u32() % 200000);
}

// Arguments as the procedure's row has them.
static void random_arguments(struct buffer *to, const char *letters) {
    for (; *letters; letters++) {
        switch (*letters) {
        case 'D':
            xdr_put_string(to, "fixed");
            if (random_u32() % 8)
                xdr_put_fixed(to, fixed_uuid, sizeof fixed_uuid);
            else
                random_bytes(to, 16);
            xdr_put_u32(to, random_word());
            break;
        case 'u':
        case '?':
            xdr_put_u32(to, random_word());
            break;
        case 'l':
            xdr_put_u64(to, random_u32() % 4 ? random_u32() % 70000 : (uint64_t)random_u32() << 32);
            break;
        case 'o':
            xdr_put_u32(to, 1);
            random_string(to);
            break;
        case 's':
            random_string(to);
            break;
        case 'U':
            xdr_put_fixed(to, fixed_uuid, sizeof fixed_uuid);
            break;
        case 'b': {
            uint32_t length = random_u32() % 300;
            xdr_put_u32(to, length);
            random_bytes(to, (length + 3) & ~3u);
            break;
        }
        case 'p':
            random_parameters(to);
            break;
        }
    }
}

static const struct procedure *random_procedure(void) {
    const struct procedure *const tables[] = {connect_calls,   node_calls,       domain_calls,
                                              lifecycle_calls, event_calls,      resource_calls,
                                              console_calls,   statistics_calls, device_calls};
    const struct procedure *table = tables[random_u32() % 9], *row = table;
    for (uint32_t skip = random_u32() % 64; skip; skip--)
        row = row[1].handler ? row + 1 : table;
    return row;
}

static void random_message(struct buffer *to) {
    const struct procedure *procedure = random_procedure();
    struct buffer arguments = {0};
    uint32_t kind = random_u32() % 8;
    if (kind == 0)
        random_bytes(&arguments, random_u32() % 100);
    else
        random_arguments(&arguments, procedure->arguments);
    make_call(to, kind == 1 ? random_u32() % 460 : procedure->number, &arguments);
    buffer_free(&arguments);
    if (kind == 2) // any bit of it
        to->data[random_u32() % to->length] ^= (uint8_t)(1u << random_u32() % 8);
    else if (kind == 3) // any header
        for (int i = 0; i < 4; i++)
            to->data[random_u32() % PACKET_HEADER] = (uint8_t)(random_u32() % 4);
    else if (kind == 4) // too short for its arguments
        to->length = 28 + random_u32() % (to->length - 27), packet_end(to, 0);
    else if (kind == 5) {
        to->length = 0;
        random_bytes(to, 1 + random_u32() % 200);
    }
}

static void send_random_messages(const struct transport *transport, int count) {
    struct buffer message = {0};
    connect_client(transport);
    check_any_client();
    for (int i = 0; i < count; i++) {
        message.length = 0;
        random_message(&message);
        bool sent = write(client, message.data, message.length) == (ssize_t)message.length;
        serve(4);
        if (i % 100 == 99) { // the next client
            if (!transport->serial) {
                disconnect_client();
                connect_client(transport);
            }
            drain();
            check_any_client();
            if (!domain_by_uuid(fixed_uuid) && !domain_by_name("fixed"))
                define_fixed();
        } else if (!sent || !drain()) {
            ck_assert(!transport->serial);
            disconnect_client();
            connect_client(transport);
            check_any_client();
        }
        buffer_free(&from_server);
    }
    buffer_free(&message);
    disconnect_client();
}

START_TEST(test_random_messages) {
    start();
    send_random_messages(&sockets, 10000);
    finish();
}
END_TEST

START_TEST(test_random_messages_on_a_line) {
    start();
    send_random_messages(&line, 10000);
    finish();
}
END_TEST

static void send_half_messages(const struct transport *transport, int count) {
    struct buffer message = {0};
    connect_client(transport);
    check_any_client();
    for (int i = 0; i < count; i++) {
        const struct procedure *procedure = random_procedure();
        struct buffer arguments = {0};
        message.length = 0;
        random_arguments(&arguments, procedure->arguments);
        make_call(&message, procedure->number, &arguments);
        buffer_free(&arguments);
        send_bytes(message.data, 1 + random_u32() % (message.length - 1));
        if (!transport->serial) {
            disconnect_client();
            connect_client(transport);
        }
        drain();
        check_any_client();
    }
    buffer_free(&message);
    disconnect_client();
}

START_TEST(test_half_messages) {
    start();
    send_half_messages(&sockets, 1000);
    send_half_messages(&line, 1000);
    finish();
}
END_TEST

// --- a serial line's clients --------------------------------------------------------------------

// A client that begins otherwise than all others is served too, once the line has been silent.
START_TEST(test_silence) {
    struct buffer message = {0};
    struct packet packet;
    start();
    connect_client(&line);
    make_call(&message, 60, NULL);
    send_bytes(message.data, 20); // half of a message, and no more for 8 times 250 ms
    for (int i = 0; i < 8; i++) {
        usleep(260000);
        serve(2);
    }
    message.length = 0;
    make_call(&message, 66, NULL);
    message.data[27] = PACKET_CONTINUE; // not the usual first packet
    send_bytes(message.data, message.length);
    ck_assert(drain() && from_server.length == 36);
    ck_assert(packet_parse(&packet, from_server.data, PACKET_HEADER));
    ck_assert_uint_eq(packet.serial, serial);
    buffer_free(&message);
    disconnect_client();
    finish();
}
END_TEST

// The clock leaps within a message, as where an emulator was stopped: the call is answered.
START_TEST(test_leap) {
    struct buffer message = {0};
    start();
    connect_client(&line);
    make_call(&message, 66, NULL);
    for (size_t i = 0; i < message.length; i += 14) {
        send_bytes(message.data + i, 14);
        usleep(600000);
        serve(2);
    }
    ck_assert(drain() && from_server.length == 36);
    buffer_free(&message);
    disconnect_client();
    finish();
}
END_TEST

static void write_much(struct session *session, void *data) {
    session_write(session, data, 65536);
}

// A line is slow: what waits for it goes piece by piece, with others served in between.
START_TEST(test_slow_line) {
    static uint8_t data[65536];
    start();
    connect_client(&line);
    session_each(write_much, data);
    serve(1);
    ck_assert(drain());
    ck_assert_uint_gt(from_server.length, 0);
    ck_assert_uint_le(from_server.length, 1024);
    for (int i = 0; i < 1000 && from_server.length < sizeof(data); i++) {
        serve(1);
        ck_assert(drain());
    }
    ck_assert_uint_eq(from_server.length, sizeof(data));
    disconnect_client();
    finish();
}
END_TEST

// Callbacks of a client that is gone do not reach the next one; those of one that is there do.
START_TEST(test_events) {
    struct buffer arguments = {0};
    struct packet packet;
    start();
    connect_client(&line);
    check_client(0);
    for (int round = 0; round < 2; round++) {
        arguments.length = 0;
        xdr_put_u32(&arguments, 0);
        xdr_put_u32(&arguments, 0);
        ck_assert_int_eq(call(316, &arguments).status, PACKET_OK);
        uint32_t id = result_word(0);
        buffer_free(&from_server);
        arguments.length = 0;
        xdr_put_string(&arguments, DEFINITION);
        struct buffer message = {0};
        make_call(&message, 11, &arguments);
        send_bytes(message.data, message.length);
        buffer_free(&message);
        ck_assert(drain());
        // The event, then the reply: one callback, one event.
        ck_assert(packet_parse(&packet, from_server.data, PACKET_HEADER));
        ck_assert_uint_eq(packet.procedure, 318);
        ck_assert_uint_eq(packet.type, PACKET_MESSAGE);
        buffer_consume(&from_server, PACKET_HEADER);
        ck_assert_uint_eq(result_word(0), id);
        buffer_consume(&from_server, packet.length - PACKET_HEADER);
        ck_assert(packet_parse(&packet, from_server.data, PACKET_HEADER));
        ck_assert_uint_eq(packet.procedure, 11);
        check_client(1);
    }
    buffer_free(&arguments);
    disconnect_client();
    finish();
}
END_TEST

START_TEST(test_keepalive) {
    const struct packet ping = {
        .program = PROGRAM_KEEPALIVE, .procedure = KEEPALIVE_PING, .type = PACKET_MESSAGE};
    struct buffer message = {0};
    struct packet pong;
    start();
    connect_client(&sockets);
    packet_end(&message, packet_begin(&message, &ping));
    send_bytes(message.data, message.length);
    ck_assert(drain() && from_server.length == PACKET_HEADER);
    ck_assert(packet_parse(&pong, from_server.data, PACKET_HEADER));
    ck_assert(pong.program == PROGRAM_KEEPALIVE && pong.procedure == KEEPALIVE_PONG);
    buffer_free(&message);
    disconnect_client();
    finish();
}
END_TEST

// Before CONNECT_OPEN, and beyond the transport's role.
START_TEST(test_refused_calls) {
    static const struct transport monitor = {.name = "monitor", .role = ROLE_MONITOR};
    struct buffer arguments = {0};
    start();
    connect_client(&monitor);
    ck_assert_int_eq(call(51, NULL).status, PACKET_ERROR);
    ck_assert_uint_eq(result_word(0), ERROR_INTERNAL);
    check_client(0);
    xdr_put_string(&arguments, DEFINITION);
    ck_assert_int_eq(call(11, &arguments).status, PACKET_ERROR);
    ck_assert_uint_eq(result_word(0), ERROR_AUTH_FAILED);
    check_client(0);
    ck_assert_int_eq(call(400, NULL).status, PACKET_ERROR);
    ck_assert_uint_eq(result_word(0), ERROR_NO_SUPPORT);
    buffer_free(&from_server);
    ck_assert_int_eq(call(23, NULL).status, PACKET_ERROR);
    ck_assert_uint_eq(result_word(0), ERROR_RPC);
    buffer_free(&arguments);
    disconnect_client();
    finish();
}
END_TEST

// A name that would be a line of the audit log, or a result, is one word of one line.
START_TEST(test_audit) {
    struct buffer arguments = {0};
    char path[64], text[512];
    start();
    snprintf(path, sizeof path, "%s/audit", directory);
    audit_open(path);
    connect_client(&sockets);
    check_client(0);
    xdr_put_string(&arguments, "a\nb result=0");
    xdr_put_fixed(&arguments, fixed_uuid, sizeof fixed_uuid);
    xdr_put_u32(&arguments, 0);
    ck_assert_int_eq(call(9, &arguments).status, PACKET_ERROR);
    FILE *log = fopen(path, "r");
    ck_assert(fgets(text, sizeof text, log));
    ck_assert_ptr_nonnull(
        strstr(text, " transport=unix call=DOMAIN_CREATE domain=a%0ab%20result=0 result=42\n"));
    ck_assert(!fgets(text, sizeof text, log));
    fclose(log);
    buffer_free(&arguments);
    disconnect_client();
    finish();
}
END_TEST

// Clients that only connect do not take all descriptors, nor harm those that are there.
START_TEST(test_many_clients) {
    int idle[100], closed = 0;
    start();
    connect_client(&sockets);
    int first = client;
    for (int i = 0; i < 100; i++) {
        connect_client(&sockets);
        idle[i] = client;
        closed += !drain();
    }
    ck_assert_int_eq(closed, 100 - 63);
    client = first;
    check_client(0);
    for (int i = 0; i < 100; i++)
        close(idle[i]);
    serve(100);
    disconnect_client();
    connect_client(&sockets);
    check_client(0);
    disconnect_client();
    finish();
}
END_TEST

// What is stored can be read by the next virtd: else the domain would be gone with this one.
static void check_stored(const char *name) {
    static char text[8192];
    char path[128], *sentence = NULL;
    enum error_code code;

    snprintf(path, sizeof path, "%s/01234567-89ab-cdef-0123-456789abcdef.xml", directory);
    FILE *file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    size_t length = fread(text, 1, sizeof text, file);
    fclose(file);
    struct xml *xml = domain_xml_read(text, length, &code, &sentence);
    ck_assert_msg(xml, "%s", sentence);
    ck_assert_str_eq(xml_get(xml, "name"), name);
    xml_free(xml);
}

START_TEST(test_stored_definition) {
    enum { CONFIG = 2, MAXIMUM = 4, TITLE = 1, ELEMENT = 2 };
    static const char *const names[] = {" ", "\x01", "caf\xe9", "renamed"};
    static const struct {
        uint32_t kind;
        const char *text, *prefix;
    } metadata[] = {{TITLE, "\x1b[1m", NULL}, {TITLE, "caf\xe9", NULL}, {ELEMENT, "<a/>", "b c"}};
    struct buffer arguments = {0};

    start();
    connect_client(&sockets);
    check_client(0);
    define_fixed();
    for (unsigned i = 0; i < sizeof metadata / sizeof metadata[0]; i++) {
        arguments.length = 0;
        xdr_put_domain(&arguments, domains);
        xdr_put_u32(&arguments, metadata[i].kind);
        xdr_put_optional_string(&arguments, metadata[i].text);
        xdr_put_optional_string(&arguments, metadata[i].prefix);
        xdr_put_optional_string(&arguments, metadata[i].prefix ? "urn:x" : NULL);
        xdr_put_u32(&arguments, CONFIG);
        ck_assert_int_eq(call(264, &arguments).status, PACKET_ERROR);
        buffer_free(&from_server);
        check_stored("fixed");
    }
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
        bool good = strcmp(names[i], "renamed") == 0;

        arguments.length = 0;
        xdr_put_domain(&arguments, domains);
        xdr_put_optional_string(&arguments, names[i]);
        xdr_put_u32(&arguments, 0);
        ck_assert_int_eq(call(358, &arguments).status, good ? PACKET_OK : PACKET_ERROR);
        buffer_free(&from_server);
        check_stored(good ? "renamed" : "fixed");
    }
    // Four vCPUs, of which the last is pinned; then there are two.
    for (uint32_t count = 4; count; count = count == 4 ? 2 : 0) {
        arguments.length = 0;
        xdr_put_domain(&arguments, domains);
        xdr_put_u32(&arguments, count);
        xdr_put_u32(&arguments, CONFIG | MAXIMUM);
        ck_assert_int_eq(call(199, &arguments).status, PACKET_OK);
        buffer_free(&from_server);
        check_stored("renamed");
        arguments.length = 0;
        xdr_put_domain(&arguments, domains);
        xdr_put_u32(&arguments, count - 1);
        xdr_put_opaque(&arguments, "\1", 1);
        xdr_put_u32(&arguments, CONFIG);
        ck_assert_int_eq(call(225, &arguments).status, PACKET_OK);
        buffer_free(&from_server);
        check_stored("renamed");
    }
    arguments.length = 0;
    xdr_put_domain(&arguments, domains);
    xdr_put_u64(&arguments, UINT64_MAX - 8);
    xdr_put_u32(&arguments, CONFIG | MAXIMUM);
    ck_assert_int_eq(call(204, &arguments).status, PACKET_ERROR);
    check_stored("renamed");
    buffer_free(&arguments);
    disconnect_client();
    finish();
}
END_TEST

Suite *virtd_session_suite(void) {
    Suite *suite = suite_create("virtd_session");
    TCase *tests = tcase_create("virtd_session");
    tcase_add_test(tests, test_random_messages);
    tcase_add_test(tests, test_random_messages_on_a_line);
    tcase_add_test(tests, test_half_messages);
    tcase_add_test(tests, test_silence);
    tcase_add_test(tests, test_leap);
    tcase_add_test(tests, test_slow_line);
    tcase_add_test(tests, test_events);
    tcase_add_test(tests, test_keepalive);
    tcase_add_test(tests, test_audit);
    tcase_add_test(tests, test_many_clients);
    tcase_add_test(tests, test_refused_calls);
    tcase_add_test(tests, test_stored_definition);
    suite_add_tcase(suite, tests);
    return suite;
}
