// SPDX-License-Identifier: BSD-2-Clause
// vmm_threads: what a VMM of many threads does, in the order and with the calls of kvmtool: a
// kernel read straight into guest memory, ioeventfds waited for with epoll, a disk thread, a pool
// of workers, a control socket, a terminal thread that is cancelled, vCPUs kicked by signals. Runs
// on Linux too; without /dev/kvm all but the guest.
#define _GNU_SOURCE
#include <linux/kvm.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <termios.h>
#include <time.h>

#include "tap.h"
#include "tiny_guest.h"

#define SIGNAL_EXIT (SIGRTMIN + 2)
#define LOW_MEMORY  0xa0000ul // a second slot from 1 MiB on; MMIO between
#define RAM_SIZE    (16ul << 20)
#define KERNEL      0x10000ul
#define DISK_BUFFER 0x2000ul
#define ROUNDS      40
#define SECTOR      512
#define SERIAL      0x3f8
#define NOTIFY_PORT 0xc050
#define NOTIFY_MMIO 0xe0000
#define DISK_LINE   5
#define VCPUS       2
#define RESET_PORT  0x64

// Real mode, CS:0 at the kernel. The PIC's IRQ 5 as vector 0x25 counts in [0x500]. Each round: a
// character, a kick of the disk (odd rounds by MMIO), HLT until the interrupt came. Then reset.
REAL_MODE_CODE(kernel_code,
               "cli\n xor %ax, %ax\n mov %ax, %ds\n mov %ax, %ss\n mov $0x7000, %sp\n"
               "mov $0x11, %al\n out %al, $0x20\n mov $0x20, %al\n out %al, $0x21\n"
               "mov $4, %al\n out %al, $0x21\n mov $1, %al\n out %al, $0x21\n"
               "mov $0xdf, %al\n out %al, $0x21\n"
               "movw $9f - kernel_code, 0x94\n mov %cs, 0x96\n"
               "mov $0xe000, %ax\n mov %ax, %es\n mov $40, %cx\n sti\n"
               "1: mov 0x500, %bx\n mov $0x3f8, %dx\n mov $'a', %al\n out %al, %dx\n"
               "test $1, %cl\n jz 2f\n movw $7, %es:0\n jmp 3f\n"
               "2: mov $0xc050, %dx\n mov $7, %ax\n out %ax, %dx\n"
               "3: cli\n cmp %bx, 0x500\n jne 4f\n sti\n hlt\n jmp 3b\n"
               "4: sti\n loop 1b\n"
               "mov $0xfe, %al\n out %al, $0x64\n 5: hlt\n jmp 5b\n"
               "9: incw 0x500\n push %ax\n mov $0x20, %al\n out %al, $0x20\n pop %ax\n iret\n");

static struct {
    int kvm, vm, vcpu[VCPUS], disk, epoll, notify[2], job, stop;
    struct kvm_run *run[VCPUS];
    pthread_t thread[VCPUS];
    unsigned char *ram;
    volatile bool over;
    unsigned characters, kicks, transfers;
    unsigned spurious;
} vmm;

static volatile sig_atomic_t kicked[VCPUS];
static __thread int my_vcpu = -1;

