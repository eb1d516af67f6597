// SPDX-License-Identifier: BSD-2-Clause
// PCI Local Bus 3.0, 6.8.2. A masked vector's eventfd is taken from the kernel and keeps its count,
// which is the pending bit; given back, the kernel delivers what has come.
#include "msix.h"

#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "error.h"

enum { ADDRESS, ADDRESS_HIGH, DATA, CONTROL };

void msix_create(struct msix *msix, struct pci_device *pci, struct irq_routes *routes,
                 unsigned vectors, uint32_t table_offset, uint32_t pending_offset) {
    const struct __attribute__((packed)) {
        uint16_t control;
        uint32_t table, pending;
    } body = {.control = (uint16_t)(vectors - 1), .table = table_offset, .pending = pending_offset};

    if (vectors > MSIX_VECTORS_MAX) {
        fatal("more than %d MSI-X vectors", MSIX_VECTORS_MAX);
    }
    *msix = (struct msix){.pci = pci, .routes = routes, .count = vectors};
    msix->capability = pci_add_capability(pci, PCI_CAP_ID_MSIX, &body, sizeof(body));
    pci->writable[msix->capability + PCI_MSIX_FLAGS + 1] =
        (PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL) >> 8;
    for (unsigned i = 0; i < vectors; i++) {
        struct msix_vector *vector = &msix->vectors[i];

        vector->words[CONTROL] = PCI_MSIX_ENTRY_CTRL_MASKBIT;
        vector->gsi = irq_routes_reserve(routes);
        vector->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        if (vector->fd < 0) {
            fatal_errno("eventfd");
        }
    }
}

static void connect_vector(struct msix *msix, struct msix_vector *vector, bool connected) {
    struct kvm_irqfd irqfd = {.fd = (uint32_t)vector->fd,
                              .gsi = vector->gsi,
                              .flags = connected ? 0 : KVM_IRQFD_FLAG_DEASSIGN};

    if (connected) {
        irq_routes_set(msix->routes, vector->gsi,
                       (uint64_t)vector->words[ADDRESS_HIGH] << 32 | vector->words[ADDRESS],
                       vector->words[DATA]);
    }
    if (connected != vector->connected) {
        if (ioctl(msix->routes->vm_fd, KVM_IRQFD, &irqfd) < 0) {
            fatal_errno("KVM_IRQFD");
        }
        vector->connected = connected;
    }
}

void msix_destroy(struct msix *msix) {
    for (unsigned i = 0; i < msix->count; i++) {
        connect_vector(msix, &msix->vectors[i], false);
        irq_routes_release(msix->routes, msix->vectors[i].gsi);
        close(msix->vectors[i].fd);
    }
}

static void update_vector(struct msix *msix, struct msix_vector *vector) {
    uint16_t flags = pci_config_read16(msix->pci, msix->capability + PCI_MSIX_FLAGS);
    bool enabled = flags & PCI_MSIX_FLAGS_ENABLE && !(flags & PCI_MSIX_FLAGS_MASKALL);

    connect_vector(msix, vector,
                   enabled && !(vector->words[CONTROL] & PCI_MSIX_ENTRY_CTRL_MASKBIT));
}

void msix_config_written(struct msix *msix) {
    for (unsigned i = 0; i < msix->count; i++) {
        update_vector(msix, &msix->vectors[i]);
    }
}

// Accesses are whole, aligned words of 4 or 8 bytes (6.8.2); any other reads as zeros.
static bool is_regular(const struct msix *msix, uint32_t offset, unsigned length) {
    return (length == 4 || length == 8) && offset % length == 0 &&
           offset + length <= msix->count * MSIX_ENTRY_SIZE;
}

void msix_table_read(const struct msix *msix, uint32_t offset, void *data, unsigned length) {
    memset(data, 0, length);
    if (is_regular(msix, offset, length)) {
        memcpy(data, &msix->vectors[offset / MSIX_ENTRY_SIZE].words[offset % MSIX_ENTRY_SIZE / 4],
               length);
    }
}

void msix_table_write(struct msix *msix, uint32_t offset, const void *data, unsigned length) {
    if (!is_regular(msix, offset, length)) {
        return;
    }
    struct msix_vector *vector = &msix->vectors[offset / MSIX_ENTRY_SIZE];
    memcpy(&vector->words[offset % MSIX_ENTRY_SIZE / 4], data, length);
    vector->words[CONTROL] &= PCI_MSIX_ENTRY_CTRL_MASKBIT;
    update_vector(msix, vector);
}

void msix_pending_read(const struct msix *msix, uint32_t offset, void *data, unsigned length) {
    uint64_t pending = 0;

    for (unsigned i = 0; i < msix->count; i++) {
        struct pollfd fd = {.fd = msix->vectors[i].fd, .events = POLLIN};

        if (!msix->vectors[i].connected && poll(&fd, 1, 0) == 1) {
            pending |= 1ull << i;
        }
    }
    memset(data, 0, length);
    if (offset < sizeof(pending)) {
        memcpy(data, (uint8_t *)&pending + offset,
               length < sizeof(pending) - offset ? length : sizeof(pending) - offset);
    }
}

int msix_fd(const struct msix *msix, uint16_t vector) {
    return vector < msix->count ? msix->vectors[vector].fd : -1;
}
