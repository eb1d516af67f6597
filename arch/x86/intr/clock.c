// SPDX-License-Identifier: BSD-2-Clause
// Time: the TSC, scaled.
#include "arch/x86/intr/clock.h"
#include "arch/x86/cpu/cpu_area.h"
#include "arch/x86/cpu/cpu_features.h"
#include "arch/x86/cpu/instruction.h"
#include "arch/x86/intr/local_apic.h"
#include "core/log.h"
#include "core/sched/wait.h"

enum { ROUNDS = 3, WINDOW_MS = 10, PATIENCE = 20000000 };
#define FEMTOSECONDS_A_MS 1000000000000ull
#define FEMTOSECONDS_A_NS 1000000ull

static struct {
    uint64_t start; // TSC at time 0
    uint64_t khz;
    uint64_t ns_a_tick;  // 32.32 fixed point
    uint64_t ticks_a_ns; // 32.32
    uint64_t apic_a_ns;  // 32.32: local APIC timer counts, without deadline mode
    uint64_t realtime_offset;
    const char *reference;
} clock;

struct measurement {
    uint64_t tsc_khz, apic_khz;
    uint64_t uncertainty; // TSC ticks spent in reading the reference at both ends
};

struct sample {
    uint64_t tsc, spent, reference, apic;
};

static struct sample take_sample(const struct clock_reference *reference) {
    struct sample sample;
    uint64_t before = read_tsc_ordered();
    sample.reference = reference->read();
    uint64_t after = read_tsc_ordered();
    sample.apic = UINT32_MAX - local_apic_timer_count();
    sample.tsc = before + (after - before) / 2;
    sample.spent = after - before;
    return sample;
}

// False: the reference stands still.
static bool measure(const struct clock_reference *reference, struct measurement *measurement) {
    uint64_t window = WINDOW_MS * FEMTOSECONDS_A_MS / reference->femtoseconds;
    reference->start();
    local_apic_timer_set_count(UINT32_MAX);
    struct sample first = take_sample(reference), last = first;
    uint64_t elapsed = 0;
    for (unsigned i = 0; elapsed < window; i++) {
        if (i == PATIENCE)
            return false;
        last = take_sample(reference);
        elapsed = (last.reference - first.reference) & reference->mask;
    }
    local_apic_timer_set_count(0);
    uint64_t duration = elapsed * reference->femtoseconds / FEMTOSECONDS_A_NS;
    if (!duration)
        return false;
    measurement->tsc_khz = (last.tsc - first.tsc) * 1000000 / duration;
    measurement->apic_khz = (last.apic - first.apic) * 1000000 / duration;
    measurement->uncertainty = first.spent + last.spent;
    return true;
}

static uint64_t fixed_point(uint64_t numerator, uint64_t denominator) {
    return (numerator << 32) / denominator; // rates in kHz are far below 32 bits
}

static uint64_t scale(uint64_t value, uint64_t factor) {
    return (uint64_t)((unsigned __int128)value * factor >> 32);
}

// CPUID 15H is not asked: emulators and some boards get it wrong, and measuring is always possible.
static struct measurement best_measurement(const struct clock_reference *reference) {
    struct measurement best = {.uncertainty = UINT64_MAX}, one;
    for (unsigned round = 0; round < ROUNDS; round++) {
        if (!measure(reference, &one))
            panic("the %s does not count: no clock to measure the TSC against", reference->name);
        if (one.uncertainty < best.uncertainty)
            best = one;
    }
    if (!best.tsc_khz)
        panic("the TSC does not count");
    return best;
}

void clock_init(const struct acpi_machine *machine, uint64_t entry_tsc) {
    struct clock_reference reference = clock_reference_find(machine);
    struct measurement best = best_measurement(&reference);
    clock.khz = best.tsc_khz;
    clock.start = entry_tsc;
    clock.ns_a_tick = fixed_point(1000000, best.tsc_khz);
    clock.ticks_a_ns = fixed_point(best.tsc_khz, 1000000);
    clock.apic_a_ns = fixed_point(best.apic_khz, 1000000);
    clock.reference = reference.name;
}

const char *clock_reference(void) {
    return clock.reference;
}

uint64_t time_tsc_khz(void) {
    return clock.khz;
}

