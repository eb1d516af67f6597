// SPDX-License-Identifier: BSD-2-Clause
// A guest's memory, rings and all, is the input: what the network's back end takes from it and puts
// into it stays within, and ends.
// Sources: drivers/vhost_user/message.c drivers/vhost_user/inflight.c
// Sources: drivers/vhost_user/shared_mapping.c
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>
#include "drivers/net/segments.h"
#include "drivers/net/switch.h"
#include "drivers/vhost_user/net_server.h"
#include "drivers/vhost_user/session.h"
#include "drivers/virtio/virtqueue.h"

#define MEMORY_SIZE 0x4000u
#define QUEUES      4u
#define SIZE        16u

static uint8_t ram[MEMORY_SIZE] __attribute__((aligned(4096)));
static struct vhost_user_session session;

static void send_frames(struct net_port *peer) {
    for (uint32_t length = ETH_HLEN; length < NET_FRAME_MAX; length = length * 5 / 2) {
        struct net_frame *frame = net_frame_new(length);

        memset(frame->bytes, (int)length | 1, length);
        frame->bytes[ETH_ALEN] = 2;
        net_port_send(peer, frame, 0);
    }
}

static void serve(const struct vhost_user_device *device, unsigned queue) {
    struct vhost_user_queue *state = &session.queues[queue];

    if (!vhost_user_queue_is_served(&session, queue) || device->fill(session.state, queue))
        return;
    for (unsigned i = 0; i < 64 && virtqueue_pop(&state->ring, &session.buffer) == 1; i++)
        if (device->serve(session.state, queue, &session.buffer))
            return;
}

// The input as a long frame behind its header.
static void cut(const uint8_t *data, size_t size) {
    struct virtio_net_hdr header;
    size_t length = size - sizeof(header);

    if (size < sizeof(header) + ETH_HLEN || length > NET_LONG_MAX)
        return;
    memcpy(&header, data, sizeof(header));
    struct net_frame *frame = net_frame_new((uint32_t)length);
    memcpy(frame->bytes, data + sizeof(header), length);
    frame->checksum_start = header.csum_start;
    frame->checksum_at = (uint16_t)(header.csum_start + 16u);
    if (net_frame_set_segments(frame, &header)) {
        uint32_t payload = frame->length - frame->headers;

        for (uint32_t at = 0; at < payload; at += frame->segment_size) {
            struct net_frame *segment = net_frame_segment(frame, at);

            if (segment->length > frame->headers + frame->segment_size)
                abort();
            net_frame_complete(segment);
            net_frame_release(segment);
        }
    }
    net_frame_release(frame);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct net_counters counters[2];
    struct net_server server = {.queues = QUEUES, .counters = &counters[0]};
    struct net_port peer = {.counters = &counters[1]};
    struct vhost_user_device device;

    if (size < 1)
        return 0;
    cut(data, size);
    server.bridge = net_switch_create();
    if (!server.bridge || net_port_attach(&peer, server.bridge))
        abort();
    net_server_device(&server, &device);
    memset(ram, 0, sizeof(ram));
    memcpy(ram, data + 1, size - 1 < MEMORY_SIZE ? size - 1 : MEMORY_SIZE);
    memset(&session, 0, sizeof(session));
    session.device = &device;
    session.memory = (struct guest_memory_map){.regions = {{0, MEMORY_SIZE, ram}}, .count = 1};
    session.features = 1ull << VIRTIO_F_VERSION_1;
    session.features |= data[0] & 1 ? 1ull << VIRTIO_F_RING_PACKED : 0;
    session.features |= data[0] & 2 ? 1ull << VIRTIO_RING_F_INDIRECT_DESC : 0;
    session.features |= data[0] & 4 ? 1ull << VIRTIO_RING_F_EVENT_IDX : 0;
    session.features |= data[0] & 8 ? 1ull << VIRTIO_NET_F_MRG_RXBUF : 0;
    session.features |= data[0] & 16 ? device.features & 0xffffffffu : 0;
    session.state = device.open(&session, &server);
    for (unsigned i = 0; i < QUEUES; i++) {
        const struct virtqueue_addresses addresses = {i * 0x300, i * 0x300 + 0x100,
                                                      i * 0x300 + 0x200};

        session.queues[i].call = session.queues[i].error = -1;
        session.queues[i].started = session.queues[i].enabled = !virtqueue_attach(
            &session.queues[i].ring, &session.memory, SIZE, &addresses, session.features);
    }
    send_frames(&peer);
    for (unsigned i = 0; i < QUEUES; i++)
        serve(&device, i);
    device.extra(session.state);
    while (net_port_peek_whole(&peer))
        net_port_done(&peer, true);
    device.close(session.state);
    net_port_detach(&peer);
    free(server.bridge);
    return 0;
}
