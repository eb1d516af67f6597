// SPDX-License-Identifier: BSD-2-Clause
// A VM's interrupt controllers: PIC, I/O APIC, PIT, routing, and delivery to the vCPUs' local
// APICs.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <linux/kvm.h>
#include "arch/x86/guest/irq_source.h"
#include "arch/x86/guest/lapic_message.h"

struct vm;
struct vcpu;
struct lapic;

void irqchip_init(struct vm *vm);
// KVM_CREATE_IRQCHIP: 0, -EEXIST, -EINVAL (vCPUs exist already), -ENOMEM.
int irqchip_create(struct vm *vm);
int irqchip_create_split(struct vm *vm, uint32_t pins);
int irqchip_create_pit(struct vm *vm, const struct kvm_pit_config *config);
void irqchip_destroy(struct vm *vm);
// Sets GSI `gsi`'s line for one source. Any context; takes the irqchip's lock. Result as
// KVM_IRQ_LINE_STATUS.
int irqchip_set_gsi(struct vm *vm, uint32_t gsi, enum irq_source source, bool level);
// KVM_SIGNAL_MSI: > 0 delivered, 0 blocked, or -EINVAL.
int irqchip_signal_msi(struct vm *vm, const struct kvm_msi *msi);
// KVM_SET_GSI_ROUTING with checked-in entries in kernel memory.
int irqchip_set_routing(struct vm *vm, const struct kvm_irq_routing_entry *entries, uint32_t count);
// KVM_GET_IRQCHIP, KVM_SET_IRQCHIP of state->chip_id. 0, -ENXIO or -EINVAL.
int irqchip_state(struct vm *vm, struct kvm_irqchip *state, bool set);
// Sends a message to the VM's local APICs; lapic_route's result.
int irqchip_deliver(struct vm *vm, const struct lapic *source, const struct lapic_message *message);
// The guest EOIed a level vector in a local APIC. The vCPU's thread, no lock held.
void irqchip_eoi(struct vm *vm, uint8_t vector);
// IRQCHIP_SPLIT: user space's I/O APIC wants to know the EOI of this vector.
bool irqchip_eoi_wanted(const struct vm *vm, uint8_t vector);
// INTA cycle for a vCPU that takes ExtINT.
uint8_t irqchip_pic_acknowledge(struct vm *vm);
// In-kernel ports (PIC, ELCR, PIT). False: not ours. value: little-endian bytes of `size`.
bool irqchip_port(struct vm *vm, uint16_t port, unsigned size, bool in, void *value);
// In-kernel MMIO of the I/O APIC. False: not ours.
bool irqchip_mmio(struct vm *vm, uint64_t gpa, unsigned size, bool write, void *data);
