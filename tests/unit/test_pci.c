// SPDX-License-Identifier: BSD-2-Clause
// Devices found on fake buses, their groups, and the configuration space a program sees.
// Sources: arch/x86/pci/pci.c core/vfio/config_space.c
#include <check.h>
#include <linux/pci_regs.h>
#include <stdlib.h>
#include <string.h>
#include "arch/x86/cpu/cpu_features.h"
#include "arch/x86/paging.h"
#include "arch/x86/pci/pci.h"
#include "core/log.h"
#include "core/vfio/config_space.h"
#include "tests/unit/fake_memory.h"

// A function of the fake machine: registers, and which of their bits can be written.
struct fake {
    pci_function function;
    uint8_t bytes[4096], writable[4096];
    uint8_t write_clears[4096]; // as the status register's bits
};

static struct fake fakes[12];
static unsigned fake_count;
struct cpu_features cpu_features;

static struct fake *fake_at(pci_function function) {
    for (unsigned i = 0; i < fake_count; i++)
        if (fakes[i].function == function)
            return &fakes[i];
    return NULL;
}

uint32_t pci_read(pci_function function, unsigned offset, unsigned size) {
    const struct fake *fake = fake_at(function);
    uint32_t value = UINT32_MAX;
    ck_assert_uint_eq(offset % size, 0);
    if (fake) {
        value = 0;
        memcpy(&value, fake->bytes + offset, size);
    }
    return size == 4 ? value : value & ((1u << 8 * size) - 1);
}

void pci_write(pci_function function, unsigned offset, unsigned size, uint32_t value) {
    struct fake *fake = fake_at(function);
    ck_assert_uint_eq(offset % size, 0);
    for (unsigned i = offset; fake && i < offset + size; i++, value >>= 8) {
        uint8_t byte = (uint8_t)value, mask = fake->writable[i];
        fake->bytes[i] = (uint8_t)((fake->bytes[i] & ~mask) | (byte & mask));
        fake->bytes[i] &= (uint8_t) ~(byte & fake->write_clears[i]);
    }
}

unsigned pci_config_reach(pci_function function) {
    (void)function;
    return 4096;
}

void *kernel_map_mmio(uint64_t physical, uint64_t size) {
    (void)physical, (void)size;
    return NULL;
}

static void put(struct fake *fake, unsigned at, uint64_t value, unsigned size) {
    memcpy(fake->bytes + at, &value, size);
}

static struct fake *add(unsigned bus, unsigned slot, unsigned number, uint32_t class) {
    struct fake *fake = &fakes[fake_count++];
    memset(fake, 0, sizeof *fake);
    fake->function = (pci_function)(bus << 8 | slot << 3 | number);
    put(fake, PCI_VENDOR_ID, 0x1af4, 2);
    put(fake, PCI_DEVICE_ID, 0x1000u + fake_count, 2);
    put(fake, PCI_CLASS_REVISION, class << 8, 4);
    put(fake, PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY, 2);
    put(fake, PCI_INTERRUPT_PIN, 1, 1);
    memset(fake->writable + PCI_COMMAND, 0xff, 2);
    memset(fake->write_clears + PCI_STATUS + 1, 0xf9, 1);
    fake->writable[PCI_INTERRUPT_LINE] = 0xff;
    return fake;
}

static void add_bar(struct fake *fake, unsigned number, uint64_t base, uint64_t size,
                    uint32_t kind) {
    bool wide = !(kind & PCI_BASE_ADDRESS_SPACE_IO) && (kind & PCI_BASE_ADDRESS_MEM_TYPE_64);
    uint64_t mask = ~(size - 1);
    put(fake, PCI_BASE_ADDRESS_0 + 4 * number, base | kind, wide ? 8 : 4);
    memcpy(fake->writable + PCI_BASE_ADDRESS_0 + 4 * number, &mask, wide ? 8 : 4);
}

static void add_capability(struct fake *fake, unsigned at, uint8_t id, unsigned next) {
    if (!fake->bytes[PCI_CAPABILITY_LIST])
        put(fake, PCI_CAPABILITY_LIST, at, 1);
    put(fake, PCI_STATUS, PCI_STATUS_CAP_LIST, 2);
    put(fake, at, id, 1);
    put(fake, at + 1, next, 1);
}

