// SPDX-License-Identifier: BSD-2-Clause
// One lock for the table and the queues: it is held for a look-up and a pointer's move, never while
// bytes are copied.
#define _GNU_SOURCE // eventfd
#include "drivers/net/switch.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "drivers/net/segments.h"

#define TABLE_SETS 256u
#define TABLE_WAYS 4u

struct station {
    uint8_t mac[ETH_ALEN];
    uint32_t seen; // seconds
    struct net_port *port;
};

struct net_switch {
    pthread_mutex_t lock;
    struct net_port *ports[NET_PORTS_MAX];
    struct station stations[TABLE_SETS * TABLE_WAYS];
};

struct net_switch *net_switch_create(void) {
    struct net_switch *bridge = calloc(1, sizeof(*bridge));

    if (bridge)
        pthread_mutex_init(&bridge->lock, NULL);
    return bridge;
}

struct net_frame *net_frame_new(uint32_t length) {
    struct net_frame *frame = malloc(sizeof(*frame) + length);

    if (frame) {
        *frame = (struct net_frame){.references = 1, .length = length};
    }
    return frame;
}

void net_frame_release(struct net_frame *frame) {
    if (__atomic_sub_fetch(&frame->references, 1, __ATOMIC_ACQ_REL) == 0)
        free(frame);
}

void net_frame_complete(struct net_frame *frame) {
    uint64_t sum = 0;

    if (!frame->checksum_at)
        return;
    for (uint32_t at = frame->checksum_start; at < frame->length; at += 2) {
        uint16_t word = 0;

        memcpy(&word, frame->bytes + at, at + 1 < frame->length ? 2 : 1);
        sum += word;
    }
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    uint16_t checksum = sum == 0xffff ? 0xffff : (uint16_t)~sum;
    memcpy(frame->bytes + frame->checksum_at, &checksum, sizeof(checksum));
    frame->checksum_at = 0;
}

int net_port_attach(struct net_port *port, struct net_switch *bridge) {
    int error = -ENOSPC;

    port->bridge = bridge;
    port->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (port->wake_fd < 0)
        return -errno;
    pthread_mutex_lock(&bridge->lock);
    for (unsigned i = 0; i < NET_PORTS_MAX && error; i++) {
        if (!bridge->ports[i]) {
            bridge->ports[i] = port;
            error = 0;
        }
    }
    pthread_mutex_unlock(&bridge->lock);
    if (error)
        close(port->wake_fd);
    return error;
}

void net_port_detach(struct net_port *port) {
    struct net_switch *bridge = port->bridge;

    pthread_mutex_lock(&bridge->lock);
    for (unsigned i = 0; i < NET_PORTS_MAX; i++)
        if (bridge->ports[i] == port)
            bridge->ports[i] = NULL;
    for (unsigned i = 0; i < TABLE_SETS * TABLE_WAYS; i++)
        if (bridge->stations[i].port == port)
            bridge->stations[i].port = NULL;
    pthread_mutex_unlock(&bridge->lock);
    while (net_port_peek(port))
        net_port_done(port, false);
    close(port->wake_fd);
}

static struct station *set_of(struct net_switch *bridge, const uint8_t *mac) {
    uint32_t hash = 0;

    for (int i = 0; i < ETH_ALEN; i++)
        hash = (hash ^ mac[i]) * 0x01000193u; // FNV-1a
    return &bridge->stations[(hash ^ hash >> 16) % TABLE_SETS * TABLE_WAYS];
}

static struct station *find(struct net_switch *bridge, const uint8_t *mac) {
    struct station *set = set_of(bridge, mac);

    for (unsigned i = 0; i < TABLE_WAYS; i++)
        if (set[i].port && memcmp(set[i].mac, mac, ETH_ALEN) == 0)
            return &set[i];
    return NULL;
}

// The place of a new station: a free one, else one of the same port, so that a port which invents
// addresses forgets its own first, else the one not seen for longest.
static struct station *place(struct net_switch *bridge, const uint8_t *mac,
                             const struct net_port *port) {
    struct station *set = set_of(bridge, mac), *chosen = &set[0];

    for (unsigned i = 0; i < TABLE_WAYS; i++)
        if (!set[i].port)
            return &set[i];
    for (unsigned i = 0; i < TABLE_WAYS; i++) {
        if (set[i].port == port)
            return &set[i];
        if (set[i].seen < chosen->seen)
            chosen = &set[i];
    }
    return chosen;
}

