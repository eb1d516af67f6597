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
#include "drivers/net/segments.h"
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

// What waits for the buffers of a queue that is disabled then goes to another, which asks for no
// kick that would say so.
START_TEST(test_queue_is_disabled) {
    uint8_t sent = 0;

    connect(FEATURE(VIRTIO_NET_F_MRG_RXBUF), 4);
    for (unsigned i = 0; i < SIZE; i++)
        add(0, 200, VRING_DESC_F_WRITE);
    for (; used(0) == sent && sent < SIZE; sent++) {
        net_port_send(&peer, frame_of(100, sent), 0);
        device.extra(session.state);
    }
    ck_assert_uint_eq(used(0), sent - 1u); // the last one's queue has none
    session.queues[2].enabled = false;
    device.fill(session.state, 2);
    ck_assert_uint_eq(used(0), sent);
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

#define PAYLOAD 3000u
#define MSS     1400u
#define IP      18u // behind a VLAN tag
#define TCP     (IP + 20)
#define HEADERS (TCP + 32)

static uint32_t number_at(const uint8_t *at, unsigned size) {
    uint32_t number = 0;

    for (unsigned i = 0; i < size; i++)
        number = number << 8 | at[i];
    return number;
}

// A long frame of IPv4 in a VLAN, as Linux makes it: its TCP checksum is the pseudo header's sum.
static struct net_frame *long_frame(void) {
    static const uint8_t head[HEADERS] = {
        2,    0,  0, 0,  0,    9,    2,    2,    2,  2, 2, 2, 0x81, 0,   0, 5, 8,  0, // Ethernet
        0x45, 0,  0, 0,  0,    9,    0,    0,    64, 6, 0, 0, 10,   0,   0, 1, 10, 0, 0, 2, // IPv4
        0,    80, 0, 81, 0xff, 0xff, 0xff, 0xf0, 0,  0, 0, 1, 0x80, 0x99};                  // TCP
    struct net_frame *frame = frame_of(HEADERS + PAYLOAD, 0);
    const uint32_t total = 20 + 32 + PAYLOAD;
    uint32_t sum = 0x0a00 + 0x0001 + 0x0a00 + 0x0002 + 6 + 32 + PAYLOAD;

    memcpy(frame->bytes, head, sizeof(head));
    frame->bytes[IP + 2] = (uint8_t)(total >> 8);
    frame->bytes[IP + 3] = (uint8_t)total;
    frame->bytes[TCP + 16] = (uint8_t)(sum >> 8);
    frame->bytes[TCP + 17] = (uint8_t)sum;
    return frame;
}

static const struct virtio_net_hdr long_header = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
                                                  .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
                                                  .gso_size = MSS,
                                                  .csum_start = TCP,
                                                  .csum_offset = 16};

static void transmit_long(const struct virtio_net_hdr *header) {
    uint16_t *ring = (uint16_t *)(ram + RING(1) + DRIVER);
    struct net_frame *frame = long_frame();
    uint8_t *data = add(1, HEADER + frame->length, 0);

    ck_assert_uint_le((ring[1] - 1u) % SIZE * 0x800 + HEADER + frame->length, 0x8000);
    memcpy(data, header, sizeof(*header));
    memcpy(data + HEADER, frame->bytes, frame->length);
    net_frame_release(frame);
    ck_assert_int_eq(virtqueue_pop(&session.queues[1].ring, &session.buffer), 1);
    ck_assert_int_eq(device.serve(session.state, 1, &session.buffer), 0);
}

