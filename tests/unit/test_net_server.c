// SPDX-License-Identifier: BSD-2-Clause
// Frames between a guest's rings and the switch.
// Sources: drivers/vhost_user/message.c drivers/vhost_user/inflight.c
// Sources: drivers/vhost_user/shared_mapping.c
#include <check.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "drivers/net/switch.h"
#include "drivers/vhost_user/net_server.h"
#include "drivers/vhost_user/session.h"
#include "drivers/virtio/virtqueue.h"

Suite *net_server_suite(void);

#define SIZE        16u
#define MEMORY_SIZE 0x40000u
#define RING(queue) (0x4000u * (queue))
#define DRIVER      0x1000u
#define DEVICE      0x2000u
#define DATA        0x20000u
#define HEADER      12u
#define FEATURE(n)  (1ull << (n))

static uint8_t ram[MEMORY_SIZE] __attribute__((aligned(4096)));
static struct vhost_user_session session;
static struct vhost_user_device device;
static struct net_server server;
static struct net_counters counters[2];
static struct net_port peer;

static void start(void) {
    memset(ram, 0, sizeof(ram));
    memset(&session, 0, sizeof(session));
    memset(counters, 0, sizeof(counters));
    server =
        (struct net_server){.bridge = net_switch_create(), .queues = 4, .counters = &counters[0]};
    net_server_device(&server, &device);
    peer = (struct net_port){.counters = &counters[1]};
    ck_assert_int_eq(net_port_attach(&peer, server.bridge), 0);
    session.device = &device;
    session.memory = (struct guest_memory_map){.regions = {{0, MEMORY_SIZE, ram}}, .count = 1};
}

static void connect(uint64_t features, unsigned queues) {
    session.features = features | FEATURE(VIRTIO_F_VERSION_1);
    for (unsigned i = 0; i < queues; i++) {
        const struct virtqueue_addresses addresses = {RING(i), RING(i) + DRIVER, RING(i) + DEVICE};

        ck_assert_int_eq(virtqueue_attach(&session.queues[i].ring, &session.memory, SIZE,
                                          &addresses, session.features),
                         0);
        session.queues[i].started = session.queues[i].enabled = true;
        session.queues[i].call = session.queues[i].error = -1;
    }
    session.state = device.open(&session, &server);
    ck_assert_ptr_nonnull(session.state);
}

static void stop(void) {
    device.close(session.state);
    net_port_detach(&peer);
    free(server.bridge);
}

// Descriptor i of a queue stands for `length` bytes of its own.
static uint8_t *add(unsigned queue, uint32_t length, uint16_t flags) {
    uint16_t *ring = (uint16_t *)(ram + RING(queue) + DRIVER);
    uint16_t at = ring[1] % SIZE;
    uint64_t address = DATA + 0x8000 * queue + 0x800 * at;

    ((struct vring_desc *)(ram + RING(queue)))[at] =
        (struct vring_desc){.addr = address, .len = length, .flags = flags};
    ring[2 + at] = at;
    ring[1]++;
    return ram + address;
}

static unsigned used(unsigned queue) {
    return ((uint16_t *)(ram + RING(queue) + DEVICE))[1];
}

static struct net_frame *frame_of(uint32_t length, uint8_t port) {
    struct net_frame *frame = net_frame_new(length);

    for (uint32_t i = 0; i < length; i++)
        frame->bytes[i] = (uint8_t)(i * 7 + i / 256);
    memset(frame->bytes, 0xff, 6);
    memcpy(frame->bytes + 6, (uint8_t[]){2, 0, 0, 0, 0, 9, 8, 0, 0x45}, 9);
    if (length > 37)
        frame->bytes[37] = port;
    return frame;
}

START_TEST(test_merges) {
    const uint8_t *buffers[3];
    struct net_frame *frame = frame_of(3000, 0);

    connect(FEATURE(VIRTIO_NET_F_MRG_RXBUF) | FEATURE(VIRTIO_RING_F_EVENT_IDX), 2);
    frame->references++; // kept, to compare
    net_port_send(&peer, frame, 0);
    for (int i = 0; i < 2; i++)
        buffers[i] = add(0, 1200, VRING_DESC_F_WRITE);
    ck_assert(device.fill(session.state, 0));
    ck_assert_uint_eq(used(0), 0);
    // The kick is asked for behind those that are not enough.
    ck_assert_uint_eq(*(uint16_t *)(ram + RING(0) + DEVICE + 4 + 8 * SIZE), 2);
    buffers[2] = add(0, 1200, VRING_DESC_F_WRITE);
    ck_assert(device.fill(session.state, 0));
    ck_assert_uint_eq(used(0), 3);
    ck_assert_uint_eq(buffers[0][10], 3);
    ck_assert_mem_eq(buffers[0] + HEADER, frame->bytes, 1200 - HEADER);
    ck_assert_mem_eq(buffers[1], frame->bytes + 1200 - HEADER, 1200);
    ck_assert_mem_eq(buffers[2], frame->bytes + 2400 - HEADER, 600 + HEADER);
    const uint32_t *entries = (uint32_t *)(ram + RING(0) + DEVICE + 4);
    ck_assert_uint_eq(entries[1] + entries[3] + entries[5], 3000 + HEADER);
    ck_assert_uint_eq(counters[0].rx_bytes, 3000);
    net_frame_release(frame);
}
END_TEST

