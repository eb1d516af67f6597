// SPDX-License-Identifier: BSD-2-Clause
// Every kind of file through system calls, as Linux answers them: the program passes on Linux too.
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "files/files.h"

#define DIRECTORY "/tmp/ashlar-files-test"

uint64_t now_ms(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}

static void *later_main(void *argument) {
    struct later *later = argument;
    usleep(30000);
    later->body(later->fd);
    return NULL;
}

void later_start(struct later *later, void (*body)(int fd), int fd) {
    later->body = body;
    later->fd = fd;
    CHECK_EQUAL(pthread_create(&later->thread, NULL, later_main, later), 0);
}

void later_join(struct later *later) {
    pthread_join(later->thread, NULL);
}

void write_word(int fd) {
    CHECK_EQUAL(write(fd, "word", 4), 4);
}

void write_one(int fd) {
    uint64_t one = 1;
    CHECK_EQUAL(write(fd, &one, 8), 8);
}

volatile sig_atomic_t signals;

static void drain(int fd) {
    char bytes[8192];
    CHECK(read(fd, bytes, sizeof(bytes)) > 0);
}

static void regular_files(void) {
    char text[64] = "";
    struct stat status;
    int fd = open("notes", O_RDWR | O_CREAT | O_EXCL, 0640);
    CHECK(fd >= 0);
    FAILS(open("notes", O_RDWR | O_CREAT | O_EXCL, 0640), EEXIST);
    CHECK_EQUAL(write(fd, "hello world", 11), 11);
    CHECK_EQUAL(pwrite(fd, "J", 1, 0), 1);
    CHECK_EQUAL(lseek(fd, 0, SEEK_CUR), 11);
    CHECK_EQUAL(pread(fd, text, sizeof(text), 6), 5);
    CHECK(!strcmp(text, "world"));
    CHECK_EQUAL(lseek(fd, 8192, SEEK_SET), 8192);
    CHECK_EQUAL(write(fd, "far", 3), 3);
    CHECK_EQUAL(fstat(fd, &status), 0);
    CHECK_EQUAL(status.st_size, 8195);
    CHECK_EQUAL(status.st_mode, S_IFREG | 0640);
    CHECK_EQUAL(pread(fd, text, 4, 4096), 4);
    CHECK(!memcmp(text, "\0\0\0\0", 4));
    CHECK_EQUAL(ftruncate(fd, 5), 0);
    CHECK_EQUAL(pread(fd, text, sizeof(text), 0), 5);
    CHECK(!memcmp(text, "Jello", 5));
    CHECK_EQUAL(ftruncate(fd, 8), 0);
    CHECK_EQUAL(pread(fd, text, sizeof(text), 0), 8);
    CHECK(!memcmp(text, "Jello\0\0\0", 8));
    FAILS(lseek(fd, -1, SEEK_SET), EINVAL);
    close(fd);
    fd = open("notes", O_WRONLY | O_APPEND);
    CHECK_EQUAL(write(fd, "tail", 4), 4);
    FAILS(read(fd, text, 1), EBADF);
    CHECK_EQUAL(lseek(fd, 0, SEEK_CUR), 12);
    close(fd);
    fd = open("notes", O_RDONLY | O_TRUNC);
    FAILS(write(fd, text, 1), EBADF);
    close(fd);
    CHECK_EQUAL(unlink("notes"), 0);
    FAILS(open("notes", O_RDONLY), ENOENT);
    FAILS(unlink("notes"), ENOENT);
}

