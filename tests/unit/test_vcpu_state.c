// SPDX-License-Identifier: BSD-2-Clause
// What the back ends share of a vCPU's state: reset, KVM's register sets, debug registers, exits.
// Sources: arch/x86/guest/vcpu_debug.c arch/x86/guest/vcpu_registers.c arch/x86/guest/vcpu_msr.c
#include <asm/errno.h>
#include <asm/processor-flags.h>
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "arch/x86/guest/vcpu_exit.h"
#include "fake_backend.h"
// Sources: arch/x86/guest/vcpu_reset.c arch/x86/guest/vcpu_entry_failure.c

static struct virt_vcpu vcpu;
static struct virt_exit left;

static void set_up(void) {
    memset(&vcpu, 0, sizeof(vcpu));
    fake_backend_reset();
    virt_supported_cr4 = X86_CR4_PAE | X86_CR4_DE;
    virt_reset(&vcpu, false);
}

START_TEST(power_on) {
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    virt_get_regs(&vcpu, &regs);
    virt_get_sregs(&vcpu, &sregs);
    ck_assert_uint_eq(sregs.cs.base + regs.rip, 0xfffffff0);
    ck_assert_uint_eq(sregs.cs.selector, 0xf000);
    ck_assert_uint_eq(regs.rdx, 0x600);
    ck_assert_uint_eq(regs.rflags, 2);
    ck_assert_uint_eq(sregs.cr0, 0x60000010);
    ck_assert_uint_eq(sregs.gdt.limit, 0xffff);
    ck_assert_uint_eq(sregs.tr.type, 11);
    ck_assert_uint_eq(fake_backend.registers[BACKEND_PAT], 0x0007040600070406);
    ck_assert_uint_eq(vcpu.dr6, 0xffff0ff0);
    ck_assert_uint_eq(fake_backend.resets, 1);
}
END_TEST

START_TEST(init_keeps_what_the_manual_says) {
    fake_backend.registers[BACKEND_CR0] = X86_CR0_PE | X86_CR0_PG | X86_CR0_CD;
    fake_backend.registers[BACKEND_STAR] = 5;
    fake_backend.registers[BACKEND_EFER] = EFER_LME;
    vcpu.xcr0 = 7;
    vcpu.events.exception_pending = true;
    fake_backend.nmi_masked = true;
    virt_reset(&vcpu, true);
    ck_assert_uint_eq(fake_backend.registers[BACKEND_CR0], X86_CR0_ET | X86_CR0_CD);
    ck_assert_uint_eq(fake_backend.registers[BACKEND_STAR], 5);
    ck_assert_uint_eq(fake_backend.registers[BACKEND_EFER], 0);
    ck_assert_uint_eq(vcpu.xcr0, 7);
    ck_assert(!vcpu.events.exception_pending && !fake_backend.nmi_masked);
}
END_TEST

START_TEST(registers_round_trip) {
    struct kvm_regs regs, again;
    uint64_t *words = (uint64_t *)&regs;
    for (unsigned i = 0; i < 17; i++)
        words[i] = 0x100 + i;
    regs.rflags = ~0ull;
    virt_set_regs(&vcpu, &regs);
    virt_get_regs(&vcpu, &again);
    ck_assert(!memcmp(&regs, &again, offsetof(struct kvm_regs, rflags)));
    ck_assert_uint_eq(again.rflags, 0x3f7fd7);
    ck_assert_uint_eq(vcpu.gpr[GPR_RBX], 0x101);
    ck_assert_uint_eq(fake_backend.registers[BACKEND_RSP], 0x106);
}
END_TEST

START_TEST(segments_round_trip) {
    for (unsigned i = 0; i < 0x1000; i++) {
        uint16_t attributes = (uint16_t)((i & 0xff) | (i & 0xf00) << 4);
        struct kvm_segment segment = vcpu_segment(8, 0x1000, 0xffff, attributes);
        ck_assert_uint_eq(vcpu_segment_attributes(&segment), attributes);
        ck_assert_uint_eq(segment.unusable, !(attributes & ATTRIBUTE_P));
    }
}
END_TEST

