// SPDX-License-Identifier: BSD-2-Clause
// CPUID that Ashlar can offer: the host's, leaf by leaf, cut to what is virtualized (SDM vol. 2
// CPUID; leaves 0x40000000 from Documentation/virt/kvm/x86/cpuid.rst).
#include "cpuid.h"
#include "cpuid_xsave.h"
#include <asm/kvm_para.h>
#include <asm/errno.h>

#define BIT(n)         (1u << (n))
#define B2(a, b)       (BIT(a) | BIT(b))
#define B4(a, b, c, d) (B2(a, b) | B2(c, d))

#define MAX_BASIC_LEAF    0x1fu
#define MAX_EXTENDED_LEAF 0x80000008u

// A leaf's registers: host bits let through, and bits we provide whatever the host has.
struct leaf_mask {
    uint32_t leaf, subleaf;
    struct cpuid_regs host;
    struct cpuid_regs always;
};

static const struct leaf_mask masks[] = {
    // 1: no MONITOR, VMX, SMX, EST, TM2, DTES64, PDCM, DCA, SDBG, CNXT-ID; HYPERVISOR always.
    {0x01,
     0,
     {.eax = ~0u,
      .ebx = 0xff00,
      .ecx = B4(0, 1, 9, 12) | B4(13, 17, 19, 20) | B4(22, 23, 25, 26) | B2(28, 29) | BIT(30),
      // FPU..APIC, SEP..PSE36, CLFSH, MMX..SS.
      .edx = 0x0f8bfbff},
     {.ecx = BIT(31)}},
    {0x02, 0, {~0u, ~0u, ~0u, ~0u}, {0}},
    // 6: ARAT: the virtual timer never stops.
    {0x06, 0, {0}, {.eax = BIT(2)}},
    // 7.0: no SGX, CQM, MPX, RDT, PT; no CET, TME, KEYLOCKER, bus-lock #DB, ENQCMD, PKS; no AMX,
    // UINTR, FSRM; TSC_ADJUST is ours.
    {0x07,
     0,
     {.ebx = B4(0, 3, 4, 5) | B4(6, 7, 8, 9) | B4(10, 11, 13, 16) | B4(17, 18, 19, 20) |
             B4(21, 23, 24, 26) | B4(27, 28, 29, 30) | BIT(31),
      .ecx = B4(1, 2, 3, 5) | B4(6, 8, 9, 10) | B4(11, 12, 14, 16) | B4(22, 25, 27, 28),
      .edx = B4(2, 3, 8, 10) | B4(14, 16, 23, 26) | B4(27, 28, 29, 31)},
     {.ebx = BIT(1)}},
    {0x07, 1, {.eax = B4(4, 5, 7, 10) | B2(11, 12) | BIT(23), .edx = B2(4, 5) | BIT(14)}, {0}},
    {0x80000001,
     0,
     // LAHF, CMP_LEGACY, CR8_LEGACY, ABM, SSE4A, MISALIGNSSE, 3DNOWPREFETCH, XOP, FMA4, TBM.
     {.eax = ~0u,
      .ecx = B4(0, 1, 4, 5) | B4(6, 7, 8, 11) | B2(16, 21),
      // The bits of leaf 1, SYSCALL, NX, MMXEXT, FXSR_OPT, 1 GiB pages, RDTSCP, LM, 3DNOW.
      .edx = 0x0183fbff | B4(11, 20, 22, 25) | B4(26, 27, 29, 30) | BIT(31)},
     {0}},
    {0x80000002, 0, {~0u, ~0u, ~0u, ~0u}, {0}},
    {0x80000003, 0, {~0u, ~0u, ~0u, ~0u}, {0}},
    {0x80000004, 0, {~0u, ~0u, ~0u, ~0u}, {0}},
    {0x80000006, 0, {~0u, ~0u, ~0u, ~0u}, {0}},
    {0x80000007, 0, {.edx = BIT(8)}, {0}}, // invariant TSC
    {0x80000008, 0, {.eax = 0xffff, .ebx = BIT(9) | B4(12, 14, 15, 24)}, {0}},
};

struct output {
    struct kvm_cpuid_entry2 *entries;
    uint32_t capacity, count;
};

static struct kvm_cpuid_entry2 *emit(struct output *out, uint32_t leaf, uint32_t subleaf,
                                     bool indexed, const struct cpuid_regs *regs) {
    struct kvm_cpuid_entry2 *entry = 0;

    if (out->count < out->capacity) {
        entry = &out->entries[out->count];
        *entry = (struct kvm_cpuid_entry2){
            .function = leaf,
            .index = subleaf,
            .flags = indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
            .eax = regs->eax,
            .ebx = regs->ebx,
            .ecx = regs->ecx,
            .edx = regs->edx,
        };
    }
    out->count++; // goes on counting so that -E2BIG can tell how many there are
    return entry;
}

static uint64_t offered_xcr0(const struct cpuid_host *host) {
    // PKRU, AVX-512, AVX, SSE, x87. MPX is gone, AMX needs XFD, which is not virtualized.
    return host->xcr0 & 0x2e7;
}

