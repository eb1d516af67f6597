// SPDX-License-Identifier: BSD-2-Clause
// The VM's interrupt routes: the wires of PIC and I/O APIC, and one route for each MSI-X vector.
#pragma once

#include <linux/kvm.h>
#include <pthread.h>
#include <stdint.h>

#define IRQ_ROUTES_MSI_MAX 576 // of 32 slots

enum { IRQ_ROUTE_FREE, IRQ_ROUTE_RESERVED, IRQ_ROUTE_ACTIVE };

struct irq_routes {
    int vm_fd;
    pthread_mutex_t lock;
    struct kvm_irq_routing_msi messages[IRQ_ROUTES_MSI_MAX];
    uint8_t states[IRQ_ROUTES_MSI_MAX];
};

void irq_routes_create(struct irq_routes *routes, int vm_fd);

// Reserves a route. Returns its GSI; exits with a message where there are none left.
uint32_t irq_routes_reserve(struct irq_routes *routes);
void irq_routes_release(struct irq_routes *routes, uint32_t gsi);

// Points a reserved GSI at a message. Any thread.
void irq_routes_set(struct irq_routes *routes, uint32_t gsi, uint64_t address, uint32_t data);