// Without mergeable buffers what does not fit is dropped, and the buffer is there for the next.
START_TEST(test_single_buffer) {
    connect(0, 2);
    add(0, 1000, VRING_DESC_F_WRITE);
    net_port_send(&peer, frame_of(1000, 0), 0);
    net_port_send(&peer, frame_of(1000 - HEADER, 0), 0);
    device.extra(session.state);
    ck_assert_uint_eq(used(0), 1);
    ck_assert_uint_eq(counters[0].rx_dropped, 1);
    ck_assert_uint_eq(counters[0].rx_packets, 1);
}
END_TEST

START_TEST(test_spreads_connections) {
    unsigned here = 0;

    connect(FEATURE(VIRTIO_NET_F_MRG_RXBUF), 4);
    for (unsigned i = 0; i < SIZE; i++) {
        add(0, 200, VRING_DESC_F_WRITE);
        add(2, 200, VRING_DESC_F_WRITE);
    }
    for (uint8_t i = 0; i < SIZE; i++)
        net_port_send(&peer, frame_of(100, i), 0);
    device.extra(session.state);
    ck_assert_uint_eq(used(0) + used(2), SIZE);
    ck_assert_uint_gt(used(0), 0);
    ck_assert_uint_gt(used(2), 0);
    here = used(0);
    session.queues[2].enabled = false;
    net_port_send(&peer, frame_of(100, 0), 0);
    net_port_send(&peer, frame_of(100, 1), 0);
    device.fill(session.state, 0);
    ck_assert_uint_eq(used(0), here + 2);
    session.queues[0].enabled = false; // nobody there
    net_port_send(&peer, frame_of(100, 0), 0);
    device.extra(session.state);
    ck_assert_uint_eq(counters[0].rx_dropped, 1);
}
END_TEST

static int transmit(uint32_t length, uint8_t flags, uint8_t gso) {
    uint8_t *data = add(1, length, 0);
    struct net_frame *frame = frame_of(length, 0);

    memcpy(data + HEADER, frame->bytes, length - HEADER);
    net_frame_release(frame);
    data[0] = flags;
    data[1] = gso;
    ck_assert_int_eq(virtqueue_pop(&session.queues[1].ring, &session.buffer), 1);
    return device.serve(session.state, 1, &session.buffer);
}

// The sum over a frame from `start` on: all ones where its checksum is right.
static uint32_t sum_from(const struct net_frame *frame, uint32_t start) {
    uint32_t sum = 0;

    for (uint32_t at = start; at < frame->length; at++)
        sum += (uint32_t)frame->bytes[at] << ((at - start) % 2 ? 0 : 8);
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return sum;
}

// As the server has it, or stations would be too old.
static uint32_t now(void) {
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &time);
    return (uint32_t)time.tv_sec;
}

// A frame of an odd length whose sum, of what begins at 34, belongs at 50.
static int transmit_without_sum(uint16_t start, uint16_t offset, uint32_t length, uint8_t target) {
    const struct virtio_net_hdr header = {
        .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = start, .csum_offset = offset};
    uint8_t *data = add(1, HEADER + length, 0);
    struct net_frame *frame = frame_of(length, 0);

    memcpy(frame->bytes, (uint8_t[]){target, 0, 0, 0, 0, 9}, 6);
    memcpy(data, &header, sizeof(header));
    memcpy(data + HEADER, frame->bytes, length);
    memset(data + HEADER + 6, 2, 6);
    memset(data + HEADER + 50, 0, 2);
    net_frame_release(frame);
    ck_assert_int_eq(virtqueue_pop(&session.queues[1].ring, &session.buffer), 1);
    return device.serve(session.state, 1, &session.buffer);
}

START_TEST(test_sends_without_sums) {
    struct net_frame *frame;

    connect(FEATURE(VIRTIO_NET_F_CSUM), 2);
    // Nobody knows the station: all get it, and all is there.
    ck_assert_int_eq(transmit_without_sum(34, 16, 101, 2), 0);
    frame = net_port_peek(&peer);
    ck_assert_ptr_nonnull(frame);
    ck_assert_uint_eq(frame->checksum_at, 0);
    ck_assert_uint_eq(sum_from(frame, 34), 0xffff);
    net_port_done(&peer, true);
    // Now it is known, and its port sees to it.
    net_port_send(&peer, frame_of(100, 0), now());
    ck_assert_int_eq(transmit_without_sum(34, 16, 101, 2), 0);
    frame = net_port_peek(&peer);
    ck_assert_ptr_nonnull(frame);
    ck_assert_uint_eq(frame->checksum_at, 50);
    ck_assert_uint_ne(sum_from(frame, 34), 0xffff);
    net_frame_complete(frame);
    ck_assert_uint_eq(sum_from(frame, 34), 0xffff);
    net_port_done(&peer, true);
    ck_assert_int_eq(transmit_without_sum(34, 65, 101, 2), 0);
    ck_assert_uint_eq(counters[0].tx_errors, 0);
    ck_assert_int_eq(transmit_without_sum(34, 66, 101, 2), 0);
    ck_assert_int_eq(transmit_without_sum(34, UINT16_MAX, 101, 2), 0);
    ck_assert_int_eq(transmit_without_sum(13, 2, 101, 2), 0);
    ck_assert_uint_eq(counters[0].tx_errors, 3);
}
END_TEST

