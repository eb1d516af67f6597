// SPDX-License-Identifier: BSD-2-Clause
// Frames from and to the rings of a virtio network device: virtio 1.2, 5.1.6. Even queues receive.
#include "drivers/vhost_user/net_server.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "drivers/net/segments.h"
#include "drivers/vhost_user/rings.h"

#define BIT(number)  (1ull << (number))
#define HEADER_SIZE  sizeof(struct virtio_net_hdr_mrg_rxbuf)
#define BUFFERS_MAX  128u // that one frame is spread over: even of 74 bytes each
#define FRAMES_BATCH 256u // until the session looks at its socket again

struct state {
    struct vhost_user_session *session;
    struct net_port port;
    struct virtqueue_buffer first, next; // the ones being filled
};

// 5.1.6.1: legacy drivers without mergeable buffers leave num_buffers out.
static uint32_t header_size(const struct vhost_user_session *session) {
    return session->features & (BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_NET_F_MRG_RXBUF))
               ? HEADER_SIZE
               : sizeof(struct virtio_net_hdr);
}

// The features that a frame of this type takes.
static uint64_t tso_feature(uint8_t gso_type, unsigned tso4, unsigned tso6, unsigned ecn) {
    return BIT((gso_type & ~VIRTIO_NET_HDR_GSO_ECN) == VIRTIO_NET_HDR_GSO_TCPV4 ? tso4 : tso6) |
           (gso_type & VIRTIO_NET_HDR_GSO_ECN ? BIT(ecn) : 0);
}

static uint32_t now(void) {
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &time);
    return (uint32_t)time.tv_sec;
}

// What the driver leaves to others, as far as it was told that it may. False: it may not.
static bool set_offloads(const struct vhost_user_session *session, struct net_frame *frame,
                         const struct virtio_net_hdr *header) {
    const uint64_t needed = tso_feature(header->gso_type, VIRTIO_NET_F_HOST_TSO4,
                                        VIRTIO_NET_F_HOST_TSO6, VIRTIO_NET_F_HOST_ECN);
    uint32_t sum_at = (uint32_t)header->csum_start + header->csum_offset;

    if (header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
        if (!(session->features & BIT(VIRTIO_NET_F_CSUM)) || header->csum_start < ETH_HLEN ||
            sum_at + 2 > frame->length)
            return false;
        frame->checksum_start = header->csum_start;
        frame->checksum_at = (uint16_t)sum_at;
    }
    return header->gso_type == VIRTIO_NET_HDR_GSO_NONE ||
           ((session->features & needed) == needed && net_frame_set_segments(frame, header));
}

static int serve(void *context, unsigned queue, const struct virtqueue_buffer *buffer) {
    struct state *state = context;
    struct virtio_net_hdr header;
    uint32_t skip = header_size(state->session);

    // Only a forged record of what is in flight names another buffer of a queue that receives.
    if (queue % 2 == 0 || virtqueue_read(buffer, 0, &header, sizeof(header)) != sizeof(header) ||
        buffer->readable_bytes < skip)
        return -EPROTO;
    uint32_t length = buffer->readable_bytes - skip;
    struct net_frame *frame = NULL;
    bool bad = length < ETH_HLEN ||
               length > (header.gso_type == VIRTIO_NET_HDR_GSO_NONE ? NET_FRAME_MAX : NET_LONG_MAX);
    if (!bad && (frame = net_frame_new(length))) {
        virtqueue_read(buffer, skip, frame->bytes, length);
        bad = !set_offloads(state->session, frame, &header);
    }
    if (frame && !bad) {
        net_port_send(&state->port, frame, now());
    } else {
        net_count(bad ? &state->port.counters->tx_errors : &state->port.counters->tx_dropped, 1);
        if (frame)
            net_frame_release(frame);
    }
    vhost_user_complete(state->session, queue, buffer, 0);
    return 0;
}

// Puts a frame into a queue's buffers. 1; 0 where there are too few yet, and the driver is asked
// for a kick; -EMSGSIZE where it will never fit; -EPROTO.
static int put(struct state *state, struct virtqueue *ring, struct net_frame *frame) {
    const uint32_t header = header_size(state->session);
    const unsigned most = state->session->features & BIT(VIRTIO_NET_F_MRG_RXBUF) ? BUFFERS_MAX : 1;
    struct virtio_net_hdr fields = {0};
    struct virtqueue_used used[BUFFERS_MAX];
    uint16_t count = 0;
    uint32_t done = 0;
    int got = 1;

    // What another guest sent went over no wire: a receiver that can need not look at its sum.
    if (!(state->session->features & BIT(VIRTIO_NET_F_GUEST_CSUM)))
        net_frame_complete(frame);
    if (frame->checksum_at)
        fields = (struct virtio_net_hdr){
            .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
            .gso_type = frame->gso_type,
            .hdr_len = (uint16_t)frame->headers,
            .gso_size = frame->segment_size,
            .csum_start = frame->checksum_start,
            .csum_offset = (uint16_t)(frame->checksum_at - frame->checksum_start)};
    while (got == 1 && done < frame->length) {
        struct virtqueue_buffer *buffer = count ? &state->next : &state->first;
        uint32_t skip = count ? 0 : header;

        if (count == most) {
            got = -EMSGSIZE;
            break;
        }
        got = virtqueue_pop(ring, buffer);
        if (got == 0 && virtqueue_enable_kicks(ring))
            got = virtqueue_pop(ring, buffer);
        if (got == 1 && buffer->writable_bytes < skip + 1)
            got = -EPROTO;
        if (got != 1)
            break;
        uint32_t written = virtqueue_write(buffer, skip, frame->bytes + done, frame->length - done);
        used[count++] = (struct virtqueue_used){buffer->id, buffer->descriptors, skip + written};
        done += written;
    }
    if (got == 1) {
        virtqueue_write(&state->first, 0, &fields, sizeof(fields));
        if (header == HEADER_SIZE)
            virtqueue_write(&state->first, sizeof(fields), &count, sizeof(count));
        virtqueue_push_all(ring, used, count);
        return 1;
    }
    while (count)
        virtqueue_unpop(ring, used[--count].descriptors);
    return got;
}