static void nap(long ms) {
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

static void on_exit_signal(int signal) {
    (void)signal;
    if (my_vcpu >= 0) {
        kicked[my_vcpu] = 1;
        vmm.run[my_vcpu]->immediate_exit = 1;
    }
}

static pthread_t start(void *(*run)(void *), void *argument) {
    pthread_t thread;
    tiny_check(!pthread_create(&thread, NULL, run, argument), "pthread_create");
    return thread;
}

// -- a pool of workers --

static struct {
    pthread_mutex_t lock;
    pthread_cond_t more, done;
    unsigned queued, finished;
    bool over;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER,
          .more = PTHREAD_COND_INITIALIZER,
          .done = PTHREAD_COND_INITIALIZER};

static void *worker(void *argument) {
    (void)argument;
    prctl(PR_SET_NAME, "threadpool-worker");
    pthread_mutex_lock(&pool.lock);
    while (!pool.over) {
        if (!pool.queued) {
            pthread_cond_wait(&pool.more, &pool.lock);
            continue;
        }
        pool.queued--;
        pthread_mutex_unlock(&pool.lock);
        free(malloc(300000)); // an arena of its own, and mappings that come and go
        pthread_mutex_lock(&pool.lock);
        pool.finished++;
        pthread_cond_signal(&pool.done);
    }
    pthread_mutex_unlock(&pool.lock);
    return NULL;
}

static void test_pool(void) {
    pthread_t threads[4];

    for (int i = 0; i < 4; i++)
        threads[i] = start(worker, NULL);
    for (int i = 0; i < 200; i++) {
        pthread_mutex_lock(&pool.lock);
        pool.queued++;
        pthread_cond_signal(&pool.more);
        if (i % 50 == 49)
            while (pool.finished <= (unsigned)i)
                pthread_cond_wait(&pool.done, &pool.lock);
        pthread_mutex_unlock(&pool.lock);
    }
    CHECK_EQUAL(pool.finished, 200);
    pthread_mutex_lock(&pool.lock);
    pool.over = true;
    pthread_cond_broadcast(&pool.more);
    pthread_mutex_unlock(&pool.lock);
    for (int i = 0; i < 4; i++)
        CHECK_EQUAL(pthread_join(threads[i], NULL), 0);
}

// -- the control socket --

struct control {
    int listener, epoll, stop, served;
};

static void *serve(void *argument) {
    struct control *control = argument;
    struct epoll_event events[20];

    prctl(PR_SET_NAME, "kvm-ipc");
    for (;;) {
        int count = epoll_wait(control->epoll, events, 20, -1);
        for (int i = 0; i < count; i++) {
            char word[4];
            if (events[i].data.fd == control->stop)
                return NULL;
            int client = accept(control->listener, NULL, NULL);
            if (read(client, word, 4) == 4 && write(client, "pong", 4) == 4)
                control->served++;
            close(client);
        }
    }
}

static int watch(int epoll, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

static void test_control(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct control control = {.stop = eventfd(0, 0), .epoll = epoll_create(1)};
    char word[5] = "";

    mkdir("/tmp/.vmm", 0700);
    snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/.vmm/%d.sock", (int)getpid());
    unlink(address.sun_path);
    control.listener = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(bind(control.listener, (struct sockaddr *)&address, sizeof(address)) == 0);
    CHECK(listen(control.listener, 5) == 0);
    CHECK(watch(control.epoll, control.listener) == 0 && watch(control.epoll, control.stop) == 0);
    pthread_t thread = start(serve, &control);
    for (int i = 0; i < 5; i++) {
        int client = socket(AF_UNIX, SOCK_STREAM, 0);
        CHECK(connect(client, (struct sockaddr *)&address, sizeof(address)) == 0);
        CHECK(write(client, "ping", 4) == 4 && read(client, word, 4) == 4);
        CHECK(strcmp(word, "pong") == 0);
        close(client);
    }
    CHECK(eventfd_write(control.stop, 1) == 0);
    CHECK_EQUAL(pthread_join(thread, NULL), 0);
    CHECK_EQUAL(control.served, 5);
    close(control.listener);
    close(control.epoll);
    close(control.stop);
    unlink(address.sun_path);
    rmdir("/tmp/.vmm");
}

// -- the terminal --

static void *read_terminal(void *argument) {
    struct pollfd wanted = {.fd = *(int *)argument, .events = POLLIN};

    prctl(PR_SET_NAME, "term-poll");
    for (;;)
        poll(&wanted, 1, -1);
    return NULL;
}

static void test_terminal(void) {
    struct termios before, raw, now;
    int quiet[2];
    void *result;

    if (tcgetattr(STDIN_FILENO, &before) == 0) {
        raw = before;
        raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO | ISIG);
        CHECK(tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0);
        CHECK(tcgetattr(STDIN_FILENO, &now) == 0 && !(now.c_lflag & (ICANON | ECHO | ISIG)));
        CHECK(tcsetattr(STDIN_FILENO, TCSANOW, &before) == 0);
    } else {
        CHECK(errno == ENOTTY);
    }
    CHECK(pipe(quiet) == 0);
    pthread_t thread = start(read_terminal, &quiet[0]);
    nap(20);
    CHECK_EQUAL(pthread_cancel(thread), 0); // tgkill with the library's own signal
    CHECK(pthread_join(thread, &result) == 0 && result == PTHREAD_CANCELED);
    close(quiet[0]);
    close(quiet[1]);
}

// -- the guest --

static void *ioeventfd_worker(void *argument) {
    struct epoll_event events[20];
    uint64_t count;

    (void)argument;
    prctl(PR_SET_NAME, "ioeventfd-worker");
    for (;;) {
        int ready = epoll_wait(vmm.epoll, events, 20, -1);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.fd == vmm.stop)
                return NULL;
            if (read(events[i].data.fd, &count, sizeof(count)) != sizeof(count))
                continue;
            vmm.kicks += (unsigned)count;
            if (eventfd_write(vmm.job, 1))
                perror("job");
        }
    }
}