static void vectors(void) {
    char a[4] = "", b[8] = "";
    struct iovec out[] = {{"abc", 3}, {"", 0}, {"defgh", 5}};
    struct iovec in[] = {{a, 3}, {b, 8}};
    int fd = open("vector", O_RDWR | O_CREAT, 0600);
    CHECK_EQUAL(writev(fd, out, 3), 8);
    CHECK_EQUAL(preadv(fd, in, 2, 0), 8);
    CHECK(!memcmp(a, "abc", 3) && !memcmp(b, "defgh", 5));
    CHECK_EQUAL(pwritev(fd, out, 1, 4), 3);
    CHECK_EQUAL(lseek(fd, 1, SEEK_SET), 1);
    CHECK_EQUAL(readv(fd, in, 2), 7);
    CHECK(!memcmp(a, "bcd", 3) && !memcmp(b, "abch", 4));
    FAILS(syscall(SYS_readv, fd, in, IOV_MAX + 1L), EINVAL);
    FAILS(syscall(SYS_readv, fd, in, -1L), EINVAL);
    FAILS(syscall(SYS_write, fd, 8L, 4L), EFAULT);
    // A buffer that ends in an unmapped page takes what fits before it.
    char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(pages + 4096, 4096);
    CHECK_EQUAL(ftruncate(fd, 8192), 0);
    ssize_t got = pread(fd, pages, 8192, 0);
    CHECK(got == 4096 || (got == -1 && errno == EFAULT), "%zd", got);
    FAILS(pread(fd, pages + 4096, 10, 0), EFAULT);
    close(fd);
    unlink("vector");
}

static void directories(void) {
    CHECK_EQUAL(mkdir("tree", 0755), 0);
    FAILS(mkdir("tree", 0755), EEXIST);
    CHECK_EQUAL(mkdir("tree/a", 0755), 0);
    char name[32];
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof(name), "tree/file-%d", i);
        close(open(name, O_CREAT | O_WRONLY, 0600));
    }
    FAILS(rmdir("tree"), ENOTEMPTY);
    FAILS(unlink("tree"), EISDIR);
    FAILS(open("tree/file-0/x", O_RDONLY), ENOTDIR);
    FAILS(open("tree/file-0/", O_RDONLY), ENOTDIR);
    FAILS(open("tree", O_WRONLY), EISDIR);
    DIR *directory = opendir("tree");
    int files = 0, others = 0;
    struct dirent *entry;
    while ((entry = readdir(directory))) { // removed while being read, as rm -r does
        if (!strncmp(entry->d_name, "file-", 5)) {
            files++;
            CHECK_EQUAL(unlinkat(dirfd(directory), entry->d_name, 0), 0);
        } else {
            others++;
        }
    }
    closedir(directory);
    CHECK_EQUAL(files, 300);
    CHECK_EQUAL(others, 3); // ".", "..", "a"
    char path[PATH_MAX];
    CHECK_EQUAL(chdir("tree/a"), 0);
    CHECK(getcwd(path, sizeof(path)) && !strcmp(path, DIRECTORY "/tree/a"), "%s", path);
    FAILS((long)getcwd(path, 3) - (long)NULL - 1, ERANGE);
    struct stat here, there;
    CHECK_EQUAL(stat(".", &here), 0);
    CHECK_EQUAL(stat("../../tree/./a//", &there), 0);
    CHECK_EQUAL(here.st_ino, there.st_ino);
    CHECK_EQUAL(chdir(DIRECTORY), 0);
    CHECK_EQUAL(rmdir("tree/a"), 0);
    CHECK_EQUAL(rmdir("tree"), 0);
    FAILS(chdir("tree"), ENOENT);
    FAILS(stat("", &here), ENOENT);
    memset(path, 'x', 300);
    path[300] = 0;
    FAILS(open(path, O_RDONLY), ENAMETOOLONG);
}