// The queue that receives a frame: of those the driver has enabled, one and the same for a
// connection of TCP or UDP (5.1.6.5.6). -1: none.
static int choose(const struct state *state, const struct net_frame *frame) {
    const struct vhost_user_session *session = state->session;
    uint8_t key[12];
    uint32_t hash = 0;
    unsigned served = 0, queues[VHOST_USER_QUEUES_MAX / 2];

    for (unsigned i = 0; i < session->device->queues; i += 2)
        if (vhost_user_queue_is_served(session, i))
            queues[served++] = i;
    if (served <= 1)
        return served ? (int)queues[0] : -1;
    // IPv4's addresses and the ports behind them, else the stations.
    bool ipv4 = frame->length >= 38 && frame->bytes[12] == 8 && frame->bytes[13] == 0;
    memcpy(key, frame->bytes + (ipv4 ? 26 : 0), sizeof(key));
    for (unsigned i = 0; i < sizeof(key); i++)
        hash = (hash ^ key[i]) * 0x01000193u; // FNV-1a
    return (int)queues[(hash ^ hash >> 16) % served];
}

static struct net_frame *peek(struct state *state) {
    struct net_frame *frame = net_port_peek(&state->port);

    if (frame && frame->segment_size) {
        uint64_t needed = tso_feature(frame->gso_type, VIRTIO_NET_F_GUEST_TSO4,
                                      VIRTIO_NET_F_GUEST_TSO6, VIRTIO_NET_F_GUEST_ECN) |
                          BIT(VIRTIO_NET_F_GUEST_CSUM);

        if ((state->session->features & needed) != needed)
            frame = net_port_peek_whole(&state->port);
    }
    return frame;
}

static void receive(struct state *state) {
    struct net_frame *frame;
    unsigned frames = 0;

    while ((frame = peek(state)) && frames++ < FRAMES_BATCH) {
        int queue = choose(state, frame);
        int got = queue < 0 ? -ENETDOWN : put(state, &state->session->queues[queue].ring, frame);

        if (got == 0)
            break;
        if (got == -EPROTO)
            vhost_user_break(state->session, (unsigned)queue);
        else
            net_port_done(&state->port, got == 1);
    }
    for (unsigned i = 0; i < state->session->device->queues; i += 2)
        if (vhost_user_queue_is_served(state->session, i))
            vhost_user_signal(state->session, i);
    if (frames > FRAMES_BATCH)
        ring_signal_fd(state->port.wake_fd);
}

static bool fill(void *context, unsigned queue) {
    struct state *state = context;

    if (queue % 2)
        return false;
    if (vhost_user_queue_is_served(state->session, queue))
        virtqueue_disable_kicks(&state->session->queues[queue].ring);
    receive(state); // of one that is disabled, too: what waited for its buffers goes elsewhere
    return true;
}

static int wake_fd(void *context) {
    return ((struct state *)context)->port.wake_fd;
}

static void wake(void *context) {
    struct state *state = context;
    uint64_t count;

    if (read(state->port.wake_fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
        return;
    receive(state);
}

static void *open_state(struct vhost_user_session *session, void *context) {
    const struct net_server *server = context;
    struct state *state = calloc(1, sizeof(*state));

    if (!state)
        return NULL;
    state->session = session;
    state->port.counters = server->counters;
    state->port.mac = server->mac;
    if (net_port_attach(&state->port, server->bridge) < 0) {
        free(state);
        return NULL;
    }
    return state;
}

static void close_state(void *context) {
    struct state *state = context;

    net_port_detach(&state->port);
    free(state);
}

static void read_config(void *context, void *config) {
    const struct net_server *server = context;
    struct virtio_net_config *net = config;

    net->status = VIRTIO_NET_S_LINK_UP;
    net->max_virtqueue_pairs = (uint16_t)(server->queues / 2);
    if (server->mac)
        memcpy(net->mac, server->mac, ETH_ALEN);
}

void net_server_device(const struct net_server *server, struct vhost_user_device *device) {
    *device = (struct vhost_user_device){
        .name = "vhost-user-net",
        .features = BIT(VIRTIO_F_RING_PACKED) | BIT(VIRTIO_NET_F_MRG_RXBUF) |
                    BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_GUEST_CSUM) |
                    BIT(VIRTIO_NET_F_HOST_TSO4) | BIT(VIRTIO_NET_F_GUEST_TSO4) |
                    BIT(VIRTIO_NET_F_HOST_TSO6) | BIT(VIRTIO_NET_F_GUEST_TSO6) |
                    BIT(VIRTIO_NET_F_HOST_ECN) | BIT(VIRTIO_NET_F_GUEST_ECN) |
                    (server->queues > 2 ? BIT(VIRTIO_NET_F_MQ) : 0),
        .queues = server->queues,
        .device = (void *)(uintptr_t)server,
        .read_config = read_config,
        .open = open_state,
        .close = close_state,
        .serve = serve,
        .fill = fill,
        .extra_fd = wake_fd,
        .extra = wake,
    };
}

void net_server_run(const struct net_server *server, int socket) {
    struct vhost_user_device device;

    net_server_device(server, &device);
    vhost_user_session_run(&device, socket);
}
