// SPDX-License-Identifier: BSD-2-Clause
// KVM_RUN: finish what user space was asked for, then enter the guest until it is asked again.
#include <asm/errno.h>
#include "core/kvm/clock.h"
#include "core/kvm/dirty_ring.h"
#include "core/kvm/irqchip.h"
#include "core/kvm/msr_filter.h"
#include "core/kvm/stage2.h"
#include "core/kvm/vcpu.h"
#include "core/log.h"
#include "core/mm/page.h"
#include "core/sched/thread.h"
#include "core/string.h"

#define SYNC_REGISTERS (KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS | KVM_SYNC_X86_EVENTS)

static int exit_to_user(struct vcpu *vcpu, uint32_t reason) {
    vcpu->run->exit_reason = reason;
    return VCPU_EXIT_TO_USER;
}

// IN into AL or AX keeps the rest of RAX, into EAX clears its upper half (SDM vol. 1 3.4.1.1).
static void port_in_done(struct vcpu *vcpu, const void *data) {
    uint64_t value = 0;
    unsigned size = vcpu->exit.port.size;
    memcpy(&value, data, size);
    uint64_t keep = size == 4 ? 0 : ~0ull << (8 * size);
    vcpu->virt.gpr[0] = (vcpu->virt.gpr[0] & keep) | value;
}

// Kept out of line: without in-kernel devices the way to user space stays short.
static __attribute__((noinline)) bool port_in_kernel(struct vcpu *vcpu) {
    struct vm *vm = vcpu->vm;
    uint16_t port = vcpu->exit.port.port;
    unsigned size = vcpu->exit.port.size;
    bool in = vcpu->exit.port.in;
    uint32_t data = (uint32_t)vcpu->virt.gpr[0];
    if (!irqchip_port(vm, port, size, in, &data))
        return !in && (ioeventfd_write(vm, true, port, size, &data) ||
                       coalesced_write(vm, true, port, size, &data));
    if (in)
        port_in_done(vcpu, &data);
    return true;
}

static int exit_port(struct vcpu *vcpu) {
    struct kvm_run *run = vcpu->run;
    bool in = vcpu->exit.port.in;
    vcpu->virt.statistics.io_exits++;
    if (atomic_load_explicit(&vcpu->vm->kernel_ports, memory_order_relaxed) &&
        port_in_kernel(vcpu)) {
        virt->skip_instruction(&vcpu->virt);
        return VCPU_RESUME;
    }
    run->io.direction = in ? KVM_EXIT_IO_IN : KVM_EXIT_IO_OUT;
    run->io.size = vcpu->exit.port.size;
    run->io.port = vcpu->exit.port.port;
    run->io.count = 1;
    run->io.data_offset = PAGE_SIZE;
    *(uint32_t *)vcpu->port_data = (uint32_t)vcpu->virt.gpr[0];
    vcpu->completion = in ? COMPLETE_PORT_IN : COMPLETE_PORT_OUT;
    vcpu->rip_moved = false;
    return exit_to_user(vcpu, KVM_EXIT_IO);
}

static int exit_stage2(struct vcpu *vcpu) {
    vcpu->virt.statistics.stage2_faults++;
    int result =
        stage2_fault(vcpu, vcpu->exit.stage2.gpa | vcpu_space(vcpu), vcpu->exit.stage2.write);
    if (result == STAGE2_MAPPED)
        return VCPU_RESUME;
    return result < 0 ? result : vcpu_emulate(vcpu);
}

static int exit_halt(struct vcpu *vcpu) {
    vcpu->virt.statistics.halt_exits++;
    if (!vcpu->virt.irqchip)
        return exit_to_user(vcpu, KVM_EXIT_HLT);
    vcpu->mp_state = KVM_MP_STATE_HALTED;
    return VCPU_RESUME;
}

static int exit_shutdown(struct vcpu *vcpu) {
    return exit_to_user(vcpu, KVM_EXIT_SHUTDOWN);
}

