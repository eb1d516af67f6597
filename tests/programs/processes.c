// SPDX-License-Identifier: BSD-2-Clause
// processes: fork and what a child has of its parent, process groups, stopping, signalfd, and a
// VM's fds in a child. Runs on Linux too, but for what needs /dev/kvm.
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <time.h>

#include "tap.h"

#include "self_process.h"

#define PAGE 4096ul
#define HUGE (2ul << 20)

// What parent and child both see.
static struct shared {
    volatile int step, value, pid;
    sem_t semaphore;
} * shared;

static void *anonymous(size_t size, int flags) {
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    return p;
}

// Forks; the child runs `run` and exits with what it returns.
static pid_t child(int (*run)(void *argument), void *argument) {
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0)
        _exit(run(argument));
    CHECK(pid > 0);
    return pid;
}

static void nap(long ms) {
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

static bool step_comes(int step) {
    for (int i = 0; i < 2000 && shared->step < step; i++)
        nap(5);
    return shared->step >= step;
}

static int check_and_write(void *argument) {
    unsigned char *memory = argument;
    bool right = true;
    for (size_t i = 0; i < 3 * HUGE; i += PAGE)
        right = right && memory[i] == (unsigned char)(i / PAGE);
    for (size_t i = 0; i < 3 * HUGE; i += 3 * PAGE)
        memory[i] = 0xee;
    shared->step = 1;
    // The parent writes its own now.
    while (shared->step < 2)
        nap(5);
    for (size_t i = 0; i < 3 * HUGE; i += PAGE)
        right = right && memory[i] == (unsigned char)(i / PAGE % 3 ? i / PAGE : 0xee);
    return right ? 0 : 1;
}

static void test_memory(void) {
    unsigned char *memory = anonymous(3 * HUGE, MAP_PRIVATE);
    bool right = true;

    for (size_t i = 0; i < 3 * HUGE; i += PAGE)
        memory[i] = (unsigned char)(i / PAGE);
    shared->step = 0;
    pid_t pid = child(check_and_write, memory);
    CHECK(step_comes(1));
    for (size_t i = 0; i < 3 * HUGE; i += PAGE) {
        right = right && memory[i] == (unsigned char)(i / PAGE);
        if (i / PAGE % 3)
            memory[i] = 0x77;
    }
    shared->step = 2;
    CHECK(right);
    CHECK(exited_with(self_wait(pid), 0));
    for (size_t i = 0; i < 3 * HUGE; i += PAGE)
        right = right && memory[i] == (unsigned char)(i / PAGE % 3 ? 0x77 : i / PAGE);
    CHECK(right);
    munmap(memory, 3 * HUGE);
}

static int own_files(void *argument) {
    const int *fds = argument;
    char byte = 0;
    // Offsets are shared, tables are not.
    if (read(fds[0], &byte, 1) != 1 || byte != 'b' || close(fds[0]) || close(fds[1]))
        return 1;
    if (mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fds[1], 0) != MAP_FAILED)
        return 2;
    return getppid() == shared->pid && getpid() != shared->pid ? 0 : 3;
}

static void test_files_and_ids(void) {
    int fds[2];
    char byte = 0;

    fds[0] = memfd_create("shared offset", 0);
    fds[1] = dup(fds[0]);
    CHECK(write(fds[0], "abc", 3) == 3 && lseek(fds[0], 1, SEEK_SET) == 1);
    shared->pid = getpid();
    CHECK(exited_with(self_wait(child(own_files, fds)), 0));
    CHECK(read(fds[0], &byte, 1) == 1 && byte == 'c');
    CHECK(close(fds[0]) == 0 && close(fds[1]) == 0);
}

static int wait_on_semaphore(void *argument) {
    (void)argument;
    shared->step = 1;
    return sem_wait(&shared->semaphore) ? 1 : 0;
}

static void test_shared_futex(void) {
    sem_init(&shared->semaphore, 1, 0);
    shared->step = 0;
    pid_t pid = child(wait_on_semaphore, NULL);
    CHECK(step_comes(1));
    nap(20);
    CHECK(sem_post(&shared->semaphore) == 0);
    CHECK(exited_with(self_wait(pid), 0));
}

static void *spin(void *argument) {
    (void)argument;
    for (volatile unsigned *count = &(unsigned){0};; ++*count)
        pthread_testcancel();
    return NULL;
}

static int only_one_thread(void *argument) {
    pthread_t thread;
    (void)argument;
    // The library's own locks must be usable, and a new thread must start.
    free(malloc(100));
    if (pthread_create(&thread, NULL, spin, NULL))
        return 1;
    return pthread_cancel(thread) || pthread_join(thread, NULL) ? 2 : 0;
}

