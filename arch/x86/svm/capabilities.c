// SPDX-License-Identifier: BSD-2-Clause
// Reads the SVM feature leaf: one row a feature, one message a missing one.
#include "arch/x86/svm/capabilities.h"
#include "core/log.h"
#include "core/string.h"

#define LEAF_EXTENDED 0x80000000u
#define LEAF_FEATURES 0x80000001u
#define LEAF_SVM      0x8000000au
#define NESTED_PAGES  (1u << 0) // EDX of the SVM leaf

struct svm_capabilities svm;

enum { EAX, EBX, ECX, EDX };

static const struct {
    uint32_t leaf, subleaf;
    uint8_t reg, bit;
    uint16_t flag;
} features[] = {
    {LEAF_SVM, 0, EDX, 3, offsetof(struct svm_capabilities, next_rip)},
    {LEAF_SVM, 0, EDX, 4, offsetof(struct svm_capabilities, tsc_ratio)},
    {LEAF_SVM, 0, EDX, 5, offsetof(struct svm_capabilities, clean_bits)},
    {LEAF_SVM, 0, EDX, 6, offsetof(struct svm_capabilities, flush_by_asid)},
    {LEAF_SVM, 0, EDX, 7, offsetof(struct svm_capabilities, decode_assists)},
    {LEAF_SVM, 0, EDX, 10, offsetof(struct svm_capabilities, pause_filter)},
    {LEAF_SVM, 0, EDX, 12, offsetof(struct svm_capabilities, pause_threshold)},
    {LEAF_SVM, 0, EDX, 25, offsetof(struct svm_capabilities, virtual_nmi)},
    {LEAF_FEATURES, 0, EDX, 27, offsetof(struct svm_capabilities, rdtscp)},
    {0x80000008u, 0, EBX, 4, offsetof(struct svm_capabilities, rdpru)},
    {1, 0, ECX, 3, offsetof(struct svm_capabilities, monitor)},
    {1, 0, ECX, 26, offsetof(struct svm_capabilities, xsave)},
    {0x80000008u, 0, EBX, 14, offsetof(struct svm_capabilities, spec_ctrl)},
    {0xd, 1, EAX, 3, offsetof(struct svm_capabilities, xsaves)},
};

static struct cpuid_regs leaf_of(cpuid_reader read, uint32_t leaf, uint32_t subleaf) {
    if (read(leaf & LEAF_EXTENDED, 0).eax < leaf)
        return (struct cpuid_regs){0};
    return read(leaf, subleaf);
}

const char *svm_capabilities_read(struct svm_capabilities *c, cpuid_reader read) {
    memset(c, 0, sizeof(*c));
    struct cpuid_regs leaf = leaf_of(read, LEAF_SVM, 0);
    if (!(leaf.edx & NESTED_PAGES))
        return "nested paging is missing";
    if (leaf.ebx < 2)
        return "address-space identifiers (ASIDs) are missing";
    c->asids = leaf.ebx;
    for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); i++) {
        struct cpuid_regs regs = leaf_of(read, features[i].leaf, features[i].subleaf);
        const uint32_t words[] = {regs.eax, regs.ebx, regs.ecx, regs.edx};
        *(bool *)((char *)c + features[i].flag) = words[features[i].reg] >> features[i].bit & 1;
    }
    return NULL;
}

void svm_capabilities_describe(const struct svm_capabilities *c, char *out, size_t size) {
    format_string(out, size, "nested paging, %u ASIDs%s%s%s%s%s%s%s", c->asids,
                  c->flush_by_asid ? ", flush by ASID" : "", c->next_rip ? ", next RIP" : "",
                  c->decode_assists ? ", decode assists" : "",
                  c->clean_bits ? ", VMCB clean bits" : "", c->tsc_ratio ? ", TSC ratio" : "",
                  c->pause_filter ? ", PAUSE filter" : "", c->virtual_nmi ? ", virtual NMI" : "");
}
