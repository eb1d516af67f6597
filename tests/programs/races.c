// SPDX-License-Identifier: BSD-2-Clause
// races: two threads at one object of the kernel, and programs that would hold a CPU or reach
// beyond their own.
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tap.h"

#include "tiny_guest.h"

#define ROUNDS      500
#define MOVES       100
#define TIMERS      64
#define PATIENCE_MS 5000

static atomic_int stop;
static atomic_int ticks;

static int64_t now_ms(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000ll + now.tv_nsec / 1000000;
}

static void tick(int signal) {
    (void)signal;
    atomic_fetch_add(&ticks, 1);
}

static void *set_timer(void *argument) {
    timer_t timer = *(timer_t *)argument;
    struct itimerspec soon = {.it_interval = {0, 20000}, .it_value = {0, 1000}};
    struct itimerval also = {.it_interval = {0, 20}, .it_value = {0, 1}};

    for (int i = 0; i < ROUNDS && !stop; i++) {
        timer_settime(timer, 0, &soon, NULL);
        setitimer(ITIMER_REAL, &also, NULL);
    }
    return NULL;
}

static bool is_pending(int signal) {
    sigset_t set;

    return sigpending(&set) == 0 && sigismember(&set, signal);
}

// Both CPUs set the timers while they expire; they go on to tick after that, on a host that is slow
// to say so, too.
static void test_timers(void) {
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    struct sigaction action = {.sa_handler = tick, .sa_flags = SA_RESTART};
    struct itimerval off = {0};
    pthread_t other;
    sigset_t set;
    timer_t timer;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGALRM);
    sigprocmask(SIG_BLOCK, &set, NULL); // handlers would take all the time of a slow machine
    atomic_store(&stop, 0);
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGALRM, &action, NULL);
    CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    CHECK(pthread_create(&other, NULL, set_timer, &timer) == 0);
    set_timer(&timer);
    pthread_join(other, NULL);
    for (int64_t end = now_ms() + PATIENCE_MS;
         !(is_pending(SIGUSR1) && is_pending(SIGALRM)) && now_ms() < end;) {
        usleep(1000);
    }
    CHECK(is_pending(SIGUSR1));
    CHECK(is_pending(SIGALRM));
    CHECK(timer_delete(timer) == 0);
    setitimer(ITIMER_REAL, &off, NULL);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    usleep(1000);
    int before = atomic_load(&ticks);
    CHECK(before > 0);
    usleep(20000);
    CHECK_EQUAL(atomic_load(&ticks), before);
}

// Many timers of 1 ns: their program still runs, and so does whoever sleeps meanwhile.
static void test_timer_storm(void) {
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    struct itimerspec fast = {.it_interval = {0, 1}, .it_value = {0, 1}};
    timer_t timers[TIMERS];
    int64_t start = now_ms();
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL); // the storm is the kernel's alone
    for (int i = 0; i < TIMERS; i++) {
        CHECK(timer_create(CLOCK_MONOTONIC, &event, &timers[i]) == 0);
        CHECK(timer_settime(timers[i], 0, &fast, NULL) == 0);
    }
    for (volatile unsigned i = 0; i < 20000; i++) {
    }
    for (int i = 0; i < TIMERS; i++) {
        CHECK(timer_delete(timers[i]) == 0);
    }
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    CHECK(now_ms() - start < 10000, "%lld ms", (long long)(now_ms() - start));
}

// A period longer than time itself, and an end that a count of ticks can hardly hold.
static void test_timer_ends(void) {
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    struct itimerspec setting = {.it_interval.tv_sec = INT64_MAX, .it_value.tv_nsec = 1};
    timer_t timer;

    atomic_store(&ticks, 0);
    CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    for (int round = 0; round < 2; round++) {
        CHECK(timer_settime(timer, 0, &setting, NULL) == 0);
        for (int64_t end = now_ms() + PATIENCE_MS; !atomic_load(&ticks) && now_ms() < end;) {
            usleep(1000);
        }
        usleep(5000); // there is no second one
        CHECK_EQUAL(atomic_load(&ticks), 1);
        setting = (struct itimerspec){.it_value.tv_sec = INT64_MAX / 1000000000};
    }
    CHECK(timer_delete(timer) == 0);
}