static void set_line(unsigned level) {
    struct kvm_irq_level line = {.irq = DISK_LINE, .level = level};
    if (ioctl(vmm.vm, KVM_IRQ_LINE, &line))
        perror("KVM_IRQ_LINE");
}

static void *disk_thread(void *argument) {
    uint64_t count;

    (void)argument;
    prctl(PR_SET_NAME, "virtio-blk-io");
    for (;;) {
        if (read(vmm.job, &count, sizeof(count)) != sizeof(count) || vmm.over)
            return NULL;
        unsigned char *buffer = vmm.ram + DISK_BUFFER;
        struct iovec pieces[2] = {{buffer, 100}, {buffer + 100, SECTOR - 100}};
        off_t at = (off_t)(vmm.transfers % 4) * SECTOR;
        if (preadv(vmm.disk, pieces, 2, at) == SECTOR && buffer[SECTOR - 1] == vmm.transfers / 4) {
            buffer[SECTOR - 1]++;
            if (pwritev(vmm.disk, pieces, 2, at) == SECTOR)
                vmm.transfers++;
        }
        set_line(1);
        set_line(0);
    }
}

static bool handle_exit(const struct kvm_run *run) {
    if (run->exit_reason != KVM_EXIT_IO)
        return false;
    const unsigned char *data = (const unsigned char *)run + run->io.data_offset;
    if (run->io.port == SERIAL && *data == 'a')
        vmm.characters++;
    else
        return run->io.port != RESET_PORT;
    return true;
}

static void *vcpu_thread(void *argument) {
    int number = (int)(intptr_t)argument;
    struct kvm_run *run = vmm.run[number];
    sigset_t alarm;

    sigemptyset(&alarm);
    sigaddset(&alarm, SIGALRM);
    pthread_sigmask(SIG_BLOCK, &alarm, NULL);
    my_vcpu = number;
    while (!vmm.over) {
        int result = ioctl(vmm.vcpu[number], KVM_RUN, 0);
        if (result < 0 && errno == EINTR) {
            // The reason is not looked at: immediate_exit leaves the one before.
            if (!kicked[number])
                vmm.spurious++;
            kicked[number] = 0;
            run->immediate_exit = 0;
        } else if (result < 0 || !handle_exit(run)) {
            break;
        }
    }
    return (void *)(intptr_t)(run->exit_reason == KVM_EXIT_IO);
}

static void need_capabilities(void) {
    static const int capabilities[] = {
        KVM_CAP_COALESCED_MMIO, KVM_CAP_SET_TSS_ADDR, KVM_CAP_PIT2, KVM_CAP_USER_MEMORY,
        KVM_CAP_IRQ_ROUTING,    KVM_CAP_IRQCHIP,      KVM_CAP_HLT,  KVM_CAP_IRQ_INJECT_STATUS,
        KVM_CAP_EXT_CPUID};
    for (size_t i = 0; i < sizeof(capabilities) / sizeof(*capabilities); i++)
        CHECK(ioctl(vmm.kvm, KVM_CHECK_EXTENSION, capabilities[i]) > 0, "%d", capabilities[i]);
}

static void add_memory(unsigned slot, uint64_t from, uint64_t to) {
    struct kvm_userspace_memory_region region = {.slot = slot,
                                                 .guest_phys_addr = from,
                                                 .memory_size = to - from,
                                                 .userspace_addr = (uintptr_t)vmm.ram + from};
    CHECK(ioctl(vmm.vm, KVM_SET_USER_MEMORY_REGION, &region) == 0);
}

static void load_kernel(void) {
    char path[] = "/tmp/kernelXXXXXX";
    size_t size = (size_t)(kernel_code_end - kernel_code);
    int fd = mkstemp(path);

    CHECK(write(fd, kernel_code, size) == (ssize_t)size && lseek(fd, 0, SEEK_SET) == 0);
    // As much as there is room for: the file's end stops it.
    CHECK(read(fd, vmm.ram + KERNEL, RAM_SIZE - KERNEL) == (ssize_t)size);
    close(fd);
    unlink(path);
}

static void add_notifier(int number, uint64_t address, unsigned flags) {
    struct kvm_ioeventfd notifier = {
        .addr = address, .len = 2, .flags = flags | KVM_IOEVENTFD_FLAG_DATAMATCH, .datamatch = 7};
    notifier.fd = vmm.notify[number] = eventfd(0, 0);
    CHECK(ioctl(vmm.vm, KVM_IOEVENTFD, &notifier) == 0 && watch(vmm.epoll, notifier.fd) == 0);
}

