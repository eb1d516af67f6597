// SPDX-License-Identifier: BSD-2-Clause
// A guest's local APIC: xAPIC page, x2APIC MSRs, timer (SDM vol. 3 ch. 11). The register state is
// a 4 KiB page the owner gives, laid out as the hardware's virtual-APIC page.
//
// Concurrency: any CPU may call lapic_post, lapic_deliver and lapic_matches; everything else runs
// on the vCPU's own thread (or while the vCPU is not running and its lock is held).
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <linux/kvm.h>
#include "lapic_message.h"

struct lapic;

// Registers' offsets in the page.
enum {
    LAPIC_ID = 0x20,
    LAPIC_VERSION = 0x30,
    LAPIC_TPR = 0x80,
    LAPIC_APR = 0x90,
    LAPIC_PPR = 0xa0,
    LAPIC_EOI = 0xb0,
    LAPIC_RRD = 0xc0,
    LAPIC_LDR = 0xd0,
    LAPIC_DFR = 0xe0,
    LAPIC_SVR = 0xf0,
    LAPIC_ISR = 0x100,
    LAPIC_TMR = 0x180,
    LAPIC_IRR = 0x200,
    LAPIC_ESR = 0x280,
    LAPIC_LVT_CMCI = 0x2f0,
    LAPIC_ICR = 0x300,
    LAPIC_ICR2 = 0x310,
    LAPIC_LVT_TIMER = 0x320,
    LAPIC_LVT_THERMAL = 0x330,
    LAPIC_LVT_PERF = 0x340,
    LAPIC_LVT_LINT0 = 0x350,
    LAPIC_LVT_LINT1 = 0x360,
    LAPIC_LVT_ERROR = 0x370,
    LAPIC_TIMER_INITIAL = 0x380,
    LAPIC_TIMER_CURRENT = 0x390,
    LAPIC_TIMER_DIVIDE = 0x3e0,
    LAPIC_SELF_IPI = 0x3f0,
};

#define LAPIC_DEFAULT_BASE 0xfee00000ull
#define LAPIC_BASE_BSP     (1ull << 8)
#define LAPIC_BASE_X2APIC  (1ull << 10)
#define LAPIC_BASE_ENABLE  (1ull << 11)
#define LAPIC_NEVER        UINT64_MAX

// Set once by the owner. All are called on the vCPU's own thread without locks of this file.
struct lapic_ops {
    uint64_t (*now_ns)(struct lapic *lapic);    // host monotonic time
    uint64_t (*guest_tsc)(struct lapic *lapic); // TSC as the guest reads it
    // The guest sent an IPI: hand it to lapic_route over the VM's local APICs.
    void (*send)(struct lapic *lapic, const struct lapic_message *message);
    // A level-triggered (or eoi_watch) vector was EOIed: ioapic_eoi, or KVM_EXIT_IOAPIC_EOI.
    void (*eoi_broadcast)(struct lapic *lapic, uint8_t vector);
    // timer_deadline_ns changed: arm or cancel the host timer.
    void (*timer_changed)(struct lapic *lapic);
    // Needed for lapic_set_pv_eoi alone. Sets the bit of the guest's word that says "this EOI need
    // not be told": 1, or 0: not possible. Or takes it away: whether it was still set, or -1: not
    // possible now, to be tried again.
    int (*pv_eoi)(struct lapic *lapic, bool set);
};

