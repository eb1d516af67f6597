// SPDX-License-Identifier: BSD-2-Clause
// The learning switch: where frames go, and what one port cannot do to others.
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "drivers/net/switch.h"

Suite *net_switch_suite(void);

#define PORTS 3

static struct net_switch *bridge;
static struct net_port ports[PORTS];
static struct net_counters counters[PORTS];

static void start(void) {
    bridge = net_switch_create();
    memset(ports, 0, sizeof(ports));
    memset(counters, 0, sizeof(counters));
    for (int i = 0; i < PORTS; i++) {
        ports[i].counters = &counters[i];
        ck_assert_int_eq(net_port_attach(&ports[i], bridge), 0);
    }
}

static void stop(void) {
    for (int i = 0; i < PORTS; i++)
        net_port_detach(&ports[i]);
    free(bridge);
}

// From the station of one number to that of another; 0xff is all of them.
static void send(int port, uint8_t from, uint8_t to, uint32_t length, uint32_t now) {
    struct net_frame *frame = net_frame_new(length);

    memset(frame->bytes, 0, length);
    memset(frame->bytes, to == 0xff ? 0xff : 0x02, ETH_ALEN);
    frame->bytes[5] = to;
    frame->bytes[6] = 0x02;
    memset(frame->bytes + 7, 0x02, ETH_ALEN - 1);
    frame->bytes[11] = from;
    net_port_send(&ports[port], frame, now);
}

static unsigned take(int port) {
    unsigned count = 0;

    for (; net_port_peek(&ports[port]); count++)
        net_port_done(&ports[port], true);
    return count;
}

START_TEST(test_learns) {
    uint64_t woken;

    send(0, 1, 2, 60, 0); // nobody knows 2
    ck_assert_uint_eq(take(1), 1);
    ck_assert_uint_eq(take(2), 1);
    ck_assert_uint_eq(take(0), 0);
    ck_assert_int_eq(read(ports[1].wake_fd, &woken, sizeof(woken)), sizeof(woken));
    send(1, 2, 1, 100, 1); // 1 is known
    ck_assert_uint_eq(take(0), 1);
    ck_assert_uint_eq(take(2), 0);
    ck_assert_uint_eq(counters[0].rx_bytes, 100);
    ck_assert_uint_eq(counters[1].tx_bytes, 100);
    send(2, 1, 2, 60, 2); // 1 has moved
    ck_assert_uint_eq(take(1), 1);
    send(1, 2, 1, 60, 3);
    ck_assert_uint_eq(take(0), 0);
    ck_assert_uint_eq(take(2), 1);
    send(2, 5, 1, 60, 3); // where it came from
    ck_assert_uint_eq(take(0) + take(1) + take(2), 0);
    send(0, 3, 0xff, 60, 4);
    ck_assert_uint_eq(take(1), 1);
    ck_assert_uint_eq(take(2), 1);
}
END_TEST

START_TEST(test_ages) {
    send(0, 1, 2, 60, 10);
    take(1), take(2);
    send(1, 2, 1, 60, 10 + NET_AGEING_SECONDS);
    ck_assert_uint_eq(take(2), 0);
    send(1, 2, 1, 60, 11 + NET_AGEING_SECONDS);
    ck_assert_uint_eq(take(2), 1);
    // Who has left is not known any more.
    send(0, 1, 2, 60, 1000);
    net_port_detach(&ports[0]);
    ck_assert_int_eq(net_port_attach(&ports[0], bridge), 0);
    take(1), take(2);
    send(1, 2, 1, 60, 1000);
    ck_assert_uint_eq(take(2), 1);
}
END_TEST

START_TEST(test_refuses) {
    static const uint8_t mac[ETH_ALEN] = {2, 2, 2, 2, 2, 7};
    struct net_frame *frame = net_frame_new(60);

    send(0, 1, 2, ETH_HLEN - 1, 0);
    send(0, 1, 2, NET_FRAME_MAX + 1, 0);
    ck_assert_uint_eq(counters[0].tx_errors, 2);
    memset(frame->bytes, 0xff, 60); // from a group
    net_port_send(&ports[0], frame, 0);
    ck_assert_uint_eq(counters[0].tx_errors, 3);
    ports[0].mac = mac;
    send(0, 1, 2, 60, 0);
    ck_assert_uint_eq(counters[0].tx_dropped, 1);
    ck_assert_uint_eq(take(1), 0);
    send(0, 7, 2, NET_FRAME_MAX, 0);
    ck_assert_uint_eq(take(1), 1);
    // A pause frame ends at the first bridge.
    frame = net_frame_new(60);
    memset(frame->bytes, 0, 60);
    memcpy(frame->bytes, (uint8_t[]){0x01, 0x80, 0xc2, 0, 0, 1}, ETH_ALEN);
    memcpy(frame->bytes + ETH_ALEN, mac, ETH_ALEN);
    take(2);
    net_port_send(&ports[0], frame, 0);
    ck_assert_uint_eq(take(1) + take(2), 0);
}
END_TEST

// Nobody takes: memory that waits is bounded, by frames and by bytes.
START_TEST(test_bounds) {
    for (unsigned i = 0; i < NET_PORT_FRAMES + 5; i++)
        send(0, 1, 0xff, 60, 0);
    ck_assert_uint_eq(counters[1].rx_dropped, 5);
    ck_assert_uint_eq(take(1), NET_PORT_FRAMES);
    for (unsigned i = 0; i < NET_PORT_FRAMES; i++)
        send(0, 1, 0xff, NET_FRAME_MAX, 0);
    ck_assert_uint_eq(take(1), NET_PORT_BYTES / NET_FRAME_MAX);
}
END_TEST

// A port that invents addresses makes the switch forget its own, not another's that it knows.
START_TEST(test_invented_addresses) {
    send(1, 0x77, 0xff, 60, 0);
    take(0);
    for (unsigned i = 0; i < 100000; i++) {
        struct net_frame *frame = net_frame_new(60);

        memset(frame->bytes, 0xff, ETH_ALEN);
        memcpy(frame->bytes + ETH_ALEN, (uint8_t[]){2, 1}, 2);
        memcpy(frame->bytes + ETH_ALEN + 2, &i, sizeof(i));
        net_port_send(&ports[0], frame, 1);
        take(1), take(2);
    }
    send(2, 9, 0x77, 60, 1);
    ck_assert_uint_eq(take(0), 0);
    ck_assert_uint_eq(take(1), 1);
}
END_TEST

START_TEST(test_full) {
    static struct net_port more[NET_PORTS_MAX];

    for (int i = 0; i < NET_PORTS_MAX - PORTS; i++)
        ck_assert_int_eq(net_port_attach(&more[i], bridge), 0);
    ck_assert_int_eq(net_port_attach(&more[NET_PORTS_MAX - PORTS], bridge), -ENOSPC);
    for (int i = 0; i < NET_PORTS_MAX - PORTS; i++)
        net_port_detach(&more[i]);
}
END_TEST

Suite *net_switch_suite(void) {
    Suite *suite = suite_create("net_switch");
    TCase *tests = tcase_create("net_switch");

    tcase_add_checked_fixture(tests, start, stop);
    tcase_add_test(tests, test_learns);
    tcase_add_test(tests, test_ages);
    tcase_add_test(tests, test_refuses);
    tcase_add_test(tests, test_bounds);
    tcase_add_test(tests, test_invented_addresses);
    tcase_add_test(tests, test_full);
    suite_add_tcase(suite, tests);
    return suite;
}
