// SPDX-License-Identifier: BSD-2-Clause
// Machine-check MSRs (SDM vol. 3 16.3).
#include "msr_rule.h"
#include <asm/errno.h>

int read_mcg_ctl(const struct access *access, uint64_t *value) {
    if (!(access->msrs->mcg_cap & MCG_CTL_P) && !access->host)
        return GP;
    return read_field(access, value);
}

int write_mcg_ctl(const struct access *access, uint64_t value) {
    if (!(access->msrs->mcg_cap & MCG_CTL_P) && (value || !access->host))
        return GP;
    return value == 0 || value == UINT64_MAX ? write_field(access, value) : GP;
}

static bool bank_exists(const struct access *access, unsigned bank) {
    return bank < (access->msrs->mcg_cap & 0xff);
}

int read_mc_bank(const struct access *access, uint64_t *value) {
    uint32_t n = access->index - MSR_INDEX_MC0_CTL;

    if (!bank_exists(access, n / 4))
        return GP;
    *value = access->msrs->mc_banks[n / 4][n % 4];
    return OK;
}

int write_mc_bank(const struct access *access, uint64_t value) {
    uint32_t n = access->index - MSR_INDEX_MC0_CTL;

    if (!bank_exists(access, n / 4))
        return GP;
    // CTL is all or nothing; Linux clears bit 10 or bit 0 on some models. STATUS is only cleared.
    if (n % 4 == 0 && value && (value | 0x401) != UINT64_MAX)
        return GP;
    if (n % 4 == 1 && value && !access->host)
        return GP;
    access->msrs->mc_banks[n / 4][n % 4] = value;
    return OK;
}

int read_mc_ctl2(const struct access *access, uint64_t *value) {
    uint32_t bank = access->index - MSR_INDEX_MC0_CTL2;

    if (!bank_exists(access, bank) || (!(access->msrs->mcg_cap & MCG_CMCI_P) && !access->host))
        return GP;
    *value = access->msrs->mc_ctl2[bank];
    return OK;
}

int write_mc_ctl2(const struct access *access, uint64_t value) {
    uint32_t bank = access->index - MSR_INDEX_MC0_CTL2;

    if (!bank_exists(access, bank) || (value & ~0x40007fffull) ||
        (!(access->msrs->mcg_cap & MCG_CMCI_P) && (value || !access->host)))
        return GP;
    access->msrs->mc_ctl2[bank] = value;
    return OK;
}

int guest_msrs_setup_mce(struct guest_msrs *msrs, uint64_t mcg_cap) {
    uint64_t banks = mcg_cap & 0xff;
    const uint64_t known = 0xff | 0xff0000 | MCG_SUPPORTED;

    if (banks == 0 || banks > GUEST_MC_BANKS || (mcg_cap & ~known))
        return -EINVAL;
    msrs->mcg_cap = mcg_cap;
    msrs->mcg_ctl = mcg_cap & MCG_CTL_P ? UINT64_MAX : 0;
    for (unsigned bank = 0; bank < banks; bank++)
        msrs->mc_banks[bank][0] = UINT64_MAX;
    return 0;
}
