// SPDX-License-Identifier: BSD-2-Clause
// reports: what user space is told, whole: coalesced writes, EOIs of a split irqchip, a
// line that is resampled, exception payloads, triple faults, instructions that cannot be emulated.
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/time.h>

#include "tap.h"
#include "tiny_guest.h"

#define MEMORY (2u << 20)
#define VECTOR 0x50u

// Four bytes to MMIO three times, one to port 0x80, then a port that is nobody's.
LONG_MODE_CODE(writes_code, "1: mov $0xd0000010, %ebx\n mov $0x11223344, %eax\n mov %eax, (%rbx)\n"
                            "inc %eax\n mov %eax, 4(%rbx)\n inc %eax\n mov %ax, 8(%rbx)\n"
                            "out %al, $0x80\n out %al, $0x10\n jmp 1b\n");
LONG_MODE_CODE(wait_code, "mov $0x80f, %ecx\n mov $0x1ff, %eax\n xor %edx, %edx\n wrmsr\n"
                          "out %al, $0x10\n sti\n nop\n out %al, $0x11\n");
LONG_MODE_CODE(eoi_handler,
               "push %rax\n push %rcx\n push %rdx\n mov $0x80b, %ecx\n xor %eax, %eax\n"
               "xor %edx, %edx\n wrmsr\n pop %rdx\n pop %rcx\n pop %rax\n iretq\n");
LONG_MODE_CODE(fault_handler, "mov %cr2, %r8\n pop %r9\n out %al, $0x10\n");
LONG_MODE_CODE(nop_code, "1: nop\n jmp 1b\n");
LONG_MODE_CODE(halt_code, "1: hlt\n jmp 1b\n");
LONG_MODE_CODE(float_code, "mov $0xd0000000, %ebx\n flds (%rbx)\n hlt\n");

static int enable(int fd, uint32_t capability, uint64_t value) {
    struct kvm_enable_cap cap = {.cap = capability, .args = {value}};
    return ioctl(fd, KVM_ENABLE_CAP, &cap);
}

static void start(struct tiny_guest *guest, const uint8_t *code, const uint8_t *end,
                  uint32_t vm_capability) {
    struct kvm_regs regs = {.rip = GUEST_CODE, .rsp = GUEST_STACK, .rflags = 2};

    tiny_create_vm(guest, MEMORY);
    if (vm_capability) {
        tiny_check(enable(guest->vm_fd, vm_capability, 24) == 0, "KVM_ENABLE_CAP");
    }
    tiny_create_vcpu(guest);
    tiny_enter_long_mode(guest);
    memcpy(guest->memory + GUEST_CODE, code, (size_t)(end - code));
    tiny_check(ioctl(guest->vcpu_fd, KVM_SET_REGS, &regs) == 0, "KVM_SET_REGS");
}

static void run(struct tiny_guest *guest, uint32_t reason) {
    CHECK_EQUAL(ioctl(guest->vcpu_fd, KVM_RUN, 0), 0);
    CHECK_EQUAL(guest->run->exit_reason, reason);
}

