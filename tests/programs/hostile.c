// SPDX-License-Identifier: BSD-2-Clause
// hostile: guests that do their worst - triple faults, loops with interrupts off, writes to all
// addresses, ports, MSRs and control registers, random code - harm only themselves. A guest in
// another process works through it all.
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>

#include "tap.h"

#include "self_process.h"
#include "worker_guest.h"

#define MEMORY_SIZE  (2u << 20)
#define IDT_ADDRESS  0x18000ull
#define HANDLER_CODE 0x19000ull

static pid_t canary;
static int canary_fd; // closing it tells the canary to end

static void ignore_signal(int signal) {
    (void)signal;
}

// Sends this thread a signal after a while, over and over, as a monitor's watchdog would.
struct watchdog {
    pthread_t thread;
    pthread_t target;
    volatile int stop;
};

static void *watchdog_thread(void *argument) {
    struct watchdog *watchdog = argument;

    while (!watchdog->stop) {
        usleep(20000);
        pthread_kill(watchdog->target, SIGUSR1);
    }
    return NULL;
}

static void watchdog_start(struct watchdog *watchdog) {
    watchdog->target = pthread_self();
    watchdog->stop = 0;
    tiny_check(pthread_create(&watchdog->thread, NULL, watchdog_thread, watchdog) == 0,
               "pthread_create");
}

static void watchdog_stop(struct watchdog *watchdog) {
    watchdog->stop = 1;
    pthread_join(watchdog->thread, NULL);
}

// Every exception skips R15 bytes of code and goes on.
LONG_MODE_CODE(skip_with_code, "add $8, %rsp\n add %r15, (%rsp)\n iretq\n");
LONG_MODE_CODE(skip_without_code, "add %r15, (%rsp)\n iretq\n");

static void write_idt(struct tiny_guest *guest) {
    const uint32_t with_code = 1u << 8 | 1u << 10 | 1u << 11 | 1u << 12 | 1u << 13 | 1u << 14 |
                               1u << 17 | 1u << 21 | 1u << 29 | 1u << 30;
    struct kvm_sregs sregs;

    memcpy(guest->memory + HANDLER_CODE, skip_with_code,
           (size_t)(skip_with_code_end - skip_with_code));
    memcpy(guest->memory + HANDLER_CODE + 64, skip_without_code,
           (size_t)(skip_without_code_end - skip_without_code));
    for (unsigned vector = 0; vector < 32; vector++) {
        uint64_t handler = HANDLER_CODE + (with_code >> vector & 1 ? 0 : 64);
        uint64_t *gate = (uint64_t *)(guest->memory + IDT_ADDRESS + 16ul * vector);
        gate[0] = (handler & 0xffff) | 0x8ull << 16 | 0x8e00ull << 32 | (handler >> 16) << 48;
        gate[1] = 0;
    }
    // IRET loads the segments from memory.
    const uint64_t gdt[] = {0, 0x00af9b000000ffff, 0x00cf93000000ffff};
    memcpy(guest->memory + 0x800, gdt, sizeof(gdt));
    tiny_check(ioctl(guest->vcpu_fd, KVM_GET_SREGS, &sregs) == 0, "KVM_GET_SREGS");
    sregs.idt.base = IDT_ADDRESS;
    sregs.idt.limit = 32 * 16 - 1;
    sregs.gdt.base = 0x800;
    sregs.gdt.limit = sizeof(gdt) - 1;
    tiny_check(ioctl(guest->vcpu_fd, KVM_SET_SREGS, &sregs) == 0, "KVM_SET_SREGS");
}

static void start(struct tiny_guest *guest, const uint8_t *code, const uint8_t *end) {
    struct kvm_regs regs = {.rip = GUEST_CODE, .rsp = GUEST_STACK, .rflags = 2, .r15 = 2};

    tiny_create(guest, MEMORY_SIZE);
    tiny_enter_long_mode(guest);
    memcpy(guest->memory + GUEST_CODE, code, (size_t)(end - code));
    write_idt(guest);
    tiny_check(ioctl(guest->vcpu_fd, KVM_SET_REGS, &regs) == 0, "KVM_SET_REGS");
}

// Answers every exit to user space with ones until something else comes or limit exits are over.
// Returns the last exit's reason, KVM_EXIT_INTR for a signal, KVM_EXIT_UNKNOWN for an errno.
static uint32_t serve(struct tiny_guest *guest, unsigned long limit) {
    while (limit-- > 0) {
        if (ioctl(guest->vcpu_fd, KVM_RUN, 0) < 0) {
            return errno == EINTR ? KVM_EXIT_INTR : KVM_EXIT_UNKNOWN;
        }
        struct kvm_run *run = guest->run;
        if (run->exit_reason == KVM_EXIT_IO) {
            if (run->io.direction == KVM_EXIT_IO_IN) {
                memset((uint8_t *)run + run->io.data_offset, 0xff,
                       (size_t)run->io.size * run->io.count);
            }
        } else if (run->exit_reason == KVM_EXIT_MMIO) {
            memset(run->mmio.data, 0xff, sizeof(run->mmio.data));
        } else {
            return run->exit_reason;
        }
    }
    return guest->run->exit_reason;
}