static int exit_debug(struct vcpu *vcpu) {
    struct kvm_debug_exit_arch *arch = &vcpu->run->debug.arch;
    arch->exception = vcpu->exit.debug.exception;
    arch->pc = vcpu->exit.debug.pc;
    arch->dr6 = vcpu->exit.debug.dr6;
    arch->dr7 = vcpu->exit.debug.dr7;
    return exit_to_user(vcpu, KVM_EXIT_DEBUG);
}

static int exit_interrupt_window(struct vcpu *vcpu) {
    return exit_to_user(vcpu, KVM_EXIT_IRQ_WINDOW_OPEN);
}

// It spins for what another vCPU holds: if one of the VM has no CPU, that is likely to be the one.
static int exit_pause(struct vcpu *vcpu) {
    vcpu_yield_to(vcpu, NULL);
    vcpu_give_way(vcpu);
    return VCPU_RESUME;
}

static int exit_fail_entry(struct vcpu *vcpu) {
    vcpu->run->fail_entry.hardware_entry_failure_reason = vcpu->exit.fail_reason;
    vcpu->run->fail_entry.cpu = this_cpu()->index;
    return exit_to_user(vcpu, KVM_EXIT_FAIL_ENTRY);
}

static int exit_internal_error(struct vcpu *vcpu) {
    struct kvm_run *run = vcpu->run;
    run->internal.suberror = vcpu->exit.error.suberror;
    run->internal.ndata = vcpu->exit.error.count;
    memcpy(run->internal.data, vcpu->exit.error.data, sizeof(run->internal.data));
    return exit_to_user(vcpu, KVM_EXIT_INTERNAL_ERROR);
}

static int exit_set_tpr(struct vcpu *vcpu) {
    return exit_to_user(vcpu, KVM_EXIT_SET_TPR);
}

static void take_init(struct vcpu *vcpu) {
    vcpu->init_latched = vcpu->virt.in_smm;
    if (vcpu->init_latched)
        return;
    lapic_reset(&vcpu->virt.lapic, true);
    virt_reset(&vcpu->virt, true);
    paravirt_reset(vcpu);
    bool boot_cpu = vcpu->virt.lapic.base & LAPIC_BASE_BSP;
    vcpu->mp_state = boot_cpu ? KVM_MP_STATE_RUNNABLE : KVM_MP_STATE_INIT_RECEIVED;
}

// Starts at vector << 12 in real mode (SDM vol. 3 8.4.4).
static void take_sipi(struct vcpu *vcpu) {
    struct kvm_sregs sregs;
    if (vcpu->mp_state != KVM_MP_STATE_INIT_RECEIVED)
        return;
    uint8_t vector = atomic_load(&vcpu->sipi_vector);
    virt_get_sregs(&vcpu->virt, &sregs);
    sregs.cs.selector = (uint16_t)(vector << 8);
    sregs.cs.base = (uint64_t)vector << 12;
    virt_set_sregs(&vcpu->virt, &sregs);
    virt->set(&vcpu->virt, BACKEND_RIP, 0);
    vcpu->mp_state = KVM_MP_STATE_RUNNABLE;
    if (atomic_load(&vcpu->virt.events.smi_pending))
        atomic_fetch_or(&vcpu->virt.attention, ATTENTION_SMI);
}

static void write_log_update(struct vcpu *vcpu) {
    if (virt_logs_writes)
        virt->log_writes(&vcpu->virt, vcpu->vm->logged_slots != 0);
}