static void add_vcpu(int number) {
    struct kvm_lapic_state lapic;
    size_t size = (size_t)ioctl(vmm.kvm, KVM_GET_VCPU_MMAP_SIZE, 0);

    vmm.vcpu[number] = ioctl(vmm.vm, KVM_CREATE_VCPU, number);
    vmm.run[number] = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vmm.vcpu[number], 0);
    CHECK(vmm.run[number] != MAP_FAILED);
    CHECK(ioctl(vmm.vcpu[number], KVM_GET_LAPIC, &lapic) == 0);
    CHECK(ioctl(vmm.vcpu[number], KVM_SET_LAPIC, &lapic) == 0);
}

static void set_registers(void) {
    struct kvm_regs regs = {.rflags = 2};
    struct kvm_sregs sregs;

    CHECK(ioctl(vmm.vcpu[0], KVM_GET_SREGS, &sregs) == 0);
    sregs.cs.selector = KERNEL >> 4;
    sregs.cs.base = KERNEL;
    CHECK(ioctl(vmm.vcpu[0], KVM_SET_SREGS, &sregs) == 0);
    CHECK(ioctl(vmm.vcpu[0], KVM_SET_REGS, &regs) == 0);
}

static void make_machine(void) {
    struct kvm_pit_config pit = {0};

    need_capabilities();
    vmm.vm = ioctl(vmm.kvm, KVM_CREATE_VM, 0);
    CHECK(ioctl(vmm.vm, KVM_SET_TSS_ADDR, 0xfffbd000) == 0);
    CHECK(ioctl(vmm.vm, KVM_CREATE_IRQCHIP) == 0);
    CHECK(ioctl(vmm.vm, KVM_CREATE_PIT2, &pit) == 0);
    vmm.ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    madvise(vmm.ram, RAM_SIZE, MADV_MERGEABLE);
    add_memory(0, 0, LOW_MEMORY);
    add_memory(1, 1 << 20, RAM_SIZE);
    load_kernel();
    for (int i = 0; i < VCPUS; i++)
        add_vcpu(i);
    set_registers();
    vmm.epoll = epoll_create(20);
    vmm.stop = eventfd(0, 0);
    vmm.job = eventfd(0, 0);
    vmm.disk = memfd_create("disk", 0);
    CHECK(ftruncate(vmm.disk, 4 * SECTOR) == 0 && watch(vmm.epoll, vmm.stop) == 0);
    add_notifier(0, NOTIFY_PORT, KVM_IOEVENTFD_FLAG_PIO);
    add_notifier(1, NOTIFY_MMIO, 0);
}

static void test_guest(void) {
    struct sigaction action = {.sa_handler = on_exit_signal, .sa_flags = SA_RESTART};
    void *result;

    vmm.kvm = open("/dev/kvm", O_RDWR);
    if (vmm.kvm < 0) {
        printf("# no /dev/kvm: not looked at\n");
        return;
    }
    make_machine();
    sigaction(SIGNAL_EXIT, &action, NULL);
    pthread_t disk = start(disk_thread, NULL), events = start(ioeventfd_worker, NULL);
    for (intptr_t i = 0; i < VCPUS; i++)
        vmm.thread[i] = start(vcpu_thread, (void *)i);
    for (int i = 0; i < 30; i++) { // both, in the guest or waiting: nothing may be lost by it
        nap(1);
        pthread_kill(vmm.thread[1], SIGNAL_EXIT);
        if (i < 5)
            pthread_kill(vmm.thread[0], SIGNAL_EXIT);
    }
    CHECK(pthread_join(vmm.thread[0], &result) == 0 && result); // it has asked for reset
    vmm.over = true;
    CHECK_EQUAL(pthread_kill(vmm.thread[1], SIGNAL_EXIT), 0);
    CHECK_EQUAL(pthread_join(vmm.thread[1], NULL), 0);
    CHECK(eventfd_write(vmm.job, 1) == 0 && eventfd_write(vmm.stop, 1) == 0);
    CHECK_EQUAL(pthread_join(disk, NULL), 0);
    CHECK_EQUAL(pthread_join(events, NULL), 0);
    CHECK_EQUAL(vmm.characters, ROUNDS);
    CHECK_EQUAL(vmm.kicks, ROUNDS);
    CHECK_EQUAL(vmm.transfers, ROUNDS);
    CHECK_EQUAL(vmm.spurious, 0);
    uint16_t interrupts;
    memcpy(&interrupts, vmm.ram + 0x500, sizeof(interrupts));
    CHECK_EQUAL(interrupts, ROUNDS);
}

int main(void) {
    static const struct tap_test tests[] = {
        {"pool", test_pool},
        {"control socket", test_control},
        {"terminal", test_terminal},
        {"guest", test_guest},
    };
    return tap_run(tests, sizeof(tests) / sizeof(tests[0]), NULL);
}
