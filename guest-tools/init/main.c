// SPDX-License-Identifier: BSD-2-Clause
// init, process 1: starts the program or guest the configuration names and powers off when all
// that was started has ended.
#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <unistd.h>

#include <errno.h>

#include "child.h"
#include "config.h"
#include "words.h"

#define WORDS_MAX 256

static void start_program(struct child_table *table, const struct config *config) {
    char *argv[WORDS_MAX + 2] = {config->program};
    char *buffer;
    int count = words_split(config->args ? config->args : "", argv + 1, WORDS_MAX, &buffer);

    if (count < 0) {
        printf("init: args: a quote is not closed, or more than %d words\n", WORDS_MAX);
        printf("init: %s exited with %d\n", config->program, 2);
        return;
    }
    argv[1 + count] = NULL;
    child_start(table, argv, "/work");
}

static void start_guest(struct child_table *table, const struct config *config) {
    char memory[32];
    char *argv[] = {"/bin/vmm",
                    "--kernel",
                    "/guest/vmlinuz",
                    "--initrd",
                    "/guest/initrd.img",
                    "--cmdline",
                    config->guest_cmdline,
                    "--cpus",
                    config->guest_cpus,
                    "--memory",
                    memory,
                    "--serial",
                    "tty",
                    NULL};

    snprintf(memory, sizeof(memory), "%sM", config->guest_memory);
    child_start(table, argv, NULL);
}

int main(void) {
    struct child_table table = {0};
    struct config config;

    setvbuf(stdout, NULL, _IOLBF, 0);
    config_read(&config, CONFIG_PATH);
    if (config.program) {
        start_program(&table, &config);
    } else if (config.autostart) {
        start_guest(&table, &config);
    } else {
        printf("init: %s starts nothing\n", CONFIG_PATH);
    }
    child_wait_all(&table);
    fflush(stdout);
    reboot(RB_POWER_OFF);
    printf("init: cannot power off: %s\n", strerror(errno));
    return 1;
}
