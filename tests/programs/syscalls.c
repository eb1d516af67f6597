// SPDX-License-Identifier: BSD-2-Clause
// syscalls: files, memory and processes as Linux has them. (threads and events test the rest.)
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <linux/close_range.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/times.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <termios.h>

#include "tap.h"

#include "self_process.h"

#define PAGE 4096ul
#define HUGE (2ul << 20)

static char directory[64];

// A path in the test's own directory, good until the fourth call after.
static const char *in_directory(const char *name) {
    static char paths[4][128];
    static unsigned next;
    char *path = paths[next++ % 4];

    snprintf(path, sizeof(paths[0]), "%s/%s", directory, name);
    return path;
}

// Addresses no program has; volatile, so that the compiler does not judge them.
static void *volatile bad_address = (void *)1;

static void test_files(void) {
    char buffer[16] = "";
    struct stat status;
    const char *path = in_directory("file");

    CHECK(open(path, O_RDONLY) == -1 && errno == ENOENT);
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    CHECK(fd >= 0);
    CHECK(open(path, O_RDWR | O_CREAT | O_EXCL, 0640) == -1 && errno == EEXIST);
    CHECK_EQUAL(write(fd, "0123456789", 10), 10);
    CHECK_EQUAL(lseek(fd, 0, SEEK_CUR), 10);
    CHECK_EQUAL(lseek(fd, -4, SEEK_END), 6);
    CHECK_EQUAL(read(fd, buffer, sizeof(buffer)), 4);
    CHECK(memcmp(buffer, "6789", 4) == 0);
    CHECK_EQUAL(read(fd, buffer, sizeof(buffer)), 0);
    CHECK(lseek(fd, -1, SEEK_SET) == -1 && errno == EINVAL);
    CHECK_EQUAL(pread(fd, buffer, 3, 2), 3);
    CHECK(memcmp(buffer, "234", 3) == 0);
    CHECK_EQUAL(pwrite(fd, "xy", 2, 4), 2);
    CHECK_EQUAL(lseek(fd, 0, SEEK_CUR), 10);
    CHECK(fstat(fd, &status) == 0);
    CHECK_EQUAL(status.st_size, 10);
    CHECK(S_ISREG(status.st_mode));
    CHECK(stat(path, &status) == 0 && status.st_size == 10);
    CHECK(access(path, R_OK) == 0);
    CHECK(ftruncate(fd, 5) == 0 && fstat(fd, &status) == 0 && status.st_size == 5);
    CHECK(fsync(fd) == 0);
    CHECK(read(fd, bad_address, 1) == 0); // at the end nothing is copied
    CHECK(pread(fd, bad_address, 1, 0) == -1 && errno == EFAULT);
    CHECK(close(fd) == 0);
    CHECK(close(fd) == -1 && errno == EBADF);
    CHECK(read(fd, buffer, 1) == -1 && errno == EBADF);

    fd = open(path, O_WRONLY | O_APPEND);
    CHECK(write(fd, "!", 1) == 1 && lseek(fd, 0, SEEK_CUR) == 6);
    CHECK(read(fd, buffer, 1) == -1 && errno == EBADF);
    close(fd);
    CHECK(open("/nowhere/at/all", O_RDONLY) == -1 && errno == ENOENT);
    CHECK(stat("/sys/kernel/no/such/file", &status) == -1 && errno == ENOENT);
    CHECK(open(bad_address, O_RDONLY) == -1 && errno == EFAULT);
}

static void test_vectors(void) {
    char a[4] = "";
    char b[8] = "";
    volatile int bad_count = -1;
    struct iovec out[] = {{"abc", 3}, {"", 0}, {"defgh", 5}};
    struct iovec in[] = {{a, 4}, {b, 8}};
    int fd = open(in_directory("vectors"), O_RDWR | O_CREAT, 0600);

    CHECK_EQUAL(writev(fd, out, 3), 8);
    CHECK_EQUAL(preadv(fd, in, 2, 0), 8);
    CHECK(memcmp(a, "abcd", 4) == 0 && memcmp(b, "efgh", 4) == 0);
    CHECK_EQUAL(pwritev(fd, out, 1, 5), 3);
    CHECK_EQUAL(lseek(fd, 0, SEEK_SET), 0);
    CHECK_EQUAL(readv(fd, in, 2), 8);
    CHECK(memcmp(b, "eabc", 4) == 0);
    CHECK(writev(fd, out, bad_count) == -1 && errno == EINVAL);
    close(fd);
}

