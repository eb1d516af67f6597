// SPDX-License-Identifier: BSD-2-Clause
// The MSR filter (api.rst 4.97) and MSR exits to user space (api.rst 7.21). A filter is immutable;
// each vCPU takes up a new one before its next entry.
#include "core/kvm/msr_filter.h"
#include <asm/errno.h>
#include "core/kvm/vcpu.h"
#include "core/mm/heap.h"
#include "core/mm/user_copy.h"
#include "core/string.h"

struct msr_range {
    uint32_t flags, base, count;
    uint8_t *allowed; // a bit an MSR
};

struct msr_filter {
    bool default_allow;
    uint32_t count;
    struct msr_range ranges[KVM_MSR_FILTER_MAX_RANGES];
};

static void filter_free(struct msr_filter *filter) {
    for (uint32_t i = 0; filter && i < filter->count; i++)
        heap_free(filter->ranges[i].allowed);
    heap_free(filter);
}

static int add_range(struct msr_filter *filter, const struct kvm_msr_filter_range *user) {
    struct msr_range *range = &filter->ranges[filter->count];
    uint64_t bytes = (user->nmsrs + 63ull) / 64 * 8; // the bitmap is made of longs
    if (!user->nmsrs)
        return 0;
    if ((user->flags & ~(uint32_t)(KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE)) || !user->flags ||
        bytes > KVM_MSR_FILTER_MAX_BITMAP_SIZE)
        return -EINVAL;
    range->allowed = heap_alloc(bytes);
    if (!range->allowed)
        return -ENOMEM;
    range->flags = user->flags;
    range->base = user->base;
    range->count = user->nmsrs;
    filter->count++;
    return copy_from_user(range->allowed, (uint64_t)user->bitmap, bytes) ? -EFAULT : 0;
}

static int filter_build(struct msr_filter *filter, const struct kvm_msr_filter *user) {
    int error = 0;
    filter->default_allow = !(user->flags & KVM_MSR_FILTER_DEFAULT_DENY);
    for (unsigned i = 0; !error && i < KVM_MSR_FILTER_MAX_RANGES; i++)
        error = add_range(filter, &user->ranges[i]);
    // Denying everything is more likely a mistake (api.rst 4.97).
    return !error && !filter->count && !filter->default_allow ? -EINVAL : error;
}

static void publish(struct vm *vm, struct msr_filter *filter) {
    vm_change_begin(vm);
    struct msr_filter *old = atomic_exchange(&vm->msr_filter, filter);
    kvm_synchronize();
    filter_free(old);
    for (uint32_t id = 0; id < vm->vcpu_limit; id++)
        if (vm->vcpus[id])
            vcpu_attend(vm->vcpus[id], ATTENTION_MSR_FILTER);
    vm_change_end(vm);
}

int64_t msr_filter_set(struct vm *vm, uint64_t argument) {
    struct kvm_msr_filter user;
    if (copy_from_user(&user, argument, sizeof(user)))
        return -EFAULT;
    if (user.flags & ~(uint32_t)KVM_MSR_FILTER_DEFAULT_DENY)
        return -EINVAL;
    struct msr_filter *filter = heap_new(struct msr_filter);
    if (!filter)
        return -ENOMEM;
    int error = filter_build(filter, &user);
    if (error)
        filter_free(filter);
    else
        publish(vm, filter);
    return error;
}

void msr_filter_destroy(struct vm *vm) {
    filter_free(atomic_exchange(&vm->msr_filter, NULL));
}

static bool filter_allows(struct guest_msrs *msrs, uint32_t index, bool write) {
    const struct vcpu *vcpu = vcpu_of(container_of(msrs, struct virt_vcpu, msrs));
    const struct msr_filter *filter = atomic_load(&vcpu->vm->msr_filter);
    uint32_t wanted = write ? KVM_MSR_FILTER_WRITE : KVM_MSR_FILTER_READ;
    for (uint32_t i = 0; filter && i < filter->count; i++) {
        const struct msr_range *range = &filter->ranges[i];
        uint32_t bit = index - range->base;
        if ((range->flags & wanted) && bit < range->count)
            return range->allowed[bit / 8] >> (bit % 8) & 1;
    }
    return !filter || filter->default_allow;
}

void msr_filter_update(struct vcpu *vcpu) {
    bool filtered = atomic_load(&vcpu->vm->msr_filter) != NULL;
    vcpu->virt.msrs.filter = filtered ? filter_allows : NULL;
    virt->msr_filter_changed(&vcpu->virt, filtered);
}

int msr_set_user_space(struct vm *vm, uint64_t reasons) {
    if (reasons & ~(uint64_t)(KVM_MSR_EXIT_REASON_INVAL | KVM_MSR_EXIT_REASON_UNKNOWN |
                              KVM_MSR_EXIT_REASON_FILTER))
        return -EINVAL;
    vm->user_space_msr = reasons;
    return 0;
}

static uint32_t reason_of(int result) {
    switch (result) {
    case GUEST_MSR_UNKNOWN:
        return KVM_MSR_EXIT_REASON_UNKNOWN;
    case GUEST_MSR_FILTERED:
        return KVM_MSR_EXIT_REASON_FILTER;
    default:
        return KVM_MSR_EXIT_REASON_INVAL;
    }
}

static int general_protection(struct vcpu *vcpu) {
    struct guest_exception exception = {.vector = GUEST_GP, .has_error_code = true};
    virt_raise(&vcpu->virt, &exception);
    return VCPU_RESUME;
}

int msr_refused(struct vcpu *vcpu) {
    struct kvm_run *run = vcpu->run;
    uint32_t reason = reason_of(vcpu->exit.msr.result);
    if (!(vcpu->vm->user_space_msr & reason))
        return general_protection(vcpu);
    run->exit_reason = vcpu->exit.msr.write ? KVM_EXIT_X86_WRMSR : KVM_EXIT_X86_RDMSR;
    memset(&run->msr, 0, sizeof(run->msr));
    run->msr.reason = reason;
    run->msr.index = vcpu->exit.msr.index;
    run->msr.data = vcpu->exit.msr.value;
    vcpu->completion = COMPLETE_MSR;
    vcpu->rip_moved = false;
    return VCPU_EXIT_TO_USER;
}

int msr_complete(struct vcpu *vcpu) {
    const struct kvm_run *run = vcpu->run;
    if (vcpu->rip_moved) // the instruction is no more
        return VCPU_RESUME;
    if (run->msr.error)
        return general_protection(vcpu);
    if (!vcpu->exit.msr.write) {
        vcpu->virt.gpr[0] = (uint32_t)run->msr.data;
        vcpu->virt.gpr[2] = run->msr.data >> 32;
    }
    virt->skip_instruction(&vcpu->virt);
    return VCPU_RESUME;
}