// The same storm, of a process for each timer.
static void test_timer_crowd(void) {
    struct itimerval fast = {.it_interval = {0, 1}, .it_value = {0, 1}};
    pid_t children[TIMERS];
    int64_t start = now_ms();
    cpu_set_t all, one;
    sigset_t set;

    CHECK(sched_getaffinity(0, sizeof(all), &all) == 0);
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    CHECK(sched_setaffinity(0, sizeof(one), &one) == 0);
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    for (int i = 0; i < TIMERS; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            setitimer(ITIMER_REAL, &fast, NULL);
            for (;;) {
                pause();
            }
        }
        CHECK(children[i] > 0);
    }
    usleep(10000);
    for (int i = 0; i < TIMERS; i++) {
        CHECK(kill(children[i], SIGKILL) == 0);
        CHECK(waitpid(children[i], NULL, 0) == children[i]);
    }
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    CHECK(sched_setaffinity(0, sizeof(all), &all) == 0);
    CHECK(now_ms() - start < 20000, "%lld ms", (long long)(now_ms() - start));
}

static void *bind_name(void *argument) {
    int fd = *(int *)argument;
    struct sockaddr_un name = {.sun_family = AF_UNIX};

    snprintf(name.sun_path + 1, sizeof(name.sun_path) - 1, "race-%d-%d", fd, gettid());
    return (void *)(intptr_t)bind(
        fd, (struct sockaddr *)&name,
        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name.sun_path + 1)));
}

// A socket has one name, however many threads give it one.
static void test_bind(void) {
    for (int i = 0; i < 50; i++) {
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        pthread_t other;
        void *theirs;

        CHECK(pthread_create(&other, NULL, bind_name, &fd) == 0);
        void *ours = bind_name(&fd);
        pthread_join(other, &theirs);
        CHECK((ours == NULL) + (theirs == NULL) == 1);
        close(fd);
    }
}

static int pairs[3][2];

// Sends one end of a pair over another; as sendmsg.
static ssize_t send_fd(int over, int fd) {
    static char data[32768];
    struct iovec vector = {data, sizeof(data)};
    char control[CMSG_SPACE(sizeof(int))] = {0};
    struct msghdr message = {.msg_iov = &vector,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof(control)};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);

    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &fd, sizeof(fd));
    return sendmsg(over, &message, MSG_DONTWAIT);
}

static void *receive_in_vain(void *memory) {
    while (!stop) {
        recv(pairs[0][1], memory, 32768, MSG_DONTWAIT);
    }
    return NULL;
}

// A message that a receiver has in its hands, and puts back because its memory is bad, still counts
// where sockets are looked at for a ring of passed fds.
static void test_files_in_hand(void) {
    char *memory = mmap(NULL, 32768, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char data[4096];
    pthread_t other;

    stop = 0;
    CHECK(memory != MAP_FAILED && munmap(memory + 28672, 4096) == 0);
    for (int i = 0; i < 3; i++) {
        CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, pairs[i]) == 0);
    }
    CHECK(send_fd(pairs[0][0], pairs[1][1]) > 0);
    CHECK(pthread_create(&other, NULL, receive_in_vain, memory) == 0);
    for (int i = 0; i < 4 * ROUNDS; i++) {
        send_fd(pairs[1][0], pairs[0][1]);
        send_fd(pairs[2][0], pairs[0][1]); // would go round the ring for ever
        recv(pairs[1][1], data, sizeof(data), MSG_DONTWAIT);
        recv(pairs[2][1], data, sizeof(data), MSG_DONTWAIT);
    }
    stop = 1;
    pthread_join(other, NULL);
    for (int i = 0; i < 6; i++) {
        close(pairs[i / 2][i % 2]);
    }
}

static void *write_pipe(void *argument) {
    int fd = *(int *)argument;
    size_t size = 16 << 20;
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    write(fd, memory, size); // ends with EPIPE or a part
    return NULL;
}

