// SPDX-License-Identifier: BSD-2-Clause
// fuzz_kvm [SECONDS [SEED]]: the whole ioctl surface of KVM with wrong sizes, pointers, states and
// orders, by three threads at once, while virtual machines come and go and their memory changes
// under running vCPUs. Each round is a process of its own, that ends in the midst of it all. The
// kernel must live, give back all memory, and then still run a virtual machine.
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/eventfd.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <time.h>

#include "tap.h"

#include "fuzz_kvm/requests.h"
#include "self_process.h"
#include "tiny_guest.h"

#define WORKERS      3
#define FILES        48
#define ROUND        1.5         // seconds
#define ROUND_HANGS  60          // seconds until a round that does not end has hung
#define ARENA_SIZE   (4ul << 20) // memory of guests and of arguments
#define ARGUMENTS    (1ul << 20) // of these, at the end of the arena
#define LEAK_ALLOWED (64ul << 10)

// -- what the threads of a round share --

static struct {
    _Atomic int fd; // -1 none
    _Atomic int kind;
    _Atomic(struct kvm_run *) run; // of a vCPU that was made to run
} files[FILES];
static uint8_t *arena;
static size_t run_size;
static int random_fd, zero_fd;
static atomic_bool stop;
static atomic_ulong calls;
static pthread_t workers[WORKERS];
static _Thread_local uint64_t state;

static uint32_t random_below(uint32_t limit) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32) % limit;
}

static uint64_t random_number(void) {
    switch (random_below(6)) {
    case 0:
        return (uint64_t)random_below(1u << 31) << 33 | random_below(1u << 31);
    case 1:
        return 1ull << random_below(64);
    case 2:
        return ~0ull - random_below(4);
    case 3:
        return (uint64_t)random_below(1024) << 12;
    default:
        return random_below(9);
    }
}

static void keep(int fd, enum kind kind, struct kvm_run *run) {
    unsigned at = random_below(FILES);

    if (fd < 0)
        return;
    struct kvm_run *old_run = atomic_exchange(&files[at].run, NULL);
    int old = atomic_exchange(&files[at].fd, fd);
    atomic_store(&files[at].kind, kind);
    atomic_store(&files[at].run, run);
    if (old >= 0)
        close(old);
    if (old_run)
        munmap(old_run, run_size);
}

// A file of that kind if there is one; now and then any.
static unsigned choose(enum kind kind) {
    unsigned at = random_below(FILES);

    if (kind == ANY || random_below(20) == 0)
        return at;
    for (unsigned i = 0; i < FILES; i++, at = (at + 1) % FILES)
        if (files[at].kind == (int)kind && files[at].fd >= 0)
            break;
    return at;
}

// -- one step of a worker --

static const uint8_t *wrong_pointer(void) {
    static const uint64_t pointers[] = {
        0,    1, 0x1000, 0x7ffffffff000, 0x800000000000, 0xffff800000000000, 0xffffffff80000000,
        ~0ull};
    return (const uint8_t *)pointers[random_below(sizeof(pointers) / sizeof(pointers[0]))];
}

static uint8_t *argument(void) {
    uint8_t *at = arena + ARENA_SIZE - ARGUMENTS + random_below(ARGUMENTS / 8192) * 8192ul;
    return random_below(30) ? at : at + random_below(8192);
}

// Of an argument's bytes some stay what an earlier call wrote there.
static void spoil(uint8_t *bytes, size_t size) {
    uint64_t value;

    switch (random_below(4)) {
    case 0:
        memset(bytes, 0, size);
        // fall through
    case 1:
        for (unsigned count = 1 + random_below(8); count && size >= 4; count--) {
            value = random_number();
            size_t at = random_below((uint32_t)(size / 4)) * 4;
            memcpy(bytes + at, &value, size - at < 8 ? 4 : 8);
        }
        break;
    case 2:
        for (size_t i = 0; i < size; i++)
            bytes[i] = (uint8_t)random_below(256);
        break;
    default:
        break;
    }
}

static void call(unsigned at, unsigned long request, const void *value) {
    long result = ioctl(files[at].fd, request, value);

    atomic_fetch_add(&calls, 1);
    if (result < 0)
        return;
    if (request == KVM_CREATE_VM)
        keep((int)result, VM, NULL);
    else if (request == KVM_CREATE_VCPU)
        keep((int)result, VCPU, NULL);
    else if (request == KVM_GET_STATS_FD)
        keep((int)result, ANY, NULL);
}

