// SPDX-License-Identifier: BSD-2-Clause
// Lists of key=value.
#include "drivers/options.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "drivers/vhost_user/session.h"

static const char usage_text[] =
    "Usage: drivers [option]...\n"
    "Serves disks and networks to virtual machines by vhost-user.\n"
    "\n"
    "  --disk socket=PATH,DISK[,partition=PART][,file=PATH][,readonly=on][,num_queues=N]\n"
    "                 a disk to those who connect to the socket; repeatable. DISK: path=FILE, a "
    "raw\n"
    "                 image, or any of device=DDDD:BB:DD.F, unit=N (NVMe namespace, AHCI port, "
    "IDE\n"
    "                 drive), serial=TEXT: a disk of the machine; PART: number, label or GUID of "
    "a\n"
    "                 GPT partition, looked for on all disks where none is named; file: a raw "
    "image on\n"
    "                 the ext4 file system there, which nobody else may use then. delay=MS, for\n"
    "                 tests: each request takes up to that long, and they end in any order\n"
    "  --net socket=PATH,switch=NAME[,mac=MAC][,num_queues=N]\n"
    "                 joins those who connect to the socket to a switch, with no other source\n"
    "                 address than MAC; num_queues counts both directions (default 2)\n"
    "  --nic switch=NAME[,device=DDDD:BB:DD.F]\n"
    "                 joins a network interface of the machine, the first one where none is "
    "named,\n"
    "                 to a switch\n"
    "  --statistics PATH\n"
    "                 counters in Prometheus's text format to those who connect to the socket\n"
    "  --landlock         open nothing but what is named here and the machine's devices\n"
    "  --list         show the machine's disks, as --disk names them; their controllers are reset "
    "for\n"
    "                 that\n"
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

static unsigned parse_number(const char *option, const char *key, const char *value, unsigned min,
                             unsigned max) {
    char *end = NULL;
    unsigned long number = value ? strtoul(value, &end, 10) : 0;

    if (!value || end == value || *end || number < min || number > max)
        usage_error("%s: %s must be %u to %u", option, key, min, max);
    return (unsigned)number;
}

static unsigned parse_queues(const char *option, const char *value) {
    return parse_number(option, "num_queues", value, 1, VHOST_USER_QUEUES_MAX);
}

static void parse_disk(struct options *options, char *argument) {
    enum { SOCKET, PATH, DEVICE, UNIT, SERIAL, PARTITION, FILE_PATH, READONLY, NUM_QUEUES, DELAY };
    static char *const keys[] = {"socket", "path",     "device",     "unit",  "serial", "partition",
                                 "file",   "readonly", "num_queues", "delay", NULL};
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
        case DEVICE:
            disk.device = value;
            break;
        case UNIT:
            disk.unit = parse_number("--disk", "unit", value, 0, UINT32_MAX);
            disk.has_unit = true;
            break;
        case SERIAL:
            disk.serial = value;
            break;
        case PARTITION:
            disk.partition = value;
            break;
        case FILE_PATH:
            disk.file = value;
            break;
        case READONLY:
            if (!value || (strcmp(value, "on") != 0 && strcmp(value, "off") != 0))
                usage_error("--disk: readonly must be on or off");
            disk.read_only = strcmp(value, "on") == 0;
            break;
        case NUM_QUEUES:
            disk.queues = parse_queues("--disk", value);
            break;
        case DELAY:
            disk.delay = parse_number("--disk", "delay", value, 0, 10000);
            break;
        default:
            usage_error("--disk: '%s' is not known", value);
        }
    }
    if (!disk.socket ||
        (!disk.path && !disk.device && !disk.has_unit && !disk.serial && !disk.partition))
        usage_error("--disk: needs socket=PATH and a disk");
    if (disk.path && (disk.device || disk.serial || disk.has_unit))
        usage_error("--disk: an image is no disk of the machine");
    if (options->disk_count == OPTIONS_DISKS_MAX)
        usage_error("--disk: more than %d", OPTIONS_DISKS_MAX);
    options->disks[options->disk_count++] = disk;
}

static void parse_mac(struct net_options *net, const char *text) {
    unsigned bytes[6];
    char end;

    if (!text ||
        sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%c", &bytes[0], &bytes[1], &bytes[2], &bytes[3],
               &bytes[4], &bytes[5], &end) != 6 ||
        bytes[0] & 1) // a group address is nobody's own
        usage_error("--net: mac must be an address such as 52:54:00:12:34:56");
    for (int i = 0; i < 6; i++)
        net->mac[i] = (uint8_t)bytes[i];
    net->has_mac = true;
}

static void parse_net(struct options *options, char *argument) {
    enum { SOCKET, SWITCH, MAC, NUM_QUEUES };
    static char *const keys[] = {"socket", "switch", "mac", "num_queues", NULL};
    struct net_options net = {.queues = 2};
    char *value;

    while (*argument) {
        switch (getsubopt(&argument, keys, &value)) {
        case SOCKET:
            net.socket = value;
            break;
        case SWITCH:
            net.bridge = value;
            break;
        case MAC:
            parse_mac(&net, value);
            break;
        case NUM_QUEUES:
            net.queues = parse_queues("--net", value);
            break;
        default:
            usage_error("--net: '%s' is not known", value);
        }
    }
    if (!net.socket || !net.bridge || net.queues % 2)
        usage_error("--net: needs socket=PATH, switch=NAME and an even num_queues");
    if (options->net_count == OPTIONS_NETS_MAX)
        usage_error("--net: more than %d", OPTIONS_NETS_MAX);
    options->nets[options->net_count++] = net;
}

static void parse_nic(struct options *options, char *argument) {
    enum { DEVICE, SWITCH };
    static char *const keys[] = {"device", "switch", NULL};
    struct nic_options nic = {0};
    char *value;

    while (*argument) {
        switch (getsubopt(&argument, keys, &value)) {
        case DEVICE:
            nic.device = value;
            break;
        case SWITCH:
            nic.bridge = value;
            break;
        default:
            usage_error("--nic: '%s' is not known", value);
        }
    }
    if (!nic.bridge)
        usage_error("--nic: needs switch=NAME");
    if (options->nic_count == OPTIONS_NICS_MAX)
        usage_error("--nic: more than %d", OPTIONS_NICS_MAX);
    options->nics[options->nic_count++] = nic;
}

void options_parse(struct options *options, int argc, char **argv) {
    static const struct option table[] = {
        {"disk", required_argument, NULL, 'd'}, {"net", required_argument, NULL, 'n'},
        {"nic", required_argument, NULL, 'i'},  {"statistics", required_argument, NULL, 's'},
        {"landlock", no_argument, NULL, 'l'},   {"list", no_argument, NULL, 'L'},
        {"help", no_argument, NULL, 'h'},       {NULL, 0, NULL, 0}};
    int option;

    *options = (struct options){0};
    while ((option = getopt_long(argc, argv, "h", table, NULL)) != -1) {
        switch (option) {
        case 'd':
            parse_disk(options, optarg);
            break;
        case 'n':
            parse_net(options, optarg);
            break;
        case 'i':
            parse_nic(options, optarg);
            break;
        case 's':
            options->statistics = optarg;
            break;
        case 'l':
            options->landlock = true;
            break;
        case 'L':
            options->list = true;
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
