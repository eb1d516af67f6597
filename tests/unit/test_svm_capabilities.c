// SPDX-License-Identifier: BSD-2-Clause
// What the SVM leaf (APM vol. 3 appendix E) says, and what a VMCB and ASIDs make of it:
// with every feature and with those of a processor that has next to none.
// Sources: arch/x86/svm/asid.c arch/x86/svm/vmcb.c
// Sources: tests/unit/fake_memory.c core/mm/page.c arch/x86/mm/page_walker.c core/format.c
#include "arch/x86/svm/capabilities.h"
#include <asm/svm.h>
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "arch/x86/svm/vcpu.h"
#include "core/mm/page.h"
#include "tests/unit/fake_memory.h"

#define SVM_LEAF 0x8000000a

static struct cpuid_regs leaves[4]; // 1, the SVM leaf, its features, 8000_0008H
static uint32_t last_extended;

static struct cpuid_regs read_leaf(uint32_t leaf, uint32_t subleaf) {
    switch (leaf) {
    case 0:
        return (struct cpuid_regs){.eax = 0xd};
    case 0x80000000:
        return (struct cpuid_regs){.eax = last_extended};
    case 1:
        return leaves[0];
    case SVM_LEAF:
        return leaves[1];
    case 0x80000001:
        return leaves[2];
    case 0x80000008:
        return leaves[3];
    default:
        return (struct cpuid_regs){0};
    }
}

static void processor(uint32_t asids, uint32_t features, uint32_t others) {
    last_extended = 0x8000001f;
    leaves[0] = (struct cpuid_regs){.ecx = others};
    leaves[1] = (struct cpuid_regs){.ebx = asids, .edx = features};
    leaves[2] = (struct cpuid_regs){.ecx = 4, .edx = others};
    leaves[3] = (struct cpuid_regs){.ebx = others};
}

static void whole_processor(void) {
    processor(32768, UINT32_MAX, UINT32_MAX);
    ck_assert_ptr_null(svm_capabilities_read(&svm, read_leaf));
}

static void bare_processor(void) {
    processor(3, 1, 0);
    ck_assert_ptr_null(svm_capabilities_read(&svm, read_leaf));
}

START_TEST(describes_what_is_there) {
    char text[256];
    whole_processor();
    svm_capabilities_describe(&svm, text, sizeof(text));
    ck_assert_str_eq(text, "nested paging, 32768 ASIDs, flush by ASID, next RIP, decode assists, "
                           "VMCB clean bits, TSC ratio, PAUSE filter, virtual NMI");
    bare_processor();
    svm_capabilities_describe(&svm, text, sizeof(text));
    ck_assert_str_eq(text, "nested paging, 3 ASIDs");
}
END_TEST

// Each bit of the SVM leaf alone (APM vol. 3 E.4.9).
static const struct {
    unsigned bit;
    size_t flag;
} bits[] = {
    {3, offsetof(struct svm_capabilities, next_rip)},
    {4, offsetof(struct svm_capabilities, tsc_ratio)},
    {5, offsetof(struct svm_capabilities, clean_bits)},
    {6, offsetof(struct svm_capabilities, flush_by_asid)},
    {7, offsetof(struct svm_capabilities, decode_assists)},
    {10, offsetof(struct svm_capabilities, pause_filter)},
    {12, offsetof(struct svm_capabilities, pause_threshold)},
    {25, offsetof(struct svm_capabilities, virtual_nmi)},
};

START_TEST(one_bit_one_feature) {
    struct svm_capabilities seen, expected = {.asids = 8};
    processor(8, 1 | 1u << bits[_i].bit, 0);
    *(bool *)((char *)&expected + bits[_i].flag) = true;
    ck_assert_ptr_null(svm_capabilities_read(&seen, read_leaf));
    ck_assert_mem_eq(&seen, &expected, sizeof(seen));
}
END_TEST

START_TEST(says_what_is_missing) {
    struct svm_capabilities c;
    processor(8, UINT32_MAX & ~1u, 0);
    ck_assert_ptr_nonnull(strstr(svm_capabilities_read(&c, read_leaf), "nested paging"));
    processor(1, UINT32_MAX, 0);
    ck_assert_ptr_nonnull(strstr(svm_capabilities_read(&c, read_leaf), "ASID"));
    processor(8, UINT32_MAX, 0);
    last_extended = 0x80000000; // nothing beyond it may be believed
    ck_assert_ptr_nonnull(strstr(svm_capabilities_read(&c, read_leaf), "nested paging"));
}
END_TEST

// -- the VMCB --

static enum exit_action handler(struct virt_vcpu *self, struct virt_exit *exit) {
    (void)self, (void)exit;
    return EXIT_RESUME;
}

