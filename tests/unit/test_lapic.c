// SPDX-License-Identifier: BSD-2-Clause
// The guest's local APIC.
// Sources: arch/x86/guest/lapic.c arch/x86/guest/lapic_registers.c arch/x86/guest/lapic_timer.c
// Sources: arch/x86/guest/lapic_route.c
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "arch/x86/guest/lapic.h"

#define CPUS 4

static struct lapic apics[CPUS];
static _Alignas(4096) uint8_t pages[CPUS][4096];
static uint64_t now, tsc;
static struct lapic_message sent;
static int sends, eois, last_eoi, timer_changes;

static uint64_t now_ns(struct lapic *lapic) {
    (void)lapic;
    return now;
}

static uint64_t guest_tsc(struct lapic *lapic) {
    (void)lapic;
    return tsc;
}

static void send(struct lapic *lapic, const struct lapic_message *message) {
    (void)lapic;
    sent = *message;
    sends++;
}

static void eoi(struct lapic *lapic, uint8_t vector) {
    (void)lapic;
    last_eoi = vector;
    eois++;
}

static void timer_changed(struct lapic *lapic) {
    (void)lapic;
    timer_changes++;
}

static int word, word_reachable;

static int pv_eoi(struct lapic *lapic, bool set) {
    (void)lapic;
    if (!word_reachable)
        return set ? 0 : -1;
    int before = word;
    word = set;
    return set ? 1 : before;
}

static const struct lapic_ops ops = {.pv_eoi = pv_eoi,
                                     .now_ns = now_ns,
                                     .guest_tsc = guest_tsc,
                                     .send = send,
                                     .eoi_broadcast = eoi,
                                     .timer_changed = timer_changed};

static void write_register(struct lapic *lapic, uint32_t offset, uint32_t value) {
    lapic_mmio_write(lapic, offset, 4, &value);
}

static uint32_t read_register(struct lapic *lapic, uint32_t offset) {
    uint32_t value = 0xdeadbeef;
    lapic_mmio_read(lapic, offset, 4, &value);
    return value;
}

static void start(void) {
    now = 1000000;
    tsc = 0;
    sends = eois = timer_changes = 0;
    last_eoi = -1;
    memset(pages, 0, sizeof pages);
    for (uint32_t i = 0; i < CPUS; i++) {
        lapic_init(&apics[i], pages[i], i, i == 0, &ops);
        apics[i].x2apic_allowed = apics[i].tsc_deadline_allowed = true;
        apics[i].guest_tsc_khz = 2000000;
        write_register(&apics[i], LAPIC_SVR, 0x1ff);
    }
}

START_TEST(shared_word_for_eois) {
    struct lapic *lapic = &apics[0];
    start();
    word = 0;
    word_reachable = 1;
    lapic_set_pv_eoi(lapic, true);
    lapic_post(lapic, 0x40, false);
    lapic_accept(lapic, (uint8_t)lapic_pending_vector(lapic));
    ck_assert_int_eq(word, 1);
    word = 0; // the guest's EOI
    lapic_post(lapic, 0x40, false);
    ck_assert_int_eq(lapic_pending_vector(lapic), 0x40);
    lapic_accept(lapic, 0x40);
    lapic_post(lapic, 0x30, false); // while 0x40 is in service: its EOI must be told now
    ck_assert_int_eq(lapic_pending_vector(lapic), -1);
    ck_assert_int_eq(word, 0);
    write_register(lapic, LAPIC_EOI, 0);
    ck_assert_int_eq(lapic_pending_vector(lapic), 0x30);
    lapic_accept(lapic, 0x30);
    word_reachable = 0; // nothing is decided while the word cannot be read
    lapic_post(lapic, 0x50, false);
    ck_assert_int_eq(lapic_pending_vector(lapic), -1);
    word_reachable = 1;
    ck_assert_int_eq(lapic_pending_vector(lapic), 0x50);
    write_register(lapic, LAPIC_EOI, 0);
    lapic_post(lapic, 0x60, true); // level: the I/O APIC wants to know
    lapic_accept(lapic, 0x60);
    ck_assert_int_eq(word, 0);
}
END_TEST

