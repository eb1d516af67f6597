// SPDX-License-Identifier: BSD-2-Clause
// A virtual CPU: its life, its fd, and how others get its attention.
#include "core/kvm/vcpu.h"
#include <asm/errno.h>
#include "arch/x86/guest/smm.h"
#include "core/kvm/dirty_ring.h"
#include "core/kvm/guest_memory.h"
#include "core/kvm/irqchip.h"
#include "core/mm/heap.h"
#include "core/mm/memory_object.h"
#include "core/mm/page.h"
#include "core/mm/user_copy.h"
#include "core/process/process.h"

void vcpu_attend(struct vcpu *vcpu, uint32_t attention) {
    atomic_fetch_or(&vcpu->virt.attention, attention);
    if (atomic_load(&vcpu->waiting))
        wait_queue_wake(&vcpu->halted, 0);
    int cpu = atomic_load(&vcpu->cpu);
    if (atomic_load(&vcpu->virt.in_guest) && cpu != (int)this_cpu()->index)
        cpu_kick(cpu_at((unsigned)cpu));
}

void vcpu_queue_nmi(struct vcpu *vcpu) {
    uint8_t pending = atomic_load(&vcpu->virt.events.nmi_pending);
    while (pending < 2 &&
           !atomic_compare_exchange_weak(&vcpu->virt.events.nmi_pending, &pending, pending + 1))
        ;
}

static struct vcpu *of_lapic(struct lapic *lapic) {
    return container_of(lapic, struct vcpu, virt.lapic);
}

static uint64_t lapic_now(struct lapic *lapic) {
    return time_now();
}

static uint64_t lapic_tsc(struct lapic *lapic) {
    return virt_guest_tsc(&of_lapic(lapic)->virt);
}

static void lapic_send(struct lapic *lapic, const struct lapic_message *message) {
    irqchip_deliver(of_lapic(lapic)->vm, lapic, message);
}

static void lapic_eoi_broadcast(struct lapic *lapic, uint8_t vector) {
    struct vcpu *vcpu = of_lapic(lapic);
    if (irqchip_eoi_wanted(vcpu->vm, vector)) {
        vcpu->eoi_vector = vector;
        vcpu_attend(vcpu, ATTENTION_IOAPIC_EOI);
    } else {
        irqchip_eoi(vcpu->vm, vector);
    }
}

static void lapic_timer_changed(struct lapic *lapic) {
    struct vcpu *vcpu = of_lapic(lapic);
    uint64_t deadline = lapic->timer_deadline_ns;
    if (deadline == LAPIC_NEVER)
        timer_stop(&vcpu->timer);
    else
        timer_start(&vcpu->timer, deadline);
}

static void vcpu_timer_expired(struct timer *timer) {
    vcpu_attend(container_of(timer, struct vcpu, timer), ATTENTION_TIMER);
}

// Inside virt->run nothing may wait, as a page fault may: another vCPU would run on top of this
// one. What is not mapped just then counts as no memory. True: faults are to be put on again.
static bool faults_off(const struct virt_vcpu *virt_vcpu, struct user_faults *saved) {
    bool running = atomic_load_explicit(&virt_vcpu->in_guest, memory_order_relaxed);
    if (running)
        user_faults_off(saved);
    return running;
}

static bool read_physical(struct virt_vcpu *virt_vcpu, uint64_t gpa, void *data, uint32_t size) {
    struct vcpu *vcpu = vcpu_of(virt_vcpu);
    struct user_faults saved;
    bool off = faults_off(virt_vcpu, &saved);
    int error = vcpu_read_guest(vcpu, gpa | vcpu_space(vcpu), data, size);
    if (off)
        user_faults_on(&saved);
    return !error;
}

static unsigned fetch(struct virt_vcpu *virt_vcpu, const struct virt_state *state, unsigned access,
                      uint8_t *bytes, struct guest_exception *exception) {
    struct user_faults saved;
    bool off = faults_off(virt_vcpu, &saved);
    unsigned count = guest_memory_fetch(virt_vcpu, state, access, bytes, exception);
    if (off)
        user_faults_on(&saved);
    return count;
}

static void note_write(struct virt_vcpu *virt_vcpu, uint64_t gpa) {
    struct vcpu *vcpu = vcpu_of(virt_vcpu);
    memslot_mark_dirty(vcpu, gpa | vcpu_space(vcpu), 1);
}

static const struct lapic_ops lapic_ops = {
    .now_ns = lapic_now,
    .guest_tsc = lapic_tsc,
    .send = lapic_send,
    .eoi_broadcast = lapic_eoi_broadcast,
    .timer_changed = lapic_timer_changed,
    .pv_eoi = paravirt_eoi,
};

