// SPDX-License-Identifier: BSD-2-Clause
// vmm's registers for plugged devices and CPUs, and the ACPI code that uses them.
// Sources: guest-tools/vmm/hotplug.c guest-tools/vmm/acpi.c guest-tools/vmm/aml.c
#define _GNU_SOURCE // memmem
#include <check.h>
#include <string.h>
#include "guest-tools/vmm/acpi.h"
#include "guest-tools/vmm/guest_layout.h"
#include "guest-tools/vmm/hotplug.h"

Suite *hotplug_suite(void);

static struct hotplug hotplug;
static const struct bus_device_ops *registers;
static unsigned interrupts, ejected, refused;
static uint8_t dsdt[1 << 16], madt[1 << 16];
static size_t dsdt_size, madt_size;

void bus_attach(struct bus *bus, uint64_t start, uint64_t length, const struct bus_device_ops *ops,
                void *device) {
    (void)bus;
    ck_assert_uint_eq(start, HOTPLUG_PORT);
    ck_assert_uint_eq(length, 20);
    ck_assert_ptr_eq(device, &hotplug);
    registers = ops;
}

void memory_write(const struct guest_memory *memory, uint64_t address, const void *data,
                  uint64_t length, const char *what) {
    (void)memory;
    (void)what;
    ck_assert_uint_ge(address, ACPI_ADDRESS);
    ck_assert_uint_le(address + length, ACPI_END);
    if (memcmp(data, "DSDT", 4) == 0)
        memcpy(dsdt, data, dsdt_size = length);
    if (memcmp(data, "APIC", 4) == 0)
        memcpy(madt, data, madt_size = length);
}

static void interrupt(void *context) {
    (void)context;
    interrupts++;
}

static bool is_there(void *context, unsigned object) {
    (void)context;
    return object == HOTPLUG_CPUS + 1;
}

static void eject(void *context, unsigned object) {
    (void)context;
    ejected = object;
}

static void refuse(void *context, unsigned object) {
    (void)context;
    refused = object;
}

static uint32_t in(unsigned offset) {
    uint32_t value;

    registers->read(&hotplug, offset, &value, sizeof(value));
    return value;
}

static void out(unsigned offset, uint32_t value) {
    registers->write(&hotplug, offset, &value, sizeof(value));
}

static void setup(void) {
    static struct bus ports;

    hotplug = (struct hotplug){
        .interrupt = interrupt, .is_there = is_there, .eject = eject, .refuse = refuse};
    interrupts = ejected = refused = 0;
    hotplug_attach(&hotplug, &ports);
}

START_TEST(events_come_once) {
    ck_assert_uint_eq(in(0), 0);
    hotplug_notify(&hotplug, HOTPLUG_CPUS + 3, NOTIFY_EJECT_REQUEST);
    hotplug_notify(&hotplug, 5, NOTIFY_DEVICE_CHECK);
    hotplug_notify(&hotplug, 5, NOTIFY_EJECT_REQUEST); // before the guest has read the first
    hotplug_notify(&hotplug, HOTPLUG_POWER_BUTTON, NOTIFY_BUTTON_PRESSED);
    ck_assert_uint_eq(interrupts, 4);
    ck_assert_uint_eq(in(0), 0x80);
    ck_assert_uint_eq(in(0), 5 << 8 | 3);
    ck_assert_uint_eq(in(0), (HOTPLUG_CPUS + 3) << 8 | 3);
    ck_assert_uint_eq(in(0), 0);
}
END_TEST

START_TEST(status_and_eject) {
    uint16_t narrow = 7;

    out(4, HOTPLUG_CPUS + 1);
    ck_assert_uint_eq(in(8), 0xf);
    out(4, HOTPLUG_CPUS + 2);
    ck_assert_uint_eq(in(8), 0);
    out(4, 0xffffffff);
    ck_assert_uint_eq(in(8), 0);
    out(12, 9);
    ck_assert_uint_eq(ejected, 9);
    out(12, HOTPLUG_OBJECTS);
    registers->write(&hotplug, 12, &narrow, sizeof(narrow));
    ck_assert_uint_eq(ejected, 9);
    hotplug_notify(&hotplug, 1, NOTIFY_DEVICE_CHECK);
    registers->read(&hotplug, 0, &narrow, sizeof(narrow));
    ck_assert_uint_eq(narrow, 0);
    ck_assert_uint_eq(in(0), 1 << 8 | 1);
}
END_TEST

