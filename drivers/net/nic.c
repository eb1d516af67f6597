// SPDX-License-Identifier: BSD-2-Clause
// Which driver an interface needs, and the thread that moves its frames.
#include "drivers/net/nic.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "drivers/e1000/e1000.h"
#include "drivers/virtio_net/virtio_net.h"

#define DEVICES_MAX  256
#define FRAMES_BATCH 64 // received before others are sent

typedef struct nic *nic_opener(struct pci_device *pci);

static const struct {
    uint16_t vendor, device;
    nic_opener *open;
} drivers[] = {
    {0x8086, 0x100e, e1000_open},      // 82540EM
    {0x8086, 0x100f, e1000_open},      // 82545EM
    {0x8086, 0x10d3, e1000_open},      // 82574L
    {0x1af4, 0x1000, virtio_net_open}, // transitional
    {0x1af4, 0x1041, virtio_net_open},
};

struct nic_port {
    struct net_port port;
    struct nic *nic;
};

uint8_t *nic_buffers(struct pci_device *pci, unsigned count, uint64_t *addresses) {
    uint8_t *buffers = dma_allocate(pci->dma, (size_t)count * NIC_BUFFER_SIZE);

    for (unsigned i = 0; buffers && i < count; i++) {
        size_t size = NIC_BUFFER_SIZE;

        addresses[i] = dma_address(pci->dma, buffers + i * NIC_BUFFER_SIZE, &size);
        if (addresses[i] == DMA_NONE || size < NIC_BUFFER_SIZE)
            return NULL;
    }
    return buffers;
}

static bool receive(struct nic_port *port) {
    struct net_frame *frame;
    struct timespec now;
    unsigned frames = 0;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    while (frames < FRAMES_BATCH && (frame = port->nic->receive(port->nic))) {
        net_port_send(&port->port, frame, (uint32_t)now.tv_sec);
        frames++;
    }
    return frames == FRAMES_BATCH;
}

static void transmit(struct nic_port *port) {
    struct net_frame *frame;
    bool kick = false;

    while ((frame = net_port_peek_whole(&port->port))) {
        bool fits = frame->length <= port->nic->frame_max;

        if (fits && !port->nic->transmit(port->nic, frame))
            break;
        kick |= fits;
        net_port_done(&port->port, fits);
    }
    if (kick)
        port->nic->kick(port->nic);
}

static void take_event(int fd) {
    uint64_t count;

    if (read(fd, &count, sizeof(count)) < 0)
        return; // it is not blocking
}

static void *run(void *argument) {
    struct nic_port *port = argument;
    struct nic *nic = port->nic;
    struct pollfd fds[2] = {{.fd = nic->pci->interrupts[0], .events = POLLIN},
                            {.fd = port->port.wake_fd, .events = POLLIN}};

    for (;;) {
        bool more;

        if (nic->arm)
            nic->arm(nic);
        if (poll(fds, 2, -1) < 0)
            continue;
        take_event(fds[1].fd);
        if (fds[0].revents)
            take_event(fds[0].fd);
        if (nic->acknowledge)
            nic->acknowledge(nic);
        do {
            more = receive(port);
            transmit(port);
        } while (more);
        if (fds[0].revents)
            pci_interrupt_served(nic->pci);
    }
    return NULL;
}

static nic_opener *find_driver(const struct pci_identity *identity) {
    for (size_t i = 0; i < sizeof(drivers) / sizeof(drivers[0]); i++)
        if (drivers[i].vendor == identity->vendor && drivers[i].device == identity->device)
            return drivers[i].open;
    return NULL;
}

static bool find_device(struct pci_identity *found) {
    struct pci_identity list[DEVICES_MAX];
    unsigned count = pci_list(list, DEVICES_MAX);

    for (unsigned i = 0; i < count; i++) {
        if (find_driver(&list[i])) {
            *found = list[i];
            return true;
        }
    }
    return false;
}

static struct nic *open_device(const char *address) {
    struct pci_identity identity = {0};
    bool found = address ? pci_identify(address, &identity) == 0 : find_device(&identity);
    nic_opener *open = found ? find_driver(&identity) : NULL;

    if (!open) {
        fprintf(stderr, "drivers: %s is no network interface that can be driven\n",
                address ? address : "no device");
        return NULL;
    }
    struct pci_device *pci = pci_open(identity.address);
    struct nic *nic = pci ? open(pci) : NULL;
    if (pci && !nic) {
        fprintf(stderr, "drivers: network interface %s does not start\n", identity.address);
        pci_close(pci);
    }
    return nic;
}

const char *nic_start(const char *address, struct net_switch *bridge,
                      struct net_counters *counters) {
    struct nic *nic = open_device(address);
    struct nic_port *port = nic ? calloc(1, sizeof(*port)) : NULL;
    pthread_t thread;

    if (!nic)
        return NULL;
    int error = -ENOMEM;
    if (port) {
        *port = (struct nic_port){.port = {.counters = counters}, .nic = nic};
        error = net_port_attach(&port->port, bridge);
    }
    if (!error) {
        error = -pthread_create(&thread, NULL, run, port);
        if (error)
            net_port_detach(&port->port);
    }
    if (error) {
        fprintf(stderr, "drivers: network interface %s: %s\n", nic->pci->identity.address,
                strerror(-error));
        pci_close(nic->pci);
        free(port);
        return NULL;
    }
    printf("drivers: network interface %s\n", nic->pci->identity.address);
    return nic->pci->identity.address;
}