static uint8_t pic_acknowledge_hook(struct virt_vcpu *virt_vcpu) {
    return irqchip_pic_acknowledge(vcpu_of(virt_vcpu)->vm);
}

// One holder at a time, as KVM's vCPU mutex: ioctls from another thread wait until KVM_RUN is over.
static int vcpu_acquire(struct vcpu *vcpu) {
    if (!atomic_exchange_explicit(&vcpu->busy, 1, memory_order_acquire))
        return 0;
    struct waiter waiter;
    waiter_init(&waiter);
    int error = 0;
    for (;;) {
        waiter_add(&waiter, &vcpu->idle);
        atomic_store(&vcpu->wanted, true);
        if (!atomic_exchange(&vcpu->busy, 1))
            break;
        error = wait_uninterruptible(TIME_NEVER); // a signal does not cut short what did not begin
        waiter_remove(&waiter);
        if (error)
            return error;
    }
    waiter_remove(&waiter);
    wait_cancel();
    return 0;
}

static void vcpu_release(struct vcpu *vcpu) {
    atomic_store(&vcpu->busy, 0);
    if (atomic_load_explicit(&vcpu->wanted, memory_order_relaxed)) {
        atomic_store(&vcpu->wanted, false);
        wait_queue_wake(&vcpu->idle, 0);
    }
}

static int64_t vcpu_file_ioctl(struct file *file, unsigned command, uint64_t argument) {
    struct vcpu *vcpu = file->object;
    if (vcpu->vm->space != process_current()->space)
        return -EIO;
    int error = vcpu_acquire(vcpu);
    if (error)
        return error;
    int64_t result;
    if (command == KVM_RUN)
        result = argument ? -EINVAL : vcpu_run(vcpu);
    else
        result = vcpu_ioctl(vcpu, command, argument);
    vcpu_release(vcpu);
    return result;
}

static int vcpu_file_map(struct file *file, uint64_t offset, uint64_t size, int prot, int flags,
                         struct memory_object **object, uint64_t *object_offset) {
    struct vcpu *vcpu = file->object;
    const uint64_t ring = KVM_DIRTY_LOG_PAGE_OFFSET * PAGE_SIZE;
    if (offset >= ring) {
        *object_offset = offset - ring;
        return dirty_ring_map(vcpu, offset - ring, size, prot, flags, object);
    }
    if (offset + size > VCPU_RUN_PAGES * PAGE_SIZE || offset + size < offset)
        return -EINVAL;
    *object = kernel_pages_create(vcpu->run_pages, VCPU_RUN_PAGES);
    *object_offset = offset;
    return *object ? 0 : -ENOMEM;
}

static void vcpu_file_release(struct file *file) {
    vm_put(((struct vcpu *)file->object)->vm);
}

static const struct file_ops vcpu_file = {.name = "kvm-vcpu",
                                          .ioctl = vcpu_file_ioctl,
                                          .map = vcpu_file_map,
                                          .release = vcpu_file_release};

static void free_pages(struct vcpu *vcpu) {
    for (unsigned i = 0; i < VCPU_RUN_PAGES; i++)
        if (vcpu->run_pages[i] != PHYSICAL_NONE)
            page_put(vcpu->run_pages[i]);
    if (vcpu->lapic_page)
        page_put(virtual_to_page(vcpu->lapic_page));
    dirty_ring_destroy(vcpu);
}

static int alloc_pages(struct vcpu *vcpu, const struct vm *vm) {
    for (unsigned i = 0; i < COALESCED_MMIO_PAGE; i++)
        vcpu->run_pages[i] = page_alloc_zeroed(0);
    vcpu->run_pages[COALESCED_MMIO_PAGE] = vm->coalesced_ring;
    page_get(vm->coalesced_ring);
    uint64_t lapic = page_alloc_zeroed(0);
    vcpu->lapic_page = lapic == PHYSICAL_NONE ? NULL : page_to_virtual(lapic);
    bool whole = vcpu->lapic_page;
    for (unsigned i = 0; i < VCPU_RUN_PAGES; i++)
        whole &= vcpu->run_pages[i] != PHYSICAL_NONE;
    if (whole)
        vcpu->run = page_to_virtual(vcpu->run_pages[0]);
    if (whole)
        vcpu->port_data = page_to_virtual(vcpu->run_pages[1]);
    vcpu_emulate_init(vcpu);
    return whole ? 0 : -ENOMEM;
}

