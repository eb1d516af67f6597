// SPDX-License-Identifier: BSD-2-Clause
// Guest MSRs.
// Sources: arch/x86/guest/msr.c arch/x86/guest/cpuid.c
// Sources: arch/x86/guest/msr_memory_type.c arch/x86/guest/msr_machine_check.c
// Sources: arch/x86/guest/lapic.c arch/x86/guest/lapic_registers.c arch/x86/guest/lapic_timer.c
#include <asm/errno.h>
#include <check.h>
#include <string.h>
#include "arch/x86/guest/msr.h"

static uint64_t hardware[BACKEND_COUNT], tsc, written;
static uint32_t written_index;
static int commands, changes, refuse;

static uint64_t get(struct guest_msrs *msrs, enum backend_register which) {
    (void)msrs;
    return hardware[which];
}

static int set(struct guest_msrs *msrs, enum backend_register which, uint64_t value) {
    (void)msrs;
    if (refuse)
        return -1;
    hardware[which] = value;
    return 0;
}

static uint64_t get_tsc(struct guest_msrs *msrs) {
    (void)msrs;
    return tsc;
}

static void set_tsc(struct guest_msrs *msrs, uint64_t value, bool host_initiated) {
    (void)msrs;
    (void)host_initiated;
    tsc = value;
}

static void adjust_tsc(struct guest_msrs *msrs, int64_t delta) {
    (void)msrs;
    tsc += (uint64_t)delta;
}

static int command(struct guest_msrs *msrs, uint32_t msr, uint64_t value) {
    (void)msrs;
    (void)msr;
    (void)value;
    commands++;
    return 0;
}

static void paravirtual(struct guest_msrs *msrs, uint32_t index, uint64_t value, bool host) {
    (void)msrs;
    (void)host;
    written_index = index;
    written = value;
}

static void changed(struct guest_msrs *msrs) {
    (void)msrs;
    changes++;
}

static const struct guest_msr_backend backend = {.get = get,
                                                 .set = set,
                                                 .get_tsc = get_tsc,
                                                 .set_tsc = set_tsc,
                                                 .adjust_tsc = adjust_tsc,
                                                 .command = command,
                                                 .paravirtual = paravirtual,
                                                 .cpuid_inputs_changed = changed};

static uint64_t lapic_now(struct lapic *self) {
    (void)self;
    return 1000;
}

static uint64_t lapic_tsc(struct lapic *self) {
    (void)self;
    return tsc;
}

static void lapic_timer_moved(struct lapic *self) {
    (void)self;
}

static const struct lapic_ops lapic_ops = {
    .now_ns = lapic_now, .guest_tsc = lapic_tsc, .timer_changed = lapic_timer_moved};

static struct guest_msrs msrs;
static struct guest_cpuid cpuid;
static struct lapic lapic;
static _Alignas(4096) uint8_t page[4096];
static struct kvm_cpuid_entry2 table[] = {
    {.function = 0, .eax = 0xd},
    {.function = 1, .ecx = 1 << 21 | 1 << 24 | 1 << 26, .edx = 1 << 9 | 1 << 12},
    {.function = 7, .flags = 1, .ebx = 2, .edx = 1u << 26 | 1u << 28 | 1u << 31},
    {.function = 0xd, .index = 1, .flags = 1, .eax = 8, .ecx = 0x100},
    {.function = 0x80000001, .edx = 1 << 11 | 1 << 20 | 1 << 27 | 1 << 29},
    {.function = 0x80000008, .eax = 0x3028},
};

static void start(void) {
    memset(hardware, 0, sizeof hardware);
    memset(page, 0, sizeof page);
    tsc = 1000000;
    commands = changes = refuse = 0;
    guest_cpuid_set(&cpuid, table, sizeof table / sizeof table[0]);
    lapic_init(&lapic, page, 0, true, &lapic_ops);
    lapic.x2apic_allowed = lapic.tsc_deadline_allowed = true;
    lapic.guest_tsc_khz = 1000000;
    guest_msr_init();
    guest_msrs_init(&msrs, &backend, &cpuid, &lapic);
}

static int wr(uint32_t index, uint64_t value) {
    return guest_msr_write(&msrs, index, value, false);
}

static uint64_t rd(uint32_t index) {
    uint64_t value = 0xbad;
    ck_assert_int_eq(guest_msr_read(&msrs, index, &value, false), 0);
    return value;
}