START_TEST(debugger_owns_tf_while_it_steps) {
    vcpu.guest_debug.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP;
    vcpu_step(&vcpu);
    ck_assert(fake_backend.registers[BACKEND_RFLAGS] & X86_EFLAGS_TF);
    ck_assert(!(virt_get_rflags(&vcpu) & X86_EFLAGS_TF));
    virt_set_rflags(&vcpu, 2);
    ck_assert(fake_backend.registers[BACKEND_RFLAGS] & X86_EFLAGS_TF);
    ck_assert_int_eq(vcpu_debug_exception(&vcpu, &left, DR6_BS), EXIT_LEAVE);
    ck_assert_int_eq(left.kind, VIRT_EXIT_DEBUG);
    ck_assert_uint_eq(left.debug.pc, 0xfffffff0);
    ck_assert_uint_eq(left.debug.dr6, DR6_FIXED | DR6_BS);
    vcpu.step_due = true;
    ck_assert(vcpu_take_step(&vcpu, &left));
    ck_assert(!vcpu.step_due);
    vcpu.step_due = true;
    vcpu.guest_debug.control = 0;
    vcpu_step(&vcpu);
    ck_assert(!vcpu.step_due);
    ck_assert(!(fake_backend.registers[BACKEND_RFLAGS] & X86_EFLAGS_TF));
    ck_assert_int_eq(vcpu_debug_exception(&vcpu, &left, DR6_BS), EXIT_RESUME);
    ck_assert_uint_eq(vcpu.events.exception_vector, GUEST_DB);
}
END_TEST

START_TEST(moves_to_and_from_debug_registers) {
    enum { RBX = 3 };
    vcpu.gpr[RBX] = 0xffffffff;
    ck_assert_int_eq(vcpu_move_debug(&vcpu, &left, true, 7, RBX), EXIT_SKIP);
    ck_assert_uint_eq(vcpu.dr7, 0xffff27ff);
    ck_assert_uint_eq(fake_backend.debug_changes, 2); // and the reset's
    // GD is set now: any access is a #DB first.
    ck_assert_int_eq(vcpu_move_debug(&vcpu, &left, false, 0, RBX), EXIT_RESUME);
    ck_assert_uint_eq(vcpu.events.exception_payload, DR6_BD);
    vcpu.dr7 = DR7_FIXED;
    vcpu.events.exception_pending = false;
    ck_assert_int_eq(vcpu_move_debug(&vcpu, &left, false, 4, RBX), EXIT_SKIP); // DR6
    ck_assert_uint_eq(vcpu.gpr[RBX], DR6_FIXED);
    fake_backend.registers[BACKEND_CR4] = X86_CR4_DE;
    ck_assert_int_eq(vcpu_move_debug(&vcpu, &left, false, 4, RBX), EXIT_RESUME);
    ck_assert_uint_eq(vcpu.events.exception_vector, GUEST_UD);
    vcpu.events.exception_pending = false;
    vcpu.gpr[RBX] = 1ull << 32;
    ck_assert_int_eq(vcpu_move_debug(&vcpu, &left, true, 6, RBX), EXIT_RESUME);
    ck_assert_uint_eq(vcpu.events.exception_vector, GUEST_GP);
}
END_TEST

static uint64_t ratio(uint64_t host_khz, uint32_t khz) {
    fake_backend.host_khz = host_khz;
    vcpu.tsc_khz = khz;
    virt_tsc_changed(&vcpu);
    return vcpu.tsc_ratio;
}

