// SPDX-License-Identifier: BSD-2-Clause
// A VM's interrupt controllers: creation, lines, and delivery to the vCPUs' local APICs.
#include "core/kvm/irqchip.h"
#include <asm/errno.h>
#include "core/kvm/vcpu.h"
#include "core/mm/heap.h"
#include "core/string.h"

static enum lapic_effect deliver_to(void *context, struct lapic *lapic,
                                    const struct lapic_message *message) {
    struct vcpu *vcpu = container_of(lapic, struct vcpu, virt.lapic);
    enum lapic_effect effect = lapic_deliver(lapic, message);
    static const uint32_t attention[] = {
        [LAPIC_POSTED] = ATTENTION_EVENT, [LAPIC_DO_NMI] = ATTENTION_EVENT,
        [LAPIC_DO_SMI] = ATTENTION_SMI,   [LAPIC_DO_INIT] = ATTENTION_INIT,
        [LAPIC_DO_SIPI] = ATTENTION_SIPI, [LAPIC_DO_EXTINT] = ATTENTION_EVENT,
    };
    if (effect == LAPIC_DO_NMI)
        vcpu_queue_nmi(vcpu);
    else if (effect == LAPIC_DO_SMI)
        atomic_store(&vcpu->virt.events.smi_pending, true);
    else if (effect == LAPIC_DO_SIPI)
        atomic_store(&vcpu->sipi_vector, message->vector);
    if (effect < sizeof(attention) / sizeof(attention[0]) && attention[effect])
        vcpu_attend(vcpu, attention[effect]);
    return effect;
}

int irqchip_deliver(struct vm *vm, const struct lapic *source,
                    const struct lapic_message *message) {
    struct lapic_set set = {.lapics = vm->lapics, .count = vm->vcpu_limit};
    return lapic_route(&set, source, message, vm, deliver_to);
}

static struct vm *vm_of_irqchip(struct vm_irqchip *irqchip) {
    return container_of(irqchip, struct vm, irqchip);
}

static int ioapic_deliver(struct ioapic *ioapic, unsigned pin,
                          const struct lapic_message *message) {
    return irqchip_deliver(vm_of_irqchip(container_of(ioapic, struct vm_irqchip, ioapic)), NULL,
                           message);
}

// EOI of a controller's input: the PIT reinjects at once, resample irqfds are told after the lock
// is dropped.
static void acknowledged(struct vm_irqchip *irqchip, uint32_t chip, unsigned pin) {
    uint32_t gsi = irq_routing_gsi(atomic_load(&irqchip->routing), chip, pin);
    if (gsi == 0 && irqchip->pit_created)
        pit_irq_acknowledged(&irqchip->pit);
    if (gsi < 32)
        irqchip->acknowledged_pins |= 1u << gsi;
}

static void ioapic_acknowledged(struct ioapic *ioapic, unsigned pin) {
    acknowledged(container_of(ioapic, struct vm_irqchip, ioapic), KVM_IRQCHIP_IOAPIC, pin);
}

static void pic_acknowledged(struct pic *pic, unsigned irq) {
    acknowledged(container_of(pic, struct vm_irqchip, pic),
                 irq < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE, irq % 8);
}

static void pic_output_changed(struct pic *pic, bool level) {
    struct vm *vm = vm_of_irqchip(container_of(pic, struct vm_irqchip, pic));
    for (uint32_t id = 0; level && id < vm->vcpu_limit; id++)
        if (vm->vcpus[id] && lapic_accepts_pic(&vm->vcpus[id]->virt.lapic))
            vcpu_attend(vm->vcpus[id], ATTENTION_EVENT);
}

