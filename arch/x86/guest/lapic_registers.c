// SPDX-License-Identifier: BSD-2-Clause
// The local APIC's registers as the guest reaches them: xAPIC page and x2APIC MSRs.
#include "lapic_internal.h"

#define X2APIC_BASE_MSR 0x800u

enum register_flags {
    READABLE = 1 << 0,
    WRITABLE = 1 << 1,
    XAPIC_ONLY = 1 << 2,
    X2APIC_ONLY = 1 << 3,
};

struct register_rule {
    uint8_t flags;
    uint32_t write_mask; // for plain stores
};

// One entry a register (SDM vol. 3 table 11-1 and 11-6), indexed by offset >> 4.
static const struct register_rule rules[64] = {
    [LAPIC_ID >> 4] = {READABLE, 0}, // the ID is fixed, writes are dropped in xAPIC mode
    [LAPIC_VERSION >> 4] = {READABLE, 0},
    [LAPIC_TPR >> 4] = {READABLE | WRITABLE, 0xff},
    [LAPIC_APR >> 4] = {READABLE | XAPIC_ONLY, 0},
    [LAPIC_PPR >> 4] = {READABLE, 0},
    [LAPIC_EOI >> 4] = {WRITABLE, 0},
    [LAPIC_RRD >> 4] = {READABLE | XAPIC_ONLY, 0},
    [LAPIC_LDR >> 4] = {READABLE | WRITABLE, 0xff000000},
    [LAPIC_DFR >> 4] = {READABLE | WRITABLE | XAPIC_ONLY, 0xf0000000},
    [LAPIC_SVR >> 4] = {READABLE | WRITABLE, 0x3ff},
    [LAPIC_ISR >> 4 ...(LAPIC_ISR >> 4) + 7] = {READABLE, 0},
    [LAPIC_TMR >> 4 ...(LAPIC_TMR >> 4) + 7] = {READABLE, 0},
    [LAPIC_IRR >> 4 ...(LAPIC_IRR >> 4) + 7] = {READABLE, 0},
    [LAPIC_ESR >> 4] = {READABLE | WRITABLE, 0},
    [LAPIC_LVT_CMCI >> 4] = {READABLE | WRITABLE, 0x107ff},
    [LAPIC_ICR >> 4] = {READABLE | WRITABLE, 0xffffffff}, // reserved bits stay, as in KVM
    [LAPIC_ICR2 >> 4] = {READABLE | WRITABLE | XAPIC_ONLY, 0xff000000},
    [LAPIC_LVT_TIMER >> 4] = {READABLE | WRITABLE, 0x700ff},
    [LAPIC_LVT_THERMAL >> 4] = {READABLE | WRITABLE, 0x107ff},
    [LAPIC_LVT_PERF >> 4] = {READABLE | WRITABLE, 0x107ff},
    [LAPIC_LVT_LINT0 >> 4] = {READABLE | WRITABLE, 0x1a7ff},
    [LAPIC_LVT_LINT1 >> 4] = {READABLE | WRITABLE, 0x1a7ff},
    [LAPIC_LVT_ERROR >> 4] = {READABLE | WRITABLE, 0x100ff},
    [LAPIC_TIMER_INITIAL >> 4] = {READABLE | WRITABLE, 0xffffffff},
    [LAPIC_TIMER_CURRENT >> 4] = {READABLE, 0},
    [LAPIC_TIMER_DIVIDE >> 4] = {READABLE | WRITABLE, 0xb},
    [LAPIC_SELF_IPI >> 4] = {WRITABLE | X2APIC_ONLY, 0},
};

static const struct register_rule *register_at(const struct lapic *lapic, uint32_t offset,
                                               uint8_t access) {
    const struct register_rule *rule;

    if (offset >= 0x400)
        return 0;
    rule = &rules[offset >> 4];
    if (!(rule->flags & access))
        return 0;
    if (offset == LAPIC_LVT_CMCI && !lapic->cmci)
        return 0;
    if (rule->flags & (lapic_x2apic(lapic) ? XAPIC_ONLY : X2APIC_ONLY))
        return 0;
    return rule;
}

static uint32_t read_register(struct lapic *lapic, uint32_t offset) {
    lapic_sync_pv_eoi(lapic);
    if (offset == LAPIC_TIMER_CURRENT)
        return lapic_timer_current(lapic);
    if (offset == LAPIC_PPR)
        (void)lapic_scan_pending(lapic); // refreshes PPR if TPR changed behind us
    return lapic_reg(lapic, offset);
}

static void send(struct lapic *lapic, uint32_t command, uint32_t destination) {
    bool x2apic = lapic_x2apic(lapic);
    struct lapic_message message = {
        .destination = x2apic ? destination : destination >> 24,
        .vector = (uint8_t)command,
        .delivery_mode = (command >> 8) & 7,
        .shorthand = (command >> 18) & 3,
        .logical = command & (1u << 11),
        .level = command & (1u << 14),
        .level_triggered = command & (1u << 15),
        .x2apic_source = x2apic,
    };
    if (message.delivery_mode <= LAPIC_DELIVER_LOWEST && message.vector < 16) {
        lapic_report_error(lapic, ESR_SEND_ILLEGAL);
        return;
    }
    // Only INIT may be level-triggered on today's processors (SDM vol. 3 11.6.1); the rest is edge.
    if (message.delivery_mode != LAPIC_DELIVER_INIT) {
        message.level_triggered = false;
        message.level = true;
    }
    lapic->ops->send(lapic, &message);
}

