// SPDX-License-Identifier: BSD-2-Clause
// The supported CPUID leaves with the topology of this machine put in: SDM volume 2, CPUID; AMD
// APM volume 3, appendix E.
#include "cpuid.h"

#include <linux/kvm.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>

#include "error.h"

#define ENTRIES_MAX 256

struct cpuid_table {
    struct kvm_cpuid2 header;
    struct kvm_cpuid_entry2 entries[ENTRIES_MAX];
};

enum {
    LEAF_FEATURES = 1,
    LEAF_CACHES = 4,
    LEAF_TOPOLOGY = 0xb,
    LEAF_TOPOLOGY_V2 = 0x1f,
    EDX_MTRR = 1 << 12,
    EDX_HTT = 1 << 28,
    ECX_TSC_DEADLINE = 1 << 24,
    AMD_ECX_COMPATIBLE_MULTICORE = 1 << 1,
    LEVEL_THREAD = 1,
    LEVEL_CORE = 2,
};

#define ECX_HYPERVISOR    (1u << 31)
#define LEAF_AMD_FEATURES 0x80000001u
#define LEAF_AMD_SIZES    0x80000008u
#define LEAF_AMD_TOPOLOGY 0x8000001eu

static struct kvm_cpuid_entry2 *find(struct cpuid_table *table, uint32_t leaf) {
    for (uint32_t i = 0; i < table->header.nent; i++) {
        if (table->entries[i].function == leaf) {
            return &table->entries[i];
        }
    }
    return NULL;
}

static bool is_amd(struct cpuid_table *table) {
    const struct kvm_cpuid_entry2 *vendor = find(table, 0);

    return vendor && (vendor->ecx == 0x444d4163 /* cAMD */ || vendor->ecx == 0x656e6975 /* uine */);
}

// Bits of an APIC id that tell cores apart.
static unsigned core_bits(unsigned cpus) {
    return cpus > 1 ? 32u - (unsigned)__builtin_clz(cpus - 1) : 0;
}

static void remove_leaf(struct cpuid_table *table, uint32_t leaf) {
    uint32_t kept = 0;

    for (uint32_t i = 0; i < table->header.nent; i++) {
        if (table->entries[i].function != leaf) {
            table->entries[kept++] = table->entries[i];
        }
    }
    table->header.nent = kept;
}

// One thread a core, all cores in one package.
static void set_topology_leaf(struct cpuid_table *table, uint32_t leaf, unsigned id,
                              unsigned cpus) {
    const struct kvm_cpuid_entry2 *basic = find(table, 0);
    const struct {
        uint32_t type, shift, count;
    } levels[] = {{LEVEL_THREAD, 0, 1}, {LEVEL_CORE, core_bits(cpus), cpus}, {0, 0, 0}};

    remove_leaf(table, leaf);
    for (uint32_t i = 0; basic && basic->eax >= leaf && i < sizeof(levels) / sizeof(*levels); i++) {
        if (table->header.nent == ENTRIES_MAX) {
            fatal("more than %d CPUID leaves", ENTRIES_MAX);
        }
        table->entries[table->header.nent++] =
            (struct kvm_cpuid_entry2){.function = leaf,
                                      .index = i,
                                      .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
                                      .eax = levels[i].shift,
                                      .ebx = levels[i].count,
                                      .ecx = levels[i].type << 8 | i,
                                      .edx = id};
    }
}

static void set_feature_leaf(struct kvm_cpuid_entry2 *entry, int kvm_fd, unsigned id,
                             unsigned cpus) {
    unsigned logical = 1u << core_bits(cpus);

    entry->ebx = (entry->ebx & 0xffff) | (logical > 255 ? 255 : logical) << 16 | id << 24;
    entry->edx = cpus > 1 ? entry->edx | EDX_HTT : entry->edx & ~(uint32_t)EDX_HTT;
    entry->ecx |= ECX_HYPERVISOR; // KVM leaves saying so to the monitor.
    if (ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0) {
        entry->ecx |= ECX_TSC_DEADLINE;
    }
}

// Cores a package, and sharers of each cache: the last level is everyone's, the others private.
static void set_cache_leaves(struct cpuid_table *table, unsigned cpus) {
    uint32_t mask = (1u << core_bits(cpus)) - 1;

    for (uint32_t i = 0; i < table->header.nent; i++) {
        struct kvm_cpuid_entry2 *entry = &table->entries[i];
        if (entry->function != LEAF_CACHES || !(entry->eax & 0x1f)) {
            continue;
        }
        uint32_t sharers = (entry->eax >> 5 & 7) >= 3 ? mask : 0;
        entry->eax = (entry->eax & 0x3fff) | (sharers & 0xfff) << 14 | (mask & 0x3f) << 26;
    }
}

static void set_amd_topology(struct cpuid_table *table, unsigned id, unsigned cpus) {
    struct kvm_cpuid_entry2 *features = find(table, LEAF_AMD_FEATURES);
    struct kvm_cpuid_entry2 *sizes = find(table, LEAF_AMD_SIZES);
    struct kvm_cpuid_entry2 *topology = find(table, LEAF_AMD_TOPOLOGY);

    if (features && cpus > 1) {
        features->ecx |= AMD_ECX_COMPATIBLE_MULTICORE;
    }
    if (sizes) {
        sizes->ecx = (sizes->ecx & ~0xf0ffu) | ((cpus - 1) & 0xff) | core_bits(cpus) << 12;
    }
    if (topology) {
        topology->eax = id;
        topology->ebx = id & 0xff;
        topology->ecx = 0;
    }
}

bool cpuid_set(int kvm_fd, int vcpu_fd, unsigned index, unsigned cpus) {
    static struct cpuid_table supported;
    static struct cpuid_table table;

    if (supported.header.nent == 0) {
        supported.header.nent = ENTRIES_MAX;
        if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, &supported) < 0) {
            fatal_errno("KVM_GET_SUPPORTED_CPUID");
        }
    }
    table = supported;
    struct kvm_cpuid_entry2 *features = find(&table, LEAF_FEATURES);
    if (!features) {
        fatal("KVM_GET_SUPPORTED_CPUID has no leaf 1");
    }
    set_feature_leaf(features, kvm_fd, index, cpus);
    bool mtrr = features->edx & EDX_MTRR;
    set_cache_leaves(&table, cpus);
    if (is_amd(&table)) {
        set_amd_topology(&table, index, cpus);
    }
    set_topology_leaf(&table, LEAF_TOPOLOGY, index, cpus);
    set_topology_leaf(&table, LEAF_TOPOLOGY_V2, index, cpus);
    if (ioctl(vcpu_fd, KVM_SET_CPUID2, &table) < 0) {
        fatal_errno("KVM_SET_CPUID2");
    }
    return mtrr;
}