START_TEST(taken_back) {
    struct lapic *lapic = &apics[0];
    start();
    word = 0;
    word_reachable = 1;
    lapic_set_pv_eoi(lapic, true);
    lapic_post(lapic, 0x40, true);
    lapic_accept(lapic, 0x40);
    lapic_post(lapic, 0x90, false);
    ck_assert(lapic_take_back(lapic, 0x40));
    ck_assert_int_eq(lapic_pending_vector(lapic), 0x90); // the higher one first
    lapic_accept(lapic, 0x90);
    ck_assert(!lapic_take_back(lapic, 0x40));
    write_register(lapic, LAPIC_EOI, 0);
    ck_assert_int_eq(lapic_pending_vector(lapic), 0x40);
    lapic_accept(lapic, 0x40);
    write_register(lapic, LAPIC_EOI, 0);
    lapic_post(lapic, 0x50, false);
    lapic_accept(lapic, 0x50);
    ck_assert_int_eq(word, 1);
    ck_assert(lapic_take_back(lapic, 0x50)); // and the guest owes no EOI
    ck_assert_int_eq(word, 0);
    ck_assert_int_eq(lapic_pending_vector(lapic), 0x50);
}
END_TEST

START_TEST(reset_state) {
    start();
    ck_assert_uint_eq(apics[0].base, 0xfee00900);
    ck_assert_uint_eq(apics[1].base, 0xfee00800);
    ck_assert_uint_eq(read_register(&apics[2], LAPIC_ID), 2u << 24);
    ck_assert_uint_eq(read_register(&apics[0], LAPIC_VERSION), 0x50014);
    ck_assert_uint_eq(read_register(&apics[0], LAPIC_LVT_LINT0), 0x700);
    ck_assert_uint_eq(read_register(&apics[1], LAPIC_LVT_LINT0), 0x10000);
    ck_assert(lapic_accepts_pic(&apics[0]));
    ck_assert(!lapic_accepts_pic(&apics[1]));
    ck_assert(lapic_owns(&apics[0], 0xfee00030) && !lapic_owns(&apics[0], 0xfee01000));
}
END_TEST

START_TEST(priorities_and_eoi) {
    struct lapic *lapic = &apics[0];
    start();
    ck_assert_int_eq(lapic_pending_vector(lapic), -1);
    ck_assert(lapic_post(lapic, 0x41, false));
    ck_assert(!lapic_post(lapic, 0x41, false));
    ck_assert(lapic_post(lapic, 0x92, true));
    ck_assert_int_eq(lapic_pending_vector(lapic), 0x92);
    lapic_accept(lapic, 0x92);
    ck_assert_uint_eq(read_register(lapic, LAPIC_PPR), 0x90);
    ck_assert_int_eq(lapic_pending_vector(lapic), -1);
    lapic_post(lapic, 0x9f, false); // same class waits
    ck_assert_int_eq(lapic_pending_vector(lapic), -1);
    lapic_post(lapic, 0xa0, false);
    ck_assert_int_eq(lapic_pending_vector(lapic), 0xa0);
    lapic_accept(lapic, 0xa0);
    write_register(lapic, LAPIC_EOI, 0);
    ck_assert_int_eq(eois, 0); // edge
    ck_assert_uint_eq(read_register(lapic, LAPIC_PPR), 0x90);
    write_register(lapic, LAPIC_EOI, 0);
    ck_assert_int_eq(eois, 1);
    ck_assert_int_eq(last_eoi, 0x92);
    ck_assert_int_eq(lapic_pending_vector(lapic), 0x9f);
    lapic_accept(lapic, 0x9f);
    lapic_eoi(lapic);
    ck_assert_int_eq(lapic_pending_vector(lapic), 0x41);
    lapic_accept(lapic, 0x41);
    lapic_eoi(lapic);
    lapic_eoi(lapic); // nothing in service: harmless
    ck_assert_int_eq(lapic_pending_vector(lapic), -1);
    ck_assert_uint_eq(lapic->irr_summary, 0);
}
END_TEST