static void metadata(void) {
    struct stat status;
    struct statx extended;
    FAILS(stat("/sys/kernel/mm/nothing", &status), ENOENT);
    CHECK_EQUAL(stat("/dev/null", &status), 0);
    CHECK(S_ISCHR(status.st_mode) && status.st_rdev == 0x103);
    int fd = open("/dev/null", O_RDWR);
    CHECK_EQUAL(fstatat(fd, "", &status, AT_EMPTY_PATH), 0);
    CHECK(S_ISCHR(status.st_mode));
    CHECK_EQUAL(statx(AT_FDCWD, "/dev/zero", 0, STATX_BASIC_STATS, &extended), 0);
    CHECK(S_ISCHR(extended.stx_mode) && extended.stx_rdev_minor == 5);
    CHECK_EQUAL(write(fd, "gone", 4), 4);
    CHECK_EQUAL(read(fd, &status, 4), 0);
    close(fd);
    CHECK_EQUAL(access("/dev/null", R_OK | W_OK), 0);
    FAILS(access("/dev/missing", F_OK), ENOENT);
    FAILS(readlink("/dev/null", (char *)&status, 10), EINVAL);
    char path[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);
    CHECK(length > 0 && path[0] == '/');
    fd = open("/proc/self/exe", O_RDONLY);
    CHECK(fd >= 0 && read(fd, path, 4) == 4 && !memcmp(path, "\177ELF", 4));
    close(fd);
    fd = open("/sys/devices/system/cpu/online", O_RDONLY);
    CHECK(read(fd, path, sizeof(path)) > 0 && path[0] == '0');
    close(fd);
    fd = open("/dev/zero", O_RDWR);
    memset(path, 1, 16);
    CHECK_EQUAL(read(fd, path, 16), 16);
    CHECK_EQUAL(path[15], 0);
    close(fd);
    fd = open("/dev/full", O_WRONLY);
    FAILS(write(fd, "x", 1), ENOSPC);
    close(fd);
    uint64_t random[2] = {0, 0};
    fd = open("/dev/urandom", O_RDONLY);
    CHECK_EQUAL(read(fd, random, sizeof(random)), sizeof(random));
    CHECK(random[0] != random[1]);
    close(fd);
}

