// SPDX-License-Identifier: BSD-2-Clause
// MSRs whose guest values live in the VMCS or in the processor, and the bitmap that says which the
// guest reaches itself.
#include <asm/errno.h>
#include "arch/x86/cpu/cpu_features.h"
#include "arch/x86/vmx/vcpu.h"
#include "core/list.h"
#include "core/mm/page.h"
#include "core/sched/thread.h"
#include "core/string.h"

uint64_t vmx_msr_bitmap, vmx_msr_bitmap_all;

static const uint32_t lazy_index[LAZY_COUNT] = {
    [LAZY_KERNEL_GS_BASE] = MSR_KERNEL_GS_BASE,
    [LAZY_STAR] = MSR_STAR,
    [LAZY_LSTAR] = MSR_LSTAR,
    [LAZY_SYSCALL_MASK] = MSR_SYSCALL_MASK,
    [LAZY_TSC_AUX] = MSR_TSC_AUX,
};
static uint64_t host_lazy[LAZY_COUNT]; // the SYSCALL three, the same on all CPUs
static uint64_t host_tsc_aux[CPU_MAX];

// -- bitmap (SDM vol. 3 25.6.9): read low, read high, write low, write high, 1 KiB each --

enum { PASS_READ = 1, PASS_WRITE = 2 };

static void bitmap_pass(uint8_t *bitmap, uint32_t index, unsigned how) {
    unsigned high = index >= 0xc0000000 ? 1024 : 0, bit = index & 0x1fff;
    if (how & PASS_READ)
        bitmap[high + bit / 8] &= (uint8_t) ~(1u << bit % 8);
    if (how & PASS_WRITE)
        bitmap[2048 + high + bit / 8] &= (uint8_t) ~(1u << bit % 8);
}

static const struct {
    uint32_t index;
    uint8_t how;
} passed[] = {
    {MSR_FS_BASE, PASS_READ | PASS_WRITE},
    {MSR_GS_BASE, PASS_READ | PASS_WRITE},
    {MSR_KERNEL_GS_BASE, PASS_READ | PASS_WRITE},
    {MSR_SYSENTER_CS, PASS_READ | PASS_WRITE},
    {MSR_SYSENTER_ESP, PASS_READ | PASS_WRITE},
    {MSR_SYSENTER_EIP, PASS_READ | PASS_WRITE},
    {MSR_PAT, PASS_READ | PASS_WRITE},
    {MSR_TSC, PASS_READ}, // offset and scaling apply
    {MSR_EFER, PASS_READ},
};

int vmx_msr_init(void) {
    vmx_msr_bitmap = page_alloc(0);
    vmx_msr_bitmap_all = page_alloc(0);
    if (vmx_msr_bitmap == PHYSICAL_NONE || vmx_msr_bitmap_all == PHYSICAL_NONE)
        return -ENOMEM;
    uint8_t *bitmap = page_to_virtual(vmx_msr_bitmap);
    memset(bitmap, 0xff, PAGE_SIZE);
    memset(page_to_virtual(vmx_msr_bitmap_all), 0xff, PAGE_SIZE);
    for (size_t i = 0; i < sizeof(passed) / sizeof(passed[0]); i++)
        bitmap_pass(bitmap, passed[i].index, passed[i].how);
    return 0;
}

void vmx_msr_cpu_init(void) {
    for (unsigned i = LAZY_STAR; i <= LAZY_SYSCALL_MASK; i++)
        host_lazy[i] = read_msr(lazy_index[i]);
    if (vmx.rdtscp)
        host_tsc_aux[this_cpu()->index] = read_msr(MSR_TSC_AUX);
}

// -- lazy switch --

// Sets IA32_KERNEL_GS_BASE and returns what was there. SWAPGS brings it within reach of the short
// instructions; an NMI in between finds its own GS base.
static uint64_t exchange_kernel_gs_base(uint64_t value) {
    uint64_t old;
    if (cpu_features.fsgsbase) {
        __asm__ volatile("swapgs; rdgsbase %0; wrgsbase %1; swapgs" : "=&r"(old) : "r"(value));
        return old;
    }
    old = read_msr(MSR_KERNEL_GS_BASE);
    write_msr(MSR_KERNEL_GS_BASE, value);
    return old;
}

