// SPDX-License-Identifier: BSD-2-Clause
// KVM_GET_VCPU_EVENTS and KVM_SET_VCPU_EVENTS: what is on its way into the guest.
#include <asm/errno.h>
#include "core/kvm/vcpu.h"
#include "core/kvm/vcpu_ioctl.h"
#include "core/string.h"

#define EVENT_FLAGS                                                                                \
    (KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SIPI_VECTOR |                           \
     KVM_VCPUEVENT_VALID_SHADOW | KVM_VCPUEVENT_VALID_SMM)

void vcpu_get_events(struct vcpu *vcpu, struct kvm_vcpu_events *out) {
    struct virt_events *events = &vcpu->virt.events;
    memset(out, 0, sizeof(*out));
    // Without KVM_CAP_EXCEPTION_PAYLOAD a pending exception shows as injected.
    out->exception.injected = events->exception_injected || events->exception_pending;
    out->exception.nr = events->exception_vector;
    out->exception.has_error_code = events->exception_has_error;
    out->exception.error_code = events->exception_error;
    out->interrupt.injected = events->interrupt_injected && !events->interrupt_soft;
    out->interrupt.nr = events->interrupt_vector;
    out->interrupt.shadow = (uint8_t)virt->get_interrupt_shadow(&vcpu->virt);
    out->nmi.injected = events->nmi_injected;
    out->nmi.pending = atomic_load(&events->nmi_pending) != 0;
    out->nmi.masked = virt->get_nmi_masked(&vcpu->virt);
    out->smi.smm = vcpu->virt.in_smm;
    out->smi.pending = atomic_load(&events->smi_pending);
    out->flags =
        KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW | KVM_VCPUEVENT_VALID_SMM;
}

static int check(const struct vcpu *vcpu, const struct kvm_vcpu_events *in) {
    if (in->flags & ~(uint32_t)EVENT_FLAGS)
        return -EINVAL;
    if (in->exception.injected && (in->exception.nr > 31 || in->exception.nr == 2))
        return -EINVAL;
    // System-management mode is not offered: KVM_CAP_X86_SMM is 0.
    bool smm = (in->flags & KVM_VCPUEVENT_VALID_SMM) && (in->smi.smm || in->smi.pending);
    return smm && !vcpu->virt.in_smm ? -EINVAL : 0;
}

int vcpu_set_events(struct vcpu *vcpu, const struct kvm_vcpu_events *in) {
    struct virt_events *events = &vcpu->virt.events;
    int error = check(vcpu, in);
    if (error)
        return error;
    events->exception_pending = false;
    events->exception_injected = in->exception.injected;
    events->exception_vector = in->exception.nr;
    events->exception_has_error = in->exception.has_error_code;
    events->exception_error = in->exception.error_code;
    events->exception_has_payload = false;
    events->interrupt_injected = in->interrupt.injected;
    events->interrupt_vector = in->interrupt.nr;
    events->interrupt_soft = in->interrupt.soft;
    if (in->flags & KVM_VCPUEVENT_VALID_SHADOW)
        virt->set_interrupt_shadow(&vcpu->virt, in->interrupt.shadow);
    events->nmi_injected = in->nmi.injected;
    if (in->flags & KVM_VCPUEVENT_VALID_NMI_PENDING)
        atomic_store(&events->nmi_pending, in->nmi.pending);
    virt->set_nmi_masked(&vcpu->virt, in->nmi.masked);
    if (in->flags & KVM_VCPUEVENT_VALID_SIPI_VECTOR)
        atomic_store(&vcpu->sipi_vector, (uint8_t)in->sipi_vector);
    vcpu_attend(vcpu, ATTENTION_EVENT);
    return 0;
}
