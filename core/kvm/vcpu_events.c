// SPDX-License-Identifier: BSD-2-Clause
// KVM_GET_VCPU_EVENTS and KVM_SET_VCPU_EVENTS: what is on its way into the guest.
#include <asm/errno.h>
#include "core/kvm/vcpu.h"
#include "core/string.h"

#define EVENT_FLAGS                                                                                \
    (KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SIPI_VECTOR |                           \
     KVM_VCPUEVENT_VALID_SHADOW | KVM_VCPUEVENT_VALID_SMM)

// Flags that a capability brings.
static uint32_t enabled_flags(const struct vcpu *vcpu) {
    return (vcpu->vm->exception_payload ? KVM_VCPUEVENT_VALID_PAYLOAD : 0) |
           (vcpu->vm->triple_fault_event ? KVM_VCPUEVENT_VALID_TRIPLE_FAULT : 0);
}

// Without KVM_CAP_EXCEPTION_PAYLOAD a pending exception shows as injected, its payload delivered.
static void get_exception(struct vcpu *vcpu, struct kvm_vcpu_events *out) {
    struct virt_events *events = &vcpu->virt.events;
    bool separate = vcpu->vm->exception_payload;
    if (!separate && events->exception_pending)
        virt_deliver_payload(&vcpu->virt);
    out->exception.injected =
        events->exception_injected || (!separate && events->exception_pending);
    out->exception.pending = separate && events->exception_pending;
    out->exception.nr = events->exception_vector;
    out->exception.has_error_code = events->exception_has_error;
    out->exception.error_code = events->exception_error;
    out->exception_has_payload = separate && events->exception_has_payload;
    out->exception_payload = out->exception_has_payload ? events->exception_payload : 0;
}

int vcpu_get_events(struct vcpu *vcpu, struct kvm_vcpu_events *out) {
    struct virt_events *events = &vcpu->virt.events;
    memset(out, 0, sizeof(*out));
    get_exception(vcpu, out);
    out->interrupt.injected = events->interrupt_injected && !events->interrupt_soft;
    out->interrupt.nr = events->interrupt_vector;
    out->interrupt.shadow = (uint8_t)virt->get_interrupt_shadow(&vcpu->virt);
    out->nmi.injected = events->nmi_injected;
    out->nmi.pending = atomic_load(&events->nmi_pending) != 0;
    out->nmi.masked = virt->get_nmi_masked(&vcpu->virt);
    out->smi.smm = vcpu->virt.in_smm;
    out->smi.pending = atomic_load(&events->smi_pending);
    out->smi.smm_inside_nmi = vcpu->virt.in_smm && vcpu->nmi_masked_before_smm;
    out->smi.latched_init = vcpu->init_latched;
    out->flags =
        KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW | KVM_VCPUEVENT_VALID_SMM;
    out->flags |= enabled_flags(vcpu);
    out->triple_fault.pending = vcpu->vm->triple_fault_event && events->triple_fault;
    return 0;
}

static int check(const struct vcpu *vcpu, const struct kvm_vcpu_events *in) {
    bool payload = in->flags & KVM_VCPUEVENT_VALID_PAYLOAD;
    if (in->flags & ~(EVENT_FLAGS | enabled_flags(vcpu)))
        return -EINVAL;
    if (payload && in->exception.pending && in->exception.injected)
        return -EINVAL;
    if ((in->exception.injected || (payload && in->exception.pending)) &&
        (in->exception.nr > 31 || in->exception.nr == 2))
        return -EINVAL;
    return 0;
}

static void set_smm(struct vcpu *vcpu, const struct kvm_vcpu_events *in) {
    atomic_store(&vcpu->virt.events.smi_pending, in->smi.pending);
    vcpu->init_latched = in->smi.smm && in->smi.latched_init;
    smm_set(vcpu, in->smi.smm);
    vcpu->nmi_masked_before_smm = in->smi.smm_inside_nmi;
    if (in->smi.pending)
        vcpu_attend(vcpu, ATTENTION_SMI);
}

int vcpu_set_events(struct vcpu *vcpu, const struct kvm_vcpu_events *in) {
    struct virt_events *events = &vcpu->virt.events;
    int error = check(vcpu, in);
    if (error)
        return error;
    bool payload = in->flags & KVM_VCPUEVENT_VALID_PAYLOAD;
    events->exception_pending = payload && in->exception.pending;
    events->exception_injected = in->exception.injected;
    events->exception_vector = in->exception.nr;
    events->exception_has_error = in->exception.has_error_code;
    events->exception_error = in->exception.error_code;
    events->exception_has_payload =
        events->exception_pending && payload && in->exception_has_payload;
    events->exception_payload = in->exception_payload;
    if (in->flags & KVM_VCPUEVENT_VALID_TRIPLE_FAULT)
        events->triple_fault = in->triple_fault.pending;
    events->interrupt_injected = in->interrupt.injected;
    events->interrupt_vector = in->interrupt.nr;
    events->interrupt_soft = in->interrupt.soft;
    events->interrupt_of_lapic = false;
    if (in->flags & KVM_VCPUEVENT_VALID_SHADOW)
        virt->set_interrupt_shadow(&vcpu->virt, in->interrupt.shadow);
    events->nmi_injected = in->nmi.injected;
    if (in->flags & KVM_VCPUEVENT_VALID_NMI_PENDING)
        atomic_store(&events->nmi_pending, in->nmi.pending);
    virt->set_nmi_masked(&vcpu->virt, in->nmi.masked);
    if (in->flags & KVM_VCPUEVENT_VALID_SIPI_VECTOR)
        atomic_store(&vcpu->sipi_vector, (uint8_t)in->sipi_vector);
    if (in->flags & KVM_VCPUEVENT_VALID_SMM)
        set_smm(vcpu, in);
    vcpu_attend(vcpu, ATTENTION_EVENT);
    return 0;
}
