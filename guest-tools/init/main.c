// SPDX-License-Identifier: BSD-2-Clause
// init, process 1: starts the services and the program that the configuration names, or vsh with
// the demonstration guest, and powers off when the latter has ended.
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <unistd.h>

#include "child.h"
#include "config.h"
#include "definition.h"
#include "words.h"

#define WORDS_MAX   256
#define DEFINITIONS "/var/lib/virtd"

static const char *const directories[] = {"/run",     "/run/drivers", "/var",
                                          "/var/lib", "/var/log",     DEFINITIONS};

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
    static char *virtd[WORDS_MAX + 1] = {"/bin/virtd", "--audit", "/var/log/virtd.log"};

    for (size_t i = 0; i < sizeof(directories) / sizeof(directories[0]); i++) {
        mkdir(directories[i], 0755);
    }
    if (config->drivers && append_words(drivers, 4, "drivers", config->drivers) == 0) {
        child_start(table, drivers, NULL, true);
    }
    if (config->virtd && append_words(virtd, 3, "virtd", config->virtd) == 0) {
        if (config->autostart) {
            definition_write(config, DEFINITIONS);
        }
        child_start(table, virtd, NULL, true);
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

// The host's own console: attached to the guest's, until that is left or ends.
static void start_console(struct child_table *table, const struct config *config) {
    static char *const guest[] = {"/bin/vsh", "--prompt", "start", GUEST_NAME, "--console", NULL},
                       *const prompt[] = {"/bin/vsh", NULL};

    child_start(table, config->autostart ? guest : prompt, NULL, false);
}

int main(void) {
    static struct child_table table;
    struct config config;

    setvbuf(stdout, NULL, _IOLBF, 0);
    config_read(&config, CONFIG_PATH);
    if (!config.program && !config.virtd) {
        config.virtd = "--serial /dev/ttyS1";
    }
    start_services(&table, &config);
    if (config.program) {
        start_program(&table, &config);
    } else {
        start_console(&table, &config);
    }
    child_wait_all(&table);
    fflush(stdout);
    reboot(RB_POWER_OFF);
    printf("init: cannot power off: %s\n", strerror(errno));
    return 1;
}
