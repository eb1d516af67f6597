// SPDX-License-Identifier: BSD-2-Clause
// A PCI device, by VFIO. What fails is a failed check.
#pragma once
#include <linux/vfio.h>
#include <stdbool.h>
#include <stdint.h>

#include "../tap.h"

#define PAGE     4096u
#define DMA_BASE 0x100000u // I/O virtual addresses from here
#define WAIT     20000     // ms for an interrupt that must come
#define NO_WAIT  50        // ms in which none may

struct device {
    char address[16], group_path[32];
    int container, group, fd;
    bool iommu;
    uint64_t offset[VFIO_PCI_NUM_REGIONS], size[VFIO_PCI_NUM_REGIONS];
    void *mapped[2]; // pages of BARs, which on Linux keep the device
};

struct memory { // that a device reaches
    volatile uint8_t *at;
    uint64_t address; // the device's
};

// A number of the device's in sysfs.
uint32_t number_in(const char *address, const char *name);
// The first device of this vendor and device number (vendor 0: of this class), and of some kinds.
bool find(uint32_t vendor, uint32_t kind, char *address);
bool find_edu(char *address);
bool find_nvme(char *address);
bool find_e1000(char *address);
bool find_rng(char *address);
bool any(char *address);
// Whether the IOMMU tells of what it has stopped.
bool iommu_reports(void);

// device->address is set.
void group_path(struct device *device);
int type_of(const struct device *device); // of its IOMMU
bool open_device(struct device *device);
void close_device(struct device *device);

uint32_t config_read(const struct device *device, unsigned at, unsigned size);
void config_write(const struct device *device, unsigned at, unsigned size, uint32_t value);
void allow_dma(const struct device *device);
// A page of BAR 0, and a register in it.
volatile uint8_t *map_bar(struct device *device, uint64_t at);
uint32_t get(volatile uint8_t *registers, unsigned at);
void set(volatile uint8_t *registers, unsigned at, uint32_t value);

int map_dma(const struct device *device, const volatile void *at, uint64_t address, size_t size);
struct memory dma_memory(const struct device *device, uint64_t address); // one page

int set_irqs(const struct device *device, unsigned index, unsigned flags, unsigned start,
             unsigned count, const void *data, size_t size);
int irq_event(const struct device *device, unsigned index); // an eventfd
int irq_off(const struct device *device, unsigned index);
int unmask(const struct device *device);
bool comes(int event, int milliseconds);

// Of edu.c.
void test_edu_registers(void);
void test_edu_line(void);
void test_edu_silent(void);
void test_edu_message(void);
void test_edu_dma(void);
void test_edu_hole(void);
void test_edu_killed(void);
void test_edu_outside(void);