static void canary_lives(void) {
    int status;

    CHECK(waitpid(canary, &status, WNOHANG) == 0, "the guest beside has ended");
}

LONG_MODE_CODE(fault_thrice,
               "lidt (%rsp)\n movq $0, (%rsp)\n movq $0, 8(%rsp)\n lidt (%rsp)\n ud2\n");

static void test_triple_fault(void) {
    struct tiny_guest guest;

    for (int i = 0; i < 10; i++) {
        start(&guest, fault_thrice, fault_thrice_end);
        CHECK_EQUAL(serve(&guest, 10), KVM_EXIT_SHUTDOWN);
        tiny_destroy(&guest);
    }
    canary_lives();
}

LONG_MODE_CODE(loop_deaf, "cli\n1: jmp 1b\n");

static void test_deaf_loop(void) {
    struct tiny_guest guest;
    struct watchdog watchdog;

    start(&guest, loop_deaf, loop_deaf_end);
    watchdog_start(&watchdog);
    for (int i = 0; i < 5; i++) {
        CHECK_EQUAL(serve(&guest, 1), KVM_EXIT_INTR);
    }
    watchdog_stop(&watchdog);
    tiny_destroy(&guest);
    canary_lives();
}

// From the end of the code to the end of the page tables' reach, above its own pages.
LONG_MODE_CODE(write_memory, "mov $0x30000, %edi\n mov $0x100000000, %rcx\n"
                             "1: movq $-1, (%rdi)\n movb $-1, 0x123(%rdi)\n add $0x11000, %rdi\n"
                             "cmp %rcx, %rdi\n jb 1b\n hlt\n");

static void test_write_memory(void) {
    struct tiny_guest guest;

    start(&guest, write_memory, write_memory_end);
    CHECK_EQUAL(serve(&guest, ~0ul), KVM_EXIT_HLT);
    tiny_destroy(&guest);
    canary_lives();
}

// Over its own page tables, descriptor tables and code, until nothing works any more.
LONG_MODE_CODE(write_itself,
               "xor %edi, %edi\n mov $-1, %rax\n mov $0x40000, %ecx\n rep stosq\n hlt\n");

static void test_write_itself(void) {
    struct tiny_guest guest;
    struct watchdog watchdog;

    start(&guest, write_itself, write_itself_end);
    watchdog_start(&watchdog);
    CHECK(serve(&guest, 1000) != KVM_EXIT_UNKNOWN);
    watchdog_stop(&watchdog);
    tiny_destroy(&guest);
    canary_lives();
}

LONG_MODE_CODE(write_ports, "xor %edx, %edx\n mov $-1, %eax\n"
                            "1: out %al, %dx\n in %dx, %eax\n inc %dx\n jnz 1b\n hlt\n");

static void test_ports(void) {
    struct tiny_guest guest;

    start(&guest, write_ports, write_ports_end);
    CHECK_EQUAL(serve(&guest, ~0ul), KVM_EXIT_HLT);
    tiny_destroy(&guest);
    canary_lives();
}

// R8 to R9: MSRs to write with all ones, with zero and with what RDMSR read.
LONG_MODE_CODE(write_msrs,
               "1: mov %r8d, %ecx\n mov $-1, %eax\n mov %eax, %edx\n wrmsr\n"
               "mov %r8d, %ecx\n xor %eax, %eax\n xor %edx, %edx\n wrmsr\n"
               "mov %r8d, %ecx\n rdmsr\n wrmsr\n inc %r8\n cmp %r9, %r8\n jb 1b\n hlt\n");

