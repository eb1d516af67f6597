// SPDX-License-Identifier: BSD-2-Clause
// MSRs whose guest values are left in the processor, and the bitmap that says which the guest
// reaches itself.
#include <asm/errno.h>
#include "arch/x86/cpu/cpu_features.h"
#include "arch/x86/vmx/vcpu.h"
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

uint64_t vmx_lazy_get(struct virt_vcpu *vcpu, enum lazy_msr which) {
    // Only SWAPGS and the guest's own WRMSR change KERNEL_GS_BASE behind our back.
    if (which == LAZY_KERNEL_GS_BASE && lazy_loaded(vcpu))
        vmx_of(vcpu)->lazy[which] = read_msr(MSR_KERNEL_GS_BASE);
    return vmx_of(vcpu)->lazy[which];
}

void vmx_lazy_set(struct virt_vcpu *vcpu, enum lazy_msr which, uint64_t value) {
    struct vmx_vcpu *v = vmx_of(vcpu);
    v->lazy[which] = value;
    bool live = which == LAZY_KERNEL_GS_BASE ? true
                : which == LAZY_TSC_AUX      ? vmx.rdtscp
                : which == LAZY_CSTAR        ? false
                                             : v->syscall_loaded;
    if (live && lazy_loaded(vcpu))
        write_msr(lazy_index[which], value);
}

void vmx_syscall_enabled(struct virt_vcpu *vcpu, bool enabled) {
    struct vmx_vcpu *v = vmx_of(vcpu);
    v->syscall_enabled = enabled;
    if (enabled && lazy_loaded(vcpu) && !v->syscall_loaded) {
        v->syscall_loaded = true;
        write_syscall_msrs(v->lazy);
    }
}
