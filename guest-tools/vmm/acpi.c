// SPDX-License-Identifier: BSD-2-Clause
// ACPI 6.4 tables of a hardware-reduced machine: local APICs, one I/O APIC, PIC and PIT, PCI, COM1,
// power button, plugged devices and CPUs, sleep, reset and panic registers. ISA interrupts are
// wired to the I/O APIC pin of the same number, so the MADT needs no override.
#include "acpi.h"

#include <stdio.h>
#include <string.h>

#include "aml.h"
#include "error.h"
#include "guest_layout.h"
#include "hotplug.h"

struct __attribute__((packed)) table_header {
    char signature[4];
    uint32_t length;
    uint8_t revision;
    uint8_t checksum;
    char oem_id[6];
    char oem_table_id[8];
    uint32_t oem_revision;
    char creator_id[4];
    uint32_t creator_revision;
};

struct __attribute__((packed)) generic_address {
    uint8_t space, bit_width, bit_offset, access_size;
    uint64_t address;
};

struct __attribute__((packed)) rsdp {
    char signature[8];
    uint8_t checksum;
    char oem_id[6];
    uint8_t revision;
    uint32_t rsdt;
    uint32_t length;
    uint64_t xsdt;
    uint8_t extended_checksum;
    uint8_t reserved[3];
};

struct __attribute__((packed)) fadt {
    struct table_header header;
    uint32_t firmware_control, dsdt;
    uint8_t reserved0, preferred_profile;
    uint8_t legacy_registers[109 - 46]; // SCI_INT to CENTURY: none on this machine
    uint16_t boot_architecture;
    uint8_t reserved1;
    uint32_t flags;
    struct generic_address reset_register;
    uint8_t reset_value;
    uint16_t arm_boot_architecture;
    uint8_t minor_revision;
    uint64_t x_firmware_control, x_dsdt;
    struct generic_address extended_blocks[8]; // PM1a_EVT to GPE1: none
    struct generic_address sleep_control, sleep_status;
    uint64_t hypervisor_vendor;
};

_Static_assert(sizeof(struct rsdp) == 36, "table 5.3");
_Static_assert(sizeof(struct fadt) == 276, "table 5.9");
_Static_assert(offsetof(struct fadt, boot_architecture) == 109, "table 5.9");
_Static_assert(offsetof(struct fadt, sleep_control) == 244, "table 5.9");

struct __attribute__((packed)) madt {
    struct table_header header;
    uint32_t local_apic_address;
    uint32_t flags;
};

struct __attribute__((packed)) madt_local_apic {
    uint8_t type, length, processor_uid, apic_id;
    uint32_t flags;
};

struct __attribute__((packed)) madt_local_x2apic {
    uint8_t type, length;
    uint16_t reserved;
    uint32_t apic_id, flags, processor_uid;
};

struct __attribute__((packed)) madt_io_apic {
    uint8_t type, length, id, reserved;
    uint32_t address, gsi_base;
};

enum {
    SPACE_SYSTEM_IO = 1,
    ACCESS_BYTE = 1,
    MADT_PCAT_COMPAT = 1 << 0,
    MADT_LOCAL_APIC = 0,
    MADT_IO_APIC = 1,
    MADT_LOCAL_X2APIC = 9,
    MADT_ENABLED = 1 << 0,
    MADT_ONLINE_CAPABLE = 1 << 1,
    BOOT_LEGACY_DEVICES = 1 << 0, // COM1; the 8042 bit stays clear
    BOOT_NO_VGA = 1 << 2,
    BOOT_NO_CMOS_RTC = 1 << 5,
    FADT_WBINVD = 1 << 0,
    FADT_NO_POWER_BUTTON = 1 << 4, // no fixed button; a device stands for it
    FADT_NO_SLEEP_BUTTON = 1 << 5,
    FADT_RESET_REGISTER = 1 << 10,
    FADT_HEADLESS = 1 << 12,
    FADT_HARDWARE_REDUCED = 1 << 20,
    LAST_XAPIC_ID = 254,
};

// Tables are put one behind the other; addresses below 4 GiB, so 32-bit fields would do as well.
struct table_area {
    const struct guest_memory *memory;
    uint64_t next;
};

static uint8_t checksum(const void *data, size_t length) {
    const uint8_t *bytes = data;
    uint8_t sum = 0;

    while (length-- > 0) {
        sum = (uint8_t)(sum + *bytes++);
    }
    return (uint8_t)-sum;
}