static void write_svr(struct lapic *lapic, uint32_t value) {
    lapic_store(lapic, LAPIC_SVR, value);
    lapic_update_enabled(lapic);
    if (value & SVR_ENABLE)
        return;
    // Software disable masks every LVT entry (SDM vol. 3 11.4.7.2).
    for (uint32_t lvt = LAPIC_LVT_TIMER; lvt <= LAPIC_LVT_ERROR; lvt += 16)
        lapic_store(lapic, lvt, lapic_reg(lapic, lvt) | LVT_MASKED);
    if (lapic->cmci)
        lapic_store(lapic, LAPIC_LVT_CMCI, lapic_reg(lapic, LAPIC_LVT_CMCI) | LVT_MASKED);
}

static uint32_t lvt_value(struct lapic *lapic, uint32_t offset, uint32_t value) {
    if (offset == LAPIC_LVT_TIMER && !lapic->tsc_deadline_allowed)
        value &= ~TIMER_TSC;
    if (!(lapic_reg(lapic, LAPIC_SVR) & SVR_ENABLE))
        value |= LVT_MASKED;
    return value;
}

// value has passed the mode's checks.
static void write_register(struct lapic *lapic, const struct register_rule *rule, uint32_t offset,
                           uint32_t value) {
    uint32_t masked = value & rule->write_mask;

    lapic_sync_pv_eoi(lapic);
    switch (offset) {
    case LAPIC_TPR:
        lapic_set_tpr(lapic, value);
        break;
    case LAPIC_EOI:
        lapic_eoi(lapic);
        break;
    case LAPIC_DFR:
        lapic_store(lapic, offset, value | 0x0fffffff);
        break;
    case LAPIC_SVR:
        write_svr(lapic, masked);
        break;
    case LAPIC_ESR:
        lapic_store(lapic, offset,
                    __atomic_exchange_n(&lapic->pending_errors, 0, __ATOMIC_RELAXED));
        break;
    case LAPIC_ICR:
        // Delivery status (bit 12) always reads idle: sending is immediate.
        lapic_store(lapic, offset, masked & ~(1u << 12));
        send(lapic, masked, lapic_reg(lapic, LAPIC_ICR2));
        break;
    case LAPIC_LVT_TIMER:
        lapic_timer_write_lvt(lapic, lvt_value(lapic, offset, masked));
        break;
    case LAPIC_LVT_CMCI:
    case LAPIC_LVT_THERMAL:
    case LAPIC_LVT_PERF:
    case LAPIC_LVT_LINT0:
    case LAPIC_LVT_LINT1:
    case LAPIC_LVT_ERROR:
        lapic_store(lapic, offset, lvt_value(lapic, offset, masked));
        break;
    case LAPIC_TIMER_INITIAL:
        lapic_timer_write_initial(lapic, value);
        break;
    case LAPIC_TIMER_DIVIDE:
        lapic_timer_write_divide(lapic, value);
        break;
    default:
        lapic_store(lapic, offset, masked);
    }
}

void lapic_mmio_read(struct lapic *lapic, uint32_t offset, uint32_t len, void *data) {
    uint32_t value = 0, within = offset & 15;

    __builtin_memset(data, 0, len);
    if (within + len > 4 || !register_at(lapic, offset & ~15u, READABLE))
        return;
    value = read_register(lapic, offset & ~15u);
    __builtin_memcpy(data, (const uint8_t *)&value + within, len);
}

void lapic_mmio_write(struct lapic *lapic, uint32_t offset, uint32_t len, const void *data) {
    const struct register_rule *rule = register_at(lapic, offset, WRITABLE);
    uint32_t value;

    // Only aligned 32-bit stores are defined (SDM vol. 3 11.4.1).
    if (!rule || len != 4 || (offset & 15))
        return;
    __builtin_memcpy(&value, data, sizeof value);
    write_register(lapic, rule, offset, value);
}

int lapic_msr_read(struct lapic *lapic, uint32_t msr, uint64_t *value) {
    uint32_t offset = (msr - X2APIC_BASE_MSR) << 4;

    if (msr < X2APIC_BASE_MSR || !lapic_x2apic(lapic) || !register_at(lapic, offset, READABLE))
        return -1;
    *value = read_register(lapic, offset);
    if (offset == LAPIC_ICR)
        *value |= (uint64_t)lapic_reg(lapic, LAPIC_ICR2) << 32;
    return 0;
}

int lapic_msr_write(struct lapic *lapic, uint32_t msr, uint64_t value) {
    const uint32_t icr_reserved = 0xfff32000u; // SDM vol. 3 figure 11-28; bit 12 is ignored
    uint32_t offset = (msr - X2APIC_BASE_MSR) << 4;
    const struct register_rule *rule;

    if (msr < X2APIC_BASE_MSR || !lapic_x2apic(lapic) || offset == LAPIC_LDR)
        return -1;
    rule = register_at(lapic, offset, WRITABLE);
    if (!rule || (offset != LAPIC_ICR && value >> 32))
        return -1;
    switch (offset) {
    case LAPIC_ICR:
        if ((uint32_t)value & icr_reserved)
            return -1;
        lapic_store(lapic, LAPIC_ICR2, (uint32_t)(value >> 32));
        break;
    case LAPIC_EOI:
    case LAPIC_ESR:
        if (value)
            return -1;
        break;
    case LAPIC_TPR:
        if (value & ~0xffull)
            return -1;
        break;
    case LAPIC_SELF_IPI:
        if (value & ~0xffull)
            return -1;
        send(lapic, (LAPIC_TO_SELF << 18) | (1u << 14) | (uint32_t)value, 0);
        return 0;
    }
    write_register(lapic, rule, offset, (uint32_t)value);
    return 0;
}