static void test_coalesced(void) {
    struct tiny_guest guest;
    struct kvm_coalesced_mmio_zone memory = {.addr = GUEST_MMIO, .size = 0x1000},
                                   port = {.addr = 0x80, .size = 1, .pio = 1};
    struct kvm_coalesced_mmio_ring *ring;
    static const struct {
        uint64_t address;
        uint32_t size, data;
        int pio;
    } expected[] = {{GUEST_MMIO + 0x10, 4, 0x11223344, 0},
                    {GUEST_MMIO + 0x14, 4, 0x11223345, 0},
                    {GUEST_MMIO + 0x18, 2, 0x3346, 0},
                    {0x80, 1, 0x46, 1}};

    start(&guest, writes_code, writes_code_end, 0);
    int page = ioctl(guest.kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_MMIO);
    ring = (struct kvm_coalesced_mmio_ring *)((uint8_t *)guest.run + page * 4096);
    CHECK(page > 0);
    CHECK_EQUAL(ioctl(guest.vm_fd, KVM_REGISTER_COALESCED_MMIO, &memory), 0);
    CHECK_EQUAL(ioctl(guest.vm_fd, KVM_REGISTER_COALESCED_MMIO, &port), 0);
    run(&guest, KVM_EXIT_IO);
    CHECK_EQUAL(guest.run->io.port, 0x10);
    CHECK_EQUAL(ring->last - ring->first, 4);
    for (uint32_t i = 0; i < 4; i++) {
        const struct kvm_coalesced_mmio *entry = &ring->coalesced_mmio[ring->first + i];
        uint32_t data = 0;
        memcpy(&data, entry->data, expected[i].size);
        CHECK_EQUAL(entry->phys_addr, expected[i].address);
        CHECK_EQUAL(entry->len, expected[i].size);
        CHECK_EQUAL(data, expected[i].data);
        CHECK_EQUAL(entry->pio, expected[i].pio);
    }
    ring->first = ring->last;
    CHECK_EQUAL(ioctl(guest.vm_fd, KVM_UNREGISTER_COALESCED_MMIO, &memory), 0);
    run(&guest, KVM_EXIT_MMIO);
    CHECK_EQUAL(guest.run->mmio.phys_addr, GUEST_MMIO + 0x10);
    CHECK_EQUAL(ring->last - ring->first, 0);
    tiny_destroy(&guest);
}

static void test_split(void) {
    struct tiny_guest guest;
    struct kvm_sregs sregs;
    struct kvm_msi msi = {.address_lo = 0xfee00000, .data = 1u << 15 | 1u << 14 | VECTOR};
    struct {
        struct kvm_irq_routing header;
        struct kvm_irq_routing_entry entry;
    } routing = {.header.nr = 1,
                 .entry = {.gsi = 3,
                           .type = KVM_IRQ_ROUTING_MSI,
                           .u.msi = {.address_lo = 0xfee00000, .data = 1u << 15 | VECTOR}}};

    start(&guest, wait_code, wait_code_end, KVM_CAP_SPLIT_IRQCHIP);
    tiny_check(ioctl(guest.vcpu_fd, KVM_GET_SREGS, &sregs) == 0, "KVM_GET_SREGS");
    sregs.apic_base |= 1u << 10;
    tiny_check(ioctl(guest.vcpu_fd, KVM_SET_SREGS, &sregs) == 0, "KVM_SET_SREGS");
    tiny_set_handler(&guest, VECTOR, eoi_handler, eoi_handler_end);
    CHECK_EQUAL(ioctl(guest.vm_fd, KVM_SET_GSI_ROUTING, &routing), 0);
    run(&guest, KVM_EXIT_IO);
    CHECK_EQUAL(ioctl(guest.vm_fd, KVM_SIGNAL_MSI, &msi), 1);
    run(&guest, KVM_EXIT_IOAPIC_EOI);
    CHECK_EQUAL(guest.run->eoi.vector, VECTOR);
    run(&guest, KVM_EXIT_IO);
    CHECK_EQUAL(guest.run->io.port, 0x11);
    tiny_destroy(&guest);
}

