// SPDX-License-Identifier: BSD-2-Clause
// The vCPU ioctls of the KVM API (Documentation/virt/kvm/api.rst, "vcpu ioctl"), a row each;
// KVM_RUN apart.
#include "core/kvm/vcpu_ioctl.h"
#include <asm/errno.h>
#include <stddef.h>
#include "core/kvm/clock.h"
#include "core/kvm/cpuid_ioctl.h"
#include "core/kvm/device_attribute.h"
#include "core/kvm/guest_memory.h"
#include "core/kvm/ioctl_table.h"
#include "core/kvm/machine_check.h"
#include "core/kvm/msr_ioctl.h"
#include "core/kvm/statistics.h"
#include "core/kvm/vcpu.h"
#include "core/kvm/vcpu_fpu.h"
#include "core/mm/user_copy.h"
#include "core/string.h"

#define UNUSED_ARGUMENT (void)argument

static int64_t get_regs(void *vcpu, void *data, uint64_t argument) {
    UNUSED_ARGUMENT;
    virt_get_regs(&((struct vcpu *)vcpu)->virt, data);
    return 0;
}

void vcpu_set_regs(struct vcpu *vcpu, const struct kvm_regs *regs) {
    vcpu->rip_moved = regs->rip != virt->get(&vcpu->virt, BACKEND_RIP);
    virt_set_regs(&vcpu->virt, regs);
}

static int64_t set_regs(void *vcpu, void *data, uint64_t argument) {
    UNUSED_ARGUMENT;
    vcpu_set_regs(vcpu, data);
    return 0;
}

void vcpu_get_sregs(struct vcpu *vcpu, struct kvm_sregs *sregs) {
    const struct virt_events *events = &vcpu->virt.events;
    virt_get_sregs(&vcpu->virt, sregs);
    memset(sregs->interrupt_bitmap, 0, sizeof(sregs->interrupt_bitmap));
    if (events->interrupt_injected && !events->interrupt_soft)
        sregs->interrupt_bitmap[events->interrupt_vector / 64] |=
            1ull << (events->interrupt_vector % 64);
}

static uint64_t *apic_base_of(struct vcpu *vcpu) {
    return vcpu->virt.irqchip ? &vcpu->virt.lapic.base : &vcpu->virt.msrs.apic_base;
}

static int set_apic_base(struct vcpu *vcpu, uint64_t value) {
    if (!vcpu->virt.irqchip) {
        vcpu->virt.msrs.apic_base = value;
        return 0;
    }
    return lapic_set_base(&vcpu->virt.lapic, value, true) ? -EINVAL : 0;
}

static void set_pending_interrupt(struct vcpu *vcpu, const struct kvm_sregs *sregs) {
    for (unsigned vector = 0; vector < KVM_NR_INTERRUPTS; vector++) {
        if (!(sregs->interrupt_bitmap[vector / 64] & (1ull << (vector % 64))))
            continue;
        vcpu->virt.events.interrupt_injected = true;
        vcpu->virt.events.interrupt_soft = false;
        vcpu->virt.events.interrupt_vector = (uint8_t)vector;
        return;
    }
}

int vcpu_set_sregs(struct vcpu *vcpu, const struct kvm_sregs *sregs) {
    uint64_t old_base = *apic_base_of(vcpu);
    if (set_apic_base(vcpu, sregs->apic_base))
        return -EINVAL;
    if (virt_set_sregs(&vcpu->virt, sregs)) {
        set_apic_base(vcpu, old_base);
        return -EINVAL;
    }
    virt_set_cr8(&vcpu->virt, sregs->cr8 & 15);
    set_pending_interrupt(vcpu, sregs);
    return 0;
}

static int64_t get_sregs(void *vcpu, void *data, uint64_t argument) {
    UNUSED_ARGUMENT;
    vcpu_get_sregs(vcpu, data);
    return 0;
}

static int64_t set_sregs(void *vcpu, void *data, uint64_t argument) {
    UNUSED_ARGUMENT;
    return vcpu_set_sregs(vcpu, data);
}

static int64_t get_fpu(void *vcpu, void *data, uint64_t argument) {
    UNUSED_ARGUMENT;
    vcpu_get_fpu(vcpu, data);
    return 0;
}

