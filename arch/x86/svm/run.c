// SPDX-License-Identifier: BSD-2-Clause
// The loop enter - exit - handle. What changes rarely is tested with one flag each and written
// rarely.
#include <asm/svm.h>
#include "arch/x86/guest/vcpu_attention.h"
#include "arch/x86/svm/vcpu.h"

#define unlikely(condition) __builtin_expect(!!(condition), 0)

// First run on this CPU since another. Its bit in the VM's mask stays set: a CPU that ran this VM
// once is asked to answer flushes, which costs it little.
static void arrive(struct virt_vcpu *vcpu, struct svm_vcpu *v, struct cpu *cpu) {
    v->cpu = cpu;
    v->vmcb->clean = 0;
    atomic_fetch_or(&vcpu->vm->cpus[cpu->index / 64], 1ull << cpu->index % 64);
}

// Once a run: what the CPU or the thread decides.
static void prepare_run(struct virt_vcpu *vcpu, struct svm_vcpu *v, struct cpu *cpu,
                        struct svm_cpu *own) {
    bool moved = v->cpu != cpu;
    if (unlikely(moved))
        arrive(vcpu, v, cpu);
    if (unlikely(moved || v->asid_generation != own->asid_generation))
        asid_renew(v, own);
    uint64_t ratio = vcpu->tsc_ratio ? vcpu->tsc_ratio : TSC_RATIO_ONE;
    if (unlikely(svm.tsc_ratio && own->tsc_ratio != ratio)) {
        own->tsc_ratio = ratio;
        write_msr(MSR_TSC_RATIO, ratio);
    }
    if (unlikely(v->tsc_aux != own->tsc_aux) && svm.rdtscp)
        write_msr(MSR_TSC_AUX, v->tsc_aux);
    svm_vmsave(own->host_vmcb); // the thread's FS and user GS base
    vcpu->recheck_events |= vcpu_event_waiting(vcpu) || vmcb_intercepts(v, SVM_EXIT_WRITE_CR8);
}

static void finish_run(struct virt_vcpu *vcpu, struct svm_vcpu *v, const struct svm_cpu *own) {
    if (unlikely(v->tsc_aux != own->tsc_aux) && svm.rdtscp)
        write_msr(MSR_TSC_AUX, own->tsc_aux);
    if (svm.virtual_nmi)
        nmi_collect(vcpu, v);
    if (unlikely(!svm.next_rip)) // as all have that intercept XSETBV
        svm_adopt_xcr0(vcpu);
}

static void flush(struct svm_vcpu *v, struct svm_cpu *own) {
    if (svm.flush_by_asid && v->vmcb->tlb_control == TLB_KEEP)
        v->vmcb->tlb_control = TLB_FLUSH_GUEST;
    else
        asid_renew(v, own);
}

// What before_entry says. False: exit tells why not to enter.
static bool prepare_entry(struct virt_vcpu *vcpu, struct svm_vcpu *v, struct svm_cpu *own,
                          struct virt_exit *exit) {
    if (vcpu->step_due && vcpu_take_step(vcpu, exit))
        return false;
    if (vcpu->recheck_events) {
        if (vcpu_event_triple_fault(vcpu, exit))
            return false;
        svm_events_entry(vcpu, v);
    }
    if (vcpu->flush_tlb) {
        vcpu->flush_tlb = false;
        vcpu->statistics.tlb_flushes++;
        flush(v, own);
    }
    if (vcpu->debug_registers)
        svm_load_breakpoints(vcpu);
    return true;
}

static void load_tpr(struct virt_vcpu *vcpu, struct vmcb *vmcb) {
    uint32_t control = vmcb->interrupt_control & ~(uint32_t)V_TPR;
    vmcb->interrupt_control = control | (uint32_t)virt_get_cr8(vcpu);
}

static void store_tpr(struct virt_vcpu *vcpu, const struct vmcb *vmcb) {
    uint8_t tpr = vmcb->interrupt_control & 15;
    if (unlikely(tpr != virt_get_cr8(vcpu)))
        virt_set_cr8(vcpu, tpr);
}