static void write_syscall_msrs(const uint64_t values[LAZY_COUNT]) {
    for (unsigned i = LAZY_STAR; i <= LAZY_SYSCALL_MASK; i++)
        write_msr(lazy_index[i], values[i]);
}

void vmx_msrs_load(struct virt_vcpu *vcpu, struct cpu *cpu) {
    struct vmx_vcpu *v = vmx_of(vcpu);
    if (cpu->guest_msrs_loaded)
        vmx_user_return(); // another vCPU's
    // In the kernel it holds the thread's user GS base.
    cpu->current->gs_base = exchange_kernel_gs_base(v->lazy[LAZY_KERNEL_GS_BASE]);
    // Without EFER.SCE SYSCALL is undefined, so nothing looks at its MSRs.
    v->syscall_loaded = v->syscall_enabled;
    if (v->syscall_loaded)
        write_syscall_msrs(v->lazy);
    if (v->lazy[LAZY_TSC_AUX] != host_tsc_aux[cpu->index])
        write_msr(MSR_TSC_AUX, v->lazy[LAZY_TSC_AUX]);
    cpu->loaded_vcpu = vcpu;
    cpu->guest_msrs_loaded = true;
}

void vmx_user_return(void) {
    struct cpu *cpu = this_cpu();
    if (!cpu->guest_msrs_loaded)
        return;
    struct vmx_vcpu *v = vmx_of(cpu->loaded_vcpu);
    v->lazy[LAZY_KERNEL_GS_BASE] = exchange_kernel_gs_base(cpu->current->gs_base);
    if (v->syscall_loaded)
        write_syscall_msrs(host_lazy);
    if (v->lazy[LAZY_TSC_AUX] != host_tsc_aux[cpu->index])
        write_msr(MSR_TSC_AUX, host_tsc_aux[cpu->index]);
    cpu->loaded_vcpu = NULL;
    cpu->guest_msrs_loaded = false;
}

static bool lazy_loaded(const struct virt_vcpu *vcpu) {
    return this_cpu()->guest_msrs_loaded && this_cpu()->loaded_vcpu == vcpu;
}

static uint64_t lazy_get(struct virt_vcpu *vcpu, enum lazy_msr which) {
    // Only SWAPGS and the guest's own WRMSR change KERNEL_GS_BASE behind our back.
    if (which == LAZY_KERNEL_GS_BASE && lazy_loaded(vcpu))
        vmx_of(vcpu)->lazy[which] = read_msr(MSR_KERNEL_GS_BASE);
    return vmx_of(vcpu)->lazy[which];
}

static int lazy_set(struct virt_vcpu *vcpu, enum lazy_msr which, uint64_t value) {
    struct vmx_vcpu *v = vmx_of(vcpu);
    if (which == LAZY_TSC_AUX && !vmx.rdtscp)
        return -1;
    v->lazy[which] = value;
    bool live = which == LAZY_KERNEL_GS_BASE || which == LAZY_TSC_AUX || v->syscall_loaded;
    if (live && lazy_loaded(vcpu))
        write_msr(lazy_index[which], value);
    return 0;
}

void vmx_syscall_enabled(struct virt_vcpu *vcpu, bool enabled) {
    struct vmx_vcpu *v = vmx_of(vcpu);
    v->syscall_enabled = enabled;
    if (enabled && lazy_loaded(vcpu) && !v->syscall_loaded) {
        v->syscall_loaded = true;
        write_syscall_msrs(v->lazy);
    }
}

// -- access by guest_msr --

enum place { PLACE_VMCS, PLACE_LAZY, PLACE_OTHER };