START_TEST(outcome) {
    out(16, 5 << 8 | 0x81); // nobody has asked for it
    ck_assert_uint_eq(refused, 0);
    hotplug_notify(&hotplug, 5, NOTIFY_EJECT_REQUEST);
    out(16, 5 << 8);
    out(16, 6 << 8 | 0x84); // it is at work
    out(16, (uint32_t)HOTPLUG_OBJECTS << 8 | 1);
    ck_assert_uint_eq(refused, 0);
    out(16, 5 << 8 | 0x81);
    ck_assert_uint_eq(refused, 5);
    refused = 0;
    out(16, 5 << 8 | 0x81); // it was told
    ck_assert_uint_eq(refused, 0);
    ck_assert_uint_eq(ejected, 0);
}
END_TEST

// As Intel's compiler makes them from the ASL in comments, but for the package lengths, which here
// always have three bytes.
#define CODE(bytes) bytes, sizeof(bytes) - 1

static unsigned count(const void *bytes, size_t size) {
    unsigned found = 0;

    for (const uint8_t *at = dsdt; (at = memmem(at, dsdt_size - (size_t)(at - dsdt), bytes, size));
         at++)
        found++;
    return found;
}

START_TEST(tables) {
    uint8_t sum = 0;

    acpi_write_tables(
        NULL, &(struct acpi_machine){.cpus = 1, .cpus_max = 3, .slots = 1u << 4 | 1u << 31});
    for (size_t i = 0; i < dsdt_size; i++)
        sum = (uint8_t)(sum + dsdt[i]);
    ck_assert_uint_eq(sum, 0);
    // Method (_EJ0, 1) {EJEC = 0x1f}, of slot 31; two slots' and two CPUs' in all
    ck_assert_uint_eq(count(CODE("_EJ0\x01\x70\x0b\x1f\x00"
                                 "EJEC")),
                      1);
    ck_assert_uint_eq(count(CODE("_EJ0")), 4);
    // Method (_OST, 3) {COST (0x04, Arg0, Arg1)}, and what COST does
    ck_assert_uint_eq(count(CODE("_OST\x03"
                                 "COST\x0a\x04\x68\x69")),
                      1);
    ck_assert_uint_eq(count(CODE("_OST")), 2);
    // If (Arg1 == 0x03) {OUTC = Arg0 << 8 | (Arg2 & 0xff)}
    ck_assert_uint_eq(count(CODE("\xa0\x16\x93\x69\x0a\x03\x70\x7d\x79\x68\x0a\x08\x00"
                                 "\x7b\x6a\x0a\xff\x00\x00OUTC")),
                      1);
    // If (Arg0 == 0x04) {Notify (^PCI0.S004, Arg1)}
    ck_assert_uint_eq(count(CODE("\x93\x68\x0b\x04\x00\x86^\x2ePCI0S004\x69")), 1);
    // Method (_STA) {Return (CSTA (0x22))}, of the third CPU, whose _MAT says that it is enabled
    ck_assert_uint_eq(count(CODE("_STA\x00\xa4"
                                 "CSTA\x0b\x22\x00")),
                      1);
    ck_assert_uint_eq(count(CODE("\x0a\x08\x00\x08\x02\x02\x01\x00\x00\x00")), 1);
    // While (Local0) {NTFY (Local0 >> 8, Local0 & 0xff), Local0 = EVNT}
    ck_assert_uint_eq(count(CODE("\xa2\x16\x60NTFY\x7a\x60\x0a\x08\x00\x7b\x60\x0a\xff\x00\x70"
                                 "EVNT\x60")),
                      1);
    // Not enabled but online capable (5.2.12.2)
    ck_assert_ptr_nonnull(memmem(madt, madt_size, "\x00\x08\x00\x00\x01\x00\x00\x00", 8));
    ck_assert_ptr_nonnull(memmem(madt, madt_size, "\x00\x08\x02\x02\x02\x00\x00\x00", 8));
    // The most that can be plugged fits; more are there from the start only.
    acpi_write_tables(NULL, &(struct acpi_machine){.cpus = 1, .cpus_max = 255, .slots = ~1u});
    ck_assert_uint_eq(count(CODE("ACPI0007")), 255);
    acpi_write_tables(NULL, &(struct acpi_machine){.cpus = 1024, .cpus_max = 1024, .slots = ~1u});
    ck_assert_uint_eq(count(CODE("ACPI0007")), 0);
}
END_TEST

Suite *hotplug_suite(void) {
    Suite *suite = suite_create("hotplug");
    TCase *tests = tcase_create("hotplug");
    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_test(tests, events_come_once);
    tcase_add_test(tests, status_and_eject);
    tcase_add_test(tests, outcome);
    tcase_add_test(tests, tables);
    suite_add_tcase(suite, tests);
    return suite;
}
