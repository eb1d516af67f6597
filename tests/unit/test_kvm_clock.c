// SPDX-License-Identifier: BSD-2-Clause
// kvmclock: a guest's WRMSR, which is handled where nothing may wait, leaves its memory alone.
// Sources: core/kvm/clock.c arch/x86/guest/kvmclock.c arch/x86/guest/vcpu_tsc.c
// Sources: arch/x86/guest/lapic_timer.c
#include <check.h>
#include <string.h>
#include "arch/x86/guest/kvmclock.h"
#include "core/kvm/clock.h"
#include "core/kvm/guest_memory.h"
#include "core/kvm/vcpu.h"
#include "fake_backend.h"

static struct vm vm;
static struct vcpu vcpu;
static _Alignas(8) uint8_t memory[64];
static unsigned accesses;

int vcpu_read_guest(struct vcpu *of, uint64_t gpa, void *to, uint64_t size) {
    ck_assert(of == &vcpu && gpa + size <= sizeof(memory));
    memcpy(to, memory + gpa, size);
    accesses++;
    return 0;
}

int vcpu_write_guest(struct vcpu *of, uint64_t gpa, const void *from, uint64_t size) {
    ck_assert(of == &vcpu && gpa + size <= sizeof(memory));
    memcpy(memory + gpa, from, size);
    accesses++;
    return 0;
}

void vcpu_attend(struct vcpu *of, uint32_t attention) {
    atomic_fetch_or(&of->virt.attention, attention);
}

uint64_t time_to_tsc(uint64_t ns) {
    return ns;
}

START_TEST(pages_are_written_outside_the_run) {
    const struct pvclock_vcpu_time_info *time = (const void *)memory;
    const struct pvclock_wall_clock *wall = (const void *)(memory + 32);
    fake_backend_reset();
    vcpu.vm = &vm;
    vcpu.virt.tsc_khz = (uint32_t)fake_backend.host_khz;
    vm.clock_offset = 5000000000;
    clock_system_time(&vcpu, 1);
    ck_assert_uint_eq(accesses, 0);
    ck_assert(atomic_exchange(&vcpu.virt.attention, 0) & ATTENTION_CLOCK);
    clock_update(&vcpu);
    ck_assert_uint_eq(time->version, 2);
    ck_assert_uint_eq(time->system_time, time_now() + 5000000000);
    ck_assert_uint_eq(wall->version, 0);
    vcpu.virt.msrs.kvm_wall_clock = 32;
    accesses = 0;
    clock_wall_time(&vcpu);
    ck_assert_uint_eq(accesses, 0);
    ck_assert(atomic_exchange(&vcpu.virt.attention, 0) & ATTENTION_CLOCK);
    clock_update(&vcpu);
    ck_assert_uint_eq(wall->version, 2);
    clock_update(&vcpu); // once a write
    ck_assert_uint_eq(wall->version, 2);
    ck_assert_uint_eq(time->version, 6);
}
END_TEST

Suite *kvm_clock_suite(void) {
    Suite *suite = suite_create("kvm_clock");
    TCase *tests = tcase_create("kvm_clock");
    tcase_add_test(tests, pages_are_written_outside_the_run);
    suite_add_tcase(suite, tests);
    return suite;
}
