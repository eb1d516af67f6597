// SPDX-License-Identifier: BSD-2-Clause
// A vCPU's VMCS: which CPU has it, its controls and the host state.
#include <asm/errno.h>
#include "arch/x86/cpu/cpu_area.h"
#include "arch/x86/vmx/vcpu.h"
#include "core/log.h"
#include "core/mm/page.h"

void vmwrite_failed(enum vmcs_field field, uint64_t value) {
    panic("VMWRITE of %lx to VMCS field %x failed (error %lu)", value, (unsigned)field,
          vmread(VMCS_INSTRUCTION_ERROR));
}

static void vmcs_clear_here(void *argument) {
    struct vmx_vcpu *v = argument;
    struct cpu *cpu = this_cpu();
    if (cpu->loaded_vcpu == v->vcpu)
        vmx_user_return();
    if (!vmx_clear(v->vmcs))
        panic("VMCLEAR of %lx failed", v->vmcs);
    v->launched = false;
    v->cpu = NULL;
    if (cpu->control_block == v)
        cpu->control_block = NULL;
}

void vmcs_leave_cpu(void) {
    if (this_cpu()->control_block)
        vmcs_clear_here(this_cpu()->control_block);
}

static void vmcs_clear(struct vmx_vcpu *v) {
    if (v->cpu == this_cpu())
        vmcs_clear_here(v);
    else if (v->cpu)
        cpu_call_one(v->cpu->index, vmcs_clear_here, v);
}

void vmcs_switch(struct vmx_vcpu *v) {
    struct cpu *cpu = this_cpu();
    if (v->cpu != cpu) {
        vmcs_clear(v);
        // Its guest may have changed page tables elsewhere; this CPU's translations for the VPID
        // can be stale.
        v->vcpu->flush_tlb = true;
    }
    if (!vmx_load(v->vmcs))
        panic("VMPTRLD of %lx failed", v->vmcs);
    cpu->control_block = v;
    v->cpu = cpu;
}

void vmcs_set_cpu_controls(struct vmx_vcpu *v, uint32_t set, uint32_t clear) {
    uint32_t controls = (v->cpu_controls & ~clear) | set;
    if (controls == v->cpu_controls)
        return;
    v->cpu_controls = controls;
    vmwrite(VMCS_CPU_CONTROLS, controls);
}

void vmcs_host_cpu(struct vmx_vcpu *v, struct cpu *cpu) {
    v->host_cpu = cpu;
    vmwrite(VMCS_HOST_GS_BASE, (uintptr_t)cpu);
    vmwrite(VMCS_HOST_TR_BASE, (uintptr_t)&cpu_area(cpu)->tss);
    vmwrite(VMCS_HOST_GDTR_BASE, (uintptr_t)cpu_area(cpu)->gdt);
    vmwrite(VMCS_HOST_IDTR_BASE, segment_idt_base());
}

static void write_constant_host_state(void) {
    vmwrite(VMCS_HOST_CR0, read_cr0());
    vmwrite(VMCS_HOST_CR4, read_cr4());
    vmwrite(VMCS_HOST_CS_SELECTOR, SEGMENT_KERNEL_CODE);
    vmwrite(VMCS_HOST_SS_SELECTOR, SEGMENT_KERNEL_DATA);
    vmwrite(VMCS_HOST_DS_SELECTOR, 0);
    vmwrite(VMCS_HOST_ES_SELECTOR, 0);
    vmwrite(VMCS_HOST_FS_SELECTOR, 0);
    vmwrite(VMCS_HOST_GS_SELECTOR, 0);
    vmwrite(VMCS_HOST_TR_SELECTOR, SEGMENT_TSS);
    vmwrite(VMCS_HOST_SYSENTER_CS, 0);
    vmwrite(VMCS_HOST_SYSENTER_ESP, 0);
    vmwrite(VMCS_HOST_SYSENTER_EIP, 0);
    vmwrite(VMCS_HOST_EFER, read_msr(MSR_EFER));
    vmwrite(VMCS_HOST_PAT, read_msr(MSR_PAT));
    vmwrite(VMCS_HOST_RIP, (uintptr_t)vmx_exit_point);
    vmwrite(VMCS_HOST_RSP, 0);
    vmwrite(VMCS_HOST_CR3, 0);
    vmwrite(VMCS_HOST_FS_BASE, 0);
}

// The longest stay in a guest, or the sum of shorter ones.
#define LONGEST_STAY_MS 2