static void any_ioctl(void) {
    enum kind kind = SYSTEM + random_below(8) % 3;
    unsigned at = choose(kind);
    unsigned index = random_below(requests_of[kind].count);
    unsigned long request = requests_of[kind].requests[index];
    size_t size = _IOC_SIZE(request);
    uint8_t *bytes = argument();

    if (_IOC_DIR(request) == _IOC_NONE && request != KVM_SET_IDENTITY_MAP_ADDR) {
        call(at, request, (void *)random_number());
        return;
    }
    if (random_below(25) == 0) {
        call(at, request, wrong_pointer());
        return;
    }
    // What GET says, changed a little, is what SET must be able to bear.
    for (unsigned i = 0; i < requests_of[kind].count && random_below(2); i++) {
        unsigned long other = requests_of[kind].requests[i];
        if (_IOC_NR(other) == _IOC_NR(request) - 1 && _IOC_SIZE(other) == size)
            ioctl(files[at].fd, other, bytes);
    }
    spoil(bytes, size + (random_below(3) ? 64 : 4096));
    if (request == KVM_SET_SIGNAL_MASK) // one that blocks all would stop the round
        memset(bytes + 4, 0, 8);
    if (random_below(30) == 0)
        request = _IOC(random_below(4), KVMIO, random_below(256), random_below(4096));
    call(at, request, bytes);
}

static void set_memory(unsigned vm) {
    struct kvm_userspace_memory_region region = {
        .slot = random_below(6) | (random_below(10) ? 0 : random_below(3) << 16),
        .flags = random_below(2) ? 0 : random_below(4),
        .guest_phys_addr = random_below(3) ? random_below(64) * 0x10000ull : random_number(),
        .memory_size = random_below(8) ? random_below(33) * 0x10000ull : random_number(),
        .userspace_addr = (uintptr_t)arena + random_below(32) * 0x10000ul};
    if (random_below(20) == 0)
        region.userspace_addr = random_number();
    call(vm, KVM_SET_USER_MEMORY_REGION, &region);
}

// A machine that has all it takes to run, mostly.
static void new_machine(void) {
    struct kvm_cpuid2 *cpuid = (struct kvm_cpuid2 *)argument();
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    int vm = ioctl(kvm, KVM_CREATE_VM, 0);
    struct kvm_userspace_memory_region region = {.memory_size = ARENA_SIZE / 2,
                                                 .userspace_addr = (uintptr_t)arena};

    ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000);
    if (random_below(4))
        ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region);
    if (random_below(2))
        ioctl(vm, KVM_CREATE_IRQCHIP, 0);
    cpuid->nent = 100;
    ioctl(kvm, KVM_GET_SUPPORTED_CPUID, cpuid);
    for (unsigned i = random_below(3); i < 3; i++) {
        struct kvm_regs regs = {.rip = random_below(0x10000), .rflags = 2, .rsp = 0x8000};
        struct kvm_sregs sregs;
        struct kvm_mp_state runnable = {.mp_state = KVM_MP_STATE_RUNNABLE};
        int vcpu = ioctl(vm, KVM_CREATE_VCPU, (unsigned long)i);
        if (vcpu < 0)
            continue;
        ioctl(vcpu, KVM_SET_CPUID2, cpuid);
        ioctl(vcpu, KVM_GET_SREGS, &sregs);
        sregs.cs.base = sregs.cs.selector = 0;
        ioctl(vcpu, KVM_SET_SREGS, &sregs);
        ioctl(vcpu, KVM_SET_REGS, &regs);
        ioctl(vcpu, KVM_SET_MP_STATE, &runnable);
        struct kvm_run *run = mmap(NULL, run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
        keep(vcpu, VCPU, run == MAP_FAILED ? NULL : run);
    }
    keep(vm, VM, NULL);
    if (random_below(8))
        close(kvm);
    else
        keep(kvm, SYSTEM, NULL);
}