static void test_payload(void) {
    struct tiny_guest guest;
    struct kvm_vcpu_events events, seen;
    struct kvm_regs regs;

    start(&guest, nop_code, nop_code_end, 0);
    tiny_set_handler(&guest, 14, fault_handler, fault_handler_end);
    tiny_check(ioctl(guest.vcpu_fd, KVM_GET_VCPU_EVENTS, &events) == 0, "KVM_GET_VCPU_EVENTS");
    CHECK_EQUAL(events.flags & KVM_VCPUEVENT_VALID_PAYLOAD, 0);
    events.flags |= KVM_VCPUEVENT_VALID_PAYLOAD;
    CHECK(ioctl(guest.vcpu_fd, KVM_SET_VCPU_EVENTS, &events) == -1 && errno == EINVAL);
    CHECK_EQUAL(enable(guest.vm_fd, KVM_CAP_EXCEPTION_PAYLOAD, 1), 0);
    events.exception.pending = 1;
    events.exception.nr = 14;
    events.exception.has_error_code = 1;
    events.exception.error_code = 2;
    events.exception_has_payload = 1;
    events.exception_payload = 0x12345678;
    CHECK_EQUAL(ioctl(guest.vcpu_fd, KVM_SET_VCPU_EVENTS, &events), 0);
    CHECK_EQUAL(ioctl(guest.vcpu_fd, KVM_GET_VCPU_EVENTS, &seen), 0);
    CHECK_EQUAL(seen.exception.pending, 1);
    CHECK_EQUAL(seen.exception.injected, 0);
    CHECK_EQUAL(seen.exception_has_payload, 1);
    CHECK_EQUAL(seen.exception_payload, 0x12345678);
    run(&guest, KVM_EXIT_IO);
    tiny_check(ioctl(guest.vcpu_fd, KVM_GET_REGS, &regs) == 0, "KVM_GET_REGS");
    CHECK_EQUAL(regs.r8, 0x12345678);
    CHECK_EQUAL(regs.r9, 2);
    tiny_destroy(&guest);
}

static void test_triple_fault(void) {
    struct tiny_guest guest;
    struct kvm_vcpu_events events;

    start(&guest, nop_code, nop_code_end, 0);
    CHECK_EQUAL(enable(guest.vm_fd, KVM_CAP_X86_TRIPLE_FAULT_EVENT, 1), 0);
    tiny_check(ioctl(guest.vcpu_fd, KVM_GET_VCPU_EVENTS, &events) == 0, "KVM_GET_VCPU_EVENTS");
    CHECK(events.flags & KVM_VCPUEVENT_VALID_TRIPLE_FAULT);
    CHECK_EQUAL(events.triple_fault.pending, 0);
    events.triple_fault.pending = 1;
    CHECK_EQUAL(ioctl(guest.vcpu_fd, KVM_SET_VCPU_EVENTS, &events), 0);
    run(&guest, KVM_EXIT_SHUTDOWN);
    tiny_check(ioctl(guest.vcpu_fd, KVM_GET_VCPU_EVENTS, &events) == 0, "KVM_GET_VCPU_EVENTS");
    CHECK_EQUAL(events.triple_fault.pending, 0);
    tiny_destroy(&guest);
}

static void test_emulation(void) {
    struct tiny_guest guest;
    struct kvm_regs regs;

    start(&guest, float_code, float_code_end, 0);
    run(&guest, KVM_EXIT_INTERNAL_ERROR);
    CHECK_EQUAL(guest.run->emulation_failure.suberror, KVM_INTERNAL_ERROR_EMULATION);
    CHECK(guest.run->emulation_failure.ndata >= 3);
    CHECK_EQUAL(guest.run->emulation_failure.flags,
                KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES);
    CHECK(guest.run->emulation_failure.insn_size >= 2 &&
          guest.run->emulation_failure.insn_size <= 15);
    CHECK_EQUAL(guest.run->emulation_failure.insn_bytes[0], 0xd9);
    CHECK_EQUAL(guest.run->emulation_failure.insn_bytes[1], 0x03);
    // User space may step over it.
    tiny_check(ioctl(guest.vcpu_fd, KVM_GET_REGS, &regs) == 0, "KVM_GET_REGS");
    regs.rip += 2;
    tiny_check(ioctl(guest.vcpu_fd, KVM_SET_REGS, &regs) == 0, "KVM_SET_REGS");
    run(&guest, KVM_EXIT_HLT);
    tiny_destroy(&guest);
}

// Whether IRQ 10's line is up.
static int line_is_up(const struct tiny_guest *guest) {
    struct kvm_irqchip chip = {.chip_id = KVM_IRQCHIP_PIC_SLAVE};

    CHECK(ioctl(guest->vm_fd, KVM_GET_IRQCHIP, &chip) == 0);
    return chip.chip.pic.last_irr >> (10 - 8) & 1;
}

