// SPDX-License-Identifier: BSD-2-Clause
// The loop enter - exit - handle. What changes rarely is tested with one flag each and written
// rarely.
#include <asm/vmx.h>
#include "arch/x86/guest/vcpu_event.h"
#include "arch/x86/vmx/vcpu.h"
#include "core/sched/thread.h"

#define unlikely(condition) __builtin_expect(!!(condition), 0)

static void mark_cpu(struct virt_vm *vm, unsigned cpu) {
    uint64_t bit = 1ull << cpu % 64;
    _Atomic uint64_t *word = &vm->cpus[cpu / 64];
    // The bit stays: a CPU that ran this VM once is asked to answer flushes, which costs it little.
    if (!(atomic_load_explicit(word, memory_order_relaxed) & bit))
        atomic_fetch_or(word, bit);
}

// Once a run: what the CPU or the thread decides.
static void prepare_run(struct virt_vcpu *vcpu, struct vmx_vcpu *v, struct cpu *cpu) {
    vmcs_use(v);
    vmcs_host_state(v, cpu);
    mark_cpu(vcpu->vm, cpu->index);
    if (cpu->loaded_vcpu != vcpu)
        vmx_msrs_load(vcpu, cpu);
    if (vcpu_event_waiting(vcpu) || v->tpr_threshold)
        v->recheck_events = true;
    if (read_cr2() != vcpu->cr2)
        write_cr2(vcpu->cr2);
}

// True: core must look first.
static bool must_leave(struct virt_vcpu *vcpu, struct vmx_vcpu *v, struct cpu *cpu) {
    uint32_t attention = atomic_load_explicit(&vcpu->attention, memory_order_acquire);
    if ((attention & ~(uint32_t)ATTENTION_EVENT) || cpu->reschedule || cpu->current->work)
        return true;
    if (attention) {
        atomic_fetch_and(&vcpu->attention, ~(uint32_t)ATTENTION_EVENT);
        v->recheck_events = true;
    }
    return false;
}

// True: a triple fault was raised.
static bool handle_events(struct virt_vcpu *vcpu, struct vmx_vcpu *v) {
    if (unlikely(vcpu->events.triple_fault)) {
        vcpu->events.triple_fault = false;
        return true;
    }
    uint64_t cr2 = vcpu->cr2;
    vmx_events_entry(vcpu, v);
    if (vcpu->cr2 != cr2) // a page fault is being injected
        write_cr2(vcpu->cr2);
    return false;
}

static void flush_stale(struct virt_vcpu *vcpu, struct vmx_vcpu *v, struct cpu *cpu,
                        uint64_t generation) {
    struct virt_vm *vm = vcpu->vm;
    if (v->flush_tlb) {
        v->flush_tlb = false;
        vcpu->statistics.tlb_flushes++;
        vmx_invvpid(INVALIDATE_ONE, v->vpid);
    }
    if (vm->stage2_seen[cpu->index] != generation) {
        vm->stage2_seen[cpu->index] = generation;
        vmx_invept(INVALIDATE_ONE, vm->stage2_root | vmx.ept_pointer_bits);
    }
}

// One entry. True: it failed and exit is filled.
static bool enter(struct virt_vcpu *vcpu, struct vmx_vcpu *v, struct cpu *cpu,
                  struct virt_exit *exit) {
    uint64_t generation = atomic_load_explicit(&vcpu->vm->stage2_generation, memory_order_acquire);
    if (unlikely(v->flush_tlb || vcpu->vm->stage2_seen[cpu->index] != generation))
        flush_stale(vcpu, v, cpu, generation);
    if (unlikely(v->debug_registers))
        vmx_load_debug_registers(vcpu);
    if (unlikely(v->spec_ctrl))
        write_msr(MSR_SPEC_CTRL, v->spec_ctrl);
    bool rejected = vmx_world_switch(vcpu, &v->host_rsp, v->launched);
    if (unlikely(v->spec_ctrl))
        write_msr(MSR_SPEC_CTRL, 0);
    if (unlikely(rejected)) {
        vmx_entry_failed(vcpu, exit, true, (uint32_t)vmread(VMCS_INSTRUCTION_ERROR));
        return true;
    }
    v->launched = true;
    return false;
}

static void internal_error(struct virt_exit *exit, uint32_t suberror, uint64_t reason) {
    exit->kind = VIRT_EXIT_INTERNAL_ERROR;
    exit->error.suberror = suberror;
    exit->error.count = 2;
    exit->error.data[0] = reason;
    exit->error.data[1] = this_cpu()->index;
}

static enum exit_action handle_exit(struct virt_vcpu *vcpu, struct vmx_vcpu *v,
                                    struct virt_exit *exit) {
    uint32_t reason = (uint32_t)vmread(VMCS_EXIT_REASON);
    vcpu->statistics.exits++;
    if (unlikely(reason & VMX_EXIT_REASONS_FAILED_VMENTRY)) {
        v->launched = true;
        vmx_entry_failed(vcpu, exit, false, reason);
        return EXIT_LEAVE;
    }
    if (unlikely((uint16_t)reason >= EXIT_ROWS || !exit_table[(uint16_t)reason].handler)) {
        internal_error(exit, KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON, reason);
        return EXIT_LEAVE;
    }
    const struct exit_row *row = &exit_table[(uint16_t)reason];
    if (unlikely(v->injected || row->vectoring))
        vmx_events_exit(vcpu, v);
    return row->handler(vcpu, v, exit);
}

int vmx_run(struct virt_vcpu *vcpu, struct virt_exit *exit) {
    struct vmx_vcpu *v = vmx_of(vcpu);
    struct cpu *cpu = this_cpu();

    prepare_run(vcpu, v, cpu);
    // From here whoever sets attention kicks this CPU: sequentially consistent against their store.
    atomic_store(&vcpu->in_guest, true);
    do {
        if (unlikely(must_leave(vcpu, v, cpu))) {
            exit->kind = VIRT_EXIT_ATTENTION;
            break;
        }
        if (v->recheck_events && unlikely(handle_events(vcpu, v))) {
            exit->kind = VIRT_EXIT_SHUTDOWN;
            break;
        }
        if (unlikely(enter(vcpu, v, cpu, exit)))
            break;
    } while (handle_exit(vcpu, v, exit) == EXIT_RESUME);
    atomic_store_explicit(&vcpu->in_guest, false, memory_order_release);
    // The guest's until here; a page fault of the host would overwrite it.
    vcpu->cr2 = read_cr2();
    return 0;
}