const struct exit_row svm_exit_table[SVM_EXIT_ROWS] = {
    [SVM_EXIT_CPUID] = {handler, 2, true},  [SVM_EXIT_IRET] = {handler, 0, false},
    [SVM_EXIT_PAUSE] = {handler, 1, true},  [SVM_EXIT_MONITOR] = {handler, 3, true},
    [SVM_EXIT_XSETBV] = {handler, 3, true}, [SVM_EXIT_RDPRU] = {handler, 0, true},
};
uint64_t svm_msr_map, svm_msr_map_all, svm_io_map;

static struct virt_vcpu *vcpu;
static struct svm_vcpu v;

static void make_vcpu(void) {
    fake_memory_start();
    vcpu = calloc(1, sizeof(*vcpu));
    vcpu->vm = calloc(1, sizeof(*vcpu->vm));
    vcpu->irqchip = true;
    vcpu->backend = &v;
    ck_assert_int_eq(vmcb_create(vcpu), 0);
}

static void free_vcpu(void) {
    vmcb_destroy(vcpu);
    free(vcpu->vm);
    free(vcpu);
}

START_TEST(reserved_intercepts_stay_clear) {
    const unsigned featured[] = {SVM_EXIT_PAUSE, SVM_EXIT_MONITOR, SVM_EXIT_XSETBV, SVM_EXIT_RDPRU};
    if (_i)
        whole_processor();
    else
        bare_processor();
    make_vcpu();
    for (size_t i = 0; i < sizeof(featured) / sizeof(featured[0]); i++)
        ck_assert_int_eq(vmcb_intercepts(&v, featured[i]), _i);
    ck_assert(vmcb_intercepts(&v, SVM_EXIT_CPUID) && !vmcb_intercepts(&v, SVM_EXIT_IRET));
    ck_assert_int_eq(v.vmcb->pause_count != 0 && v.vmcb->pause_threshold != 0, _i);
    ck_assert_int_eq((v.vmcb->interrupt_control & V_NMI_ENABLE) != 0, _i);
    free_vcpu();
}
END_TEST

START_TEST(a_changed_intercept_is_not_clean) {
    whole_processor();
    make_vcpu();
    v.vmcb->clean = CLEAN_ALL;
    vmcb_intercept(&v, SVM_EXIT_CPUID, true);
    ck_assert_uint_eq(v.vmcb->clean, CLEAN_ALL);
    vmcb_intercept(&v, SVM_EXIT_IRET, true);
    ck_assert_uint_eq(v.vmcb->clean, CLEAN_ALL & ~CLEAN_INTERCEPTS);
    free_vcpu();
}
END_TEST

// With three ASIDs, two are the guests': the third wish begins anew with a flush of all, which
// remains due until a guest has been entered with it.
START_TEST(asids_begin_anew_with_a_flush) {
    struct svm_cpu cpu = {.asid_generation = 1, .next_asid = 3};
    bare_processor();
    make_vcpu();
    const struct {
        uint64_t generation;
        uint32_t asid;
        uint8_t flush;
        bool entered;
    } expected[] = {{2, 1, TLB_FLUSH_ALL, true},
                    {2, 2, TLB_KEEP, true},
                    {3, 1, TLB_FLUSH_ALL, false},
                    {3, 2, TLB_FLUSH_ALL, true}};
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        v.vmcb->tlb_control = TLB_KEEP; // as an exit leaves it
        v.vmcb->clean = CLEAN_ALL;
        asid_renew(&v, &cpu);
        ck_assert_uint_eq(v.vmcb->asid, expected[i].asid);
        ck_assert_uint_eq(v.asid_generation, expected[i].generation);
        ck_assert_uint_eq(v.vmcb->tlb_control, expected[i].flush);
        ck_assert_uint_eq(v.vmcb->clean, CLEAN_ALL & ~CLEAN_ASID);
        cpu.flush_all &= !expected[i].entered;
    }
    free_vcpu();
}
END_TEST

Suite *svm_capabilities_suite(void) {
    Suite *suite = suite_create("svm_capabilities");
    TCase *tests = tcase_create("svm_capabilities");
    tcase_add_test(tests, describes_what_is_there);
    tcase_add_loop_test(tests, one_bit_one_feature, 0, sizeof(bits) / sizeof(bits[0]));
    tcase_add_test(tests, says_what_is_missing);
    tcase_add_loop_test(tests, reserved_intercepts_stay_clear, 0, 2);
    tcase_add_test(tests, a_changed_intercept_is_not_clean);
    tcase_add_test(tests, asids_begin_anew_with_a_flush);
    suite_add_tcase(suite, tests);
    return suite;
}
