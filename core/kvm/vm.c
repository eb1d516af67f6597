// SPDX-License-Identifier: BSD-2-Clause
// A virtual machine: its life and its fd.
#include "core/kvm/vm.h"
#include <asm/errno.h>
#include "core/kvm/irqchip.h"
#include "core/kvm/msr_filter.h"
#include "core/kvm/stage2.h"
#include "core/kvm/vcpu.h"
#include "core/mm/heap.h"
#include "core/process/process.h"
#include "core/sched/scheduler.h"

void vm_change_begin(struct vm *vm) {
    while (atomic_exchange(&vm->changing, true)) {
        thread_preemption_point(); // the owner may be waiting for this CPU's answer
        scheduler_yield();
    }
}

void vm_change_end(struct vm *vm) {
    atomic_store(&vm->changing, false);
}

void vm_get(struct vm *vm) {
    atomic_fetch_add(&vm->references, 1);
}

static void vm_destroy(struct vm *vm) {
    irqfd_destroy_all(vm);
    msr_filter_destroy(vm);
    ioeventfd_destroy_all(vm);
    coalesced_destroy(vm);
    irqchip_destroy(vm);
    for (uint32_t id = 0; id < vm->vcpu_limit; id++)
        if (vm->vcpus[id])
            vcpu_destroy(vm->vcpus[id]);
    stage2_destroy(vm);
    memslot_destroy(vm);
    address_space_put(vm->space);
    heap_free(vm);
}

void vm_put(struct vm *vm) {
    if (atomic_fetch_sub(&vm->references, 1) == 1)
        vm_destroy(vm);
}

// A VM belongs to the address space that made it (api.rst 2): from another, through a passed fd,
// nothing works.
static int64_t vm_file_ioctl(struct file *file, unsigned command, uint64_t argument) {
    struct vm *vm = file->object;
    if (vm->space != process_current()->space)
        return -EIO;
    return vm_ioctl(vm, command, argument);
}

static void vm_file_release(struct file *file) {
    vm_put(file->object);
}

static const struct file_ops vm_file = {
    .name = "kvm-vm", .ioctl = vm_file_ioctl, .release = vm_file_release};

static struct vm *vm_create(int *error) {
    struct vm *vm = heap_new(struct vm);
    *error = -ENOMEM;
    if (!vm)
        return NULL;
    vm->references = 1;
    vm->space = process_current()->space;
    vm->default_tsc_khz = (uint32_t)time_tsc_khz();
    vm->clock_offset = 0 - time_now();
    vm->creation_tsc = __builtin_ia32_rdtsc();
    vm->tsc_offset = 0 - vm->creation_tsc;
    irqchip_init(vm);
    list_init(&vm->preempted);
    *error = coalesced_init(vm);
    if (*error)
        goto no_ring;
    *error = stage2_init(vm);
    if (*error)
        goto no_stage2;
    address_space_get(vm->space);
    return vm;
no_stage2:
    coalesced_destroy(vm);
no_ring:
    heap_free(vm);
    return NULL;
}

int vm_create_fd(void) {
    int error;
    if (!virt)
        return -ENODEV;
    struct vm *vm = vm_create(&error);
    if (!vm)
        return error;
    int fd = fd_create(&vm_file, vm, 2 /* O_RDWR */, true);
    if (fd < 0)
        vm_put(vm);
    return fd;
}