static const struct {
    uint8_t place;
    uint16_t where; // VMCS field or enum lazy_msr
} places[BACKEND_COUNT] = {
    [BACKEND_EFER] = {PLACE_OTHER, 0},
    [BACKEND_FS_BASE] = {PLACE_VMCS, VMCS_GUEST_FS_BASE},
    [BACKEND_GS_BASE] = {PLACE_VMCS, VMCS_GUEST_GS_BASE},
    [BACKEND_KERNEL_GS_BASE] = {PLACE_LAZY, LAZY_KERNEL_GS_BASE},
    [BACKEND_STAR] = {PLACE_LAZY, LAZY_STAR},
    [BACKEND_LSTAR] = {PLACE_LAZY, LAZY_LSTAR},
    [BACKEND_CSTAR] = {PLACE_OTHER, 0}, // Intel has no SYSCALL in compatibility mode
    [BACKEND_SYSCALL_MASK] = {PLACE_LAZY, LAZY_SYSCALL_MASK},
    [BACKEND_SYSENTER_CS] = {PLACE_VMCS, VMCS_GUEST_SYSENTER_CS},
    [BACKEND_SYSENTER_ESP] = {PLACE_VMCS, VMCS_GUEST_SYSENTER_ESP},
    [BACKEND_SYSENTER_EIP] = {PLACE_VMCS, VMCS_GUEST_SYSENTER_EIP},
    [BACKEND_PAT] = {PLACE_VMCS, VMCS_GUEST_PAT},
    [BACKEND_DEBUGCTL] = {PLACE_OTHER, 0},
    [BACKEND_TSC_AUX] = {PLACE_LAZY, LAZY_TSC_AUX},
    [BACKEND_SPEC_CTRL] = {PLACE_OTHER, 0},
    [BACKEND_XSS] = {PLACE_OTHER, 0},
};

#define DEBUGCTL_BTF (1ull << 1)

uint64_t vmx_msr_get(struct virt_vcpu *vcpu, enum backend_msr which) {
    struct vmx_vcpu *v = vmx_of(vcpu);
    vmcs_use(v);
    if (places[which].place == PLACE_LAZY)
        return lazy_get(vcpu, places[which].where);
    if (places[which].place == PLACE_VMCS)
        return vmread(places[which].where);
    switch (which) {
    case BACKEND_EFER:
        return vmread(VMCS_GUEST_EFER);
    case BACKEND_DEBUGCTL:
        return vmread(VMCS_GUEST_DEBUGCTL);
    case BACKEND_CSTAR:
        return v->cstar;
    case BACKEND_SPEC_CTRL:
        return v->spec_ctrl;
    case BACKEND_XSS:
        return vcpu->guest_fpu.xss;
    default:
        return 0;
    }
}

static int efer_set(struct virt_vcpu *vcpu, uint64_t value) {
    uint64_t efer = vmread(VMCS_GUEST_EFER);
    // SDM vol. 3 4.1.1: LME cannot change while paging is on.
    if (((value ^ efer) & EFER_LME) && (vmread(VMCS_GUEST_CR0) >> 31 & 1))
        return -1;
    vmx_write_efer(vcpu, (value & ~EFER_LMA) | (efer & EFER_LMA));
    return 0;
}

static int xss_set(struct virt_vcpu *vcpu, uint64_t value) {
    vcpu->guest_fpu.xss = value;
    if (vmx.xsaves && this_cpu()->current->fpu == &vcpu->guest_fpu)
        write_msr(MSR_XSS, value);
    virt_cpuid_update(vcpu);
    return 0;
}

int vmx_msr_set(struct virt_vcpu *vcpu, enum backend_msr which, uint64_t value) {
    struct vmx_vcpu *v = vmx_of(vcpu);
    vmcs_use(v);
    if (places[which].place == PLACE_LAZY)
        return lazy_set(vcpu, places[which].where, value);
    if (places[which].place == PLACE_VMCS) {
        vmwrite(places[which].where, value);
        return 0;
    }
    switch (which) {
    case BACKEND_EFER:
        return efer_set(vcpu, value);
    case BACKEND_DEBUGCTL:
        // Branch records are the host's; single-step on branches works for the guest alone.
        vmwrite(VMCS_GUEST_DEBUGCTL, value & DEBUGCTL_BTF);
        return 0;
    case BACKEND_CSTAR:
        v->cstar = value;
        return 0;
    case BACKEND_SPEC_CTRL:
        if (!vmx.spec_ctrl && value)
            return -1;
        v->spec_ctrl = value;
        v->load_spec_ctrl = value != 0;
        return 0;
    case BACKEND_XSS:
        return xss_set(vcpu, value);
    default:
        return -1;
    }
}