static int64_t set_fpu(void *vcpu, void *data, uint64_t argument) {
    UNUSED_ARGUMENT;
    vcpu_set_fpu(vcpu, data);
    return 0;
}

static int64_t get_xsave(void *vcpu, void *data, uint64_t argument) {
    UNUSED_ARGUMENT;
    vcpu_get_xsave(vcpu, data);
    return 0;
}

static int64_t set_xsave(void *vcpu, void *data, uint64_t argument) {
    UNUSED_ARGUMENT;
    return vcpu_set_xsave(vcpu, data);
}

static int64_t get_xcrs(void *vcpu, void *data, uint64_t argument) {
    struct kvm_xcrs *xcrs = data;
    UNUSED_ARGUMENT;
    xcrs->nr_xcrs = 1;
    xcrs->xcrs[0].value = ((struct vcpu *)vcpu)->virt.xcr0;
    return 0;
}

static int64_t set_xcrs(void *vcpu, void *data, uint64_t argument) {
    const struct kvm_xcrs *xcrs = data;
    UNUSED_ARGUMENT;
    if (xcrs->nr_xcrs > KVM_MAX_XCRS || xcrs->flags)
        return -EINVAL;
    for (uint32_t i = 0; i < xcrs->nr_xcrs; i++)
        if (xcrs->xcrs[i].xcr == 0)
            return virt_set_xcr0(&((struct vcpu *)vcpu)->virt, xcrs->xcrs[i].value);
    return 0;
}

static int64_t get_debug_registers(void *object, void *data, uint64_t argument) {
    const struct virt_vcpu *state = &((struct vcpu *)object)->virt;
    struct kvm_debugregs *registers = data;
    UNUSED_ARGUMENT;
    memcpy(registers->db, state->debug, sizeof(registers->db));
    registers->dr6 = state->dr6;
    registers->dr7 = state->dr7;
    return 0;
}

static int64_t set_debug_registers(void *object, void *data, uint64_t argument) {
    struct virt_vcpu *state = &((struct vcpu *)object)->virt;
    const struct kvm_debugregs *registers = data;
    UNUSED_ARGUMENT;
    if (registers->flags || registers->dr6 >> 32 || registers->dr7 >> 32)
        return -EINVAL;
    memcpy(state->debug, registers->db, sizeof(registers->db));
    state->dr6 = registers->dr6 | 0xffff0ff0; // SDM vol. 3 17.2: bits that read 1
    state->dr7 = (registers->dr7 & ~0xd800ull) | 0x400;
    virt->debug_changed(state);
    return 0;
}

// One that was kicked meanwhile halts no more: so that the kick is not lost when it is moved.
static int64_t get_mp_state(void *object, void *data, uint64_t argument) {
    const struct vcpu *vcpu = object;
    UNUSED_ARGUMENT;
    bool kicked = vcpu->mp_state == KVM_MP_STATE_HALTED && atomic_load(&vcpu->unhalted);
    ((struct kvm_mp_state *)data)->mp_state = kicked ? KVM_MP_STATE_RUNNABLE : vcpu->mp_state;
    return 0;
}

static int64_t set_mp_state(void *object, void *data, uint64_t argument) {
    struct vcpu *vcpu = object;
    uint32_t state = ((struct kvm_mp_state *)data)->mp_state;
    UNUSED_ARGUMENT;
    if (state > KVM_MP_STATE_SIPI_RECEIVED ||
        (!vcpu->virt.irqchip && state != KVM_MP_STATE_RUNNABLE))
        return -EINVAL;
    if (state == KVM_MP_STATE_SIPI_RECEIVED) {
        vcpu->mp_state = KVM_MP_STATE_INIT_RECEIVED;
        vcpu_attend(vcpu, ATTENTION_SIPI);
        return 0;
    }
    vcpu->mp_state = state;
    return 0;
}

static int64_t get_events(void *vcpu, void *data, uint64_t argument) {
    UNUSED_ARGUMENT;
    vcpu_get_events(vcpu, data);
    return 0;
}

static int64_t set_events(void *vcpu, void *data, uint64_t argument) {
    UNUSED_ARGUMENT;
    return vcpu_set_events(vcpu, data);
}

static int64_t get_lapic(void *object, void *data, uint64_t argument) {
    struct vcpu *vcpu = object;
    UNUSED_ARGUMENT;
    if (!vcpu->virt.irqchip)
        return -EINVAL;
    lapic_get_state(&vcpu->virt.lapic, data);
    return 0;
}