START_TEST(every_listed_msr_reads_and_writes_back) {
    uint64_t value;
    start();
    guest_msrs_setup_mce(&msrs, 0x10a);
    for (uint32_t i = 0; i < guest_msr_index_count; i++) {
        uint32_t index = guest_msr_index_list[i];
        ck_assert_msg(guest_msr_read(&msrs, index, &value, true) == 0, "read %x", index);
        ck_assert_msg(guest_msr_write(&msrs, index, value, true) == 0, "write %x", index);
        for (uint32_t j = 0; j < i; j++)
            ck_assert_uint_ne(guest_msr_index_list[j], index);
    }
}
END_TEST

START_TEST(unknown) {
    uint64_t value;
    start();
    ck_assert_int_eq(guest_msr_read(&msrs, 0x12345, &value, false), GUEST_MSR_UNKNOWN);
    ck_assert_int_eq(wr(0xc0010118, 0), GUEST_MSR_UNKNOWN);
    ck_assert_int_eq(guest_msr_read(&msrs, 0x480, &value, false), GUEST_MSR_UNKNOWN); // VMX
    ck_assert_int_eq(wr(0, 0), GUEST_MSR_UNKNOWN);
    ck_assert_int_eq(wr(0x4b564d02, 0), GUEST_MSR_UNKNOWN); // async page faults
}
END_TEST

START_TEST(canonical_and_reserved) {
    start();
    ck_assert_int_eq(wr(0xc0000082, 0xffffffff81000000), 0);
    ck_assert_uint_eq(rd(0xc0000082), 0xffffffff81000000);
    ck_assert_int_eq(wr(0xc0000082, 0x0000900000000000), GUEST_MSR_INVALID);
    ck_assert_int_eq(wr(0x176, 0x8000000000000000), GUEST_MSR_INVALID);
    ck_assert_int_eq(wr(0xc0000084, 1ull << 32), GUEST_MSR_INVALID);
    ck_assert_int_eq(wr(0xc0000103, 1ull << 32), GUEST_MSR_INVALID);
    ck_assert_int_eq(wr(0xc0000103, 5), 0);
    refuse = 1;
    ck_assert_int_eq(wr(0xc0000101, 0), -1);
}
END_TEST

START_TEST(efer) {
    start();
    hardware[BACKEND_EFER] = 0x500;
    ck_assert_int_eq(wr(0xc0000080, 0x901), 0);
    ck_assert_uint_eq(hardware[BACKEND_EFER], 0xd01);            // LMA stays
    ck_assert_int_eq(wr(0xc0000080, 0x1000), GUEST_MSR_INVALID); // SVME
    table[4].edx = 0;
    guest_cpuid_set(&cpuid, table, 6);
    ck_assert_int_eq(wr(0xc0000080, 0x901), GUEST_MSR_INVALID);
    ck_assert_int_eq(guest_msr_write(&msrs, 0xc0000080, 0x901, true), 0);
    table[4].edx = 1 << 11 | 1 << 20 | 1 << 27 | 1 << 29;
}
END_TEST

START_TEST(memory_types) {
    start();
    ck_assert_int_eq(wr(0x277, 0x0007040600070406), 0);
    ck_assert_int_eq(wr(0x277, 0x02), GUEST_MSR_INVALID);
    ck_assert_int_eq(wr(0x2ff, 0xc06), 0);
    ck_assert_int_eq(wr(0x2ff, 0x1000), GUEST_MSR_INVALID);
    ck_assert_int_eq(wr(0x2ff, 3), GUEST_MSR_INVALID);
    ck_assert_uint_eq(rd(0xfe), 0x508);
    ck_assert_int_eq(wr(0xfe, 0), GUEST_MSR_INVALID);
    ck_assert_int_eq(wr(0x200, 0xc0000006), 0);
    ck_assert_int_eq(wr(0x201, 0xffc0000800), 0);
    ck_assert_int_eq(wr(0x201, 0x10000000800), GUEST_MSR_INVALID); // above 40 bits
    ck_assert_int_eq(wr(0x20f, 0x800), 0);
    ck_assert_uint_eq(rd(0x20f), 0x800);
    ck_assert_int_eq(wr(0x210, 0), GUEST_MSR_UNKNOWN);
    ck_assert_int_eq(wr(0x26f, 0x0505050505050505), 0);
    ck_assert_int_eq(wr(0x268, 0x0606060606060606), 0);
    ck_assert_int_eq(wr(0x250, 0x0707070707070707), GUEST_MSR_INVALID);
    ck_assert_uint_eq(rd(0x26f), 0x0505050505050505);
    ck_assert_uint_eq(rd(0x268), 0x0606060606060606);
    ck_assert_uint_eq(rd(0x259), 0);
}
END_TEST

