// SPDX-License-Identifier: BSD-2-Clause
// Parsing and checking of the command line.
#include "options.h"

#include <ashlar_version.h>
#include <errno.h>
#include <getopt.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device_options.h"
#include "guest_layout.h"

#define EXIT_USAGE 2

static const char usage_text[] =
    "Usage: vmm --kernel FILE [option]...\n"
    "Runs one virtual machine on the KVM API until it powers off.\n"
    "\n"
    "  --kernel FILE      Linux bzImage, or ELF image with a PVH entry\n"
    "  --initrd FILE      initial RAM disk\n"
    "  --cmdline TEXT     the kernel's command line\n"
    "  --cpus N | boot=N,max=N\n"
    "                     virtual CPUs (default 1), and as many as may be plugged\n"
    "  --memory SIZE      RAM, with suffix K, M or G (default 256M)\n"
    "  --serial MODE      COM1: tty (default; standard input and output), file=PATH, api, null,\n"
    "                     off\n"
    "  --console MODE     virtio console, the same modes (default off)\n"
    "  --disk path=FILE[,readonly=on]\n"
    "  --disk vhost_user=true,socket=PATH[,num_queues=N][,packed=on]\n"
    "                     virtio disk: a raw image, or one a vhost-user back end serves; "
    "repeatable\n"
    "  --net vhost_user=true,socket=PATH[,mac=MAC][,mtu=BYTES][,num_queues=N]\n"
    "                     virtio network interface; num_queues counts both directions (default 2); "
    "repeatable\n"
    "                     id=NAME for either: it can be unplugged by that name\n"
    "  --channel name=NAME,socket=PATH\n"
    "                     a byte stream, /dev/virtio-ports/NAME in a Linux guest, for who connects "
    "to the\n"
    "                     Unix socket; repeatable\n"
    "  --keyboard         a virtio keyboard, on which --api-socket's clients type\n"
    "  --rng src=FILE     where the guest's entropy comes from (default /dev/urandom), off: none\n"
    "  --balloon size=SIZE[,deflate_on_oom=on][,free_page_reporting=on]\n"
    "  --api-socket PATH  where others steer the machine, see control.h; --serial or --console "
    "api:\n"
    "                     the console is attached to there\n"
    "  --paused           the machine stands still until it is told to resume\n"
    "  --landlock         open nothing but the paths given here, whatever takes the monitor over\n"
    "  --help, --version\n"
    "\n"
    "On a terminal, Ctrl-] ends the virtual machine.\n"
    "Exit status: 0 guest powered off or was ended, 1 it or its monitor failed, 2 bad usage.\n";

static jmp_buf *way_back; // of options_try
static char complaint[256];

void usage_error(const char *format, ...) {
    va_list args;

    va_start(args, format);
    vsnprintf(complaint, sizeof(complaint), format, args);
    va_end(args);
    if (way_back) {
        longjmp(*way_back, 1);
    }
    fprintf(stderr, "vmm: %s\nTry 'vmm --help'.\n", complaint);
    exit(EXIT_USAGE);
}

const char *options_try(void (*parse)(struct options *options, char *argument),
                        struct options *options, char *argument) {
    jmp_buf here;
    const char *volatile refusal = complaint;

    way_back = &here;
    if (!setjmp(here)) {
        parse(options, argument);
        refusal = NULL;
    }
    way_back = NULL;
    return refusal;
}

static uint64_t parse_number(const char *text, const char **end) {
    char *rest;

    if (*text < '0' || *text > '9') {
        *end = text;
        return 0;
    }
    errno = 0;
    uint64_t value = strtoull(text, &rest, 0);
    *end = errno ? text : rest;
    return value;
}

// cloud-hypervisor writes --memory size=1G and --cpus boot=2; both forms are accepted.
static const char *skip_prefix(const char *text, const char *prefix) {
    size_t length = strlen(prefix);

    return strncmp(text, prefix, length) == 0 ? text + length : text;
}

uint64_t parse_size(const char *option, const char *argument) {
    static const struct {
        char suffix;
        unsigned shift;
    } units[] = {{'K', 10}, {'k', 10}, {'M', 20}, {'m', 20}, {'G', 30}, {'g', 30}, {'\0', 0}};
    const char *end;
    uint64_t value = parse_number(argument, &end);

    for (size_t i = 0; end != argument && i < sizeof(units) / sizeof(units[0]); i++) {
        if (*end != units[i].suffix || (*end && end[1])) {
            continue;
        }
        if (value > MEMORY_MAX >> units[i].shift) {
            usage_error("%s %s: more than %llu GiB", option, argument, MEMORY_MAX >> 30);
        }
        value <<= units[i].shift;
        if (value % GUEST_PAGE_SIZE) {
            usage_error("%s %s: no multiple of 4 KiB", option, argument);
        }
        return value;
    }
    usage_error("%s %s: not a size such as 256M or 1G", option, argument);
}