static void test_directories(void) {
    struct stat status;
    int seen = 0;

    CHECK(mkdir(in_directory("sub"), 0755) == 0);
    CHECK(mkdir(in_directory("sub"), 0755) == -1 && errno == EEXIST);
    CHECK(stat(in_directory("sub"), &status) == 0 && S_ISDIR(status.st_mode));
    close(open(in_directory("sub/one"), O_CREAT | O_WRONLY, 0600));
    close(open(in_directory("sub/two"), O_CREAT | O_WRONLY, 0600));
    DIR *dir = opendir(in_directory("sub"));
    CHECK(dir != NULL);
    if (dir) {
        struct dirent *entry;
        while ((entry = readdir(dir)) != NULL) {
            seen += strcmp(entry->d_name, "one") == 0 || strcmp(entry->d_name, "two") == 0;
        }
        closedir(dir);
    }
    CHECK_EQUAL(seen, 2);
    CHECK(open(in_directory("sub/one/x"), O_RDONLY) == -1 && errno == ENOTDIR);
    CHECK(open(in_directory("sub"), O_WRONLY) == -1 && errno == EISDIR);
    CHECK(unlink(in_directory("sub/one")) == 0);
    CHECK(unlink(in_directory("sub/one")) == -1 && errno == ENOENT);

    char old[256];
    CHECK(getcwd(old, sizeof(old)) != NULL);
    CHECK(chdir(in_directory("sub")) == 0);
    CHECK(access("two", F_OK) == 0);
    CHECK(chdir(old) == 0);
}