START_TEST(time_stamp_counter) {
    start();
    ck_assert_int_eq(wr(0x10, 5000), 0);
    ck_assert_uint_eq(tsc, 5000);
    ck_assert_uint_eq(rd(0x3b), (uint64_t)(5000 - 1000000));
    ck_assert_int_eq(wr(0x3b, 0), 0);
    ck_assert_uint_eq(tsc, 1000000);
    ck_assert_int_eq(guest_msr_write(&msrs, 0x3b, 77, true), 0);
    ck_assert_uint_eq(tsc, 1000000); // restoring moves nothing
    ck_assert_int_eq(guest_msr_write(&msrs, 0x10, 42, true), 0);
    ck_assert_uint_eq(rd(0x3b), 77);
    ck_assert_uint_eq(rd(0x10), 42);
}
END_TEST

START_TEST(tsc_deadline) {
    uint32_t lvt = 0x40030, svr = 0x1ff;
    start();
    lapic_mmio_write(&lapic, LAPIC_SVR, 4, &svr);
    lapic_mmio_write(&lapic, LAPIC_LVT_TIMER, 4, &lvt);
    ck_assert_int_eq(wr(0x6e0, tsc + 1000), 0);
    ck_assert_uint_eq(lapic.timer_deadline_ns, 2000);
    ck_assert_uint_eq(rd(0x6e0), tsc + 1000);
}
END_TEST

START_TEST(apic_base_and_x2apic) {
    uint64_t value;
    start();
    ck_assert_uint_eq(rd(0x1b), 0xfee00900);
    ck_assert_int_eq(guest_msr_read(&msrs, 0x802, &value, false), -1);
    ck_assert_int_eq(wr(0x1b, 0xfee00d00), 0);
    ck_assert_int_eq(changes, 1);
    ck_assert_uint_eq(rd(0x802), 0);
    ck_assert_int_eq(wr(0x808, 0x20), 0);
    ck_assert_uint_eq(lapic_get_cr8(&lapic), 2);
    msrs.lapic = NULL;
    ck_assert_int_eq(guest_msr_read(&msrs, 0x802, &value, false), GUEST_MSR_UNKNOWN);
    ck_assert_int_eq(wr(0x1b, 0xfee00800), 0);
    ck_assert_int_eq(wr(0x1b, 1ull << 41), GUEST_MSR_INVALID);
}
END_TEST

START_TEST(speculation) {
    start();
    ck_assert_int_eq(wr(0x48, 7), 0); // SPEC_CTRL gives STIBP, SSBD is there
    ck_assert_int_eq(wr(0x48, 8), GUEST_MSR_INVALID);
    ck_assert_int_eq(wr(0x49, 1), 0);
    ck_assert_int_eq(wr(0x49, 2), GUEST_MSR_INVALID);
    ck_assert_int_eq(wr(0x10b, 1), 0);
    ck_assert_int_eq(commands, 2);
    uint64_t value;
    ck_assert_int_eq(guest_msr_read(&msrs, 0x49, &value, false), GUEST_MSR_INVALID);
    table[2].edx = 0;
    ck_assert_int_eq(wr(0x48, 0), GUEST_MSR_INVALID);
    ck_assert_int_eq(wr(0x49, 1), GUEST_MSR_INVALID);
    table[5].ebx = 1u << 12 | 1u << 14; // as AMD says it: IBPB, IBRS
    ck_assert_int_eq(wr(0x48, 1), 0);
    ck_assert_int_eq(wr(0x48, 2), GUEST_MSR_INVALID);
    ck_assert_int_eq(wr(0x49, 1), 0);
    table[5].ebx = 0;
    table[2].edx = 1u << 26 | 1u << 28 | 1u << 31;
}
END_TEST