struct lapic {
    uint8_t *regs;              // 4 KiB, 16-byte aligned
    uint32_t irr_summary;       // atomic: bit w set if IRR word w may hold a request
    int16_t highest_isr;        // -1: none in service
    uint8_t ppr;                // cached copy of LAPIC_PPR
    bool enabled;               // hardware-enabled (APIC base) and software-enabled (SVR)
    bool x2apic_allowed;        // guest CPUID.1:ECX[21]
    bool tsc_deadline_allowed;  // guest CPUID.1:ECX[24]
    bool x2apic_id_format;      // KVM_X2APIC_API_USE_32BIT_IDS: kvm_lapic_state holds 32-bit IDs
    bool cmci;                  // LVT CMCI exists (MCG_CAP.MCG_CMCI_P)
    bool pv_eoi;                // the guest shares a word for EOIs (MSR_KVM_PV_EOI_EN)
    bool pv_eoi_pending;        // its bit is set: highest_isr may have been EOIed
    bool no_broadcast_quirk;    // KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK: 0xff in x2APIC is an ID
    uint32_t id;                // x2APIC ID = vCPU id
    uint64_t base;              // IA32_APIC_BASE
    uint64_t base_reserved;     // bits above the guest's MAXPHYADDR
    uint32_t pending_errors;    // ESR bits collected until the guest writes ESR
    uint32_t guest_tsc_khz;     // for TSC-deadline
    uint64_t timer_start_ns;    // when the current count was loaded
    uint64_t timer_period_ns;   // initial count * divider; 0: stopped
    uint64_t timer_deadline_ns; // absolute; LAPIC_NEVER if none
    uint64_t tsc_deadline;      // IA32_TSC_DEADLINE; 0: disarmed
    const uint32_t *eoi_watch;  // 256 bits or NULL: edge vectors whose EOI is broadcast as well
    uint32_t arbitration;       // deliveries got by lowest priority, to spread them
    const struct lapic_ops *ops;
};

// regs: zeroed 4 KiB page. id: vCPU id. bsp: gets LAPIC_BASE_BSP and LINT0=ExtINT as KVM does.
void lapic_init(struct lapic *lapic, uint8_t *regs, uint32_t id, bool bsp,
                const struct lapic_ops *ops);
// Reset (init: after INIT, which keeps the APIC base and ID; else power-on).
void lapic_reset(struct lapic *lapic, bool init);

// Whether there is an LVT entry for corrected machine checks.
void lapic_set_cmci(struct lapic *lapic, bool present);

static inline uint32_t lapic_reg(const struct lapic *lapic, uint32_t offset) {
    return __atomic_load_n((const uint32_t *)(lapic->regs + offset), __ATOMIC_RELAXED);
}
static inline bool lapic_hw_enabled(const struct lapic *lapic) {
    return lapic->base & LAPIC_BASE_ENABLE;
}
static inline bool lapic_x2apic(const struct lapic *lapic) {
    return (lapic->base & (LAPIC_BASE_ENABLE | LAPIC_BASE_X2APIC)) ==
           (LAPIC_BASE_ENABLE | LAPIC_BASE_X2APIC);
}

// -- posting: any CPU --
// Sets vector in IRR (and its trigger mode in TMR). True if newly pending: kick the vCPU.
bool lapic_post(struct lapic *lapic, uint8_t vector, bool level_triggered);

enum lapic_effect {
    LAPIC_IGNORED,   // disabled, or a mode this APIC does not take
    LAPIC_COALESCED, // was already pending
    LAPIC_POSTED,    // newly pending: kick the vCPU
    LAPIC_DO_NMI,
    LAPIC_DO_SMI,
    LAPIC_DO_INIT,   // the owner records it; the vCPU's thread then calls lapic_reset(.., true)
    LAPIC_DO_SIPI,   // start at message->vector << 12 if waiting for SIPI
    LAPIC_DO_EXTINT, // the owner asks the PIC for the vector
};
// Delivers a message already known to be for this APIC.
enum lapic_effect lapic_deliver(struct lapic *lapic, const struct lapic_message *message);
// Does message address this APIC? source: sender, NULL if a device.
bool lapic_matches(const struct lapic *lapic, const struct lapic *source,
                   const struct lapic_message *message);

// The VM's local APICs, indexed by vCPU id where possible (holes may be NULL).
struct lapic_set {
    struct lapic *const *lapics;
    uint32_t count;
};
// Finds the destinations (one by lowest priority) and calls deliver for each (which calls
// lapic_deliver, acts on the effect and returns it). Returns how many were neither ignored nor
// coalesced, -1 if no APIC matched (the values of KVM_IRQ_LINE_STATUS).
int lapic_route(const struct lapic_set *set, const struct lapic *source,
                const struct lapic_message *message, void *context,
                enum lapic_effect (*deliver)(void *context, struct lapic *lapic,
                                             const struct lapic_message *message));