static int64_t set_lapic(void *object, void *data, uint64_t argument) {
    struct vcpu *vcpu = object;
    UNUSED_ARGUMENT;
    if (!vcpu->virt.irqchip)
        return -EINVAL;
    int error = lapic_set_state(&vcpu->virt.lapic, data);
    vcpu_attend(vcpu, ATTENTION_EVENT);
    return error;
}

static int64_t set_cpuid(void *vcpu, void *data, uint64_t argument) {
    (void)data;
    return cpuid_set(vcpu, argument);
}

static int64_t get_cpuid(void *vcpu, void *data, uint64_t argument) {
    (void)data;
    return cpuid_get(vcpu, argument);
}

static int64_t get_msrs(void *vcpu, void *data, uint64_t argument) {
    (void)data;
    return msr_vcpu_ioctl(vcpu, KVM_GET_MSRS, argument);
}

static int64_t set_msrs(void *vcpu, void *data, uint64_t argument) {
    (void)data;
    return msr_vcpu_ioctl(vcpu, KVM_SET_MSRS, argument);
}

static int64_t interrupt(void *object, void *data, uint64_t argument) {
    struct vcpu *vcpu = object;
    uint32_t vector = ((struct kvm_interrupt *)data)->irq;
    UNUSED_ARGUMENT;
    if (vector >= KVM_NR_INTERRUPTS)
        return -EINVAL;
    if (vcpu->vm->irqchip.mode == IRQCHIP_KERNEL)
        return -ENXIO;
    if (vcpu->virt.events.user_interrupt >= 0)
        return -EEXIST;
    vcpu->virt.events.user_interrupt = (int16_t)vector;
    return 0;
}

static int64_t nmi(void *vcpu, void *data, uint64_t argument) {
    (void)data;
    UNUSED_ARGUMENT;
    vcpu_queue_nmi(vcpu);
    vcpu_attend(vcpu, ATTENTION_EVENT);
    return 0;
}

static int64_t smi(void *vcpu, void *data, uint64_t argument) {
    (void)data;
    UNUSED_ARGUMENT;
    atomic_store(&((struct vcpu *)vcpu)->virt.events.smi_pending, true);
    vcpu_attend(vcpu, ATTENTION_SMI);
    return 0;
}

static int64_t set_signal_mask(void *object, void *data, uint64_t argument) {
    struct vcpu *vcpu = object;
    struct kvm_signal_mask header;
    (void)data;
    vcpu->has_signal_mask = false;
    if (!argument)
        return 0;
    if (copy_from_user(&header, argument, sizeof(header)))
        return -EFAULT;
    if (header.len != sizeof(vcpu->signal_mask))
        return -EINVAL;
    if (copy_from_user(&vcpu->signal_mask, argument + sizeof(header), sizeof(vcpu->signal_mask)))
        return -EFAULT;
    vcpu->has_signal_mask = true;
    return 0;
}

static int64_t get_tsc_khz(void *vcpu, void *data, uint64_t argument) {
    (void)data;
    UNUSED_ARGUMENT;
    return ((struct vcpu *)vcpu)->virt.tsc_khz;
}

static int64_t set_tsc_khz(void *vcpu, void *data, uint64_t khz) {
    (void)data;
    return clock_set_tsc_khz(vcpu, khz);
}

static int64_t kvmclock_control(void *object, void *data, uint64_t argument) {
    struct vcpu *vcpu = object;
    (void)data;
    UNUSED_ARGUMENT;
    if (!(vcpu->clock_gpa & 1))
        return -EINVAL;
    vcpu->clock_stopped = true;
    vcpu_attend(vcpu, ATTENTION_CLOCK);
    return 0;
}

static int64_t translate(void *vcpu, void *data, uint64_t argument) {
    UNUSED_ARGUMENT;
    guest_translate(vcpu, data);
    return 0;
}