static void enter(struct virt_vcpu *vcpu, struct svm_vcpu *v, struct svm_cpu *own) {
    struct vmcb *vmcb = v->vmcb;
    load_tpr(vcpu, vmcb);
    vmcb->rax = vcpu->gpr[0];
    vmcb->cr2 = vcpu->cr2;
    if (unlikely(vmcb->interrupt_shadow & IN_INTERRUPT_SHADOW)) {
        v->shadow = true;
        v->shadow_rip = vmcb->rip;
    }
    if (unlikely(vcpu->load_spec_ctrl))
        write_msr(MSR_SPEC_CTRL, vcpu->spec_ctrl);
    svm_world_switch(vcpu, v->vmcb_physical, own->host_vmcb);
    if (unlikely(vcpu->load_spec_ctrl))
        write_msr(MSR_SPEC_CTRL, 0);
    vcpu->gpr[0] = vmcb->rax;
    vcpu->cr2 = vmcb->cr2;
    if (unlikely(vmcb->tlb_control != TLB_KEEP)) {
        own->flush_all &= vmcb->tlb_control != TLB_FLUSH_ALL;
        vmcb->tlb_control = TLB_KEEP;
    }
    // CR2 and the interrupt control are written at each entry.
    vmcb->clean = svm.clean_bits ? CLEAN_ALL & ~(CLEAN_CR2 | CLEAN_INTERRUPTS) : 0;
    v->next_rip = svm.next_rip ? vmcb->next_rip : 0;
    store_tpr(vcpu, vmcb);
}

static enum exit_action dispatch(struct virt_vcpu *vcpu, uint64_t code, struct virt_exit *exit) {
    if (code == SVM_EXIT_NPF)
        return svm_exit_nested_page_fault(vcpu, exit);
    if (unlikely(code >= SVM_EXIT_ROWS || !svm_exit_table[code].handler))
        return exit_internal_error(exit, KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON, code,
                                   this_cpu()->index);
    return svm_exit_table[code].handler(vcpu, exit);
}

static enum exit_action handle_exit(struct virt_vcpu *vcpu, struct svm_vcpu *v,
                                    struct virt_exit *exit) {
    uint64_t code = v->vmcb->exit_code;
    vcpu->statistics.exits++;
    if (unlikely((uint32_t)code == (uint32_t)SVM_EXIT_ERR)) {
        if (v->breakpoints)
            svm_disarm_breakpoints(v);
        svm_entry_failed(vcpu, exit);
        return EXIT_LEAVE;
    }
    v->stepped = false;
    if (unlikely(v->after_exit)) {
        if (v->breakpoints)
            svm_disarm_breakpoints(v);
        if (v->shadow)
            svm_shadow_exit(v);
        if (v->step)
            svm_step_exit(v);
        if (v->iret_pending)
            nmi_exit(v);
        svm_events_exit(vcpu, v);
    } else if (unlikely(v->vmcb->exit_event & EVENT_VALID)) {
        svm_events_exit(vcpu, v);
    }
    enum exit_action action = dispatch(vcpu, code, exit);
    if (action & EXIT_SKIP)
        svm_skip(vcpu);
    return action;
}

int svm_run(struct virt_vcpu *vcpu, struct virt_exit *exit) {
    struct svm_vcpu *v = svm_of(vcpu);
    struct virt_vm *vm = vcpu->vm;
    struct cpu *cpu = this_cpu();
    struct svm_cpu *own = &svm_cpus[cpu->index];

    prepare_run(vcpu, v, cpu, own);
    // From here whoever sets attention kicks this CPU: sequentially consistent against their store.
    atomic_store(&vcpu->in_guest, true);
    do {
        if (unlikely(vcpu_look(vcpu, cpu)) && vcpu_must_leave(vcpu, cpu, exit))
            break;
        if (unlikely(vcpu->before_entry) && !prepare_entry(vcpu, v, own, exit))
            break;
        uint64_t generation = atomic_load_explicit(&vm->stage2_generation, memory_order_acquire);
        if (unlikely(v->stage2_seen != generation)) {
            v->stage2_seen = generation;
            flush(v, own);
        }
        enter(vcpu, v, own);
    } while (!(handle_exit(vcpu, v, exit) & EXIT_LEAVE));
    atomic_store_explicit(&vcpu->in_guest, false, memory_order_release);
    finish_run(vcpu, v, own);
    return 0;
}
