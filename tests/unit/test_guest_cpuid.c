// SPDX-License-Identifier: BSD-2-Clause
// What CPUID offers guests, and a vCPU's own table.
// Sources: arch/x86/guest/cpuid.c arch/x86/guest/cpuid_supported.c
#include <asm/errno.h>
#include <check.h>
#include <string.h>
#include "arch/x86/guest/cpuid.h"

// A host with everything, so that what is missing afterwards was taken away.
static struct cpuid_regs everything(uint32_t leaf, uint32_t subleaf) {
    struct cpuid_regs regs = {~0u, ~0u, ~0u, ~0u};
    switch (leaf) {
    case 0:
        regs = (struct cpuid_regs){0x20, 0, 0, 0};
        memcpy(&regs.ebx, "Genu", 4);
        memcpy(&regs.edx, "ineI", 4);
        memcpy(&regs.ecx, "ntel", 4);
        break;
    case 4:
        regs = (struct cpuid_regs){subleaf < 3 ? 0x121 + subleaf : 0, 1, 2, 3};
        break;
    case 0xd:
        regs = (struct cpuid_regs){0, 0, 0, 0};
        if (subleaf == 0)
            regs = (struct cpuid_regs){0x602e7, 0xa88, 0x2b00, 0};
        else if (subleaf == 1)
            regs = (struct cpuid_regs){0x1f, 0x500, 0x100, 0};
        else if (subleaf == 2)
            regs = (struct cpuid_regs){256, 576, 0, 0};
        else if (subleaf == 5)
            regs = (struct cpuid_regs){64, 1088, 0, 0};
        else if (subleaf == 6)
            regs = (struct cpuid_regs){512, 1152, 0, 0};
        else if (subleaf == 7)
            regs = (struct cpuid_regs){1024, 1664, 0, 0};
        else if (subleaf == 8)
            regs = (struct cpuid_regs){128, 0, 1, 0};
        else if (subleaf == 9)
            regs = (struct cpuid_regs){8, 2688, 2, 0};
        break;
    case 0x80000000:
        regs.eax = 0x80000021;
        break;
    case 0x80000008:
        regs.eax = 0x3027;
        regs.ebx = UINT32_MAX;
        break;
    }
    return regs;
}

static struct kvm_cpuid_entry2 entries[CPUID_MAX_ENTRIES];
static uint32_t count;
static struct guest_cpuid cpuid;

static struct cpuid_host rich_host(void) {
    return (struct cpuid_host){.read = everything,
                               .xcr0 = 0x602e7,
                               .xss = 0x100,
                               .rdtscp = true,
                               .invpcid = true,
                               .xsaves = true,
                               .compacts = true,
                               .spec_ctrl = true,
                               .x2apic_emulated = true,
                               .tsc_stable = true};
}

static void offer(struct cpuid_host host) {
    count = CPUID_MAX_ENTRIES;
    ck_assert_int_eq(cpuid_supported(&host, entries, &count), 0);
    ck_assert_int_eq(guest_cpuid_check(entries, count), 0);
    guest_cpuid_set(&cpuid, entries, count);
}

START_TEST(too_small_a_buffer) {
    struct cpuid_host host = rich_host();
    uint32_t room = 3, all = CPUID_MAX_ENTRIES;
    cpuid_supported(&host, entries, &all);
    ck_assert_int_eq(cpuid_supported(&host, entries, &room), -E2BIG);
    ck_assert_uint_eq(room, all);
}
END_TEST

