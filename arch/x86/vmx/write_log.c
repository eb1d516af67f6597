// SPDX-License-Identifier: BSD-2-Clause
// Page-modification logging (SDM vol. 3 29.3.6): the processor notes the guest-physical address of
// each page whose dirty flag it sets, from the last entry of the buffer to the first.
#include <asm/errno.h>
#include "arch/x86/vmx/vcpu.h"
#include "core/mm/page.h"

#define INDEX_EMPTY (VIRT_WRITE_LOG_ENTRIES - 1u) // the entry to be written next

int vmx_write_log_create(struct vmx_vcpu *v) {
    if (!vmx.write_log)
        return 0;
    uint64_t page = page_alloc_zeroed(0);
    if (page == PHYSICAL_NONE)
        return -ENOMEM;
    v->write_log = page;
    vmwrite(VMCS_PML_ADDRESS, page);
    vmwrite(VMCS_PML_INDEX, INDEX_EMPTY);
    return 0;
}

void vmx_write_log_destroy(struct vmx_vcpu *v) {
    if (v->write_log)
        page_put(v->write_log);
}

void vmx_write_log_drain(struct virt_vcpu *vcpu, struct vmx_vcpu *v) {
    uint16_t index = (uint16_t)vmread(VMCS_PML_INDEX);
    const uint64_t *entries = page_to_virtual(v->write_log);
    if (index == INDEX_EMPTY)
        return;
    for (uint16_t i = (uint16_t)(index + 1); i < VIRT_WRITE_LOG_ENTRIES; i++) // 0xffff: it is full
        vcpu->note_write(vcpu, entries[i]);
    vmwrite(VMCS_PML_INDEX, INDEX_EMPTY);
}

void vmx_log_writes(struct virt_vcpu *vcpu, bool on) {
    struct vmx_vcpu *v = vmx_of(vcpu);
    vmcs_use(v);
    vmwrite(VMCS_CPU_CONTROLS_2,
            (vmread(VMCS_CPU_CONTROLS_2) & ~(uint64_t)CPU2_PML) | (on ? CPU2_PML : 0));
    v->log_writes = on;
}
