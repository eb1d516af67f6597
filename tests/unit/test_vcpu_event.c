// SPDX-License-Identifier: BSD-2-Clause
// How exceptions combine (SDM vol. 3 6.15) and which event enters the guest first (6.9).
// Sources: arch/x86/guest/lapic.c arch/x86/guest/lapic_registers.c arch/x86/guest/lapic_timer.c
// Sources: arch/x86/guest/lapic_route.c
// Sources: arch/x86/guest/vcpu_event.c
#include "arch/x86/guest/vcpu_exit.h"
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "fake_backend.h"

static struct virt_vcpu *vcpu;
static uint8_t *lapic_page;
static bool pic_line;
static unsigned acknowledged;

static uint8_t acknowledge(struct virt_vcpu *self) {
    (void)self;
    pic_line = false;
    acknowledged++;
    return 0x30;
}

static void set_up(void) {
    static const struct lapic_ops ops;
    vcpu = calloc(1, sizeof(*vcpu));
    lapic_page = aligned_alloc(4096, 4096);
    memset(lapic_page, 0, 4096);
    vcpu->irqchip = true;
    vcpu->events.user_interrupt = -1;
    vcpu->dr6 = 0xffff0ff0;
    vcpu->dr7 = 0x400;
    lapic_init(&vcpu->lapic, lapic_page, 0, true, &ops);
    const uint32_t spurious_vector = 0x1ff; // enabled
    lapic_mmio_write(&vcpu->lapic, LAPIC_SVR, 4, &spurious_vector);
    pic_line = false;
    acknowledged = 0;
    fake_backend_reset();
    fake_backend.registers[BACKEND_CR0] = 1; // PE: error codes are pushed
    vcpu->pic_output = &pic_line;
    vcpu->pic_acknowledge = acknowledge;
}

static void tear_down(void) {
    free(lapic_page);
    free(vcpu);
}

static void raise(uint8_t vector, bool has_error, uint32_t error, uint64_t cr2) {
    virt_raise(vcpu, &(struct guest_exception){vector, has_error, error, cr2});
}

enum { NEW, DOUBLE, TRIPLE };

// Table 6-5: what `second` becomes while `first` is being delivered.
static const struct {
    uint8_t first, second, result;
} combinations[] = {
    {1, 13, NEW},     {6, 14, NEW},     {13, 6, NEW},    {14, 1, NEW},  {0, 13, DOUBLE},
    {13, 13, DOUBLE}, {10, 12, DOUBLE}, {11, 0, DOUBLE}, {13, 14, NEW}, {14, 13, DOUBLE},
    {14, 14, DOUBLE}, {8, 13, TRIPLE},  {8, 14, TRIPLE}, {8, 6, NEW},
};

START_TEST(exceptions_combine) {
    vcpu->events.exception_injected = true;
    vcpu->events.exception_vector = combinations[_i].first;
    raise(combinations[_i].second, true, 0x55, 0);
    const struct virt_events *events = &vcpu->events;
    ck_assert_int_eq(events->triple_fault, combinations[_i].result == TRIPLE);
    if (combinations[_i].result == TRIPLE)
        return;
    bool twice = combinations[_i].result == DOUBLE;
    ck_assert(events->exception_pending && !events->exception_injected);
    ck_assert_uint_eq(events->exception_vector, twice ? 8 : combinations[_i].second);
    ck_assert_uint_eq(events->exception_error, twice ? 0 : 0x55);
}
END_TEST

START_TEST(page_fault_sets_cr2_when_it_is_injected) {
    struct vcpu_event event;
    vcpu->cr2 = 1;
    raise(14, true, 2, 0x1234);
    ck_assert_uint_eq(vcpu->cr2, 1);
    vcpu_event_select(vcpu, EVENT_BLOCKS_INTERRUPT | EVENT_BLOCKS_NMI, &event);
    ck_assert_uint_eq(vcpu->cr2, 0x1234);
    ck_assert_uint_eq(event.kind, EVENT_EXCEPTION);
    ck_assert(event.sets_rf && event.has_error);
    ck_assert_uint_eq(event.error, 2);
    ck_assert(vcpu->events.exception_injected && !vcpu->events.exception_pending);
}
END_TEST