// The level of an irqfd with resampling falls with the last one.
static void test_resample(void) {
    struct tiny_guest guest;
    struct kvm_irqfd irqfds[2];

    tiny_create_vm(&guest, MEMORY);
    tiny_check(ioctl(guest.vm_fd, KVM_CREATE_IRQCHIP, 0) == 0, "KVM_CREATE_IRQCHIP");
    tiny_create_vcpu(&guest);
    for (int i = 0; i < 2; i++) {
        irqfds[i] = (struct kvm_irqfd){.fd = (uint32_t)eventfd(0, EFD_CLOEXEC),
                                       .resamplefd = (uint32_t)eventfd(0, EFD_CLOEXEC),
                                       .gsi = 10,
                                       .flags = KVM_IRQFD_FLAG_RESAMPLE};
        CHECK(ioctl(guest.vm_fd, KVM_IRQFD, &irqfds[i]) == 0);
    }
    CHECK(!line_is_up(&guest));
    CHECK(eventfd_write((int)irqfds[0].fd, 1) == 0);
    CHECK(line_is_up(&guest));
    for (int i = 0; i < 2; i++) {
        CHECK(line_is_up(&guest));
        irqfds[i].flags = KVM_IRQFD_FLAG_DEASSIGN;
        CHECK(ioctl(guest.vm_fd, KVM_IRQFD, &irqfds[i]) == 0);
        close((int)irqfds[i].fd);
        close((int)irqfds[i].resamplefd);
    }
    CHECK(!line_is_up(&guest));
    tiny_destroy(&guest);
}

static void on_alarm(int signal) {
    (void)signal;
}

static void test_halt_inside(void) {
    struct tiny_guest guest;
    struct kvm_regs regs = {.rip = GUEST_CODE, .rsp = GUEST_STACK, .rflags = 2};
    // Again and again: the first may come before the guest is entered.
    struct itimerval soon = {.it_value.tv_usec = 20000, .it_interval.tv_usec = 20000}, never = {0};
    struct sigaction action = {.sa_handler = on_alarm};

    tiny_create_vm(&guest, MEMORY);
    CHECK(ioctl(guest.vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_X86_DISABLE_EXITS) &
          KVM_X86_DISABLE_EXITS_HLT);
    CHECK(enable(guest.vm_fd, KVM_CAP_X86_DISABLE_EXITS, 1u << 31) == -1 && errno == EINVAL);
    CHECK_EQUAL(enable(guest.vm_fd, KVM_CAP_X86_DISABLE_EXITS, KVM_X86_DISABLE_EXITS_HLT), 0);
    tiny_create_vcpu(&guest);
    tiny_enter_long_mode(&guest);
    memcpy(guest.memory + GUEST_CODE, halt_code, (size_t)(halt_code_end - halt_code));
    tiny_check(ioctl(guest.vcpu_fd, KVM_SET_REGS, &regs) == 0, "KVM_SET_REGS");
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &soon, NULL);
    CHECK(ioctl(guest.vcpu_fd, KVM_RUN, 0) == -1 && errno == EINTR);
    setitimer(ITIMER_REAL, &never, NULL);
    CHECK_EQUAL(guest.run->exit_reason, KVM_EXIT_INTR);
    tiny_destroy(&guest);
}

int main(int argc, char **argv) {
    static const struct tap_test tests[] = {
        {"coalesced writes", test_coalesced},
        {"EOIs of a split irqchip", test_split},
        {"a resampled line", test_resample},
        {"an exception's payload", test_payload},
        {"a triple fault as an event", test_triple_fault},
        {"an instruction that cannot be emulated", test_emulation},
        {"HLT that stays in the guest", test_halt_inside},
    };
    return tap_run(tests, sizeof(tests) / sizeof(tests[0]), argc > 1 ? argv[1] : NULL);
}
