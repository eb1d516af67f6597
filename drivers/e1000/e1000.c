// SPDX-License-Identifier: BSD-2-Clause
// PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual (8254x), and the
// 82574's datasheet for its interrupt vectors. One ring each way, legacy descriptors, several of
// them for a long frame.
#include "drivers/e1000/e1000.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RING_SIZE    128u // descriptors
#define REGISTERS    0x20000u
#define RESET_MS     10
#define DEVICE_82574 0x10d3

enum {
    CTRL = 0x0000,
    ICR = 0x00c0,
    IMS = 0x00d0,
    IMC = 0x00d8,
    IVAR = 0x00e4, // 82574
    RCTL = 0x0100,
    TCTL = 0x0400,
    TIPG = 0x0410,
    RDBAL = 0x2800,
    RDTR = 0x2820,
    TDBAL = 0x3800,
    TIDV = 0x3820,
    MTA = 0x5200,
    // From a ring's base on
    RING_HIGH = 4,
    RING_LENGTH = 8,
    RING_HEAD = 0x10,
    RING_TAIL = 0x18,
};

enum {
    CTRL_LRST = 1 << 3,
    CTRL_ASDE = 1 << 5,
    CTRL_SLU = 1 << 6,
    CTRL_RST = 1 << 26,
    RCTL_EN = 1 << 1,
    RCTL_UPE = 1 << 3, // all stations and groups: a switch is behind us
    RCTL_MPE = 1 << 4,
    RCTL_LPE = 1 << 5, // frames longer than Ethernet's
    RCTL_BAM = 1 << 15,
    RCTL_SECRC = 1 << 26, // buffers of 2,048 bytes are RCTL.BSIZE 0
    TCTL_EN = 1 << 1,
    TCTL_PSP = 1 << 3,
    TCTL_COLLISIONS = 0x0f << 4 | 0x40 << 12, // 13.4.33: the values for full duplex
    TIPG_COPPER = 10 | 8 << 10 | 6 << 20,     // 13.4.34
    // ICR: link changes, RXDMT0, RXO, RXT0, what was sent; on the 82574 also each queue and "other"
    CAUSES = 0x04 | 0x10 | 0x40 | 0x80 | 0x01300000,
    CAUSES_SENT = 0x01 | 0x00c00000,
    IVAR_ALL_VECTOR_0 = 0x88888, // each cause's valid bit
    RECEIVED_DONE = 1,           // status
    RECEIVED_END = 2,
    SEND_END = 1, // command
    SEND_CHECK_SEQUENCE = 2,
    SEND_REPORT = 8,
    SENT_DONE = 1, // status
};

struct receive_descriptor {
    uint64_t address;
    uint16_t length, checksum;
    uint8_t status, errors;
    uint16_t special;
};

struct send_descriptor {
    uint64_t address;
    uint16_t length;
    uint8_t checksum_offset, command, status, checksum_start;
    uint16_t special;
};

_Static_assert(sizeof(struct receive_descriptor) == 16 && sizeof(struct send_descriptor) == 16,
               "3.2.3, 3.3.3");

struct e1000 {
    struct nic nic; // first: its functions are given it
    volatile uint8_t *registers;
    volatile struct receive_descriptor *received;
    volatile struct send_descriptor *sent;
    uint8_t *receive_buffers, *send_buffers;
    uint64_t receive_addresses[RING_SIZE], send_addresses[RING_SIZE];
    unsigned next_received; // the descriptor that is filled next
    unsigned next_send, oldest_sent;
};

static uint32_t get(const struct e1000 *e1000, uint32_t offset) {
    return *(volatile uint32_t *)(e1000->registers + offset);
}

static void set(const struct e1000 *e1000, uint32_t offset, uint32_t value) {
    *(volatile uint32_t *)(e1000->registers + offset) = value;
}