static void run_vcpu(void) {
    unsigned at = choose(VCPU);
    uint8_t *run = (uint8_t *)atomic_load(&files[at].run);

    // What the kernel reads of kvm_run. Another thread may unmap it: read(2) writes there, not we.
    if (run && random_below(8) == 0)
        (void)!read(random_fd, run + random_below(32), 1 + random_below(8));
    if (run && random_below(8) == 0)
        (void)!read(random_fd, run + random_below(4096), random_below(512));
    if (run)
        (void)!read(zero_fd, &((struct kvm_run *)run)->immediate_exit, random_below(3));
    for (unsigned i = 0; i < 1 + random_below(4) && !stop; i++)
        call(at, KVM_RUN, NULL);
}

static void change_memory(void) {
    uint8_t *at = arena + random_below((ARENA_SIZE - ARGUMENTS) / 4096) * 4096ul;
    size_t size = (1 + random_below(64)) * 4096ul;

    if (at + size > arena + ARENA_SIZE - ARGUMENTS)
        size = 4096;
    switch (random_below(5)) {
    case 0:
        munmap(at, size);
        break;
    case 1:
        madvise(at, size, MADV_DONTNEED);
        break;
    case 2:
        mprotect(at, size, (int)random_below(4));
        break;
    default:
        (void)mmap(at, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
                   0);
        if (random_below(2) == 0) // code for the guests, whatever it may be
            (void)!read(random_fd, at, 64);
    }
}

static void events(void) {
    unsigned vm = choose(VM), event = choose(EVENT);
    struct kvm_irqfd irqfd = {.fd = (uint32_t)files[event].fd,
                              .gsi = random_below(28),
                              .flags = random_below(4) ? random_below(2) : random_below(8),
                              .resamplefd = (uint32_t)files[choose(EVENT)].fd};
    struct kvm_ioeventfd ioeventfd = {.datamatch = random_below(3),
                                      .addr = random_below(4) * 0x1000ull,
                                      .len = 1u << random_below(5),
                                      .fd = files[event].fd,
                                      .flags = random_below(16)};
    uint64_t one = 1;

    switch (random_below(4)) {
    case 0:
        call(vm, KVM_IRQFD, &irqfd);
        break;
    case 1:
        call(vm, KVM_IOEVENTFD, &ioeventfd);
        break;
    case 2:
        (void)!write(files[event].fd, &one, 8);
        break;
    default:
        keep(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), EVENT, NULL);
    }
}

static void odd_calls(void) {
    unsigned at = choose(ANY);
    int fd = files[at].fd;
    struct kvm_run *run;

    switch (random_below(6)) {
    case 0:
        (void)!pread(fd, argument(), random_below(8192), (off_t)random_number());
        break;
    case 1:
        (void)!pwrite(fd, argument(), random_below(64), 0);
        break;
    case 2: {
        size_t size = (1 + random_below(4)) * 4096ul;
        void *map = mmap(NULL, size, PROT_READ | PROT_WRITE,
                         random_below(2) ? MAP_SHARED : MAP_PRIVATE, fd, random_below(80) * 4096l);
        if (map != MAP_FAILED)
            munmap(map, size);
        break;
    }
    case 3:
        keep(dup(fd), (enum kind)files[at].kind, NULL);
        break;
    default:
        run = atomic_exchange(&files[at].run, NULL);
        fd = atomic_exchange(&files[at].fd, -1);
        if (run)
            munmap(run, run_size);
        if (fd >= 0)
            close(fd);
    }
}

static void *work(void *seed) {
    state = (uint64_t)(uintptr_t)seed * 0x9e3779b97f4a7c15 | 1;
    new_machine();
    while (!stop) {
        switch (random_below(16)) {
        case 0:
            if (random_below(4) == 0)
                new_machine();
            break;
        case 1 ... 3:
            run_vcpu();
            break;
        case 4:
            set_memory(choose(VM));
            break;
        case 5:
            change_memory();
            break;
        case 6:
            events();
            break;
        case 7:
            odd_calls();
            break;
        default:
            any_ioctl();
        }
    }
    return NULL;
}

