// SPDX-License-Identifier: BSD-2-Clause
// The command line of the driver domain.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define OPTIONS_DISKS_MAX 32
#define OPTIONS_NETS_MAX  32
#define OPTIONS_NICS_MAX  8

struct disk_options {
    const char *socket;    // where front ends connect
    const char *path;      // of an image; NULL: a disk of the machine
    const char *device;    // its controller's address on the PCI bus; NULL: any
    const char *serial;    // NULL: any
    const char *partition; // by number, label or GUID; NULL: the whole disk
    const char *file;      // on the ext4 file system there; NULL: all of it
    bool has_unit;
    unsigned unit; // as struct machine_disk has it
    bool read_only;
    unsigned queues;
    unsigned delay; // milliseconds that a request takes at most; for tests
};

struct net_options {
    const char *socket;
    const char *bridge; // the switch's name
    bool has_mac;
    uint8_t mac[6]; // of all the frames that come from there
    unsigned queues;
};

struct nic_options {
    const char *device; // its address on the PCI bus; NULL: the first that can be driven
    const char *bridge;
};

struct options {
    struct disk_options disks[OPTIONS_DISKS_MAX];
    unsigned disk_count;
    struct net_options nets[OPTIONS_NETS_MAX];
    unsigned net_count;
    struct nic_options nics[OPTIONS_NICS_MAX];
    unsigned nic_count;
    bool list;              // show the machine's disks
    bool landlock;          // reach nothing but what is named here, and the machine's devices
    const char *statistics; // the socket that tells them; NULL: none
};

// Fills *options from argv; prints what is wrong and exits with status 2 on a bad command line.
void options_parse(struct options *options, int argc, char **argv);