static int64_t set_guest_debug(void *object, void *data, uint64_t argument) {
    struct vcpu *vcpu = object;
    struct virt_vcpu *state = &vcpu->virt;
    const struct kvm_guest_debug *debug = data;
    UNUSED_ARGUMENT;
    if (debug->control & (KVM_GUESTDBG_INJECT_DB | KVM_GUESTDBG_INJECT_BP)) {
        if (state->events.exception_pending)
            return -EBUSY;
        struct guest_exception exception = {
            .vector = debug->control & KVM_GUESTDBG_INJECT_DB ? GUEST_DB : 3};
        virt_raise(state, &exception);
    }
    state->guest_debug = *debug;
    state->user_debug = debug->control & KVM_GUESTDBG_ENABLE;
    virt->debug_changed(state);
    return 0;
}

static int64_t setup_mce(void *vcpu, void *data, uint64_t argument) {
    UNUSED_ARGUMENT;
    return machine_check_setup(vcpu, *(uint64_t *)data);
}

static int64_t set_mce(void *vcpu, void *data, uint64_t argument) {
    UNUSED_ARGUMENT;
    return machine_check_inject(vcpu, data);
}

static int64_t get_stats_fd(void *vcpu, void *data, uint64_t argument) {
    (void)data;
    UNUSED_ARGUMENT;
    return statistics_vcpu_fd(vcpu);
}

static int64_t has_attribute(void *vcpu, void *data, uint64_t argument) {
    UNUSED_ARGUMENT;
    return device_attribute_vcpu(vcpu, KVM_HAS_DEVICE_ATTR, data);
}

static int64_t get_attribute(void *vcpu, void *data, uint64_t argument) {
    UNUSED_ARGUMENT;
    return device_attribute_vcpu(vcpu, KVM_GET_DEVICE_ATTR, data);
}

static int64_t set_attribute(void *vcpu, void *data, uint64_t argument) {
    UNUSED_ARGUMENT;
    return device_attribute_vcpu(vcpu, KVM_SET_DEVICE_ATTR, data);
}

static int64_t enable_cap(void *object, void *data, uint64_t argument) {
    const struct kvm_enable_cap *cap = data;
    UNUSED_ARGUMENT;
    if (cap->flags || cap->cap != KVM_CAP_ENFORCE_PV_FEATURE_CPUID)
        return -EINVAL;
    ((struct vcpu *)object)->virt.msrs.enforce_pv_features = cap->args[0] != 0;
    return 0;
}

_Static_assert(offsetof(struct kvm_sregs2, flags) == offsetof(struct kvm_sregs, interrupt_bitmap),
               "the two begin alike");

// The PDPTRs follow from CR3 and memory here, so they are never given and those given not needed.
static int64_t get_sregs2(void *vcpu, void *data, uint64_t argument) {
    struct kvm_sregs sregs;
    UNUSED_ARGUMENT;
    vcpu_get_sregs(vcpu, &sregs);
    memcpy(data, &sregs, offsetof(struct kvm_sregs2, flags));
    return 0;
}

static int64_t set_sregs2(void *vcpu, void *data, uint64_t argument) {
    struct kvm_sregs sregs = {0};
    UNUSED_ARGUMENT;
    if (((struct kvm_sregs2 *)data)->flags & ~(uint64_t)KVM_SREGS2_FLAGS_PDPTRS_VALID)
        return -EINVAL;
    memcpy(&sregs, data, offsetof(struct kvm_sregs2, flags));
    return vcpu_set_sregs(vcpu, &sregs);
}