START_TEST(hidden_features) {
    static const uint64_t hidden[] = {
        CPUID_FEATURE(1, 0, CPUID_ECX, 5),          // VMX
        CPUID_FEATURE(1, 0, CPUID_ECX, 3),          // MONITOR
        CPUID_FEATURE(7, 0, CPUID_EBX, 14),         // MPX
        CPUID_FEATURE(7, 0, CPUID_EBX, 25),         // PT
        CPUID_FEATURE(7, 0, CPUID_EBX, 2),          // SGX
        CPUID_FEATURE(7, 0, CPUID_EDX, 24),         // AMX
        CPUID_FEATURE(7, 0, CPUID_ECX, 5),          // WAITPKG, without the control
        CPUID_FEATURE(7, 0, CPUID_EDX, 18),         // PCONFIG
        CPUID_FEATURE(0x80000001, 0, CPUID_ECX, 2), // SVM
        CPUID_FEATURE(0xd, 1, CPUID_EAX, 4),        // XFD
        CPUID_OSXSAVE,
    };
    offer(rich_host());
    for (unsigned i = 0; i < sizeof hidden / sizeof hidden[0]; i++)
        ck_assert_msg(!guest_cpuid_has(&cpuid, hidden[i]), "feature %u", i);
    static const uint64_t shown[] = {CPUID_X2APIC,     CPUID_TSC_DEADLINE,
                                     CPUID_XSAVE,      CPUID_SMEP,
                                     CPUID_TSC_ADJUST, CPUID_PKU,
                                     CPUID_XSAVES,     CPUID_NX,
                                     CPUID_LM,         CPUID_RDTSCP,
                                     CPUID_SPEC_CTRL,  CPUID_INVPCID,
                                     CPUID_AMD_IBRS,   CPUID_FEATURE(1, 0, CPUID_ECX, 31)};
    for (unsigned i = 0; i < sizeof shown / sizeof shown[0]; i++)
        ck_assert_msg(guest_cpuid_has(&cpuid, shown[i]), "feature %u", i);
    struct cpuid_regs regs;
    guest_cpuid_query(&cpuid, 0xa, 0, &regs);
    ck_assert_uint_eq(regs.eax | regs.ebx | regs.ecx | regs.edx, 0);
}
END_TEST

START_TEST(features_follow_controls) {
    struct cpuid_host host = rich_host();
    host.rdtscp = host.invpcid = host.spec_ctrl = host.xsaves = host.x2apic_emulated = false;
    host.xcr0 = 3;
    offer(host);
    static const uint64_t gone[] = {CPUID_RDTSCP,
                                    CPUID_INVPCID,
                                    CPUID_SPEC_CTRL,
                                    CPUID_XSAVES,
                                    CPUID_X2APIC,
                                    CPUID_TSC_DEADLINE,
                                    CPUID_PKU,
                                    CPUID_SSBD,
                                    CPUID_AMD_IBPB,
                                    CPUID_AMD_IBRS,
                                    CPUID_FEATURE(1, 0, CPUID_ECX, 28),  // AVX
                                    CPUID_FEATURE(7, 0, CPUID_EBX, 5),   // AVX2
                                    CPUID_FEATURE(7, 0, CPUID_EBX, 16)}; // AVX512F
    for (unsigned i = 0; i < sizeof gone / sizeof gone[0]; i++)
        ck_assert_msg(!guest_cpuid_has(&cpuid, gone[i]), "feature %u", i);
    ck_assert_uint_eq(cpuid.xcr0_allowed, 3);
}
END_TEST

static uint32_t compacted_size;

static struct cpuid_regs read_with_size(uint32_t leaf, uint32_t subleaf) {
    struct cpuid_regs regs = everything(leaf, subleaf);
    if (leaf == 0xd && subleaf == 1)
        regs.ebx = compacted_size;
    return regs;
}

START_TEST(a_wrong_compacted_format_is_hidden) {
    struct cpuid_host host = rich_host();
    compacted_size = 576 + 256 + 64 + 512 + 1024;
    ck_assert(cpuid_compacts(read_with_size, 0xe7));
    compacted_size += 256; // Bochs
    ck_assert(!cpuid_compacts(read_with_size, 0xe7));
    host.compacts = false;
    offer(host);
    ck_assert(!guest_cpuid_has(&cpuid, CPUID_XSAVES));
    ck_assert(!guest_cpuid_has(&cpuid, CPUID_FEATURE(0xd, 1, CPUID_EAX, 1)));
    ck_assert(guest_cpuid_has(&cpuid, CPUID_FEATURE(0xd, 1, CPUID_EAX, 0))); // XSAVEOPT
    ck_assert_uint_eq(cpuid.xss_allowed, 0);
}
END_TEST