START_TEST(machine_check) {
    start();
    ck_assert_int_eq(guest_msrs_setup_mce(&msrs, 0), -EINVAL);
    ck_assert_int_eq(guest_msrs_setup_mce(&msrs, 33), -EINVAL);
    ck_assert_int_eq(guest_msrs_setup_mce(&msrs, 0x100010a), 0);
    ck_assert_uint_eq(rd(0x179), 0x100010a);
    ck_assert_uint_eq(rd(0x17b), UINT64_MAX);
    ck_assert_int_eq(wr(0x17b, 5), GUEST_MSR_INVALID);
    ck_assert_uint_eq(rd(0x400), UINT64_MAX);
    ck_assert_int_eq(wr(0x400, 7), GUEST_MSR_INVALID);
    ck_assert_int_eq(wr(0x401, 7), GUEST_MSR_INVALID);
    ck_assert_int_eq(guest_msr_write(&msrs, 0x401, 7, true), 0);
    ck_assert_uint_eq(rd(0x401), 7);
    ck_assert_int_eq(wr(0x401, 0), 0);
    ck_assert_int_eq(wr(0x428, 0), GUEST_MSR_INVALID); // bank 10 of 10
    ck_assert_int_eq(wr(0x280, 0), GUEST_MSR_INVALID); // no CMCI
    ck_assert_int_eq(guest_msrs_setup_mce(&msrs, 0x100050a), 0);
    ck_assert_int_eq(wr(0x280, 1u << 30), 0);
    ck_assert_uint_eq(rd(0x280), 1u << 30);
}
END_TEST

START_TEST(paravirtual_clock) {
    start();
    ck_assert_int_eq(wr(0x4b564d01, 0x5001), 0);
    ck_assert_uint_eq(written, 0x5001);
    ck_assert_uint_eq(rd(0x12), 0x5001);
    ck_assert_int_eq(wr(0x11, 0x6000), 0);
    ck_assert_uint_eq(written_index, 0x11);
    ck_assert_uint_eq(rd(0x4b564d00), 0x6000);
    msrs.enforce_pv_features = true;
    ck_assert_int_eq(wr(0x4b564d01, 0), GUEST_MSR_INVALID);
}
END_TEST

START_TEST(paravirtual_features) {
    static const uint32_t indices[] = {0x11, 0x12, 0x4b564d00, 0x4b564d01, 0x4b564d03, 0x4b564d05};
    start();
    ck_assert_int_eq(wr(0x4b564d03, 0x8000 | 2), GUEST_MSR_INVALID); // stolen time: 64 bytes
    ck_assert_int_eq(wr(0x4b564d03, 0x8000 | 1), 0);
    ck_assert_uint_eq(rd(0x4b564d03), 0x8001);
    ck_assert_int_eq(wr(0x4b564d04, 0x9002 | 1), GUEST_MSR_INVALID); // EOI: 4 bytes
    ck_assert_int_eq(wr(0x4b564d04, 0x9004 | 1), 0);
    ck_assert_uint_eq(written_index, 0x4b564d04);
    ck_assert_uint_eq(rd(0x4b564d05), 1); // the host may poll
    ck_assert_int_eq(wr(0x4b564d05, 2), GUEST_MSR_INVALID);
    ck_assert_int_eq(wr(0x4b564d05, 0), 0);
    msrs.enforce_pv_features = true; // and no feature in CPUID
    for (size_t i = 0; i < sizeof indices / sizeof indices[0]; i++) {
        uint64_t value;
        ck_assert_int_eq(guest_msr_read(&msrs, indices[i], &value, false), GUEST_MSR_INVALID);
        ck_assert_int_eq(wr(indices[i], 0), GUEST_MSR_INVALID);
        ck_assert_int_eq(guest_msr_write(&msrs, indices[i], 0, true), 0);
    }
}
END_TEST

START_TEST(amd_configuration) {
    start();
    ck_assert_uint_eq(rd(0xc0010010), 0);
    ck_assert_int_eq(wr(0xc0010010, 0), GUEST_MSR_INVALID);
    ck_assert_int_eq(wr(0xc001001f, 1ull << 46), 0);
    ck_assert_uint_eq(rd(0xc001001f), 0);
    ck_assert_int_eq(wr(0xc0010015, 1u << 18 | 1u << 3), 0);
    ck_assert_uint_eq(rd(0xc0010015), 1u << 18);
    ck_assert_int_eq(wr(0xc0010015, 1u << 4), GUEST_MSR_INVALID);
    ck_assert_uint_eq(rd(0xc001102a), 0);
    ck_assert_int_eq(wr(0xc0011030, 0), GUEST_MSR_UNKNOWN);
}
END_TEST