START_TEST(task_priority) {
    struct lapic *lapic = &apics[0];
    start();
    lapic_post(lapic, 0x55, false);
    lapic_set_cr8(lapic, 5);
    ck_assert_uint_eq(lapic_get_cr8(lapic), 5);
    ck_assert_int_eq(lapic_pending_vector(lapic), -1);
    ck_assert_uint_eq(lapic_tpr_threshold(lapic), 5);
    lapic_set_cr8(lapic, 4);
    ck_assert_uint_eq(lapic_tpr_threshold(lapic), 0);
    ck_assert_int_eq(lapic_pending_vector(lapic), 0x55);
    // The hardware's TPR shadow changes the page without telling.
    pages[0][LAPIC_TPR] = 0x60;
    ck_assert_int_eq(lapic_pending_vector(lapic), -1);
}
END_TEST

START_TEST(watched_edge_eoi) {
    uint32_t watch[8] = {[1] = 1u << 2}; // vector 0x22
    start();
    apics[0].eoi_watch = watch;
    lapic_post(&apics[0], 0x22, false);
    lapic_accept(&apics[0], 0x22);
    lapic_eoi(&apics[0]);
    ck_assert_int_eq(last_eoi, 0x22);
}
END_TEST

START_TEST(illegal_vectors_are_errors) {
    start();
    write_register(&apics[0], LAPIC_LVT_ERROR, 0xfe);
    write_register(&apics[0], LAPIC_ICR, 0x4005);
    ck_assert_int_eq(sends, 0);
    ck_assert_int_eq(lapic_pending_vector(&apics[0]), 0xfe);
    write_register(&apics[0], LAPIC_ESR, 0);
    ck_assert_uint_eq(read_register(&apics[0], LAPIC_ESR), 0x20);
    struct lapic_message bad = {.vector = 3, .level = true};
    ck_assert_int_eq(lapic_deliver(&apics[1], &bad), LAPIC_IGNORED);
    ck_assert_uint_eq(apics[1].pending_errors, 0x40);
}
END_TEST

START_TEST(software_disable_masks) {
    start();
    write_register(&apics[0], LAPIC_LVT_TIMER, 0x30);
    write_register(&apics[0], LAPIC_SVR, 0xff);
    ck_assert_uint_eq(read_register(&apics[0], LAPIC_LVT_TIMER), 0x10030);
    write_register(&apics[0], LAPIC_LVT_TIMER, 0x31);
    ck_assert_uint_eq(read_register(&apics[0], LAPIC_LVT_TIMER), 0x10031);
    struct lapic_message message = {.vector = 0x40, .level = true};
    ck_assert_int_eq(lapic_deliver(&apics[0], &message), LAPIC_IGNORED);
}
END_TEST

START_TEST(corrected_machine_checks) {
    start();
    write_register(&apics[0], LAPIC_LVT_CMCI, 0x55);
    ck_assert_uint_eq(read_register(&apics[0], LAPIC_LVT_CMCI), 0); // there is none
    ck_assert_uint_eq(read_register(&apics[0], LAPIC_VERSION), 0x50014);
    lapic_set_cmci(&apics[0], true);
    ck_assert_uint_eq(read_register(&apics[0], LAPIC_LVT_CMCI), 0x10000);
    ck_assert_uint_eq(read_register(&apics[0], LAPIC_VERSION), 0x60014);
    ck_assert_int_eq(lapic_local_interrupt(&apics[0], LAPIC_LVT_CMCI), LAPIC_IGNORED);
    write_register(&apics[0], LAPIC_LVT_CMCI, 0x55);
    ck_assert_int_eq(lapic_local_interrupt(&apics[0], LAPIC_LVT_CMCI), LAPIC_POSTED);
    ck_assert_int_eq(lapic_pending_vector(&apics[0]), 0x55);
}
END_TEST

START_TEST(reserved_command_bits_stay) {
    start();
    write_register(&apics[0], LAPIC_ICR, 0xfff3f0a5); // to all but itself
    ck_assert_uint_eq(read_register(&apics[0], LAPIC_ICR), 0xfff3e0a5);
}
END_TEST