static int route_entry(struct vm *vm, const struct kvm_irq_routing_entry *entry,
                       enum irq_source source, bool level) {
    if (entry->type == KVM_IRQ_ROUTING_MSI) {
        struct lapic_message message;
        if (!level || msi_decode(entry->u.msi.address_lo, entry->u.msi.address_hi,
                                 entry->u.msi.data, vm->x2apic_32bit_ids, &message))
            return -1;
        return irqchip_deliver(vm, NULL, &message);
    }
    if (entry->type != KVM_IRQ_ROUTING_IRQCHIP)
        return -1;
    if (entry->u.irqchip.irqchip == KVM_IRQCHIP_IOAPIC)
        return ioapic_set_line(&vm->irqchip.ioapic, entry->u.irqchip.pin, source, level);
    unsigned base = entry->u.irqchip.irqchip == KVM_IRQCHIP_PIC_SLAVE ? 8 : 0;
    return pic_set_line(&vm->irqchip.pic, base + entry->u.irqchip.pin, source, level);
}

static int set_gsi_locked(struct vm *vm, uint32_t gsi, enum irq_source source, bool level) {
    const struct irq_routing *routing = atomic_load(&vm->irqchip.routing);
    uint32_t count = 0;
    const struct kvm_irq_routing_entry *entries =
        routing ? irq_routing_lookup(routing, gsi, &count) : NULL;
    int result = -1;
    for (uint32_t i = 0; i < count; i++) {
        int one = route_entry(vm, &entries[i], source, level);
        if (one >= 0)
            result = one + (result < 0 ? 0 : result);
    }
    return result;
}

static void unlock_and_notify(struct vm *vm) {
    uint32_t pins = vm->irqchip.acknowledged_pins;
    vm->irqchip.acknowledged_pins = 0;
    spin_unlock(&vm->irqchip.lock);
    if (pins)
        irqfd_acknowledged(vm, pins);
}

int irqchip_set_gsi(struct vm *vm, uint32_t gsi, enum irq_source source, bool level) {
    spin_lock(&vm->irqchip.lock);
    int result = set_gsi_locked(vm, gsi, source, level);
    spin_unlock(&vm->irqchip.lock);
    return result;
}

int irqchip_signal_msi(struct vm *vm, const struct kvm_msi *msi) {
    struct lapic_message message;
    if (vm->irqchip.mode == IRQCHIP_NONE || msi->flags ||
        msi_decode(msi->address_lo, msi->address_hi, msi->data, vm->x2apic_32bit_ids, &message))
        return -EINVAL;
    int result = irqchip_deliver(vm, NULL, &message);
    return result < 0 ? 0 : result;
}

static uint64_t pit_now(struct pit *pit) {
    return time_now();
}

static int pit_set_irq(struct pit *pit, bool level) {
    return set_gsi_locked(vm_of_irqchip(container_of(pit, struct vm_irqchip, pit)), 0,
                          IRQ_SOURCE_PIT, level);
}

// A timer that should be off may stay armed: pit_expired does nothing when called early, and
// stopping it here could wait for an expiry that wants the lock we hold.
static void pit_timer_changed(struct pit *pit) {
    struct vm_irqchip *irqchip = container_of(pit, struct vm_irqchip, pit);
    uint64_t deadline = pit->deadline_ns;
    if (deadline != PIT_NEVER)
        timer_start(&irqchip->pit_timer, deadline);
}

static void pit_timer_expired(struct timer *timer) {
    struct vm_irqchip *irqchip = container_of(timer, struct vm_irqchip, pit_timer);
    spin_lock(&irqchip->lock);
    pit_expired(&irqchip->pit);
    spin_unlock(&irqchip->lock);
}

static const struct ioapic_ops ioapic_ops = {.deliver = ioapic_deliver,
                                             .acknowledged = ioapic_acknowledged};
static const struct pic_ops pic_ops = {.output_changed = pic_output_changed,
                                       .acknowledged = pic_acknowledged};
static const struct pit_ops pit_ops = {
    .now_ns = pit_now, .set_irq = pit_set_irq, .timer_changed = pit_timer_changed};

void irqchip_init(struct vm *vm) {
    list_init(&vm->irqchip.irqfds);
    timer_init(&vm->irqchip.pit_timer, pit_timer_expired);
}