static void drop_vector_extensions(uint64_t xcr0, uint32_t leaf, uint32_t subleaf,
                                   struct cpuid_regs *regs) {
    bool avx = xcr0 & 4, avx512 = (xcr0 & 0xe6) == 0xe6;

    if (leaf == 1) {
        if (!avx)
            regs->ecx &= ~(B2(12, 28) | BIT(29)); // FMA, AVX, F16C
        if (!(xcr0 & 2))
            regs->ecx &= ~BIT(26); // XSAVE
    } else if (leaf == 7 && subleaf == 0) {
        if (!avx) {
            regs->ebx &= ~BIT(5);    // AVX2
            regs->ecx &= ~B2(9, 10); // VAES, VPCLMULQDQ
        }
        if (!avx512) {
            regs->ebx &= ~(B4(16, 17, 21, 26) | B4(27, 28, 30, 31));
            regs->ecx &= ~(B4(1, 6, 11, 12) | BIT(14));
            regs->edx &= ~(B4(2, 3, 8, 23));
        }
        if (!(xcr0 & BIT(9)))
            regs->ecx &= ~BIT(3); // PKU
    } else if (leaf == 7 && subleaf == 1) {
        if (!avx) {
            regs->eax &= ~B2(4, 23);
            regs->edx &= ~B2(4, 5);
        }
        if (!avx512)
            regs->eax &= ~BIT(5);
    }
}

// Features that hang on a VMX control or on what the kernel switches.
static void drop_uncontrolled(const struct cpuid_host *host, uint32_t leaf, uint32_t subleaf,
                              struct cpuid_regs *regs) {
    if (leaf == 1 && host->x2apic_emulated) {
        regs->ecx |= B2(21, 24); // X2APIC, TSC_DEADLINE
    } else if (leaf == 7 && subleaf == 0) {
        if (!host->invpcid)
            regs->ebx &= ~BIT(10);
        if (!host->waitpkg)
            regs->ecx &= ~BIT(5);
        if (!host->rdtscp)
            regs->ecx &= ~BIT(22); // RDPID reads TSC_AUX
        if (!host->spec_ctrl)
            regs->edx &= ~(B2(26, 27) | BIT(31));
    } else if (leaf == 0x80000001) {
        if (!host->rdtscp)
            regs->edx &= ~BIT(27);
    } else if (leaf == 0x80000008 && !host->spec_ctrl) {
        regs->ebx &= ~B4(12, 14, 15, 24);
    }
}

static void masked_leaf(const struct cpuid_host *host, uint32_t leaf, uint32_t subleaf,
                        struct cpuid_regs *regs) {
    struct cpuid_regs mine = {0, 0, 0, 0};

    for (unsigned i = 0; i < sizeof masks / sizeof masks[0]; i++) {
        const struct leaf_mask *mask = &masks[i];
        if (mask->leaf != leaf || mask->subleaf != subleaf)
            continue;
        mine.eax = (regs->eax & mask->host.eax) | mask->always.eax;
        mine.ebx = (regs->ebx & mask->host.ebx) | mask->always.ebx;
        mine.ecx = (regs->ecx & mask->host.ecx) | mask->always.ecx;
        mine.edx = (regs->edx & mask->host.edx) | mask->always.edx;
        drop_vector_extensions(offered_xcr0(host), leaf, subleaf, &mine);
        drop_uncontrolled(host, leaf, subleaf, &mine);
    }
    *regs = mine;
}

static void emit_caches(const struct cpuid_host *host, struct output *out) {
    for (uint32_t index = 0; index < 16; index++) {
        struct cpuid_regs regs = host->read(4, index);
        emit(out, 4, index, true, &regs);
        if ((regs.eax & 0x1f) == 0)
            break;
    }
}

static void emit_structured_features(const struct cpuid_host *host, struct output *out) {
    struct cpuid_regs regs;

    regs = host->read(7, 0);
    uint32_t last = regs.eax ? 1 : 0;
    masked_leaf(host, 7, 0, &regs);
    regs.eax = last;
    emit(out, 7, 0, true, &regs);
    if (last) {
        regs = host->read(7, 1);
        masked_leaf(host, 7, 1, &regs);
        emit(out, 7, 1, true, &regs);
    }
}

static void read_components(cpuid_reader read, uint64_t mask, struct xsave_component *components) {
    for (unsigned i = 2; i < XSAVE_COMPONENTS; i++) {
        components[i] = (struct xsave_component){0};
        if (!(mask >> i & 1))
            continue;
        struct cpuid_regs regs = read(0xd, i);
        components[i] =
            (struct xsave_component){.size = regs.eax, .offset = regs.ebx, .flags = regs.ecx & 3};
    }
}

bool cpuid_compacts(cpuid_reader read, uint64_t xcr0) {
    struct xsave_component components[XSAVE_COMPONENTS];
    read_components(read, xcr0, components);
    return read(0xd, 1).ebx == xsave_compacted_size(components, xcr0);
}

