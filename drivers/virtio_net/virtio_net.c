// SPDX-License-Identifier: BSD-2-Clause
// One queue each way, a buffer for each frame, no offloads. Without a control queue the device
// delivers what is sent to any station.
#include "drivers/virtio_net/virtio_net.h"

#include <linux/virtio_net.h>
#include <stdlib.h>
#include <string.h>

#include "drivers/virtio_pci/virtio_pci.h"

#define SLOTS       128u
#define HEADER_SIZE sizeof(struct virtio_net_hdr_mrg_rxbuf)

enum { RECEIVE_QUEUE, SEND_QUEUE };

_Static_assert(HEADER_SIZE + NIC_FRAME_MAX <= NIC_BUFFER_SIZE, "a frame has one buffer");

struct virtio_net {
    struct nic nic; // first: its functions are given it
    struct virtio_pci virtio;
    struct virtio_ring receive, send;
    uint8_t *receive_buffers, *send_buffers;
    uint64_t receive_addresses[SLOTS], send_addresses[SLOTS];
};

static void give(struct virtio_net *net, unsigned slot) {
    const struct virtio_piece piece = {net->receive_addresses[slot], NIC_BUFFER_SIZE};

    virtio_ring_put(&net->receive, slot, &piece, 0, 1);
}

static struct net_frame *receive(struct nic *nic) {
    struct virtio_net *net = (struct virtio_net *)nic;
    struct net_frame *frame = NULL;
    uint32_t written;
    int slot;

    while (!frame && (slot = virtio_ring_take(&net->receive, &written)) >= 0) {
        if (written > HEADER_SIZE && written <= NIC_BUFFER_SIZE)
            frame = net_frame_new(written - (uint32_t)HEADER_SIZE);
        if (frame)
            memcpy(frame->bytes,
                   net->receive_buffers + (unsigned)slot * NIC_BUFFER_SIZE + HEADER_SIZE,
                   frame->length);
        give(net, (unsigned)slot);
        virtio_ring_kick(&net->receive);
    }
    return frame;
}

static unsigned free_slot(struct virtio_net *net) {
    uint32_t written;
    unsigned slot = 0;

    while (virtio_ring_take(&net->send, &written) >= 0)
        continue;
    while (slot < net->send.slots && net->send.busy[slot])
        slot++;
    return slot;
}

// The device interrupts for what it has sent only where there is no room.
static bool transmit(struct nic *nic, const struct net_frame *frame) {
    struct virtio_net *net = (struct virtio_net *)nic;
    unsigned slot = free_slot(net);

    net->send.available->flags = slot < net->send.slots ? VRING_AVAIL_F_NO_INTERRUPT : 0;
    if (slot == net->send.slots) {
        __atomic_thread_fence(__ATOMIC_SEQ_CST); // it may have sent in between
        slot = free_slot(net);
    }
    if (slot == net->send.slots)
        return false;
    const struct virtio_piece piece = {net->send_addresses[slot],
                                       (uint32_t)HEADER_SIZE + frame->length};
    // The header before it is zeros: no offload.
    memcpy(net->send_buffers + slot * NIC_BUFFER_SIZE + HEADER_SIZE, frame->bytes, frame->length);
    virtio_ring_put(&net->send, slot, &piece, 1, 0);
    return true;
}

static void kick(struct nic *nic) {
    virtio_ring_kick(&((struct virtio_net *)nic)->send);
}

// 4.1.4.5: reading the status takes the line back.
static void acknowledge(struct nic *nic) {
    const struct virtio_net *net = (struct virtio_net *)nic;

    if (nic->pci->intx)
        (void)*net->virtio.isr;
}

static bool set_up(struct virtio_net *net) {
    struct pci_device *pci = net->nic.pci;

    int vector;

    net->receive_buffers = nic_buffers(pci, SLOTS, net->receive_addresses);
    net->send_buffers = nic_buffers(pci, SLOTS, net->send_addresses);
    if (!net->receive_buffers || !net->send_buffers || pci_enable_interrupts(pci, 1) < 1 ||
        virtio_pci_open(&net->virtio, pci) || virtio_pci_negotiate(&net->virtio, 0))
        return false;
    vector = pci->intx ? -1 : 0;
    if (virtio_pci_add_ring(&net->virtio, &net->receive, RECEIVE_QUEUE, SLOTS, 1, vector) ||
        virtio_pci_add_ring(&net->virtio, &net->send, SEND_QUEUE, SLOTS, 1, vector))
        return false;
    virtio_pci_start(&net->virtio);
    for (unsigned slot = 0; slot < net->receive.slots; slot++)
        give(net, slot);
    virtio_ring_kick(&net->receive);
    return true;
}

struct nic *virtio_net_open(struct pci_device *pci) {
    struct virtio_net *net = calloc(1, sizeof(*net));

    if (!net)
        return NULL;
    net->nic = (struct nic){.pci = pci,
                            .frame_max = NIC_FRAME_MAX,
                            .receive = receive,
                            .transmit = transmit,
                            .kick = kick,
                            .acknowledge = acknowledge};
    if (set_up(net))
        return &net->nic;
    free(net);
    return NULL;
}