static void fill_header(struct table_header *header, const char *signature, uint8_t revision,
                        size_t length) {
    *header = (struct table_header){
        .length = (uint32_t)length, .revision = revision, .oem_revision = 1, .creator_revision = 1};
    memcpy(header->signature, signature, sizeof(header->signature));
    memcpy(header->oem_id, "ASHLAR", sizeof(header->oem_id));
    memcpy(header->oem_table_id, "ASHLRVMM", sizeof(header->oem_table_id));
    memcpy(header->creator_id, "ASHL", sizeof(header->creator_id));
}

// Completes a table that begins with its header and copies it to the guest. Returns its address.
static uint64_t place_table(struct table_area *area, void *table, size_t length) {
    struct table_header *header = table;
    uint64_t address = area->next;

    header->checksum = 0;
    header->checksum = checksum(table, length);
    if (length > ACPI_END - address) {
        fatal("the ACPI tables do not fit into their place");
    }
    memory_write(area->memory, address, table, length, "ACPI table");
    area->next = (address + length + 15) & ~15ull;
    return address;
}

static struct madt_local_apic local_apic(unsigned id, uint32_t flags) {
    return (struct madt_local_apic){.type = MADT_LOCAL_APIC,
                                    .length = sizeof(struct madt_local_apic),
                                    .processor_uid = (uint8_t)id,
                                    .apic_id = (uint8_t)id,
                                    .flags = flags};
}

struct name {
    char text[5];
};

static struct name numbered(char letter, unsigned number) {
    struct name name;

    snprintf(name.text, sizeof(name.text), "%c%03X", letter, number & 0xfff);
    return name;
}

// PCI slots that take devices while the machine runs (6.1.1, 6.1.9, 6.3.3, 6.3.5).
static void add_slots(struct aml *aml, uint32_t slots) {
    for (unsigned slot = 1; slot < PCI_DEVICES_MAX; slot++) {
        if (slots >> slot & 1) {
            size_t device = aml_device(aml, numbered('S', slot).text);

            aml_name_integer(aml, "_ADR", slot << 16);
            aml_name_integer(aml, "_SUN", slot);
            aml_method_store(aml, "_EJ0", 1, (uint16_t)slot, "EJEC");
            // Method (_OST) {COST (slot, Arg0, Arg1)}
            const char outcome[] = {'C', 'O', 'S', 'T', 0x0a, (char)slot, 0x68, 0x69};
            size_t method = aml_method(aml, "_OST", 3);
            aml_bytes(aml, outcome, sizeof(outcome));
            aml_end(aml, method);
            aml_end(aml, device);
        }
    }
}

// Processors that come and go (8.4, 6.2.10: their MADT entries once they are there).
static void add_processors(struct aml *aml, unsigned count) {
    for (unsigned id = 0; id < count; id++) {
        const struct madt_local_apic entry = local_apic(id, MADT_ENABLED);
        size_t device = aml_device(aml, numbered('C', id).text);

        aml_name_string(aml, "_HID", "ACPI0007");
        aml_name_integer(aml, "_UID", id);
        aml_name_buffer(aml, "_MAT", &entry, sizeof(entry));
        aml_method_ask(aml, "_STA", "CSTA", (uint16_t)(HOTPLUG_CPUS + id));
        if (id) {
            aml_method_store(aml, "_EJ0", 1, (uint16_t)(HOTPLUG_CPUS + id), "EJEC");
        }
        aml_end(aml, device);
    }
}