static void test_threads(void) {
    pthread_t thread;

    CHECK(pthread_create(&thread, NULL, spin, NULL) == 0);
    for (int i = 0; i < 5; i++)
        CHECK(exited_with(self_wait(child(only_one_thread, NULL)), 0));
    pthread_cancel(thread);
    pthread_join(thread, NULL);
}

static int die(void *argument) {
    (void)argument;
    raise(SIGKILL);
    return 0;
}

static int grandparent(void *argument) {
    pid_t pid = fork();
    (void)argument;
    if (pid == 0) {
        for (int i = 0; i < 500 && getppid() == shared->pid; i++)
            nap(5);
        shared->value = getppid();
        shared->step = 1;
        _exit(0);
    }
    return 0;
}

static int set_pid_and_end(void *argument) {
    shared->pid = getpid();
    return grandparent(argument);
}

static int use_time(void *unused) {
    (void)unused;
    while (clock() < CLOCKS_PER_SEC / 50) {
    }
    return 0;
}

// What a child has used is known when it is reaped, however soon.
static void test_time_used(void) {
    for (int i = 0; i < 5; i++) {
        struct rusage usage;
        int status;
        pid_t pid = child(use_time, NULL), reaped;

        while ((reaped = wait4(pid, &status, WNOHANG, &usage)) == 0) {
        }
        CHECK(reaped == pid && exited_with(status, 0));
        long used = usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
        CHECK(used >= 15000, "%ld us", used);
    }
}

static void test_ends(void) {
    struct rusage usage;
    siginfo_t info;
    int status;

    CHECK(killed_by(self_wait(child(die, NULL)), SIGKILL));
    pid_t pid = child(die, NULL);
    CHECK(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) == 0);
    CHECK(info.si_code == CLD_KILLED && info.si_status == SIGKILL && info.si_pid == pid);
    CHECK(wait4(pid, &status, 0, &usage) == pid && killed_by(status, SIGKILL));
    CHECK(wait4(-1, &status, 0, NULL) == -1 && errno == ECHILD);
    // An orphan gets pid 1 (or Linux's subreaper) as its parent.
    shared->step = shared->value = 0;
    CHECK(exited_with(self_wait(child(set_pid_and_end, NULL)), 0));
    CHECK(step_comes(1) && shared->value != shared->pid && shared->value != 0);
}

static int exec_self(void *argument) {
    char *argv[] = {(char *)self_path, argument, NULL};
    execv(self_path, argv);
    return 1;
}

static void test_exec(void) {
    CHECK(exited_with(self_wait(child(exec_self, "exit 7")), 7));
}

static int many(void *argument) {
    pid_t pids[8];
    volatile char *memory = argument;
    for (int i = 0; i < 8; i++) {
        pids[i] = fork();
        memory[(size_t)i * PAGE] = (char)i;
        if (pids[i] == 0)
            _exit(memory[0] == 0 && memory[(size_t)i * PAGE] == (char)i ? 0 : 1);
    }
    for (int i = 0; i < 8; i++)
        if (pids[i] < 0 || !exited_with(self_wait(pids[i]), 0))
            return 1;
    return 0;
}

static void test_many(void) {
    void *memory = anonymous(HUGE, MAP_PRIVATE);
    pid_t pids[4];

    for (int i = 0; i < 4; i++)
        pids[i] = child(many, memory);
    for (int i = 0; i < 4; i++)
        CHECK(exited_with(self_wait(pids[i]), 0));
    munmap(memory, HUGE);
}

static int count_up(void *argument) {
    (void)argument;
    setpgid(0, 0);
    pid_t pid = fork();
    if (pid == 0)
        for (;;)
            pause();
    shared->pid = pid;
    shared->step = 1;
    while (shared->value++ != -1)
        ;
    return 0;
}

static void test_groups(void) {
    int status;

    CHECK_EQUAL(getpgid(0), getpgrp());
    CHECK(getpgid(99999) == -1 && errno == ESRCH);
    shared->step = 0;
    pid_t pid = child(count_up, NULL);
    CHECK(step_comes(1));
    CHECK(getpgid(pid) == pid && getpgid(shared->pid) == pid);
    CHECK_EQUAL(getsid(pid), getsid(0));
    CHECK(waitpid(-pid, &status, WNOHANG) == 0);
    CHECK(kill(-pid, 0) == 0);
    CHECK(setpgid(pid, 99999) == -1 && errno == EPERM);
    CHECK(kill(-pid, SIGTERM) == 0);
    CHECK(waitpid(-pid, &status, 0) == pid && killed_by(status, SIGTERM));
    for (int i = 0; i < 500 && kill(-pid, 0) == 0; i++) // pid 1 has yet to take its other member
        nap(5);
    CHECK(kill(-pid, 0) == -1 && errno == ESRCH);
}

