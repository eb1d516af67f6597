// SPDX-License-Identifier: BSD-2-Clause
// exhaust: processes that take one resource until there is no more of it. They must be refused with
// the documented error, or end alone; what they had must come back, and the system go on. Limits of
// their own keep a Linux host that runs this alive.
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <sys/types.h>

#include "tap.h"

#include "self_process.h"
#include "worker_guest.h"

#define MIB     (1ul << 20)
#define REFUSED 3 // exit status of a role that got the error it waited for

static const size_t address_space_limit = 1024 * MIB;
static const size_t file_limit = 768 * MIB;
static const size_t leak_allowed = 2 * MIB;

static void guard(void) {
    struct rlimit memory = {address_space_limit, address_space_limit};
    struct rlimit file = {file_limit, file_limit};

    setrlimit(RLIMIT_AS, &memory);
    setrlimit(RLIMIT_FSIZE, &file);
    signal(SIGXFSZ, SIG_IGN);
}

static int refused_with(int error, int other) {
    if (errno != error && errno != other) {
        printf("# errno %d, %s\n", errno, strerror(errno));
        return 1;
    }
    return REFUSED;
}

// Ends with SIGBUS at the first page that cannot be had, unless mmap is refused before.
static int take_memory(void) {
    for (;;) {
        char *block =
            mmap(NULL, 16 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (block == MAP_FAILED) {
            return refused_with(ENOMEM, ENOMEM);
        }
        for (size_t at = 0; at < 16 * MIB; at += 4096) {
            ((volatile char *)block)[at] = 1;
        }
    }
}

// A page in each 2 MiB: most of what this takes are page tables.
static int take_page_tables(void) {
    size_t size = 1ul << 40;
    char *block = mmap(NULL, size, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (block == MAP_FAILED) {
        return refused_with(ENOMEM, ENOMEM);
    }
    madvise(block, size, MADV_NOHUGEPAGE);
    for (size_t at = 0; at < size; at += 2 * MIB) {
        ((volatile char *)block)[at] = 1;
    }
    return 1;
}

static sigjmp_buf no_page;

static void on_bus_error(int number) {
    (void)number;
    siglongjmp(no_page, 1);
}

// Without memory the kernel's own copies to a program fail as those to no memory at all.
static int copy_without_memory(void) {
    static char page[4096];
    volatile char *fresh =
        mmap(NULL, 64 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int zero = memfd_create("zero", 0);

    if (fresh == MAP_FAILED || zero < 0 || write(zero, page, sizeof(page)) != sizeof(page)) {
        return 1;
    }
    madvise((void *)fresh, 64 * MIB, MADV_NOHUGEPAGE);
    signal(SIGBUS, on_bus_error);
    if (sigsetjmp(no_page, 1) == 0) {
        return take_memory();
    }
    for (size_t at = 0; at < 64 * MIB; at += 4096) {
        if (pread(zero, (char *)fresh + at, 4096, 0) != 4096) {
            return refused_with(EFAULT, ENOMEM);
        }
    }
    return 1;
}

static int take_file_memory(void) {
    static char block[1 << 16];
    int fd = memfd_create("exhaust", 0);

    if (fd < 0) {
        return 1;
    }
    while (write(fd, block, sizeof(block)) > 0) {
        continue;
    }
    return refused_with(ENOMEM, EFBIG);
}

static void raise_file_limit(void) {
    struct rlimit files;

    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max < 8192 ? files.rlim_max : 8192;
    setrlimit(RLIMIT_NOFILE, &files);
}

static int take_descriptors(void) {
    int pair[2];

    raise_file_limit();
    while (pipe(pair) == 0) {
        continue;
    }
    return refused_with(EMFILE, ENOMEM);
}

static pthread_barrier_t never;

static void *stay(void *argument) {
    pthread_barrier_wait(&never);
    return argument;
}

static int take_threads(void) {
    pthread_attr_t attributes;
    pthread_t thread;

    pthread_barrier_init(&never, NULL, 1u << 30);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 1 << 16);
    do {
        errno = pthread_create(&thread, &attributes, stay, NULL);
    } while (!errno);
    return refused_with(EAGAIN, ENOMEM);
}

static int take_machines(void) {
    int kvm = open("/dev/kvm", O_RDWR);

    raise_file_limit();
    while (ioctl(kvm, KVM_CREATE_VM, 0) >= 0) {
        continue;
    }
    return errno == EMFILE ? REFUSED : refused_with(ENOMEM, ENOSPC);
}

static int take_vcpus(void) {
    int kvm = open("/dev/kvm", O_RDWR), vm = -1;

    raise_file_limit();
    for (unsigned i = 0;; i++) {
        if (i % 8 == 0 && (vm = ioctl(kvm, KVM_CREATE_VM, 0)) < 0) {
            break;
        }
        if (ioctl(vm, KVM_CREATE_VCPU, i % 8) < 0) {
            break;
        }
    }
    return errno == EMFILE ? REFUSED : refused_with(ENOMEM, ENOSPC);
}

static int use_memory(void) {
    volatile char *block =
        mmap(NULL, 8 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (block == MAP_FAILED) {
        return 1;
    }
    for (size_t at = 0; at < 8 * MIB; at += 4096) {
        block[at] = 1;
    }
    return 0;
}

static const struct {
    const char *name;
    int (*run)(void);
} roles[] = {
    {"memory", take_memory},
    {"page tables", take_page_tables},
    {"copies", copy_without_memory},
    {"files", take_file_memory},
    {"descriptors", take_descriptors},
    {"threads", take_threads},
    {"machines", take_machines},
    {"vcpus", take_vcpus},
    {"use", use_memory},
};

static int role_main(const char *name) {
    guard();
    for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++) {
        if (strcmp(roles[i].name, name) == 0) {
            _exit(roles[i].run());
        }
    }
    return 1;
}

static size_t free_memory(void) {
    struct sysinfo info = {0};

    sysinfo(&info);
    return info.freeram * info.mem_unit;
}

static int on_ashlar(void) {
    return access("/proc/meminfo", F_OK) != 0; // Linux has much else that takes and gives memory
}

static void check_exhausted(const char *role) {
    size_t before = free_memory();
    int status = self_wait(self_spawn(role, -1));

    CHECK(exited_with(status, REFUSED) || killed_by(status, SIGBUS), "status %#x", status);
    CHECK(exited_with(self_wait(self_spawn("use", -1)), 0), "after %s", role);
    if (on_ashlar()) {
        size_t after = free_memory();
        CHECK(after + leak_allowed >= before, "free before %zu KiB, after %zu KiB", before >> 10,
              after >> 10);
    }
}

static void test_memory(void) {
    check_exhausted("memory");
    check_exhausted("memory");
}

static void test_page_tables(void) {
    check_exhausted("page tables");
}

static void test_copies(void) {
    check_exhausted("copies");
}

static void test_files(void) {
    check_exhausted("files");
}

static void test_descriptors(void) {
    check_exhausted("descriptors");
}

static void test_threads(void) {
    check_exhausted("threads");
    check_exhausted("threads");
}

static void test_machines(void) {
    if (access("/dev/kvm", R_OK | W_OK) == 0) {
        check_exhausted("machines");
        check_exhausted("vcpus");
    }
}

static void test_side_by_side(void) {
    pid_t first = self_spawn("memory", -1), second = self_spawn("memory", -1);
    int status = self_wait(first), other = self_wait(second);

    CHECK(exited_with(status, REFUSED) || killed_by(status, SIGBUS), "status %#x", status);
    CHECK(exited_with(other, REFUSED) || killed_by(other, SIGBUS), "status %#x", other);
}

static void test_afterwards(void) {
    if (access("/dev/kvm", R_OK | W_OK) == 0) {
        CHECK(worker_runs(3));
    }
}

int main(int argc, char **argv) {
    static const struct tap_test tests[] = {
        {"memory", test_memory},
        {"page tables", test_page_tables},
        {"copies to a program without memory", test_copies},
        {"memory of a file", test_files},
        {"descriptors", test_descriptors},
        {"threads", test_threads},
        {"machines and vCPUs", test_machines},
        {"two at once", test_side_by_side},
        {"guests run afterwards", test_afterwards},
    };

    self_path = argv[0];
    if (argc > 1) {
        return role_main(argv[1]);
    }
    return tap_run(tests, sizeof(tests) / sizeof(tests[0]), NULL);
}