static void test_descriptors(void) {
    struct rlimit limit;
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (fd < 0) {
        fd = open(in_directory("null"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    }
    int copy = dup(fd);
    CHECK(copy > fd);
    CHECK_EQUAL(fcntl(fd, F_GETFD), FD_CLOEXEC);
    CHECK_EQUAL(fcntl(copy, F_GETFD), 0);
    CHECK(fcntl(copy, F_SETFD, FD_CLOEXEC) == 0 && fcntl(copy, F_GETFD) == FD_CLOEXEC);
    CHECK_EQUAL(dup2(fd, 100), 100);
    CHECK(dup3(fd, fd, 0) == -1 && errno == EINVAL);
    int high = fcntl(fd, F_DUPFD_CLOEXEC, 50);
    CHECK(high >= 50);
    CHECK_EQUAL(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDWR);
    CHECK(fcntl(999, F_GETFD) == -1 && errno == EBADF);
    close(fd), close(copy), close(100), close(high);

    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur >= 256);
    CHECK(getrlimit(RLIMIT_STACK, &limit) == 0 && limit.rlim_cur >= 64 * 1024);
    // The lowest free number is taken.
    int first = dup(0);
    int second = dup(0);
    close(first);
    CHECK_EQUAL(dup(0), first);
    close(first), close(second);
}

static sigjmp_buf fault_return;

static void catch_fault(int signal) {
    siglongjmp(fault_return, signal);
}

// The signal an access gives, 0 for none.
static int access_signal(volatile char *address, int write) {
    struct sigaction action = {.sa_handler = catch_fault};
    struct sigaction old_segv;
    struct sigaction old_bus;

    sigaction(SIGSEGV, &action, &old_segv);
    sigaction(SIGBUS, &action, &old_bus);
    int signal = sigsetjmp(fault_return, 1);
    if (signal == 0) {
        char value = *address;
        if (write) {
            *address = value;
        }
    }
    sigaction(SIGSEGV, &old_segv, NULL);
    sigaction(SIGBUS, &old_bus, NULL);
    return signal;
}

static char *map_anonymous(size_t size, int protection, int flags) {
    return mmap(NULL, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
}

static void test_anonymous_memory(void) {
    char *p = map_anonymous(4 * PAGE, PROT_READ | PROT_WRITE, 0);

    CHECK(p != MAP_FAILED);
    CHECK_EQUAL(p[2 * PAGE + 5], 0);
    memset(p, 0x5a, 4 * PAGE);
    CHECK(mprotect(p + PAGE, PAGE, PROT_READ) == 0);
    CHECK_EQUAL(access_signal(p + PAGE, 0), 0);
    CHECK_EQUAL(access_signal(p + PAGE, 1), SIGSEGV);
    CHECK_EQUAL(access_signal(p + 2 * PAGE, 1), 0);
    CHECK(mprotect(p + PAGE, PAGE, PROT_NONE) == 0);
    CHECK_EQUAL(access_signal(p + PAGE, 0), SIGSEGV);
    CHECK(mprotect(p + PAGE, PAGE, PROT_READ | PROT_WRITE) == 0);
    CHECK_EQUAL(p[PAGE], 0x5a);
    CHECK(munmap(p + PAGE, PAGE) == 0);
    CHECK_EQUAL(access_signal(p + PAGE, 0), SIGSEGV);
    CHECK_EQUAL(access_signal(p, 0), 0);
    CHECK_EQUAL(access_signal(p + 2 * PAGE, 0), 0);
    CHECK(mprotect(p, 4 * PAGE, PROT_READ) == -1 && errno == ENOMEM);
    char *hole = mmap(p + PAGE, PAGE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    CHECK(hole == p + PAGE && hole[0] == 0);
    CHECK(mmap(p, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) ==
              MAP_FAILED &&
          errno == EEXIST);
    CHECK(madvise(p, PAGE, MADV_DONTNEED) == 0);
    CHECK_EQUAL(p[0], 0);
    CHECK(munmap(p, 4 * PAGE) == 0);
    CHECK(munmap(p + 1, PAGE) == -1 && errno == EINVAL);
    CHECK(map_anonymous(0, PROT_READ, 0) == MAP_FAILED && errno == EINVAL);
}

static void test_large_memory(void) {
    const size_t size = 4ul << 30;
    char *p = map_anonymous(size, PROT_READ | PROT_WRITE, MAP_NORESERVE);

    // Reserved, not taken: only what is touched costs memory.
    if (CHECK(p != MAP_FAILED)) {
        for (size_t at = 0; at < size; at += size / 16) {
            CHECK_EQUAL(p[at], 0);
            p[at] = 1;
        }
        CHECK(munmap(p, size) == 0);
    }
    p = map_anonymous(8 * HUGE, PROT_READ | PROT_WRITE, 0);
    madvise(p, 8 * HUGE, MADV_HUGEPAGE);
    for (size_t at = 0; at < 8 * HUGE; at += PAGE) {
        p[at] = (char)(at / PAGE);
    }
    CHECK(munmap(p + HUGE / 2, HUGE) == 0); // across large pages
    CHECK(mprotect(p + 3 * HUGE, PAGE, PROT_READ) == 0);
    CHECK_EQUAL(access_signal(p + 3 * HUGE, 1), SIGSEGV);
    int right = 1;
    for (size_t at = 0; at < 8 * HUGE; at += PAGE) {
        if (at < HUGE / 2 || at >= HUGE / 2 + HUGE) {
            right &= p[at] == (char)(at / PAGE);
        }
    }
    CHECK(right);
    munmap(p, 8 * HUGE);
}

static void test_file_mapping(void) {
    int fd = open(in_directory("mapped"), O_RDWR | O_CREAT, 0600);
    char byte = 0;

    CHECK(ftruncate(fd, 2 * PAGE + 100) == 0);
    CHECK(pwrite(fd, "first", 5, 0) == 5 && pwrite(fd, "second", 6, PAGE) == 6);
    char *shared = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    char *private = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, PAGE);
    if (CHECK(shared != MAP_FAILED) && CHECK(private != MAP_FAILED)) {
        CHECK(memcmp(shared, "first", 5) == 0);
        CHECK(memcmp(private, "second", 6) == 0);
        shared[2] = 'X';
        CHECK(pread(fd, &byte, 1, 2) == 1 && byte == 'X');
        private[0] = 'Y';
        CHECK(pread(fd, &byte, 1, PAGE) == 1 && byte == 's');
        CHECK(pwrite(fd, "Z", 1, 3) == 1 && shared[3] == 'Z');
        CHECK_EQUAL(shared[2 * PAGE + 200], 0); // past the end within its last page
        munmap(shared, 3 * PAGE);
        munmap(private, PAGE);
    }
    CHECK(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 1) == MAP_FAILED && errno == EINVAL);
    CHECK(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, 999, 0) == MAP_FAILED && errno == EBADF);
    close(fd);
}