static int session(void *argument) {
    (void)argument;
    if (setsid() != getpid() || getsid(0) != getpid() || getpgrp() != getpid())
        return 1;
    return setsid() == -1 && errno == EPERM && setpgid(0, 0) == -1 && errno == EPERM ? 0 : 2;
}

static void test_sessions(void) {
    CHECK(exited_with(self_wait(child(session, NULL)), 0));
}

static bool counts(void) {
    int before = shared->value;
    for (int i = 0; i < 200 && shared->value == before; i++)
        nap(50);
    return shared->value != before;
}

static bool stands(void) {
    int before = shared->value;
    nap(50);
    return shared->value == before;
}

static void test_stop(void) {
    siginfo_t info;
    sigset_t set;
    int status;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    shared->step = 0;
    pid_t pid = child(count_up, NULL);
    CHECK(step_comes(1) && counts());
    CHECK(kill(pid, SIGSTOP) == 0);
    CHECK(waitpid(pid, &status, WUNTRACED) == pid);
    CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    CHECK(waitpid(pid, &status, WUNTRACED | WNOHANG) == 0); // told once
    CHECK(sigwaitinfo(&set, &info) == SIGCHLD);
    CHECK(info.si_code == CLD_STOPPED && info.si_status == SIGSTOP && info.si_pid == pid);
    CHECK(stands());
    CHECK(kill(pid, SIGCONT) == 0);
    CHECK(waitid(P_PID, (id_t)pid, &info, WCONTINUED) == 0 && info.si_code == CLD_CONTINUED);
    CHECK(sigwaitinfo(&set, &info) == SIGCHLD && info.si_code == CLD_CONTINUED);
    CHECK(counts());
    for (int i = 0; i < 50; i++) { // whatever the order, it runs in the end
        kill(pid, SIGSTOP);
        kill(pid, SIGCONT);
    }
    CHECK(counts());
    kill(pid, SIGTSTP); // stops: somebody outside its group could continue it
    CHECK(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
    CHECK(kill(-pid, SIGTERM) == 0); // waits until it goes on
    CHECK(waitpid(pid, &status, WNOHANG) == 0);
    CHECK(kill(-pid, SIGKILL) == 0);
    CHECK(killed_by(self_wait(pid), SIGKILL));
    while (sigtimedwait(&set, NULL, &(struct timespec){0}) == SIGCHLD)
        ;
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static void test_signalfd(void) {
    struct signalfd_siginfo info;
    struct epoll_event event = {.events = EPOLLIN};
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGRTMIN);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC), epoll = epoll_create1(EPOLL_CLOEXEC);
    CHECK(fd >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0);
    CHECK(read(fd, &info, sizeof(info)) == -1 && errno == EAGAIN);
    CHECK_EQUAL(epoll_wait(epoll, &event, 1, 0), 0);
    CHECK(sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 42}) == 0);
    CHECK(kill(getpid(), SIGUSR1) == 0);
    CHECK_EQUAL(epoll_wait(epoll, &event, 1, 1000), 1);
    CHECK(read(fd, &info, sizeof(info)) == sizeof(info));
    CHECK(info.ssi_signo == SIGUSR1 && info.ssi_pid == (uint32_t)getpid());
    CHECK(read(fd, &info, sizeof(info)) == sizeof(info));
    CHECK((int)info.ssi_signo == SIGRTMIN && info.ssi_int == 42 && info.ssi_code == SI_QUEUE);
    CHECK_EQUAL(epoll_wait(epoll, &event, 1, 0), 0);
    // A child's end wakes a sleeper.
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    CHECK_EQUAL(signalfd(fd, &set, 0), fd);
    pid_t pid = child(exec_self, "exit 7");
    CHECK_EQUAL(epoll_wait(epoll, &event, 1, 10000), 1);
    CHECK(read(fd, &info, sizeof(info)) == sizeof(info) && info.ssi_signo == SIGCHLD);
    CHECK(info.ssi_pid == (uint32_t)pid && info.ssi_status == 7);
    CHECK(exited_with(self_wait(pid), 7));
    close(epoll);
    close(fd);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

struct guest {
    int kvm, vm, vcpu;
    struct kvm_run *run;
    unsigned char *memory;
};