// -- entry: the vCPU's thread --
int lapic_scan_pending(struct lapic *lapic);
// Highest requested vector with priority above PPR, or -1. One load when nothing is pending.
static inline int lapic_pending_vector(struct lapic *lapic) {
    if (__atomic_load_n(&lapic->irr_summary, __ATOMIC_RELAXED) == 0)
        return -1;
    return lapic_scan_pending(lapic);
}
// Moves vector from IRR to ISR: it is being injected.
void lapic_accept(struct lapic *lapic, uint8_t vector);
// An accepted vector that the guest has not taken is a request again, so that a higher one that
// came meanwhile goes first. False: it is not the one accepted last, or the guest's word for EOIs
// cannot be reached just now; nothing has changed then.
bool lapic_take_back(struct lapic *lapic, uint8_t vector);
// Value for a hardware TPR threshold: priority class of the highest vector TPR alone holds back.
uint32_t lapic_tpr_threshold(struct lapic *lapic);
// True if LINT0 passes the PIC's INTR to this vCPU (ExtINT unmasked, or APIC hardware-disabled).
bool lapic_accepts_pic(const struct lapic *lapic);
// PIT/NMI watchdog style local line: fires LVT entry (LAPIC_LVT_*) as its mode says.
enum lapic_effect lapic_local_interrupt(struct lapic *lapic, uint32_t lvt);

void lapic_eoi(struct lapic *lapic);
// MSR_KVM_PV_EOI_EN, on or off.
void lapic_set_pv_eoi(struct lapic *lapic, bool on);
// Takes the guest's EOI over if it made one in its word. False: that cannot be known now.
bool lapic_sync_pv_eoi(struct lapic *lapic);
uint64_t lapic_get_cr8(const struct lapic *lapic);
void lapic_set_cr8(struct lapic *lapic, uint64_t cr8); // cr8 <= 15, checked by the caller

// -- registers: the vCPU's thread --
// True if gpa is in the xAPIC page in its current place and mode.
static inline bool lapic_owns(const struct lapic *lapic, uint64_t gpa) {
    return lapic_hw_enabled(lapic) && !(lapic->base & LAPIC_BASE_X2APIC) &&
           (gpa & ~0xfffull) == (lapic->base & ~0xfffull);
}
// offset: in the page; len 1..8. Reads not 32-bit aligned in a register give zero, as in KVM.
void lapic_mmio_read(struct lapic *lapic, uint32_t offset, uint32_t len, void *data);
void lapic_mmio_write(struct lapic *lapic, uint32_t offset, uint32_t len, const void *data);
// x2APIC MSRs 0x800..0x8ff. 0, or -1: #GP.
int lapic_msr_read(struct lapic *lapic, uint32_t msr, uint64_t *value);
int lapic_msr_write(struct lapic *lapic, uint32_t msr, uint64_t value);
// IA32_APIC_BASE. 0, or -1: #GP (reserved bits, x2APIC where not allowed, illegal transition;
// host_initiated skips the transition check).
int lapic_set_base(struct lapic *lapic, uint64_t value, bool host_initiated);

// -- timer: the vCPU's thread --
// Call when the host timer fired (early calls do nothing). Posts the LVT interrupt if unmasked and
// re-arms a periodic timer (timer_changed is called). True if an interrupt was posted.
bool lapic_timer_expired(struct lapic *lapic);
uint64_t lapic_get_tsc_deadline(const struct lapic *lapic);
void lapic_set_tsc_deadline(struct lapic *lapic, uint64_t value);
// The guest's TSC jumped or its frequency changed: recompute the deadline.
void lapic_tsc_changed(struct lapic *lapic);

// -- KVM_GET_LAPIC / KVM_SET_LAPIC: vCPU not running --
void lapic_get_state(struct lapic *lapic, struct kvm_lapic_state *state);
// 0, or -EINVAL (x2APIC ID does not match in 32-bit format).
int lapic_set_state(struct lapic *lapic, const struct kvm_lapic_state *state);
