// SPDX-License-Identifier: BSD-2-Clause
// The first CPU's state at the kernel's entry: descriptor table, identity page tables, registers.
#include <string.h>
#include <sys/ioctl.h>

#include "error.h"
#include "guest_layout.h"
#include "vcpu.h"

#define CR0_PE   (1ull << 0)
#define CR0_ET   (1ull << 4)
#define CR0_PG   (1ull << 31)
#define CR4_PAE  (1ull << 5)
#define EFER_LME (1ull << 8)
#define EFER_LMA (1ull << 10)

#define PAGE_PRESENT  (1ull << 0)
#define PAGE_WRITABLE (1ull << 1)
#define PAGE_LARGE    (1ull << 7)
#define LARGE_PAGE    (2ull << 20)
#define TABLE_ENTRIES 512
#define IDENTITY_GIBS 4 // The boot protocol wants what it hands over mapped; RAM below the hole is.

#define RFLAGS_FIXED (1ull << 1)

// The selectors boot.rst demands: __BOOT_CS and __BOOT_DS.
enum { SELECTOR_CODE = 0x10, SELECTOR_DATA = 0x18, SELECTOR_TSS = 0x20, GDT_ENTRIES = 6 };

// A GDT entry holding the same descriptor as a segment register (SDM volume 3, figure 3-8).
static uint64_t descriptor(const struct kvm_segment *segment) {
    uint64_t limit = segment->g ? segment->limit >> 12 : segment->limit;
    uint64_t access = segment->type | (uint64_t)segment->s << 4 | (uint64_t)segment->dpl << 5 |
                      (uint64_t)segment->present << 7;
    uint64_t flags = segment->avl | (uint64_t)segment->l << 1 | (uint64_t)segment->db << 2 |
                     (uint64_t)segment->g << 3;

    return (limit & 0xffff) | (segment->base & 0xffffff) << 16 | access << 40 |
           (limit >> 16 & 0xf) << 48 | flags << 52 | (segment->base >> 24 & 0xff) << 56;
}

static struct kvm_segment flat_segment(uint16_t selector, uint8_t type, bool long_mode) {
    return (struct kvm_segment){.limit = 0xffffffff,
                                .selector = selector,
                                .type = type,
                                .present = 1,
                                .db = !long_mode,
                                .s = 1,
                                .l = long_mode,
                                .g = 1};
}

static void write_page_tables(const struct guest_memory *memory) {
    uint64_t *tables =
        memory_pointer(memory, PAGE_TABLE_ADDRESS, (2 + IDENTITY_GIBS) * GUEST_PAGE_SIZE);
    uint64_t *pdpt = tables + TABLE_ENTRIES;
    uint64_t *directories = pdpt + TABLE_ENTRIES;
    uint64_t directories_address = PAGE_TABLE_ADDRESS + 2 * GUEST_PAGE_SIZE;

    memset(tables, 0, 2 * GUEST_PAGE_SIZE);
    tables[0] = (PAGE_TABLE_ADDRESS + GUEST_PAGE_SIZE) | PAGE_PRESENT | PAGE_WRITABLE;
    for (uint64_t i = 0; i < IDENTITY_GIBS; i++) {
        pdpt[i] = (directories_address + i * GUEST_PAGE_SIZE) | PAGE_PRESENT | PAGE_WRITABLE;
    }
    for (uint64_t i = 0; i < IDENTITY_GIBS * TABLE_ENTRIES; i++) {
        directories[i] = i * LARGE_PAGE | PAGE_PRESENT | PAGE_WRITABLE | PAGE_LARGE;
    }
}

static void set_segments(struct kvm_sregs *sregs, const struct guest_memory *memory,
                         bool long_mode) {
    const struct kvm_segment code = flat_segment(SELECTOR_CODE, 0xb, long_mode);
    struct kvm_segment data = flat_segment(SELECTOR_DATA, 0x3, false);
    const struct kvm_segment tss = {.base = TSS_SEGMENT_ADDRESS,
                                    .limit = 0x67,
                                    .selector = SELECTOR_TSS,
                                    .type = 0xb, // busy, as the task register has it
                                    .present = 1};
    const uint64_t gdt[GDT_ENTRIES] = {[SELECTOR_CODE / 8] = descriptor(&code),
                                       [SELECTOR_DATA / 8] = descriptor(&data),
                                       [SELECTOR_TSS / 8] = descriptor(&tss)};

    memory_write(memory, GDT_ADDRESS, gdt, sizeof(gdt), "descriptor table");
    sregs->gdt.base = GDT_ADDRESS;
    sregs->gdt.limit = sizeof(gdt) - 1;
    sregs->idt.base = 0;
    sregs->idt.limit = 0;
    sregs->cs = code;
    sregs->ds = sregs->es = sregs->fs = sregs->gs = sregs->ss = data;
    sregs->tr = tss;
}

void vcpu_set_entry(struct vcpu *vcpu, const struct kernel_entry *entry) {
    const struct guest_memory *memory = &vcpu->vm->memory;
    bool long_mode = entry->mode == ENTRY_LONG_MODE;
    struct kvm_regs regs = {.rip = entry->address, .rflags = RFLAGS_FIXED};
    struct kvm_sregs sregs;

    if (ioctl(vcpu->fd, KVM_GET_SREGS, &sregs) < 0) {
        fatal_errno("KVM_GET_SREGS");
    }
    set_segments(&sregs, memory, long_mode);
    sregs.cr0 = CR0_PE | CR0_ET;
    if (long_mode) {
        write_page_tables(memory);
        sregs.cr0 |= CR0_PG;
        sregs.cr3 = PAGE_TABLE_ADDRESS;
        sregs.cr4 = CR4_PAE;
        sregs.efer = EFER_LME | EFER_LMA;
        regs.rsi = entry->parameters;
    } else {
        regs.rbx = entry->parameters;
    }
    if (ioctl(vcpu->fd, KVM_SET_SREGS, &sregs) < 0) {
        fatal_errno("KVM_SET_SREGS");
    }
    if (ioctl(vcpu->fd, KVM_SET_REGS, &regs) < 0) {
        fatal_errno("KVM_SET_REGS");
    }
}