static void test_memfd(void) {
    struct stat status;
    int fd = memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    CHECK(fd >= 0);
    CHECK(ftruncate(fd, HUGE) == 0 && fstat(fd, &status) == 0 && status.st_size == (off_t)HUGE);
    char *a = mmap(NULL, HUGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    char *b = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, HUGE - PAGE);
    if (CHECK(a != MAP_FAILED) && CHECK(b != MAP_FAILED)) {
        a[HUGE - 1] = 'q';
        CHECK_EQUAL(b[PAGE - 1], 'q');
        CHECK_EQUAL(access_signal(b, 1), SIGSEGV);
        munmap(a, HUGE);
        munmap(b, PAGE);
    }
    close(fd);
}

static void test_holes(void) {
    int fd = memfd_create("holes", MFD_CLOEXEC);

    CHECK(ftruncate(fd, 4 * PAGE) == 0);
    char *a = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    char *b = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    if (CHECK(a != MAP_FAILED) && CHECK(b != MAP_FAILED)) {
        memset(a, 1, 4 * PAGE);
        CHECK_EQUAL(b[PAGE], 1);
        b[2 * PAGE] = 2; // its own now
        CHECK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE, 2 * PAGE) == 0);
        CHECK(a[0] == 1 && a[PAGE] == 0 && a[3 * PAGE - 1] == 0 && a[3 * PAGE] == 1);
        CHECK(b[PAGE] == 0 && b[2 * PAGE] == 2);
        CHECK(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, PAGE) == -1 && errno == EOPNOTSUPP);
        CHECK(madvise(a, PAGE, MADV_REMOVE) == 0 && a[0] == 0);
        CHECK(madvise(b, PAGE, MADV_REMOVE) == -1);
        CHECK(ftruncate(fd, PAGE) == 0);
        CHECK_EQUAL(access_signal(a + PAGE, 0), SIGBUS);
        munmap(a, 4 * PAGE);
        munmap(b, 4 * PAGE);
    }
    close(fd);
}

static void test_presence(void) {
    unsigned char there[4];
    char *p = map_anonymous(4 * PAGE, PROT_READ | PROT_WRITE, 0);

    p[PAGE] = 1;
    CHECK(mincore(p, 4 * PAGE, there) == 0);
    CHECK(!(there[0] & 1) && there[1] & 1 && !(there[2] & 1));
    CHECK(mlock(p + 2 * PAGE + 5, PAGE) == 0);
    CHECK(mincore(p, 4 * PAGE, there) == 0 && there[2] & 1 && there[3] & 1);
    CHECK(munlock(p, 4 * PAGE) == 0 && msync(p, 4 * PAGE, MS_SYNC) == 0);
    munmap(p + PAGE, PAGE);
    CHECK(mincore(p, 4 * PAGE, there) == -1 && errno == ENOMEM);
    CHECK(mlock(p, 4 * PAGE) == -1 && errno == ENOMEM);
    munmap(p, 4 * PAGE);
    CHECK(mlockall(0) == -1 && errno == EINVAL);
}