// A frame for the guest alone, with a sum to be filled in.
static uint8_t *receive_without_sum(void) {
    uint8_t *data = add(0, 400, VRING_DESC_F_WRITE);
    struct net_frame *frame = frame_of(101, 0);

    memset(frame->bytes, 2, 6); // as transmit_without_sum names it
    memset(frame->bytes + 50, 0, 2);
    frame->checksum_start = 34;
    frame->checksum_at = 50;
    net_port_send(&peer, frame, now());
    device.extra(session.state);
    return data;
}

START_TEST(test_receives_without_sums) {
    struct net_frame *copy = net_frame_new(101);
    struct virtio_net_hdr header;

    connect(FEATURE(VIRTIO_NET_F_CSUM) | FEATURE(VIRTIO_NET_F_GUEST_CSUM), 2);
    transmit_without_sum(34, 16, 101, 2);
    memcpy(&header, receive_without_sum(), sizeof(header));
    ck_assert_uint_eq(header.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
    ck_assert_uint_eq(header.csum_start, 34);
    ck_assert_uint_eq(header.csum_offset, 16);
    session.features &= ~FEATURE(VIRTIO_NET_F_GUEST_CSUM);
    const uint8_t *data = receive_without_sum();
    ck_assert_uint_eq(data[0], 0);
    memcpy(copy->bytes, data + HEADER, 101);
    ck_assert_uint_eq(sum_from(copy, 34), 0xffff);
    net_frame_release(copy);
}
END_TEST

START_TEST(test_transmits) {
    struct net_frame *frame;

    connect(FEATURE(VIRTIO_NET_F_MRG_RXBUF), 2);
    ck_assert_int_eq(transmit(HEADER + 100, 0, 0), 0);
    frame = net_port_peek(&peer);
    ck_assert_ptr_nonnull(frame);
    ck_assert_uint_eq(frame->length, 100);
    ck_assert_uint_eq(frame->bytes[99], (uint8_t)(99 * 7));
    net_port_done(&peer, true);
    ck_assert_uint_eq(counters[0].tx_bytes, 100);
    ck_assert_int_eq(transmit(HEADER + 100, VIRTIO_NET_HDR_F_NEEDS_CSUM, 0), 0);
    ck_assert_int_eq(transmit(HEADER + 100, 0, VIRTIO_NET_HDR_GSO_TCPV4), 0);
    ck_assert_int_eq(transmit(HEADER + ETH_HLEN - 1, 0, 0), 0);
    ck_assert_uint_eq(counters[0].tx_errors, 3);
    ck_assert_ptr_null(net_port_peek(&peer));
    ck_assert_uint_eq(used(1), 4);
    add(1, HEADER - 1, 0);
    ck_assert_int_eq(virtqueue_pop(&session.queues[1].ring, &session.buffer), 1);
    ck_assert_int_eq(device.serve(session.state, 1, &session.buffer), -EPROTO);
    ck_assert_int_eq(device.serve(session.state, 0, &session.buffer), -EPROTO);
}
END_TEST

// A ring that lies ends the service to that queue; the others go on.
START_TEST(test_malformed) {
    connect(FEATURE(VIRTIO_NET_F_MRG_RXBUF), 4);
    ((struct vring_desc *)(ram + RING(0)))[0].addr = MEMORY_SIZE;
    ((uint16_t *)(ram + RING(0) + DRIVER))[1] = SIZE + 1;
    for (unsigned i = 0; i < SIZE; i++)
        add(2, 200, VRING_DESC_F_WRITE);
    for (uint8_t i = 0; i < SIZE; i++)
        net_port_send(&peer, frame_of(100, i), 0);
    device.extra(session.state);
    ck_assert(!session.queues[0].enabled);
    ck_assert(session.queues[2].enabled);
    ck_assert_uint_eq(used(2), SIZE);
    add(2, HEADER, VRING_DESC_F_WRITE); // no room for a frame's first byte
    net_port_send(&peer, frame_of(100, 0), 0);
    device.extra(session.state);
    ck_assert(!session.queues[2].enabled);
}
END_TEST

Suite *net_server_suite(void) {
    Suite *suite = suite_create("net_server");
    TCase *tests = tcase_create("net_server");

    tcase_add_checked_fixture(tests, start, stop);
    tcase_add_test(tests, test_merges);
    tcase_add_test(tests, test_single_buffer);
    tcase_add_test(tests, test_spreads_connections);
    tcase_add_test(tests, test_transmits);
    tcase_add_test(tests, test_sends_without_sums);
    tcase_add_test(tests, test_receives_without_sums);
    tcase_add_test(tests, test_malformed);
    suite_add_tcase(suite, tests);
    return suite;
}
