// SPDX-License-Identifier: BSD-2-Clause
// paravirt: what guests that know of KVM share with it: hypercalls, EOIs without an exit, stolen
// time. Each number in the guests' code is from Documentation/virt/kvm/x86.
#include <asm/kvm_para.h>
#include <linux/kvm_para.h>

#include "tap.h"
#include "tiny_guest.h"

#define MEMORY     (2u << 20)
#define EOI_WORD   0x23000u
#define STEAL_PAGE 0x24000u
#define CLOCK_PAGE 0x25000u
#define VECTOR     0x40u

#define HYPERCALL         ".byte 0x0f, 0x01, 0xc1\n" // VMCALL; on AMD it becomes VMMCALL
#define REPORT            "out %al, $0x10\n"
#define WRMSR(msr, value) "mov $" #msr ", %ecx\n mov $" #value ", %eax\n xor %edx, %edx\n wrmsr\n"
// KVM_HC_SEND_IPI to APIC ID 0; the result to R10.
#define SEND_SELF(vector)                                                                          \
    "mov $10, %eax\n mov $1, %ebx\n xor %ecx, %ecx\n xor %edx, %edx\n mov $" #vector               \
    ", %esi\n" HYPERCALL "mov %rax, %r10\n"

// R9 counts interrupts, R8 those whose EOI the word made unnecessary.
LONG_MODE_CODE(handler, "push %rax\n push %rcx\n push %rdx\n inc %r9\n"
                        "btrl $0, 0x23000\n jc 1f\n" WRMSR(
                            0x80b, 0) "dec %r8\n"
                                      "1: inc %r8\n pop %rdx\n pop %rcx\n pop %rax\n iretq\n");
LONG_MODE_CODE(eoi_code, WRMSR(0x80f, 0x1ff) WRMSR(0x4b564d04, 0x23001) "sti\n" SEND_SELF(0x40)
                             REPORT SEND_SELF(0x40) REPORT "cli\n" SEND_SELF(0x40)
                                 SEND_SELF(0x41) "sti\n nop\n" REPORT);
// KVM_HC_KICK_CPU of itself, then HLT without interrupts.
LONG_MODE_CODE(kick_code,
               "mov $5, %eax\n xor %ebx, %ebx\n xor %ecx, %ecx\n" HYPERCALL "cli\n hlt\n" REPORT);
// RAX comes from outside, the result goes there.
LONG_MODE_CODE(call_code, "1: " HYPERCALL REPORT "jmp 1b\n");
LONG_MODE_CODE(steal_code,
               WRMSR(0x4b564d03, 0x24001) "1: movzb 0x24010, %r8d\n mov 0x24008, %r9d\n" REPORT
                                          "jmp 1b\n");

static void enable(int fd, uint32_t capability, uint64_t value) {
    struct kvm_enable_cap cap = {.cap = capability, .args = {value}};
    tiny_check(ioctl(fd, KVM_ENABLE_CAP, &cap) == 0, "KVM_ENABLE_CAP");
}

static void start(struct tiny_guest *guest, const uint8_t *code, const uint8_t *end,
                  const struct kvm_regs *more) {
    struct kvm_regs regs = *more;
    struct kvm_sregs sregs;

    tiny_create_vm(guest, MEMORY);
    tiny_check(ioctl(guest->vm_fd, KVM_CREATE_IRQCHIP, 0) == 0, "KVM_CREATE_IRQCHIP");
    tiny_create_vcpu(guest);
    tiny_enter_long_mode(guest);
    tiny_check(ioctl(guest->vcpu_fd, KVM_GET_SREGS, &sregs) == 0, "KVM_GET_SREGS");
    sregs.apic_base |= 1u << 10; // x2APIC
    tiny_check(ioctl(guest->vcpu_fd, KVM_SET_SREGS, &sregs) == 0, "KVM_SET_SREGS");
    memcpy(guest->memory + GUEST_CODE, code, (size_t)(end - code));
    regs.rip = GUEST_CODE;
    regs.rsp = GUEST_STACK;
    regs.rflags = 2;
    tiny_check(ioctl(guest->vcpu_fd, KVM_SET_REGS, &regs) == 0, "KVM_SET_REGS");
}

// Runs until the guest reports; its registers then.
static struct kvm_regs report(struct tiny_guest *guest) {
    struct kvm_regs regs;

    CHECK_EQUAL(ioctl(guest->vcpu_fd, KVM_RUN, 0), 0);
    CHECK_EQUAL(guest->run->exit_reason, KVM_EXIT_IO);
    tiny_check(ioctl(guest->vcpu_fd, KVM_GET_REGS, &regs) == 0, "KVM_GET_REGS");
    return regs;
}

