// SPDX-License-Identifier: BSD-2-Clause
// states: every state of a virtual CPU and machine that can be set reads back as it was set.
#include <stddef.h>
#include <time.h>

#include "tap.h"
#include "tiny_guest.h"

#define MEMORY_SIZE (2u << 20)
#define MSR_COUNT   9

static struct tiny_guest guest;

static void create(void) {
    tiny_create(&guest, MEMORY_SIZE);
}

static int has(int capability) {
    return ioctl(guest.vm_fd, KVM_CHECK_EXTENSION, capability);
}

#define SET_AND_GET(set, get, value)                                                               \
    do {                                                                                           \
        __typeof__(value) seen_;                                                                   \
        memset(&seen_, 0x77, sizeof(seen_));                                                       \
        CHECK(ioctl(guest.vcpu_fd, (set), &(value)) == 0);                                         \
        CHECK(ioctl(guest.vcpu_fd, (get), &seen_) == 0);                                           \
        check_bytes(#value, &seen_, &(value), sizeof(seen_));                                      \
    } while (0)

static void check_bytes(const char *name, const void *seen, const void *wanted, size_t size) {
    for (size_t i = 0; i < size; i++) {
        uint8_t a = ((const uint8_t *)seen)[i];
        uint8_t b = ((const uint8_t *)wanted)[i];
        if (!CHECK(a == b, "%s: byte %#zx is %#x, expected %#x", name, i, a, b)) {
            return;
        }
    }
}

static void test_regs(void) {
    struct kvm_regs regs = {.rflags = 0x2 | 0x40, .rip = 0x123456789abc, .rsp = 0x7fff00001234};
    __u64 *general = &regs.rax;

    create();
    for (unsigned i = 0; i < 16; i++) {
        general[i] = 0x0123456789abcdefull * (i + 1);
    }
    SET_AND_GET(KVM_SET_REGS, KVM_GET_REGS, regs);
    tiny_destroy(&guest);
}

static void test_sregs(void) {
    struct kvm_sregs sregs;

    create();
    tiny_enter_long_mode(&guest);
    CHECK(ioctl(guest.vcpu_fd, KVM_GET_SREGS, &sregs) == 0);
    CHECK_EQUAL(sregs.efer, 0x500);
    CHECK_EQUAL(sregs.cs.l, 1);
    CHECK_EQUAL(sregs.apic_base & 0xfffff000, 0xfee00000);
    sregs.fs.base = 0x7f0012345678;
    sregs.gs.base = 0xffff888000001000;
    sregs.gdt = (struct kvm_dtable){.base = 0xfffffe0000001000, .limit = 0x7f};
    sregs.idt = (struct kvm_dtable){.base = 0xfffffe0000000000, .limit = 0xfff};
    sregs.tr = (struct kvm_segment){
        .base = 0xfffffe0000003000, .limit = 0x206f, .selector = 0x40, .type = 0xb, .present = 1};
    sregs.cr2 = 0xdeadbeef000;
    sregs.cr8 = 5;
    SET_AND_GET(KVM_SET_SREGS, KVM_GET_SREGS, sregs);
    // States that no processor can be in are refused, and change nothing.
    struct kvm_sregs bad = sregs;
    bad.cr4 = 0; // long mode without PAE
    CHECK(ioctl(guest.vcpu_fd, KVM_SET_SREGS, &bad) == -1 && errno == EINVAL);
    bad = sregs;
    bad.cr4 |= 1ull << 63;
    CHECK(ioctl(guest.vcpu_fd, KVM_SET_SREGS, &bad) == -1 && errno == EINVAL);
    CHECK(ioctl(guest.vcpu_fd, KVM_GET_SREGS, &bad) == 0);
    check_bytes("sregs after a refusal", &bad, &sregs, sizeof(bad));
    tiny_destroy(&guest);
}

static void test_fpu(void) {
    struct kvm_fpu fpu;

    create();
    memset(&fpu, 0, sizeof(fpu));
    fpu.fcw = 0x27f;
    fpu.fsw = 0x3800;
    fpu.last_opcode = 0x123;
    for (size_t i = 0; i < sizeof(fpu.xmm); i++) {
        ((uint8_t *)fpu.xmm)[i] = (uint8_t)(i * 5 + 1);
    }
    for (size_t i = 0; i < 8; i++) {
        memset(fpu.fpr[i], (int)(0x10 + i), 10);
    }
    CHECK(ioctl(guest.vcpu_fd, KVM_SET_FPU, &fpu) == 0);
    struct kvm_fpu seen;
    CHECK(ioctl(guest.vcpu_fd, KVM_GET_FPU, &seen) == 0);
    check_bytes("fpr", seen.fpr, fpu.fpr, sizeof(fpu.fpr));
    check_bytes("xmm", seen.xmm, fpu.xmm, sizeof(fpu.xmm));
    CHECK_EQUAL(seen.fcw, fpu.fcw);
    CHECK_EQUAL(seen.fsw, fpu.fsw);
    tiny_destroy(&guest);
}

// The XMM registers are the same through KVM_GET_FPU and KVM_GET_XSAVE, at offset 160 (SDM volume
// 1, 13.4.1).
static void test_xsave(void) {
    struct kvm_xsave xsave;
    struct kvm_xsave again;
    struct kvm_fpu fpu;

    create();
    if (has(KVM_CAP_XSAVE) > 0) {
        CHECK(ioctl(guest.vcpu_fd, KVM_GET_XSAVE, &xsave) == 0);
        uint8_t *bytes = (uint8_t *)xsave.region;
        bytes[512] |= 3; // XSTATE_BV: x87 and SSE
        for (int i = 0; i < 256; i++) {
            bytes[160 + i] = (uint8_t)(i ^ 0x5a);
        }
        memcpy(bytes + 24, &(uint32_t){0x1f80}, 4); // MXCSR
        CHECK(ioctl(guest.vcpu_fd, KVM_SET_XSAVE, &xsave) == 0);
        CHECK(ioctl(guest.vcpu_fd, KVM_GET_XSAVE, &again) == 0);
        check_bytes("xsave XMM", (uint8_t *)again.region + 160, bytes + 160, 256);
        CHECK(ioctl(guest.vcpu_fd, KVM_GET_FPU, &fpu) == 0);
        check_bytes("fpu XMM", fpu.xmm, bytes + 160, 256);
        // A header with an unsupported component is refused.
        bytes[512 + 7] |= 0x40;
        CHECK(ioctl(guest.vcpu_fd, KVM_SET_XSAVE, &xsave) == -1 && errno == EINVAL);
    }
    tiny_destroy(&guest);
}

static void test_xcrs(void) {
    struct kvm_xcrs xcrs;

    create();
    if (has(KVM_CAP_XCRS) > 0) {
        memset(&xcrs, 0, sizeof(xcrs));
        xcrs.nr_xcrs = 1;
        xcrs.xcrs[0].value = 3;
        CHECK(ioctl(guest.vcpu_fd, KVM_SET_XCRS, &xcrs) == 0);
        memset(&xcrs, 0, sizeof(xcrs));
        CHECK(ioctl(guest.vcpu_fd, KVM_GET_XCRS, &xcrs) == 0);
        CHECK_EQUAL(xcrs.nr_xcrs, 1);
        CHECK_EQUAL(xcrs.xcrs[0].value, 3);
        xcrs.xcrs[0].value = 2; // x87 cannot be left out
        CHECK(ioctl(guest.vcpu_fd, KVM_SET_XCRS, &xcrs) == -1 && errno == EINVAL);
    }
    tiny_destroy(&guest);
}

// A CPUID table may claim what the processor has not: it must not get there.
static void test_xcrs_beyond(void) {
    struct {
        struct kvm_cpuid2 header;
        struct kvm_cpuid_entry2 entries[1];
    } cpuid = {.header.nent = 1, .entries = {{.function = 0xd, .eax = ~0u, .edx = ~0u}}};
    struct kvm_xcrs xcrs = {.nr_xcrs = 1, .xcrs[0].value = 1ull << 62 | 3};

    create();
    CHECK(ioctl(guest.vcpu_fd, KVM_SET_CPUID2, &cpuid) == 0);
    CHECK(ioctl(guest.vcpu_fd, KVM_SET_XCRS, &xcrs) == -1 && errno == EINVAL);
    guest.run->immediate_exit = 1; // XCR0 is loaded nevertheless
    CHECK(ioctl(guest.vcpu_fd, KVM_RUN, 0) == -1 && errno == EINTR);
    tiny_destroy(&guest);
}

static void test_debugregs(void) {
    struct kvm_debugregs debugregs;

    create();
    memset(&debugregs, 0, sizeof(debugregs));
    for (unsigned i = 0; i < 4; i++) {
        debugregs.db[i] = 0xffff800000001000ull * (i + 1);
    }
    debugregs.dr6 = 0xffff0ff1;
    debugregs.dr7 = 0x455;
    SET_AND_GET(KVM_SET_DEBUGREGS, KVM_GET_DEBUGREGS, debugregs);
    tiny_destroy(&guest);
}

static void test_msrs(void) {
    static const struct kvm_msr_entry values[MSR_COUNT] = {
        {.index = 0x174, .data = 0x10},                    // SYSENTER_CS
        {.index = 0x175, .data = 0x88002000},              // SYSENTER_ESP
        {.index = 0x176, .data = 0x81000000},              // SYSENTER_EIP
        {.index = 0x277, .data = 0x0407050600070106},      // PAT
        {.index = 0xc0000081, .data = 0x23001000000000},   // STAR
        {.index = 0xc0000082, .data = 0xffffffff81001000}, // LSTAR
        {.index = 0xc0000084, .data = 0x47700},            // FMASK
        {.index = 0xc0000102, .data = 0xffff888000003000}, // KERNEL_GS_BASE
        {.index = 0xc0000103, .data = 3},                  // TSC_AUX
    };
    struct {
        struct kvm_msrs header;
        struct kvm_msr_entry entries[MSR_COUNT];
    } msrs = {.header = {.nmsrs = MSR_COUNT}};

    create();
    memcpy(msrs.entries, values, sizeof(values));
    int set = ioctl(guest.vcpu_fd, KVM_SET_MSRS, &msrs);
    CHECK(set >= MSR_COUNT - 1, "%d set", set); // TSC_AUX where the processor has RDTSCP
    for (int i = 0; i < MSR_COUNT; i++) {
        msrs.entries[i].data = 0x77;
    }
    msrs.header.nmsrs = (uint32_t)set;
    CHECK_EQUAL(ioctl(guest.vcpu_fd, KVM_GET_MSRS, &msrs), set);
    for (int i = 0; i < set; i++) {
        CHECK(msrs.entries[i].data == values[i].data, "MSR %#x is %#llx", values[i].index,
              (unsigned long long)msrs.entries[i].data);
    }
    // The number done counts up to the first that is refused.
    msrs.header.nmsrs = 3;
    msrs.entries[1].index = 0x12345;
    CHECK_EQUAL(ioctl(guest.vcpu_fd, KVM_GET_MSRS, &msrs), 1);
    // A value that is not canonical is refused.
    msrs.header.nmsrs = 1;
    msrs.entries[0] = (struct kvm_msr_entry){.index = 0xc0000082, .data = 0x8000000000000000};
    CHECK_EQUAL(ioctl(guest.vcpu_fd, KVM_SET_MSRS, &msrs), 0);
    tiny_destroy(&guest);
}

static void test_msr_list(void) {
    static struct {
        struct kvm_msr_list header;
        uint32_t indices[1024];
    } list;

    create();
    list.header.nmsrs = 0;
    CHECK(ioctl(guest.kvm_fd, KVM_GET_MSR_INDEX_LIST, &list) == -1 && errno == E2BIG);
    CHECK(list.header.nmsrs > 10 && list.header.nmsrs <= 1024);
    CHECK(ioctl(guest.kvm_fd, KVM_GET_MSR_INDEX_LIST, &list) == 0);
    // All that is listed can be read.
    for (uint32_t i = 0; i < list.header.nmsrs; i++) {
        struct {
            struct kvm_msrs header;
            struct kvm_msr_entry entry;
        } msr = {.header = {.nmsrs = 1}, .entry = {.index = list.indices[i]}};
        CHECK(ioctl(guest.vcpu_fd, KVM_GET_MSRS, &msr) == 1, "MSR %#x", list.indices[i]);
    }
    tiny_destroy(&guest);
}

static void test_events(void) {
    struct kvm_vcpu_events events;
    struct kvm_vcpu_events seen;

    create();
    CHECK(ioctl(guest.vcpu_fd, KVM_GET_VCPU_EVENTS, &events) == 0);
    CHECK_EQUAL(events.exception.injected, 0);
    CHECK_EQUAL(events.nmi.pending, 0);
    events.exception.injected = 1;
    events.exception.nr = 13;
    events.exception.has_error_code = 1;
    events.exception.error_code = 0x18;
    events.nmi.masked = 1;
    events.interrupt.shadow = KVM_X86_SHADOW_INT_STI;
    events.flags = KVM_VCPUEVENT_VALID_SHADOW;
    CHECK(ioctl(guest.vcpu_fd, KVM_SET_VCPU_EVENTS, &events) == 0);
    CHECK(ioctl(guest.vcpu_fd, KVM_GET_VCPU_EVENTS, &seen) == 0);
    CHECK_EQUAL(seen.exception.injected, 1);
    CHECK_EQUAL(seen.exception.nr, 13);
    CHECK_EQUAL(seen.exception.has_error_code, 1);
    CHECK_EQUAL(seen.exception.error_code, 0x18);
    CHECK_EQUAL(seen.nmi.masked, 1);
    CHECK(seen.interrupt.shadow != 0);
    tiny_destroy(&guest);
}

REAL_MODE_CODE(in_shadow, "nop\n nop\n1: jmp 1b\n");
REAL_MODE_CODE(shadow_handler, "pop %bx\n out %al, $0x10\n");

// An interrupt that waits is taken after the instruction in STI's shadow, not before it: what a
// guest's sti; hlt depends on.
static void test_shadow(void) {
    const uint16_t vector[2] = {0x9000, 0};
    struct kvm_irqchip pic = {.chip_id = KVM_IRQCHIP_PIC_MASTER, .chip.pic.irq_base = 0x20};
    struct kvm_irq_level line = {.irq = 5, .level = 1};
    struct kvm_regs regs = {.rip = 0x8000, .rsp = 0x7000, .rflags = 0x202};
    struct kvm_vcpu_events events;

    tiny_create_vm(&guest, MEMORY_SIZE);
    CHECK(ioctl(guest.vm_fd, KVM_CREATE_IRQCHIP, 0) == 0);
    tiny_create_vcpu(&guest);
    tiny_enter_real_mode(&guest);
    memcpy(guest.memory + regs.rip, in_shadow, (size_t)(in_shadow_end - in_shadow));
    memcpy(guest.memory + vector[0], shadow_handler, (size_t)(shadow_handler_end - shadow_handler));
    memcpy(guest.memory + 4 * 0x25, vector, sizeof(vector));
    CHECK(ioctl(guest.vm_fd, KVM_SET_IRQCHIP, &pic) == 0);
    CHECK(ioctl(guest.vm_fd, KVM_IRQ_LINE, &line) == 0);
    CHECK(ioctl(guest.vcpu_fd, KVM_SET_REGS, &regs) == 0);
    CHECK(ioctl(guest.vcpu_fd, KVM_GET_VCPU_EVENTS, &events) == 0);
    events.interrupt.shadow = KVM_X86_SHADOW_INT_STI;
    events.flags = KVM_VCPUEVENT_VALID_SHADOW;
    CHECK(ioctl(guest.vcpu_fd, KVM_SET_VCPU_EVENTS, &events) == 0);
    CHECK(ioctl(guest.vcpu_fd, KVM_RUN, 0) == 0);
    CHECK_EQUAL(guest.run->exit_reason, KVM_EXIT_IO);
    CHECK(ioctl(guest.vcpu_fd, KVM_GET_REGS, &regs) == 0);
    CHECK_EQUAL(regs.rbx & 0xffff, 0x8001);
    CHECK_EQUAL(regs.rflags & 0x100, 0);
    tiny_destroy(&guest);
}

static void create_with_irqchip(void) {
    guest.kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    guest.vm_fd = ioctl(guest.kvm_fd, KVM_CREATE_VM, 0);
    tiny_check(ioctl(guest.vm_fd, KVM_SET_TSS_ADDR, 0xfffbd000) == 0, "KVM_SET_TSS_ADDR");
    tiny_check(ioctl(guest.vm_fd, KVM_CREATE_IRQCHIP, 0) == 0, "KVM_CREATE_IRQCHIP");
    guest.vcpu_fd = ioctl(guest.vm_fd, KVM_CREATE_VCPU, 0);
    tiny_check(guest.vcpu_fd >= 0, "KVM_CREATE_VCPU");
}

static void destroy_with_irqchip(void) {
    close(guest.vcpu_fd);
    close(guest.vm_fd);
    close(guest.kvm_fd);
}

static void test_mp_state(void) {
    struct kvm_mp_state state = {.mp_state = 99};

    create_with_irqchip();
    CHECK(ioctl(guest.vcpu_fd, KVM_GET_MP_STATE, &state) == 0);
    CHECK_EQUAL(state.mp_state, KVM_MP_STATE_RUNNABLE);
    state.mp_state = KVM_MP_STATE_HALTED;
    SET_AND_GET(KVM_SET_MP_STATE, KVM_GET_MP_STATE, state);
    int second = ioctl(guest.vm_fd, KVM_CREATE_VCPU, 1);
    CHECK(second >= 0);
    CHECK(ioctl(second, KVM_GET_MP_STATE, &state) == 0);
    CHECK_EQUAL(state.mp_state, KVM_MP_STATE_UNINITIALIZED);
    close(second);
    state.mp_state = 77;
    CHECK(ioctl(guest.vcpu_fd, KVM_SET_MP_STATE, &state) == -1 && errno == EINVAL);
    destroy_with_irqchip();
}

static uint32_t lapic_register(const struct kvm_lapic_state *state, unsigned offset) {
    uint32_t value;

    memcpy(&value, state->regs + offset, sizeof(value));
    return value;
}

static void test_lapic(void) {
    struct kvm_lapic_state state;
    struct kvm_lapic_state seen;

    create_with_irqchip();
    CHECK(ioctl(guest.vcpu_fd, KVM_GET_LAPIC, &state) == 0);
    CHECK_EQUAL(lapic_register(&state, 0x20), 0);           // id
    CHECK_EQUAL(lapic_register(&state, 0x30) & 0xff, 0x14); // version
    CHECK_EQUAL(lapic_register(&state, 0xf0), 0xff);        // spurious: software-disabled
    memcpy(state.regs + 0xf0, &(uint32_t){0x1ff}, 4);
    memcpy(state.regs + 0x80, &(uint32_t){0x30}, 4);     // task priority
    memcpy(state.regs + 0x320, &(uint32_t){0x200ec}, 4); // timer: periodic
    memcpy(state.regs + 0x360, &(uint32_t){0x400}, 4);   // LINT1: NMI
    CHECK(ioctl(guest.vcpu_fd, KVM_SET_LAPIC, &state) == 0);
    CHECK(ioctl(guest.vcpu_fd, KVM_GET_LAPIC, &seen) == 0);
    CHECK_EQUAL(lapic_register(&seen, 0xf0), 0x1ff);
    CHECK_EQUAL(lapic_register(&seen, 0x80), 0x30);
    CHECK_EQUAL(lapic_register(&seen, 0x320), 0x200ec);
    CHECK_EQUAL(lapic_register(&seen, 0x360), 0x400);
    destroy_with_irqchip();
}

static void test_irqchip(void) {
    struct kvm_irqchip chip = {.chip_id = KVM_IRQCHIP_IOAPIC};
    struct kvm_irqchip seen = {.chip_id = KVM_IRQCHIP_IOAPIC};

    create_with_irqchip();
    CHECK(ioctl(guest.vm_fd, KVM_GET_IRQCHIP, &chip) == 0);
    CHECK_EQUAL(chip.chip.ioapic.base_address, 0xfec00000);
    CHECK_EQUAL(chip.chip.ioapic.redirtbl[4].fields.mask, 1);
    chip.chip.ioapic.redirtbl[4].bits = 0x0100000000000034;
    CHECK(ioctl(guest.vm_fd, KVM_SET_IRQCHIP, &chip) == 0);
    CHECK(ioctl(guest.vm_fd, KVM_GET_IRQCHIP, &seen) == 0);
    CHECK_EQUAL(seen.chip.ioapic.redirtbl[4].bits, 0x0100000000000034);

    chip = (struct kvm_irqchip){.chip_id = KVM_IRQCHIP_PIC_MASTER};
    CHECK(ioctl(guest.vm_fd, KVM_GET_IRQCHIP, &chip) == 0);
    chip.chip.pic.imr = 0xef;
    chip.chip.pic.irq_base = 0x20;
    CHECK(ioctl(guest.vm_fd, KVM_SET_IRQCHIP, &chip) == 0);
    seen.chip_id = KVM_IRQCHIP_PIC_MASTER;
    CHECK(ioctl(guest.vm_fd, KVM_GET_IRQCHIP, &seen) == 0);
    CHECK_EQUAL(seen.chip.pic.imr, 0xef);
    CHECK_EQUAL(seen.chip.pic.irq_base, 0x20);
    chip.chip_id = 9;
    CHECK(ioctl(guest.vm_fd, KVM_SET_IRQCHIP, &chip) == -1 && errno == EINVAL);
    destroy_with_irqchip();
}

static void test_pit(void) {
    struct kvm_pit_config config = {0};
    struct kvm_pit_state2 pit;
    struct kvm_pit_state2 seen;

    create_with_irqchip();
    CHECK(ioctl(guest.vm_fd, KVM_GET_PIT2, &pit) == -1);
    CHECK(ioctl(guest.vm_fd, KVM_CREATE_PIT2, &config) == 0);
    CHECK(ioctl(guest.vm_fd, KVM_CREATE_PIT2, &config) == -1 && errno == EEXIST);
    CHECK(ioctl(guest.vm_fd, KVM_GET_PIT2, &pit) == 0);
    pit.channels[2].count = 1193;
    pit.channels[2].mode = 3;
    CHECK(ioctl(guest.vm_fd, KVM_SET_PIT2, &pit) == 0);
    CHECK(ioctl(guest.vm_fd, KVM_GET_PIT2, &seen) == 0);
    CHECK_EQUAL(seen.channels[2].count, 1193);
    CHECK_EQUAL(seen.channels[2].mode, 3);
    destroy_with_irqchip();
}

static unsigned long timer_interrupts(void) {
    FILE *file = fopen("/proc/interrupts", "r");
    unsigned long sum = 0;
    char line[512];

    while (file && fgets(line, sizeof(line), file)) {
        char *at = strstr(line, "LOC:");
        for (char *end = at ? at + 4 : NULL; at && end != at; sum += strtoul(at, &end, 10))
            at = end;
    }
    if (file)
        fclose(file);
    return sum;
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

// A guest's timer of 838 ns would leave the host no time for anything else.
static void test_pit_period(void) {
    struct kvm_pit_config config = {0};
    struct kvm_pit_state2 pit;
    struct timespec pause = {.tv_nsec = 200000000};

    create_with_irqchip();
    CHECK(ioctl(guest.vm_fd, KVM_CREATE_PIT2, &config) == 0);
    CHECK(ioctl(guest.vm_fd, KVM_GET_PIT2, &pit) == 0);
    pit.channels[0].count = 1;
    pit.channels[0].mode = 2;
    double begun = seconds();
    unsigned long before = timer_interrupts();
    CHECK(ioctl(guest.vm_fd, KVM_SET_PIT2, &pit) == 0);
    nanosleep(&pause, NULL);
    unsigned long after = timer_interrupts();
    CHECK((double)(after - before) < (seconds() - begun) * 2 / 200e-6, "%lu interrupts",
          after - before);
    destroy_with_irqchip();
}

static void test_clock(void) {
    struct kvm_clock_data clock = {.clock = 123456789000ull};
    struct kvm_clock_data seen = {0};

    create();
    CHECK(ioctl(guest.vm_fd, KVM_SET_CLOCK, &clock) == 0);
    CHECK(ioctl(guest.vm_fd, KVM_GET_CLOCK, &seen) == 0);
    CHECK(seen.clock >= clock.clock && seen.clock < clock.clock + 10000000000ull, "%llu",
          (unsigned long long)seen.clock);
    int khz = ioctl(guest.vcpu_fd, KVM_GET_TSC_KHZ, 0);
    CHECK(khz > 1000, "%d kHz", khz);
    CHECK(ioctl(guest.vcpu_fd, KVM_SET_TSC_KHZ, khz) == 0);
    tiny_destroy(&guest);
}

static void test_cpuid(void) {
    static struct {
        struct kvm_cpuid2 header;
        struct kvm_cpuid_entry2 entries[256];
    } set, seen;

    create();
    set.header.nent = 1;
    CHECK(ioctl(guest.kvm_fd, KVM_GET_SUPPORTED_CPUID, &set) == -1 && errno == E2BIG);
    set.header.nent = 256;
    CHECK(ioctl(guest.kvm_fd, KVM_GET_SUPPORTED_CPUID, &set) == 0);
    CHECK(set.header.nent > 4 && set.header.nent < 256);
    CHECK(ioctl(guest.vcpu_fd, KVM_SET_CPUID2, &set) == 0);
    seen.header.nent = set.header.nent;
    CHECK(ioctl(guest.vcpu_fd, KVM_GET_CPUID2, &seen) == 0);
    int signature = 0;
    for (uint32_t i = 0; i < seen.header.nent; i++) {
        CHECK_EQUAL(seen.entries[i].function, set.entries[i].function);
        signature += set.entries[i].function == 0x40000000 &&
                     memcmp(&set.entries[i].ebx, "KVMKVMKVM\0\0\0", 12) == 0;
    }
    CHECK_EQUAL(signature, 1);
    tiny_destroy(&guest);
}

// What is no request of the descriptor it is sent to, and what points nowhere.
static void test_refusals(void) {
    create();
    CHECK(ioctl(guest.kvm_fd, KVM_RUN, 0) == -1);
    CHECK(ioctl(guest.kvm_fd, 0xaeff, 0) == -1);
    CHECK(ioctl(guest.vm_fd, 0xaeff, 0) == -1 && errno == ENOTTY);
    CHECK(ioctl(guest.vcpu_fd, KVM_SET_REGS, 8) == -1 && errno == EFAULT);
    CHECK(ioctl(guest.vcpu_fd, KVM_GET_REGS, 8) == -1 && errno == EFAULT);
    CHECK(ioctl(guest.vm_fd, KVM_CREATE_VCPU, 0) == -1 && errno == EEXIST);
    CHECK(ioctl(guest.vm_fd, KVM_CREATE_VCPU, 1 << 20) == -1 && errno == EINVAL);
    CHECK(ioctl(guest.kvm_fd, KVM_CREATE_VM, 0x7777) == -1 && errno == EINVAL);
    CHECK_EQUAL(ioctl(guest.kvm_fd, KVM_GET_API_VERSION, 0), KVM_API_VERSION);
    CHECK_EQUAL(ioctl(guest.kvm_fd, KVM_CHECK_EXTENSION, 99999), 0);

    struct kvm_userspace_memory_region region = {.slot = 1,
                                                 .guest_phys_addr = 0x400000,
                                                 .memory_size = 0x1000,
                                                 .userspace_addr = (uintptr_t)guest.memory};
    struct kvm_userspace_memory_region bad = region;
    bad.memory_size = 0x800;
    CHECK(ioctl(guest.vm_fd, KVM_SET_USER_MEMORY_REGION, &bad) == -1 && errno == EINVAL);
    bad = region;
    bad.guest_phys_addr = 0x1000; // slot 0 has it
    CHECK(ioctl(guest.vm_fd, KVM_SET_USER_MEMORY_REGION, &bad) == -1 && errno == EEXIST);
    bad = region;
    bad.userspace_addr += 0x10;
    CHECK(ioctl(guest.vm_fd, KVM_SET_USER_MEMORY_REGION, &bad) == -1 && errno == EINVAL);
    bad = region;
    bad.flags = 0x80000000;
    CHECK(ioctl(guest.vm_fd, KVM_SET_USER_MEMORY_REGION, &bad) == -1 && errno == EINVAL);
    CHECK(ioctl(guest.vm_fd, KVM_SET_USER_MEMORY_REGION, &region) == 0);
    tiny_destroy(&guest);
}

int main(int argc, char **argv) {
    static const struct tap_test tests[] = {
        {"REGS", test_regs},
        {"SREGS", test_sregs},
        {"FPU", test_fpu},
        {"XSAVE", test_xsave},
        {"XCRS", test_xcrs},
        {"XCRS beyond the processor", test_xcrs_beyond},
        {"DEBUGREGS", test_debugregs},
        {"MSRS", test_msrs},
        {"MSR_INDEX_LIST", test_msr_list},
        {"VCPU_EVENTS", test_events},
        {"interrupt shadow", test_shadow},
        {"MP_STATE", test_mp_state},
        {"LAPIC", test_lapic},
        {"IRQCHIP", test_irqchip},
        {"PIT2", test_pit},
        {"the least period of the PIT", test_pit_period},
        {"CLOCK and TSC_KHZ", test_clock},
        {"CPUID2", test_cpuid},
        {"refusals", test_refusals},
    };

    return tap_run(tests, sizeof(tests) / sizeof(tests[0]), argc > 1 ? argv[1] : NULL);
}
