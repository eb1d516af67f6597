// SPDX-License-Identifier: BSD-2-Clause
// Events between struct virt_events and the VMCB: injection, windows, deliveries cut off by an
// exit.
#include <asm/processor-flags.h>
#include <asm/svm.h>
#include "arch/x86/svm/vcpu.h"

// A virtual interrupt of the highest priority: it waits for IF alone.
#define VIRTUAL_INTERRUPT (V_IRQ | V_IGNORE_TPR | V_PRIORITY)

// -- exit --

static void cut_off(struct virt_vcpu *vcpu, struct svm_vcpu *v, uint64_t information) {
    enum vcpu_event_kind kind = (information & EVENT_TYPE) >> EVENT_TYPE_SHIFT;
    uint8_t vector = information & EVENT_VECTOR;
    bool soft = kind == EVENT_SOFT_INTERRUPT ||
                (kind == EVENT_EXCEPTION && (vector == GUEST_BP || vector == GUEST_OF));
    vcpu->recheck_events = true;
    // RIP is still at the guest's own INT n, INT3 or INTO (APM vol. 2 15.7.2): it runs again.
    if (soft && !v->soft_advance)
        return;
    // RIP went ahead of the one that was injected: back.
    if (soft && !svm.next_rip)
        v->vmcb->rip -= v->soft_advance;
    vcpu_event_cut_off(vcpu, (uint32_t)information, (uint32_t)(information >> 32), v->soft_advance);
}

// An exit came before the virtual interrupt was taken, or in the middle of its delivery: it is
// still pending. Its second try is the next entry, where one that has a higher priority by then
// goes first: with two at once the first would need event injection, see inject_virtual.
static bool still_waits(struct svm_vcpu *v) {
    struct vmcb *vmcb = v->vmcb;
    if (!v->virtual_interrupt || !(vmcb->interrupt_control & V_IRQ))
        return false;
    vmcb->exit_event = 0;
    v->vcpu->recheck_events = true;
    vcpu_event_take_back(v->vcpu);
    return true;
}

void svm_events_exit(struct virt_vcpu *vcpu, struct svm_vcpu *v) {
    if (v->injected) {
        if (!still_waits(v))
            vcpu_event_delivered(&vcpu->events);
        if (v->virtual_interrupt)
            v->vmcb->interrupt_control &= ~(uint32_t)VIRTUAL_INTERRUPT;
        v->virtual_interrupt = false;
        v->injected = false;
        v->vmcb->event = 0;
    }
    uint64_t information = v->vmcb->exit_event;
    if (information & EVENT_VALID) {
        v->vmcb->exit_event = 0;
        cut_off(vcpu, v, information);
    }
    v->soft_advance = 0;
}

// QEMU 7.2's VMRUN does not load the interrupt shadow, so an exit before the guest's first
// instruction, VINTR's above all, has lost it. (After a jump to itself the RIP is the same with the
// shadow over: that holds interrupts back for one instruction more, no harm.)
void svm_shadow_exit(struct svm_vcpu *v) {
    v->shadow = false;
    bool stepped = v->step && v->vmcb->exit_code == SVM_EXIT_EXCP_BASE + GUEST_DB;
    if (v->vmcb->rip == v->shadow_rip && !stepped)
        v->vmcb->interrupt_shadow |= IN_INTERRUPT_SHADOW;
}

// An interrupt can be taken: no shadow is left, where the processor honours them.
HANDLER(svm_exit_virtual_interrupt) {
    struct svm_vcpu *v = svm_of(vcpu);
    if (!(v->vmcb->interrupt_shadow & IN_INTERRUPT_SHADOW))
        return exit_interrupt_window(vcpu, exit);
    v->shadow_lost = true;
    return exit_recheck(vcpu, exit);
}

// -- entry --

// The return address is that of the next instruction: the processor takes it from next RIP where it
// has that, else RIP must be there (APM vol. 2 15.20).
static void go_past_soft(struct svm_vcpu *v, uint8_t length) {
    v->soft_advance = length;
    v->vmcb->next_rip = v->vmcb->rip + length;
    if (!svm.next_rip)
        v->vmcb->rip = v->vmcb->next_rip;
}

// Interrupts go in as virtual ones (APM vol. 2 15.21.4) where the guest takes them at once and no
// window is needed, which takes the same field. Event injection would do as well, but QEMU delivers
// an interrupt injected that way again where its own loop is left before the next exception.
static void inject_virtual(struct svm_vcpu *v, uint8_t vector) {
    v->vmcb->interrupt_vector = vector;
    v->vmcb->interrupt_control |= VIRTUAL_INTERRUPT;
    v->virtual_interrupt = v->injected = true;
}

static void inject(struct svm_vcpu *v, const struct vcpu_event *event) {
    enum vcpu_event_kind kind = event->kind;
    if (kind == EVENT_NONE)
        return;
    if (event->sets_rf)
        v->vmcb->rflags |= X86_EFLAGS_RF;
    // Else VMRUN masks, and must not find it done (APM vol. 2 15.21.10).
    if (kind == EVENT_NMI && !svm.virtual_nmi)
        nmi_set_masked(v, true);
    if (kind == EVENT_SOFT_INTERRUPT || kind == EVENT_SOFT_EXCEPTION)
        go_past_soft(v, event->soft_length);
    if (kind == EVENT_SOFT_EXCEPTION)
        kind = EVENT_EXCEPTION;
    v->vmcb->event =
        vcpu_event_information(event, kind) | (event->has_error ? (uint64_t)event->error << 32 : 0);
    v->injected = true;
}

// A virtual interrupt that exits instead of being taken.
static void set_interrupt_window(struct svm_vcpu *v, bool open) {
    uint32_t control = v->vmcb->interrupt_control & ~(uint32_t)VIRTUAL_INTERRUPT;
    v->vmcb->interrupt_control = open ? control | VIRTUAL_INTERRUPT : control;
    vmcb_intercept(v, SVM_EXIT_VINTR, open);
}

void svm_events_entry(struct virt_vcpu *vcpu, struct svm_vcpu *v) {
    struct vcpu_event event;
    vcpu->recheck_events = false;
    unsigned blocked = vcpu_event_blocks(v->vmcb->interrupt_shadow & IN_INTERRUPT_SHADOW,
                                         nmi_masked(v), v->vmcb->rflags & X86_EFLAGS_IF);
    unsigned windows = vcpu_event_select(vcpu, blocked, &event);
    if (vcpu->irqchip)
        vmcb_intercept(v, SVM_EXIT_WRITE_CR8, lapic_tpr_threshold(&vcpu->lapic) != 0);
    bool window = windows & EVENT_BLOCKS_INTERRUPT;
    bool step = window && v->shadow_lost && event.kind == EVENT_NONE &&
                v->vmcb->interrupt_shadow & IN_INTERRUPT_SHADOW;
    set_interrupt_window(v, window && !step);
    if (event.kind == EVENT_INTERRUPT && !window && !(blocked & EVENT_BLOCKS_INTERRUPT))
        inject_virtual(v, event.vector);
    else
        inject(v, &event);
    if (windows & EVENT_BLOCKS_NMI)
        nmi_open_window(vcpu, v, event.kind != EVENT_NONE);
    if (step && !v->step)
        svm_step(v);
}
