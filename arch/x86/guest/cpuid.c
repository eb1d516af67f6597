// SPDX-License-Identifier: BSD-2-Clause
// A vCPU's CPUID table: index, look-up, and the bits that follow other registers.
#include "cpuid.h"
#include "cpuid_xsave.h"
#include <asm/errno.h>
#include <asm/kvm_para.h>

#define CR4_OSXSAVE       (1ull << 18)
#define CR4_PKE           (1ull << 22)
#define MISC_ENABLE_MWAIT (1ull << 18)
#define APIC_ENABLE       (1ull << 11)

// -- look-up --

static bool entry_matches(const struct kvm_cpuid_entry2 *entry, uint32_t leaf, uint32_t subleaf) {
    return entry->function == leaf &&
           (!(entry->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || entry->index == subleaf);
}

static const struct kvm_cpuid_entry2 *search(const struct guest_cpuid *cpuid, uint32_t first,
                                             uint32_t end, uint32_t leaf, uint32_t subleaf) {
    for (uint32_t i = first; i < end; i++)
        if (entry_matches(&cpuid->entries[i], leaf, subleaf))
            return &cpuid->entries[i];
    return 0;
}

// Where the leaf's entries are; in a table of its own if it is one of the usual leaves.
static struct cpuid_leaf place_of(const struct guest_cpuid *cpuid, uint32_t leaf) {
    const struct cpuid_leaf anywhere = {.first = 0, .end = (uint16_t)cpuid->count};
    uint32_t low = leaf & 0x0fffffff;

    if (low >= CPUID_DIRECT_LEAVES)
        return anywhere;
    switch (leaf >> 28) {
    case 0:
        return cpuid->basic[low];
    case 4:
        return cpuid->hypervisor[low];
    case 8:
        return cpuid->extended[low];
    default:
        return anywhere;
    }
}

const struct kvm_cpuid_entry2 *guest_cpuid_find(const struct guest_cpuid *cpuid, uint32_t leaf,
                                                uint32_t subleaf) {
    struct cpuid_leaf place = place_of(cpuid, leaf);

    return search(cpuid, place.first, place.end, leaf, subleaf);
}

// Leaves above a range's maximum give the highest basic leaf's data (SDM vol. 2 CPUID).
static const struct kvm_cpuid_entry2 *redirected(const struct guest_cpuid *cpuid, uint32_t leaf,
                                                 uint32_t subleaf) {
    const struct kvm_cpuid_entry2 *range;

    if (!cpuid->redirect || !cpuid->count)
        return 0;
    range = guest_cpuid_find(cpuid, leaf >> 28 == 4 ? leaf & 0xffffff00 : leaf & 0x80000000, 0);
    if (range && leaf <= range->eax)
        return 0;
    return guest_cpuid_find(cpuid, cpuid->max_basic, subleaf);
}

static void from_entry(struct cpuid_regs *regs, const struct kvm_cpuid_entry2 *entry) {
    *regs = (struct cpuid_regs){entry->eax, entry->ebx, entry->ecx, entry->edx};
}

void guest_cpuid_query(const struct guest_cpuid *cpuid, uint32_t leaf, uint32_t subleaf,
                       struct cpuid_regs *regs) {
    const struct kvm_cpuid_entry2 *entry = guest_cpuid_find(cpuid, leaf, subleaf);

    if (!entry)
        entry = redirected(cpuid, leaf, subleaf);
    if (entry) {
        from_entry(regs, entry);
        return;
    }
    *regs = (struct cpuid_regs){0, 0, 0, 0};
    // Topology leaves past the last level still report level number and x2APIC ID.
    if ((leaf == 0xb || leaf == 0x1f) && (entry = guest_cpuid_find(cpuid, leaf, 1))) {
        regs->ecx = subleaf & 0xff;
        regs->edx = entry->edx;
    }
}

bool guest_cpuid_has(const struct guest_cpuid *cpuid, uint64_t feature) {
    const struct kvm_cpuid_entry2 *entry =
        guest_cpuid_find(cpuid, (uint32_t)(feature >> 32), (feature >> 8) & 0xffffff);
    const uint32_t *regs;

    if (!entry)
        return false;
    regs = &entry->eax; // eax, ebx, ecx, edx are consecutive in the ABI
    return regs[(feature >> 5) & 3] >> (feature & 31) & 1;
}

_Static_assert(__builtin_offsetof(struct kvm_cpuid_entry2, edx) ==
                   __builtin_offsetof(struct kvm_cpuid_entry2, eax) + 12,
               "registers are consecutive");

// -- setting --

int guest_cpuid_check(const struct kvm_cpuid_entry2 *entries, uint32_t count) {
    if (count > CPUID_MAX_ENTRIES)
        return -E2BIG;
    for (uint32_t i = 0; i < count; i++) {
        if (entries[i].function != 0x80000008)
            continue;
        uint32_t linear = (entries[i].eax >> 8) & 0xff;
        if (linear != 48 && linear != 57 && linear != 0)
            return -EINVAL;
        break;
    }
    return 0;
}

static void index_range(const struct guest_cpuid *cpuid, uint32_t base, struct cpuid_leaf *table) {
    for (uint32_t i = 0; i < cpuid->count; i++) {
        uint32_t low = cpuid->entries[i].function - base;
        if (low >= CPUID_DIRECT_LEAVES)
            continue;
        if (table[low].end == 0)
            table[low].first = (uint8_t)i;
        table[low].end = (uint16_t)(i + 1);
    }
}

static bool vendor_is(const struct kvm_cpuid_entry2 *entry, const char *name) {
    uint32_t words[3] = {entry->ebx, entry->edx, entry->ecx};
    return __builtin_memcmp(words, name, 12) == 0;
}

static void find_vendor(struct guest_cpuid *cpuid) {
    const struct kvm_cpuid_entry2 *entry = guest_cpuid_find(cpuid, 0, 0);

    if (!entry)
        return;
    cpuid->max_basic = entry->eax;
    cpuid->redirect = !vendor_is(entry, "AuthenticAMD") && !vendor_is(entry, "HygonGenuine");
}

static void find_kvm_features(struct guest_cpuid *cpuid) {
    // VMMs that also show Hyper-V leaves move KVM's to 0x40000100 and on.
    for (uint32_t base = 0x40000000; base < 0x40010000; base += 0x100) {
        const struct kvm_cpuid_entry2 *entry = guest_cpuid_find(cpuid, base, 0);
        if (!entry || __builtin_memcmp(&entry->ebx, "KVMKVMKVM\0\0\0", 12) != 0)
            continue;
        entry = guest_cpuid_find(cpuid, base | 1, 0);
        cpuid->kvm_features = entry ? entry->eax : 0;
        return;
    }
}

static void find_widths(struct guest_cpuid *cpuid) {
    const struct kvm_cpuid_entry2 *entry = guest_cpuid_find(cpuid, 0x80000008, 0);

    cpuid->physical_bits = 36; // without the leaf (SDM vol. 3 4.1.4)
    cpuid->linear_bits = guest_cpuid_has(cpuid, CPUID_LA57) ? 57 : 48;
    cpuid->gbpages = guest_cpuid_has(cpuid, CPUID_GBPAGES);
    if (!entry)
        return;
    uint32_t physical = entry->eax & 0xff, linear = (entry->eax >> 8) & 0xff;
    if (physical >= 32 && physical <= 52)
        cpuid->physical_bits = (uint8_t)physical;
    if (linear)
        cpuid->linear_bits = (uint8_t)linear;
}

static uint64_t allowed_cr4(const struct guest_cpuid *cpuid) {
    static const struct {
        uint64_t feature;
        uint8_t bit;
    } rules[] = {
        {CPUID_UMIP, 11},  {CPUID_LA57, 12}, {CPUID_FSGSBASE, 16}, {CPUID_PCID, 17},
        {CPUID_XSAVE, 18}, {CPUID_SMEP, 20}, {CPUID_SMAP, 21},     {CPUID_PKU, 22},
    };
    uint64_t allowed = 0x7ff; // VME .. OSXMMEXCPT: every 64-bit processor has them

    for (unsigned i = 0; i < sizeof rules / sizeof rules[0]; i++)
        if (guest_cpuid_has(cpuid, rules[i].feature))
            allowed |= 1ull << rules[i].bit;
    return allowed;
}

static uint64_t allowed_efer(const struct guest_cpuid *cpuid) {
    uint64_t allowed = 1; // SCE

    if (guest_cpuid_has(cpuid, CPUID_LM))
        allowed |= (1ull << 8) | (1ull << 10);
    if (guest_cpuid_has(cpuid, CPUID_NX))
        allowed |= 1ull << 11;
    return allowed;
}

void guest_cpuid_set(struct guest_cpuid *cpuid, struct kvm_cpuid_entry2 *entries, uint32_t count) {
    const struct kvm_cpuid_entry2 *entry;

    *cpuid = (struct guest_cpuid){.entries = entries, .count = count};
    index_range(cpuid, 0, cpuid->basic);
    index_range(cpuid, 0x40000000, cpuid->hypervisor);
    index_range(cpuid, 0x80000000, cpuid->extended);
    find_vendor(cpuid);
    find_kvm_features(cpuid);
    find_widths(cpuid);
    if (count == 0) {
        cpuid->cr4_allowed = cpuid->efer_allowed = UINT64_MAX;
    } else {
        cpuid->cr4_allowed = allowed_cr4(cpuid);
        cpuid->efer_allowed = allowed_efer(cpuid);
    }
    if ((entry = guest_cpuid_find(cpuid, 0xd, 0)))
        cpuid->xcr0_allowed = entry->eax | (uint64_t)entry->edx << 32;
    if ((entry = guest_cpuid_find(cpuid, 0xd, 1)) && (entry->eax & 8))
        cpuid->xss_allowed = entry->ecx | (uint64_t)entry->edx << 32;
}

// -- bits that follow other registers --

static void set_bit(uint32_t *reg, unsigned bit, bool value) {
    *reg = (*reg & ~(1u << bit)) | (uint32_t)value << bit;
}

static struct kvm_cpuid_entry2 *own_entry(struct guest_cpuid *cpuid, uint32_t leaf,
                                          uint32_t subleaf) {
    return (struct kvm_cpuid_entry2 *)guest_cpuid_find(cpuid, leaf, subleaf);
}

static void update_xsave_sizes(struct guest_cpuid *cpuid, const struct cpuid_dynamic *dynamic) {
    struct kvm_cpuid_entry2 *standard = own_entry(cpuid, 0xd, 0);
    struct kvm_cpuid_entry2 *compacted = own_entry(cpuid, 0xd, 1);
    struct xsave_component components[XSAVE_COMPONENTS];

    if (!standard)
        return;
    for (unsigned i = 2; i < XSAVE_COMPONENTS; i++) {
        const struct kvm_cpuid_entry2 *entry = guest_cpuid_find(cpuid, 0xd, i);
        components[i] = (struct xsave_component){0};
        if (entry)
            components[i] = (struct xsave_component){
                .size = entry->eax, .offset = entry->ebx, .flags = entry->ecx};
    }
    standard->ebx = xsave_standard_size(components, dynamic->xcr0);
    if (compacted && (compacted->eax & 0xa)) // XSAVEC or XSAVES
        compacted->ebx = xsave_compacted_size(components, dynamic->xcr0 | dynamic->xss);
}

void guest_cpuid_update(struct guest_cpuid *cpuid, const struct cpuid_dynamic *dynamic) {
    struct kvm_cpuid_entry2 *entry = own_entry(cpuid, 1, 0);

    if (entry) {
        set_bit(&entry->ecx, 27, (entry->ecx & (1u << 26)) && (dynamic->cr4 & CR4_OSXSAVE));
        set_bit(&entry->edx, 9, dynamic->apic_base & APIC_ENABLE);
        if (dynamic->mwait_follows)
            set_bit(&entry->ecx, 3, dynamic->misc_enable & MISC_ENABLE_MWAIT);
    }
    entry = own_entry(cpuid, 7, 0);
    if (entry)
        set_bit(&entry->ecx, 4, (entry->ecx & (1u << 3)) && (dynamic->cr4 & CR4_PKE));
    entry = own_entry(cpuid, KVM_CPUID_FEATURES, 0);
    if (entry && dynamic->halts_inside) {
        entry->eax &= ~(1u << KVM_FEATURE_PV_UNHALT);
        cpuid->kvm_features &= ~(1u << KVM_FEATURE_PV_UNHALT);
    }
    update_xsave_sizes(cpuid, dynamic);
}

bool guest_cpuid_xcr0_valid(const struct guest_cpuid *cpuid, uint64_t value) {
    const uint64_t mpx = 0x18, avx512 = 0xe0, amx = 0x60000;

    if (!(value & 1) || (value & ~cpuid->xcr0_allowed))
        return false;
    if ((value & 4) && !(value & 2))
        return false;
    if ((value & mpx) && (value & mpx) != mpx)
        return false;
    if ((value & avx512) && ((value & avx512) != avx512 || !(value & 4)))
        return false;
    return !(value & amx) || (value & amx) == amx;
}