static int create(struct vm *vm, enum irqchip_mode mode,
                  const struct kvm_irq_routing_entry *entries, uint32_t count) {
    if (vm->irqchip.mode != IRQCHIP_NONE)
        return -EEXIST;
    if (atomic_load(&vm->vcpu_count))
        return -EINVAL;
    int error = irqchip_set_routing(vm, entries, count);
    if (error)
        return error;
    pic_init(&vm->irqchip.pic, &pic_ops);
    ioapic_init(&vm->irqchip.ioapic, &ioapic_ops);
    vm->irqchip.mode = mode;
    if (mode == IRQCHIP_KERNEL)
        atomic_store(&vm->kernel_ports, true);
    return 0;
}

int irqchip_create(struct vm *vm) {
    return create(vm, IRQCHIP_KERNEL, irq_routing_default, IRQ_ROUTING_DEFAULT_COUNT);
}

int irqchip_create_split(struct vm *vm, uint32_t pins) {
    int error = pins > IOAPIC_PINS ? -EINVAL : create(vm, IRQCHIP_SPLIT, NULL, 0);
    if (!error)
        vm->irqchip.split_pins = pins;
    return error;
}

// With a split irqchip the routes of GSIs below the number of pins say what user space's I/O APIC
// sends: the EOIs of its level vectors are reported (api.rst 7.5).
static void watch_split(struct vm *vm) {
    const struct irq_routing *routing = atomic_load(&vm->irqchip.routing);
    uint32_t watch[8] = {0};
    for (uint32_t gsi = 0; gsi < vm->irqchip.split_pins; gsi++) {
        uint32_t count;
        const struct kvm_irq_routing_entry *entries = irq_routing_lookup(routing, gsi, &count);
        for (uint32_t i = 0; i < count; i++) {
            struct lapic_message message;
            if (entries[i].type == KVM_IRQ_ROUTING_MSI &&
                !msi_decode(entries[i].u.msi.address_lo, entries[i].u.msi.address_hi,
                            entries[i].u.msi.data, vm->x2apic_32bit_ids, &message) &&
                message.level_triggered)
                watch[message.vector / 32] |= 1u << (message.vector % 32);
        }
    }
    for (unsigned i = 0; i < 8; i++)
        __atomic_store_n(&vm->irqchip.split_watch[i], watch[i], __ATOMIC_RELAXED);
}

bool irqchip_eoi_wanted(const struct vm *vm, uint8_t vector) {
    return vm->irqchip.mode == IRQCHIP_SPLIT &&
           (__atomic_load_n(&vm->irqchip.split_watch[vector / 32], __ATOMIC_RELAXED) >>
            (vector % 32)) &
               1;
}

// The PIT reinjects a tick when the last was acknowledged, so the EOI of its edge interrupt must be
// told too.
static void watch_pit(struct vm *vm) {
    uint32_t count, pins = 0;
    const struct kvm_irq_routing_entry *entries =
        irq_routing_lookup(atomic_load(&vm->irqchip.routing), 0, &count);
    for (uint32_t i = 0; i < count; i++)
        if (entries[i].type == KVM_IRQ_ROUTING_IRQCHIP &&
            entries[i].u.irqchip.irqchip == KVM_IRQCHIP_IOAPIC)
            pins |= 1u << entries[i].u.irqchip.pin;
    ioapic_watch(&vm->irqchip.ioapic, vm->irqchip.pit_created ? pins : 0);
}

int irqchip_create_pit(struct vm *vm, const struct kvm_pit_config *config) {
    if (vm->irqchip.mode != IRQCHIP_KERNEL)
        return -ENOENT;
    spin_lock(&vm->irqchip.lock);
    bool created = vm->irqchip.pit_created;
    if (!created) {
        pit_init(&vm->irqchip.pit, config->flags, &pit_ops);
        vm->irqchip.pit_created = true;
        watch_pit(vm);
    }
    spin_unlock(&vm->irqchip.lock);
    return created ? -EEXIST : 0;
}