START_TEST(xsave_leaf) {
    struct cpuid_regs regs;
    offer(rich_host());
    ck_assert_uint_eq(cpuid.xcr0_allowed, 0x2e7);
    ck_assert_uint_eq(cpuid.xss_allowed, 0x100);
    guest_cpuid_query(&cpuid, 0xd, 0, &regs);
    ck_assert_uint_eq(regs.ecx, 2696);
    struct cpuid_dynamic dynamic = {.xcr0 = 1};
    guest_cpuid_update(&cpuid, &dynamic);
    guest_cpuid_query(&cpuid, 0xd, 0, &regs);
    ck_assert_uint_eq(regs.ebx, 576);
    ck_assert_uint_eq(regs.ecx, 2696);
    dynamic.xcr0 = 7;
    dynamic.xss = 0x100;
    guest_cpuid_update(&cpuid, &dynamic);
    guest_cpuid_query(&cpuid, 0xd, 0, &regs);
    ck_assert_uint_eq(regs.ebx, 832);
    guest_cpuid_query(&cpuid, 0xd, 1, &regs);
    ck_assert_uint_eq(regs.ebx, 576 + 256 + 128);
    dynamic.xcr0 = 0x2e7;
    guest_cpuid_update(&cpuid, &dynamic);
    guest_cpuid_query(&cpuid, 0xd, 1, &regs);
    // PKRU is aligned to 64 bytes in the compacted form: 576+256+64+512+1024+128 = 2560.
    ck_assert_uint_eq(regs.ebx, 2560 + 8);
    guest_cpuid_query(&cpuid, 0xd, 3, &regs);
    ck_assert_uint_eq(regs.eax, 0);
}
END_TEST

START_TEST(xcr0_rules) {
    offer(rich_host());
    ck_assert(guest_cpuid_xcr0_valid(&cpuid, 1) && guest_cpuid_xcr0_valid(&cpuid, 7));
    ck_assert(guest_cpuid_xcr0_valid(&cpuid, 0xe7));
    ck_assert(!guest_cpuid_xcr0_valid(&cpuid, 0) && !guest_cpuid_xcr0_valid(&cpuid, 5));
    ck_assert(!guest_cpuid_xcr0_valid(&cpuid, 0x27) && !guest_cpuid_xcr0_valid(&cpuid, 0xe3));
    ck_assert(!guest_cpuid_xcr0_valid(&cpuid, 0x60007));
}
END_TEST

START_TEST(dynamic_bits) {
    struct cpuid_dynamic dynamic = {.cr4 = 1 << 18 | 1 << 22, .xcr0 = 1, .apic_base = 0x800};
    offer(rich_host());
    guest_cpuid_update(&cpuid, &dynamic);
    ck_assert(guest_cpuid_has(&cpuid, CPUID_OSXSAVE));
    ck_assert(guest_cpuid_has(&cpuid, CPUID_FEATURE(7, 0, CPUID_ECX, 4)));
    ck_assert(guest_cpuid_has(&cpuid, CPUID_FEATURE(1, 0, CPUID_EDX, 9)));
    dynamic.cr4 = dynamic.apic_base = 0;
    guest_cpuid_update(&cpuid, &dynamic);
    ck_assert(!guest_cpuid_has(&cpuid, CPUID_OSXSAVE));
    ck_assert(!guest_cpuid_has(&cpuid, CPUID_FEATURE(7, 0, CPUID_ECX, 4)));
    ck_assert(!guest_cpuid_has(&cpuid, CPUID_FEATURE(1, 0, CPUID_EDX, 9)));
}
END_TEST

START_TEST(out_of_range_leaves) {
    struct cpuid_regs regs, highest;
    offer(rich_host());
    guest_cpuid_query(&cpuid, cpuid.max_basic, 0, &highest);
    static const uint32_t beyond[] = {0x20,       0x12345,    0x3fffffff, 0x40000002,
                                      0x80000009, 0x8fffffff, 0xffffffff};
    for (unsigned i = 0; i < sizeof beyond / sizeof beyond[0]; i++) {
        guest_cpuid_query(&cpuid, beyond[i], 0, &regs);
        ck_assert_mem_eq(&regs, &highest, sizeof regs);
    }
    entries[0].ebx = 0x68747541; // AuthenticAMD: zeros instead
    entries[0].edx = 0x69746e65;
    entries[0].ecx = 0x444d4163;
    guest_cpuid_set(&cpuid, entries, count);
    guest_cpuid_query(&cpuid, 0x12345, 0, &regs);
    ck_assert_uint_eq(regs.eax | regs.ebx | regs.ecx | regs.edx, 0);
}
END_TEST

START_TEST(redirect_reaches_data) {
    struct kvm_cpuid_entry2 table[] = {{.function = 0, .eax = 2},
                                       {.function = 2, .eax = 0xabcd},
                                       {.function = 0x80000000, .eax = 0x80000001}};
    struct cpuid_regs regs;
    guest_cpuid_set(&cpuid, table, 3);
    guest_cpuid_query(&cpuid, 3, 0, &regs);
    ck_assert_uint_eq(regs.eax, 0xabcd);
    guest_cpuid_query(&cpuid, 1, 0, &regs); // in range, not given: zeros
    ck_assert_uint_eq(regs.eax, 0);
    guest_cpuid_query(&cpuid, 0x80000001, 0, &regs);
    ck_assert_uint_eq(regs.eax, 0);
    guest_cpuid_query(&cpuid, 0x80000002, 0, &regs);
    ck_assert_uint_eq(regs.eax, 0xabcd);
}
END_TEST

