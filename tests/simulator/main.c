// SPDX-License-Identifier: BSD-2-Clause
// The scheduler on simulated machines: `simulator DIRECTORY [SEEDS]` checks what docs/scheduler.md
// promises, prints the cost of a decision, and writes the plots' rows to DIRECTORY. With SEEDS it
// takes minutes: so many storms, and shares on the largest machine.
#include <stdarg.h>
#include <stdlib.h>
#include "machine.h"
#include "scenarios.h"

static unsigned checks, failures;

void expect(bool good, const char *format, ...) {
    va_list arguments;
    checks++;
    failures += !good;
    printf("%s ", good ? "ok" : "FAIL");
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
    fflush(stdout);
}

static FILE *rows_of(const char *directory, const char *name) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s.rows", directory, name);
    FILE *rows = fopen(path, "w");
    if (!rows) {
        perror(path);
        exit(2);
    }
    return rows;
}

int main(int argc, char **argv) {
    if (argc != 2 && argc != 3) {
        fprintf(stderr, "usage: simulator DIRECTORY [SEEDS]\n");
        return 2;
    }
    unsigned seeds = argc == 3 ? (unsigned)atoi(argv[2]) : 20;
    FILE *queue = rows_of(argv[1], "queue"), *size = rows_of(argv[1], "machine"),
         *three = rows_of(argv[1], "three"), *latency = rows_of(argv[1], "latency");
    measure_queue_cost(queue);
    measure_machine_cost(size);
    check_shares(argc == 3);
    plot_three_on_two(three);
    check_groups();
    check_limits();
    check_reservations();
    check_latency(latency);
    check_adversaries();
    check_cores();
    check_topology();
    check_silence();
    for (unsigned seed = 1; seed <= seeds; seed++)
        check_storm(1 + seed * 7 % 16, 20 * (seed % 40 + 1), seed);
    printf("%u checks, %u failures\n", checks, failures);
    return failures != 0;
}