static void check_segment(const struct net_frame *segment, uint32_t position, uint32_t size,
                          uint8_t flags) {
    struct net_frame *whole = long_frame();
    struct net_frame *pseudo = net_frame_new(12 + 32 + size);

    ck_assert_uint_eq(segment->length, HEADERS + size);
    ck_assert_uint_eq(segment->segment_size, 0);
    ck_assert_uint_eq(number_at(segment->bytes + IP + 2, 2), 20 + 32 + size);
    ck_assert_uint_eq(number_at(segment->bytes + IP + 4, 2), 9 + position / MSS);
    ck_assert_uint_eq(number_at(segment->bytes + TCP + 4, 4), 0xfffffff0u + position);
    ck_assert_uint_eq(segment->bytes[TCP + 13], flags);
    ck_assert_mem_eq(segment->bytes + HEADERS, whole->bytes + HEADERS + position, size);
    memcpy(pseudo->bytes, segment->bytes + IP + 12, 8);
    memcpy(pseudo->bytes + 8, (uint8_t[]){0, 6, (uint8_t)((32 + size) >> 8), (uint8_t)(32 + size)},
           4);
    memcpy(pseudo->bytes + 12, segment->bytes + TCP, 32 + size);
    ck_assert_uint_eq(sum_from(pseudo, 0), 0xffff);
    pseudo->length = 20;
    memcpy(pseudo->bytes, segment->bytes + IP, 20);
    ck_assert_uint_eq(sum_from(pseudo, 0), 0xffff);
    net_frame_release(pseudo);
    net_frame_release(whole);
}

START_TEST(test_segments) {
    static const struct {
        uint32_t size;
        uint8_t flags;
    } segments[] = {{MSS, 0x90}, {MSS, 0x10}, {PAYLOAD - 2 * MSS, 0x19}};
    uint32_t position = 0;

    connect(FEATURE(VIRTIO_NET_F_CSUM) | FEATURE(VIRTIO_NET_F_HOST_TSO4), 2);
    transmit_long(&long_header);
    for (unsigned i = 0; i < 3; i++) {
        const struct net_frame *segment = net_port_peek_whole(&peer);

        ck_assert_ptr_nonnull(segment);
        ck_assert_ptr_eq(segment, net_port_peek_whole(&peer));
        check_segment(segment, position, segments[i].size, segments[i].flags);
        position += segments[i].size;
        net_port_done(&peer, true);
    }
    ck_assert_ptr_null(net_port_peek_whole(&peer));
    ck_assert_uint_eq(counters[1].rx_packets, 1);
    ck_assert_uint_eq(counters[1].rx_bytes, HEADERS + PAYLOAD);
    transmit_long(&long_header);
    net_port_peek_whole(&peer); // under way when the port leaves
}
END_TEST

START_TEST(test_segments_that_are_none) {
    struct virtio_net_hdr headers[9];

    connect(FEATURE(VIRTIO_NET_F_CSUM) | FEATURE(VIRTIO_NET_F_HOST_TSO4), 2);
    for (unsigned i = 0; i < 9; i++)
        headers[i] = long_header;
    headers[0].flags = 0;
    headers[1].csum_offset = 6;
    headers[2].csum_start = IP;
    headers[3].csum_start = HEADERS + PAYLOAD - 18;
    headers[4].gso_size = 0;
    headers[5].gso_type = VIRTIO_NET_HDR_GSO_UDP;
    headers[6].gso_type |= VIRTIO_NET_HDR_GSO_ECN; // not negotiated
    headers[7].gso_type = VIRTIO_NET_HDR_GSO_TCPV6;
    headers[8].csum_start = TCP + 20;
    for (unsigned i = 0; i < 9; i++)
        transmit_long(&headers[i]);
    ck_assert_uint_eq(counters[0].tx_errors, 9);
    session.features |= FEATURE(VIRTIO_NET_F_HOST_TSO6);
    transmit_long(&headers[7]); // it is IPv4
    ck_assert_uint_eq(counters[0].tx_errors, 10);
    ck_assert_ptr_null(net_port_peek(&peer));
}
END_TEST