static void test_eoi(void) {
    struct tiny_guest guest;
    struct kvm_lapic_state lapic;
    struct kvm_regs regs;

    start(&guest, eoi_code, eoi_code_end, &(struct kvm_regs){0});
    tiny_set_handler(&guest, VECTOR, handler, handler_end);
    tiny_set_handler(&guest, VECTOR + 1, handler, handler_end);
    regs = report(&guest);
    CHECK_EQUAL(regs.r10, 1); // one destination
    CHECK_EQUAL(regs.r9, 1);
    CHECK_EQUAL(regs.r8, 1);
    regs = report(&guest); // and the next comes through: the EOI in the word counted
    CHECK_EQUAL(regs.r9, 2);
    CHECK_EQUAL(regs.r8, 2);
    regs = report(&guest); // two at once: the first EOI must be told, for the second to come
    CHECK_EQUAL(regs.r9, 4);
    CHECK_EQUAL(regs.r8, 3);
    tiny_check(ioctl(guest.vcpu_fd, KVM_GET_LAPIC, &lapic) == 0, "KVM_GET_LAPIC");
    for (unsigned word = 0; word < 8; word++) {
        uint32_t in_service;
        memcpy(&in_service, lapic.regs + 0x100 + word * 16ull, sizeof(in_service));
        CHECK_EQUAL(in_service, 0);
    }
    CHECK_EQUAL(*(uint32_t *)(guest.memory + EOI_WORD), 0);
    tiny_destroy(&guest);
}

static void test_kick(void) {
    struct tiny_guest guest;

    start(&guest, kick_code, kick_code_end, &(struct kvm_regs){0});
    report(&guest); // HLT did not sleep
    tiny_destroy(&guest);
}

static void set_call(struct tiny_guest *guest, uint64_t number, uint64_t a0, uint64_t a1,
                     uint64_t a2) {
    struct kvm_regs regs = {.rip = GUEST_CODE,
                            .rsp = GUEST_STACK,
                            .rflags = 2,
                            .rax = number,
                            .rbx = a0,
                            .rcx = a1,
                            .rdx = a2};
    tiny_check(ioctl(guest->vcpu_fd, KVM_SET_REGS, &regs) == 0, "KVM_SET_REGS");
}

static void test_calls(void) {
    struct tiny_guest guest;
    struct kvm_clock_pairing *pairing;

    start(&guest, call_code, call_code_end, &(struct kvm_regs){.rax = 1000});
    CHECK_EQUAL(report(&guest).rax, (uint64_t)-KVM_ENOSYS);
    set_call(&guest, KVM_HC_SCHED_YIELD, 0, 0, 0);
    CHECK_EQUAL(report(&guest).rax, 0);
    set_call(&guest, KVM_HC_CLOCK_PAIRING, CLOCK_PAGE, KVM_CLOCK_PAIRING_WALLCLOCK, 0);
    CHECK_EQUAL(report(&guest).rax, 0);
    pairing = (struct kvm_clock_pairing *)(guest.memory + CLOCK_PAGE);
    CHECK(pairing->tsc != 0 && pairing->nsec < 1000000000);
    set_call(&guest, KVM_HC_CLOCK_PAIRING, CLOCK_PAGE, 1, 0);
    CHECK_EQUAL(report(&guest).rax, (uint64_t)-KVM_EOPNOTSUPP);
    set_call(&guest, KVM_HC_MAP_GPA_RANGE, 0x3000, 2, 1);
    CHECK_EQUAL(report(&guest).rax, (uint64_t)-KVM_ENOSYS); // not enabled
    CHECK_EQUAL(ioctl(guest.vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_EXIT_HYPERCALL),
                1 << KVM_HC_MAP_GPA_RANGE);
    enable(guest.vm_fd, KVM_CAP_EXIT_HYPERCALL, 1 << KVM_HC_MAP_GPA_RANGE);
    set_call(&guest, KVM_HC_MAP_GPA_RANGE, 0x3001, 2, 1);
    CHECK_EQUAL(report(&guest).rax, (uint64_t)-KVM_EINVAL);
    set_call(&guest, KVM_HC_MAP_GPA_RANGE, 0x3000, 2, 1);
    CHECK_EQUAL(ioctl(guest.vcpu_fd, KVM_RUN, 0), 0);
    CHECK_EQUAL(guest.run->exit_reason, KVM_EXIT_HYPERCALL);
    CHECK_EQUAL(guest.run->hypercall.nr, KVM_HC_MAP_GPA_RANGE);
    CHECK_EQUAL(guest.run->hypercall.args[0], 0x3000);
    CHECK_EQUAL(guest.run->hypercall.args[1], 2);
    CHECK_EQUAL(guest.run->hypercall.args[2], 1);
    guest.run->hypercall.ret = 77;
    CHECK_EQUAL(report(&guest).rax, 77);
    tiny_destroy(&guest);
}

static void test_steal(void) {
    struct tiny_guest guest;
    struct kvm_steal_time *page;
    uint64_t version;

    start(&guest, steal_code, steal_code_end, &(struct kvm_regs){0});
    version = report(&guest).r9;
    CHECK_EQUAL(version & 1, 0);
    page = (struct kvm_steal_time *)(guest.memory + STEAL_PAGE);
    // As another CPU of the guest would: it does not run, and is to flush its TLB when it does.
    page->preempted = KVM_VCPU_PREEMPTED | KVM_VCPU_FLUSH_TLB;
    struct kvm_regs regs = report(&guest);
    CHECK_EQUAL(regs.r8, 0);
    CHECK(regs.r9 > version && !(regs.r9 & 1));
    tiny_destroy(&guest);
}

int main(int argc, char **argv) {
    static const struct tap_test tests[] = {
        {"EOIs by a shared word", test_eoi},
        {"a kick ends HLT", test_kick},
        {"hypercalls", test_calls},
        {"stolen time", test_steal},
    };
    return tap_run(tests, sizeof(tests) / sizeof(tests[0]), argc > 1 ? argv[1] : NULL);
}
