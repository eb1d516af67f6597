// SPDX-License-Identifier: BSD-2-Clause
// A learning switch (IEEE 802.1D's filtering database and forwarding, no spanning tree) between the
// network interfaces of guests and NICs. VLAN tags are carried as they are.
#pragma once

#include <linux/if_ether.h>
#include <linux/virtio_net.h>
#include <stdbool.h>
#include <stdint.h>

#define NET_FRAME_MAX      9216u // bytes of a frame, Ethernet header and VLAN tags included
#define NET_LONG_MAX       (65535u + ETH_HLEN + 8) // of one that is to be cut into segments
#define NET_PORTS_MAX      64
#define NET_PORT_FRAMES    256u // waiting at one port
#define NET_PORT_BYTES     (1u << 20)
#define NET_AGEING_SECONDS 300u // 802.1D's default

// What goes through the switch; one that floods is shared by the ports it waits at.
struct net_frame {
    unsigned references;
    uint32_t length;
    // The field for the sum over all bytes from a start on, which holds that of the pseudo header
    // so far; 0: the checksum is there, or is none of this program's business. Only one port's
    // frame may lack it.
    uint16_t checksum_start, checksum_at;
    // Of a long one: what a segment holds of the payload, which is behind the headers. 0: a frame
    // as it goes over a wire.
    uint16_t segment_size;
    uint8_t gso_type; // as virtio has it
    uint32_t headers;
    uint8_t bytes[];
};

// As its user sees it: rx is what it received.
struct net_counters {
    uint64_t rx_packets, rx_bytes, rx_errors, rx_dropped;
    uint64_t tx_packets, tx_bytes, tx_errors, tx_dropped;
};

struct net_switch;

struct net_port {
    struct net_counters *counters; // may be shared by ports
    const uint8_t *mac;            // the only source address its frames may have; NULL: any
    struct net_switch *bridge;
    int wake_fd; // readable once frames have begun to wait
    unsigned first, count, bytes;
    struct net_frame *waiting[NET_PORT_FRAMES];
    struct net_frame *segment; // of the one that waits longest; what came before it is received
    uint32_t position;
};

// Without ports; NULL where there is no memory.
struct net_switch *net_switch_create(void);

// A port whose counters and mac are set joins, and leaves: what waits there is gone then.
// -ENOSPC where the switch has no room for it, or -errno.
int net_port_attach(struct net_port *port, struct net_switch *bridge);
void net_port_detach(struct net_port *port);

// A frame for net_port_send to fill and take; NULL where there is no memory.
struct net_frame *net_frame_new(uint32_t length);
void net_frame_release(struct net_frame *frame);
// Fills in the checksum where it lacks, as UDP wants it too: never 0.
void net_frame_complete(struct net_frame *frame);

// The port's user sends a frame, at a time in seconds that only grows. Any thread.
void net_port_send(struct net_port *port, struct net_frame *frame, uint32_t now);

// The frame that waits longest, left there; NULL: none. And: it was received (or, where `taken` is
// false, could not be). By one thread.
struct net_frame *net_port_peek(struct net_port *port);
void net_port_done(struct net_port *port, bool taken);
// As net_port_peek, for who takes only what a wire does: long frames come in segments, and all have
// their checksums.
struct net_frame *net_port_peek_whole(struct net_port *port);

static inline void net_count(uint64_t *counter, uint64_t by) {
    __atomic_fetch_add(counter, by, __ATOMIC_RELAXED);
}
