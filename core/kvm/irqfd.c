// SPDX-License-Identifier: BSD-2-Clause
// irqfds: an eventfd whose signal raises a GSI, without a thread in between.
#include "core/kvm/vm.h"
#include <asm/errno.h>
#include "core/file/eventfd.h"
#include "core/kvm/irqchip.h"
#include "core/mm/heap.h"

struct irqfd {
    struct list node; // in vm->irqchip.irqfds
    struct vm *vm;
    uint32_t gsi;
    struct file *file, *resample_file; // references; resample: KVM_IRQFD_FLAG_RESAMPLE
    struct eventfd *eventfd, *resample;
    struct waiter waiter;
};

// The eventfd was signalled: an edge without resampling, else a level that stays until EOI. Under
// the eventfd's queue lock.
static void irqfd_fire(struct irqfd *irqfd) {
    if (irqfd->resample) {
        irqchip_set_gsi(irqfd->vm, irqfd->gsi, IRQ_SOURCE_RESAMPLE, true);
        return;
    }
    irqchip_set_gsi(irqfd->vm, irqfd->gsi, IRQ_SOURCE_USER, true);
    irqchip_set_gsi(irqfd->vm, irqfd->gsi, IRQ_SOURCE_USER, false);
}

static void irqfd_wake(struct waiter *waiter, unsigned events) {
    struct irqfd *irqfd = container_of(waiter, struct irqfd, waiter);
    if (eventfd_take(irqfd->eventfd))
        irqfd_fire(irqfd);
}

static void irqfd_free(struct irqfd *irqfd) {
    waiter_remove(&irqfd->waiter);
    if (irqfd->file)
        file_put(irqfd->file);
    if (irqfd->resample_file)
        file_put(irqfd->resample_file);
    heap_free(irqfd);
}

static struct irqfd *irqfd_open(struct vm *vm, const struct kvm_irqfd *request, int *error) {
    struct irqfd *irqfd = heap_new(struct irqfd);
    *error = irqfd ? -EBADF : -ENOMEM;
    if (!irqfd)
        return NULL;
    waiter_init_callback(&irqfd->waiter, irqfd_wake);
    irqfd->vm = vm;
    irqfd->gsi = request->gsi;
    irqfd->eventfd = eventfd_get((int)request->fd, &irqfd->file);
    bool good = irqfd->eventfd != NULL;
    if (good && (request->flags & KVM_IRQFD_FLAG_RESAMPLE)) {
        irqfd->resample = eventfd_get((int)request->resamplefd, &irqfd->resample_file);
        good = irqfd->resample != NULL;
    }
    if (good)
        return irqfd;
    irqfd_free(irqfd);
    return NULL;
}

static bool irqfd_bound(struct vm *vm, const struct eventfd *eventfd) {
    list_for_each(node, &vm->irqchip.irqfds) if (container_of(node, struct irqfd, node)->eventfd ==
                                                 eventfd) return true;
    return false;
}

static int irqfd_assign(struct vm *vm, const struct kvm_irqfd *request) {
    int error;
    struct irqfd *irqfd = irqfd_open(vm, request, &error);
    if (!irqfd)
        return error;
    spin_lock(&vm->lock); // to the end: once it is in the list, another thread may free it
    bool bound = irqfd_bound(vm, irqfd->eventfd);
    if (!bound) {
        list_push_back(&vm->irqchip.irqfds, &irqfd->node);
        waiter_add(&irqfd->waiter, eventfd_queue(irqfd->eventfd));
        if (eventfd_take(irqfd->eventfd)) // signalled before it was bound
            irqfd_fire(irqfd);
    }
    spin_unlock(&vm->lock);
    if (bound)
        irqfd_free(irqfd);
    return bound ? -EBUSY : 0;
}

static struct irqfd *irqfd_detach(struct vm *vm, const struct eventfd *eventfd, uint32_t gsi) {
    struct irqfd *found = NULL;
    spin_lock(&vm->lock);
    list_for_each(node, &vm->irqchip.irqfds) {
        struct irqfd *irqfd = container_of(node, struct irqfd, node);
        if (irqfd->gsi == gsi && irqfd->eventfd == eventfd) {
            found = irqfd;
            list_remove(node);
            break;
        }
    }
    spin_unlock(&vm->lock);
    return found;
}

// A level that nobody is left to resample falls.
static void irqfd_lower(struct vm *vm, uint32_t gsi) {
    bool resampled = false;
    spin_lock(&vm->lock);
    list_for_each(node, &vm->irqchip.irqfds) {
        const struct irqfd *irqfd = container_of(node, struct irqfd, node);
        resampled |= irqfd->resample && irqfd->gsi == gsi;
    }
    if (!resampled)
        irqchip_set_gsi(vm, gsi, IRQ_SOURCE_RESAMPLE, false);
    spin_unlock(&vm->lock);
}

// As KVM: taking away what is not there is no error, a bad fd is.
static int irqfd_deassign(struct vm *vm, const struct kvm_irqfd *request) {
    struct file *file;
    struct eventfd *eventfd = eventfd_get((int)request->fd, &file);
    if (!eventfd)
        return -EBADF;
    struct irqfd *irqfd;
    while ((irqfd = irqfd_detach(vm, eventfd, request->gsi))) {
        bool resampled = irqfd->resample;
        irqfd_free(irqfd);
        if (resampled)
            irqfd_lower(vm, request->gsi);
    }
    file_put(file);
    return 0;
}

int irqfd_change(struct vm *vm, const struct kvm_irqfd *request) {
    if (request->flags & ~(KVM_IRQFD_FLAG_DEASSIGN | KVM_IRQFD_FLAG_RESAMPLE))
        return -EINVAL;
    if (request->flags & KVM_IRQFD_FLAG_DEASSIGN)
        return irqfd_deassign(vm, request);
    if (vm->irqchip.mode == IRQCHIP_NONE)
        return -EINVAL;
    if ((request->flags & KVM_IRQFD_FLAG_RESAMPLE) && vm->irqchip.mode != IRQCHIP_KERNEL)
        return -EINVAL;
    return irqfd_assign(vm, request);
}

void irqfd_acknowledged(struct vm *vm, uint32_t gsis) {
    uint32_t lowered = 0;
    spin_lock(&vm->lock);
    list_for_each(node, &vm->irqchip.irqfds) {
        struct irqfd *irqfd = container_of(node, struct irqfd, node);
        if (!irqfd->resample || irqfd->gsi >= 32 || !(gsis & (1u << irqfd->gsi)))
            continue;
        if (!(lowered & (1u << irqfd->gsi)))
            irqchip_set_gsi(vm, irqfd->gsi, IRQ_SOURCE_RESAMPLE, false);
        lowered |= 1u << irqfd->gsi;
        eventfd_signal(irqfd->resample, 1);
    }
    spin_unlock(&vm->lock);
}

void irqfd_destroy_all(struct vm *vm) {
    while (!list_empty(&vm->irqchip.irqfds)) {
        struct irqfd *irqfd = container_of(vm->irqchip.irqfds.next, struct irqfd, node);
        list_remove(&irqfd->node);
        irqfd_free(irqfd);
    }
}