void irqchip_destroy(struct vm *vm) {
    timer_stop(&vm->irqchip.pit_timer);
    heap_free(atomic_load(&vm->irqchip.routing));
}

int irqchip_set_routing(struct vm *vm, const struct kvm_irq_routing_entry *entries,
                        uint32_t count) {
    void *block = heap_alloc(irq_routing_size(entries, count));
    if (!block)
        return -ENOMEM;
    spin_lock(&vm->irqchip.lock);
    struct irq_routing *old =
        atomic_exchange(&vm->irqchip.routing, irq_routing_build(block, entries, count));
    if (vm->irqchip.mode == IRQCHIP_KERNEL)
        watch_pit(vm);
    else if (vm->irqchip.mode == IRQCHIP_SPLIT)
        watch_split(vm);
    spin_unlock(&vm->irqchip.lock);
    if (old) {
        kvm_synchronize();
        heap_free(old);
    }
    return 0;
}

int irqchip_state(struct vm *vm, struct kvm_irqchip *state, bool set) {
    struct vm_irqchip *irqchip = &vm->irqchip;
    if (irqchip->mode != IRQCHIP_KERNEL)
        return -ENXIO;
    if (state->chip_id > KVM_IRQCHIP_IOAPIC)
        return -EINVAL;
    bool ioapic = state->chip_id == KVM_IRQCHIP_IOAPIC;
    spin_lock(&irqchip->lock);
    if (ioapic && set)
        ioapic_set_state(&irqchip->ioapic, &state->chip.ioapic);
    else if (ioapic)
        ioapic_get_state(&irqchip->ioapic, &state->chip.ioapic);
    else if (set)
        pic_set_state(&irqchip->pic, state->chip_id, &state->chip.pic);
    else
        pic_get_state(&irqchip->pic, state->chip_id, &state->chip.pic);
    spin_unlock(&irqchip->lock);
    return 0;
}

void irqchip_eoi(struct vm *vm, uint8_t vector) {
    if (vm->irqchip.mode != IRQCHIP_KERNEL)
        return;
    spin_lock(&vm->irqchip.lock);
    ioapic_eoi(&vm->irqchip.ioapic, vector);
    unlock_and_notify(vm);
}

uint8_t irqchip_pic_acknowledge(struct vm *vm) {
    spin_lock(&vm->irqchip.lock);
    uint8_t vector = pic_acknowledge(&vm->irqchip.pic);
    unlock_and_notify(vm);
    return vector;
}

bool irqchip_port(struct vm *vm, uint16_t port, unsigned size, bool in, void *value) {
    if (vm->irqchip.mode != IRQCHIP_KERNEL)
        return false;
    bool of_pic = pic_owns(port),
         of_pit = vm->irqchip.pit_created && pit_owns(&vm->irqchip.pit, port);
    if (!of_pic && !of_pit)
        return false;
    uint8_t *byte = value;
    spin_lock(&vm->irqchip.lock);
    if (in)
        memset(value, 0, size);
    if (in)
        *byte = of_pic ? pic_read(&vm->irqchip.pic, port) : pit_read(&vm->irqchip.pit, port);
    else if (of_pic)
        pic_write(&vm->irqchip.pic, port, *byte);
    else
        pit_write(&vm->irqchip.pit, port, *byte);
    unlock_and_notify(vm);
    return true;
}

bool irqchip_mmio(struct vm *vm, uint64_t gpa, unsigned size, bool write, void *data) {
    if (vm->irqchip.mode != IRQCHIP_KERNEL || !ioapic_owns(&vm->irqchip.ioapic, gpa) || size > 8)
        return false;
    uint32_t offset = (uint32_t)(gpa - vm->irqchip.ioapic.base);
    spin_lock(&vm->irqchip.lock);
    if (write)
        ioapic_write(&vm->irqchip.ioapic, offset, size, data);
    else
        ioapic_read(&vm->irqchip.ioapic, offset, size, data);
    unlock_and_notify(vm);
    return true;
}