START_TEST(platform) {
    start();
    ck_assert_int_eq(wr(0x140, 1), GUEST_MSR_INVALID);
    ck_assert_int_eq(wr(0xce, 1u << 31), GUEST_MSR_INVALID);
    ck_assert_int_eq(guest_msr_write(&msrs, 0xce, 1u << 31, true), 0);
    ck_assert_int_eq(wr(0x140, 1), 0);
    ck_assert_int_eq(wr(0x140, 2), GUEST_MSR_INVALID);
    ck_assert_int_eq(guest_msr_write(&msrs, 0xce, 0, true), GUEST_MSR_INVALID);
    ck_assert_int_eq(wr(0x8b, 0), 0);
    ck_assert_uint_eq(rd(0x8b), 1ull << 32);
    ck_assert_int_eq(wr(0x1a0, 0), 0);
    ck_assert_uint_eq(rd(0x1a0), 0x1800);
    ck_assert_int_eq(wr(0x3a, 5), GUEST_MSR_INVALID); // no VMX to enable
    ck_assert_int_eq(wr(0x3a, 1), 0);
    ck_assert_int_eq(wr(0x3a, 0), GUEST_MSR_INVALID); // locked
    ck_assert_int_eq(wr(0xda0, 0x100), 0);
    ck_assert_int_eq(wr(0xda0, 0x200), GUEST_MSR_INVALID);
    ck_assert_int_eq(wr(0x1d9, 3), 0);
    ck_assert_uint_eq(rd(0x1d9), 0);
    ck_assert_int_eq(wr(0x1d9, 4), GUEST_MSR_INVALID);
    ck_assert_int_eq(wr(0x186, 0x1234), 0);
    ck_assert_uint_eq(rd(0x186), 0);
    uint64_t value;
    ck_assert_int_eq(guest_msr_read(&msrs, 0x10a, &value, false), GUEST_MSR_INVALID);
    ck_assert_int_eq(guest_msr_read(&msrs, 0x10a, &value, true), 0);
}
END_TEST

static uint64_t all_ones(uint32_t index) {
    (void)index;
    return UINT64_MAX;
}

static bool only_writes_of_xss(struct guest_msrs *of, uint32_t index, bool write) {
    ck_assert_ptr_eq(of, &msrs);
    return index != 0x174 && (index != 0xda0 || write);
}

START_TEST(filter) {
    uint64_t value;
    start();
    msrs.filter = only_writes_of_xss;
    ck_assert_int_eq(guest_msr_read(&msrs, 0x174, &value, false), GUEST_MSR_FILTERED);
    ck_assert_int_eq(wr(0x174, 8), GUEST_MSR_FILTERED);
    ck_assert_int_eq(guest_msr_write(&msrs, 0x174, 8, true), 0); // user space is not filtered
    ck_assert_int_eq(guest_msr_read(&msrs, 0xda0, &value, false), GUEST_MSR_FILTERED);
    ck_assert_int_ne(wr(0xda0, 0), GUEST_MSR_FILTERED);
    msrs.filter = NULL;
    ck_assert_uint_eq(rd(0x174), 8);
}
END_TEST

START_TEST(platform_info_can_be_hidden) {
    uint64_t value;
    start();
    msrs.platform_info_hidden = true;
    ck_assert_int_eq(guest_msr_read(&msrs, 0xce, &value, false), GUEST_MSR_INVALID);
    ck_assert_int_eq(guest_msr_read(&msrs, 0xce, &value, true), 0);
}
END_TEST

START_TEST(features) {
    uint64_t value;
    for (uint32_t i = 0; i < GUEST_MSR_FEATURES; i++)
        ck_assert_int_eq(guest_msr_feature(guest_msr_feature_list[i], all_ones, &value), 0);
    guest_msr_feature(0x10a, all_ones, &value);
    ck_assert_uint_eq(value & (1 << 7), 0); // TSX_CTRL
    ck_assert_uint_eq(value & 1, 1);
    ck_assert_int_eq(guest_msr_feature(0x10, all_ones, &value), GUEST_MSR_UNKNOWN);
}
END_TEST

Suite *msr_suite(void) {
    Suite *suite = suite_create("msr");
    TCase *tests = tcase_create("msr");
    tcase_add_test(tests, every_listed_msr_reads_and_writes_back);
    tcase_add_test(tests, unknown);
    tcase_add_test(tests, amd_configuration);
    tcase_add_test(tests, canonical_and_reserved);
    tcase_add_test(tests, efer);
    tcase_add_test(tests, memory_types);
    tcase_add_test(tests, time_stamp_counter);
    tcase_add_test(tests, tsc_deadline);
    tcase_add_test(tests, apic_base_and_x2apic);
    tcase_add_test(tests, speculation);
    tcase_add_test(tests, machine_check);
    tcase_add_test(tests, paravirtual_clock);
    tcase_add_test(tests, paravirtual_features);
    tcase_add_test(tests, platform);
    tcase_add_test(tests, features);
    tcase_add_test(tests, filter);
    tcase_add_test(tests, platform_info_can_be_hidden);
    suite_add_tcase(suite, tests);
    return suite;
}