static void vcpu_init(struct vcpu *vcpu, struct vm *vm, uint32_t id) {
    struct virt_vcpu *state = &vcpu->virt;
    wait_queue_init(&vcpu->idle);
    wait_queue_init(&vcpu->halted);
    timer_init(&vcpu->timer, vcpu_timer_expired);
    state->id = id;
    state->vm = &vm->virt;
    state->events.user_interrupt = -1;
    state->read_physical = read_physical;
    state->fetch = fetch;
    state->note_write = note_write;
    state->irqchip = vm->irqchip.mode != IRQCHIP_NONE;
    state->tsc_khz = vm->default_tsc_khz;
    state->tsc_offset = vm->tsc_offset;
    if (vm->irqchip.mode == IRQCHIP_KERNEL) {
        state->pic_output = &vm->irqchip.pic.output;
        state->pic_acknowledge = pic_acknowledge_hook;
        state->lapic.eoi_watch = vm->irqchip.ioapic.eoi_watch;
    }
    if (vm->irqchip.mode == IRQCHIP_SPLIT)
        state->lapic.eoi_watch = vm->irqchip.split_watch;
    bool boot_cpu = id == vm->boot_cpu_id;
    lapic_init(&state->lapic, vcpu->lapic_page, id, boot_cpu, &lapic_ops);
    state->lapic.guest_tsc_khz = state->tsc_khz;
    state->lapic.x2apic_id_format = vm->x2apic_32bit_ids;
    state->lapic.no_broadcast_quirk = vm->x2apic_no_broadcast_quirk;
    guest_cpuid_set(&state->cpuid, NULL, 0);
    guest_msrs_init(&state->msrs, &msr_backend, &state->cpuid,
                    state->irqchip ? &state->lapic : NULL);
    state->msrs.smbase = SMM_BASE_RESET;
    state->msrs.platform_info_hidden = vm->platform_info_hidden;
    atomic_store(&state->attention, ATTENTION_MSR_FILTER | ATTENTION_WRITE_LOG);
    vcpu->begins = true;
    vcpu->mp_state =
        boot_cpu || !state->irqchip ? KVM_MP_STATE_RUNNABLE : KVM_MP_STATE_UNINITIALIZED;
}

static struct vcpu *vcpu_create(struct vm *vm, uint32_t id, int *error) {
    struct vcpu *vcpu = heap_new(struct vcpu);
    *error = -ENOMEM;
    if (!vcpu)
        return NULL;
    vcpu->vm = vm;
    if (alloc_pages(vcpu, vm) || dirty_ring_create(vcpu))
        goto no_pages;
    if (fpu_state_init(&vcpu->virt.guest_fpu))
        goto no_pages;
    vcpu_init(vcpu, vm, id);
    *error = virt_vcpu_create(&vcpu->virt);
    if (!*error)
        return vcpu;
    fpu_state_destroy(&vcpu->virt.guest_fpu);
no_pages:
    free_pages(vcpu);
    heap_free(vcpu);
    return NULL;
}

void vcpu_destroy(struct vcpu *vcpu) {
    timer_stop(&vcpu->timer);
    virt_vcpu_destroy(&vcpu->virt);
    fpu_state_destroy(&vcpu->virt.guest_fpu);
    heap_free(vcpu->cpuid_entries);
    free_pages(vcpu);
    heap_free(vcpu);
}

static int vcpu_enter_vm(struct vm *vm, struct vcpu *vcpu, uint32_t id) {
    spin_lock(&vm->lock);
    bool taken = vm->vcpus[id] != NULL;
    if (!taken) {
        vm->vcpus[id] = vcpu;
        vm->lapics[id] = &vcpu->virt.lapic;
        if (vm->vcpu_limit <= id)
            vm->vcpu_limit = id + 1;
        atomic_fetch_add(&vm->vcpu_count, 1);
    }
    spin_unlock(&vm->lock);
    return taken ? -EEXIST : 0;
}

int vcpu_create_fd(struct vm *vm, uint32_t id) {
    int error;
    if (vm->vcpus[id])
        return -EEXIST;
    struct vcpu *vcpu = vcpu_create(vm, id, &error);
    if (!vcpu)
        return error;
    error = vcpu_enter_vm(vm, vcpu, id);
    if (error) {
        vcpu_destroy(vcpu);
        return error;
    }
    vm_get(vm);
    int fd = fd_create(&vcpu_file, vcpu, 2 /* O_RDWR */, true);
    if (fd < 0)
        vm_put(vm); // the vCPU stays the VM's, without an fd
    return fd;
}
