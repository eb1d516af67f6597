// SPDX-License-Identifier: BSD-2-Clause
// Local APIC: requests, priorities, EOI, reset, APIC base and saved state.
#include "lapic.h"
#include "lapic_internal.h"
#include <asm/errno.h>

#define VECTOR_WORDS 8

static uint32_t *vector_word(struct lapic *lapic, uint32_t array, unsigned vector) {
    return lapic_word(lapic, array + (vector >> 5) * 16);
}

static int highest_vector(struct lapic *lapic, uint32_t array) {
    for (int word = VECTOR_WORDS - 1; word >= 0; word--) {
        uint32_t bits = lapic_reg(lapic, array + (uint32_t)word * 16);
        if (bits)
            return word * 32 + 31 - __builtin_clz(bits);
    }
    return -1;
}

// -- posting --

bool lapic_post(struct lapic *lapic, uint8_t vector, bool level_triggered) {
    uint32_t bit = 1u << (vector & 31);
    uint32_t *tmr = vector_word(lapic, LAPIC_TMR, vector);
    uint32_t trigger = __atomic_load_n(tmr, __ATOMIC_RELAXED);

    if (level_triggered && !(trigger & bit))
        __atomic_fetch_or(tmr, bit, __ATOMIC_RELAXED);
    else if (!level_triggered && (trigger & bit))
        __atomic_fetch_and(tmr, ~bit, __ATOMIC_RELAXED);
    uint32_t old = __atomic_fetch_or(vector_word(lapic, LAPIC_IRR, vector), bit, __ATOMIC_SEQ_CST);
    // After IRR: the reader clears the summary bit first and looks at IRR again.
    __atomic_fetch_or(&lapic->irr_summary, 1u << (vector >> 5), __ATOMIC_SEQ_CST);
    return !(old & bit);
}

void lapic_report_error(struct lapic *lapic, uint32_t esr_bit) {
    uint32_t lvt = lapic_reg(lapic, LAPIC_LVT_ERROR);
    uint32_t old = __atomic_fetch_or(&lapic->pending_errors, esr_bit, __ATOMIC_RELAXED);

    // Only a new error interrupts, and an illegal vector in the LVT itself may not recurse.
    if (!(old & esr_bit) && !(lvt & LVT_MASKED) && (lvt & 0xff) >= 16)
        lapic_post(lapic, (uint8_t)lvt, false);
}

enum lapic_effect lapic_deliver(struct lapic *lapic, const struct lapic_message *message) {
    switch (message->delivery_mode) {
    case LAPIC_DELIVER_FIXED:
    case LAPIC_DELIVER_LOWEST:
        if (!lapic_hw_enabled(lapic) || !(lapic_reg(lapic, LAPIC_SVR) & SVR_ENABLE))
            return LAPIC_IGNORED;
        if (message->vector < 16) {
            lapic_report_error(lapic, ESR_RECEIVED_ILLEGAL);
            return LAPIC_IGNORED;
        }
        return lapic_post(lapic, message->vector, message->level_triggered) ? LAPIC_POSTED
                                                                            : LAPIC_COALESCED;
    case LAPIC_DELIVER_NMI:
        return LAPIC_DO_NMI;
    case LAPIC_DELIVER_SMI:
        return LAPIC_DO_SMI;
    case LAPIC_DELIVER_INIT:
        // INIT level de-assert only resynchronizes arbitration IDs (SDM vol. 3 11.6.1).
        return message->level || !message->level_triggered ? LAPIC_DO_INIT : LAPIC_IGNORED;
    case LAPIC_DELIVER_STARTUP:
        return LAPIC_DO_SIPI;
    case LAPIC_DELIVER_EXTINT:
        return LAPIC_DO_EXTINT;
    default:
        return LAPIC_IGNORED;
    }
}

enum lapic_effect lapic_local_interrupt(struct lapic *lapic, uint32_t lvt) {
    uint32_t entry = lapic_reg(lapic, lvt);
    bool lint = lvt == LAPIC_LVT_LINT0 || lvt == LAPIC_LVT_LINT1;

