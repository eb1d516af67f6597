// SPDX-License-Identifier: BSD-2-Clause
// A virtual machine of one CPU and no devices, for programs that test or measure the KVM API with
// a few guest instructions of their own.
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define GUEST_PAGE_TABLES 0x1000ull
#define GUEST_STACK       0x9000ull // top
#define GUEST_CODE        0x10000ull
#define GUEST_DATA        0x20000ull
#define GUEST_MMIO        0xd0000000ull // never RAM

struct tiny_guest {
    int kvm_fd;
    int vm_fd;
    int vcpu_fd;
    size_t run_size;
    struct kvm_run *run;
    uint8_t *memory;
    size_t memory_size;
};

// Guest code: instructions, as a string, between name and name_end, to be run wherever they are
// copied to. mode is the assembler's directive for the CPU's mode.
#define GUEST_CODE_BLOCK(name, mode, instructions)                                                 \
    __asm__(".pushsection .rodata\n" #name ":\n" mode "\n" instructions "\n" #name                 \
            "_end:\n.code64\n.popsection\n");                                                      \
    extern const uint8_t name[], name##_end[]

#define LONG_MODE_CODE(name, instructions) GUEST_CODE_BLOCK(name, ".code64", instructions)
#define REAL_MODE_CODE(name, instructions) GUEST_CODE_BLOCK(name, ".code16", instructions)

static inline void tiny_check(int ok, const char *what) {
    if (!ok) {
        perror(what);
        exit(1);
    }
}

static inline void tiny_add_memory(const struct tiny_guest *guest, uint32_t slot, uint64_t address,
                                   void *host, uint64_t size) {
    struct kvm_userspace_memory_region region = {.slot = slot,
                                                 .guest_phys_addr = address,
                                                 .memory_size = size,
                                                 .userspace_addr = (uintptr_t)host};

    tiny_check(ioctl(guest->vm_fd, KVM_SET_USER_MEMORY_REGION, &region) == 0,
               "KVM_SET_USER_MEMORY_REGION");
}

