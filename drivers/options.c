// SPDX-License-Identifier: BSD-2-Clause
// --disk socket=PATH,path=FILE[,readonly=on][,num_queues=N]
#include "drivers/options.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "drivers/vhost_user/session.h"

static const char usage_text[] =
    "Usage: drivers [option]...\n"
    "Serves disks to virtual machines by vhost-user.\n"
    "\n"
    "  --disk socket=PATH,path=FILE[,readonly=on][,num_queues=N]\n"
    "                 a raw image to those who connect to the socket; repeatable\n"
    "  --help\n";

static void usage_error(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

static void usage_error(const char *format, ...) {
    va_list args;

    fputs("drivers: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputs("\nTry 'drivers --help'.\n", stderr);
    exit(2);
}

static unsigned parse_queues(const char *value) {
    char *end = NULL;
    unsigned long queues = value ? strtoul(value, &end, 10) : 0;

    if (!value || end == value || *end || queues < 1 || queues > VHOST_USER_QUEUES_MAX)
        usage_error("--disk: num_queues must be 1 to %d", VHOST_USER_QUEUES_MAX);
    return (unsigned)queues;
}

static void parse_disk(struct options *options, char *argument) {
    enum { SOCKET, PATH, READONLY, NUM_QUEUES };
    static char *const keys[] = {"socket", "path", "readonly", "num_queues", NULL};
    struct disk_options disk = {.queues = 1};
    char *value;

    while (*argument) {
        switch (getsubopt(&argument, keys, &value)) {
        case SOCKET:
            disk.socket = value;
            break;
        case PATH:
            disk.path = value;
            break;
        case READONLY:
            if (!value || (strcmp(value, "on") != 0 && strcmp(value, "off") != 0))
                usage_error("--disk: readonly must be on or off");
            disk.read_only = strcmp(value, "on") == 0;
            break;
        case NUM_QUEUES:
            disk.queues = parse_queues(value);
            break;
        default:
            usage_error("--disk: '%s' is not known", value);
        }
    }
    if (!disk.socket || !disk.path)
        usage_error("--disk: needs socket=PATH and path=FILE");
    if (options->disk_count == OPTIONS_DISKS_MAX)
        usage_error("--disk: more than %d", OPTIONS_DISKS_MAX);
    options->disks[options->disk_count++] = disk;
}

void options_parse(struct options *options, int argc, char **argv) {
    static const struct option table[] = {{"disk", required_argument, NULL, 'd'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    int option;

    *options = (struct options){0};
    while ((option = getopt_long(argc, argv, "h", table, NULL)) != -1) {
        switch (option) {
        case 'd':
            parse_disk(options, optarg);
            break;
        case 'h':
            fputs(usage_text, stdout);
            exit(0);
        default: // getopt_long has said what is wrong.
            exit(2);
        }
    }
    if (optind < argc)
        usage_error("unexpected argument '%s'", argv[optind]);
}
