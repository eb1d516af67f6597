// SPDX-License-Identifier: BSD-2-Clause
// The save area of system-management mode: AMD64's layout, and nothing lost on the way back.
// Sources: arch/x86/guest/smm.c
#include <check.h>
#include <string.h>
#include "arch/x86/guest/smm.h"

static struct kvm_sregs sample(void) {
    struct kvm_sregs sregs = {.cr0 = 0x80050033, .cr3 = 0x1234000, .cr4 = 0x6b0, .efer = 0xd01};
    sregs.cs = (struct kvm_segment){.base = 0x10,
                                    .limit = 0xffffffff,
                                    .selector = 8,
                                    .type = 11,
                                    .present = 1,
                                    .dpl = 3,
                                    .s = 1,
                                    .l = 1,
                                    .g = 1};
    sregs.gs = (struct kvm_segment){.base = 0xffff888000000000, .unusable = 1};
    sregs.tr = (struct kvm_segment){.base = 0x5000, .limit = 0x67, .type = 11, .present = 1};
    sregs.gdt = (struct kvm_dtable){.base = 0xfffffe0000001000, .limit = 0x7f};
    sregs.idt = (struct kvm_dtable){.base = 0xfffffe0000000000, .limit = 0xfff};
    return sregs;
}

static uint64_t at(const struct smm_state *state, unsigned offset) {
    uint64_t value;
    memcpy(&value, (const char *)state + offset - SMM_STATE, sizeof(value));
    return value;
}

// Offsets of APM vol. 2 table 10-1, from SMBASE + 8000H; they begin with FE00H.
START_TEST(layout_is_amd64s) {
    struct smm_state state = {.base = 0x30000, .rip = 0x1111, .rflags = 0x246, .dr6 = 6, .dr7 = 7};
    struct kvm_sregs sregs = sample();
    uint64_t gpr[16];
    for (unsigned i = 0; i < 16; i++)
        gpr[i] = 0x100 + i;
    smm_save(&state, &sregs, gpr);
    ck_assert_uint_eq(at(&state, 0xfe10), 0xffffffffa0fb0008); // CS
    ck_assert_uint_eq(at(&state, 0xfe18), 0x10);
    ck_assert_uint_eq(at(&state, 0xfe58), 0xffff888000000000); // GS base
    ck_assert_uint_eq(at(&state, 0xfe64) & UINT32_MAX, 0x7f);  // GDTR limit
    ck_assert_uint_eq(at(&state, 0xfe88), 0xfffffe0000000000); // IDTR base
    ck_assert_uint_eq(at(&state, 0xfe98), 0x5000);             // TR base
    ck_assert_uint_eq(at(&state, 0xfed0), 0xd01);              // EFER
    ck_assert_uint_eq(at(&state, 0xfefc), 0x0003000000020064); // version, SMBASE
    ck_assert_uint_eq(at(&state, 0xff48), 0x6b0);              // CR4
    ck_assert_uint_eq(at(&state, 0xff58), 0x80050033);         // CR0
    ck_assert_uint_eq(at(&state, 0xff60), 7);                  // DR7
    ck_assert_uint_eq(at(&state, 0xff70), 0x246);              // RFLAGS
    ck_assert_uint_eq(at(&state, 0xff78), 0x1111);             // RIP
    ck_assert_uint_eq(at(&state, 0xff80), 0x10f);              // R15
    ck_assert_uint_eq(at(&state, 0xfff8), 0x100);              // RAX
}
END_TEST

START_TEST(load_is_the_inverse) {
    struct smm_state state = {0};
    struct kvm_sregs before = sample(), after = {.apic_base = 0xfee00900};
    uint64_t gpr[16], loaded[16];
    for (unsigned i = 0; i < 16; i++)
        gpr[i] = ~(uint64_t)i;
    before.apic_base = after.apic_base;
    before.ds.unusable = before.es.unusable = before.fs.unusable = before.ss.unusable = 1;
    before.ldt.unusable = 1;
    smm_save(&state, &before, gpr);
    smm_load(&state, &after, loaded);
    ck_assert_mem_eq(&before, &after, sizeof(before));
    ck_assert_mem_eq(gpr, loaded, sizeof(gpr));
}
END_TEST

START_TEST(handler_begins_in_flat_real_mode) {
    struct kvm_sregs sregs = sample();
    smm_enter(&sregs, 0x1030000);
    ck_assert_uint_eq(sregs.cs.base, 0x1030000);
    ck_assert_uint_eq(sregs.cs.selector, 0x3000);
    ck_assert_uint_eq(sregs.ss.limit, UINT32_MAX);
    ck_assert_uint_eq(sregs.cr0, 0x50032);
    ck_assert(!sregs.cr4 && !sregs.efer && !sregs.idt.limit);
    ck_assert_uint_eq(sregs.cr3, 0x1234000);
}
END_TEST

Suite *smm_suite(void);
Suite *smm_suite(void) {
    Suite *suite = suite_create("smm");
    TCase *tcase = tcase_create("smm");
    tcase_add_test(tcase, layout_is_amd64s);
    tcase_add_test(tcase, load_is_the_inverse);
    tcase_add_test(tcase, handler_begins_in_flat_real_mode);
    suite_add_tcase(suite, tcase);
    return suite;
}