// The bits of `which` that were set.
static uint32_t take_attention(struct vcpu *vcpu, uint32_t which) {
    uint32_t bits = atomic_fetch_and(&vcpu->virt.attention, ~which) & which;
    if (bits & ATTENTION_TIMER)
        lapic_timer_expired(&vcpu->virt.lapic);
    if (bits & ATTENTION_INIT)
        take_init(vcpu);
    if (bits & ATTENTION_SIPI)
        take_sipi(vcpu);
    if (bits & ATTENTION_SMI)
        smm_interrupt(vcpu);
    if (bits & ATTENTION_IOAPIC_EOI)
        vcpu->eoi_pending = true;
    if (bits & ATTENTION_MSR_FILTER)
        msr_filter_update(vcpu);
    if (bits & ATTENTION_WRITE_LOG)
        write_log_update(vcpu);
    if (bits & ATTENTION_CLOCK)
        clock_update(vcpu);
    if (bits & ATTENTION_STEAL)
        paravirt_steal_update(vcpu);
    if (bits & ATTENTION_PV_EOI)
        paravirt_eoi_reach(vcpu);
    return bits;
}

static int interrupted(struct vcpu *vcpu) {
    vcpu->virt.statistics.signal_exits++;
    vcpu->run->exit_reason = KVM_EXIT_INTR;
    return -EINTR;
}

static int exit_ioapic_eoi(struct vcpu *vcpu) {
    vcpu->eoi_pending = false;
    vcpu->run->eoi.vector = vcpu->eoi_vector;
    return exit_to_user(vcpu, KVM_EXIT_IOAPIC_EOI);
}

static int exit_attention(struct vcpu *vcpu) {
    uint32_t bits = take_attention(vcpu, ~0u);
    if (vcpu->eoi_pending)
        return exit_ioapic_eoi(vcpu);
    if ((bits & ATTENTION_DIRTY_RING) && dirty_ring_full(vcpu)) {
        atomic_fetch_or(&vcpu->virt.attention, ATTENTION_DIRTY_RING); // until there is room
        return exit_to_user(vcpu, KVM_EXIT_DIRTY_RING_FULL);
    }
    if (thread_interrupted())
        return interrupted(vcpu);
    if (thread_must_yield())
        vcpu_give_way(vcpu);
    return VCPU_RESUME;
}

static int (*const exits[])(struct vcpu *vcpu) = {
    [VIRT_EXIT_ATTENTION] = exit_attention,
    [VIRT_EXIT_PORT] = exit_port,
    [VIRT_EXIT_EMULATE] = vcpu_emulate,
    [VIRT_EXIT_STAGE2] = exit_stage2,
    [VIRT_EXIT_HALT] = exit_halt,
    [VIRT_EXIT_SHUTDOWN] = exit_shutdown,
    [VIRT_EXIT_HYPERCALL] = hypercall,
    [VIRT_EXIT_DEBUG] = exit_debug,
    [VIRT_EXIT_MSR] = msr_refused,
    [VIRT_EXIT_INTERRUPT_WINDOW] = exit_interrupt_window,
    [VIRT_EXIT_PAUSE] = exit_pause,
    [VIRT_EXIT_FAIL_ENTRY] = exit_fail_entry,
    [VIRT_EXIT_INTERNAL_ERROR] = exit_internal_error,
    [VIRT_EXIT_SET_TPR] = exit_set_tpr,
    [VIRT_EXIT_UNDEFINED] = vcpu_undefined,
};

// Something that ends HLT (SDM vol. 2, HLT): an interrupt the guest can take, an NMI, an exception
// put in by user space.
static bool vcpu_wakeable(struct vcpu *vcpu) {
    struct virt_vcpu *state = &vcpu->virt;
    if (vcpu->mp_state != KVM_MP_STATE_HALTED)
        return vcpu->mp_state == KVM_MP_STATE_RUNNABLE;
    if (atomic_load(&state->events.nmi_pending) || state->events.exception_pending ||
        atomic_load(&vcpu->unhalted))
        return true;
    if (!virt_interrupt_allowed(state))
        return false;
    bool pic = state->pic_output && *(const volatile bool *)state->pic_output &&
               lapic_accepts_pic(&state->lapic);
    return pic || state->events.user_interrupt >= 0 || lapic_pending_vector(&state->lapic) >= 0;
}

