// SPDX-License-Identifier: BSD-2-Clause
// threads: threads, futexes and signals as Linux has them.
#define _GNU_SOURCE
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "tap.h"

#define THREADS 8
#define ROUNDS  2000

static int64_t now_ms(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000ll + now.tv_nsec / 1000000;
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static unsigned counter;
static __thread unsigned own_counter;

static void *count_under_lock(void *argument) {
    for (int i = 0; i < ROUNDS; i++) {
        pthread_mutex_lock(&lock);
        counter++;
        own_counter++;
        pthread_mutex_unlock(&lock);
    }
    return (void *)((uintptr_t)argument + own_counter);
}

static void test_mutex(void) {
    pthread_t threads[THREADS];
    void *result;

    counter = 0;
    for (uintptr_t i = 0; i < THREADS; i++) {
        CHECK(pthread_create(&threads[i], NULL, count_under_lock, (void *)i) == 0);
    }
    for (uintptr_t i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i], &result) == 0);
        CHECK_EQUAL((uintptr_t)result, i + ROUNDS);
    }
    CHECK_EQUAL(counter, THREADS * ROUNDS);
}

static void *wait_turn(void *argument) {
    unsigned turn = (unsigned)(uintptr_t)argument;

    pthread_mutex_lock(&lock);
    while (counter != turn) {
        pthread_cond_wait(&condition, &lock);
    }
    counter++;
    pthread_cond_broadcast(&condition);
    pthread_mutex_unlock(&lock);
    return NULL;
}

