// SPDX-License-Identifier: BSD-2-Clause
// Guest memory by guest-linear address: page walks over the VM's slots.
#include "core/kvm/guest_memory.h"
#include "core/kvm/memslot.h"
#include "core/kvm/vcpu.h"
#include "core/mm/page.h"
#include "core/mm/user_copy.h"

static bool walk_read(void *context, uint64_t gpa, void *data, uint32_t size) {
    return vm_read_guest(context, gpa, data, size) == 0;
}

static bool walk_exchange(void *context, uint64_t gpa, uint64_t old_value, uint64_t new_value,
                          uint32_t size) {
    struct memslot slot;
    uint64_t found;
    if (!memslot_find(context, gpa, &slot) || (slot.flags & KVM_MEM_READONLY))
        return false;
    if (user_compare_exchange_64(slot.user_address + (gpa - slot.gpa), old_value, new_value, &found,
                                 size))
        return false;
    return found == old_value;
}

const struct guest_walk_ops guest_memory_walk = {.read = walk_read, .exchange = walk_exchange};

int guest_memory_translate(struct vcpu *vcpu, uint64_t linear, unsigned access, uint64_t *gpa,
                           struct guest_exception *exception) {
    struct guest_paging paging;
    struct guest_translation translation;
    virt->get_paging(&vcpu->virt, &paging);
    int error =
        guest_walk(&paging, &guest_memory_walk, vcpu->vm, linear, access, &translation, exception);
    if (!error)
        *gpa = translation.gpa;
    return error;
}

unsigned guest_memory_fetch(struct vcpu *vcpu, uint64_t linear, uint8_t *bytes, unsigned size,
                            struct guest_exception *exception) {
    unsigned done = 0;
    while (done < size) {
        uint64_t gpa, left = PAGE_SIZE - ((linear + done) & ~PAGE_MASK);
        unsigned piece = left < size - done ? (unsigned)left : size - done;
        if (guest_memory_translate(vcpu, linear + done, GUEST_FETCH, &gpa, exception))
            break;
        if (vm_read_guest(vcpu->vm, gpa, bytes + done, piece))
            break;
        done += piece;
    }
    return done;
}

void guest_translate(struct vcpu *vcpu, struct kvm_translation *translation) {
    struct guest_paging paging;
    struct guest_translation result;
    struct guest_exception exception;
    virt->get_paging(&vcpu->virt, &paging);
    translation->valid =
        !guest_walk(&paging, &guest_memory_walk, vcpu->vm, translation->linear_address,
                    GUEST_NO_CHECK | GUEST_NO_SET_AD, &result, &exception);
    translation->physical_address = translation->valid ? result.gpa : ~0ull;
    translation->writeable = 1;
    translation->usermode = 0;
}
