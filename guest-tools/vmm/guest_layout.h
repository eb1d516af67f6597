// SPDX-License-Identifier: BSD-2-Clause
// Where things are in the guest's physical address space, and the limits that follow.
#pragma once

#define GUEST_PAGE_SIZE 0x1000ull

#define MEMORY_MIN (4ull << 20)
#define MEMORY_MAX (1ull << 40)
#define VCPUS_MAX  1024u

// RAM ends below the hole, which holds the APICs' and later devices' registers; the rest of it is
// above 4 GiB.
#define HOLE_START 0xc0000000ull
#define HOLE_END   0x100000000ull

#define PCI_WINDOW_START     0xd0000000u // registers of PCI devices
#define PCI_WINDOW_END       0xe0000000u
#define PCI_ECAM_START       0xe0000000u // configuration space of bus 0
#define PCI_ECAM_SIZE        0x100000u
#define IOAPIC_ADDRESS       0xfec00000u
#define LOCAL_APIC_ADDRESS   0xfee00000u
#define IDENTITY_MAP_ADDRESS 0xfffbc000ull // one page, KVM_SET_IDENTITY_MAP_ADDR
#define TSS_ADDRESS          0xfffbd000ull // three pages, KVM_SET_TSS_ADDR

// The first MiB. Everything here but the ACPI tables is free for the guest once it has read it.
#define GDT_ADDRESS         0x500ull
#define TSS_SEGMENT_ADDRESS 0x600ull
#define START_INFO_ADDRESS  0x6000ull // struct hvm_start_info, or struct boot_params
#define PAGE_TABLE_ADDRESS  0x9000ull // PML4, PDPT, four page directories
#define CMDLINE_ADDRESS     0x20000ull
#define CMDLINE_MAX         0x10000ull
#define LOW_RAM_END         0xa0000ull
#define ACPI_ADDRESS        0xe0000ull // RSDP first: also found by a search of the BIOS area
#define ACPI_END            0xf0000ull
#define FIRMWARE_START      0xe0000ull // what a PC's firmware takes; ACPI's tables are in it
#define FIRMWARE_END        0x100000ull
#define RESET_VECTOR        0xffff0ull
#define HIGH_RAM_START      0x100000ull

// Ports and interrupt lines.
#define SERIAL_PORT             0x3f8
#define SERIAL_PORTS            8
#define SERIAL_IRQ              4
#define HOTPLUG_IRQ             9
#define I8042_DATA_PORT         0x60
#define I8042_COMMAND_PORT      0x64
#define PANIC_PORT              0x505 // as in QEMU's pvpanic device
#define SLEEP_CONTROL_PORT      0x600
#define SLEEP_STATUS_PORT       0x601
#define HOTPLUG_PORT            0x610
#define PCI_CONFIG_ADDRESS_PORT 0xcf8
#define PCI_CONFIG_DATA_PORT    0xcfc
#define RESET_PORT              0xcf9
#define PCI_PORTS_START         0xc000u // registers of PCI devices
#define PCI_PORTS_END           0xd000u
#define RESET_VALUE             0x06
#define SLEEP_TYPE_S5           5