START_TEST(mmio_shapes) {
    uint8_t bytes[8];
    start();
    memset(bytes, 0xee, sizeof bytes);
    lapic_mmio_read(&apics[2], LAPIC_ID + 3, 1, bytes);
    ck_assert_uint_eq(bytes[0], 2);
    lapic_mmio_read(&apics[2], LAPIC_ID + 4, 4, bytes); // between registers
    ck_assert_uint_eq(bytes[0], 0);
    uint64_t wide = 0x50;
    lapic_mmio_write(&apics[2], LAPIC_TPR, 8, &wide);
    ck_assert_uint_eq(read_register(&apics[2], LAPIC_TPR), 0);
}
END_TEST

START_TEST(one_shot_and_periodic_timer) {
    struct lapic *lapic = &apics[0];
    start();
    write_register(lapic, LAPIC_TIMER_DIVIDE, 0xb); // by 1
    write_register(lapic, LAPIC_LVT_TIMER, 0x60);
    write_register(lapic, LAPIC_TIMER_INITIAL, 5000000);
    ck_assert_uint_eq(lapic->timer_deadline_ns, 6000000);
    now += 2000000;
    ck_assert_uint_eq(read_register(lapic, LAPIC_TIMER_CURRENT), 3000000);
    int changes = timer_changes;
    ck_assert(!lapic_timer_expired(lapic)); // too early: it is asked for again
    ck_assert_int_eq(timer_changes, changes + 1);
    now += 3000000;
    ck_assert(lapic_timer_expired(lapic));
    ck_assert_int_eq(lapic_pending_vector(lapic), 0x60);
    ck_assert_uint_eq(lapic->timer_deadline_ns, LAPIC_NEVER);
    ck_assert_uint_eq(read_register(lapic, LAPIC_TIMER_CURRENT), 0);
    lapic_accept(lapic, 0x60);
    lapic_eoi(lapic);
    write_register(lapic, LAPIC_LVT_TIMER, 0x20060); // periodic
    write_register(lapic, LAPIC_TIMER_DIVIDE, 0x0);  // by 2
    write_register(lapic, LAPIC_TIMER_INITIAL, 1000000);
    uint64_t first = now + 2000000;
    ck_assert_uint_eq(lapic->timer_deadline_ns, first);
    now = first + 2 * 2000000 + 5; // two periods missed
    ck_assert(lapic_timer_expired(lapic));
    ck_assert_uint_eq(lapic->timer_deadline_ns, first + 3 * 2000000);
    write_register(lapic, LAPIC_TIMER_INITIAL, 0);
    ck_assert_uint_eq(lapic->timer_deadline_ns, LAPIC_NEVER);
}
END_TEST

START_TEST(masked_timer_posts_nothing) {
    start();
    write_register(&apics[0], LAPIC_LVT_TIMER, 0x10060);
    write_register(&apics[0], LAPIC_TIMER_INITIAL, 1000000);
    now += 10000000;
    ck_assert(!lapic_timer_expired(&apics[0]));
    ck_assert_int_eq(lapic_pending_vector(&apics[0]), -1);
}
END_TEST

START_TEST(tsc_deadline) {
    struct lapic *lapic = &apics[0];
    start();
    lapic_set_tsc_deadline(lapic, 12345); // not in that mode: ignored
    ck_assert_uint_eq(lapic_get_tsc_deadline(lapic), 0);
    write_register(lapic, LAPIC_LVT_TIMER, 0x40061);
    lapic_set_tsc_deadline(lapic, 4000000);
    ck_assert_uint_eq(lapic->timer_deadline_ns, now + 2000000); // 2 GHz
    tsc = 2000000;
    lapic_tsc_changed(lapic);
    ck_assert_uint_eq(lapic->timer_deadline_ns, now + 1000000);
    write_register(lapic, LAPIC_TIMER_INITIAL, 99); // ignored in this mode
    ck_assert_uint_eq(read_register(lapic, LAPIC_TIMER_INITIAL), 0);
    now += 1000000;
    ck_assert(lapic_timer_expired(lapic));
    ck_assert_uint_eq(lapic_get_tsc_deadline(lapic), 0);
    lapic_set_tsc_deadline(lapic, UINT64_MAX);
    ck_assert_uint_gt(lapic->timer_deadline_ns, now);
    ck_assert_uint_lt(lapic->timer_deadline_ns, LAPIC_NEVER);
    write_register(lapic, LAPIC_LVT_TIMER, 0x61);
    ck_assert_uint_eq(lapic->timer_deadline_ns, LAPIC_NEVER);
    apics[1].tsc_deadline_allowed = false;
    write_register(&apics[1], LAPIC_LVT_TIMER, 0x40061);
    ck_assert_uint_eq(read_register(&apics[1], LAPIC_LVT_TIMER), 0x61);
}
END_TEST