// A signal ends a read that a writer on the other CPU would keep going.
static void test_pipe_interrupted(void) {
    struct sigaction ignore = {.sa_handler = SIG_IGN}, action = {.sa_handler = tick};
    struct itimerval alarm = {.it_value = {0, 2000}};
    size_t size = 8 << 20;
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    pthread_t other;
    int fds[2];

    sigaction(SIGPIPE, &ignore, NULL);
    sigaction(SIGALRM, &action, NULL);
    CHECK(pipe2(fds, O_CLOEXEC) == 0);
    CHECK(pthread_create(&other, NULL, write_pipe, &fds[1]) == 0);
    setitimer(ITIMER_REAL, &alarm, NULL);
    ssize_t got = read(fds[0], memory, size);
    CHECK(got > 0 || errno == EINTR, "%zd", got);
    close(fds[0]);
    pthread_join(other, NULL);
    close(fds[1]);
    munmap(memory, size);
}

// Beyond one's own program: init is neither killed nor changed, the machine stays on.
static void test_other_programs(void) {
    struct rlimit limit = {1, 1};

    if (getppid() != 1) {
        return; // on Linux, say, where init is not the parent
    }
    CHECK(kill(1, SIGKILL) == -1 && errno == EPERM);
    CHECK(syscall(SYS_tgkill, 1, 1, SIGKILL) == -1 && errno == EPERM);
    CHECK(syscall(SYS_tkill, 1, SIGTERM) == -1 && errno == EPERM);
    CHECK(prlimit(1, RLIMIT_NOFILE, &limit, NULL) == -1 && errno == EPERM);
    CHECK(syscall(SYS_reboot, 0xfee1dead, 672274793, 0x4321fedc, NULL) == -1 && errno == EPERM);
    CHECK(kill(-1, 0) == -1 && errno == ESRCH);
}

static void test_long_path(void) {
    char path[2048] = "/tmp/deep";
    struct stat status;

    CHECK(mkdir(path, 0755) == 0);
    size_t length = strlen(path);
    for (int i = 0; i < 100; i++) {
        length += (size_t)snprintf(path + length, sizeof(path) - length, "/../deep/././");
    }
    CHECK(stat(path, &status) == 0 && S_ISDIR(status.st_mode));
    snprintf(path + length, sizeof(path) - length, "missing");
    CHECK(stat(path, &status) == -1 && errno == ENOENT);
    CHECK(rmdir("/tmp/deep") == 0);
}

static void test_lock_ranges(void) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_END, .l_start = INT64_MAX};
    int fd = memfd_create("locked", MFD_CLOEXEC);

    CHECK(ftruncate(fd, 4096) == 0);
    CHECK(fcntl(fd, F_SETLK, &lock) == -1 && errno == EOVERFLOW);
    lock = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = INT64_MIN};
    CHECK(fcntl(fd, F_SETLK, &lock) == -1 && errno == EINVAL);
    lock = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 8, .l_len = -8};
    CHECK(fcntl(fd, F_SETLK, &lock) == 0);
    close(fd);
}

static void *flip(void *argument) {
    int fd = *(int *)argument;
    uint64_t one = 1, value;

    while (!atomic_load(&stop)) {
        write(fd, &one, sizeof(one));
        read(fd, &value, sizeof(value));
    }
    return NULL;
}

// What becomes ready and is not any more, again and again, does not keep epoll_wait from its
// signal.
static void test_epoll_interrupted(void) {
    struct sigaction action = {.sa_handler = tick};
    // Again and again: the first may come before the wait has begun.
    struct itimerval alarm = {.it_value = {0, 5000}, .it_interval = {0, 5000}}, none = {0};
    struct epoll_event event = {.events = EPOLLPRI};
    int epoll = epoll_create1(EPOLL_CLOEXEC), fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_t other;

    atomic_store(&stop, 0);
    sigaction(SIGALRM, &action, NULL);
    CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0);
    CHECK(pthread_create(&other, NULL, flip, &fd) == 0);
    setitimer(ITIMER_REAL, &alarm, NULL);
    int64_t start = now_ms();
    CHECK(epoll_wait(epoll, &event, 1, 5000) <= 0);
    CHECK(now_ms() - start < 5000);
    setitimer(ITIMER_REAL, &none, NULL);
    atomic_store(&stop, 1);
    pthread_join(other, NULL);
    close(fd);
    close(epoll);
}

struct pair {
    int epoll, fds[2];
    atomic_int threads, taken;
};