static void nothing(int number) {
    (void)number;
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

// Ends every wait in KVM_RUN.
static void kick(double duration) {
    struct timespec pause = {.tv_nsec = 300000};

    for (double end = seconds() + duration; seconds() < end; nanosleep(&pause, NULL))
        for (unsigned i = 0; i < WORKERS; i++)
            pthread_kill(workers[i], SIGUSR1);
}

static int play_round(unsigned long seed) {
    struct sigaction action = {.sa_handler = nothing};

    sigaction(SIGUSR1, &action, NULL);
    state = seed * 0x9e3779b97f4a7c15 | 1;
    // An argument that begins late in its place ends behind the last one.
    arena = mmap(NULL, ARENA_SIZE + (64ul << 10), PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    tiny_check(arena != MAP_FAILED, "arena");
    for (unsigned i = 0; i < ARENA_SIZE / 2 / 4; i++) // guests' code, of every kind
        ((uint32_t *)arena)[i] = random_below(1u << 31) << random_below(2);
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    tiny_check(kvm >= 0, "/dev/kvm");
    random_fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    zero_fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    run_size = (size_t)ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    for (unsigned i = 0; i < FILES; i++)
        files[i].fd = -1;
    keep(kvm, SYSTEM, NULL);
    for (uintptr_t i = 0; i < WORKERS; i++)
        tiny_check(pthread_create(&workers[i], NULL, work, (void *)(seed * WORKERS + i + 1)) == 0,
                   "pthread_create");
    kick(ROUND);
    if (random_below(2)) {
        stop = true;
        kick(0.2); // those that are in KVM_RUN for good stay there
    }
    printf("# round %lu: %lu calls\n", seed, calls);
    fflush(stdout);
    _exit(0);
}

// -- the process that starts the rounds --

static size_t free_memory(void) {
    struct timespec pause = {.tv_nsec = 200000000};
    struct sysinfo info;

    nanosleep(&pause, NULL); // what ends may still be on its way
    sysinfo(&info);
    return info.freeram;
}

static unsigned long first_seed = 1;
static double duration = 20;

static int end_of_round(pid_t child) {
    struct timespec pause = {.tv_nsec = 10000000};
    double begun = seconds();
    int status;

    while (waitpid(child, &status, WNOHANG) == 0) {
        nanosleep(&pause, NULL);
        if (seconds() - begun > ROUND_HANGS) {
            kill(child, SIGKILL);
            return -1;
        }
    }
    return status;
}

static void test_rounds(void) {
    double begun = seconds();
    size_t before = 0;
    struct utsname system;

    uname(&system);
    for (unsigned long seed = first_seed; seed < first_seed + 2 || seconds() - begun < duration;
         seed++) {
        char text[24];
        if (seed == first_seed + 1) // the first warms up what the kernel keeps
            before = free_memory();
        snprintf(text, sizeof(text), "%lu", seed);
        int status = end_of_round(self_spawn(text, -1));
        if (!CHECK(exited_with(status, 0), "seed %lu: status %#x", seed, status))
            break;
    }
    size_t after = free_memory();
    printf("# free memory: %zu KiB after the first round, %zu KiB at the end\n", before >> 10,
           after >> 10);
    if (strcmp(system.version, "Ashlar") == 0)
        CHECK(after + LEAK_ALLOWED >= before, "%zu bytes are gone", before - after);
}

REAL_MODE_CODE(write_port, "mov $0x42, %al\n out %al, $0x10\n hlt\n");

static void test_machine_after(void) {
    struct tiny_guest guest;
    struct kvm_regs regs = {.rip = 0x1000, .rflags = 2};

    tiny_create(&guest, 1 << 20);
    tiny_enter_real_mode(&guest);
    memcpy(guest.memory + 0x1000, write_port, (size_t)(write_port_end - write_port));
    tiny_check(ioctl(guest.vcpu_fd, KVM_SET_REGS, &regs) == 0, "KVM_SET_REGS");
    CHECK_EQUAL(ioctl(guest.vcpu_fd, KVM_RUN, 0), 0);
    CHECK_EQUAL(guest.run->exit_reason, KVM_EXIT_IO);
    CHECK_EQUAL(((uint8_t *)guest.run)[guest.run->io.data_offset], 0x42);
    tiny_destroy(&guest);
}

int main(int argc, char **argv) {
    static const struct tap_test tests[] = {
        {"rounds", test_rounds},
        {"a machine afterwards", test_machine_after},
    };

    self_path = argv[0];
    // The rounds' own argument is a seed alone, and their parent has closed nothing.
    if (argc == 2 && getenv("FUZZ_ROUND"))
        return play_round(strtoul(argv[1], NULL, 0));
    if (argc > 1)
        duration = atof(argv[1]);
    if (argc > 2)
        first_seed = strtoul(argv[2], NULL, 0);
    setenv("FUZZ_ROUND", "1", 1);
    return tap_run(tests, sizeof(tests) / sizeof(tests[0]), NULL);
}
