// SPDX-License-Identifier: BSD-2-Clause
// init, process 1: starts the services and the program or guest that the configuration names, and
// powers off when the latter has ended.
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <unistd.h>

#include "child.h"
#include "config.h"
#include "words.h"

#define WORDS_MAX 256

// Puts the words of a configuration key's value behind the count that argv has, and NULL. -1 after
// a message.
static int append_words(char **argv, int count, const char *key, const char *value) {
    char *buffer;
    int words = words_split(value ? value : "", argv + count, WORDS_MAX - count, &buffer);

    if (words < 0) {
        printf("init: %s: a quote is not closed, or more than %d words\n", key, WORDS_MAX);
        return -1;
    }
    argv[count + words] = NULL;
    return 0;
}

static void start_services(struct child_table *table, const struct config *config) {
    static char *drivers[WORDS_MAX + 1] = {"/bin/drivers", "--landlock", "--statistics",
                                           "/run/drivers/statistics"};

    mkdir("/run", 0755);
    mkdir("/run/drivers", 0755);
    if (config->drivers && append_words(drivers, 4, "drivers", config->drivers) == 0) {
        child_start(table, drivers, NULL, true);
    }
}

static void start_program(struct child_table *table, const struct config *config) {
    static char *argv[WORDS_MAX + 1];

    argv[0] = config->program;
    if (append_words(argv, 1, "args", config->args) < 0) {
        printf("init: %s exited with %d\n", config->program, 2);
        return;
    }
    child_start(table, argv, "/work", false);
}

static void start_guest(struct child_table *table, const struct config *config) {
    static char memory[32];
    static char *argv[WORDS_MAX + 1] = {
        "/bin/vmm", "--kernel",   "/guest/vmlinuz", "--initrd", "/guest/initrd.img", "--serial",
        "tty",      "--landlock", "--memory",       memory,     "--cmdline"};

    snprintf(memory, sizeof(memory), "%sM", config->guest_memory);
    argv[11] = config->guest_cmdline;
    argv[12] = "--cpus";
    argv[13] = config->guest_cpus;
    if (append_words(argv, 14, "guest.devices", config->guest_devices) < 0) {
        printf("init: vmm exited with %d\n", 2);
        return;
    }
    child_start(table, argv, NULL, false);
}

int main(void) {
    static struct child_table table;
    struct config config;

    setvbuf(stdout, NULL, _IOLBF, 0);
    config_read(&config, CONFIG_PATH);
    start_services(&table, &config);
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
