// SPDX-License-Identifier: BSD-2-Clause
// Readers of /proc/stat and /proc/meminfo.
#include "host.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

bool host_cpu(int number, struct host_cpu *cpu) {
    char name[16], line[512];
    uint64_t tick = 1000000000u / (uint64_t)sysconf(_SC_CLK_TCK);
    FILE *file = fopen("/proc/stat", "re");
    bool found = false;

    snprintf(name, sizeof(name), number < 0 ? "cpu " : "cpu%d ", number);
    while (file && !found && fgets(line, sizeof(line), file)) {
        unsigned long long user, nice, system, idle, iowait = 0, guest = 0;

        found = strncmp(line, name, strlen(name)) == 0 &&
                sscanf(line, "%*s %llu %llu %llu %llu %llu %*u %*u %*u %llu", &user, &nice, &system,
                       &idle, &iowait, &guest) >= 4;
        if (found) {
            *cpu = (struct host_cpu){.user = (user + nice) * tick,
                                     .system = system * tick,
                                     .idle = idle * tick,
                                     .iowait = iowait * tick,
                                     .guest = guest * tick};
        }
    }
    if (file) {
        fclose(file);
    }
    return found;
}

uint64_t host_memory(const char *row) {
    char name[64], line[128];
    unsigned long long kib;
    uint64_t found = 0;
    FILE *file = fopen("/proc/meminfo", "re");

    while (file && fgets(line, sizeof(line), file)) {
        if (sscanf(line, "%63[^:]: %llu", name, &kib) == 2 && strcmp(name, row) == 0) {
            found = kib;
        }
    }
    if (file) {
        fclose(file);
    }
    return found;
}
