// SPDX-License-Identifier: BSD-2-Clause
// The vCPU ioctls of the KVM API (Documentation/virt/kvm/api.rst, "vcpu ioctl"), a row each;
// KVM_RUN apart.
#include "core/kvm/vcpu.h"
#include <asm/errno.h>
#include "core/kvm/clock.h"
#include "core/kvm/guest_memory.h"
#include "core/kvm/ioctl_table.h"
#include "core/mm/user_copy.h"
#include "core/string.h"

static int get_regs(struct vcpu *vcpu, struct kvm_regs *regs) {
    virt_get_regs(&vcpu->virt, regs);
    return 0;
}

int vcpu_set_regs(struct vcpu *vcpu, const struct kvm_regs *regs) {
    vcpu->rip_moved = regs->rip != virt->get(&vcpu->virt, BACKEND_RIP);
    if (vcpu->rip_moved)
        vcpu->virt.step_due = false;
    virt_set_regs(&vcpu->virt, regs);
    return 0;
}

int vcpu_get_sregs(struct vcpu *vcpu, struct kvm_sregs *sregs) {
    const struct virt_events *events = &vcpu->virt.events;
    virt_get_sregs(&vcpu->virt, sregs);
    memset(sregs->interrupt_bitmap, 0, sizeof(sregs->interrupt_bitmap));
    if (events->interrupt_injected && !events->interrupt_soft)
        sregs->interrupt_bitmap[events->interrupt_vector / 64] |=
            1ull << (events->interrupt_vector % 64);
    return 0;
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
        vcpu->virt.events.interrupt_of_lapic = false;
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

static int get_xcrs(struct vcpu *vcpu, struct kvm_xcrs *xcrs) {
    xcrs->nr_xcrs = 1;
    xcrs->xcrs[0].value = vcpu->virt.xcr0;
    return 0;
}

static int set_xcrs(struct vcpu *vcpu, const struct kvm_xcrs *xcrs) {
    if (xcrs->nr_xcrs > KVM_MAX_XCRS || xcrs->flags)
        return -EINVAL;
    for (uint32_t i = 0; i < xcrs->nr_xcrs; i++)
        if (xcrs->xcrs[i].xcr == 0)
            return virt_set_xcr0(&vcpu->virt, xcrs->xcrs[i].value);
    return 0;
}

static int get_debug_registers(struct vcpu *vcpu, struct kvm_debugregs *registers) {
    const struct virt_vcpu *state = &vcpu->virt;
    memcpy(registers->db, state->debug, sizeof(registers->db));
    registers->dr6 = state->dr6;
    registers->dr7 = state->dr7;
    return 0;
}

static int set_debug_registers(struct vcpu *vcpu, const struct kvm_debugregs *registers) {
    struct virt_vcpu *state = &vcpu->virt;
    if (registers->flags || registers->dr6 >> 32 || registers->dr7 >> 32)
        return -EINVAL;
    memcpy(state->debug, registers->db, sizeof(registers->db));
    state->dr6 = registers->dr6 | 0xffff0ff0; // SDM vol. 3 17.2: bits that read 1
    state->dr7 = (registers->dr7 & ~0xd800ull) | 0x400;
    virt->debug_changed(state);
    return 0;
}

// One that was kicked meanwhile halts no more: so that the kick is not lost when it is moved.
static int get_mp_state(struct vcpu *vcpu, struct kvm_mp_state *state) {
    bool kicked = vcpu->mp_state == KVM_MP_STATE_HALTED && atomic_load(&vcpu->unhalted);
    state->mp_state = kicked ? KVM_MP_STATE_RUNNABLE : vcpu->mp_state;
    return 0;
}

static int set_mp_state(struct vcpu *vcpu, const struct kvm_mp_state *wanted) {
    uint32_t state = wanted->mp_state;
    if (state > KVM_MP_STATE_SIPI_RECEIVED ||
        (!vcpu->virt.irqchip && state != KVM_MP_STATE_RUNNABLE))
        return -EINVAL;
    vcpu->mp_state = state;
    if (state == KVM_MP_STATE_SIPI_RECEIVED) {
        vcpu->mp_state = KVM_MP_STATE_INIT_RECEIVED;
        vcpu_attend(vcpu, ATTENTION_SIPI);
    }
    return 0;
}

static int get_lapic(struct vcpu *vcpu, struct kvm_lapic_state *state) {
    if (!vcpu->virt.irqchip)
        return -EINVAL;
    lapic_get_state(&vcpu->virt.lapic, state);
    return 0;
}

static int set_lapic(struct vcpu *vcpu, const struct kvm_lapic_state *state) {
    if (!vcpu->virt.irqchip)
        return -EINVAL;
    int error = lapic_set_state(&vcpu->virt.lapic, state);
    vcpu_attend(vcpu, ATTENTION_EVENT);
    return error;
}

static int interrupt(struct vcpu *vcpu, const struct kvm_interrupt *wanted) {
    uint32_t vector = wanted->irq;
    if (vector >= KVM_NR_INTERRUPTS)
        return -EINVAL;
    if (vcpu->vm->irqchip.mode == IRQCHIP_KERNEL)
        return -ENXIO;
    if (vcpu->virt.events.user_interrupt >= 0)
        return -EEXIST;
    vcpu->virt.events.user_interrupt = (int16_t)vector;
    return 0;
}

static int64_t nmi(struct vcpu *vcpu, uint64_t argument) {
    vcpu_queue_nmi(vcpu);
    vcpu_attend(vcpu, ATTENTION_EVENT);
    return 0;
}

static int64_t smi(struct vcpu *vcpu, uint64_t argument) {
    atomic_store(&vcpu->virt.events.smi_pending, true);
    vcpu_attend(vcpu, ATTENTION_SMI);
    return 0;
}

static int64_t set_signal_mask(struct vcpu *vcpu, uint64_t argument) {
    struct kvm_signal_mask header;
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

static int64_t get_tsc_khz(struct vcpu *vcpu, uint64_t argument) {
    return vcpu->virt.tsc_khz;
}

static int64_t kvmclock_control(struct vcpu *vcpu, uint64_t argument) {
    if (!(vcpu->clock_gpa & 1))
        return -EINVAL;
    vcpu->clock_stopped = true;
    vcpu_attend(vcpu, ATTENTION_CLOCK);
    return 0;
}

static int set_guest_debug(struct vcpu *vcpu, const struct kvm_guest_debug *debug) {
    struct virt_vcpu *state = &vcpu->virt;
    if (debug->control & (KVM_GUESTDBG_INJECT_DB | KVM_GUESTDBG_INJECT_BP)) {
        if (state->events.exception_pending)
            return -EBUSY;
        virt_raise_vector(state, debug->control & KVM_GUESTDBG_INJECT_DB ? GUEST_DB : 3);
    }
    state->guest_debug = *debug;
    state->user_debug = debug->control & KVM_GUESTDBG_ENABLE;
    virt->debug_changed(state);
    return 0;
}

static int setup_mce(struct vcpu *vcpu, const uint64_t *capabilities) {
    return machine_check_setup(vcpu, *capabilities);
}

static int has_attribute(struct vcpu *vcpu, const struct kvm_device_attr *attribute) {
    return device_attribute_vcpu(vcpu, KVM_HAS_DEVICE_ATTR, attribute);
}

static int get_attribute(struct vcpu *vcpu, const struct kvm_device_attr *attribute) {
    return device_attribute_vcpu(vcpu, KVM_GET_DEVICE_ATTR, attribute);
}

static int set_attribute(struct vcpu *vcpu, const struct kvm_device_attr *attribute) {
    return device_attribute_vcpu(vcpu, KVM_SET_DEVICE_ATTR, attribute);
}

static int enable_cap(struct vcpu *vcpu, const struct kvm_enable_cap *cap) {
    if (cap->flags || cap->cap != KVM_CAP_ENFORCE_PV_FEATURE_CPUID)
        return -EINVAL;
    vcpu->virt.msrs.enforce_pv_features = cap->args[0] != 0;
    return 0;
}

_Static_assert(offsetof(struct kvm_sregs2, flags) == offsetof(struct kvm_sregs, interrupt_bitmap),
               "the two begin alike");

// The PDPTRs follow from CR3 and memory here, so they are never given and those given not needed.
static int get_sregs2(struct vcpu *vcpu, struct kvm_sregs2 *out) {
    struct kvm_sregs sregs;
    vcpu_get_sregs(vcpu, &sregs);
    memcpy(out, &sregs, offsetof(struct kvm_sregs2, flags));
    return 0;
}

static int set_sregs2(struct vcpu *vcpu, const struct kvm_sregs2 *in) {
    struct kvm_sregs sregs = {0};
    if (in->flags & ~(uint64_t)KVM_SREGS2_FLAGS_PDPTRS_VALID)
        return -EINVAL;
    memcpy(&sregs, in, offsetof(struct kvm_sregs2, flags));
    return vcpu_set_sregs(vcpu, &sregs);
}

static const struct ioctl_row rows[] = {
    IOCTL_ROW(struct vcpu, KVM_GET_REGS, IOCTL_OUT, struct kvm_regs, get_regs),
    IOCTL_ROW(struct vcpu, KVM_SET_REGS, IOCTL_IN, struct kvm_regs, vcpu_set_regs),
    IOCTL_ROW(struct vcpu, KVM_GET_SREGS, IOCTL_OUT, struct kvm_sregs, vcpu_get_sregs),
    IOCTL_ROW(struct vcpu, KVM_SET_SREGS, IOCTL_IN, struct kvm_sregs, vcpu_set_sregs),
    IOCTL_ROW(struct vcpu, KVM_GET_FPU, IOCTL_OUT, struct kvm_fpu, vcpu_get_fpu),
    IOCTL_ROW(struct vcpu, KVM_SET_FPU, IOCTL_IN, struct kvm_fpu, vcpu_set_fpu),
    IOCTL_ROW(struct vcpu, KVM_GET_XSAVE, IOCTL_OUT, struct kvm_xsave, vcpu_get_xsave),
    IOCTL_ROW(struct vcpu, KVM_GET_XSAVE2, IOCTL_OUT, struct kvm_xsave, vcpu_get_xsave),
    IOCTL_ROW(struct vcpu, KVM_GET_SREGS2, IOCTL_OUT, struct kvm_sregs2, get_sregs2),
    IOCTL_ROW(struct vcpu, KVM_SET_SREGS2, IOCTL_IN, struct kvm_sregs2, set_sregs2),
    IOCTL_ROW(struct vcpu, KVM_HAS_DEVICE_ATTR, IOCTL_IN, struct kvm_device_attr, has_attribute),
    IOCTL_ROW(struct vcpu, KVM_GET_DEVICE_ATTR, IOCTL_IN, struct kvm_device_attr, get_attribute),
    IOCTL_ROW(struct vcpu, KVM_SET_DEVICE_ATTR, IOCTL_IN, struct kvm_device_attr, set_attribute),
    IOCTL_PLAIN(struct vcpu, KVM_GET_STATS_FD, IOCTL_VALUE, statistics_vcpu_fd),
    IOCTL_ROW(struct vcpu, KVM_X86_SETUP_MCE, IOCTL_IN, uint64_t, setup_mce),
    IOCTL_ROW(struct vcpu, KVM_X86_SET_MCE, IOCTL_IN, struct kvm_x86_mce, machine_check_inject),
    IOCTL_ROW(struct vcpu, KVM_ENABLE_CAP, IOCTL_IN, struct kvm_enable_cap, enable_cap),
    IOCTL_ROW(struct vcpu, KVM_SET_XSAVE, IOCTL_IN, struct kvm_xsave, vcpu_set_xsave),
    IOCTL_ROW(struct vcpu, KVM_GET_XCRS, IOCTL_OUT, struct kvm_xcrs, get_xcrs),
    IOCTL_ROW(struct vcpu, KVM_SET_XCRS, IOCTL_IN, struct kvm_xcrs, set_xcrs),
    IOCTL_ROW(struct vcpu, KVM_GET_DEBUGREGS, IOCTL_OUT, struct kvm_debugregs, get_debug_registers),
    IOCTL_ROW(struct vcpu, KVM_SET_DEBUGREGS, IOCTL_IN, struct kvm_debugregs, set_debug_registers),
    IOCTL_ROW(struct vcpu, KVM_GET_MP_STATE, IOCTL_OUT, struct kvm_mp_state, get_mp_state),
    IOCTL_ROW(struct vcpu, KVM_SET_MP_STATE, IOCTL_IN, struct kvm_mp_state, set_mp_state),
    IOCTL_ROW(struct vcpu, KVM_GET_VCPU_EVENTS, IOCTL_OUT, struct kvm_vcpu_events, vcpu_get_events),
    IOCTL_ROW(struct vcpu, KVM_SET_VCPU_EVENTS, IOCTL_IN, struct kvm_vcpu_events, vcpu_set_events),
    IOCTL_ROW(struct vcpu, KVM_GET_LAPIC, IOCTL_OUT, struct kvm_lapic_state, get_lapic),
    IOCTL_ROW(struct vcpu, KVM_SET_LAPIC, IOCTL_IN, struct kvm_lapic_state, set_lapic),
    IOCTL_PLAIN(struct vcpu, KVM_SET_CPUID2, IOCTL_POINTER, cpuid_set),
    IOCTL_PLAIN(struct vcpu, KVM_GET_CPUID2, IOCTL_POINTER, cpuid_get),
    IOCTL_PLAIN(struct vcpu, KVM_GET_MSRS, IOCTL_POINTER, msr_get_all),
    IOCTL_PLAIN(struct vcpu, KVM_SET_MSRS, IOCTL_POINTER, msr_set_all),
    IOCTL_ROW(struct vcpu, KVM_INTERRUPT, IOCTL_IN, struct kvm_interrupt, interrupt),
    IOCTL_PLAIN(struct vcpu, KVM_NMI, IOCTL_VALUE, nmi),
    IOCTL_PLAIN(struct vcpu, KVM_SMI, IOCTL_VALUE, smi),
    IOCTL_PLAIN(struct vcpu, KVM_SET_SIGNAL_MASK, IOCTL_POINTER, set_signal_mask),
    IOCTL_PLAIN(struct vcpu, KVM_GET_TSC_KHZ, IOCTL_VALUE, get_tsc_khz),
    IOCTL_PLAIN(struct vcpu, KVM_SET_TSC_KHZ, IOCTL_VALUE, clock_set_tsc_khz),
    IOCTL_PLAIN(struct vcpu, KVM_KVMCLOCK_CTRL, IOCTL_VALUE, kvmclock_control),
    IOCTL_ROW(struct vcpu, KVM_TRANSLATE, IOCTL_IN | IOCTL_OUT, struct kvm_translation,
              guest_translate),
    IOCTL_ROW(struct vcpu, KVM_SET_GUEST_DEBUG, IOCTL_IN, struct kvm_guest_debug, set_guest_debug),
};

int64_t vcpu_ioctl(struct vcpu *vcpu, unsigned command, uint64_t argument) {
    return ioctl_dispatch(rows, sizeof(rows) / sizeof(rows[0]), vcpu, command, argument);
}
