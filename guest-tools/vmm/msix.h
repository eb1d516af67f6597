// SPDX-License-Identifier: BSD-2-Clause
// A PCI device's MSI-X vectors. Each is an eventfd that the kernel turns into the guest's interrupt
// (irqfd): whoever serves the device, in this program or another, only writes to it.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "irq_routes.h"
#include "pci.h"

#define MSIX_VECTORS_MAX 18
#define MSIX_ENTRY_SIZE  16u

struct msix_vector {
    uint32_t words[4]; // address, address above 4 GiB, data, control
    uint32_t gsi;
    int fd;
    bool connected; // the kernel delivers what is written to fd
};

struct msix {
    struct pci_device *pci;
    struct irq_routes *routes;
    unsigned capability; // its offset
    unsigned count;
    struct msix_vector vectors[MSIX_VECTORS_MAX];
};

// Adds the capability; table and pending bits are in BAR 0 at the given offsets.
void msix_create(struct msix *msix, struct pci_device *pci, struct irq_routes *routes,
                 unsigned vectors, uint32_t table_offset, uint32_t pending_offset);
void msix_destroy(struct msix *msix);

// Accesses to table and pending bits, from their starts. The bus's lock is held.
void msix_table_read(const struct msix *msix, uint32_t offset, void *data, unsigned length);
void msix_table_write(struct msix *msix, uint32_t offset, const void *data, unsigned length);
void msix_pending_read(const struct msix *msix, uint32_t offset, void *data, unsigned length);

// Takes over what a configuration write has changed.
void msix_config_written(struct msix *msix);

// The eventfd of a vector, -1 for one that does not exist.
int msix_fd(const struct msix *msix, uint16_t vector);
