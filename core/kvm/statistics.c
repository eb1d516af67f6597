// SPDX-License-Identifier: BSD-2-Clause
// KVM_GET_STATS_FD: header, id, descriptors and values, made anew for each read.
#include "core/kvm/vcpu.h"
#include <asm/errno.h>
#include <linux/fs.h>
#include "core/log.h"
#include "core/mm/heap.h"
#include "core/string.h"

#define NAME_SIZE 48 // bytes, as KVM's

struct statistic {
    const char *name;
    uint32_t flags;
    uint32_t field; // offset of a uint64_t in struct vcpu or struct vm
};

#define COUNTER (KVM_STATS_TYPE_CUMULATIVE | KVM_STATS_UNIT_NONE | KVM_STATS_BASE_POW10)
#define VCPU_COUNTER(name, field)                                                                  \
    { name, COUNTER, offsetof(struct vcpu, virt) + offsetof(struct virt_vcpu, statistics.field) }

// KVM's names.
static const struct statistic vcpu_statistics[] = {
    VCPU_COUNTER("exits", exits),
    VCPU_COUNTER("halt_exits", halt_exits),
    VCPU_COUNTER("irq_exits", irq_exits),
    VCPU_COUNTER("io_exits", io_exits),
    VCPU_COUNTER("mmio_exits", mmio_exits),
    VCPU_COUNTER("msr_exits", msr_exits),
    VCPU_COUNTER("cpuid_exits", cpuid_exits),
    VCPU_COUNTER("pf_taken", stage2_faults),
    VCPU_COUNTER("hypercalls", hypercalls),
    VCPU_COUNTER("irq_injections", injections),
    VCPU_COUNTER("nmi_injections", nmi_injections),
    VCPU_COUNTER("irq_window_exits", irq_window_exits),
    VCPU_COUNTER("tlb_flush", tlb_flushes),
    VCPU_COUNTER("signal_exits", signal_exits),
    VCPU_COUNTER("directed_yield_attempted", yields),
    VCPU_COUNTER("directed_yield_successful", yields_done),
    VCPU_COUNTER("insn_emulation", insn_emulations),
};

static const struct statistic vm_statistics[] = {
    {"remote_tlb_flush", COUNTER, offsetof(struct vm, statistics.remote_tlb_flushes)},
    {"mmu_cache_zaps", COUNTER, offsetof(struct vm, statistics.zaps)},
};

struct statistics_file {
    struct vm *vm;
    const void *object;
    const struct statistic *rows;
    uint32_t count;
    char id[NAME_SIZE];
};

// One descriptor with its name behind it.
struct descriptor {
    struct kvm_stats_desc fixed;
    char name[NAME_SIZE];
};

static size_t total_size(const struct statistics_file *file) {
    return sizeof(struct kvm_stats_header) + NAME_SIZE +
           file->count * (sizeof(struct descriptor) + sizeof(uint64_t));
}

static void fill(const struct statistics_file *file, uint8_t *out) {
    struct kvm_stats_header *header = (void *)out;
    header->name_size = NAME_SIZE;
    header->num_desc = file->count;
    header->id_offset = sizeof(*header);
    header->desc_offset = header->id_offset + NAME_SIZE;
    header->data_offset = header->desc_offset + file->count * sizeof(struct descriptor);
    memcpy(out + header->id_offset, file->id, NAME_SIZE);
    struct descriptor *descriptors = (void *)(out + header->desc_offset);
    for (uint32_t i = 0; i < file->count; i++) {
        descriptors[i].fixed.flags = file->rows[i].flags;
        descriptors[i].fixed.size = 1;
        descriptors[i].fixed.offset = i * sizeof(uint64_t);
        memcpy(descriptors[i].name, file->rows[i].name, strlen(file->rows[i].name));
        memcpy(out + header->data_offset + i * sizeof(uint64_t),
               (const uint8_t *)file->object + file->rows[i].field, sizeof(uint64_t));
    }
}

static int64_t statistics_read(struct file *file, struct io_buffer *buffer, uint64_t *offset) {
    const struct statistics_file *statistics = file->object;
    uint64_t from = *offset;
    size_t size = total_size(statistics), wanted = io_remaining(buffer);
    if (from >= size)
        return 0;
    if (wanted > size - from)
        wanted = size - from;
    uint8_t *whole = heap_alloc(size);
    if (!whole)
        return -ENOMEM;
    fill(statistics, whole);
    int error = io_copy_to(buffer, whole + from, wanted);
    heap_free(whole);
    return error ? error : (int64_t)wanted;
}

static int64_t statistics_seek(struct file *file, int64_t offset, int whence) {
    int64_t base = whence == SEEK_CUR ? (int64_t)atomic_load(&file->offset) : 0;
    if (whence == SEEK_END)
        base = (int64_t)total_size(file->object);
    if (whence < SEEK_SET || whence > SEEK_END || offset > INT64_MAX - base || base + offset < 0)
        return -EINVAL;
    atomic_store(&file->offset, (uint64_t)(base + offset));
    return base + offset;
}

static void statistics_release(struct file *file) {
    struct statistics_file *statistics = file->object;
    vm_put(statistics->vm);
    heap_free(statistics);
}

static const struct file_ops statistics_ops = {
    .name = "kvm-stats",
    .read = statistics_read,
    .seek = statistics_seek,
    .release = statistics_release,
};

static int create(struct vm *vm, const struct statistics_file *template) {
    struct statistics_file *statistics = heap_new(struct statistics_file);
    if (!statistics)
        return -ENOMEM;
    *statistics = *template;
    vm_get(vm);
    int fd = fd_create(&statistics_ops, statistics, 0 /* O_RDONLY */, true);
    if (fd < 0) {
        vm_put(vm);
        heap_free(statistics);
    }
    return fd;
}

int64_t statistics_vm_fd(struct vm *vm, uint64_t argument) {
    return create(
        vm, &(struct statistics_file){.vm = vm,
                                      .object = vm,
                                      .rows = vm_statistics,
                                      .count = sizeof(vm_statistics) / sizeof(vm_statistics[0]),
                                      .id = "kvm"});
}

int64_t statistics_vcpu_fd(struct vcpu *vcpu, uint64_t argument) {
    struct statistics_file statistics = {.vm = vcpu->vm,
                                         .object = vcpu,
                                         .rows = vcpu_statistics,
                                         .count =
                                             sizeof(vcpu_statistics) / sizeof(vcpu_statistics[0])};
    format_string(statistics.id, sizeof(statistics.id), "kvm/vcpu-%u", vcpu->virt.id);
    return create(vcpu->vm, &statistics);
}