    if (!lapic_hw_enabled(lapic) || (entry & LVT_MASKED))
        return LAPIC_IGNORED;
    struct lapic_message message = {
        .vector = (uint8_t)entry,
        .delivery_mode = (entry >> 8) & 7,
        .level = true,
        .level_triggered = lint && (entry & LVT_LEVEL),
    };
    return lapic_deliver(lapic, &message);
}

// -- entry --

static void update_ppr(struct lapic *lapic) {
    uint32_t tpr = lapic_reg(lapic, LAPIC_TPR) & 0xff;
    uint32_t in_service = lapic->highest_isr < 0 ? 0 : (uint32_t)lapic->highest_isr & 0xf0;

    lapic->ppr = (uint8_t)((tpr & 0xf0) >= in_service ? tpr : in_service);
    lapic_store(lapic, LAPIC_PPR, lapic->ppr);
}

static int highest_request(struct lapic *lapic) {
    uint32_t summary;

    while ((summary = __atomic_load_n(&lapic->irr_summary, __ATOMIC_ACQUIRE)) != 0) {
        unsigned word = 31 - (unsigned)__builtin_clz(summary);
        uint32_t offset = LAPIC_IRR + word * 16;
        uint32_t bits = lapic_reg(lapic, offset);
        if (!bits) {
            __atomic_fetch_and(&lapic->irr_summary, ~(1u << word), __ATOMIC_SEQ_CST);
            bits = lapic_reg(lapic, offset);
            if (!bits)
                continue;
            __atomic_fetch_or(&lapic->irr_summary, 1u << word, __ATOMIC_SEQ_CST);
        }
        return (int)(word * 32 + 31 - (unsigned)__builtin_clz(bits));
    }
    return -1;
}

int lapic_scan_pending(struct lapic *lapic) {
    int vector = highest_request(lapic);

    if (vector < 0 || !lapic_hw_enabled(lapic) || !lapic_sync_pv_eoi(lapic))
        return -1;
    // TPR may have changed by hardware in the page (TPR shadow).
    update_ppr(lapic);
    return (vector & 0xf0) > (lapic->ppr & 0xf0) ? vector : -1;
}

// Whether others want to know of the vector's EOI.
static bool eoi_told(struct lapic *lapic, unsigned vector) {
    uint32_t bit = 1u << (vector & 31);

    return (lapic->eoi_watch && (lapic->eoi_watch[vector >> 5] & bit)) ||
           (*vector_word(lapic, LAPIC_TMR, vector) & bit);
}

void lapic_accept(struct lapic *lapic, uint8_t vector) {
    uint32_t bit = 1u << (vector & 31);
    uint32_t *isr = vector_word(lapic, LAPIC_ISR, vector);

    __atomic_fetch_and(vector_word(lapic, LAPIC_IRR, vector), ~bit, __ATOMIC_SEQ_CST);
    *isr |= bit;
    if (vector > lapic->highest_isr)
        lapic->highest_isr = vector;
    update_ppr(lapic);
    // An EOI that changes nothing but ISR need not exit. What is requested later takes the bit
    // away.
    if (lapic->pv_eoi && highest_request(lapic) < 0 && !eoi_told(lapic, vector))
        lapic->pv_eoi_pending = lapic->ops->pv_eoi(lapic, true) > 0;
}

bool lapic_take_back(struct lapic *lapic, uint8_t vector) {
    uint32_t bit = 1u << (vector & 31);

    if (lapic->highest_isr != vector || !lapic_sync_pv_eoi(lapic) || lapic->highest_isr != vector)
        return false;
    *vector_word(lapic, LAPIC_ISR, vector) &= ~bit;
    lapic->highest_isr = (int16_t)highest_vector(lapic, LAPIC_ISR);
    update_ppr(lapic);
    lapic_post(lapic, vector, *vector_word(lapic, LAPIC_TMR, vector) & bit);
    return true;
}

uint32_t lapic_tpr_threshold(struct lapic *lapic) {
    int vector = highest_request(lapic);
    uint32_t class;

    if (vector < 0)
        return 0;
    class = (uint32_t)vector >> 4;
    return (lapic_reg(lapic, LAPIC_TPR) & 0xff) >> 4 < class ? 0 : class;
}

