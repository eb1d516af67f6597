// SPDX-License-Identifier: BSD-2-Clause
// The loop enter - exit - handle. What changes rarely is tested with one flag each and written
// rarely.
#include <asm/vmx.h>
#include "arch/x86/guest/vcpu_attention.h"
#include "arch/x86/vmx/vcpu.h"

#define unlikely(condition) __builtin_expect(!!(condition), 0)

// First run on this CPU since another. Its bit in the VM's mask stays set: a CPU that ran this VM
// once is asked to answer flushes, which costs it little.
static void arrive(struct virt_vcpu *vcpu, struct vmx_vcpu *v, struct cpu *cpu) {
    vmcs_host_cpu(v, cpu);
    atomic_fetch_or(&vcpu->vm->cpus[cpu->index / 64], 1ull << cpu->index % 64);
}

// Once a run: what the CPU or the thread decides.
static void prepare_run(struct virt_vcpu *vcpu, struct vmx_vcpu *v, struct cpu *cpu) {
    vmcs_use(v);
    if (unlikely(v->host_cpu != cpu))
        arrive(vcpu, v, cpu);
    uint64_t cr3 = read_cr3(), fs_base = context_fs_base();
    if (unlikely(v->host_cr3 != cr3)) {
        v->host_cr3 = cr3;
        vmwrite(VMCS_HOST_CR3, cr3);
    }
    if (unlikely(v->host_fs_base != fs_base)) {
        v->host_fs_base = fs_base;
        vmwrite(VMCS_HOST_FS_BASE, fs_base);
    }
    if (cpu->loaded_vcpu != vcpu)
        vmx_msrs_load(vcpu, cpu);
    if (unlikely(vcpu_event_waiting(vcpu) || v->tpr_threshold))
        vcpu->recheck_events = true;
    if (unlikely(read_cr2() != vcpu->cr2))
        write_cr2(vcpu->cr2);
}

// What before_entry says. False: exit tells why not to enter.
static bool prepare_entry(struct virt_vcpu *vcpu, struct vmx_vcpu *v, struct virt_exit *exit) {
    if (vcpu->step_due) {
        vmwrite(VMCS_GUEST_PENDING_DEBUG, 0); // where Bochs 2.7 has noted the same step
        if (vcpu_take_step(vcpu, exit))
            return false;
    }
    if (vcpu->recheck_events) {
        uint64_t cr2 = vcpu->cr2;
        if (vcpu_event_triple_fault(vcpu, exit))
            return false;
        vmx_events_entry(vcpu, v);
        if (vcpu->cr2 != cr2) // a page fault is being injected
            write_cr2(vcpu->cr2);
    }
    if (vcpu->flush_tlb) {
        vcpu->flush_tlb = false;
        vcpu->statistics.tlb_flushes++;
        vmx_invvpid(INVALIDATE_ONE, v->vpid);
    }
    if (vcpu->debug_registers)
        vcpu_load_breakpoints(vcpu);
    if (vcpu->load_spec_ctrl)
        write_msr(MSR_SPEC_CTRL, vcpu->spec_ctrl);
    return true;
}

static void flush_stage2(struct virt_vm *vm, uint64_t *seen, uint64_t generation) {
    *seen = generation;
    for (unsigned i = 0; i < sizeof(vm->stage2_root) / sizeof(vm->stage2_root[0]); i++)
        vmx_invept(INVALIDATE_ONE, vm->stage2_root[i] | vmx.ept_pointer_bits);
}

// Reasons without a row: a failed entry, or an exit that no control of ours asks for.
static enum exit_action unknown_exit(struct virt_vcpu *vcpu, struct virt_exit *exit,
                                     uint32_t reason) {
    if (reason & VMX_EXIT_REASONS_FAILED_VMENTRY) {
        vmx_entry_failed(vcpu, exit, false, reason);
        return EXIT_LEAVE;
    }
    return exit_internal_error(exit, KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON, reason,
                               this_cpu()->index);
}

static enum exit_action handle_exit(struct virt_vcpu *vcpu, struct vmx_vcpu *v,
                                    struct virt_exit *exit) {
    uint32_t reason = (uint32_t)vmread(VMCS_EXIT_REASON);
    vcpu->statistics.exits++;
    if (unlikely(v->after_exit)) {
        if (v->injected)
            vmx_events_exit(vcpu);
        if (v->log_writes)
            vmx_write_log_drain(vcpu, v);
    }
    if (unlikely(reason >= EXIT_ROWS || !vmx_exit_table[reason]))
        return unknown_exit(vcpu, exit, reason);
    enum exit_action action = vmx_exit_table[reason](vcpu, exit);
    if (action & EXIT_SKIP)
        vmx_skip(vcpu);
    return action;
}

int vmx_run(struct virt_vcpu *vcpu, struct virt_exit *exit) {
    struct vmx_vcpu *v = vmx_of(vcpu);
    struct virt_vm *vm = vcpu->vm;
    struct cpu *cpu = this_cpu();
    uint64_t *seen = &vm->stage2_seen[cpu->index];

    prepare_run(vcpu, v, cpu);
    // From here whoever sets attention kicks this CPU: sequentially consistent against their store.
    atomic_store(&vcpu->in_guest, true);
    do {
        if (unlikely(vcpu_look(vcpu, cpu)) && vcpu_must_leave(vcpu, cpu, exit))
            break;
        if (unlikely(vcpu->before_entry) && !prepare_entry(vcpu, v, exit))
            break;
        uint64_t generation = atomic_load_explicit(&vm->stage2_generation, memory_order_acquire);
        if (unlikely(*seen != generation))
            flush_stage2(vm, seen, generation);
        if (unlikely(vmx_world_switch(vcpu, &v->host_rsp, v->launched))) {
            vmx_entry_failed(vcpu, exit, true, (uint32_t)vmread(VMCS_INSTRUCTION_ERROR));
            break;
        }
        v->launched = true;
        if (unlikely(vcpu->load_spec_ctrl))
            write_msr(MSR_SPEC_CTRL, 0);
    } while (!(handle_exit(vcpu, v, exit) & EXIT_LEAVE));
    atomic_store_explicit(&vcpu->in_guest, false, memory_order_release);
    // The guest's until here; a page fault of the host would overwrite it.
    vcpu->cr2 = read_cr2();
    return 0;
}