void vmcs_start_preemption_timer(void) {
    uint64_t ticks = time_tsc_khz() * LONGEST_STAY_MS >> vmx.preemption_timer_shift;
    vmwrite(VMCS_PREEMPTION_TIMER, ticks > UINT32_MAX ? UINT32_MAX : ticks);
}

// Controls: required ones and those wanted that exist; what depends on the vCPU is decided here.
static void write_controls(struct virt_vcpu *vcpu, struct vmx_vcpu *v) {
    vmwrite(VMCS_PIN_CONTROLS, vmx.control[WORD_PIN]);
    v->cpu_controls = vmx.control[WORD_CPU];
    if (vcpu->irqchip) {
        vmwrite(VMCS_VIRTUAL_APIC_PAGE, virtual_to_page(vcpu->lapic.regs));
        vmwrite(VMCS_TPR_THRESHOLD, 0);
    } else {
        v->cpu_controls = (v->cpu_controls & ~CPU_TPR_SHADOW) | CPU_CR8_LOAD | CPU_CR8_STORE;
    }
    uint32_t controls_2 = vmx.control[WORD_CPU2];
    if (vcpu->vm->disabled_exits & KVM_X86_DISABLE_EXITS_HLT)
        v->cpu_controls &= ~CPU_HLT;
    if (vcpu->vm->disabled_exits & KVM_X86_DISABLE_EXITS_PAUSE)
        controls_2 &= ~CPU2_PAUSE_LOOP;
    vmwrite(VMCS_CPU_CONTROLS, v->cpu_controls);
    vmwrite(VMCS_CPU_CONTROLS_2, controls_2);
    vmwrite(VMCS_EXIT_CONTROLS, vmx.control[WORD_EXIT]);
    vmwrite(VMCS_ENTRY_CONTROLS, vmx.control[WORD_ENTRY] & ~(uint32_t)ENTRY_GUEST_64);
    if (vmx.pause_loop) {
        // Two PAUSEs at most 128 cycles apart are one loop; after 4096 cycles of it the vCPU
        // yields.
        vmwrite(VMCS_PLE_GAP, 128);
        vmwrite(VMCS_PLE_WINDOW, 4096);
    }
    if (vmx.preemption_timer)
        vmcs_start_preemption_timer();
    vmwrite(VMCS_PAGE_FAULT_MASK, 0);
    vmwrite(VMCS_PAGE_FAULT_MATCH, 0);
    vmwrite(VMCS_CR3_TARGET_COUNT, 0);
    vmwrite(VMCS_EXIT_MSR_STORE_COUNT, 0);
    vmwrite(VMCS_EXIT_MSR_LOAD_COUNT, 0);
    vmwrite(VMCS_ENTRY_MSR_LOAD_COUNT, 0);
    vmwrite(VMCS_ENTRY_INTERRUPTION, 0);
    vmwrite(VMCS_MSR_BITMAP, vmx_msr_bitmap);
    vmwrite(VMCS_VPID, v->vpid);
    vmwrite(VMCS_EPT_POINTER, vcpu->vm->stage2_root[0] | vmx.ept_pointer_bits);
    vmwrite(VMCS_LINK_POINTER, UINT64_MAX);
    if (vmx.xsaves)
        vmwrite(VMCS_XSS_EXITING_BITMAP, 0);
}

int vmcs_create(struct virt_vcpu *vcpu) {
    struct vmx_vcpu *v = vmx_of(vcpu);
    v->vcpu = vcpu;
    v->vpid = vpid_alloc();
    if (!v->vpid)
        return -ENOMEM;
    v->vmcs = page_alloc_zeroed(0);
    if (v->vmcs == PHYSICAL_NONE) {
        vpid_free(v->vpid);
        return -ENOMEM;
    }
    *(uint32_t *)page_to_virtual(v->vmcs) = vmx.revision;
    vcpu->flush_tlb = true;
    if (!vmx_clear(v->vmcs))
        panic("VMCLEAR of a new VMCS failed");
    vmcs_use(v);
    write_constant_host_state();
    write_controls(vcpu, v);
    int error = vmx_write_log_create(v);
    if (error)
        vmcs_destroy(vcpu);
    return error;
}

void vmcs_destroy(struct virt_vcpu *vcpu) {
    struct vmx_vcpu *v = vmx_of(vcpu);
    vmcs_clear(v);
    page_put(v->vmcs);
    vmx_write_log_destroy(v);
    vpid_free(v->vpid);
}