START_TEST(test_segments_of_ipv6) {
    enum { IP6 = ETH_HLEN, TCP6 = IP6 + 40, HEADERS6 = TCP6 + 20, BYTES = 2000 };
    const struct virtio_net_hdr header = {
        .gso_type = VIRTIO_NET_HDR_GSO_TCPV6, .gso_size = MSS, .csum_start = TCP6};
    struct net_frame *frame = frame_of(HEADERS6 + BYTES, 0);
    struct net_frame *pseudo = net_frame_new(40 + 20 + MSS);
    uint32_t sum = 6 + 20 + BYTES;

    connect(0, 2);
    frame->bytes[12] = 0x86;
    frame->bytes[13] = 0xdd;
    frame->bytes[TCP6 + 12] = 0x50;
    for (unsigned at = IP6 + 8; at < TCP6; at += 2)
        sum += number_at(frame->bytes + at, 2);
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    frame->bytes[TCP6 + 16] = (uint8_t)(sum >> 8);
    frame->bytes[TCP6 + 17] = (uint8_t)sum;
    frame->checksum_start = TCP6;
    frame->checksum_at = TCP6 + 16;
    ck_assert(net_frame_set_segments(frame, &header));
    for (uint32_t at = 0; at < BYTES; at += MSS) {
        uint32_t size = at ? BYTES - MSS : MSS;
        struct net_frame *segment = net_frame_segment(frame, at);

        net_frame_complete(segment);
        ck_assert_uint_eq(segment->length, HEADERS6 + size);
        ck_assert_uint_eq(number_at(segment->bytes + IP6 + 4, 2), 20 + size);
        memset(pseudo->bytes, 0, 40);
        memcpy(pseudo->bytes, segment->bytes + IP6 + 8, 32);
        memcpy(pseudo->bytes + 32, (uint8_t[]){(uint8_t)((20 + size) >> 8), (uint8_t)(20 + size)},
               2);
        pseudo->bytes[35] = 6;
        memcpy(pseudo->bytes + 36, segment->bytes + TCP6, 20 + size);
        pseudo->length = 36 + 20 + size;
        ck_assert_uint_eq(sum_from(pseudo, 0), 0xffff);
        net_frame_release(segment);
    }
    net_frame_release(pseudo);
    net_frame_release(frame);
}
END_TEST

// What goes to a guest that takes long frames goes as it came; to another in segments.
START_TEST(test_receives_long_frames) {
    struct virtio_net_hdr header;

    connect(FEATURE(VIRTIO_NET_F_MRG_RXBUF) | FEATURE(VIRTIO_NET_F_GUEST_CSUM) |
                FEATURE(VIRTIO_NET_F_GUEST_TSO4),
            2);
    for (unsigned round = 0; round < 2; round++) {
        struct net_frame *frame = long_frame();
        const uint8_t *data = add(0, 2000, VRING_DESC_F_WRITE);

        for (unsigned i = 0; i < 3; i++)
            add(0, 2000, VRING_DESC_F_WRITE);
        memset(frame->bytes, 0xff, 6);
        memset(frame->bytes + 6, 4, 6);
        frame->checksum_start = TCP;
        frame->checksum_at = TCP + 16;
        ck_assert(net_frame_set_segments(frame, &long_header));
        net_port_send(&peer, frame, now());
        device.extra(session.state);
        memcpy(&header, data, sizeof(header));
        ck_assert_uint_eq(header.flags, round ? 0 : VIRTIO_NET_HDR_F_NEEDS_CSUM);
        ck_assert_uint_eq(header.gso_type, round ? 0 : VIRTIO_NET_HDR_GSO_TCPV4);
        ck_assert_uint_eq(header.gso_size, round ? 0 : MSS);
        ck_assert_uint_eq(used(0), round ? 5 : 2);
        session.features &= ~FEATURE(VIRTIO_NET_F_GUEST_CSUM);
        session.features &= ~FEATURE(VIRTIO_NET_F_GUEST_TSO4);
    }
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
    tcase_add_test(tests, test_queue_is_disabled);
    tcase_add_test(tests, test_segments);
    tcase_add_test(tests, test_segments_that_are_none);
    tcase_add_test(tests, test_segments_of_ipv6);
    tcase_add_test(tests, test_receives_long_frames);
    tcase_add_test(tests, test_transmits);
    tcase_add_test(tests, test_sends_without_sums);
    tcase_add_test(tests, test_receives_without_sums);
    tcase_add_test(tests, test_malformed);
    suite_add_tcase(suite, tests);
    return suite;
}