static void learn(struct net_port *port, const uint8_t *mac, uint32_t now) {
    struct station *station = find(port->bridge, mac);

    if (!station)
        station = place(port->bridge, mac, port);
    memcpy(station->mac, mac, ETH_ALEN);
    station->port = port;
    station->seen = now;
}

static void enqueue(struct net_port *port, struct net_frame *frame) {
    const uint64_t one = 1;

    if (port->count == NET_PORT_FRAMES || port->bytes + frame->length > NET_PORT_BYTES) {
        net_count(&port->counters->rx_dropped, 1);
        return;
    }
    __atomic_add_fetch(&frame->references, 1, __ATOMIC_RELAXED);
    port->waiting[(port->first + port->count) % NET_PORT_FRAMES] = frame;
    port->bytes += frame->length;
    // It can only fail by being signalled already.
    if (port->count++ == 0 && write(port->wake_fd, &one, sizeof(one)) < 0)
        return;
}

static void forward(struct net_port *from, struct net_frame *frame, uint32_t now) {
    static const uint8_t link_local[5] = {0x01, 0x80, 0xc2, 0, 0};
    const uint8_t *target = frame->bytes;
    struct net_switch *bridge = from->bridge;
    struct station *station = target[0] & 1 ? NULL : find(bridge, target);

    if (memcmp(target, link_local, sizeof(link_local)) == 0 && target[5] < 0x10)
        return; // 802.1D, 7.12.6: no bridge forwards these
    if (station && now - station->seen <= NET_AGEING_SECONDS) {
        if (station->port != from)
            enqueue(station->port, frame);
        return;
    }
    // Several will read it, each when it likes.
    if (!frame->segment_size)
        net_frame_complete(frame);
    for (unsigned i = 0; i < NET_PORTS_MAX; i++)
        if (bridge->ports[i] && bridge->ports[i] != from)
            enqueue(bridge->ports[i], frame);
}

void net_port_send(struct net_port *port, struct net_frame *frame, uint32_t now) {
    const uint8_t *source = frame->bytes + ETH_ALEN;

    if (frame->length < ETH_HLEN ||
        frame->length > (frame->segment_size ? NET_LONG_MAX : NET_FRAME_MAX) || source[0] & 1) {
        net_count(&port->counters->tx_errors, 1);
    } else if (port->mac && memcmp(port->mac, source, ETH_ALEN) != 0) {
        net_count(&port->counters->tx_dropped, 1);
    } else {
        net_count(&port->counters->tx_packets, 1);
        net_count(&port->counters->tx_bytes, frame->length);
        pthread_mutex_lock(&port->bridge->lock);
        learn(port, source, now);
        forward(port, frame, now);
        pthread_mutex_unlock(&port->bridge->lock);
    }
    net_frame_release(frame);
}

struct net_frame *net_port_peek(struct net_port *port) {
    struct net_frame *frame = NULL;

    pthread_mutex_lock(&port->bridge->lock);
    if (port->count)
        frame = port->waiting[port->first];
    pthread_mutex_unlock(&port->bridge->lock);
    return frame;
}

struct net_frame *net_port_peek_whole(struct net_port *port) {
    struct net_frame *frame;

    while ((frame = net_port_peek(port)) && frame->segment_size) {
        if (!port->segment)
            port->segment = net_frame_segment(frame, port->position);
        if ((frame = port->segment))
            break;
        net_port_done(port, false); // no memory for the rest of it
    }
    if (frame)
        net_frame_complete(frame);
    return frame;
}

// Whether there are more segments of the frame that waits longest.
static bool segment_done(struct net_port *port) {
    const struct net_frame *frame = port->waiting[port->first];

    if (port->segment) {
        port->position += frame->segment_size;
        net_frame_release(port->segment);
        port->segment = NULL;
        if (port->position < frame->length - frame->headers)
            return true;
    }
    port->position = 0;
    return false;
}

void net_port_done(struct net_port *port, bool taken) {
    if (segment_done(port))
        return;
    pthread_mutex_lock(&port->bridge->lock);
    struct net_frame *frame = port->waiting[port->first];
    port->first = (port->first + 1) % NET_PORT_FRAMES;
    port->count--;
    port->bytes -= frame->length;
    pthread_mutex_unlock(&port->bridge->lock);
    if (taken) {
        net_count(&port->counters->rx_packets, 1);
        net_count(&port->counters->rx_bytes, frame->length);
    } else {
        net_count(&port->counters->rx_dropped, 1);
    }
    net_frame_release(frame);
}