static void add_express(struct fake *fake, unsigned type, bool acs) {
    add_capability(fake, 0x80, PCI_CAP_ID_EXP, 0);
    put(fake, 0x80 + PCI_EXP_FLAGS, type << 4, 2);
    put(fake, 0x80 + PCI_EXP_DEVCAP, PCI_EXP_DEVCAP_FLR, 4);
    memset(fake->writable + 0x80 + PCI_EXP_DEVCTL, 0xff, 2);
    put(fake, 0x100, acs ? PCI_EXT_CAP_ID_ACS | 1 << 16 : 0, 4);
    put(fake, 0x104, acs ? 0x1f : 0, 2);
    memset(fake->writable + 0x106, 0xff, 2);
}

static struct fake *add_bridge(unsigned bus, unsigned slot, unsigned below, unsigned type,
                               bool acs) {
    struct fake *fake = add(bus, slot, 0, 0x060400);
    put(fake, PCI_HEADER_TYPE, PCI_HEADER_TYPE_BRIDGE, 1);
    put(fake, PCI_SECONDARY_BUS, below, 1);
    add_express(fake, type, acs);
    return fake;
}

static struct pci_device *device_at(unsigned bus, unsigned slot, unsigned number) {
    list_for_each(node, &pci_devices) {
        struct pci_device *device = container_of(node, struct pci_device, node);
        if (device->function == (bus << 8 | slot << 3 | number))
            return device;
    }
    ck_abort_msg("no device %u:%u.%u", bus, slot, number);
}

static unsigned group_at(unsigned bus, unsigned slot, unsigned number) {
    return device_at(bus, slot, number)->group;
}

