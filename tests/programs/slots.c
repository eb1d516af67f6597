// SPDX-License-Identifier: BSD-2-Clause
// slots: memory slots come, go, move, become read-only and are logged while two vCPUs write to
// them. No write may be lost, whether it went to memory or, where no slot was, to user space.
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/sysinfo.h>

#include "tap.h"
#include "tiny_guest.h"

#define VCPUS  2
#define PAGE   0x1000u
#define PAGES  256u
#define AREA   0x40000000ull // where the guest writes
#define BESIDE 0x48000000ull // where the slot moves to
#define ROUNDS 12
#define SLOT   1

// Counts in a word of its own (R9) in each page of the area, then says so by OUT. Endless.
LONG_MODE_CODE(hammer, "1: mov %rsi, %rdi\n mov $256, %ecx\n"
                       "2: incq (%rdi,%r9)\n add $0x1000, %rdi\n dec %ecx\n jnz 2b\n"
                       "mov $0x10, %edx\n out %eax, %dx\n jmp 1b\n");

struct machine {
    struct tiny_guest cpu[VCPUS]; // the first has the VM
    pthread_t thread[VCPUS];
    uint64_t passes[VCPUS];
    uint8_t *area;
    atomic_bool stop;
    atomic_uchar touched[PAGES]; // by user space
};

static struct machine machine;

static void set_slot(uint64_t gpa, uint64_t size, uint32_t flags) {
    struct kvm_userspace_memory_region region = {.slot = SLOT,
                                                 .flags = flags,
                                                 .guest_phys_addr = gpa,
                                                 .memory_size = size,
                                                 .userspace_addr = (uintptr_t)machine.area};
    CHECK(ioctl(machine.cpu[0].vm_fd, KVM_SET_USER_MEMORY_REGION, &region) == 0);
}

// No slot there, or a read-only one: user space is the memory.
static int do_mmio(struct kvm_run *run) {
    uint64_t offset = run->mmio.phys_addr - AREA;
    if (offset >= PAGES * PAGE || run->mmio.len != 8) {
        return 0;
    }
    if (!run->mmio.is_write) {
        memcpy(run->mmio.data, machine.area + offset, 8);
        return 1;
    }
    memcpy(machine.area + offset, run->mmio.data, 8);
    atomic_store(&machine.touched[offset / PAGE], 1);
    return 1;
}

// Ends between two passes only. Returns their number; NULL: something went wrong.
static void *run_vcpu(void *argument) {
    const struct tiny_guest *cpu = argument;
    struct kvm_run *run = cpu->run;
    uint64_t passes = 0;
    do {
        int result = ioctl(cpu->vcpu_fd, KVM_RUN, 0);
        if (result == 0 && run->exit_reason == KVM_EXIT_IO) {
            passes++;
        } else if (result || run->exit_reason != KVM_EXIT_MMIO || !do_mmio(run)) {
            printf("# KVM_RUN %d, errno %d, exit reason %u\n", result, errno, run->exit_reason);
            return NULL;
        }
    } while (run->exit_reason == KVM_EXIT_MMIO || !atomic_load(&machine.stop));
    return (void *)passes;
}

static void start(void) {
    struct tiny_guest *first = &machine.cpu[0];
    memset(&machine, 0, sizeof(machine));
    machine.area =
        mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    tiny_check(machine.area != MAP_FAILED, "area");
    tiny_create(first, 1 << 20);
    memcpy(first->memory + GUEST_CODE, hammer, (size_t)(hammer_end - hammer));
    set_slot(AREA, PAGES * PAGE, 0);
    for (int i = 0; i < VCPUS; i++) {
        struct tiny_guest *cpu = &machine.cpu[i];
        struct kvm_regs regs = {
            .rip = GUEST_CODE, .rflags = 2, .rsi = AREA, .r9 = 8u * (unsigned)i};
        if (i) {
            *cpu = *first;
            cpu->vcpu_fd = ioctl(cpu->vm_fd, KVM_CREATE_VCPU, i);
            tiny_check(cpu->vcpu_fd >= 0, "KVM_CREATE_VCPU");
            cpu->run =
                mmap(NULL, cpu->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, cpu->vcpu_fd, 0);
            tiny_check(cpu->run != MAP_FAILED, "kvm_run");
        }
        tiny_enter_long_mode(cpu);
        tiny_check(ioctl(cpu->vcpu_fd, KVM_SET_REGS, &regs) == 0, "KVM_SET_REGS");
        tiny_check(pthread_create(&machine.thread[i], NULL, run_vcpu, cpu) == 0, "thread");
    }
}