static bool take_one(struct pair *pair) {
    struct epoll_event event;
    uint64_t value;

    do {
        if (epoll_wait(pair->epoll, &event, 1, PATIENCE_MS) != 1) {
            return false;
        }
    } while (read(event.data.fd, &value, sizeof(value)) != sizeof(value)); // the other was faster
    return true;
}

static void *take_in_turns(void *argument) {
    struct pair *pair = argument;
    bool signals = atomic_fetch_add(&pair->threads, 1) == 0;

    for (int taken = 2; taken <= 2 * ROUNDS && !stop; taken += 2) {
        for (int i = 0; i < 2 && signals; i++) {
            eventfd_write(pair->fds[i], 1);
        }
        if (!take_one(pair)) {
            atomic_store(&stop, 1);
            return pair;
        }
        atomic_fetch_add(&pair->taken, 1);
        while (atomic_load(&pair->taken) < taken && !stop) {
            __builtin_ia32_pause(); // an emulator of one CPU at a time goes on with the other
        }
    }
    return NULL;
}

// Two threads, two events: who comes while the other takes the first must find the second.
static void test_epoll_shared(void) {
    struct pair pair = {.epoll = epoll_create1(EPOLL_CLOEXEC)};
    pthread_t other;
    void *failed;

    atomic_store(&stop, 0);
    for (int i = 0; i < 2; i++) {
        pair.fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        struct epoll_event event = {.events = EPOLLIN, .data.fd = pair.fds[i]};
        CHECK(epoll_ctl(pair.epoll, EPOLL_CTL_ADD, pair.fds[i], &event) == 0);
    }
    CHECK(pthread_create(&other, NULL, take_in_turns, &pair) == 0);
    CHECK(take_in_turns(&pair) == NULL);
    pthread_join(other, &failed);
    CHECK(failed == NULL);
    close(pair.fds[0]);
    close(pair.fds[1]);
    close(pair.epoll);
}

struct irqfds {
    int vm, eventfd;
};

static void *take_irqfds(void *argument) {
    struct irqfds *irqfds = argument;
    struct kvm_irqfd none = {
        .fd = (unsigned)irqfds->eventfd, .gsi = 5, .flags = KVM_IRQFD_FLAG_DEASSIGN};

    while (!stop) {
        ioctl(irqfds->vm, KVM_IRQFD, &none);
    }
    return NULL;
}