static void emit_xsave(const struct cpuid_host *host, struct output *out) {
    uint64_t xcr0 = offered_xcr0(host), xss = 0;
    struct xsave_component components[XSAVE_COMPONENTS];
    struct cpuid_regs regs, features;

    if (!(xcr0 & 2)) {
        emit(out, 0xd, 0, true, &(struct cpuid_regs){0});
        return;
    }
    features = host->read(0xd, 1);
    features.eax &= 0xf; // XSAVEOPT, XSAVEC, XGETBV1, XSAVES; no XFD
    if (!host->xsaves)
        features.eax &= ~BIT(3);
    if (!host->compacts)
        features.eax &= ~B2(1, 3);
    if (features.eax & BIT(3))
        xss = host->xss & features.ecx;
    read_components(host->read, xcr0 | xss, components);
    regs = (struct cpuid_regs){.eax = (uint32_t)xcr0, .edx = (uint32_t)(xcr0 >> 32)};
    regs.ebx = regs.ecx = xsave_standard_size(components, xcr0);
    emit(out, 0xd, 0, true, &regs);
    regs = (struct cpuid_regs){
        .eax = features.eax, .ecx = (uint32_t)xss, .edx = (uint32_t)(xss >> 32)};
    if (features.eax & B2(1, 3))
        regs.ebx = xsave_compacted_size(components, xcr0 | xss);
    emit(out, 0xd, 1, true, &regs);
    for (unsigned i = 2; i < XSAVE_COMPONENTS; i++) {
        if (components[i].size == 0)
            continue;
        regs = (struct cpuid_regs){
            .eax = components[i].size, .ebx = components[i].offset, .ecx = components[i].flags};
        emit(out, 0xd, i, true, &regs);
    }
}

static void emit_basic(const struct cpuid_host *host, struct output *out) {
    struct cpuid_regs regs = host->read(0, 0);
    uint32_t last = regs.eax < MAX_BASIC_LEAF ? regs.eax : MAX_BASIC_LEAF;
    regs.eax = last;
    emit(out, 0, 0, false, &regs);
    for (uint32_t leaf = 1; leaf <= last; leaf++) {
        switch (leaf) {
        case 4:
            emit_caches(host, out);
            break;
        case 7:
            emit_structured_features(host, out);
            break;
        case 0xb: // topology is the VMM's to fill
        case 0x1f:
            emit(out, leaf, 0, true, &(struct cpuid_regs){0});
            break;
        case 0xd:
            emit_xsave(host, out);
            break;
        default:
            regs = host->read(leaf, 0);
            masked_leaf(host, leaf, 0, &regs); // no mask: zeros (PMU, SGX, PT, RDT, TSC ratio ...)
            emit(out, leaf, 0, false, &regs);
        }
    }
}

static void emit_hypervisor(const struct cpuid_host *host, struct output *out) {
    struct cpuid_regs regs = {.eax = KVM_CPUID_FEATURES};

    __builtin_memcpy(&regs.ebx, "KVMK", 4);
    __builtin_memcpy(&regs.ecx, "VMKV", 4);
    __builtin_memcpy(&regs.edx, "M\0\0\0", 4);
    emit(out, KVM_CPUID_SIGNATURE, 0, false, &regs);
    // No asynchronous page faults: guest memory is never swapped out.
    regs =
        (struct cpuid_regs){.eax = BIT(KVM_FEATURE_CLOCKSOURCE) | BIT(KVM_FEATURE_NOP_IO_DELAY) |
                                   BIT(KVM_FEATURE_CLOCKSOURCE2) | BIT(KVM_FEATURE_STEAL_TIME) |
                                   BIT(KVM_FEATURE_PV_EOI) | BIT(KVM_FEATURE_PV_UNHALT) |
                                   BIT(KVM_FEATURE_PV_TLB_FLUSH) | BIT(KVM_FEATURE_PV_SEND_IPI) |
                                   BIT(KVM_FEATURE_POLL_CONTROL) | BIT(KVM_FEATURE_PV_SCHED_YIELD)};
    if (host->tsc_stable)
        regs.eax |= BIT(KVM_FEATURE_CLOCKSOURCE_STABLE_BIT);
    emit(out, KVM_CPUID_FEATURES, 0, false, &regs);
}

static void emit_extended(const struct cpuid_host *host, struct output *out) {
    struct cpuid_regs regs = host->read(0x80000000, 0);
    uint32_t last = regs.eax < MAX_EXTENDED_LEAF ? regs.eax : MAX_EXTENDED_LEAF;
    if (last < 0x80000000)
        last = 0x80000000;
    regs.eax = last;
    emit(out, 0x80000000, 0, false, &regs);
    for (uint32_t leaf = 0x80000001; leaf <= last; leaf++) {
        regs = host->read(leaf, 0);
        masked_leaf(host, leaf, 0, &regs);
        emit(out, leaf, 0, false, &regs);
    }
}

int cpuid_supported(const struct cpuid_host *host, struct kvm_cpuid_entry2 *entries,
                    uint32_t *count) {
    struct output out = {.entries = entries, .capacity = *count};

    emit_basic(host, &out);
    emit_hypervisor(host, &out);
    emit_extended(host, &out);
    *count = out.count;
    return out.count > out.capacity ? -E2BIG : 0;
}