bool lapic_accepts_pic(const struct lapic *lapic) {
    uint32_t lint0 = lapic_reg(lapic, LAPIC_LVT_LINT0);

    if (!lapic_hw_enabled(lapic))
        return true;
    return !(lint0 & LVT_MASKED) && ((lint0 >> 8) & 7) == LAPIC_DELIVER_EXTINT;
}

void lapic_eoi(struct lapic *lapic) {
    int vector = lapic->highest_isr;

    if (vector < 0)
        return;
    uint32_t bit = 1u << (vector & 31);
    *vector_word(lapic, LAPIC_ISR, (unsigned)vector) &= ~bit;
    lapic->highest_isr = (int16_t)highest_vector(lapic, LAPIC_ISR);
    update_ppr(lapic);
    if (eoi_told(lapic, (unsigned)vector))
        lapic->ops->eoi_broadcast(lapic, (uint8_t)vector);
}

bool lapic_sync_pv_eoi(struct lapic *lapic) {
    if (!lapic->pv_eoi_pending)
        return true;
    int set = lapic->ops->pv_eoi(lapic, false);
    if (set < 0)
        return false;
    lapic->pv_eoi_pending = false;
    if (!set)
        lapic_eoi(lapic);
    return true;
}

void lapic_set_pv_eoi(struct lapic *lapic, bool on) {
    lapic_sync_pv_eoi(lapic);
    lapic->pv_eoi = on;
}

uint64_t lapic_get_cr8(const struct lapic *lapic) {
    return (lapic_reg(lapic, LAPIC_TPR) & 0xf0) >> 4;
}

void lapic_set_cr8(struct lapic *lapic, uint64_t cr8) {
    lapic_store(lapic, LAPIC_TPR, (uint32_t)cr8 << 4);
    update_ppr(lapic);
}

void lapic_set_tpr(struct lapic *lapic, uint32_t tpr) {
    lapic_store(lapic, LAPIC_TPR, tpr & 0xff);
    update_ppr(lapic);
}

// -- reset and identity --

// In x2APIC mode ID and LDR are fixed by the ID (SDM vol. 3 11.12.10.2).
static void load_identity(struct lapic *lapic) {
    if (lapic_x2apic(lapic)) {
        lapic_store(lapic, LAPIC_ID, lapic->id);
        lapic_store(lapic, LAPIC_LDR, ((lapic->id >> 4) << 16) | (1u << (lapic->id & 15)));
    } else {
        lapic_store(lapic, LAPIC_ID, lapic->id << 24);
    }
}

// Integrated; the highest LVT entry is number 5, with CMCI 6.
static uint32_t version_of(const struct lapic *lapic) {
    return lapic->cmci ? 0x60014 : 0x50014;
}

void lapic_set_cmci(struct lapic *lapic, bool present) {
    lapic->cmci = present;
    lapic_store(lapic, LAPIC_VERSION, version_of(lapic));
    lapic_store(lapic, LAPIC_LVT_CMCI, present ? LVT_MASKED : 0);
}

void lapic_reset(struct lapic *lapic, bool init) {
    static const uint16_t lvts[] = {LAPIC_LVT_TIMER, LAPIC_LVT_THERMAL, LAPIC_LVT_PERF,
                                    LAPIC_LVT_LINT0, LAPIC_LVT_LINT1,   LAPIC_LVT_ERROR};
    bool bsp = lapic->base & LAPIC_BASE_BSP;

    if (!init)
        lapic->base = LAPIC_DEFAULT_BASE | LAPIC_BASE_ENABLE | (bsp ? LAPIC_BASE_BSP : 0);
    for (uint32_t offset = 0; offset < 0x400; offset += 16)
        lapic_store(lapic, offset, 0);
    __atomic_store_n(&lapic->irr_summary, 0, __ATOMIC_SEQ_CST);
    lapic->highest_isr = -1;
    lapic->pv_eoi = lapic->pv_eoi_pending = false;
    lapic->pending_errors = 0;
    lapic_set_cmci(lapic, lapic->cmci);
    for (unsigned i = 0; i < sizeof lvts / sizeof lvts[0]; i++)
        lapic_store(lapic, lvts[i], LVT_MASKED);
    // As KVM's LINT0_REENABLED quirk: firmware of some VMMs relies on virtual wire mode at reset.
    if (bsp)
        lapic_store(lapic, LAPIC_LVT_LINT0, LAPIC_DELIVER_EXTINT << 8);
    lapic_store(lapic, LAPIC_DFR, 0xffffffff);
    lapic_store(lapic, LAPIC_SVR, 0xff);
    load_identity(lapic);
    lapic_timer_stop(lapic);
    lapic->tsc_deadline = 0;
    lapic_update_enabled(lapic);
    update_ppr(lapic);
}