START_TEST(base_transitions) {
    struct lapic *lapic = &apics[1];
    start();
    ck_assert_int_eq(lapic_set_base(lapic, 0xfee00400, false), -1); // x2APIC without enable
    ck_assert_int_eq(lapic_set_base(lapic, 0xfee00a00, false), -1); // reserved bit 9
    ck_assert_int_eq(lapic_set_base(lapic, 0xfee00c00, false), 0);
    ck_assert_int_eq(lapic_set_base(lapic, 0xfee00800, false), -1); // x2APIC to xAPIC
    ck_assert_int_eq(lapic_set_base(lapic, 0xfee00000, false), 0);
    ck_assert_int_eq(lapic_set_base(lapic, 0xfee00c00, false), -1); // disabled to x2APIC
    ck_assert_int_eq(lapic_set_base(lapic, 0xfee00c00, true), 0);   // a VMM may
    lapic->x2apic_allowed = false;
    ck_assert_int_eq(lapic_set_base(lapic, 0xfee00c00, true), -1);
}
END_TEST

START_TEST(x2apic_registers) {
    struct lapic *lapic = &apics[3];
    uint64_t value;
    start();
    ck_assert_int_eq(lapic_msr_read(lapic, 0x802, &value), -1); // not in the mode
    lapic_set_base(lapic, 0xfee00c00, false);
    ck_assert_int_eq(lapic_msr_read(lapic, 0x802, &value), 0);
    ck_assert_uint_eq(value, 3);
    ck_assert_int_eq(lapic_msr_read(lapic, 0x80d, &value), 0);
    ck_assert_uint_eq(value, 1u << 3);
    ck_assert_int_eq(lapic_msr_write(lapic, 0x80d, 1), -1);
    ck_assert_int_eq(lapic_msr_read(lapic, 0x80e, &value), -1); // DFR
    ck_assert_int_eq(lapic_msr_read(lapic, 0x831, &value), -1); // ICR2
    ck_assert_int_eq(lapic_msr_write(lapic, 0x808, 0x100), -1);
    ck_assert_int_eq(lapic_msr_write(lapic, 0x80b, 1), -1);
    ck_assert_int_eq(lapic_msr_write(lapic, 0x830, 0x00000002000c4041), 0);
    ck_assert_int_eq(sends, 1);
    ck_assert_uint_eq(sent.destination, 2);
    ck_assert_uint_eq(sent.vector, 0x41);
    ck_assert_uint_eq(sent.shorthand, LAPIC_TO_OTHERS);
    ck_assert_int_eq(lapic_msr_read(lapic, 0x830, &value), 0);
    ck_assert_uint_eq(value, 0x00000002000c4041);
    ck_assert_int_eq(lapic_msr_write(lapic, 0x830, 0x2000), -1);
    ck_assert_int_eq(lapic_msr_write(lapic, 0x83f, 0x77), 0);
    ck_assert_uint_eq(sent.shorthand, LAPIC_TO_SELF);
    ck_assert_uint_eq(sent.vector, 0x77);
    ck_assert_int_eq(lapic_msr_read(lapic, 0x83f, &value), -1);
    ck_assert(!lapic_owns(lapic, 0xfee00020));
}
END_TEST

static enum lapic_effect record(void *context, struct lapic *lapic,
                                const struct lapic_message *message) {
    *(unsigned *)context |= 1u << lapic->id;
    return lapic_deliver(lapic, message);
}

static unsigned route(const struct lapic *source, struct lapic_message message, int *result) {
    struct lapic *list[CPUS] = {&apics[0], &apics[1], &apics[2], &apics[3]};
    struct lapic_set set = {list, CPUS};
    unsigned targets = 0;
    int count = lapic_route(&set, source, &message, &targets, record);
    if (result)
        *result = count;
    return targets;
}

