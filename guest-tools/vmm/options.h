// SPDX-License-Identifier: BSD-2-Clause
// The command line of vmm, named as cloud-hypervisor names its options.
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum serial_mode {
    SERIAL_OFF,  // no port at all
    SERIAL_NULL, // output thrown away, no input
    SERIAL_TTY,  // standard input and output
    SERIAL_FILE, // output to a file, no input
    SERIAL_API,  // those who attach through --api-socket
};

#define OPTIONS_DISKS_MAX    16
#define OPTIONS_NETS_MAX     8
#define OPTIONS_CHANNELS_MAX 7

struct disk_options {
    const char *path;   // raw image served by this program; NULL where a back end serves the disk
    const char *socket; // of a vhost-user back end
    bool read_only;
    unsigned queues;
    bool packed;    // rings, of a back end
    const char *id; // by which it is unplugged, NULL: not at all
    int fd;         // the file at path, already open; -1: it is not
    char *argument; // that the texts stand in, of one that was plugged; NULL
};

struct net_options {
    const char *socket; // of a vhost-user back end
    uint8_t mac[6];
    uint16_t mtu;    // that the guest is told, 0: none
    unsigned queues; // of both directions together
    const char *id;  // as a disk's
    char *argument;
};

struct channel_options {
    const char *name, *socket;
    int listener; // where it is bound
};

struct balloon_options {
    bool present;
    uint64_t bytes; // asked of the guest from the start
    bool deflate_on_oom, free_page_reporting;
};

struct options {
    const char *kernel;
    const char *initrd; // NULL: none
    const char *cmdline;
    const char *serial_path; // of SERIAL_FILE, of either console
    const char *api_socket;  // NULL: none
    bool paused;             // from the start
    bool keyboard;
    bool landlock; // reach nothing but what is named here
    uint64_t memory_bytes;
    unsigned cpus, cpus_max; // from the start, and as many as may be plugged
    enum serial_mode serial;
    enum serial_mode console; // virtio; SERIAL_TTY for at most one of the two
    const char *rng;          // file random bytes come from, NULL: no such device
    struct balloon_options balloon;
    struct disk_options disks[OPTIONS_DISKS_MAX];
    unsigned disk_count;
    struct net_options nets[OPTIONS_NETS_MAX];
    unsigned net_count;
    struct channel_options channels[OPTIONS_CHANNELS_MAX];
    unsigned channel_count;
};

// Prints what is wrong with the command line and exits with status 2.
void usage_error(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

// Calls one of device_options.h so that it comes back: NULL, or what is wrong.
const char *options_try(void (*parse)(struct options *options, char *argument),
                        struct options *options, char *argument);

// Bytes of a size such as 64K, 256M or 1G, a multiple of 4 KiB; a usage error otherwise.
uint64_t parse_size(const char *option, const char *argument);

// Fills *options from argv. Prints what is wrong and exits with status 2 on a bad command line;
// prints and exits with 0 for --help and --version.
void options_parse(struct options *options, int argc, char **argv);