static void test_condition(void) {
    pthread_t threads[THREADS];

    counter = 1;
    for (uintptr_t i = 0; i < THREADS; i++) {
        CHECK(pthread_create(&threads[i], NULL, wait_turn, (void *)(THREADS - i)) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    CHECK_EQUAL(counter, THREADS + 1);
}

static void test_timed_wait(void) {
    struct timespec deadline;
    int64_t start = now_ms();

    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_nsec += 50000000;
    deadline.tv_sec += deadline.tv_nsec / 1000000000;
    deadline.tv_nsec %= 1000000000;
    pthread_mutex_lock(&lock);
    CHECK_EQUAL(pthread_cond_timedwait(&condition, &lock, &deadline), ETIMEDOUT);
    pthread_mutex_unlock(&lock);
    CHECK(now_ms() - start >= 49, "%lld ms", (long long)(now_ms() - start));
}

static void test_timer_slack(void) {
    struct timespec short_time = {.tv_nsec = 1000}, before, after;

    CHECK_EQUAL(prctl(PR_GET_TIMERSLACK), 50000);
    CHECK_EQUAL(prctl(PR_SET_TIMERSLACK, 20000000), 0);
    clock_gettime(CLOCK_MONOTONIC, &before);
    nanosleep(&short_time, NULL); // may end with another timer's interrupt, but never sooner
    clock_gettime(CLOCK_MONOTONIC, &after);
    CHECK((after.tv_sec - before.tv_sec) * 1000000000 + after.tv_nsec - before.tv_nsec >= 1000);
    CHECK_EQUAL(prctl(PR_GET_TIMERSLACK), 20000000);
    CHECK_EQUAL(prctl(PR_SET_TIMERSLACK, 0), 0); // the thread's first
    CHECK_EQUAL(prctl(PR_GET_TIMERSLACK), 50000);
}

static long futex(void *word, int operation, uint32_t value, const struct timespec *timeout,
                  uint32_t bits) {
    return syscall(SYS_futex, word, operation, value, timeout, NULL, bits);
}

static uint32_t futex_word;

static void *wait_on_futex(void *argument) {
    uint32_t bits = (uint32_t)(uintptr_t)argument;

    while (__atomic_load_n(&futex_word, __ATOMIC_SEQ_CST) == 0) {
        futex(&futex_word, FUTEX_WAIT_BITSET_PRIVATE, 0, NULL, bits);
    }
    return NULL;
}

static void test_futex(void) {
    struct timespec short_time = {.tv_nsec = 20000000};
    struct timespec past = {.tv_sec = 1};
    pthread_t thread;
    long woken = 0;

    futex_word = 0;
    CHECK(futex(&futex_word, FUTEX_WAIT_PRIVATE, 1, NULL, 0) == -1 && errno == EAGAIN);
    CHECK(futex(&futex_word, FUTEX_WAIT_PRIVATE, 0, &short_time, 0) == -1 && errno == ETIMEDOUT);
    CHECK(futex(&futex_word, FUTEX_WAIT_BITSET_PRIVATE, 0, &past, ~0u) == -1 && errno == ETIMEDOUT);
    CHECK(futex(&futex_word, FUTEX_WAIT_BITSET_PRIVATE, 0, NULL, 0) == -1 && errno == EINVAL);
    CHECK(futex((char *)&futex_word + 1, FUTEX_WAIT_PRIVATE, 0, NULL, 0) == -1 && errno == EINVAL);
    CHECK_EQUAL(futex(&futex_word, FUTEX_WAKE_PRIVATE, 1, NULL, 0), 0);
    CHECK(pthread_create(&thread, NULL, wait_on_futex, (void *)0x2) == 0);
    usleep(20000);
    CHECK_EQUAL(futex(&futex_word, FUTEX_WAKE_BITSET_PRIVATE, 1, NULL, 0x1), 0);
    __atomic_store_n(&futex_word, 1, __ATOMIC_SEQ_CST);
    for (int i = 0; i < 1000 && woken == 0; i++) {
        woken = futex(&futex_word, FUTEX_WAKE_BITSET_PRIVATE, 1, NULL, 0x2);
        usleep(1000);
        if (pthread_tryjoin_np(thread, NULL) == 0) {
            return; // It saw the word before it slept.
        }
    }
    pthread_join(thread, NULL);
}

static void test_identity(void) {
    CHECK_EQUAL(syscall(SYS_gettid), getpid());
    CHECK(getppid() >= 0);
    CHECK(syscall(SYS_tgkill, getpid(), getpid(), 0) == 0);
    CHECK(syscall(SYS_tgkill, getpid(), 0x3ffffff, 0) == -1 && errno == ESRCH);
    CHECK(kill(0x3ffffff, 0) == -1 && errno == ESRCH);
}

static volatile sig_atomic_t caught;
static volatile sig_atomic_t caught_code;
static volatile pthread_t caught_by;

static void catch_info(int signal, siginfo_t *info, void *context) {
    (void)context;
    caught = signal;
    caught_code = info->si_code;
    caught_by = pthread_self();
}

static void catch_signal(int signal, int flags) {
    struct sigaction action = {.sa_sigaction = catch_info, .sa_flags = SA_SIGINFO | flags};

    caught = 0;
    CHECK(sigaction(signal, &action, NULL) == 0);
}

static void test_handler(void) {
    sigset_t set;
    sigset_t pending;

    catch_signal(SIGUSR1, 0);
    CHECK(raise(SIGUSR1) == 0);
    CHECK_EQUAL(caught, SIGUSR1);
    CHECK_EQUAL((unsigned)caught_code, (unsigned)SI_TKILL);

    caught = 0;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    CHECK(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
    CHECK(kill(getpid(), SIGUSR1) == 0);
    CHECK_EQUAL(caught, 0);
    CHECK(sigpending(&pending) == 0 && sigismember(&pending, SIGUSR1));
    CHECK(pthread_sigmask(SIG_UNBLOCK, &set, NULL) == 0);
    CHECK_EQUAL(caught, SIGUSR1);
    CHECK_EQUAL((unsigned)caught_code, (unsigned)SI_USER);

    CHECK(signal(SIGUSR1, SIG_IGN) != SIG_ERR);
    caught = 0;
    CHECK(raise(SIGUSR1) == 0);
    CHECK_EQUAL(caught, 0);
    CHECK(signal(SIGKILL, SIG_IGN) == SIG_ERR && errno == EINVAL);
}

// A handler finds and leaves the interrupted code's vector registers alone.
static void spoil_vectors(int signal) {
    (void)signal;
    __asm__ volatile("pcmpeqb %%xmm0, %%xmm0\n movdqa %%xmm0, %%xmm15\n" ::: "xmm0", "xmm15");
}

static void test_handler_registers(void) {
    struct sigaction action = {.sa_handler = spoil_vectors};
    uint64_t low;
    uint64_t high;
    long result;

    sigaction(SIGUSR2, &action, NULL);
    __asm__ volatile(
        "movq %[low], %%xmm0\n movq %[high], %%xmm15\n"
        "syscall\n"
        "movq %%xmm0, %[low_out]\n movq %%xmm15, %[high_out]\n"
        : "=a"(result), [low_out] "=&r"(low), [high_out] "=&r"(high)
        : "a"((long)SYS_tgkill), "D"((long)getpid()), "S"((long)getpid()),
          "d"((long)SIGUSR2), [low] "r"(0x1122334455667788ul), [high] "r"(0x99aabbccddeeff00ul)
        : "rcx", "r11", "memory", "xmm0", "xmm15");
    CHECK_EQUAL(result, 0);
    CHECK_EQUAL(low, 0x1122334455667788ul);
    CHECK_EQUAL(high, 0x99aabbccddeeff00ul);
}

static uintptr_t handler_stack;

static void note_stack(int signal) {
    (void)signal;
    handler_stack = (uintptr_t)__builtin_frame_address(0);
}

static void test_alternate_stack(void) {
    static char stack[65536];
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof(stack)};
    stack_t disabled = {.ss_flags = SS_DISABLE};
    struct sigaction action = {.sa_handler = note_stack, .sa_flags = SA_ONSTACK};

    CHECK(sigaltstack(&alternate, NULL) == 0);
    CHECK(sigaction(SIGUSR2, &action, NULL) == 0);
    CHECK(raise(SIGUSR2) == 0);
    CHECK(handler_stack - (uintptr_t)stack < sizeof(stack));
    CHECK(sigaltstack(&disabled, NULL) == 0);
}

static sigjmp_buf *volatile fault_return;
static void *volatile fault_address;

static void catch_fault(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)context;
    fault_address = info->si_addr;
    siglongjmp(*fault_return, 1);
}

static void test_fault_signal(void) {
    struct sigaction action = {.sa_sigaction = catch_fault, .sa_flags = SA_SIGINFO};
    struct sigaction old;
    sigjmp_buf buffer;
    volatile int *volatile nowhere = (int *)0x18;

    fault_return = &buffer;
    CHECK(sigaction(SIGSEGV, &action, &old) == 0);
    if (sigsetjmp(buffer, 1) == 0) {
        *nowhere = 1;
        CHECK(0, "a write to nowhere went through");
    }
    CHECK_EQUAL((uintptr_t)fault_address, 0x18);
    sigaction(SIGSEGV, &old, NULL);
}

struct interruption {
    pthread_t target;
    atomic_int over;
};

// Again and again: the first may come before the call has begun.
static void *interrupt(void *argument) {
    struct interruption *interruption = argument;

    do {
        usleep(30000);
        pthread_kill(interruption->target, SIGUSR1);
    } while (!atomic_load(&interruption->over));
    return NULL;
}

// Runs a call that blocks while another thread sends a signal to this one; returns the call's
// errno, 0 where it went through.
static int interrupted(long (*call)(void *), void *argument, int flags) {
    struct interruption interruption = {.target = pthread_self()};
    pthread_t thread;

    catch_signal(SIGUSR1, flags);
    CHECK(pthread_create(&thread, NULL, interrupt, &interruption) == 0);
    long result = call(argument);
    int error = result < 0 ? errno : 0;
    atomic_store(&interruption.over, 1);
    pthread_join(thread, NULL);
    CHECK_EQUAL(caught, SIGUSR1);
    CHECK(pthread_equal(caught_by, pthread_self()));
    return error;
}

static long call_nanosleep(void *left) {
    struct timespec time = {.tv_sec = 60};
    return nanosleep(&time, left);
}

static long call_futex(void *word) {
    return futex(word, FUTEX_WAIT_PRIVATE, 0, NULL, 0);
}

static long call_read(void *fd) {
    uint64_t value;
    return read(*(int *)fd, &value, sizeof(value));
}

static long call_pause(void *unused) {
    (void)unused;
    return pause();
}

static void test_interruption(void) {
    struct timespec left = {0};
    uint32_t word = 0;
    int fd = eventfd(0, 0);

    CHECK_EQUAL(interrupted(call_nanosleep, &left, 0), EINTR);
    CHECK(left.tv_sec > 30 && left.tv_sec < 60, "%ld s left", left.tv_sec);
    CHECK_EQUAL(interrupted(call_nanosleep, &left, SA_RESTART), EINTR);
    CHECK_EQUAL(interrupted(call_futex, &word, 0), EINTR);
    CHECK_EQUAL(interrupted(call_read, &fd, 0), EINTR);
    CHECK_EQUAL(interrupted(call_pause, NULL, SA_RESTART), EINTR);
    close(fd);
}

static int restart_pipe[2];

static void *write_later(void *unused) {
    uint64_t value = 77;

    (void)unused;
    usleep(100000);
    CHECK(write(restart_pipe[1], &value, sizeof(value)) == sizeof(value));
    return NULL;
}

// With SA_RESTART a read goes on after the handler as if nothing had been.
static void test_restart(void) {
    pthread_t thread;

    CHECK(pipe(restart_pipe) == 0);
    CHECK(pthread_create(&thread, NULL, write_later, NULL) == 0);
    CHECK_EQUAL(interrupted(call_read, &restart_pipe[0], SA_RESTART), 0);
    pthread_join(thread, NULL);
    close(restart_pipe[0]);
    close(restart_pipe[1]);
}

static void test_sigwait(void) {
    struct timespec soon = {.tv_nsec = 20000000};
    sigset_t set;
    siginfo_t info;

    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 3);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    CHECK(sigtimedwait(&set, &info, &soon) == -1 && errno == EAGAIN);
    CHECK(kill(getpid(), SIGRTMIN + 3) == 0);
    CHECK_EQUAL(sigtimedwait(&set, &info, &soon), SIGRTMIN + 3);
    CHECK_EQUAL(info.si_pid, getpid());
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static void test_clocks(void) {
    static const clockid_t clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW,
                                       CLOCK_BOOTTIME, CLOCK_MONOTONIC_COARSE};
    struct timespec last = {0};
    struct timespec now;
    int64_t start = now_ms();

    for (size_t i = 0; i < sizeof(clocks) / sizeof(clocks[0]); i++) {
        CHECK(clock_gettime(clocks[i], &now) == 0, "clock %d", clocks[i]);
        CHECK(now.tv_nsec >= 0 && now.tv_nsec < 1000000000, "clock %d", clocks[i]);
    }
    for (int i = 0; i < 10000; i++) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (!CHECK(now.tv_sec > last.tv_sec ||
                   (now.tv_sec == last.tv_sec && now.tv_nsec >= last.tv_nsec))) {
            break;
        }
        last = now;
    }
    usleep(30000);
    CHECK(now_ms() - start >= 30);
    CHECK(clock_gettime(12345, &now) == -1 && errno == EINVAL);
}