// Ends the vCPUs' threads and compares what they did with what is in memory.
static void stop(void) {
    atomic_store(&machine.stop, 1);
    for (int i = 0; i < VCPUS; i++) {
        void *passes;
        pthread_join(machine.thread[i], &passes);
        machine.passes[i] = (uint64_t)passes;
        CHECK(passes != NULL);
    }
    for (unsigned page = 0; page < PAGES; page++) {
        const uint64_t *words = (const uint64_t *)(machine.area + page * PAGE);
        for (int i = 0; i < VCPUS; i++) {
            if (!CHECK(words[i] == machine.passes[i], "page %u vCPU %d: %llu after %llu passes",
                       page, i, (unsigned long long)words[i],
                       (unsigned long long)machine.passes[i])) {
                return;
            }
        }
    }
}

static void destroy(void) {
    for (int i = 1; i < VCPUS; i++) {
        munmap(machine.cpu[i].run, machine.cpu[i].run_size);
        close(machine.cpu[i].vcpu_fd);
    }
    tiny_destroy(&machine.cpu[0]);
    munmap(machine.area, PAGES * PAGE);
}

static void pause_a_little(void) {
    for (int i = 0; i < 20; i++) {
        sched_yield();
    }
}

static void test_come_and_go(void) {
    start();
    for (int i = 0; i < ROUNDS; i++) {
        set_slot(AREA, 0, 0);
        pause_a_little();
        set_slot(AREA, PAGES * PAGE, i % 2 ? KVM_MEM_READONLY : 0);
        pause_a_little();
    }
    stop();
    destroy();
}

static void test_move(void) {
    start();
    for (int i = 0; i < ROUNDS; i++) {
        set_slot(BESIDE, PAGES * PAGE, 0);
        pause_a_little();
        set_slot(AREA, PAGES * PAGE, 0);
        pause_a_little();
    }
    stop();
    destroy();
}

static void copy_dirty(uint8_t *copy) {
    uint64_t bits[PAGES / 64] = {0};
    struct kvm_dirty_log log = {.slot = SLOT, .dirty_bitmap = bits};
    CHECK(ioctl(machine.cpu[0].vm_fd, KVM_GET_DIRTY_LOG, &log) == 0);
    for (unsigned page = 0; page < PAGES; page++) {
        if (bits[page / 64] >> page % 64 & 1 || atomic_exchange(&machine.touched[page], 0)) {
            memcpy(copy + page * PAGE, machine.area + page * PAGE, PAGE);
        }
    }
}

// As a migration does it: whatever is not reported as written must be as it was copied last.
static void test_log(void) {
    uint8_t *copy = malloc(PAGES * PAGE);
    start();
    for (int i = 0; i < 3; i++) {
        set_slot(AREA, PAGES * PAGE, KVM_MEM_LOG_DIRTY_PAGES);
        memcpy(copy, machine.area, PAGES * PAGE);
        for (int round = 0; round < ROUNDS; round++) {
            copy_dirty(copy);
            pause_a_little();
        }
        if (i < 2) {
            set_slot(AREA, PAGES * PAGE, 0);
            pause_a_little();
        }
    }
    stop();
    copy_dirty(copy);
    CHECK(memcmp(copy, machine.area, PAGES * PAGE) == 0);
    destroy();
    free(copy);
}

