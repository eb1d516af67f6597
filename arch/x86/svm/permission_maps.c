// SPDX-License-Identifier: BSD-2-Clause
// Which MSRs and ports the guest reaches itself: a few MSRs that VMLOAD and VMSAVE move, no port
// (APM vol. 2 15.10.1, 15.11).
#include <asm/errno.h>
#include "arch/x86/svm/vcpu.h"
#include "core/mm/page.h"
#include "core/string.h"

#define MSR_MAP_ORDER 1          // 8 KiB
#define IO_MAP_ORDER  2          // 12 KiB are used
#define MSR_MAP_BYTES 0x2000u    // a bit for reading and one for writing, 8192 MSRs every 2 KiB
#define MSR_HIGH      0xc0000000 // of the second 2 KiB

uint64_t svm_msr_map, svm_msr_map_all, svm_io_map;

static const uint32_t passed[] = {
    MSR_FS_BASE, MSR_GS_BASE,      MSR_KERNEL_GS_BASE, MSR_STAR,         MSR_LSTAR,
    MSR_CSTAR,   MSR_SYSCALL_MASK, MSR_SYSENTER_CS,    MSR_SYSENTER_ESP, MSR_SYSENTER_EIP,
};

static void map_pass(uint8_t *map, uint32_t index) {
    uint32_t bit = (index & 0x1fff) * 2 + (index >= MSR_HIGH ? 0x800 * 8 : 0);
    map[bit / 8] &= (uint8_t) ~(3u << bit % 8);
}

static uint64_t full_map(unsigned order) {
    uint64_t map = page_alloc(order);
    if (map != PHYSICAL_NONE)
        memset(page_to_virtual(map), 0xff, PAGE_SIZE << order);
    return map;
}

int svm_permission_maps_init(void) {
    svm_msr_map = full_map(MSR_MAP_ORDER);
    svm_msr_map_all = full_map(MSR_MAP_ORDER);
    svm_io_map = full_map(IO_MAP_ORDER);
    if (svm_msr_map == PHYSICAL_NONE || svm_msr_map_all == PHYSICAL_NONE ||
        svm_io_map == PHYSICAL_NONE)
        return -ENOMEM;
    _Static_assert(PAGE_SIZE << MSR_MAP_ORDER == MSR_MAP_BYTES, "one block");
    for (size_t i = 0; i < sizeof(passed) / sizeof(passed[0]); i++)
        map_pass(page_to_virtual(svm_msr_map), passed[i]);
    return 0;
}