// How many descriptors the frame has that came first, 0: it is not there whole. *length is 0 where
// it is bad.
static unsigned find_frame(const struct e1000 *e1000, uint32_t *length) {
    bool good = true;
    unsigned count = 0;
    uint8_t status = 0;

    for (*length = 0; count < RING_SIZE - 1 && !(status & RECEIVED_END); count++) {
        const volatile struct receive_descriptor *descriptor =
            &e1000->received[(e1000->next_received + count) % RING_SIZE];

        status = descriptor->status;
        if (!(status & RECEIVED_DONE))
            return 0;
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        good &= !descriptor->errors;
        *length += descriptor->length;
    }
    if (!good || !(status & RECEIVED_END) || *length > NET_FRAME_MAX)
        *length = 0;
    return count;
}

static struct net_frame *receive(struct nic *nic) {
    struct e1000 *e1000 = (struct e1000 *)nic;
    struct net_frame *frame = NULL;
    uint32_t length;
    unsigned count;

    while (!frame && (count = find_frame(e1000, &length))) {
        unsigned index = e1000->next_received;
        uint32_t left = length;

        if (length)
            frame = net_frame_new(length);
        for (unsigned i = 0; i < count; i++) {
            index = e1000->next_received;
            uint32_t size = e1000->received[index].length;

            size = size < NIC_BUFFER_SIZE ? size : NIC_BUFFER_SIZE;
            size = size < left ? size : left;
            if (frame)
                memcpy(frame->bytes + length - left,
                       e1000->receive_buffers + index * NIC_BUFFER_SIZE, size);
            left -= size;
            e1000->received[index].status = 0;
            e1000->next_received = (index + 1) % RING_SIZE;
        }
        if (frame && left) // the device has changed its mind
            memset(frame->bytes + length - left, 0, left);
        __atomic_thread_fence(__ATOMIC_RELEASE);
        set(e1000, RDBAL + RING_TAIL, index);
    }
    return frame;
}

static bool transmit(struct nic *nic, const struct net_frame *frame) {
    struct e1000 *e1000 = (struct e1000 *)nic;
    unsigned index = e1000->next_send;
    unsigned count = (frame->length + NIC_BUFFER_SIZE - 1) / NIC_BUFFER_SIZE;

    while (e1000->oldest_sent != index && e1000->sent[e1000->oldest_sent].status & SENT_DONE)
        e1000->oldest_sent = (e1000->oldest_sent + 1) % RING_SIZE;
    if ((e1000->oldest_sent + RING_SIZE - 1 - index) % RING_SIZE < count) {
        set(e1000, IMS, CAUSES_SENT); // until it interrupts; what was sent by now does so at once
        return false;
    }
    for (uint32_t at = 0; at < frame->length; at += NIC_BUFFER_SIZE) {
        bool last = frame->length - at <= NIC_BUFFER_SIZE;
        uint32_t size = last ? frame->length - at : NIC_BUFFER_SIZE;

        memcpy(e1000->send_buffers + index * NIC_BUFFER_SIZE, frame->bytes + at, size);
        e1000->sent[index].length = (uint16_t)size;
        e1000->sent[index].command =
            (uint8_t)(SEND_CHECK_SEQUENCE | SEND_REPORT | (last ? SEND_END : 0));
        e1000->sent[index].status = 0;
        index = (index + 1) % RING_SIZE;
    }
    e1000->next_send = index;
    return true;
}

static void kick(struct nic *nic) {
    struct e1000 *e1000 = (struct e1000 *)nic;

    __atomic_thread_fence(__ATOMIC_RELEASE);
    set(e1000, TDBAL + RING_TAIL, e1000->next_send);
}

// With everything masked, reading ICR clears it, by message (82574, 10.2.4.1) and by line; a cause
// that comes between here and arm() interrupts then.
static void acknowledge(struct nic *nic) {
    const struct e1000 *e1000 = (struct e1000 *)nic;

    set(e1000, IMC, UINT32_MAX);
    get(e1000, ICR);
}