static int use_parents_guest(void *argument) {
    const struct guest *guest = argument;
    if (ioctl(guest->vcpu, KVM_RUN, 0) != -1 || errno != EIO)
        return 1;
    if (ioctl(guest->vm, KVM_CREATE_VCPU, 1) != -1 || errno != EIO)
        return 2;
    if (ioctl(guest->kvm, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
        return 3;
    guest->memory[0x1000] = 0; // its own copy: the guest's code stays
    return guest->run->exit_reason == KVM_EXIT_IO ? 0 : 4;
}

static int run_to_out(const struct guest *guest) {
    return ioctl(guest->vcpu, KVM_RUN, 0) == 0 && guest->run->exit_reason == KVM_EXIT_IO &&
           guest->run->io.port == 0x10;
}

static void make_guest(struct guest *guest) {
    // inc word [0x2000]; out 0x10, al; jmp back
    static const unsigned char code[] = {0xff, 0x06, 0x00, 0x20, 0xe6, 0x10, 0xeb, 0xf8};
    struct kvm_regs regs = {.rip = 0x1000, .rflags = 2};
    struct kvm_sregs sregs;
    struct kvm_userspace_memory_region region = {.memory_size = HUGE};

    guest->vm = ioctl(guest->kvm, KVM_CREATE_VM, 0);
    guest->memory = anonymous(HUGE, MAP_PRIVATE);
    region.userspace_addr = (uintptr_t)guest->memory;
    memcpy(guest->memory + 0x1000, code, sizeof(code));
    CHECK(ioctl(guest->vm, KVM_SET_USER_MEMORY_REGION, &region) == 0);
    guest->vcpu = ioctl(guest->vm, KVM_CREATE_VCPU, 0);
    guest->run = mmap(NULL, (size_t)ioctl(guest->kvm, KVM_GET_VCPU_MMAP_SIZE, 0),
                      PROT_READ | PROT_WRITE, MAP_SHARED, guest->vcpu, 0);
    CHECK(guest->run != MAP_FAILED && ioctl(guest->vcpu, KVM_GET_SREGS, &sregs) == 0);
    sregs.cs.base = sregs.cs.selector = sregs.ds.base = sregs.ds.selector = 0;
    CHECK(ioctl(guest->vcpu, KVM_SET_SREGS, &sregs) == 0);
    CHECK(ioctl(guest->vcpu, KVM_SET_REGS, &regs) == 0);
}

static int run_own_guest(void *argument) {
    struct guest guest = *(struct guest *)argument;
    make_guest(&guest);
    for (int i = 0; i < 3; i++)
        if (!run_to_out(&guest))
            return 1;
    shared->step++;
    for (;;) // to be killed in the guest: no exit any more
        guest.memory[0x1004] = 0xeb, guest.memory[0x1005] = 0xfe, ioctl(guest.vcpu, KVM_RUN, 0);
}

static void test_guest(void) {
    struct guest guest = {.kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC)};
    struct guest own = guest;

    if (guest.kvm < 0) {
        printf("# no /dev/kvm: not looked at\n");
        return;
    }
    make_guest(&guest);
    for (int i = 0; i < 3; i++) {
        CHECK(run_to_out(&guest));
        CHECK_EQUAL(*(uint16_t *)(guest.memory + 0x2000), 2 * i + 1);
        CHECK(exited_with(self_wait(child(use_parents_guest, &guest)), 0));
        // Whoever holds the page now: guest and VMM still mean the same one.
        guest.memory[0x2000]++;
    }
    shared->step = 0;
    pid_t pids[3];
    for (int i = 0; i < 3; i++) {
        pids[i] = child(run_own_guest, &own);
        CHECK(step_comes(i + 1));
        CHECK(run_to_out(&guest));
    }
    for (int i = 0; i < 3; i++) {
        int status;
        CHECK(kill(pids[i], SIGSTOP) == 0);
        CHECK(waitpid(pids[i], &status, WUNTRACED) == pids[i] && WIFSTOPPED(status));
        if (i) // one dies as it stands
            kill(pids[i], SIGCONT);
        CHECK(kill(pids[i], SIGKILL) == 0);
        CHECK(killed_by(self_wait(pids[i]), SIGKILL));
    }
    CHECK(run_to_out(&guest));
    close(guest.vcpu);
    close(guest.vm);
    close(guest.kvm);
}

int main(int argc, char **argv) {
    static const struct tap_test tests[] = {
        {"memory", test_memory},
        {"files and ids", test_files_and_ids},
        {"shared futex", test_shared_futex},
        {"threads", test_threads},
        {"ends", test_ends},
        {"time used", test_time_used},
        {"exec", test_exec},
        {"many", test_many},
        {"groups", test_groups},
        {"sessions", test_sessions},
        {"stop and continue", test_stop},
        {"signalfd", test_signalfd},
        {"guest", test_guest},
    };

    self_path = argv[0];
    if (argc > 1)
        return strcmp(argv[1], "exit 7") == 0 ? 7 : 1;
    shared = anonymous(PAGE, MAP_SHARED);
    return tap_run(tests, sizeof(tests) / sizeof(tests[0]), NULL);
}