static const struct ioctl_row rows[] = {
    IOCTL_ROW(KVM_GET_REGS, IOCTL_OUT, struct kvm_regs, get_regs),
    IOCTL_ROW(KVM_SET_REGS, IOCTL_IN, struct kvm_regs, set_regs),
    IOCTL_ROW(KVM_GET_SREGS, IOCTL_OUT, struct kvm_sregs, get_sregs),
    IOCTL_ROW(KVM_SET_SREGS, IOCTL_IN, struct kvm_sregs, set_sregs),
    IOCTL_ROW(KVM_GET_FPU, IOCTL_OUT, struct kvm_fpu, get_fpu),
    IOCTL_ROW(KVM_SET_FPU, IOCTL_IN, struct kvm_fpu, set_fpu),
    IOCTL_ROW(KVM_GET_XSAVE, IOCTL_OUT, struct kvm_xsave, get_xsave),
    IOCTL_ROW(KVM_GET_XSAVE2, IOCTL_OUT, struct kvm_xsave, get_xsave),
    IOCTL_ROW(KVM_GET_SREGS2, IOCTL_OUT, struct kvm_sregs2, get_sregs2),
    IOCTL_ROW(KVM_SET_SREGS2, IOCTL_IN, struct kvm_sregs2, set_sregs2),
    IOCTL_ROW(KVM_HAS_DEVICE_ATTR, IOCTL_IN, struct kvm_device_attr, has_attribute),
    IOCTL_ROW(KVM_GET_DEVICE_ATTR, IOCTL_IN, struct kvm_device_attr, get_attribute),
    IOCTL_ROW(KVM_SET_DEVICE_ATTR, IOCTL_IN, struct kvm_device_attr, set_attribute),
    IOCTL_PLAIN(KVM_GET_STATS_FD, IOCTL_VALUE, get_stats_fd),
    IOCTL_ROW(KVM_X86_SETUP_MCE, IOCTL_IN, uint64_t, setup_mce),
    IOCTL_ROW(KVM_X86_SET_MCE, IOCTL_IN, struct kvm_x86_mce, set_mce),
    IOCTL_ROW(KVM_ENABLE_CAP, IOCTL_IN, struct kvm_enable_cap, enable_cap),
    IOCTL_ROW(KVM_SET_XSAVE, IOCTL_IN, struct kvm_xsave, set_xsave),
    IOCTL_ROW(KVM_GET_XCRS, IOCTL_OUT, struct kvm_xcrs, get_xcrs),
    IOCTL_ROW(KVM_SET_XCRS, IOCTL_IN, struct kvm_xcrs, set_xcrs),
    IOCTL_ROW(KVM_GET_DEBUGREGS, IOCTL_OUT, struct kvm_debugregs, get_debug_registers),
    IOCTL_ROW(KVM_SET_DEBUGREGS, IOCTL_IN, struct kvm_debugregs, set_debug_registers),
    IOCTL_ROW(KVM_GET_MP_STATE, IOCTL_OUT, struct kvm_mp_state, get_mp_state),
    IOCTL_ROW(KVM_SET_MP_STATE, IOCTL_IN, struct kvm_mp_state, set_mp_state),
    IOCTL_ROW(KVM_GET_VCPU_EVENTS, IOCTL_OUT, struct kvm_vcpu_events, get_events),
    IOCTL_ROW(KVM_SET_VCPU_EVENTS, IOCTL_IN, struct kvm_vcpu_events, set_events),
    IOCTL_ROW(KVM_GET_LAPIC, IOCTL_OUT, struct kvm_lapic_state, get_lapic),
    IOCTL_ROW(KVM_SET_LAPIC, IOCTL_IN, struct kvm_lapic_state, set_lapic),
    IOCTL_PLAIN(KVM_SET_CPUID2, IOCTL_POINTER, set_cpuid),
    IOCTL_PLAIN(KVM_GET_CPUID2, IOCTL_POINTER, get_cpuid),
    IOCTL_PLAIN(KVM_GET_MSRS, IOCTL_POINTER, get_msrs),
    IOCTL_PLAIN(KVM_SET_MSRS, IOCTL_POINTER, set_msrs),
    IOCTL_ROW(KVM_INTERRUPT, IOCTL_IN, struct kvm_interrupt, interrupt),
    IOCTL_PLAIN(KVM_NMI, IOCTL_VALUE, nmi),
    IOCTL_PLAIN(KVM_SMI, IOCTL_VALUE, smi),
    IOCTL_PLAIN(KVM_SET_SIGNAL_MASK, IOCTL_POINTER, set_signal_mask),
    IOCTL_PLAIN(KVM_GET_TSC_KHZ, IOCTL_VALUE, get_tsc_khz),
    IOCTL_PLAIN(KVM_SET_TSC_KHZ, IOCTL_VALUE, set_tsc_khz),
    IOCTL_PLAIN(KVM_KVMCLOCK_CTRL, IOCTL_VALUE, kvmclock_control),
    IOCTL_ROW(KVM_TRANSLATE, IOCTL_IN | IOCTL_OUT, struct kvm_translation, translate),
    IOCTL_ROW(KVM_SET_GUEST_DEBUG, IOCTL_IN, struct kvm_guest_debug, set_guest_debug),
};

int64_t vcpu_ioctl(struct vcpu *vcpu, unsigned command, uint64_t argument) {
    return ioctl_dispatch(rows, sizeof(rows) / sizeof(rows[0]), vcpu, command, argument);
}