START_TEST(routing_physical_and_shorthand) {
    struct lapic_message message = {.vector = 0x50, .level = true, .destination = 2};
    int result;
    start();
    ck_assert_uint_eq(route(NULL, message, &result), 4);
    ck_assert_int_eq(result, 1);
    ck_assert_uint_eq(route(NULL, message, &result), 4);
    ck_assert_int_eq(result, 0); // coalesced
    message.destination = 77;
    ck_assert_uint_eq(route(NULL, message, &result), 0);
    ck_assert_int_eq(result, -1);
    message.destination = 0xff;
    ck_assert_uint_eq(route(NULL, message, NULL), 15);
    message.shorthand = LAPIC_TO_SELF;
    ck_assert_uint_eq(route(&apics[1], message, NULL), 2);
    message.shorthand = LAPIC_TO_OTHERS;
    ck_assert_uint_eq(route(&apics[1], message, NULL), 13);
    message.shorthand = LAPIC_TO_ALL;
    ck_assert_uint_eq(route(&apics[1], message, NULL), 15);
}
END_TEST

START_TEST(routing_logical) {
    struct lapic_message message = {.vector = 0x50, .level = true, .logical = true};
    start();
    for (uint32_t i = 0; i < CPUS; i++)
        write_register(&apics[i], LAPIC_LDR, 1u << (24 + i));
    message.destination = 0x6;
    ck_assert_uint_eq(route(NULL, message, NULL), 6);
    for (uint32_t i = 0; i < CPUS; i++) { // clusters 0 and 1 of two
        write_register(&apics[i], LAPIC_DFR, 0);
        write_register(&apics[i], LAPIC_LDR, ((i / 2) << 28) | (1u << (24 + i % 2)));
    }
    message.destination = 0x13;
    ck_assert_uint_eq(route(NULL, message, NULL), 12);
    for (uint32_t i = 0; i < CPUS; i++)
        lapic_set_base(&apics[i], 0xfee00c00, true);
    message.destination = 0x5;
    message.x2apic_source = true;
    ck_assert_uint_eq(route(&apics[0], message, NULL), 5);
    message.destination = 0x10005;
    ck_assert_uint_eq(route(&apics[0], message, NULL), 0);
    message.destination = 0xffffffff;
    ck_assert_uint_eq(route(&apics[0], message, NULL), 15);
    message.destination = 0xff;
    message.logical = false;
    ck_assert_uint_eq(route(&apics[0], message, NULL), 0);
    message.x2apic_source = false; // a device's 0xff: broadcast by KVM's quirk
    ck_assert_uint_eq(route(NULL, message, NULL), 15);
    for (uint32_t i = 0; i < CPUS; i++)
        apics[i].no_broadcast_quirk = true;
    ck_assert_uint_eq(route(NULL, message, NULL), 0);
}
END_TEST

START_TEST(lowest_priority_spreads) {
    struct lapic_message message = {.vector = 0x50,
                                    .level = true,
                                    .logical = true,
                                    .destination = 0xf,
                                    .delivery_mode = LAPIC_DELIVER_LOWEST};
    unsigned seen = 0;
    start();
    for (uint32_t i = 0; i < CPUS; i++)
        write_register(&apics[i], LAPIC_LDR, 1u << (24 + i));
    for (unsigned i = 0; i < CPUS; i++) {
        unsigned targets = route(NULL, message, NULL);
        ck_assert_int_eq(__builtin_popcount(targets), 1);
        seen |= targets;
    }
    ck_assert_uint_eq(seen, 15);
    write_register(&apics[0], LAPIC_SVR, 0xff);
    for (unsigned i = 0; i < 8; i++)
        ck_assert_uint_eq(route(NULL, message, NULL) & 1, 0);
}
END_TEST