#define SMM_SLOT   (1u << 16)
#define SMM_BASE   0x30000u // after reset
#define SMM_SIZE   0x10000u
#define COUNT_PORT 0x10
#define SMM_PORT   0x20

LONG_MODE_CODE(counter, "1: inc %rbx\n mov $0x10, %edx\n out %eax, %dx\n jmp 1b\n");
REAL_MODE_CODE(smi_handler, "mov $0x5a, %bl\n out %al, $0x20\n rsm\n");

static void expect_port(const struct tiny_guest *guest, uint16_t port, unsigned flags) {
    CHECK_EQUAL(ioctl(guest->vcpu_fd, KVM_RUN, 0), 0);
    CHECK_EQUAL(guest->run->exit_reason, KVM_EXIT_IO);
    CHECK_EQUAL(guest->run->io.port, port);
    CHECK_EQUAL(guest->run->flags, flags);
}

// An SMI's handler and save area are in the second address space only; RSM brings all back.
static void test_system_management_mode(void) {
    struct kvm_regs regs = {.rip = GUEST_CODE, .rflags = 2, .rsp = GUEST_STACK};
    struct tiny_guest guest;
    uint64_t saved_rip, elsewhere;
    uint8_t *memory =
        mmap(NULL, SMM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    tiny_create(&guest, 1 << 20);
    tiny_enter_long_mode(&guest);
    tiny_check(ioctl(guest.vcpu_fd, KVM_SET_REGS, &regs) == 0, "KVM_SET_REGS");
    memcpy(guest.memory + GUEST_CODE, counter, (size_t)(counter_end - counter));
    memcpy(memory + 0x8000, smi_handler, (size_t)(smi_handler_end - smi_handler));
    tiny_add_memory(&guest, SMM_SLOT, SMM_BASE, memory, SMM_SIZE);
    for (uint64_t i = 1; i < 10; i++) {
        expect_port(&guest, COUNT_PORT, 0);
        CHECK(ioctl(guest.vcpu_fd, KVM_SMI, 0) == 0);
        expect_port(&guest, SMM_PORT, KVM_RUN_X86_SMM);
        CHECK(ioctl(guest.vcpu_fd, KVM_SMI, 0) == 0); // waits for the end of the first
        expect_port(&guest, SMM_PORT, KVM_RUN_X86_SMM);
        expect_port(&guest, COUNT_PORT, 0);
        CHECK(ioctl(guest.vcpu_fd, KVM_GET_REGS, &regs) == 0);
        CHECK_EQUAL(regs.rbx, 2 * i);
    }
    memcpy(&saved_rip, memory + 0xff78, sizeof(saved_rip));
    memcpy(&elsewhere, guest.memory + SMM_BASE + 0xff78, sizeof(elsewhere));
    CHECK(saved_rip > GUEST_CODE && saved_rip < GUEST_CODE + 16);
    CHECK_EQUAL(elsewhere, 0);
    tiny_destroy(&guest);
    munmap(memory, SMM_SIZE);
}

static size_t free_memory(void) {
    struct sysinfo info = {0};
    sysinfo(&info);
    return info.freeram * info.mem_unit >> 10;
}

// What caches keep the first time is there the second time.
static void test_memory_returns(void) {
    size_t before = free_memory();
    test_come_and_go();
    size_t between = free_memory();
    test_come_and_go();
    size_t after = free_memory();
    CHECK(after + 32 >= between, "%zu KiB free, then %zu, then %zu", before, between, after);
}

int main(int argc, char **argv) {
    static const struct tap_test tests[] = {{"come and go", test_come_and_go},
                                            {"move", test_move},
                                            {"log", test_log},
                                            {"system-management mode", test_system_management_mode},
                                            {"memory returns", test_memory_returns}};
    return tap_run(tests, sizeof(tests) / sizeof(tests[0]), argc > 1 ? argv[1] : NULL);
}