void lapic_init(struct lapic *lapic, uint8_t *regs, uint32_t id, bool bsp,
                const struct lapic_ops *ops) {
    *lapic = (struct lapic){
        .regs = regs,
        .id = id,
        .base = bsp ? LAPIC_BASE_BSP : 0,
        .timer_deadline_ns = LAPIC_NEVER,
        .ops = ops,
    };
    lapic_reset(lapic, false);
}

void lapic_update_enabled(struct lapic *lapic) {
    lapic->enabled = lapic_hw_enabled(lapic) && (lapic_reg(lapic, LAPIC_SVR) & SVR_ENABLE);
}

static bool legal_transition(uint64_t old, uint64_t new) {
    const uint64_t both = LAPIC_BASE_ENABLE | LAPIC_BASE_X2APIC;
    uint64_t from = old & both, to = new &both;

    if (from == both && to == LAPIC_BASE_ENABLE)
        return false;
    return !(from == 0 && to == both);
}

int lapic_set_base(struct lapic *lapic, uint64_t value, bool host_initiated) {
    uint64_t old = lapic->base;
    uint64_t reserved = lapic->base_reserved | 0x2ff;

    if (!lapic->x2apic_allowed)
        reserved |= LAPIC_BASE_X2APIC;
    if ((value & reserved) ||
        (value & (LAPIC_BASE_ENABLE | LAPIC_BASE_X2APIC)) == LAPIC_BASE_X2APIC)
        return -1;
    if (!host_initiated && !legal_transition(old, value))
        return -1;
    lapic->base = value;
    if ((old ^ value) & (LAPIC_BASE_ENABLE | LAPIC_BASE_X2APIC)) {
        if (!lapic_hw_enabled(lapic))
            lapic_timer_stop(lapic);
        load_identity(lapic);
    }
    lapic_update_enabled(lapic);
    return 0;
}

// -- KVM_GET_LAPIC / KVM_SET_LAPIC --

void lapic_get_state(struct lapic *lapic, struct kvm_lapic_state *state) {
    lapic_sync_pv_eoi(lapic);
    update_ppr(lapic);
    lapic_store(lapic, LAPIC_TIMER_CURRENT, lapic_timer_current(lapic));
    __builtin_memcpy(state->regs, lapic->regs, sizeof state->regs);
    if (lapic_x2apic(lapic) && !lapic->x2apic_id_format) {
        uint32_t id = lapic->id << 24;
        __builtin_memcpy(state->regs + LAPIC_ID, &id, sizeof id);
    }
}

int lapic_set_state(struct lapic *lapic, const struct kvm_lapic_state *state) {
    uint32_t id, summary = 0;

    lapic_sync_pv_eoi(lapic);
    __builtin_memcpy(&id, state->regs + LAPIC_ID, sizeof id);
    if (lapic_x2apic(lapic) && lapic->x2apic_id_format && id != lapic->id)
        return -EINVAL;
    __builtin_memcpy(lapic->regs, state->regs, sizeof state->regs);
    lapic_store(lapic, LAPIC_VERSION, version_of(lapic));
    if (lapic_x2apic(lapic))
        load_identity(lapic);
    for (unsigned word = 0; word < VECTOR_WORDS; word++)
        if (lapic_reg(lapic, LAPIC_IRR + word * 16))
            summary |= 1u << word;
    __atomic_store_n(&lapic->irr_summary, summary, __ATOMIC_SEQ_CST);
    lapic->highest_isr = (int16_t)highest_vector(lapic, LAPIC_ISR);
    lapic_update_enabled(lapic);
    update_ppr(lapic);
    lapic_timer_restore(lapic);
    return 0;
}
