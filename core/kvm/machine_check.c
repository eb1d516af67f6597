// SPDX-License-Identifier: BSD-2-Clause
// Machine checks that user space injects (api.rst 4.104 ff.; SDM vol. 3 ch. 16).
#include "core/kvm/vcpu.h"
#include <asm/errno.h>
#include <asm/processor-flags.h>

#define MCG_MCIP    (1ull << 2)
#define STATUS_AR   (1ull << 55)
#define STATUS_S    (1ull << 56)
#define STATUS_PCC  (1ull << 57)
#define STATUS_UC   (1ull << 61)
#define STATUS_OVER (1ull << 62)
#define STATUS_VAL  (1ull << 63)
#define CTL2_CMCI   (1ull << 30)

enum bank_register { BANK_CTL, BANK_STATUS, BANK_ADDR, BANK_MISC };

int machine_check_setup(struct vcpu *vcpu, uint64_t capabilities) {
    if (guest_msrs_setup_mce(&vcpu->virt.msrs, capabilities))
        return -EINVAL;
    lapic_set_cmci(&vcpu->virt.lapic, capabilities & MCG_CMCI_P);
    return 0;
}

static void store(uint64_t *bank, const struct kvm_x86_mce *event, uint64_t status) {
    bank[BANK_STATUS] = status;
    bank[BANK_ADDR] = event->addr;
    bank[BANK_MISC] = event->misc;
}

// An uncorrected error that needs no action is only logged, with an interrupt if the guest wants
// one.
static int inject_no_action(struct vcpu *vcpu, const struct kvm_x86_mce *event) {
    struct guest_msrs *msrs = &vcpu->virt.msrs;
    store(msrs->mc_banks[event->bank], event, event->status);
    bool wanted = (msrs->mcg_cap & MCG_CMCI_P) && (msrs->mc_ctl2[event->bank] & CTL2_CMCI);
    if (wanted && vcpu->virt.irqchip) {
        lapic_local_interrupt(&vcpu->virt.lapic, LAPIC_LVT_CMCI);
        vcpu_attend(vcpu, ATTENTION_EVENT);
    }
    return 0;
}

// A machine check inside another, or one the guest does not handle, shuts it down.
static int inject_uncorrected(struct vcpu *vcpu, const struct kvm_x86_mce *event) {
    struct guest_msrs *msrs = &vcpu->virt.msrs;
    uint64_t *bank = msrs->mc_banks[event->bank];
    if ((msrs->mcg_status & MCG_MCIP) || !(virt->get(&vcpu->virt, BACKEND_CR4) & X86_CR4_MCE)) {
        vcpu->virt.events.triple_fault = true;
        return 0;
    }
    store(bank, event, event->status | (bank[BANK_STATUS] & STATUS_VAL ? STATUS_OVER : 0));
    msrs->mcg_status = event->mcg_status;
    struct guest_exception exception = {.vector = GUEST_MC};
    virt_raise(&vcpu->virt, &exception);
    return 0;
}

static int inject_corrected(struct guest_msrs *msrs, const struct kvm_x86_mce *event) {
    uint64_t *bank = msrs->mc_banks[event->bank];
    if ((bank[BANK_STATUS] & STATUS_VAL) && (bank[BANK_STATUS] & STATUS_UC))
        bank[BANK_STATUS] |= STATUS_OVER;
    else
        store(bank, event, event->status | (bank[BANK_STATUS] & STATUS_VAL ? STATUS_OVER : 0));
    return 0;
}

int machine_check_inject(struct vcpu *vcpu, const struct kvm_x86_mce *event) {
    struct guest_msrs *msrs = &vcpu->virt.msrs;
    if (event->bank >= (msrs->mcg_cap & 0xff) || !(event->status & STATUS_VAL))
        return -EINVAL;
    if (!event->mcg_status && !(event->status & (STATUS_PCC | STATUS_S | STATUS_AR)))
        return inject_no_action(vcpu, event);
    if (!(event->status & STATUS_UC))
        return inject_corrected(msrs, event);
    // Reporting turned off as a whole or for the bank.
    if (((msrs->mcg_cap & MCG_CTL_P) && msrs->mcg_ctl != ~0ull) ||
        msrs->mc_banks[event->bank][BANK_CTL] != ~0ull)
        return 0;
    return inject_uncorrected(vcpu, event);
}
