// SPDX-License-Identifier: BSD-2-Clause
// Gathers the counters of vCPUs, from KVM and the kernel, and of the devices served here.
#include "statistics.h"

#include <inttypes.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <unistd.h>

#include "guest_layout.h"
#include "virtio.h"
#include "virtio_balloon.h"
#include "vm.h"

#define STATISTICS_MAX (32u << 10) // bytes of a vCPU's counters

// What vCPUs before the last reset have used, whose threads are gone.
static struct times { uint64_t ran, waited; } kept[VCPUS_MAX];

// proc_pid_schedstat(5): ns on a CPU and ns waiting for one.
static bool read_times(const struct vcpu *vcpu, struct times *times) {
    char path[64];

    *times = kept[vcpu->index];
    snprintf(path, sizeof(path), "/proc/%d/schedstat", vcpu->tid);
    FILE *file = fopen(path, "re");
    if (!file) {
        return false;
    }
    uint64_t ran, waited;
    bool found = fscanf(file, "%" SCNu64 " %" SCNu64, &ran, &waited) == 2;
    if (found) {
        times->ran += ran;
        times->waited += waited;
    }
    fclose(file);
    return found;
}

void statistics_keep(const struct vm *vm) {
    for (unsigned i = 0; i < vm->cpus; i++) {
        struct times times;

        read_times(&vm->vcpus[i], &times);
        kept[i] = times;
    }
}

static void print_times(const struct vcpu *vcpu, FILE *to) {
    struct times times;

    if (read_times(vcpu, &times)) {
        fprintf(to, "vcpu.%u.time=%" PRIu64 "\nvcpu.%u.wait=%" PRIu64 "\n", vcpu->index, times.ran,
                vcpu->index, times.waited);
    }
}

// proc_pid_stat(5): the 39th field is the CPU it runs on or ran on last.
static void print_cpu(const struct vcpu *vcpu, FILE *to) {
    char path[64];
    unsigned cpu;

    snprintf(path, sizeof(path), "/proc/%d/stat", vcpu->tid);
    FILE *file = fopen(path, "re");
    if (!file) {
        return;
    }
    if (fscanf(file, "%*[^)])") == 0) {
        for (int field = 3; field < 39; field++) {
            (void)!fscanf(file, "%*s");
        }
        if (fscanf(file, "%u", &cpu) == 1) {
            fprintf(to, "vcpu.%u.cpu=%u\n", vcpu->index, cpu);
        }
    }
    fclose(file);
}

// KVM's documentation, 4.133: header, id, descriptors with names behind them, values.
static void print_counters(const struct vcpu *vcpu, FILE *to) {
    uint8_t whole[STATISTICS_MAX] = {0};
    const struct kvm_stats_header *header = (const void *)whole;

    if (vcpu->statistics_fd < 0 || pread(vcpu->statistics_fd, whole, sizeof(whole) - 1, 0) <= 0) {
        return;
    }
    size_t size = sizeof(struct kvm_stats_desc) + header->name_size;
    for (size_t i = 0; i < header->num_desc; i++) {
        const struct kvm_stats_desc *descriptor =
            (const void *)(whole + header->desc_offset + i * size);
        const uint64_t *value = (const void *)(whole + header->data_offset + descriptor->offset);

        if ((const uint8_t *)(value + 1) > whole + sizeof(whole)) {
            return; // the host has more than we have room for
        }
        if (descriptor->size == 1) { // else a histogram
            fprintf(to, "vcpu.%u.%s=%" PRIu64 "\n", vcpu->index, (const char *)(descriptor + 1),
                    *value);
        }
    }
}

void statistics_print(struct vm *vm, FILE *to) {
    for (unsigned i = 0; i < vm_cpus(vm); i++) {
        print_times(&vm->vcpus[i], to);
        print_cpu(&vm->vcpus[i], to);
        print_counters(&vm->vcpus[i], to);
    }
    if (vm->devices.balloon) {
        virtio_balloon_print(vm->devices.balloon, to);
    }
    for (unsigned i = 0, disk = 0; i < vm->devices.count; i++) {
        const struct virtio_device *device = vm->devices.all[i];

        if (device->class->print) {
            device->class->print(device, disk++, to);
        }
    }
}