static void test_names(void) {
    struct stat status;
    char target[16] = "";
    int fd = open(in_directory("old"), O_RDWR | O_CREAT, 0600);

    CHECK(write(fd, "x", 1) == 1);
    CHECK(link(in_directory("old"), in_directory("second")) == 0);
    CHECK(rename(in_directory("old"), in_directory("new")) == 0);
    CHECK(fstat(fd, &status) == 0 && status.st_nlink == 2);
    CHECK(access(in_directory("old"), F_OK) == -1 && errno == ENOENT);
    CHECK(symlink("new", in_directory("link")) == 0);
    CHECK(readlink(in_directory("link"), target, sizeof(target)) == 3 && !strcmp(target, "new"));
    CHECK(chmod(in_directory("link"), 0640) == 0);
    CHECK(fstat(fd, &status) == 0 && (status.st_mode & 0777) == 0640);
    CHECK(truncate(in_directory("second"), 7) == 0 && lseek(fd, 0, SEEK_END) == 7);
    CHECK(unlink(in_directory("link")) == 0 && unlink(in_directory("new")) == 0);
    CHECK(unlink(in_directory("second")) == 0);
    close(fd);
}

static void test_later_calls(void) {
    char bytes[4] = "";
    struct iovec piece = {bytes, sizeof(bytes)};
    struct epoll_event event;
    int fd = memfd_create("later", 0), epoll = epoll_create1(0);

    CHECK(write(fd, "abcdefgh", 8) == 8);
    CHECK(preadv2(fd, &piece, 1, 2, 0) == 4 && memcmp(bytes, "cdef", 4) == 0);
    CHECK(lseek(fd, 0, SEEK_SET) == 0 && preadv2(fd, &piece, 1, -1, 0) == 4);
    CHECK(lseek(fd, 0, SEEK_CUR) == 4 && pwritev2(fd, &piece, 1, 4, RWF_DSYNC) == 4);
    CHECK_EQUAL(epoll_pwait2(epoll, &event, 1, &(struct timespec){.tv_nsec = 1000}, NULL), 0);
    CHECK(dup2(fd, 200) == 200 && dup2(fd, 203) == 203);
    CHECK(close_range(200, 300, CLOSE_RANGE_CLOEXEC) == 0);
    CHECK_EQUAL(fcntl(203, F_GETFD), FD_CLOEXEC);
    CHECK(close_range(200, 300, 0) == 0 && fcntl(203, F_GETFD) == -1 && errno == EBADF);
    CHECK(times(NULL) != (clock_t)-1);
    struct itimerval alarm = {.it_interval.tv_sec = 7, .it_value.tv_sec = 1000};
    struct itimerval left = {0};
    CHECK(setitimer(ITIMER_REAL, &alarm, NULL) == 0 && getitimer(ITIMER_REAL, &left) == 0);
    CHECK(left.it_value.tv_sec >= 900 && left.it_value.tv_sec <= 1000);
    CHECK_EQUAL(left.it_interval.tv_sec, 7);
    alarm = (struct itimerval){0};
    CHECK(setitimer(ITIMER_REAL, &alarm, NULL) == 0 && getitimer(ITIMER_REAL, &left) == 0);
    CHECK_EQUAL(left.it_value.tv_sec | left.it_value.tv_usec, 0);
    close(fd);
    close(epoll);
}

static void test_break(void) {
    char *start = sbrk(0);

    CHECK(sbrk(3 * PAGE) == start);
    memset(start, 1, 3 * PAGE);
    CHECK((char *)sbrk(0) == start + 3 * PAGE);
    CHECK(brk(start) == 0);
    CHECK((char *)sbrk(0) == start);
}

static void test_code(void) {
    static const unsigned char code[] = {0xb8, 42, 0, 0, 0, 0xc3}; // mov eax, 42; ret
    char *p = map_anonymous(PAGE, PROT_READ | PROT_WRITE, 0);
    int (*function)(void);

    memcpy(p, code, sizeof(code));
    CHECK(mprotect(p, PAGE, PROT_READ | PROT_EXEC) == 0);
    memcpy(&function, &p, sizeof(function));
    CHECK_EQUAL(function(), 42);
    munmap(p, PAGE);
}