// One binds an eventfd to a line while the other takes the binding away.
static void test_irqfds(void) {
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    struct irqfds irqfds = {.vm = ioctl(kvm, KVM_CREATE_VM, 0),
                            .eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    struct kvm_irqfd irqfd = {.fd = (unsigned)irqfds.eventfd, .gsi = 5};
    pthread_t other;

    atomic_store(&stop, 0);
    CHECK(ioctl(irqfds.vm, KVM_CREATE_IRQCHIP, 0) == 0);
    CHECK(pthread_create(&other, NULL, take_irqfds, &irqfds) == 0);
    for (int i = 0; i < ROUNDS; i++) {
        ioctl(irqfds.vm, KVM_IRQFD, &irqfd);
        eventfd_write(irqfds.eventfd, 1);
    }
    atomic_store(&stop, 1);
    pthread_join(other, NULL);
    close(irqfds.eventfd);
    close(irqfds.vm);
    close(kvm);
}

static void *change_slots(void *argument) {
    struct tiny_guest *guest = argument;
    struct kvm_userspace_memory_region region = {
        .slot = 1, .guest_phys_addr = 1 << 30, .userspace_addr = (uintptr_t)guest->memory};

    for (int i = 0; i < ROUNDS; i++) {
        region.memory_size = i & 1 ? 0 : 4096;
        if (ioctl(guest->vm_fd, KVM_SET_USER_MEMORY_REGION, &region))
            return guest;
    }
    return NULL;
}

// One changes the machine's slots, which asks all CPUs, while the other waits to change its zones.
static void test_machine_changes(void) {
    struct tiny_guest guest;
    struct kvm_coalesced_mmio_zone zone = {.addr = 2u << 30, .size = 8};
    pthread_t other;
    void *failed;

    tiny_create(&guest, 1 << 20);
    CHECK(pthread_create(&other, NULL, change_slots, &guest) == 0);
    for (int i = 0; i < ROUNDS; i++) {
        ioctl(guest.vm_fd, KVM_REGISTER_COALESCED_MMIO, &zone);
        ioctl(guest.vm_fd, KVM_UNREGISTER_COALESCED_MMIO, &zone);
    }
    pthread_join(other, &failed);
    CHECK(failed == NULL);
    tiny_destroy(&guest);
}

LONG_MODE_CODE(count, "again: inc %rax\n out %al, $0x10\n jmp again\n");

// The number of exits, each of which shows the next number. NULL: one did not.
static void *run_counter(void *argument) {
    struct tiny_guest *guest = argument;
    struct kvm_regs regs = {.rip = GUEST_CODE, .rflags = 2};
    intptr_t exits = 0;

    ioctl(guest->vcpu_fd, KVM_SET_REGS, &regs);
    for (; !stop; exits++) {
        if (ioctl(guest->vcpu_fd, KVM_RUN, 0) || ioctl(guest->vcpu_fd, KVM_GET_REGS, &regs) ||
            regs.rax != (uint64_t)exits + 1) {
            return NULL;
        }
    }
    return (void *)exits;
}

// Both vCPUs are sent to and fro, each from the CPU that has the other's state loaded as well.
static void test_vcpus_move(void) {
    struct tiny_guest guests[2];
    pthread_t threads[2];

    stop = 0;
    for (int i = 0; i < 2; i++) {
        tiny_create(&guests[i], 1 << 20);
        tiny_enter_long_mode(&guests[i]);
        memcpy(guests[i].memory + GUEST_CODE, count, (size_t)(count_end - count));
        CHECK(pthread_create(&threads[i], NULL, run_counter, &guests[i]) == 0);
    }
    for (int i = 0; i < MOVES; i++) {
        for (int k = 0; k < 2; k++) {
            cpu_set_t set;
            CPU_ZERO(&set);
            CPU_SET((i >> k) & 1, &set);
            CHECK(pthread_setaffinity_np(threads[k], sizeof(set), &set) == 0);
        }
        usleep(10);
    }
    stop = 1;
    for (int i = 0; i < 2; i++) {
        void *exits;
        pthread_join(threads[i], &exits);
        CHECK(exits != NULL);
        tiny_destroy(&guests[i]);
    }
}

// MSR_KVM_SYSTEM_TIME_NEW, with a page of 1 GiB.
LONG_MODE_CODE(set_clock, "2: mov %rax, %rbx\n mov $0x4b564d01, %ecx\n"
                          "mov $0x40000001, %eax\n xor %edx, %edx\n wrmsr\n"
                          "mov %rbx, %rax\n inc %rax\n out %al, $0x10\n jmp 2b\n");

static void *change_mappings(void *unused) {
    (void)unused;
    while (!stop) {
        const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE;
        void *pages = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, flags, -1, 0);
        munmap(pages, 1 << 20);
    }
    return NULL;
}

// Two vCPUs share a CPU. A guest's clock is where nothing is mapped, so it waits for the changes
// that another thread makes: never in the midst of its vCPU's run.
static void test_clock_waits(void) {
    struct tiny_guest guests[2];
    pthread_t threads[3];
    cpu_set_t set;

    stop = 0;
    CHECK(pthread_create(&threads[2], NULL, change_mappings, NULL) == 0);
    CPU_ZERO(&set);
    CPU_SET(1, &set);
    CHECK(pthread_setaffinity_np(threads[2], sizeof(set), &set) == 0);
    CPU_ZERO(&set);
    CPU_SET(0, &set);
    for (int i = 0; i < 2; i++) {
        tiny_create(&guests[i], 1 << 20);
        tiny_enter_long_mode(&guests[i]);
        tiny_add_memory(&guests[i], 1, 1 << 30, (void *)(1ull << 40), 4096);
        memcpy(guests[i].memory + GUEST_CODE, i ? count : set_clock,
               (size_t)(i ? count_end - count : set_clock_end - set_clock));
        CHECK(pthread_create(&threads[i], NULL, run_counter, &guests[i]) == 0);
        CHECK(pthread_setaffinity_np(threads[i], sizeof(set), &set) == 0);
    }
    usleep(200000);
    stop = 1;
    pthread_join(threads[2], NULL);
    for (int i = 0; i < 2; i++) {
        void *exits;
        pthread_join(threads[i], &exits);
        CHECK(exits != NULL);
        tiny_destroy(&guests[i]);
    }
}