uint64_t time_to_tsc(uint64_t ns) {
    // Rounded up, so that a timer never fires before its time.
    return clock.start + scale(ns, clock.ticks_a_ns) + 1;
}

uint64_t time_now(void) {
    return scale(read_tsc() - clock.start, clock.ns_a_tick);
}

void time_parameters(uint64_t *start, uint64_t *ns_a_tick) {
    *start = clock.start;
    *ns_a_tick = clock.ns_a_tick;
}

uint64_t time_realtime_offset(void) {
    return clock.realtime_offset;
}

void clock_delay(uint64_t ns) {
    uint64_t end = time_now() + ns;
    while (time_now() < end)
        cpu_relax();
}

void timer_hardware_init(void) {
    local_apic_timer_init();
}

static void set_count(uint64_t deadline) {
    uint64_t now = time_now();
    uint64_t count = deadline > now ? scale(deadline - now, clock.apic_a_ns) + 1 : 1;
    // A far deadline: the interrupt comes early and the timer queue sets it again.
    local_apic_timer_set_count(count > UINT32_MAX ? UINT32_MAX : (uint32_t)count);
}

void cpu_timer_set(uint64_t deadline) {
    struct cpu_area *area = cpu_area(this_cpu());
    if (area->timer_deadline == deadline)
        return;
    area->timer_deadline = deadline;
    if (cpu_features.tsc_deadline)
        local_apic_timer_set_deadline(deadline == TIME_NEVER ? 0 : time_to_tsc(deadline));
    else if (deadline == TIME_NEVER)
        local_apic_timer_set_count(0);
    else
        set_count(deadline);
}

enum { CMOS_INDEX = 0x70, CMOS_DATA = 0x71, RTC_STATUS_A = 0x0a, RTC_STATUS_B = 0x0b };
enum { STATUS_A_UPDATING = 0x80, STATUS_B_24_HOURS = 2, STATUS_B_BINARY = 4 };

static uint8_t cmos_read(uint8_t index) {
    out8(CMOS_INDEX, index);
    return in8(CMOS_DATA);
}

struct rtc_time {
    uint8_t second, minute, hour, day, month, year, century;
};

static struct rtc_time rtc_registers(void) {
    for (unsigned i = 0; i < PATIENCE / 1000 && (cmos_read(RTC_STATUS_A) & STATUS_A_UPDATING); i++)
        cpu_relax();
    return (struct rtc_time){cmos_read(0), cmos_read(2), cmos_read(4),   cmos_read(7),
                             cmos_read(8), cmos_read(9), cmos_read(0x32)};
}

static unsigned decimal(uint8_t value, bool binary) {
    return binary ? value : (value >> 4) * 10u + (value & 0xf);
}

// Days from 1970 to the date in the Gregorian calendar; March counts as the first month so that
// leap days come last.
static uint64_t days_since_epoch(unsigned year, unsigned month, unsigned day) {
    year -= month <= 2;
    unsigned months = month > 2 ? month - 3 : month + 9;
    uint64_t days = 365ull * year + year / 4 - year / 100 + year / 400;
    return days + (153 * months + 2) / 5 + day - 1 - 719468;
}

static uint64_t rtc_seconds(struct rtc_time time, uint8_t status) {
    bool binary = status & STATUS_B_BINARY;
    unsigned hour = decimal(time.hour & 0x7f, binary);
    if (!(status & STATUS_B_24_HOURS))
        hour = hour % 12 + (time.hour & 0x80 ? 12 : 0);
    unsigned century = decimal(time.century, binary);
    unsigned year =
        decimal(time.year, binary) + 100 * (century >= 19 && century < 30 ? century : 20);
    uint64_t days = days_since_epoch(year, decimal(time.month, binary), decimal(time.day, binary));
    return ((days * 24 + hour) * 60 + decimal(time.minute, binary)) * 60 +
           decimal(time.second, binary);
}

void clock_read_rtc(void) {
    struct rtc_time time = rtc_registers(), again = rtc_registers();
    for (unsigned i = 0; i < 3 && time.second != again.second; i++) {
        time = again;
        again = rtc_registers();
    }
    uint64_t now = time_now();
    clock.realtime_offset = rtc_seconds(again, cmos_read(RTC_STATUS_B)) * 1000000000ull - now;
}