static uint64_t parse_memory(const char *argument) {
    uint64_t value = parse_size("--memory", skip_prefix(argument, "size="));

    if (value < MEMORY_MIN) {
        usage_error("--memory %s: less than %llu MiB", argument, MEMORY_MIN >> 20);
    }
    return value;
}

static void parse_cpus(struct options *options, const char *argument) {
    const char *text = skip_prefix(argument, "boot=");
    const char *end;
    uint64_t value = parse_number(text, &end), most = value;

    if (end != text && *end == ',') {
        text = skip_prefix(end + 1, "max=");
        most = parse_number(text, &end);
    }
    if (end == text || *end) {
        usage_error("--cpus %s: not a number", argument);
    }
    if (value < 1 || most < value || most > VCPUS_MAX) {
        usage_error("--cpus %s: must be 1 to %u", argument, VCPUS_MAX);
    }
    options->cpus = (unsigned)value;
    options->cpus_max = (unsigned)most;
}

static enum serial_mode parse_serial(struct options *options, const char *option,
                                     const char *argument) {
    static const struct {
        const char *name;
        enum serial_mode mode;
    } modes[] = {
        {"off", SERIAL_OFF}, {"null", SERIAL_NULL}, {"tty", SERIAL_TTY}, {"api", SERIAL_API}};
    const char *path = skip_prefix(argument, "file=");

    if (path != argument && *path) {
        options->serial_path = path;
        return SERIAL_FILE;
    }
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        if (strcmp(argument, modes[i].name) == 0) {
            return modes[i].mode;
        }
    }
    usage_error("%s %s: must be tty, file=PATH, api, null or off", option, argument);
}

void options_parse(struct options *options, int argc, char **argv) {
    static const struct option table[] = {
        {"kernel", required_argument, NULL, 'k'},     {"initrd", required_argument, NULL, 'i'},
        {"initramfs", required_argument, NULL, 'i'},  {"cmdline", required_argument, NULL, 'c'},
        {"cpus", required_argument, NULL, 'n'},       {"memory", required_argument, NULL, 'm'},
        {"serial", required_argument, NULL, 's'},     {"console", required_argument, NULL, 'C'},
        {"disk", required_argument, NULL, 'd'},       {"net", required_argument, NULL, 'N'},
        {"rng", required_argument, NULL, 'r'},        {"balloon", required_argument, NULL, 'b'},
        {"api-socket", required_argument, NULL, 'a'}, {"paused", no_argument, NULL, 'p'},
        {"landlock", no_argument, NULL, 'l'},         {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},          {"channel", required_argument, NULL, 'H'},
        {"keyboard", no_argument, NULL, 'K'},         {NULL, 0, NULL, 0},
    };
    int option;

    *options = (struct options){.cmdline = "",
                                .memory_bytes = 256ull << 20,
                                .cpus = 1,
                                .cpus_max = 1,
                                .serial = SERIAL_TTY,
                                .rng = "/dev/urandom"};
    while ((option = getopt_long(argc, argv, "hV", table, NULL)) != -1) {
        switch (option) {
        case 'k':
            options->kernel = optarg;
            break;
        case 'i':
            options->initrd = optarg;
            break;
        case 'c':
            options->cmdline = optarg;
            break;
        case 'n':
            parse_cpus(options, optarg);
            break;
        case 'm':
            options->memory_bytes = parse_memory(optarg);
            break;
        case 's':
            options->serial = parse_serial(options, "--serial", optarg);
            break;
        case 'C':
            options->console = parse_serial(options, "--console", optarg);
            break;
        case 'd':
            parse_disk(options, optarg);
            break;
        case 'N':
            parse_net(options, optarg);
            break;
        case 'K':
            options->keyboard = true;
            break;
        case 'H':
            parse_channel(options, optarg);
            break;
        case 'r':
            parse_rng(options, optarg);
            break;
        case 'b':
            parse_balloon(options, optarg);
            break;
        case 'a':
            options->api_socket = skip_prefix(optarg, "path=");
            break;
        case 'p':
            options->paused = true;
            break;
        case 'l':
            options->landlock = true;
            break;
        case 'h':
            fputs(usage_text, stdout);
            exit(0);
        case 'V':
            puts("vmm (Ashlar) " ASHLAR_VERSION);
            exit(0);
        default: // getopt_long has said what is wrong.
            fputs("Try 'vmm --help'.\n", stderr);
            exit(EXIT_USAGE);
        }
    }
    if (optind < argc) {
        usage_error("unexpected argument '%s'", argv[optind]);
    }
    if (!options->kernel) {
        usage_error("--kernel is missing");
    }
    if (!options->api_socket && (options->serial == SERIAL_API || options->console == SERIAL_API)) {
        usage_error("a console by api needs --api-socket");
    }
    if (options->console != SERIAL_OFF && options->console != SERIAL_NULL &&
        options->serial != SERIAL_OFF && options->serial != SERIAL_NULL) {
        usage_error("--serial and --console cannot both be connected: give --serial null or off");
    }
}