// Makes the machine with memory_size bytes of RAM at guest address 0, without a CPU.
static inline void tiny_create_vm(struct tiny_guest *guest, size_t memory_size) {
    guest->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    tiny_check(guest->kvm_fd >= 0, "/dev/kvm");
    guest->vm_fd = ioctl(guest->kvm_fd, KVM_CREATE_VM, 0);
    tiny_check(guest->vm_fd >= 0, "KVM_CREATE_VM");
    // VMX without unrestricted guest needs it; harmless elsewhere.
    tiny_check(ioctl(guest->vm_fd, KVM_SET_TSS_ADDR, 0xfffbd000) == 0, "KVM_SET_TSS_ADDR");
    guest->memory_size = memory_size;
    guest->memory = mmap(NULL, memory_size, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    tiny_check(guest->memory != MAP_FAILED, "guest memory");
    tiny_add_memory(guest, 0, 0, guest->memory, memory_size);
}

// Adds a CPU, as reset leaves it and with all the CPUID the system supports.
static inline void tiny_create_vcpu_with_id(struct tiny_guest *guest, unsigned id) {
    static struct {
        struct kvm_cpuid2 header;
        struct kvm_cpuid_entry2 entries[256];
    } cpuid;

    guest->vcpu_fd = ioctl(guest->vm_fd, KVM_CREATE_VCPU, id);
    tiny_check(guest->vcpu_fd >= 0, "KVM_CREATE_VCPU");
    guest->run_size = (size_t)ioctl(guest->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    guest->run = mmap(NULL, guest->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, guest->vcpu_fd, 0);
    tiny_check(guest->run != MAP_FAILED, "kvm_run");
    cpuid.header.nent = 256;
    tiny_check(ioctl(guest->kvm_fd, KVM_GET_SUPPORTED_CPUID, &cpuid) == 0,
               "KVM_GET_SUPPORTED_CPUID");
    tiny_check(ioctl(guest->vcpu_fd, KVM_SET_CPUID2, &cpuid) == 0, "KVM_SET_CPUID2");
}

static inline void tiny_create_vcpu(struct tiny_guest *guest) {
    tiny_create_vcpu_with_id(guest, 0);
}

static inline void tiny_create(struct tiny_guest *guest, size_t memory_size) {
    tiny_create_vm(guest, memory_size);
    tiny_create_vcpu(guest);
}

static inline void tiny_destroy(struct tiny_guest *guest) {
    munmap(guest->run, guest->run_size);
    munmap(guest->memory, guest->memory_size);
    close(guest->vcpu_fd);
    close(guest->vm_fd);
    close(guest->kvm_fd);
}

static inline void tiny_set_segments(struct kvm_sregs *sregs, int long_mode) {
    struct kvm_segment code = {.limit = 0xffffffff,
                               .selector = 0x8,
                               .type = 0xb,
                               .present = 1,
                               .db = !long_mode,
                               .s = 1,
                               .l = (uint8_t)long_mode,
                               .g = 1};
    struct kvm_segment data = code;

    data.selector = 0x10;
    data.type = 0x3;
    data.l = 0;
    data.db = 1;
    sregs->cs = code;
    sregs->ds = sregs->es = sregs->fs = sregs->gs = sregs->ss = data;
}

// Puts the CPU into 64-bit mode with the first 4 GiB mapped one to one by 2 MiB pages.
static inline void tiny_enter_long_mode(struct tiny_guest *guest) {
    uint64_t *tables = (uint64_t *)(guest->memory + GUEST_PAGE_TABLES);
    struct kvm_sregs sregs;

    memset(tables, 0, 0x2000);
    tables[0] = (GUEST_PAGE_TABLES + 0x1000) | 0x7;
    for (uint64_t i = 0; i < 4; i++) {
        tables[512 + i] = (GUEST_PAGE_TABLES + 0x2000 + i * 0x1000) | 0x7;
    }
    for (uint64_t i = 0; i < 4 * 512; i++) {
        tables[1024 + i] = i << 21 | 0x87;
    }
    tiny_check(ioctl(guest->vcpu_fd, KVM_GET_SREGS, &sregs) == 0, "KVM_GET_SREGS");
    tiny_set_segments(&sregs, 1);
    sregs.cr0 = 0x80000011;
    sregs.cr3 = GUEST_PAGE_TABLES;
    sregs.cr4 = 0x20 | 0x600; // PAE, OSFXSR, OSXMMEXCPT
    sregs.efer = 0x500;
    tiny_check(ioctl(guest->vcpu_fd, KVM_SET_SREGS, &sregs) == 0, "KVM_SET_SREGS");
}

// Puts the CPU into real mode with all segments based at 0.
static inline void tiny_enter_real_mode(struct tiny_guest *guest) {
    struct kvm_sregs sregs;

    tiny_check(ioctl(guest->vcpu_fd, KVM_GET_SREGS, &sregs) == 0, "KVM_GET_SREGS");
    sregs.cs.base = 0;
    sregs.cs.selector = 0;
    tiny_check(ioctl(guest->vcpu_fd, KVM_SET_SREGS, &sregs) == 0, "KVM_SET_SREGS");
}

#define GUEST_GDT      0x21000ull
#define GUEST_IDT      0x22000ull
#define GUEST_HANDLER  0x11000ull // and 0x100 further for each one more
#define GUEST_HANDLERS 8

// Gives a CPU in 64-bit mode a GDT and an IDT, in which only the vector given is present.
static inline void tiny_set_handler(struct tiny_guest *guest, unsigned vector, const uint8_t *code,
                                    const uint8_t *code_end) {
    static unsigned handlers;
    uint64_t *gdt = (uint64_t *)(guest->memory + GUEST_GDT);
    uint64_t *gate = (uint64_t *)(guest->memory + GUEST_IDT) + vector * 2ull;
    uint64_t address = GUEST_HANDLER + handlers++ % GUEST_HANDLERS * 0x100;
    struct kvm_sregs sregs;

    gdt[1] = 0x00af9b000000ffff;
    gdt[2] = 0x00cf93000000ffff;
    memcpy(guest->memory + address, code, (size_t)(code_end - code));
    gate[0] = (address & 0xffff) | 0x8ull << 16 | 0x8e00ull << 32 | (address >> 16) << 48;
    gate[1] = 0;
    tiny_check(ioctl(guest->vcpu_fd, KVM_GET_SREGS, &sregs) == 0, "KVM_GET_SREGS");
    sregs.gdt.base = GUEST_GDT;
    sregs.gdt.limit = 0x17;
    sregs.idt.base = GUEST_IDT;
    sregs.idt.limit = 0xfff;
    tiny_check(ioctl(guest->vcpu_fd, KVM_SET_SREGS, &sregs) == 0, "KVM_SET_SREGS");
}