static void test_spawn(void) {
    int fds[2];
    char buffer[32];

    CHECK(exited_with(self_wait(self_spawn("exit 7", -1)), 7));
    CHECK(killed_by(self_wait(self_spawn("abort", -1)), SIGABRT));
    CHECK(pipe2(fds, O_CLOEXEC) == 0);
    pid_t pid = self_spawn("copy", fds[0]);
    close(fds[0]);
    CHECK_EQUAL(write(fds[1], "x", 1), 1);
    close(fds[1]);
    CHECK(exited_with(self_wait(pid), 'x'));
    CHECK(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
    pid = self_spawn("sleep", -1);
    CHECK_EQUAL(waitpid(pid, NULL, WNOHANG), 0);
    CHECK(kill(pid, SIGTERM) == 0);
    CHECK(killed_by(self_wait(pid), SIGTERM));

    char *argv[] = {"nothing", NULL};
    CHECK_EQUAL(posix_spawn(&pid, "/no/such/program", NULL, NULL, argv, argv + 1), ENOENT);
    CHECK(execve(in_directory("file"), argv, argv + 1) == -1);
    ssize_t length = readlink("/proc/self/exe", buffer, sizeof(buffer));
    CHECK(length > 0 || errno == ENOENT);
}

static void test_vfork(void) {
    int status;
    pid_t pid = vfork(); // NOLINT(clang-analyzer-security.insecureAPI.vfork)

    if (pid == 0) {
        _exit(9);
    }
    CHECK(pid > 0);
    CHECK(waitpid(pid, &status, 0) == pid && exited_with(status, 9));
}

static void test_system(void) {
    struct utsname name;
    struct sysinfo info;
    cpu_set_t cpus;
    char random[64] = {0};
    char zero[64] = {0};

    CHECK(uname(&name) == 0);
    CHECK(strcmp(name.machine, "x86_64") == 0);
    CHECK(sysinfo(&info) == 0 && info.totalram * info.mem_unit > 16u << 20);
    CHECK(sched_getaffinity(0, sizeof(cpus), &cpus) == 0 && CPU_COUNT(&cpus) >= 1);
    CHECK(sched_yield() == 0);
    CHECK_EQUAL(getrandom(random, sizeof(random), 0), sizeof(random));
    CHECK(memcmp(random, zero, sizeof(random)) != 0);
    CHECK(syscall(999999) == -1 && errno == ENOSYS);
    CHECK(ioctl(0, 0xdead) == -1 && (errno == ENOTTY || errno == EINVAL));
    int fd = open(in_directory("notty"), O_RDWR | O_CREAT, 0600);
    struct termios mode;
    CHECK(tcgetattr(fd, &mode) == -1 && errno == ENOTTY);
    close(fd);
}

static void remove_files(void) {
    static const char *const files[] = {"sub/two", "file", "vectors", "null", "mapped", "notty"};

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        unlink(in_directory(files[i]));
    }
    rmdir(in_directory("sub"));
    rmdir(directory);
}

static int child_main(const char *role) {
    char byte = 0;

    if (strcmp(role, "exit 7") == 0) {
        return 7;
    }
    if (strcmp(role, "abort") == 0) {
        abort();
    }
    if (strcmp(role, "copy") == 0) {
        return read(STDIN_FILENO, &byte, 1) == 1 ? byte : 1;
    }
    for (;;) {
        pause();
    }
}

int main(int argc, char **argv) {
    static const struct tap_test tests[] = {
        {"files", test_files},
        {"vectors", test_vectors},
        {"directories", test_directories},
        {"descriptors", test_descriptors},
        {"anonymous memory", test_anonymous_memory},
        {"large memory", test_large_memory},
        {"file mapping", test_file_mapping},
        {"memfd", test_memfd},
        {"holes", test_holes},
        {"presence", test_presence},
        {"names", test_names},
        {"later calls", test_later_calls},
        {"brk", test_break},
        {"code", test_code},
        {"spawn and wait", test_spawn},
        {"vfork", test_vfork},
        {"system", test_system},
    };

    self_path = argv[0];
    if (argc > 1) {
        return child_main(argv[1]);
    }
    snprintf(directory, sizeof(directory), "/tmp/syscalls-%d", (int)getpid());
    mkdir("/tmp", 01777);
    if (mkdir(directory, 0700) < 0) {
        perror(directory);
        return 1;
    }
    int status = tap_run(tests, sizeof(tests) / sizeof(tests[0]), NULL);
    remove_files();
    return status;
}