// The registers of hotplug.h, who is told of what happens there, and the event (5.6.9) that says
// so.
static void add_hotplug(struct aml *aml, uint32_t slots, unsigned cpus) {
    // Store (Arg0, SELC), Return (STAT)
    static const char status[] = "\x70\x68SELC\xa4STAT";
    // If (LEqual (Arg1, 3)) {Store (Or (ShiftLeft (Arg0, 8), And (Arg2, 0xff)), OUTC)}
    static const char outcome[] = "\xa0\x16\x93\x69\x0a\x03"
                                  "\x70\x7d\x79\x68\x0a\x08\x00\x7b\x6a\x0a\xff\x00\x00"
                                  "OUTC";
    // Store (EVNT, Local0), While (Local0) {
    //     NTFY (ShiftRight (Local0, 8), And (Local0, 0xff)), Store (EVNT, Local0)}
    static const char next[] = "\x70"
                               "EVNT\x60\xa2\x16\x60"
                               "NTFY\x7a\x60\x0a\x08\x00\x7b\x60\x0a\xff\x00"
                               "\x70"
                               "EVNT\x60";

    aml_port_fields(aml, "PLUG", HOTPLUG_PORT, "EVNTSELCSTATEJECOUTC");
    size_t method = aml_method(aml, "CSTA", 1 | AML_SERIALIZED);
    aml_bytes(aml, status, sizeof(status) - 1);
    aml_end(aml, method);
    method = aml_method(aml, "COST", 3);
    aml_bytes(aml, outcome, sizeof(outcome) - 1);
    aml_end(aml, method);
    method = aml_method(aml, "NTFY", 2);
    aml_notify_where(aml, HOTPLUG_POWER_BUTTON, "PWRB");
    for (unsigned slot = 1; slot < PCI_DEVICES_MAX; slot++) {
        if (slots >> slot & 1) {
            char path[] = "^\x2ePCI0S000"; // two names, from the parent's scope (20.2.2)

            memcpy(path + 6, numbered('S', slot).text, 4);
            aml_notify_where(aml, (uint16_t)slot, path);
        }
    }
    for (unsigned id = 0; id < cpus; id++) {
        aml_notify_where(aml, (uint16_t)(HOTPLUG_CPUS + id), numbered('C', id).text);
    }
    aml_end(aml, method);
    size_t device = aml_device(aml, "GED_");
    aml_name_string(aml, "_HID", "ACPI0013");
    aml_interrupt_resource(aml, HOTPLUG_IRQ);
    method = aml_method(aml, "_EVT", 1 | AML_SERIALIZED);
    aml_bytes(aml, next, sizeof(next) - 1);
    aml_end(aml, method);
    aml_end(aml, device);
}

static uint64_t write_dsdt(struct table_area *area, const struct acpi_machine *machine) {
    static const uint8_t s5[] = {SLEEP_TYPE_S5, 0, 0, 0};
    static uint8_t table[ACPI_END - ACPI_ADDRESS];
    unsigned cpus =
        machine->cpus_max > 1 && machine->cpus_max <= HOTPLUG_CPUS_MAX ? machine->cpus_max : 0;
    struct aml aml = {
        .data = table, .used = sizeof(struct table_header), .capacity = sizeof(table)};

    size_t bus = aml_scope(&aml, "\\_SB_");
    size_t device = aml_device(&aml, "PCI0");
    aml_name_eisa_id(&aml, "_HID", "PNP0A08");
    aml_name_eisa_id(&aml, "_CID", "PNP0A03");
    aml_name_integer(&aml, "_BBN", 0);
    aml_pci_resources(&aml, PCI_CONFIG_ADDRESS_PORT,
                      (struct aml_window){PCI_WINDOW_START, PCI_WINDOW_END},
                      (struct aml_window){PCI_PORTS_START, PCI_PORTS_END});
    add_slots(&aml, machine->slots);
    aml_end(&aml, device);
    add_processors(&aml, cpus);
    // PCI Firmware 3.2, 4.1.2: what MCFG names is reserved by a motherboard resource.
    device = aml_device(&aml, "MBRD");
    aml_name_eisa_id(&aml, "_HID", "PNP0C02");
    aml_memory_resource(&aml, PCI_ECAM_START, PCI_ECAM_SIZE);
    aml_end(&aml, device);
    if (machine->serial) {
        device = aml_device(&aml, "COM1");
        aml_name_eisa_id(&aml, "_HID", "PNP0501");
        aml_name_integer(&aml, "_UID", 0);
        aml_port_resources(&aml, SERIAL_PORT, SERIAL_PORTS, SERIAL_IRQ);
        aml_end(&aml, device);
    }
    // A button of a machine without fixed registers (4.8.2.2.1.2), pressed by an event (5.6.9).
    device = aml_device(&aml, "PWRB");
    aml_name_eisa_id(&aml, "_HID", "PNP0C0C");
    aml_end(&aml, device);
    add_hotplug(&aml, machine->slots, cpus);
    device = aml_device(&aml, "PEVT");
    aml_name_string(&aml, "_HID", "QEMU0001");
    aml_port_resources(&aml, PANIC_PORT, 1, 0);
    aml_end(&aml, device);
    aml_end(&aml, bus);
    aml_name_byte_package(&aml, "_S5_", s5, sizeof(s5));
    fill_header((struct table_header *)table, "DSDT", 2, aml.used);
    return place_table(area, table, aml.used);
}

static struct generic_address port_register(uint16_t port) {
    return (struct generic_address){
        .space = SPACE_SYSTEM_IO, .bit_width = 8, .access_size = ACCESS_BYTE, .address = port};
}