LONG_MODE_CODE(spin, "1: jmp 1b\n");

static struct tiny_guest spinning;

static void *run_spinning(void *unused) {
    struct kvm_regs regs = {.rip = GUEST_CODE, .rflags = 2};

    (void)unused;
    ioctl(spinning.vcpu_fd, KVM_SET_REGS, &regs);
    return (void *)(intptr_t)ioctl(spinning.vcpu_fd, KVM_RUN, 0);
}

static void *ask_spinning(void *unused) {
    struct kvm_regs regs;

    (void)unused;
    return (void *)(intptr_t)ioctl(spinning.vcpu_fd, KVM_GET_REGS, &regs);
}

// A call that waits for KVM_RUN's end on another thread goes on waiting whatever signals come.
static void test_vcpu_asked(void) {
    struct sigaction action = {.sa_handler = tick};
    pthread_t runs, asks;
    void *result;

    sigaction(SIGUSR1, &action, NULL);
    tiny_create(&spinning, 1 << 20);
    tiny_enter_long_mode(&spinning);
    memcpy(spinning.memory + GUEST_CODE, spin, (size_t)(spin_end - spin));
    CHECK(pthread_create(&runs, NULL, run_spinning, NULL) == 0);
    usleep(20000);
    CHECK(pthread_create(&asks, NULL, ask_spinning, NULL) == 0);
    usleep(20000);
    pthread_kill(asks, SIGUSR1);
    usleep(20000);
    pthread_kill(runs, SIGUSR1);
    pthread_join(runs, &result);
    CHECK_EQUAL((intptr_t)result, -1);
    pthread_join(asks, &result);
    CHECK_EQUAL((intptr_t)result, 0);
    tiny_destroy(&spinning);
}

static void *end_at_once(void *argument) {
    return argument;
}

// execve while other threads come and go, from a thread that has restartable sequences.
static void test_exec_again(const char *self) {
    char *argv[] = {(char *)self, "again", NULL}, *environment[] = {NULL};

    for (int i = 0; i < 8; i++) {
        pid_t pid;
        int status;

        CHECK(posix_spawn(&pid, self, NULL, NULL, argv, environment) == 0);
        CHECK(waitpid(pid, &status, 0) == pid);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7, "%#x", status);
    }
}

static const char *self_path;

static void test_exec(void) {
    test_exec_again(self_path);
}

static int role(const char *name) {
    char *argv[] = {(char *)self_path, "end", NULL}, *environment[] = {NULL};
    pthread_t other;

    if (strcmp(name, "end") == 0) {
        return 7;
    }
    for (int i = 0; i < 4; i++) {
        pthread_create(&other, NULL, i < 3 ? end_at_once : (void *(*)(void *))(void *)pause, NULL);
    }
    execve(self_path, argv, environment);
    return 1;
}

int main(int argc, char **argv) {
    static const struct tap_test tests[] = {
        {"timers set from two CPUs", test_timers},
        {"timer storm", test_timer_storm},
        {"timers of many processes", test_timer_crowd},
        {"timers without end", test_timer_ends},
        {"two binds", test_bind},
        {"fds in hand", test_files_in_hand},
        {"pipe and signal", test_pipe_interrupted},
        {"epoll and signal", test_epoll_interrupted},
        {"one epoll, two threads", test_epoll_shared},
        {"irqfds come and go", test_irqfds},
        {"two changes of a machine", test_machine_changes},
        {"vCPUs from CPU to CPU", test_vcpus_move},
        {"a guest's clock waits", test_clock_waits},
        {"vCPU asked while it runs", test_vcpu_asked},
        {"other programs", test_other_programs},
        {"long path", test_long_path},
        {"ranges of locks", test_lock_ranges},
        {"execve among threads", test_exec},
    };

    self_path = argv[0];
    if (argc > 1) {
        return role(argv[1]);
    }
    return tap_run(tests, sizeof(tests) / sizeof(tests[0]), NULL);
}