START_TEST(special_deliveries) {
    struct lapic_message message = {
        .delivery_mode = LAPIC_DELIVER_INIT, .level = true, .level_triggered = true};
    start();
    ck_assert_int_eq(lapic_deliver(&apics[1], &message), LAPIC_DO_INIT);
    message.level = false;
    ck_assert_int_eq(lapic_deliver(&apics[1], &message), LAPIC_IGNORED);
    message.delivery_mode = LAPIC_DELIVER_STARTUP;
    ck_assert_int_eq(lapic_deliver(&apics[1], &message), LAPIC_DO_SIPI);
    message.delivery_mode = LAPIC_DELIVER_NMI;
    ck_assert_int_eq(lapic_deliver(&apics[1], &message), LAPIC_DO_NMI);
    write_register(&apics[1], LAPIC_LVT_LINT1, 0x400);
    ck_assert_int_eq(lapic_local_interrupt(&apics[1], LAPIC_LVT_LINT1), LAPIC_DO_NMI);
}
END_TEST

START_TEST(state_round_trip) {
    struct kvm_lapic_state state, again;
    start();
    lapic_post(&apics[1], 0x35, false);
    lapic_post(&apics[1], 0xe5, true);
    lapic_accept(&apics[1], 0xe5);
    write_register(&apics[1], LAPIC_LVT_TIMER, 0x20070);
    write_register(&apics[1], LAPIC_TIMER_DIVIDE, 0xb);
    write_register(&apics[1], LAPIC_TIMER_INITIAL, 4000000);
    now += 1000000;
    lapic_get_state(&apics[1], &state);
    struct lapic *copy = &apics[2];
    copy->id = 1;
    ck_assert_int_eq(lapic_set_state(copy, &state), 0);
    ck_assert_int_eq(copy->highest_isr, 0xe5);
    ck_assert_int_eq(lapic_pending_vector(copy), -1);
    ck_assert_uint_eq(copy->timer_deadline_ns, now + 3000000);
    lapic_get_state(copy, &again);
    ck_assert_mem_eq(&state, &again, sizeof state);
    lapic_eoi(copy);
    ck_assert_int_eq(last_eoi, 0xe5);
    ck_assert_int_eq(lapic_pending_vector(copy), 0x35);
}
END_TEST

START_TEST(state_x2apic_id) {
    struct kvm_lapic_state state;
    uint32_t id;
    start();
    lapic_set_base(&apics[3], 0xfee00c00, true);
    lapic_get_state(&apics[3], &state);
    memcpy(&id, state.regs + LAPIC_ID, 4);
    ck_assert_uint_eq(id, 3u << 24);
    apics[3].x2apic_id_format = true;
    ck_assert_int_lt(lapic_set_state(&apics[3], &state), 0);
    lapic_get_state(&apics[3], &state);
    memcpy(&id, state.regs + LAPIC_ID, 4);
    ck_assert_uint_eq(id, 3);
    ck_assert_int_eq(lapic_set_state(&apics[3], &state), 0);
}
END_TEST

Suite *lapic_suite(void) {
    Suite *suite = suite_create("lapic");
    TCase *tests = tcase_create("lapic");
    tcase_add_test(tests, reset_state);
    tcase_add_test(tests, priorities_and_eoi);
    tcase_add_test(tests, task_priority);
    tcase_add_test(tests, watched_edge_eoi);
    tcase_add_test(tests, illegal_vectors_are_errors);
    tcase_add_test(tests, software_disable_masks);
    tcase_add_test(tests, mmio_shapes);
    tcase_add_test(tests, one_shot_and_periodic_timer);
    tcase_add_test(tests, masked_timer_posts_nothing);
    tcase_add_test(tests, tsc_deadline);
    tcase_add_test(tests, base_transitions);
    tcase_add_test(tests, x2apic_registers);
    tcase_add_test(tests, routing_physical_and_shorthand);
    tcase_add_test(tests, routing_logical);
    tcase_add_test(tests, lowest_priority_spreads);
    tcase_add_test(tests, special_deliveries);
    tcase_add_test(tests, state_round_trip);
    tcase_add_test(tests, state_x2apic_id);
    tcase_add_test(tests, corrected_machine_checks);
    tcase_add_test(tests, shared_word_for_eois);
    tcase_add_test(tests, taken_back);
    tcase_add_test(tests, reserved_command_bits_stay);
    suite_add_tcase(suite, tests);
    return suite;
}