static void test_msrs(void) {
    static const uint64_t ranges[][2] = {{0x0, 0x1000},
                                         {0x40000000, 0x40000200},
                                         {0x4b564d00, 0x4b564d10},
                                         {0xc0000000, 0xc0000200},
                                         {0xc0010000, 0xc0010200}};
    struct tiny_guest guest;
    struct kvm_regs regs;

    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        struct watchdog watchdog;
        uint32_t reason;

        start(&guest, write_msrs, write_msrs_end);
        tiny_check(ioctl(guest.vcpu_fd, KVM_GET_REGS, &regs) == 0, "KVM_GET_REGS");
        regs.r8 = ranges[i][0];
        regs.r9 = ranges[i][1];
        tiny_check(ioctl(guest.vcpu_fd, KVM_SET_REGS, &regs) == 0, "KVM_SET_REGS");
        watchdog_start(&watchdog);
        // What it has broken of itself decides how it ends; that it ends is what counts.
        for (int signals = 0; (reason = serve(&guest, ~0ul)) == KVM_EXIT_INTR && signals < 500;
             signals++) {
        }
        watchdog_stop(&watchdog);
        CHECK(reason != KVM_EXIT_UNKNOWN, "range %#llx", (unsigned long long)ranges[i][0]);
        tiny_destroy(&guest);
    }
    canary_lives();
}

// Control and debug registers: all ones, and each bit alone. The moves are three bytes long, four
// for CR8.
LONG_MODE_CODE(write_controls,
               "mov $3, %r15d\n mov $-1, %rax\n mov %rax, %cr0\n mov %rax, %cr4\n"
               "mov %rax, %cr3\n mov %rax, %dr7\n mov %rax, %dr6\n mov %rax, %dr0\n"
               "mov $1, %ebx\n"
               "1: mov %rbx, %cr4\n mov %rbx, %dr7\n mov %rbx, %dr6\n shl $1, %rbx\n"
               "jnz 1b\n mov $4, %r15d\n mov $-1, %rax\n mov %rax, %cr8\n"
               "mov $3, %r15d\n xor %eax, %eax\n xsetbv\n mov $-1, %eax\n xsetbv\n"
               "mov $1, %ebx\n2: mov %rbx, %cr0\n shl $1, %rbx\n jnz 2b\n hlt\n");

static void test_control_registers(void) {
    struct tiny_guest guest;
    struct watchdog watchdog;

    start(&guest, write_controls, write_controls_end);
    watchdog_start(&watchdog);
    CHECK(serve(&guest, 1000) != KVM_EXIT_UNKNOWN);
    watchdog_stop(&watchdog);
    tiny_destroy(&guest);
    canary_lives();
}

static uint32_t next_random(uint32_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

static void test_random_code(void) {
    uint32_t random = 2463534242u;
    struct tiny_guest guest;
    struct watchdog watchdog;

    for (int i = 0; i < 32; i++) {
        start(&guest, loop_deaf, loop_deaf_end);
        if (i % 2) {
            struct kvm_regs regs = {.rip = GUEST_CODE & 0xffff, .rsp = 0x7000, .rflags = 2};
            tiny_enter_real_mode(&guest);
            regs.rip = 0x8000;
            ioctl(guest.vcpu_fd, KVM_SET_REGS, &regs);
        }
        for (uint32_t *word = (uint32_t *)(guest.memory + (i % 2 ? 0x8000 : GUEST_CODE));
             word < (uint32_t *)(guest.memory + 0x30000); word++) {
            *word = next_random(&random);
        }
        watchdog_start(&watchdog);
        CHECK(serve(&guest, 1000) != KVM_EXIT_UNKNOWN, "round %d", i);
        watchdog_stop(&watchdog);
        tiny_destroy(&guest);
    }
    canary_lives();
}

static void test_canary(void) {
    close(canary_fd);
    CHECK(exited_with(self_wait(canary), 0));
    CHECK(worker_runs(3));
}

static int canary_main(void) {
    struct tiny_guest guest;
    uint64_t rounds = 0;
    char byte;

    worker_start(&guest, 1);
    fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK);
    while (read(STDIN_FILENO, &byte, 1) != 0) {
        if (!worker_round(&guest, 1 + rounds++)) {
            return 1;
        }
    }
    return rounds > 0 ? 0 : 3;
}

int main(int argc, char **argv) {
    static const struct tap_test tests[] = {
        {"triple fault", test_triple_fault},
        {"loop with interrupts off", test_deaf_loop},
        {"writes to all memory", test_write_memory},
        {"writes over itself", test_write_itself},
        {"all ports", test_ports},
        {"MSRs", test_msrs},
        {"control and debug registers", test_control_registers},
        {"random code", test_random_code},
        {"the guest beside is unharmed", test_canary},
    };
    struct sigaction action = {.sa_handler = ignore_signal};
    int fds[2];

    self_path = argv[0];
    if (argc > 1) {
        return canary_main();
    }
    sigaction(SIGUSR1, &action, NULL);
    if (pipe2(fds, O_CLOEXEC) < 0) {
        perror("pipe2");
        return 1;
    }
    canary = self_spawn("canary", fds[0]);
    close(fds[0]);
    canary_fd = fds[1];
    return tap_run(tests, sizeof(tests) / sizeof(tests[0]), NULL);
}