START_TEST(kvm_leaves) {
    struct cpuid_regs regs;
    offer(rich_host());
    guest_cpuid_query(&cpuid, 0x40000000, 0, &regs);
    ck_assert_uint_eq(regs.eax, 0x40000001);
    ck_assert_mem_eq(&regs.ebx, "KVMKVMKVM\0\0\0", 12);
    ck_assert_uint_eq(cpuid.kvm_features, 0x01003aeb);
    for (uint32_t i = 0; i < count; i++) // as a VMM with Hyper-V leaves does
        if (entries[i].function >> 28 == 4)
            entries[i].function += 0x100;
    guest_cpuid_set(&cpuid, entries, count);
    ck_assert_uint_eq(cpuid.kvm_features, 0x01003aeb);
}
END_TEST

START_TEST(keeps_the_order_given) {
    struct kvm_cpuid_entry2 table[] = {
        {.function = 4, .index = 1, .flags = 1, .eax = 41},
        {.function = 0x80000001, .edx = 1 << 29},
        {.function = 4, .index = 0, .flags = 1, .eax = 40},
        {.function = 1, .eax = 7},
        {.function = 1, .eax = 8},
    };
    struct cpuid_regs regs;
    guest_cpuid_set(&cpuid, table, 5);
    ck_assert_uint_eq(table[0].eax, 41);
    guest_cpuid_query(&cpuid, 4, 0, &regs);
    ck_assert_uint_eq(regs.eax, 40);
    guest_cpuid_query(&cpuid, 1, 55, &regs); // no significant index; the first counts
    ck_assert_uint_eq(regs.eax, 7);
    ck_assert_ptr_null(guest_cpuid_find(&cpuid, 4, 2));
}
END_TEST

START_TEST(control_bits) {
    struct kvm_cpuid_entry2 table[] = {{.function = 1, .ecx = 1 << 26}};
    guest_cpuid_set(&cpuid, NULL, 0);
    ck_assert_uint_eq(cpuid.cr4_allowed, UINT64_MAX);
    guest_cpuid_set(&cpuid, table, 1);
    ck_assert_uint_eq(cpuid.cr4_allowed, 0x7ff | 1 << 18);
    ck_assert_uint_eq(cpuid.efer_allowed, 1);
    offer(rich_host());
    ck_assert_uint_eq(cpuid.efer_allowed, 0xd01);
    ck_assert_uint_eq(cpuid.cr4_allowed & (1 << 13), 0); // VMXE
    ck_assert_uint_eq(cpuid.physical_bits, 0x27);
}
END_TEST

START_TEST(bad_tables) {
    struct kvm_cpuid_entry2 table[] = {{.function = 0x80000008, .eax = 0x2b28}};
    ck_assert_int_eq(guest_cpuid_check(table, 1), -EINVAL);
    table[0].eax = 0x3928;
    ck_assert_int_eq(guest_cpuid_check(table, 1), 0);
    ck_assert_int_eq(guest_cpuid_check(table, CPUID_MAX_ENTRIES + 1), -E2BIG);
}
END_TEST

Suite *guest_cpuid_suite(void) {
    Suite *suite = suite_create("guest_cpuid");
    TCase *tests = tcase_create("guest_cpuid");
    tcase_add_test(tests, too_small_a_buffer);
    tcase_add_test(tests, hidden_features);
    tcase_add_test(tests, features_follow_controls);
    tcase_add_test(tests, a_wrong_compacted_format_is_hidden);
    tcase_add_test(tests, xsave_leaf);
    tcase_add_test(tests, xcr0_rules);
    tcase_add_test(tests, dynamic_bits);
    tcase_add_test(tests, out_of_range_leaves);
    tcase_add_test(tests, redirect_reaches_data);
    tcase_add_test(tests, kvm_leaves);
    tcase_add_test(tests, keeps_the_order_given);
    tcase_add_test(tests, control_bits);
    tcase_add_test(tests, bad_tables);
    suite_add_tcase(suite, tests);
    return suite;
}