static void *loop_until(void *flag) {
    while (!atomic_load((atomic_int *)flag)) {
    }
    return NULL;
}

// A thread that never sleeps does not keep others off the processor.
static void test_time_slices(void) {
    atomic_int stop = 0;
    pthread_t threads[4];
    int64_t start = now_ms();

    for (int i = 0; i < 4; i++) {
        CHECK(pthread_create(&threads[i], NULL, loop_until, &stop) == 0);
    }
    usleep(50000);
    atomic_store(&stop, 1);
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    CHECK(now_ms() - start < 20000, "%lld ms", (long long)(now_ms() - start));
}

static struct {
    pthread_t main;
    uint32_t lock;
    struct robust_list_head head;
    struct robust_list entry;
} robust;

static void *die_after_unlock(void *unused) {
    (void)unused;
    robust.head.list.next = &robust.head.list;
    robust.head.list_op_pending = &robust.entry;
    robust.head.futex_offset = (char *)&robust.lock - (char *)&robust.entry;
    CHECK_EQUAL(syscall(SYS_set_robust_list, &robust.head, sizeof(robust.head)), 0);
    usleep(50000);
    return NULL;
}

// A lock that its owner has left, but died before it could wake who waits for it.
static void test_robust_unlock(void) {
    struct timespec patience = {.tv_sec = 5};
    pthread_t owner;

    CHECK(pthread_create(&owner, NULL, die_after_unlock, NULL) == 0);
    CHECK_EQUAL(syscall(SYS_futex, &robust.lock, FUTEX_WAIT, 0, &patience, NULL, 0), 0);
    pthread_join(owner, NULL);
}