START_TEST(tsc_ratios) {
    ck_assert_uint_eq(ratio(3000000, 3000000), 0);
    ck_assert_uint_eq(ratio(3000000, 1500000), 1ull << 47); // Intel's format
    ck_assert_uint_eq(ratio(3000000, 4000000), (1ull << 48) + 0x555555555555);
    ck_assert_uint_eq(virt_max_tsc_khz(), UINT32_MAX);
    fake_backend.ops->tsc_integer_bits = 8; // AMD's
    fake_backend.ops->tsc_fraction_bits = 32;
    ck_assert_uint_eq(ratio(2000000, 3000000), 3ull << 31);
    ck_assert_uint_eq(ratio(2000000, 1), (1ull << 32) / 2000000);
    ck_assert_uint_eq(virt_max_tsc_khz(), 255 * 2000000);
    fake_backend.tsc_scaling = false;
    ck_assert_uint_eq(ratio(2000000, 3000000), 0);
    ck_assert_uint_eq(virt_max_tsc_khz(), 0);
}
END_TEST

uint64_t virt_host_msr(uint32_t index) {
    return index;
}

// What a CPUID table claims beyond the processor must never reach it: the host would fault.
START_TEST(bounded_by_the_processor) {
    struct kvm_cpuid_entry2 entries[] = {
        {.function = 0xd, .eax = 0x2e7},
        {.function = 0xd, .index = 1, .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX, .eax = 8, .ecx = 1},
        {.function = 0x80000008, .eax = 57 << 8 | 40},
    };
    struct virt_vm vm = {.disabled_quirks = 0};
    struct guest_msr_backend backend = {0};
    vcpu.vm = &vm;
    virt_host = (struct cpuid_host){.xcr0 = 7, .linear_bits = 48, .spec_ctrl_bits = 3};
    guest_cpuid_set(&vcpu.cpuid, entries, 3);
    virt_cpuid_changed(&vcpu);
    ck_assert_int_eq(virt_set_xcr0(&vcpu, 7), 0);
    ck_assert_int_eq(virt_set_xcr0(&vcpu, 0x207), -EINVAL);
    ck_assert_int_eq(virt_set_xcr0(&vcpu, 0xe7), -EINVAL);
    ck_assert_uint_eq(vcpu.guest_fpu.xcr0, 7);
    ck_assert_uint_eq(vcpu.cpuid.xss_allowed, 0);
    ck_assert_uint_eq(vcpu.cpuid.linear_bits, 48);
    virt_msr_backend(&backend);
    ck_assert_int_eq(backend.set(&vcpu.msrs, BACKEND_SPEC_CTRL, 4), -1);
    ck_assert_int_eq(backend.set(&vcpu.msrs, BACKEND_SPEC_CTRL, 3), 0);
    ck_assert_uint_eq(vcpu.spec_ctrl, 3);
}
END_TEST

static unsigned lines;

void log_line(const char *format, ...) {
    lines += *format != 0;
}

// A program can make entries fail as often as it likes; the log takes long.
START_TEST(entry_failures_are_logged_now_and_then) {
    vcpu_entry_failed(&vcpu, &left, 33, "no reason", NULL, 0, NULL);
    ck_assert_uint_gt(lines, 4);
    lines = 0;
    left.kind = VIRT_EXIT_HALT;
    vcpu_entry_failed(&vcpu, &left, 33, "no reason", NULL, 0, NULL);
    ck_assert_uint_eq(lines, 0);
    ck_assert(left.kind == VIRT_EXIT_FAIL_ENTRY && left.fail_reason == 33);
}
END_TEST

Suite *vcpu_state_suite(void) {
    Suite *suite = suite_create("vcpu_state");
    TCase *tests = tcase_create("vcpu_state");
    tcase_add_checked_fixture(tests, set_up, NULL);
    tcase_add_test(tests, power_on);
    tcase_add_test(tests, init_keeps_what_the_manual_says);
    tcase_add_test(tests, registers_round_trip);
    tcase_add_test(tests, segments_round_trip);
    tcase_add_test(tests, debugger_owns_tf_while_it_steps);
    tcase_add_test(tests, moves_to_and_from_debug_registers);
    tcase_add_test(tests, tsc_ratios);
    tcase_add_test(tests, bounded_by_the_processor);
    tcase_add_test(tests, entry_failures_are_logged_now_and_then);
    suite_add_tcase(suite, tests);
    return suite;
}
