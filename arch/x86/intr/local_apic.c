// SPDX-License-Identifier: BSD-2-Clause
// The local APIC.
#include "arch/x86/intr/local_apic.h"
#include "arch/x86/cpu/cpu_features.h"
#include "arch/x86/cpu/instruction.h"
#include "arch/x86/irq.h"
#include "arch/x86/paging.h"
#include "core/log.h"

enum apic_register { // xAPIC offset; the x2APIC MSR is 0x800 + offset / 16
    APIC_ID = 0x20,
    APIC_TPR = 0x80,
    APIC_EOI = 0xb0,
    APIC_SPURIOUS = 0xf0,
    APIC_ERROR_STATUS = 0x280,
    APIC_ICR = 0x300,
    APIC_ICR_HIGH = 0x310,
    APIC_LVT_TIMER = 0x320,
    APIC_LVT_LINT0 = 0x350,
    APIC_LVT_LINT1 = 0x360,
    APIC_LVT_ERROR = 0x370,
    APIC_TIMER_INITIAL = 0x380,
    APIC_TIMER_CURRENT = 0x390,
    APIC_TIMER_DIVIDE = 0x3e0,
};

enum {
    APIC_BASE_X2APIC = 1 << 10,
    APIC_BASE_ENABLE = 1 << 11,
    SPURIOUS_ENABLE = 1 << 8,
    LVT_MASKED = 1 << 16,
    LVT_NMI = 4 << 8,
    LVT_DEADLINE = 2 << 17,
    DIVIDE_BY_1 = 0xb,
    ICR_NMI = 4 << 8,
    ICR_INIT = 5 << 8,
    ICR_STARTUP = 6 << 8,
    ICR_PENDING = 1 << 12,
    ICR_ASSERT = 1 << 14,
    ICR_OTHERS = 3 << 18,
    ICR_PATIENCE = 1000000,
};

static struct {
    bool ready, x2apic;
    volatile uint32_t *registers; // xAPIC
} apic;

static uint32_t apic_read(enum apic_register reg) {
    if (apic.x2apic)
        return (uint32_t)read_msr(MSR_X2APIC + reg / 16);
    return apic.registers[reg / 4];
}

static void apic_write(enum apic_register reg, uint32_t value) {
    if (apic.x2apic)
        write_msr(MSR_X2APIC + reg / 16, value);
    else
        apic.registers[reg / 4] = value;
}

bool local_apic_is_x2apic(void) {
    return apic.x2apic;
}

uint32_t local_apic_id(void) {
    uint32_t id = apic_read(APIC_ID);
    return apic.x2apic ? id : id >> 24;
}

void local_apic_eoi(void) {
    apic_write(APIC_EOI, 0);
}

static void enable(void) {
    uint64_t base = read_msr(MSR_APIC_BASE);
    if (!apic.ready) {
        apic.x2apic = cpu_features.x2apic;
        if (!apic.x2apic) {
            apic.registers = kernel_map_mmio(base & 0xffffff000ull, 4096);
            if (!apic.registers)
                panic("no memory to map the local APIC");
        }
        apic.ready = true;
    }
    write_msr(MSR_APIC_BASE, base | APIC_BASE_ENABLE);
    if (apic.x2apic)
        write_msr(MSR_APIC_BASE, base | APIC_BASE_ENABLE | APIC_BASE_X2APIC);
}

void local_apic_init(void) {
    enable();
    apic_write(APIC_TPR, 0);
    apic_write(APIC_LVT_TIMER, LVT_MASKED);
    apic_write(APIC_LVT_LINT0, LVT_MASKED);
    apic_write(APIC_LVT_LINT1, LVT_NMI);
    apic_write(APIC_LVT_ERROR, IRQ_VECTOR_ERROR);
    apic_write(APIC_SPURIOUS, SPURIOUS_ENABLE | IRQ_VECTOR_SPURIOUS);
    apic_write(APIC_ERROR_STATUS, 0);
}

static void send(uint32_t apic_id, uint32_t command) {
    if (apic.x2apic) {
        // WRMSR to the ICR does not wait for earlier stores (SDM 3A 11.12.3).
        __asm__ volatile("mfence; lfence" ::: "memory");
        write_msr(MSR_X2APIC + APIC_ICR / 16, (uint64_t)apic_id << 32 | command);
        return;
    }
    for (unsigned i = 0; i < ICR_PATIENCE && (apic_read(APIC_ICR) & ICR_PENDING); i++)
        cpu_relax();
    apic_write(APIC_ICR_HIGH, apic_id << 24);
    apic_write(APIC_ICR, command);
}

void local_apic_send(uint32_t apic_id, unsigned vector) {
    send(apic_id, ICR_ASSERT | vector);
}

void local_apic_send_init(uint32_t apic_id) {
    send(apic_id, ICR_ASSERT | ICR_INIT);
}

void local_apic_send_startup(uint32_t apic_id, unsigned page) {
    send(apic_id, ICR_ASSERT | ICR_STARTUP | page);
}

void local_apic_stop_others(void) {
    if (apic.ready)
        send(0, ICR_OTHERS | ICR_ASSERT | ICR_NMI);
}

void local_apic_timer_init(void) {
    apic_write(APIC_TIMER_DIVIDE, DIVIDE_BY_1);
    apic_write(APIC_LVT_TIMER,
               IRQ_VECTOR_TIMER | (cpu_features.tsc_deadline ? (uint32_t)LVT_DEADLINE : 0));
    // In xAPIC mode the LVT write must be seen before the first deadline is (SDM 3A 11.5.4.1).
    __asm__ volatile("mfence" ::: "memory");
}

void local_apic_timer_set_deadline(uint64_t tsc) {
    write_msr(MSR_TSC_DEADLINE, tsc);
}

void local_apic_timer_set_count(uint32_t count) {
    apic_write(APIC_TIMER_INITIAL, count);
}

uint32_t local_apic_timer_count(void) {
    return apic_read(APIC_TIMER_CURRENT);
}