static void arm(struct nic *nic) {
    set((struct e1000 *)nic, IMS, CAUSES);
}

static void reset(struct e1000 *e1000) {
    const struct timespec pause = {.tv_nsec = 1000000};

    set(e1000, IMC, UINT32_MAX);
    set(e1000, RCTL, 0);
    set(e1000, TCTL, 0);
    set(e1000, CTRL, get(e1000, CTRL) | CTRL_RST);
    // 14.3: no register may be touched for a microsecond.
    for (int i = 0; i < RESET_MS; i++)
        nanosleep(&pause, NULL);
    set(e1000, IMC, UINT32_MAX);
    get(e1000, ICR);
    set(e1000, CTRL, (get(e1000, CTRL) & ~(uint32_t)CTRL_LRST) | CTRL_SLU | CTRL_ASDE);
    for (uint32_t i = 0; i < 128; i++)
        set(e1000, MTA + 4 * i, 0);
}

static bool set_ring(struct e1000 *e1000, uint32_t base, const volatile void *ring) {
    size_t size = RING_SIZE * sizeof(struct receive_descriptor);
    uint64_t address = dma_address(e1000->nic.pci->dma, (const void *)ring, &size);

    set(e1000, base, (uint32_t)address);
    set(e1000, base + RING_HIGH, (uint32_t)(address >> 32));
    set(e1000, base + RING_LENGTH, RING_SIZE * sizeof(struct receive_descriptor));
    set(e1000, base + RING_HEAD, 0);
    set(e1000, base + RING_TAIL, 0);
    return address != DMA_NONE && size == RING_SIZE * sizeof(struct receive_descriptor);
}

static bool set_up(struct e1000 *e1000) {
    struct pci_device *pci = e1000->nic.pci;
    size_t size = RING_SIZE * sizeof(struct receive_descriptor);

    e1000->received = dma_allocate(pci->dma, size);
    e1000->sent = dma_allocate(pci->dma, size);
    e1000->receive_buffers = nic_buffers(pci, RING_SIZE, e1000->receive_addresses);
    e1000->send_buffers = nic_buffers(pci, RING_SIZE, e1000->send_addresses);
    e1000->registers = pci_map(pci, 0, 0, REGISTERS);
    if (!e1000->received || !e1000->sent || !e1000->receive_buffers || !e1000->send_buffers ||
        !e1000->registers)
        return false;
    for (unsigned i = 0; i < RING_SIZE; i++) {
        e1000->received[i].address = e1000->receive_addresses[i];
        e1000->sent[i].address = e1000->send_addresses[i];
    }
    reset(e1000);
    if (!set_ring(e1000, RDBAL, e1000->received) || !set_ring(e1000, TDBAL, e1000->sent) ||
        pci_enable_interrupts(pci, 1) < 1)
        return false;
    if (pci->identity.device == DEVICE_82574)
        set(e1000, IVAR, IVAR_ALL_VECTOR_0);
    set(e1000, RDTR, 0);
    set(e1000, TIDV, 0);
    set(e1000, TIPG, TIPG_COPPER);
    set(e1000, TCTL, TCTL_EN | TCTL_PSP | TCTL_COLLISIONS);
    set(e1000, RCTL, RCTL_EN | RCTL_UPE | RCTL_MPE | RCTL_LPE | RCTL_BAM | RCTL_SECRC);
    set(e1000, RDBAL + RING_TAIL, RING_SIZE - 1);
    return true;
}

struct nic *e1000_open(struct pci_device *pci) {
    struct e1000 *e1000 = calloc(1, sizeof(*e1000));

    if (!e1000)
        return NULL;
    e1000->nic = (struct nic){.pci = pci,
                              .frame_max = NET_FRAME_MAX,
                              .receive = receive,
                              .transmit = transmit,
                              .kick = kick,
                              .acknowledge = acknowledge,
                              .arm = arm};
    if (!set_up(e1000)) {
        free(e1000);
        return NULL;
    }
    return &e1000->nic;
}