START_TEST(debug_exception_sets_dr6_and_clears_gd) {
    struct vcpu_event event;
    vcpu->dr6 |= 0x8001; // BT and B0 of earlier ones
    vcpu->dr7 |= 1 << 13;
    raise(1, false, 0, 1 << 14 | 1 << 2);
    vcpu_event_select(vcpu, 0, &event);
    ck_assert_uint_eq(vcpu->dr6, 0xffff0ff0 | 0x8000 | 1 << 14 | 1 << 2);
    ck_assert_uint_eq(vcpu->dr7, 0x400);
}
END_TEST

START_TEST(cut_off_delivery_goes_first) {
    struct vcpu_event event;
    vcpu->events.interrupt_injected = true;
    vcpu->events.interrupt_vector = 0x41;
    atomic_store(&vcpu->events.nmi_pending, 1);
    lapic_post(&vcpu->lapic, 0x80, false);
    unsigned windows = vcpu_event_select(vcpu, 0, &event);
    ck_assert_uint_eq(event.kind, EVENT_INTERRUPT);
    ck_assert_uint_eq(event.vector, 0x41);
    ck_assert_uint_eq(windows, EVENT_BLOCKS_INTERRUPT | EVENT_BLOCKS_NMI);
    ck_assert_uint_eq(atomic_load(&vcpu->events.nmi_pending), 1);
}
END_TEST

START_TEST(untaken_interrupt_goes_back_where_it_came_from) {
    struct vcpu_event event;
    const uint32_t ext_int = LAPIC_DELIVER_EXTINT << 8;
    lapic_mmio_write(&vcpu->lapic, LAPIC_LVT_LINT0, 4, &ext_int);
    lapic_post(&vcpu->lapic, 0x30, false);
    vcpu_event_select(vcpu, 0, &event);
    vcpu_event_take_back(vcpu);
    ck_assert(!vcpu->events.interrupt_injected);
    ck_assert_int_eq(lapic_pending_vector(&vcpu->lapic), 0x30);
    vcpu_event_select(vcpu, 0, &event);
    vcpu_event_delivered(&vcpu->events);
    pic_line = true; // and 0x30 of the PIC, while that of the local APIC is in service
    vcpu_event_select(vcpu, 0, &event);
    vcpu_event_take_back(vcpu);
    ck_assert(vcpu->events.interrupt_injected);
    ck_assert_int_eq(lapic_pending_vector(&vcpu->lapic), -1);
    ck_assert_uint_eq(vcpu->statistics.injections, 2);
}
END_TEST

START_TEST(cut_off_deliveries_are_kept) {
    struct vcpu_event event;
    vcpu_event_cut_off(vcpu, EVENT_VALID | EVENT_HAS_ERROR | EVENT_EXCEPTION << 8 | 13, 0x18, 0);
    vcpu_event_select(vcpu, 0, &event);
    ck_assert(!event.sets_rf); // the first try has pushed it
    ck_assert_uint_eq(vcpu_event_information(&event, event.kind), 0x80000b0d);
    ck_assert_uint_eq(event.error, 0x18);
    vcpu_event_delivered(&vcpu->events);
    vcpu_event_cut_off(vcpu, EVENT_VALID | EVENT_SOFT_INTERRUPT << 8 | 0x80, 0, 2);
    vcpu_event_select(vcpu, 0, &event);
    ck_assert_uint_eq(vcpu_event_information(&event, event.kind), 0x80000480);
    ck_assert_uint_eq(event.soft_length, 2);
    vcpu_event_delivered(&vcpu->events);
    fake_backend.nmi_masked = true;
    vcpu_event_cut_off(vcpu, EVENT_VALID | EVENT_NMI << 8 | 2, 0, 0);
    ck_assert(!fake_backend.nmi_masked);
    vcpu_event_select(vcpu, EVENT_BLOCKS_INTERRUPT, &event);
    ck_assert_uint_eq(event.kind, EVENT_NMI);
}
END_TEST

START_TEST(real_mode_pushes_no_error_code) {
    struct vcpu_event event;
    fake_backend.registers[BACKEND_CR0] = 0;
    raise(13, true, 0x18, 0);
    vcpu_event_select(vcpu, 0, &event);
    ck_assert_uint_eq(vcpu_event_information(&event, event.kind), 0x8000030d);
}
END_TEST