static void *send_ignored(void *unused) {
    (void)unused;
    usleep(20000);
    pthread_kill(robust.main, SIGURG);
    return NULL;
}

// A signal that is ignored ends no wait.
static void test_ignored(void) {
    pthread_t sender;

    robust.main = pthread_self();
    CHECK(pthread_create(&sender, NULL, send_ignored, NULL) == 0);
    CHECK_EQUAL(poll(NULL, 0, 60), 0);
    pthread_join(sender, NULL);
}

static sem_t taken, next_round;
static atomic_int handed_over;

static void take_second(int signal) {
    (void)signal;
    sem_post(&taken);
}

static void *wait_for_both(void *set) {
    while (!handed_over) {
        sigwaitinfo(set, NULL);
        sem_wait(&next_round);
    }
    return NULL;
}

static void *wait_for_second(void *set) {
    sigset_t second = *(sigset_t *)set;

    sigdelset(&second, SIGUSR1);
    pthread_sigmask(SIG_UNBLOCK, &second, NULL);
    while (!handed_over) {
        usleep(1000);
    }
    return NULL;
}

// Two signals come for one that waits for either: the one it does not take is another thread's.
static void test_sigwait_handover(void) {
    struct sigaction action = {.sa_handler = take_second};
    struct timespec patience;
    pthread_t first, second;
    cpu_set_t before, one;
    sigset_t set;
    int lost = 0;

    sched_getaffinity(0, sizeof(before), &before);
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    sched_setaffinity(0, sizeof(one), &one); // so that both signals have come before it runs
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGUSR2);
    sem_init(&taken, 0, 0);
    sem_init(&next_round, 0, 0);
    sigaction(SIGUSR2, &action, NULL);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    CHECK(pthread_create(&first, NULL, wait_for_both, &set) == 0);
    CHECK(pthread_create(&second, NULL, wait_for_second, &set) == 0);
    for (int i = 0; i < 20 && !lost; i++) {
        usleep(2000);
        pthread_kill(first, SIGUSR1);
        kill(getpid(), SIGUSR2);
        clock_gettime(CLOCK_REALTIME, &patience);
        patience.tv_sec += 2;
        lost += sem_timedwait(&taken, &patience) != 0;
        handed_over = i == 19 || lost;
        sem_post(&next_round);
    }
    CHECK_EQUAL(lost, 0);
    sched_setaffinity(0, sizeof(before), &before);
    pthread_join(first, NULL);
    pthread_join(second, NULL);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

int main(int argc, char **argv) {
    static const struct tap_test tests[] = {
        {"identity", test_identity},
        {"mutex and thread-local storage", test_mutex},
        {"condition variable", test_condition},
        {"timed wait", test_timed_wait},
        {"timer slack", test_timer_slack},
        {"futex", test_futex},
        {"signal handler", test_handler},
        {"registers across a handler", test_handler_registers},
        {"alternate stack", test_alternate_stack},
        {"fault signal", test_fault_signal},
        {"interruption", test_interruption},
        {"restart", test_restart},
        {"sigtimedwait", test_sigwait},
        {"robust lock left by the dying", test_robust_unlock},
        {"ignored signal", test_ignored},
        {"signal handed over", test_sigwait_handover},
        {"clocks", test_clocks},
        {"time slices", test_time_slices},
    };

    return tap_run(tests, sizeof(tests) / sizeof(tests[0]), argc > 1 ? argv[1] : NULL);
}
