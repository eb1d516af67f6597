// SPDX-License-Identifier: BSD-2-Clause
// KVM_SET_GSI_ROUTING takes the whole table each time.
#include "irq_routes.h"

#include <string.h>
#include <sys/ioctl.h>

#include "error.h"

#define PIC_PINS    8u // of each of the two
#define IOAPIC_PINS 24u

struct table {
    struct kvm_irq_routing header;
    struct kvm_irq_routing_entry entries[2 * PIC_PINS + IOAPIC_PINS + IRQ_ROUTES_MSI_MAX];
};

static void add_pin(struct table *table, uint32_t gsi, uint32_t chip, uint32_t pin) {
    table->entries[table->header.nr++] = (struct kvm_irq_routing_entry){
        .gsi = gsi, .type = KVM_IRQ_ROUTING_IRQCHIP, .u.irqchip = {.irqchip = chip, .pin = pin}};
}

// The wires as KVM_CREATE_IRQCHIP lays them: ISA interrupts reach both controllers.
static void add_wires(struct table *table) {
    for (uint32_t pin = 0; pin < IOAPIC_PINS; pin++) {
        add_pin(table, pin, KVM_IRQCHIP_IOAPIC, pin);
        if (pin < 2 * PIC_PINS) {
            add_pin(table, pin, pin < PIC_PINS ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE,
                    pin % PIC_PINS);
        }
    }
}

void irq_routes_create(struct irq_routes *routes, int vm_fd) {
    *routes = (struct irq_routes){.vm_fd = vm_fd, .lock = PTHREAD_MUTEX_INITIALIZER};
}

uint32_t irq_routes_reserve(struct irq_routes *routes) {
    unsigned index = 0;

    pthread_mutex_lock(&routes->lock);
    while (index < IRQ_ROUTES_MSI_MAX && routes->states[index] != IRQ_ROUTE_FREE) {
        index++;
    }
    if (index == IRQ_ROUTES_MSI_MAX) {
        fatal("more than %d interrupt messages", IRQ_ROUTES_MSI_MAX);
    }
    routes->states[index] = IRQ_ROUTE_RESERVED;
    pthread_mutex_unlock(&routes->lock);
    return IOAPIC_PINS + index;
}

void irq_routes_release(struct irq_routes *routes, uint32_t gsi) {
    pthread_mutex_lock(&routes->lock);
    routes->states[gsi - IOAPIC_PINS] = IRQ_ROUTE_FREE;
    pthread_mutex_unlock(&routes->lock);
}

void irq_routes_set(struct irq_routes *routes, uint32_t gsi, uint64_t address, uint32_t data) {
    struct table table = {.header.nr = 0};
    unsigned index = gsi - IOAPIC_PINS;

    pthread_mutex_lock(&routes->lock);
    routes->messages[index] = (struct kvm_irq_routing_msi){
        .address_lo = (uint32_t)address, .address_hi = (uint32_t)(address >> 32), .data = data};
    routes->states[index] = IRQ_ROUTE_ACTIVE;
    add_wires(&table);
    for (unsigned i = 0; i < IRQ_ROUTES_MSI_MAX; i++) {
        if (routes->states[i] == IRQ_ROUTE_ACTIVE) {
            table.entries[table.header.nr++] = (struct kvm_irq_routing_entry){
                .gsi = IOAPIC_PINS + i, .type = KVM_IRQ_ROUTING_MSI, .u.msi = routes->messages[i]};
        }
    }
    if (ioctl(routes->vm_fd, KVM_SET_GSI_ROUTING, &table) < 0) {
        fatal_errno("KVM_SET_GSI_ROUTING");
    }
    pthread_mutex_unlock(&routes->lock);
}
