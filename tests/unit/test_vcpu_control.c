// SPDX-License-Identifier: BSD-2-Clause
// What KVM_SET_SREGS and MOV to a control register accept.
#include "arch/x86/guest/vcpu_control.h"
#include <asm/processor-flags.h>
#include <check.h>
#include <string.h>
#include "arch/x86/virt.h"

#define EFER_LME (1ull << 8)
#define EFER_LMA (1ull << 10)
#define PAGING   (X86_CR0_PE | X86_CR0_PG)

uint64_t virt_supported_cr4;

static struct virt_vcpu vcpu;

static void set_up(void) {
    memset(&vcpu, 0, sizeof(vcpu));
    virt_supported_cr4 = X86_CR4_PAE | X86_CR4_PGE | X86_CR4_PCIDE | X86_CR4_SMEP;
}

static struct kvm_sregs long_mode(void) {
    struct kvm_sregs sregs = {.cr0 = PAGING, .cr4 = X86_CR4_PAE, .efer = EFER_LME | EFER_LMA};
    sregs.cs.l = 1;
    return sregs;
}

START_TEST(long_mode_needs_its_parts) {
    struct kvm_sregs sregs = long_mode();
    ck_assert(vcpu_sregs_valid(&vcpu, &sregs));
    sregs.cr4 = 0;
    ck_assert(!vcpu_sregs_valid(&vcpu, &sregs));
    sregs = long_mode();
    sregs.efer = EFER_LME;
    ck_assert(!vcpu_sregs_valid(&vcpu, &sregs));
    sregs = long_mode();
    sregs.cr3 = 1ull << 36; // no CPUID: 36 bits
    ck_assert(!vcpu_sregs_valid(&vcpu, &sregs));
    sregs = long_mode();
    sregs.cr0 = X86_CR0_PE; // LMA and CS.L without paging
    ck_assert(!vcpu_sregs_valid(&vcpu, &sregs));
}
END_TEST

START_TEST(cr4_is_bounded_by_cpuid) {
    struct kvm_sregs sregs = {.cr4 = X86_CR4_SMEP};
    ck_assert(vcpu_sregs_valid(&vcpu, &sregs));
    sregs.cr4 = X86_CR4_SMAP;
    ck_assert(!vcpu_sregs_valid(&vcpu, &sregs));
    vcpu.cpuid.count = 1;
    vcpu.cpuid.cr4_allowed = X86_CR4_PAE | X86_CR4_SMAP;
    ck_assert_uint_eq(vcpu_cr4_allowed(&vcpu), X86_CR4_PAE);
    sregs.cr4 = X86_CR4_SMEP;
    ck_assert(!vcpu_sregs_valid(&vcpu, &sregs));
}
END_TEST

START_TEST(cr0_combinations) {
    struct kvm_sregs sregs = {.cr0 = X86_CR0_PG};
    ck_assert(!vcpu_sregs_valid(&vcpu, &sregs));
    sregs.cr0 = X86_CR0_NW;
    ck_assert(!vcpu_sregs_valid(&vcpu, &sregs));
    sregs.cr0 = X86_CR0_NW | X86_CR0_CD;
    ck_assert(vcpu_sregs_valid(&vcpu, &sregs));
    sregs.cr0 = 1ull << 32;
    ck_assert(!vcpu_sregs_valid(&vcpu, &sregs));
}
END_TEST

START_TEST(moves_to_cr0) {
    const uint64_t pe = X86_CR0_PE;
    ck_assert(vcpu_cr0_move_valid(pe, PAGING, X86_CR4_PAE, EFER_LME, false));
    ck_assert(!vcpu_cr0_move_valid(pe, PAGING, 0, EFER_LME, false));
    ck_assert(!vcpu_cr0_move_valid(pe, PAGING, X86_CR4_PAE, EFER_LME, true));
    ck_assert(vcpu_cr0_move_valid(pe, PAGING, 0, 0, false));
    ck_assert(!vcpu_cr0_move_valid(PAGING, pe, X86_CR4_PCIDE, EFER_LME | EFER_LMA, false));
    ck_assert(vcpu_cr0_move_valid(PAGING, pe, X86_CR4_PAE, EFER_LME | EFER_LMA, false));
}
END_TEST

START_TEST(moves_to_cr4) {
    const uint64_t lm = EFER_LME | EFER_LMA, pae = X86_CR4_PAE;
    ck_assert(!vcpu_cr4_move_valid(pae, 0, 0, lm));
    ck_assert(vcpu_cr4_move_valid(pae, 0, 0, 0));
    ck_assert(!vcpu_cr4_move_valid(pae, pae | X86_CR4_LA57, 0, lm));
    ck_assert(vcpu_cr4_move_valid(pae, pae | X86_CR4_PCIDE, 0x1000, lm));
    ck_assert(!vcpu_cr4_move_valid(pae, pae | X86_CR4_PCIDE, 0x1001, lm));
    ck_assert(!vcpu_cr4_move_valid(pae, pae | X86_CR4_PCIDE, 0x1000, 0));
}
END_TEST

START_TEST(pdptes) {
    ck_assert(vcpu_pdpte_valid(&vcpu, 0x1001));
    ck_assert(vcpu_pdpte_valid(&vcpu, 0xe19)); // PWT, PCD and the ignored bits
    ck_assert(!vcpu_pdpte_valid(&vcpu, 0x1003));
    ck_assert(!vcpu_pdpte_valid(&vcpu, 0x1081));
    ck_assert(!vcpu_pdpte_valid(&vcpu, 1ull << 36 | 1));
}
END_TEST

Suite *vcpu_control_suite(void) {
    Suite *suite = suite_create("vcpu_control");
    TCase *tests = tcase_create("vcpu_control");
    tcase_add_checked_fixture(tests, set_up, NULL);
    tcase_add_test(tests, long_mode_needs_its_parts);
    tcase_add_test(tests, cr4_is_bounded_by_cpuid);
    tcase_add_test(tests, cr0_combinations);
    tcase_add_test(tests, moves_to_cr0);
    tcase_add_test(tests, moves_to_cr4);
    tcase_add_test(tests, pdptes);
    suite_add_tcase(suite, tests);
    return suite;
}