static uint64_t write_fadt(struct table_area *area, uint64_t dsdt, bool serial) {
    struct fadt fadt = {
        .dsdt = (uint32_t)dsdt,
        .x_dsdt = dsdt,
        .boot_architecture =
            (uint16_t)((serial ? BOOT_LEGACY_DEVICES : 0) | BOOT_NO_VGA | BOOT_NO_CMOS_RTC),
        .flags = FADT_WBINVD | FADT_NO_POWER_BUTTON | FADT_NO_SLEEP_BUTTON | FADT_RESET_REGISTER |
                 FADT_HEADLESS | FADT_HARDWARE_REDUCED,
        .reset_register = port_register(RESET_PORT),
        .reset_value = RESET_VALUE,
        .minor_revision = 4,
        .sleep_control = port_register(SLEEP_CONTROL_PORT),
        .sleep_status = port_register(SLEEP_STATUS_PORT),
    };

    memcpy(&fadt.hypervisor_vendor, "Ashlar\0", sizeof(fadt.hypervisor_vendor));
    fill_header(&fadt.header, "FACP", 6, sizeof(fadt));
    return place_table(area, &fadt, sizeof(fadt));
}

static uint64_t write_madt(struct table_area *area, const struct acpi_machine *machine) {
    uint8_t table[sizeof(struct madt) + VCPUS_MAX * sizeof(struct madt_local_x2apic) +
                  sizeof(struct madt_io_apic)];
    struct aml bytes = {.data = table, .capacity = sizeof(table)};
    struct madt madt = {.local_apic_address = LOCAL_APIC_ADDRESS, .flags = MADT_PCAT_COMPAT};
    const struct madt_io_apic io_apic = {
        .type = MADT_IO_APIC, .length = sizeof(io_apic), .address = IOAPIC_ADDRESS};

    aml_bytes(&bytes, &madt, sizeof(madt));
    for (unsigned id = 0; id < machine->cpus_max; id++) {
        uint32_t flags = id < machine->cpus ? MADT_ENABLED : MADT_ONLINE_CAPABLE;

        if (id <= LAST_XAPIC_ID) {
            const struct madt_local_apic entry = local_apic(id, flags);
            aml_bytes(&bytes, &entry, sizeof(entry));
        } else {
            const struct madt_local_x2apic entry = {.type = MADT_LOCAL_X2APIC,
                                                    .length = sizeof(entry),
                                                    .processor_uid = id,
                                                    .apic_id = id,
                                                    .flags = flags};
            aml_bytes(&bytes, &entry, sizeof(entry));
        }
    }
    aml_bytes(&bytes, &io_apic, sizeof(io_apic));
    fill_header(&madt.header, "APIC", 5, bytes.used);
    memcpy(table, &madt.header, sizeof(madt.header));
    return place_table(area, table, bytes.used);
}

// PCI Firmware 3.2, 4.1.2.
static uint64_t write_mcfg(struct table_area *area) {
    struct __attribute__((packed)) {
        struct table_header header;
        uint64_t reserved;
        uint64_t base;
        uint16_t segment;
        uint8_t first_bus, last_bus;
        uint32_t reserved1;
    } mcfg = {.base = PCI_ECAM_START};

    fill_header(&mcfg.header, "MCFG", 1, sizeof(mcfg));
    return place_table(area, &mcfg, sizeof(mcfg));
}

void acpi_write_tables(const struct guest_memory *memory, const struct acpi_machine *machine) {
    struct table_area area = {.memory = memory, .next = ACPI_ADDRESS + 64};
    struct __attribute__((packed)) {
        struct table_header header;
        uint64_t tables[3];
    } xsdt;
    struct rsdp rsdp = {.revision = 2, .length = sizeof(rsdp)};

    uint64_t dsdt = write_dsdt(&area, machine);
    xsdt.tables[0] = write_fadt(&area, dsdt, machine->serial);
    xsdt.tables[1] = write_madt(&area, machine);
    xsdt.tables[2] = write_mcfg(&area);
    fill_header(&xsdt.header, "XSDT", 1, sizeof(xsdt));
    rsdp.xsdt = place_table(&area, &xsdt, sizeof(xsdt));

    memcpy(rsdp.signature, "RSD PTR ", sizeof(rsdp.signature));
    memcpy(rsdp.oem_id, "ASHLAR", sizeof(rsdp.oem_id));
    rsdp.checksum = checksum(&rsdp, 20); // The part ACPI 1.0 knew.
    rsdp.extended_checksum = checksum(&rsdp, sizeof(rsdp));
    memory_write(memory, ACPI_ADDRESS, &rsdp, sizeof(rsdp), "ACPI root pointer");
}