START_TEST(nmi_before_interrupts) {
    struct vcpu_event event;
    atomic_store(&vcpu->events.nmi_pending, 2);
    lapic_post(&vcpu->lapic, 0x80, false);
    unsigned windows = vcpu_event_select(vcpu, 0, &event);
    ck_assert_uint_eq(event.kind, EVENT_NMI);
    ck_assert_uint_eq(atomic_load(&vcpu->events.nmi_pending), 1);
    ck_assert_uint_eq(windows, EVENT_BLOCKS_INTERRUPT | EVENT_BLOCKS_NMI);
    vcpu_event_delivered(&vcpu->events);
    // The second one waits for IRET; an interrupt may come before it.
    windows = vcpu_event_select(vcpu, EVENT_BLOCKS_NMI, &event);
    ck_assert_uint_eq(event.kind, EVENT_INTERRUPT);
    ck_assert_uint_eq(event.vector, 0x80);
    ck_assert_uint_eq(windows, EVENT_BLOCKS_NMI);
}
END_TEST

START_TEST(blocked_interrupt_asks_for_the_window) {
    struct vcpu_event event;
    lapic_post(&vcpu->lapic, 0x80, false);
    ck_assert(vcpu_event_waiting(vcpu));
    ck_assert_uint_eq(vcpu_event_select(vcpu, EVENT_BLOCKS_INTERRUPT, &event),
                      EVENT_BLOCKS_INTERRUPT);
    ck_assert_uint_eq(event.kind, EVENT_NONE);
    ck_assert_uint_eq(vcpu_event_select(vcpu, 0, &event), 0);
    ck_assert_uint_eq(event.vector, 0x80);
    // In service now: the same class again has to wait for its EOI, not for a window.
    vcpu_event_delivered(&vcpu->events);
    lapic_post(&vcpu->lapic, 0x81, false);
    ck_assert_uint_eq(vcpu_event_select(vcpu, 0, &event), 0);
    ck_assert_uint_eq(event.kind, EVENT_NONE);
    lapic_eoi(&vcpu->lapic);
    vcpu_event_select(vcpu, 0, &event);
    ck_assert_uint_eq(event.vector, 0x81);
}
END_TEST

START_TEST(sources_of_interrupts_in_order) {
    struct vcpu_event event;
    static const uint8_t order[] = {0x20, 0x30, 0x80};
    // ExtINT through LINT0, as after reset of the boot CPU's APIC.
    pic_line = true;
    lapic_post(&vcpu->lapic, 0x80, false);
    vcpu->events.user_interrupt = 0x20;
    for (unsigned i = 0; i < 3; i++) {
        unsigned windows = vcpu_event_select(vcpu, 0, &event);
        ck_assert_uint_eq(event.kind, EVENT_INTERRUPT);
        ck_assert_uint_eq(event.vector, order[i]);
        ck_assert_uint_eq(windows, i < 2 ? EVENT_BLOCKS_INTERRUPT : 0);
        vcpu_event_delivered(&vcpu->events);
    }
    ck_assert_uint_eq(acknowledged, 1);
    ck_assert_int_eq(vcpu->events.user_interrupt, -1);
    ck_assert(!pic_line);
}
END_TEST

START_TEST(user_space_gets_its_window) {
    struct vcpu_event event;
    vcpu->irqchip = false;
    vcpu->interrupt_window_requested = true;
    ck_assert(vcpu_event_waiting(vcpu));
    ck_assert_uint_eq(vcpu_event_select(vcpu, 0, &event), EVENT_BLOCKS_INTERRUPT);
    ck_assert_uint_eq(event.kind, EVENT_NONE);
    vcpu->interrupt_window_requested = false;
    ck_assert(!vcpu_event_waiting(vcpu));
}
END_TEST

Suite *vcpu_event_suite(void) {
    Suite *suite = suite_create("vcpu_event");
    TCase *tests = tcase_create("vcpu_event");
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_loop_test(tests, exceptions_combine, 0,
                        sizeof(combinations) / sizeof(combinations[0]));
    tcase_add_test(tests, page_fault_sets_cr2_when_it_is_injected);
    tcase_add_test(tests, debug_exception_sets_dr6_and_clears_gd);
    tcase_add_test(tests, cut_off_delivery_goes_first);
    tcase_add_test(tests, untaken_interrupt_goes_back_where_it_came_from);
    tcase_add_test(tests, cut_off_deliveries_are_kept);
    tcase_add_test(tests, real_mode_pushes_no_error_code);
    tcase_add_test(tests, nmi_before_interrupts);
    tcase_add_test(tests, blocked_interrupt_asks_for_the_window);
    tcase_add_test(tests, sources_of_interrupts_in_order);
    tcase_add_test(tests, user_space_gets_its_window);
    suite_add_tcase(suite, tests);
    return suite;
}
