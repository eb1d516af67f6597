// SPDX-License-Identifier: BSD-2-Clause
// The loop enter - exit - handle. What changes rarely is tested with one flag each and written
// rarely.
#include <asm/svm.h>
#include "arch/x86/guest/vcpu_attention.h"
#include "arch/x86/svm/instructions.h"
#include "arch/x86/svm/vcpu.h"
#include "core/sched/thread.h"

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
    uint64_t ratio = v->tsc_ratio ? v->tsc_ratio : TSC_RATIO_ONE;
    if (unlikely(svm.tsc_ratio && own->tsc_ratio != ratio)) {
        own->tsc_ratio = ratio;
        write_msr(MSR_TSC_RATIO, ratio);
    }
    if (unlikely(v->tsc_aux != own->tsc_aux) && svm.rdtscp)
        write_msr(MSR_TSC_AUX, v->tsc_aux);
    svm_vmsave(own->host_vmcb); // the thread's FS and user GS base
    v->recheck_events |= vcpu_event_waiting(vcpu) || vmcb_intercepts(v, SVM_EXIT_WRITE_CR8);
}

static void finish_run(struct virt_vcpu *vcpu, struct svm_vcpu *v, const struct svm_cpu *own) {
    if (unlikely(v->tsc_aux != own->tsc_aux) && svm.rdtscp)
        write_msr(MSR_TSC_AUX, own->tsc_aux);
    if (svm.virtual_nmi)
        nmi_collect(vcpu, v);
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
    if (v->step_due && svm_step_due(vcpu, exit))
        return false;
    if (v->recheck_events) {
        if (vcpu->events.triple_fault) {
            vcpu->events.triple_fault = false;
            exit->kind = VIRT_EXIT_SHUTDOWN;
            return false;
        }
        svm_events_entry(vcpu, v);
    }
    if (v->flush_tlb) {
        v->flush_tlb = false;
        vcpu->statistics.tlb_flushes++;
        flush(v, own);
    }
    if (v->debug_registers)
        svm_load_debug_registers(vcpu);
    return true;
}

static void enter(struct virt_vcpu *vcpu, struct svm_vcpu *v, const struct svm_cpu *own) {
    struct vmcb *vmcb = v->vmcb;
    svm_load_tpr(vcpu, v);
    vmcb->rax = vcpu->gpr[0];
    vmcb->cr2 = vcpu->cr2;
    if (unlikely(v->spec_ctrl))
        write_msr(MSR_SPEC_CTRL, v->spec_ctrl);
    svm_world_switch(vcpu, v->vmcb_physical, own->host_vmcb);
    if (unlikely(v->spec_ctrl))
        write_msr(MSR_SPEC_CTRL, 0);
    vcpu->gpr[0] = vmcb->rax;
    vcpu->cr2 = vmcb->cr2;
    vmcb->tlb_control = TLB_KEEP;
    // CR2 and the interrupt control are written at each entry.
    vmcb->clean = svm.clean_bits ? CLEAN_ALL & ~(CLEAN_CR2 | CLEAN_INTERRUPTS) : 0;
    v->next_rip = svm.next_rip ? vmcb->next_rip : 0;
    svm_store_tpr(vcpu, v);
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
        if (v->iret_pending || v->nmi_step)
            nmi_exit(v);
        svm_events_exit(vcpu, v);
    } else if (unlikely(v->vmcb->exit_event & EVENTINJ_VALID)) {
        svm_events_exit(vcpu, v);
    }
    if (code == SVM_EXIT_NPF)
        return svm_exit_nested_page_fault(vcpu, v, exit);
    if (unlikely(code >= SVM_EXIT_ROWS || !svm_exit_table[code].handler))
        return svm_internal_error(exit, KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON, code,
                                  this_cpu()->index);
    return svm_exit_table[code].handler(vcpu, v, exit);
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
        if (unlikely(vcpu_look(vcpu, cpu))) {
            if (vcpu_must_leave(vcpu, cpu)) {
                exit->kind = VIRT_EXIT_ATTENTION;
                break;
            }
            v->recheck_events = true;
        }
        if (unlikely(v->before_entry) && !prepare_entry(vcpu, v, own, exit))
            break;
        uint64_t generation = atomic_load_explicit(&vm->stage2_generation, memory_order_acquire);
        if (unlikely(v->stage2_seen != generation)) {
            v->stage2_seen = generation;
            flush(v, own);
        }
        enter(vcpu, v, own);
    } while (handle_exit(vcpu, v, exit) == EXIT_RESUME);
    atomic_store_explicit(&vcpu->in_guest, false, memory_order_release);
    finish_run(vcpu, v, own);
    return 0;
}