START_TEST(measures) {
    fake_memory_start();
    struct fake *fake = add(0, 3, 0, 0x010802);
    add_bar(fake, 0, 0x800000000ull, 1ull << 34, PCI_BASE_ADDRESS_MEM_TYPE_64);
    add_bar(fake, 2, 0xfebd0000, 4096, PCI_BASE_ADDRESS_MEM_PREFETCH);
    add_bar(fake, 3, 0xc000, 32, PCI_BASE_ADDRESS_SPACE_IO);
    memset(fake->writable + PCI_BASE_ADDRESS_3 + 2, 0, 2); // 16 bits of ports
    add_bar(fake, 4, 0, 4096, 0);                          // firmware forgot it
    pci_init(0, true);
    const struct pci_device *device = device_at(0, 3, 0);
    ck_assert_uint_eq(device->bar[0].base, 0x800000000ull);
    ck_assert_uint_eq(device->bar[0].size, 1ull << 34);
    ck_assert_uint_eq(device->bar[1].size, 0);
    ck_assert_uint_eq(device->bar[2].size, 4096);
    ck_assert_uint_eq(device->bar[2].kind, PCI_BASE_ADDRESS_MEM_PREFETCH);
    ck_assert_uint_eq(device->bar[3].base, 0xc000);
    ck_assert_uint_eq(device->bar[3].size, 32);
    ck_assert_uint_eq(device->bar[4].size, 0);
    // And all is as before.
    ck_assert_uint_eq(pci_read(fake->function, PCI_BASE_ADDRESS_2, 4), 0xfebd0008);
    ck_assert_uint_eq(pci_read(fake->function, PCI_BASE_ADDRESS_1, 4), 8);
    ck_assert_uint_eq(pci_read(fake->function, PCI_COMMAND, 2),
                      PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
    ck_assert(!device->kernel_uses);
}
END_TEST

START_TEST(walks_capabilities) {
    fake_memory_start();
    struct fake *fake = add(0, 3, 0, 0x020000);
    add_capability(fake, 0x40, PCI_CAP_ID_PM, 0x50);
    add_capability(fake, 0x50, PCI_CAP_ID_MSI, 0x70);
    add_capability(fake, 0x70, PCI_CAP_ID_MSIX, 0x40); // round and round
    struct fake *low = add(0, 4, 0, 0x020000);
    add_capability(low, 0x10, PCI_CAP_ID_MSI, 0); // in the header
    struct fake *express = add(0, 5, 0, 0x020000);
    add_express(express, PCI_EXP_TYPE_ENDPOINT, false);
    put(express, 0x100, PCI_EXT_CAP_ID_ERR | 1 << 16 | 0x200u << 20, 4);
    put(express, 0x200, PCI_EXT_CAP_ID_ACS | 1 << 16 | 0x100u << 20, 4); // round again
    pci_init(0, true);
    const struct pci_device *device = device_at(0, 3, 0);
    ck_assert_uint_eq(device->power, 0x40);
    ck_assert_uint_eq(device->msi, 0x50);
    ck_assert_uint_eq(device->msix, 0x70);
    ck_assert_uint_eq(device->express, 0);
    ck_assert_uint_eq(device->reach, 256);
    ck_assert_uint_eq(device_at(0, 4, 0)->msi, 0);
    ck_assert_uint_eq(device_at(0, 5, 0)->reach, 4096);
    ck_assert_uint_eq(pci_find_extended(device_at(0, 5, 0), PCI_EXT_CAP_ID_ACS), 0x200);
    ck_assert_uint_eq(pci_find_extended(device_at(0, 5, 0), PCI_EXT_CAP_ID_DSN), 0);
    ck_assert_uint_eq(pci_find_extended(device, PCI_EXT_CAP_ID_ACS), 0);
}
END_TEST

START_TEST(keeps_its_own) {
    fake_memory_start();
    add(0, 0, 0, 0x060000);
    add_bridge(0, 1, 1, PCI_EXP_TYPE_ROOT_PORT, true);
    add_bar(add(0, 2, 0, 0x030000), 0, 0xc0000000, 1 << 24, PCI_BASE_ADDRESS_MEM_PREFETCH);
    add_bar(add(0, 3, 0, 0x030000), 0, 0xd0000000, 1 << 24, PCI_BASE_ADDRESS_MEM_PREFETCH);
    struct fake *ide = add(0, 4, 0, 0x010180);
    add_bar(ide, 4, 0xc040, 16, PCI_BASE_ADDRESS_SPACE_IO);
    pci_init(0xc0001000, true);
    ck_assert(device_at(0, 0, 0)->kernel_uses);
    ck_assert(device_at(0, 1, 0)->kernel_uses);
    ck_assert(device_at(0, 2, 0)->kernel_uses); // the screen
    ck_assert(!device_at(0, 3, 0)->kernel_uses);
    // IDE of old is where it always was.
    ck_assert_uint_eq(device_at(0, 4, 0)->bar[0].base, 0x1f0);
    ck_assert_uint_eq(device_at(0, 4, 0)->bar[3].base, 0x376);
    ck_assert_uint_eq(device_at(0, 4, 0)->bar[4].base, 0xc040);
}
END_TEST

START_TEST(groups) {
    fake_memory_start();
    // Functions without access control of one device; the same with it; ports that isolate and that
    // do not; a bridge to PCI.
    add(0, 3, 0, 0x020000);
    add(0, 5, 0, 0x060100);
    add(0, 5, 2, 0x010601);
    put(fake_at(5 << 3), PCI_HEADER_TYPE, 0x80, 1);
    struct fake *first = add(0, 6, 0, 0x020000), *second = add(0, 6, 1, 0x020000);
    put(first, PCI_HEADER_TYPE, 0x80, 1);
    add_express(first, PCI_EXP_TYPE_RC_END, true);
    add_express(second, PCI_EXP_TYPE_RC_END, true);
    add_bridge(0, 7, 1, PCI_EXP_TYPE_ROOT_PORT, true);
    add_express(add(1, 0, 0, 0x010802), PCI_EXP_TYPE_ENDPOINT, false);
    add_bridge(0, 8, 2, PCI_EXP_TYPE_ROOT_PORT, false);
    add_express(add(2, 0, 0, 0x010802), PCI_EXP_TYPE_ENDPOINT, false);
    add_bridge(0, 9, 3, PCI_EXP_TYPE_PCI_BRIDGE, false);
    add(3, 1, 0, 0x020000);
    add(3, 2, 0, 0x020000);
    pci_init(0, true);
    unsigned count = pci_group(true);
    ck_assert_uint_eq(count, 8);
    ck_assert_uint_eq(group_at(0, 5, 0), group_at(0, 5, 2));
    ck_assert_uint_ne(group_at(0, 3, 0), group_at(0, 5, 0));
    ck_assert_uint_ne(group_at(0, 6, 0), group_at(0, 6, 1));
    ck_assert_uint_ne(group_at(1, 0, 0), group_at(0, 7, 0));
    ck_assert_uint_eq(group_at(2, 0, 0), group_at(0, 8, 0));
    ck_assert_uint_eq(group_at(3, 1, 0), group_at(3, 2, 0));
    ck_assert_uint_eq(group_at(3, 1, 0), group_at(0, 9, 0));
    // What isolates was told to.
    ck_assert_uint_eq(pci_read(7 << 3, 0x100 + PCI_ACS_CTRL, 2),
                      PCI_ACS_SV | PCI_ACS_RR | PCI_ACS_CR | PCI_ACS_UF);
    ck_assert_uint_eq(pci_read(8 << 3, 0x100 + PCI_ACS_CTRL, 2), 0);
    // Behind the bridge to PCI all speak with its voice.
    ck_assert_uint_eq(device_at(3, 1, 0)->dma.id, 3 << 8);
    ck_assert_ptr_eq(device_at(3, 2, 0)->alias, device_at(3, 1, 0));
    ck_assert_uint_eq(device_at(1, 0, 0)->dma.id, 1 << 8);
    ck_assert_ptr_eq(device_at(1, 0, 0)->alias, device_at(1, 0, 0));
    ck_assert_uint_eq(pci_group(false), fake_count);
}
END_TEST

// --- what a program sees

static struct fake *nic;
static struct config_space space;

static void open_nic(bool line) {
    fake_memory_start();
    nic = add(0, 3, 0, 0x020000);
    add_bar(nic, 0, 0x800000000ull, 0x20000, PCI_BASE_ADDRESS_MEM_TYPE_64);
    add_bar(nic, 2, 0xc000, 32, PCI_BASE_ADDRESS_SPACE_IO);
    add_capability(nic, 0x40, PCI_CAP_ID_MSI, 0x50);
    put(nic, 0x40 + PCI_MSI_FLAGS, PCI_MSI_FLAGS_64BIT | PCI_MSI_FLAGS_ENABLE, 2);
    add_capability(nic, 0x50, PCI_CAP_ID_VNDR, 0x60);
    put(nic, 0x52, 8, 1);
    add_capability(nic, 0x60, PCI_CAP_ID_PM, 0x70);
    add_capability(nic, 0x70, PCI_CAP_ID_MSIX, 0x80);
    add_express(nic, PCI_EXP_TYPE_ENDPOINT, false);
    memset(nic->writable + 0x40, 0xff, 0x40);
    memset(nic->writable + 0x40, 0, 2);
    pci_init(0, true);
    config_space_init(&space, device_at(0, 3, 0), line);
}

static uint32_t hardware(unsigned at, unsigned size) {
    return pci_read(nic->function, at, size);
}

START_TEST(shows_addresses) {
    open_nic(true);
    config_space_write(&space, PCI_BASE_ADDRESS_0, 4, UINT32_MAX);
    config_space_write(&space, PCI_BASE_ADDRESS_1, 4, UINT32_MAX);
    config_space_write(&space, PCI_BASE_ADDRESS_2, 2, 0xffff);
    config_space_write(&space, PCI_BASE_ADDRESS_2 + 2, 2, 0xffff);
    config_space_write(&space, PCI_BASE_ADDRESS_3, 4, UINT32_MAX);
    ck_assert_uint_eq(config_space_read(&space, PCI_BASE_ADDRESS_0, 4), 0xfffe0004);
    ck_assert_uint_eq(config_space_read(&space, PCI_BASE_ADDRESS_1, 4), UINT32_MAX);
    ck_assert_uint_eq(config_space_read(&space, PCI_BASE_ADDRESS_2, 4), 0xffffffe1);
    ck_assert_uint_eq(config_space_read(&space, PCI_BASE_ADDRESS_3, 4), 0);
    ck_assert_uint_eq(config_space_read(&space, PCI_ROM_ADDRESS, 4), 0);
    ck_assert_uint_eq(hardware(PCI_BASE_ADDRESS_0, 4), 4);
    ck_assert_uint_eq(hardware(PCI_BASE_ADDRESS_2, 4), 0xc001);
}
END_TEST

START_TEST(guards_the_command_register) {
    open_nic(true);
    put(nic, PCI_STATUS, PCI_STATUS_CAP_LIST | PCI_STATUS_REC_MASTER_ABORT, 2);
    const uint32_t all = PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY | PCI_COMMAND_INTX_DISABLE;
    // As one register of 32 bits, the status in it: its bits must not be lost.
    config_space_write(&space, PCI_COMMAND, 4, all | 0xffff0000);
    ck_assert_uint_eq(hardware(PCI_COMMAND, 2), PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY);
    ck_assert_uint_eq(hardware(PCI_STATUS, 2), PCI_STATUS_CAP_LIST | PCI_STATUS_REC_MASTER_ABORT);
    ck_assert_uint_eq(config_space_read(&space, PCI_COMMAND, 2), all);
    ck_assert(config_space_line_off(&space));
    config_space_write(&space, PCI_COMMAND + 1, 1, 0);
    ck_assert(!config_space_line_off(&space));
    ck_assert_uint_eq(hardware(PCI_COMMAND, 1), PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY);
    config_space_write(&space, PCI_VENDOR_ID, 4, 0);
    ck_assert_uint_eq(config_space_read(&space, PCI_VENDOR_ID, 2), 0x1af4);
}
END_TEST

START_TEST(keeps_messages) {
    open_nic(false);
    ck_assert_uint_eq(config_space_read(&space, PCI_INTERRUPT_PIN, 1), 0);
    ck_assert_uint_eq(config_space_read(&space, 0x40 + PCI_MSI_FLAGS, 2), PCI_MSI_FLAGS_64BIT);
    config_space_write(&space, 0x40 + PCI_MSI_FLAGS, 2, 0xffff);
    config_space_write(&space, 0x40 + PCI_MSI_ADDRESS_LO, 4, 0xfee00000);
    config_space_write(&space, 0x40 + PCI_MSI_DATA_64, 2, 0x4041);
    ck_assert_uint_eq(config_space_read(&space, 0x40 + PCI_MSI_FLAGS, 2),
                      PCI_MSI_FLAGS_64BIT | PCI_MSI_FLAGS_ENABLE | PCI_MSI_FLAGS_QSIZE);
    ck_assert_uint_eq(config_space_read(&space, 0x40 + PCI_MSI_ADDRESS_LO, 4), 0xfee00000);
    ck_assert_uint_eq(config_space_read(&space, 0x40 + PCI_MSI_DATA_64, 2), 0x4041);
    ck_assert_uint_eq(hardware(0x40 + PCI_MSI_ADDRESS_LO, 4), 0);
    ck_assert_uint_eq(hardware(0x40 + PCI_MSI_DATA_64, 2), 0);
    config_space_write(&space, 0x70 + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE);
    ck_assert_uint_eq(hardware(0x70 + PCI_MSIX_FLAGS, 2), 0);
    // The next one is not touched, and the vendor's is the program's.
    ck_assert_uint_eq(config_space_read(&space, 0x50, 4) & 0xffff, 0x6000 | PCI_CAP_ID_VNDR);
    config_space_write(&space, 0x54, 4, 0x12345678);
    ck_assert_uint_eq(hardware(0x54, 4), 0x12345678);
    config_space_write(&space, 0x58, 4, 0x12345678);
    ck_assert_uint_eq(hardware(0x58, 4), 0);
}
END_TEST

START_TEST(asks_for_resets) {
    open_nic(true);
    const unsigned control = 0x80 + PCI_EXP_DEVCTL;
    ck_assert_uint_eq(config_space_write(&space, control, 2, PCI_EXP_DEVCTL_CERE), 0);
    ck_assert_uint_eq(hardware(control, 2), PCI_EXP_DEVCTL_CERE);
    ck_assert_uint_eq(config_space_write(&space, control, 2, PCI_EXP_DEVCTL_BCR_FLR),
                      CONFIG_WANTS_RESET);
    ck_assert_uint_eq(hardware(control, 2) & PCI_EXP_DEVCTL_BCR_FLR, 0);
    ck_assert_uint_eq(config_space_read(&space, control, 2) & PCI_EXP_DEVCTL_BCR_FLR, 0);
    ck_assert_uint_eq(config_space_write(&space, control, 2, 0), 0);
    config_space_write(&space, 0x60 + PCI_PM_CTRL, 2, 0xffff);
    ck_assert_uint_eq(hardware(0x60 + PCI_PM_CTRL, 2), PCI_PM_CTRL_STATE_MASK);
    ck_assert_uint_eq(config_space_write(&space, 0x100, 4, UINT32_MAX), 0);
}
END_TEST

Suite *pci_suite(void) {
    Suite *suite = suite_create("pci");
    TCase *found = tcase_create("devices"), *shown = tcase_create("configuration space");
    tcase_add_test(found, measures);
    tcase_add_test(found, walks_capabilities);
    tcase_add_test(found, keeps_its_own);
    tcase_add_test(found, groups);
    tcase_add_test(shown, shows_addresses);
    tcase_add_test(shown, guards_the_command_register);
    tcase_add_test(shown, keeps_messages);
    tcase_add_test(shown, asks_for_resets);
    suite_add_tcase(suite, found);
    suite_add_tcase(suite, shown);
    return suite;
}