static void descriptors(void) {
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    CHECK_EQUAL(fcntl(fd, F_GETFD), FD_CLOEXEC);
    int copy = dup(fd);
    CHECK_EQUAL(fcntl(copy, F_GETFD), 0);
    CHECK_EQUAL(dup2(fd, 100), 100);
    CHECK_EQUAL(dup2(fd, fd), fd);
    FAILS(dup3(fd, fd, 0), EINVAL);
    CHECK_EQUAL(fcntl(fd, F_DUPFD_CLOEXEC, 200), 200);
    CHECK_EQUAL(fcntl(200, F_GETFD), FD_CLOEXEC);
    CHECK_EQUAL(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDWR);
    CHECK_EQUAL(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    CHECK(fcntl(copy, F_GETFL) & O_NONBLOCK);
    close(copy);
    FAILS(close(copy), EBADF);
    FAILS(read(copy, &fd, 1), EBADF);
    FAILS(ioctl(copy, FIONREAD, &copy), EBADF);
    FAILS(ioctl(fd, FIONREAD, &copy), ENOTTY);
    CHECK_EQUAL(dup(fd), copy); // the lowest free one
    close(copy);
    close(100);
    close(200);
    close(fd);
    struct rlimit limit = {4200, 4200}, old;
    getrlimit(RLIMIT_NOFILE, &old);
    limit.rlim_max = old.rlim_max;
    CHECK_EQUAL(setrlimit(RLIMIT_NOFILE, &limit), 0);
    int first = eventfd(0, 0), last = first;
    while ((fd = eventfd(0, 0)) >= 0) {
        last = fd;
    }
    CHECK_EQUAL(errno, EMFILE);
    CHECK_EQUAL(last, 4199);
    for (fd = first; fd < 4200; fd++) {
        CHECK_EQUAL(close(fd), 0);
    }
    setrlimit(RLIMIT_NOFILE, &old);
}

static void locks(void) {
    struct flock lock = {.l_type = F_WRLCK, .l_start = 10, .l_len = 10};
    int a = open("locked", O_RDWR | O_CREAT, 0600), b = open("locked", O_RDWR);
    CHECK_EQUAL(fcntl(a, F_OFD_SETLK, &lock), 0);
    FAILS(fcntl(b, F_OFD_SETLK, &lock), EAGAIN);
    struct flock asked = {.l_type = F_RDLCK, .l_start = 0, .l_len = 0};
    CHECK_EQUAL(fcntl(b, F_OFD_GETLK, &asked), 0);
    CHECK(asked.l_type == F_WRLCK && asked.l_start == 10 && asked.l_len == 10 && asked.l_pid == -1);
    lock.l_type = F_UNLCK;
    lock.l_start = 12;
    lock.l_len = 2;
    CHECK_EQUAL(fcntl(a, F_OFD_SETLK, &lock), 0);
    lock.l_type = F_WRLCK;
    CHECK_EQUAL(fcntl(b, F_OFD_SETLK, &lock), 0);
    lock.l_start = 11;
    FAILS(fcntl(b, F_OFD_SETLK, &lock), EAGAIN);
    close(a);
    CHECK_EQUAL(fcntl(b, F_OFD_SETLK, &lock), 0);
    close(b);
    unlink("locked");
}

static void pipes(void) {
    int fds[2], bytes;
    static char block[100000], back[100000];
    CHECK_EQUAL(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
    FAILS(read(fds[0], block, 1), EAGAIN);
    memset(block, 'p', sizeof(block));
    ssize_t written = write(fds[1], block, sizeof(block));
    CHECK_EQUAL(written, 65536);
    FAILS(write(fds[1], block, 1), EAGAIN);
    CHECK_EQUAL(ioctl(fds[0], FIONREAD, &bytes), 0);
    CHECK_EQUAL(bytes, 65536);
    CHECK_EQUAL(fcntl(fds[0], F_GETPIPE_SZ), 65536);
    struct pollfd poll_out = {.fd = fds[1], .events = POLLOUT};
    CHECK_EQUAL(poll(&poll_out, 1, 0), 0);
    CHECK_EQUAL(read(fds[0], back, sizeof(back)), 65536);
    CHECK(!memcmp(block, back, 65536));
    CHECK_EQUAL(poll(&poll_out, 1, 0), 1);
    close(fds[1]);
    CHECK_EQUAL(read(fds[0], back, 1), 0);
    struct pollfd poll_in = {.fd = fds[0], .events = POLLIN};
    CHECK_EQUAL(poll(&poll_in, 1, -1), 1);
    CHECK_EQUAL(poll_in.revents, POLLHUP);
    close(fds[0]);

    CHECK_EQUAL(pipe(fds), 0);
    struct later later;
    later_start(&later, write_word, fds[1]);
    CHECK_EQUAL(read(fds[0], back, sizeof(back)), 4);
    later_join(&later);
    CHECK_EQUAL(write(fds[1], block, 65536), 65536);
    later_start(&later, drain, fds[0]); // frees 8192 bytes for the blocked writer
    CHECK_EQUAL(write(fds[1], block, 4096), 4096);
    later_join(&later);
    close(fds[0]);
    signals = 0;
    signal(SIGPIPE, count_signal);
    FAILS(write(fds[1], block, 1), EPIPE);
    CHECK_EQUAL(signals, 1);
    signal(SIGPIPE, SIG_DFL);
    close(fds[1]);
    FAILS(syscall(SYS_pipe2, 8L, 0), EFAULT);
}

static void event_counters(void) {
    uint64_t value;
    int fd = eventfd(3, EFD_NONBLOCK);
    CHECK_EQUAL(read(fd, &value, 8), 8);
    CHECK_EQUAL(value, 3);
    FAILS(read(fd, &value, 8), EAGAIN);
    FAILS(read(fd, &value, 4), EINVAL);
    value = UINT64_MAX;
    FAILS(write(fd, &value, 8), EINVAL);
    value = UINT64_MAX - 1;
    CHECK_EQUAL(write(fd, &value, 8), 8);
    struct pollfd out = {.fd = fd, .events = POLLOUT};
    CHECK_EQUAL(poll(&out, 1, 0), 0);
    value = 1;
    FAILS(write(fd, &value, 8), EAGAIN);
    CHECK_EQUAL(read(fd, &value, 8), 8);
    CHECK_EQUAL(value, UINT64_MAX - 1);
    close(fd);
    fd = eventfd(2, EFD_SEMAPHORE);
    CHECK_EQUAL(read(fd, &value, 8), 8);
    CHECK_EQUAL(value, 1);
    CHECK_EQUAL(read(fd, &value, 8), 8);
    struct later later;
    later_start(&later, write_one, fd);
    CHECK_EQUAL(read(fd, &value, 8), 8);
    later_join(&later);
    close(fd);
}

static void timers(void) {
    uint64_t ticks;
    struct itimerspec time = {.it_value.tv_sec = 1000}, old;
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    FAILS(read(fd, &ticks, 8), EAGAIN);
    CHECK_EQUAL(timerfd_settime(fd, 0, &time, NULL), 0);
    CHECK_EQUAL(timerfd_gettime(fd, &old), 0);
    CHECK(old.it_value.tv_sec > 900 && old.it_value.tv_sec <= 1000);
    time.it_value = (struct timespec){.tv_nsec = 20000000};
    uint64_t start = now_ms();
    CHECK_EQUAL(timerfd_settime(fd, 0, &time, NULL), 0);
    struct pollfd in = {.fd = fd, .events = POLLIN};
    CHECK_EQUAL(poll(&in, 1, 5000), 1);
    CHECK(now_ms() - start >= 19, "%lu ms", (unsigned long)(now_ms() - start));
    CHECK_EQUAL(read(fd, &ticks, 8), 8);
    CHECK_EQUAL(ticks, 1);
    time.it_interval.tv_nsec = 10000000;
    CHECK_EQUAL(timerfd_settime(fd, 0, &time, NULL), 0);
    usleep(60000);
    CHECK_EQUAL(read(fd, &ticks, 8), 8);
    CHECK(ticks >= 4 && ticks <= 1 + (now_ms() - start) / 10, "%lu", (unsigned long)ticks);
    memset(&time, 0, sizeof(time));
    CHECK_EQUAL(timerfd_settime(fd, 0, &time, &old), 0);
    CHECK_EQUAL(old.it_interval.tv_nsec, 10000000);
    CHECK_EQUAL(poll(&in, 1, 20), 0);
    close(fd);
    fd = timerfd_create(CLOCK_REALTIME, 0);
    clock_gettime(CLOCK_REALTIME, &time.it_value);
    time.it_value.tv_nsec += 10000000;
    if (time.it_value.tv_nsec >= 1000000000) {
        time.it_value.tv_sec++;
        time.it_value.tv_nsec -= 1000000000;
    }
    CHECK_EQUAL(timerfd_settime(fd, TFD_TIMER_ABSTIME, &time, NULL), 0);
    CHECK_EQUAL(read(fd, &ticks, 8), 8);
    CHECK_EQUAL(ticks, 1);
    close(fd);
}

static void memory_files(void) {
    int fd = memfd_create("test", MFD_ALLOW_SEALING | MFD_CLOEXEC);
    CHECK_EQUAL(ftruncate(fd, 1 << 20), 0);
    char *shared = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    char *again = mmap(NULL, 1 << 20, PROT_READ, MAP_SHARED, fd, 0);
    CHECK(shared != MAP_FAILED && again != MAP_FAILED);
    memcpy(shared + 5000, "shared", 7);
    CHECK(!strcmp(again + 5000, "shared"));
    char text[8] = "";
    CHECK_EQUAL(pread(fd, text, 7, 5000), 7);
    CHECK(!strcmp(text, "shared"));
    CHECK_EQUAL(pwrite(fd, "SH", 2, 5000), 2);
    CHECK(!strcmp(again + 5000, "SHared"));
    char *private = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 4096);
    private[904] = 'x';
    CHECK(again[5000] == 'S' && !strcmp(private + 904, "xHared"));
    CHECK_EQUAL(fcntl(fd, F_GET_SEALS), 0);
    FAILS(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), EBUSY);
    CHECK_EQUAL(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
    FAILS(ftruncate(fd, 1), EPERM);
    FAILS(ftruncate(fd, 1 << 21), EPERM);
    FAILS(pwrite(fd, "x", 1, 1 << 20), EPERM);
    munmap(shared, 1 << 20);
    munmap(again, 1 << 20);
    munmap(private, 8192);
    CHECK_EQUAL(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SEAL), 0);
    FAILS(pwrite(fd, "x", 1, 0), EPERM);
    FAILS(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), EPERM);
    CHECK(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
    close(fd);
    fd = open("/proc/self/exe", O_RDONLY);
    char *image = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
    CHECK(image != MAP_FAILED && !memcmp(image, "\177ELF", 4));
    munmap(image, 4096);
    CHECK(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
    close(fd);
}

static void console(void) {
    int group;
    if (!isatty(0)) {
        return;
    }
    CHECK_EQUAL(ioctl(0, TIOCGPGRP, &group), 0);
    struct winsize window;
    CHECK_EQUAL(ioctl(0, TIOCGWINSZ, &window), 0);
    FAILS(lseek(0, 0, SEEK_CUR), ESPIPE);
}

// Many threads opening, duplicating and closing the same descriptors: none may read another's file
// or a freed one.
static _Atomic int stop_churning;

static void *churn(void *argument) {
    (void)argument;
    for (int i = 0; i < 3000; i++) {
        int fd = open("/dev/null", O_RDWR);
        char byte;
        if (read(fd, &byte, 1) != 0 && errno != EBADF) {
            return (void *)1;
        }
        close(fd);
    }
    return NULL;
}

static void *guess(void *argument) {
    (void)argument;
    while (!stop_churning) {
        for (int fd = 3; fd < 8; fd++) {
            char byte;
            if (read(fd, &byte, 1) == -1 && errno != EBADF) {
                return (void *)1;
            }
        }
    }
    return NULL;
}

static void shared_table(void) {
    pthread_t churners[3], guesser;
    void *bad;
    pthread_create(&guesser, NULL, guess, NULL);
    for (int i = 0; i < 3; i++) {
        pthread_create(&churners[i], NULL, churn, NULL);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(churners[i], &bad);
        CHECK(!bad);
    }
    stop_churning = 1;
    pthread_join(guesser, &bad);
    CHECK(!bad);
}

static const struct tap_test tests[] = {
    {"regular files", regular_files},
    {"vectors and partial transfers", vectors},
    {"directories and paths", directories},
    {"stat, access, devices", metadata},
    {"descriptors", descriptors},
    {"record locks", locks},
    {"pipes", pipes},
    {"eventfd", event_counters},
    {"timerfd", timers},
    {"memfd, mappings, seals", memory_files},
    {"poll, select, ppoll", polling},
    {"epoll", event_polling},
    {"socket pairs, passed files", socket_pairs},
    {"named sockets", named_sockets},
    {"console", console},
    {"one table, many threads", shared_table},
};

int main(int argc, char **argv) {
    char command[] = "rm -rf " DIRECTORY;
    if (access(DIRECTORY, F_OK) == 0 && system(command) != 0) {
        return 2;
    }
    if (mkdir(DIRECTORY, 0755) != 0 || chdir(DIRECTORY) != 0) {
        perror(DIRECTORY);
        return 2;
    }
    int status = tap_run(tests, sizeof(tests) / sizeof(tests[0]), argc > 1 ? argv[1] : NULL);
    chdir("/");
    rmdir(DIRECTORY);
    return status;
}