// Sleeps until the vCPU has something to run for. 0 or -EINTR.
static int vcpu_block(struct vcpu *vcpu) {
    struct waiter waiter;
    waiter_init(&waiter);
    int error = 0;
    paravirt_preempted(vcpu);
    while (!error) {
        waiter_add(&waiter, &vcpu->halted);
        atomic_store(&vcpu->waiting, true);
        take_attention(vcpu, ~(uint32_t)ATTENTION_DIRTY_RING);
        if (vcpu_wakeable(vcpu))
            break;
        error = wait(TIME_NEVER);
        waiter_remove(&waiter);
    }
    atomic_store(&vcpu->waiting, false);
    waiter_remove(&waiter);
    if (error)
        return interrupted(vcpu);
    wait_cancel();
    atomic_store(&vcpu->unhalted, false);
    vcpu->mp_state = KVM_MP_STATE_RUNNABLE;
    paravirt_steal_update(vcpu);
    return 0;
}

static __attribute__((noinline)) int complete_other(struct vcpu *vcpu, enum vcpu_completion what) {
    if (what == COMPLETE_MSR)
        return msr_complete(vcpu);
    if (what == COMPLETE_HYPERCALL)
        return hypercall_complete(vcpu);
    return vcpu_emulate_continue(vcpu);
}

static int complete(struct vcpu *vcpu) {
    enum vcpu_completion what = vcpu->completion;
    vcpu->completion = COMPLETE_NOTHING;
    if (what > COMPLETE_PORT_OUT)
        return complete_other(vcpu, what);
    if (what == COMPLETE_PORT_IN)
        port_in_done(vcpu, vcpu->port_data);
    // User space may have moved RIP itself meanwhile (a reset, a migration): then the access is
    // over.
    if (what != COMPLETE_NOTHING && !vcpu->rip_moved)
        virt->skip_instruction(&vcpu->virt);
    return VCPU_RESUME;
}

static bool user_wants_window(struct vcpu *vcpu) {
    struct virt_vcpu *state = &vcpu->virt;
    state->interrupt_window_requested =
        vcpu->vm->irqchip.mode != IRQCHIP_KERNEL && vcpu->run->request_interrupt_window;
    return state->interrupt_window_requested && state->events.user_interrupt < 0 &&
           virt_interrupt_allowed(state);
}

static int64_t run_guest(struct vcpu *vcpu) {
    int next = complete(vcpu);
    if (next == VCPU_RESUME && vcpu->run->immediate_exit)
        return -EINTR; // exit_reason stays what it was, as in KVM
    if (next == VCPU_RESUME && user_wants_window(vcpu))
        return exit_interrupt_window(vcpu);
    while (next == VCPU_RESUME) {
        if (vcpu->mp_state != KVM_MP_STATE_RUNNABLE) {
            int error = vcpu_block(vcpu);
            if (error)
                return error;
        }
        atomic_store_explicit(&vcpu->cpu, (int)this_cpu()->index, memory_order_relaxed);
        int error = virt->run(&vcpu->virt, &vcpu->exit);
        if (error)
            return error;
        next = exits[vcpu->exit.kind](vcpu);
    }
    return next;
}

// The page is shared with other threads of the program: what is checked is a copy.
static int load_synced(struct vcpu *vcpu) {
    struct kvm_sync_regs synced = vcpu->run->s.regs;
    uint64_t dirty = vcpu->run->kvm_dirty_regs;
    vcpu->run->kvm_dirty_regs = 0;
    if (dirty & KVM_SYNC_X86_REGS)
        vcpu_set_regs(vcpu, &synced.regs);
    if ((dirty & KVM_SYNC_X86_SREGS) && vcpu_set_sregs(vcpu, &synced.sregs))
        return -EINVAL;
    if ((dirty & KVM_SYNC_X86_EVENTS) && vcpu_set_events(vcpu, &synced.events))
        return -EINVAL;
    return 0;
}

