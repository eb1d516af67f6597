// SPDX-License-Identifier: BSD-2-Clause
// kvmclock: the guest derives time from its TSC and a page the kernel fills once, since the host
// TSC is the same on all CPUs and never stops (Documentation/virt/kvm/x86/msr.rst).
#include "core/kvm/clock.h"
#include <asm/errno.h>
#include "arch/x86/guest/kvmclock.h"
#include "core/kvm/guest_memory.h"
#include "core/kvm/vcpu.h"

#define TSC_TOLERANCE_PPM 250 // KVM's tsc_tolerance_ppm

// Without TSC scaling only the machine's own frequency can be had, within KVM's tolerance.
static bool tsc_khz_possible(uint64_t khz) {
    uint64_t host = time_tsc_khz(), distance = khz > host ? khz - host : host - khz;
    return khz <= virt_max_tsc_khz() || distance * 1000000 <= host * TSC_TOLERANCE_PPM;
}

int64_t clock_set_default_tsc_khz(struct vm *vm, uint64_t khz) {
    uint64_t host = time_tsc_khz(), wanted = khz ? khz : host;
    if (wanted > UINT32_MAX || !tsc_khz_possible(wanted))
        return -EINVAL;
    if (virt_max_tsc_khz()) {
        uint64_t start = vm->creation_tsc;
        vm->default_tsc_khz = (uint32_t)wanted;
        vm->tsc_offset = 0 - (start / host * wanted + start % host * wanted / host);
    }
    return 0;
}

int64_t clock_set_tsc_khz(struct vcpu *vcpu, uint64_t khz) {
    uint64_t wanted = khz ? khz : vcpu->vm->default_tsc_khz;
    if (wanted > UINT32_MAX || !tsc_khz_possible(wanted))
        return -EINVAL;
    if (!virt_max_tsc_khz())
        return 0;
    vcpu->virt.tsc_khz = vcpu->virt.lapic.guest_tsc_khz = (uint32_t)wanted;
    clock_set_tsc_offset(vcpu, vcpu->virt.tsc_offset);
    return 0;
}

void clock_set_tsc_offset(struct vcpu *vcpu, uint64_t offset) {
    vcpu->virt.tsc_offset = offset;
    virt_tsc_changed(&vcpu->virt);
    lapic_tsc_changed(&vcpu->virt.lapic);
    vcpu_attend(vcpu, ATTENTION_CLOCK);
}

void clock_set_guest_tsc(struct vcpu *vcpu, uint64_t value) {
    clock_set_tsc_offset(vcpu, value - virt_scaled_tsc(&vcpu->virt));
}

// User space writes the TSCs of a VM's vCPUs one by one: values within a second of what the VM's
// last one makes expect mean the same, as in KVM, and so do vCPUs created later.
void clock_restore_guest_tsc(struct vcpu *vcpu, uint64_t value) {
    struct vm *vm = vcpu->vm;
    uint64_t second = vcpu->virt.tsc_khz * 1000ull, scaled = virt_scaled_tsc(&vcpu->virt);
    uint64_t ahead = value - (scaled + vm->tsc_offset) + second;
    bool same = vcpu->virt.tsc_khz == vm->default_tsc_khz && (!value || ahead < 2 * second);
    if (!same && vcpu->virt.tsc_khz == vm->default_tsc_khz)
        vm->tsc_offset = value - scaled;
    clock_set_tsc_offset(vcpu, same ? vm->tsc_offset : value - scaled);
}

int clock_get(struct vm *vm, struct kvm_clock_data *data) {
    uint64_t now = time_now();
    data->clock = now + vm->clock_offset;
    data->flags = KVM_CLOCK_TSC_STABLE | KVM_CLOCK_REALTIME | KVM_CLOCK_HOST_TSC;
    data->realtime = now + time_realtime_offset();
    data->host_tsc = time_to_tsc(now);
    return 0;
}

int clock_set(struct vm *vm, const struct kvm_clock_data *data) {
    if (data->flags & ~(uint32_t)KVM_CLOCK_REALTIME)
        return -EINVAL;
    uint64_t now = time_now(), clock = data->clock;
    if (data->flags & KVM_CLOCK_REALTIME) {
        uint64_t realtime = now + time_realtime_offset();
        if (realtime > data->realtime)
            clock += realtime - data->realtime;
    }
    vm->clock_offset = clock - now;
    for (uint32_t id = 0; id < vm->vcpu_limit; id++)
        if (vm->vcpus[id])
            vcpu_attend(vm->vcpus[id], ATTENTION_CLOCK);
    return 0;
}

// The guest's WRMSR is handled inside virt->run, where nothing may wait as the page may: it is
// written on the way to the next entry.
void clock_system_time(struct vcpu *vcpu, uint64_t value) {
    vcpu->clock_gpa = value;
    vcpu_attend(vcpu, ATTENTION_CLOCK);
}

void clock_wall_time(struct vcpu *vcpu) {
    vcpu->wall_clock_due = true;
    vcpu_attend(vcpu, ATTENTION_CLOCK);
}

static void write_wall_time(struct vcpu *vcpu) {
    uint64_t gpa = vcpu->virt.msrs.kvm_wall_clock;
    struct pvclock_wall_clock page;
    vcpu->wall_clock_due = false;
    if (vcpu_read_guest(vcpu, gpa, &page, sizeof(page)))
        return;
    // Unix time at which the guest's clock read 0.
    kvmclock_fill_wall(&page, time_realtime_offset() - vcpu->vm->clock_offset);
    vcpu_write_guest(vcpu, gpa, &page, sizeof(page));
}

void clock_update(struct vcpu *vcpu) {
    uint64_t gpa = vcpu->clock_gpa & ~1ull;
    if (vcpu->wall_clock_due)
        write_wall_time(vcpu);
    if (!(vcpu->clock_gpa & 1))
        return;
    struct pvclock_vcpu_time_info page;
    if (vcpu_read_guest(vcpu, gpa, &page, sizeof(page)))
        return;
    uint8_t flags = PVCLOCK_TSC_STABLE | (vcpu->clock_stopped ? PVCLOCK_GUEST_STOPPED : 0);
    vcpu->clock_stopped = false;
    uint64_t now = time_now();
    uint64_t tsc = vcpu->virt.tsc_khz == time_tsc_khz() ? time_to_tsc(now) + vcpu->virt.tsc_offset
                                                        : virt_guest_tsc(&vcpu->virt);
    page.version &= ~1u;
    uint32_t version = page.version + 1; // odd: being written
    vcpu_write_guest(vcpu, gpa, &version, sizeof(version));
    kvmclock_fill(&page, kvmclock_scale(vcpu->virt.tsc_khz), tsc, now + vcpu->vm->clock_offset,
                  flags);
    page.version = version + 1;
    vcpu_write_guest(vcpu, gpa + sizeof(version), &page.pad0, sizeof(page) - sizeof(version));
    vcpu_write_guest(vcpu, gpa, &page.version, sizeof(page.version));
}
