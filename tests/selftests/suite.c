// SPDX-License-Identifier: BSD-2-Clause
// Runs test programs one after another, each a process of its own, and prints a row for each: test,
// result, TSC ticks, and the first line that says why. One that hangs is ended and the rest go on.
// Runs on Ashlar and on Linux.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "first_process.h"

#define SKIP_STATUS  4 // KSFT_SKIP of Linux's selftests
#define OUTPUT_LIMIT 65536
#define WORDS_MAX    16 // of a program and its options

enum result { PASS, SKIP, FAIL, TIME_OUT, RESULT_COUNT };
static const char *const result_name[RESULT_COUNT] = {"pass", "skip", "fail", "time-out"};

struct outcome {
    enum result result;
    int status;
    uint64_t ticks;
    char output[OUTPUT_LIMIT];
    size_t length;
};

extern char **environ;

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static pid_t start(char *path, char **arguments, int *output) {
    posix_spawn_file_actions_t actions;
    int ends[2];
    pid_t child;

    if (pipe2(ends, O_CLOEXEC)) {
        perror("pipe2");
        exit(1);
    }
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 2);
    int error = posix_spawn(&child, path, &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    *output = ends[0];
    if (error) {
        fprintf(stderr, "%s: %s\n", path, strerror(error));
        close(ends[0]);
        return -1;
    }
    return child;
}

static bool collect_some(struct outcome *outcome, int fd) {
    char *to = outcome->output + outcome->length;
    size_t room = OUTPUT_LIMIT - 1 - outcome->length;
    char dropped[512];
    ssize_t got = room ? read(fd, to, room) : read(fd, dropped, sizeof(dropped));

    if (got > 0 && room)
        outcome->length += (size_t)got;
    return got > 0;
}

// Reads until the program has closed its output or the time is over. False: the latter.
static bool collect(struct outcome *outcome, int fd, double deadline) {
    for (;;) {
        double left = deadline - seconds();
        struct pollfd wanted = {.fd = fd, .events = POLLIN};
        if (left <= 0 || poll(&wanted, 1, (int)(left * 1000) + 1) == 0)
            return false;
        if (!collect_some(outcome, fd))
            return true;
    }
}

static enum result judge(int status) {
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return PASS;
    return WIFEXITED(status) && WEXITSTATUS(status) == SKIP_STATUS ? SKIP : FAIL;
}

// Cuts "program,option,..." at its commas. The program is the first word.
static void split(char *row, char **words) {
    size_t count = 0;
    for (char *word = strtok(row, ","); word && count < WORDS_MAX; word = strtok(NULL, ","))
        words[count++] = word;
    words[count] = NULL;
}

// A row may begin with its own limit and a colon.
static void run(char *row, double limit, struct outcome *outcome) {
    char *words[WORDS_MAX + 1], *colon;
    int fd;
    double own_limit = strtod(row, &colon);
    if (*colon == ':') {
        limit = own_limit;
        row = colon + 1;
    }
    split(row, words);
    outcome->length = 0;
    outcome->result = FAIL;
    if (!words[0])
        return;
    uint64_t begin = __builtin_ia32_rdtsc();
    pid_t child = start(words[0], words, &fd);
    if (child < 0)
        return;
    bool ended = collect(outcome, fd, seconds() + limit);
    if (!ended)
        kill(child, SIGKILL);
    waitpid(child, &outcome->status, 0);
    close(fd);
    outcome->ticks = __builtin_ia32_rdtsc() - begin;
    outcome->result = ended ? judge(outcome->status) : TIME_OUT;
    outcome->output[outcome->length] = '\0';
}

// The line that says what went wrong: the one after the selftests' headline of a failed assertion,
// which names file and condition; another mark's; else the last.
static const char *reason(struct outcome *outcome) {
    static const char *const marks[] = {"Assert", "ASSERT", "SKIP", "skip",
                                        "not ok", "fail",   "FAIL"};
    static const char headline[] = "==== Test Assertion Failure ====\n";
    const char *last = "";
    char *failure = strstr(outcome->output, headline);
    if (failure) {
        failure += strlen(headline);
        failure += strspn(failure, " ");
        for (char *c = failure; (c = strchr(c, '\n')) != NULL;)
            *c = ' ';
        return failure;
    }
    for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
        char *found = strstr(outcome->output, marks[i]);
        if (!found)
            continue;
        while (found > outcome->output && found[-1] != '\n')
            found--;
        found[strcspn(found, "\n")] = '\0';
        return found;
    }
    for (char *line = strtok(outcome->output, "\r\n"); line; line = strtok(NULL, "\r\n"))
        last = line;
    return last;
}

static void print_row(const char *path, struct outcome *outcome) {
    const char *slash = strrchr(path, '/');
    printf("%-34s %-8s %12llu", slash ? slash + 1 : path, result_name[outcome->result],
           (unsigned long long)outcome->ticks);
    if (outcome->result != PASS)
        printf("  %.300s", reason(outcome));
    if (outcome->result == FAIL && WIFSIGNALED(outcome->status))
        printf(" (signal %d)", WTERMSIG(outcome->status));
    putchar('\n');
    fflush(stdout);
}

// What tests read in Linux's sysfs of a kernel that maps anonymous memory in pages of 2 MiB. Ashlar
// has none of it: the files are made where the directory is missing.
static void provide_sysfs(void) {
    static const char *const directories[] = {"/sys", "/sys/kernel", "/sys/kernel/mm",
                                              "/sys/kernel/mm/transparent_hugepage"};
    static const char size[] = "2097152\n";

    if (access(directories[2], F_OK) == 0)
        return;
    for (size_t i = 0; i < sizeof(directories) / sizeof(directories[0]); i++)
        mkdir(directories[i], 0755);
    int fd = open("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", O_WRONLY | O_CREAT, 0444);
    if (fd < 0 || write(fd, size, sizeof(size) - 1) < 0)
        perror("hpage_pmd_size");
    close(fd);
}

// SECONDS and the tests, a word a line; the kernel's command line would be too short.
static int read_words(const char *path, char **words, int most) {
    static char text[OUTPUT_LIMIT];
    FILE *file = fopen(path, "r");
    size_t length = file ? fread(text, 1, sizeof(text) - 1, file) : 0;
    int count = 1;
    text[length] = '\0';
    for (char *word = strtok(text, "\n"); word && count < most; word = strtok(NULL, "\n"))
        words[count++] = word;
    if (file)
        fclose(file);
    return count;
}

int main(int argc, char **argv) {
    static char *words[256];
    bool first = getpid() == 1;
    static struct outcome outcome;
    unsigned counts[RESULT_COUNT] = {0};

    if (first) {
        first_process_begin();
        argv = words;
        argc = read_words("words", words, 256);
    }
    double limit = argc > 2 ? atof(argv[1]) : 0;

    if (limit <= 0) {
        fprintf(stderr, "usage: suite SECONDS [SECONDS:]PROGRAM[,OPTION]...\n");
        return 2;
    }
    provide_sysfs();
    printf("%-34s %-8s %12s  %s\n", "test", "result", "ticks", "why");
    for (int i = 2; i < argc && argv[i]; i++) {
        run(argv[i], limit, &outcome);
        counts[outcome.result]++;
        print_row(argv[i], &outcome);
    }
    printf("%u pass, %u skip, %u fail, %u time-out\n", counts[PASS], counts[SKIP], counts[FAIL],
           counts[TIME_OUT]);
    if (first)
        first_process_end();
    return counts[FAIL] + counts[TIME_OUT] ? 1 : 0;
}
