// SPDX-License-Identifier: BSD-2-Clause
// Which driver is for which controller, and the controllers taken over so far.
#include "drivers/machine_disks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "drivers/disks/controller.h"

#define DEVICES_MAX 256u

#define CLASS_IDE  0x0101u // any programming interface
#define CLASS_AHCI 0x010601u
#define CLASS_NVME 0x010802u

#define VENDOR_VIRTIO       0x1af4u
#define DEVICE_VIRTIO_BLK   0x1042u
#define DEVICE_TRANSITIONAL 0x1001u

struct opened {
    char address[PCI_ADDRESS_SIZE];
    struct controller *controller; // NULL: it cannot be used
    struct opened *next;
};

static struct opened *all;

typedef struct controller *(*open_function)(struct pci_device *pci);

static open_function driver_of(const struct pci_identity *identity) {
    if (identity->class == CLASS_NVME)
        return nvme_open;
    if (identity->class == CLASS_AHCI)
        return ahci_open;
    if (identity->class >> 8 == CLASS_IDE)
        return ide_open;
    if (identity->vendor == VENDOR_VIRTIO &&
        (identity->device == DEVICE_VIRTIO_BLK || identity->device == DEVICE_TRANSITIONAL))
        return virtio_blk_open;
    return NULL;
}

static struct controller *open_controller(const struct pci_identity *identity) {
    struct opened *opened = all;

    while (opened && strcmp(opened->address, identity->address) != 0)
        opened = opened->next;
    if (opened)
        return opened->controller;
    opened = calloc(1, sizeof(*opened));
    struct pci_device *pci = opened ? pci_open(identity->address) : NULL;
    if (!pci) {
        free(opened);
        return NULL;
    }
    memcpy(opened->address, identity->address, sizeof(opened->address));
    opened->controller = driver_of(identity)(pci);
    if (!opened->controller)
        pci_close(pci);
    opened->next = all;
    all = opened;
    return opened->controller;
}

const struct machine_disk *machine_disks(const char *address) {
    static struct pci_identity devices[DEVICES_MAX];
    unsigned count = pci_list(devices, DEVICES_MAX);
    struct machine_disk *first = NULL, **last = &first;
    bool found = false;

    for (unsigned i = 0; i < count; i++) {
        if (!driver_of(&devices[i]) || (address && strcmp(devices[i].address, address) != 0))
            continue;
        found = true;
        const struct controller *controller = open_controller(&devices[i]);
        for (const struct disk *disk = controller ? controller->disks : NULL; disk;
             disk = disk->next) {
            // A list of its own for each who asks.
            struct machine_disk *listed = malloc(sizeof(*listed));

            if (!listed)
                return first;
            *listed = disk->listed;
            *last = listed;
            last = (struct machine_disk **)&listed->next;
        }
    }
    if (address && !found)
        fprintf(stderr, "drivers: %s is no disk controller that is known\n", address);
    return first;
}

void machine_disks_list(FILE *file) {
    for (const struct machine_disk *disk = machine_disks(NULL); disk; disk = disk->next)
        fprintf(file, "drivers: disk device=%s,unit=%u: %llu MiB, serial=%.*s%s%s\n", disk->address,
                disk->unit, (unsigned long long)disk->device->sectors >> 11, (int)BLOCK_ID_SIZE,
                disk->device->id, disk->device->discards ? ", discards" : "",
                disk->device->read_only ? ", read-only" : "");
}