static void store_synced(struct vcpu *vcpu) {
    struct kvm_run *run = vcpu->run;
    if (run->kvm_valid_regs & KVM_SYNC_X86_REGS)
        virt_get_regs(&vcpu->virt, &run->s.regs.regs);
    if (run->kvm_valid_regs & KVM_SYNC_X86_SREGS)
        vcpu_get_sregs(vcpu, &run->s.regs.sregs);
    if (run->kvm_valid_regs & KVM_SYNC_X86_EVENTS)
        vcpu_get_events(vcpu, &run->s.regs.events);
}

// What KVM_RUN always reports (struct kvm_run, "out").
static void report(struct vcpu *vcpu) {
    struct kvm_run *run = vcpu->run;
    struct virt_vcpu *state = &vcpu->virt;
    bool allowed = virt->get(state, BACKEND_RFLAGS) >> 9 & 1;
    run->if_flag = allowed;
    run->flags = state->in_smm ? KVM_RUN_X86_SMM : 0;
    run->cr8 = virt_get_cr8(&vcpu->virt);
    run->apic_base = state->irqchip ? state->lapic.base : state->msrs.apic_base;
    run->ready_for_interrupt_injection =
        vcpu->vm->irqchip.mode == IRQCHIP_KERNEL ||
        ((!state->irqchip || lapic_accepts_pic(&state->lapic)) && allowed &&
         state->events.user_interrupt < 0 && virt_interrupt_allowed(state));
    if (run->kvm_valid_regs)
        store_synced(vcpu);
}

static int64_t run_with_guest_fpu(struct vcpu *vcpu) {
    struct thread *thread = thread_current();
    fpu_switch(&thread->user_fpu, &vcpu->virt.guest_fpu);
    thread->fpu = &vcpu->virt.guest_fpu;
    int64_t result = run_guest(vcpu);
    if (this_cpu()->guest_msrs_loaded) // now, so that the way back to user mode stays the short one
        virt_user_return();
    thread->fpu = &thread->user_fpu;
    fpu_switch(&vcpu->virt.guest_fpu, &thread->user_fpu);
    return result;
}

// The machine's first guest entry is worth a line: how long it took from the kernel's own first
// instruction.
static void report_first_run(void) {
    static _Atomic bool reported;
    if (atomic_exchange(&reported, true))
        return;
    uint64_t now = time_now();
    log_line("first guest: entered %lu.%01lu M ticks (%lu ms) after the kernel's entry",
             (time_to_tsc(now) - time_to_tsc(0)) / 1000000,
             (time_to_tsc(now) - time_to_tsc(0)) / 100000 % 10, now / 1000000);
}

// What is due at the start of KVM_RUN, for few vCPUs or once.
static void begin(struct vcpu *vcpu) {
    if (!vcpu->has_run)
        report_first_run();
    thread_current()->entity.guest = true;
    vcpu->has_run = true;
    vcpu->begins = vcpu->virt.msrs.kvm_steal_time & KVM_MSR_ENABLED;
    paravirt_steal_update(vcpu);
}

int64_t vcpu_run(struct vcpu *vcpu) {
    struct kvm_run *run = vcpu->run;
    struct thread *thread = thread_current();
    if ((run->kvm_valid_regs | run->kvm_dirty_regs) & ~(uint64_t)SYNC_REGISTERS)
        return -EINVAL;
    if (run->kvm_dirty_regs && load_synced(vcpu))
        return -EINVAL;
    uint64_t cr8 = __atomic_load_n(&run->cr8, __ATOMIC_RELAXED); // once: others may write there
    if (!vcpu->virt.irqchip && cr8 != virt_get_cr8(&vcpu->virt)) {
        if (cr8 > 15)
            return -EINVAL;
        virt_set_cr8(&vcpu->virt, cr8);
    }
    if (vcpu->begins)
        begin(vcpu);
    uint64_t blocked = thread->signals.blocked;
    if (vcpu->has_signal_mask)
        signal_mask_set(vcpu->signal_mask);
    int64_t result = run_with_guest_fpu(vcpu);
    if (vcpu->has_signal_mask)
        signal_mask_set(blocked);
    report(vcpu);
    return result;
}
