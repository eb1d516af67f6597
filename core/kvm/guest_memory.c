// SPDX-License-Identifier: BSD-2-Clause
// A vCPU's guest memory: by guest-physical address, and by guest-linear address through page walks.
#include "core/kvm/guest_memory.h"
#include <asm/errno.h>
#include "arch/x86/mm/user_access.h"
#include "core/kvm/memslot.h"
#include "core/kvm/vcpu.h"
#include "core/mm/page.h"
#include "core/mm/user_copy.h"

// Splits a guest-physical range at slot borders.
static int copy_guest(struct vcpu *vcpu, uint64_t gpa, char *data, uint64_t size, bool write) {
    while (size) {
        struct memslot slot;
        if (!memslot_find(vcpu->vm, gpa, &slot) || (write && (slot.flags & KVM_MEM_READONLY)))
            return -EFAULT;
        uint64_t user = memslot_user(&slot, gpa), left = slot.size - (gpa - slot.gpa);
        uint64_t piece = left < size ? left : size;
        if (write ? copy_to_user(user, data, piece) : copy_from_user(data, user, piece))
            return -EFAULT;
        if (write)
            memslot_mark_dirty(vcpu, gpa, piece);
        gpa += piece;
        data += piece;
        size -= piece;
    }
    return 0;
}

int vcpu_read_guest(struct vcpu *vcpu, uint64_t gpa, void *to, uint64_t size) {
    return copy_guest(vcpu, gpa, to, size, false);
}

int vcpu_write_guest(struct vcpu *vcpu, uint64_t gpa, const void *from, uint64_t size) {
    return copy_guest(vcpu, gpa, (char *)(uintptr_t)from, size, true);
}

int vcpu_exchange_slot(struct vcpu *vcpu, const struct memslot *slot, uint64_t gpa,
                       uint64_t old_value, uint64_t new_value, uint32_t size, bool *exchanged) {
    uint64_t found;
    if (user_compare_exchange_64(memslot_user(slot, gpa), old_value, new_value, &found, size))
        return -EFAULT;
    *exchanged = found == old_value;
    if (*exchanged)
        memslot_mark_dirty(vcpu, gpa, size);
    return 0;
}

int vcpu_exchange_guest(struct vcpu *vcpu, uint64_t gpa, uint64_t old_value, uint64_t new_value,
                        uint32_t size, bool *exchanged) {
    struct memslot slot;
    if (!memslot_find(vcpu->vm, gpa, &slot) || (slot.flags & KVM_MEM_READONLY))
        return -EFAULT;
    return vcpu_exchange_slot(vcpu, &slot, gpa, old_value, new_value, size, exchanged);
}

// Reads of one moment: the slot that was read last most often holds what is read next.
struct slot_reader {
    struct vcpu *vcpu;
    uint64_t space;
    struct memslot slot;
};

// NULL: no memory.
static const void *find_user(struct slot_reader *reader, uint64_t gpa) {
    struct memslot *slot = &reader->slot;
    gpa |= reader->space;
    if (gpa - slot->gpa >= slot->size && !memslot_find(reader->vcpu->vm, gpa, slot))
        return NULL;
    return (const void *)(uintptr_t)memslot_user(slot, gpa);
}

static bool walk_read(void *context, uint64_t gpa, void *data, uint32_t size) {
    const void *user = find_user(context, gpa);
    return user && !(size == 8 ? user_access_load_64(data, user) : user_access_load_32(data, user));
}

static bool walk_exchange(void *context, uint64_t gpa, uint64_t old_value, uint64_t new_value,
                          uint32_t size) {
    struct vcpu *vcpu = ((struct slot_reader *)context)->vcpu;
    bool exchanged;
    return !vcpu_exchange_guest(vcpu, gpa | vcpu_space(vcpu), old_value, new_value, size,
                                &exchanged) &&
           exchanged;
}

static int walk(struct slot_reader *reader, const struct guest_paging *paging, uint64_t linear,
                unsigned access, uint64_t *gpa, struct guest_exception *exception) {
    static const struct guest_walk_ops ops = {.read = walk_read, .exchange = walk_exchange};
    struct guest_translation translation = {.gpa = 0};
    int error = guest_walk(paging, &ops, reader, linear, access, &translation, exception);
    if (!error)
        *gpa = translation.gpa;
    return error;
}

int guest_memory_translate(struct vcpu *vcpu, const struct virt_state *state, uint64_t linear,
                           unsigned access, uint64_t *gpa, struct guest_exception *exception) {
    struct slot_reader reader = {.vcpu = vcpu, .space = vcpu_space(vcpu)};
    return walk(&reader, &state->paging, linear, access, gpa, exception);
}

// Flat: every emulated instruction begins here.
__attribute__((flatten)) unsigned
guest_memory_fetch(struct virt_vcpu *virt_vcpu, const struct virt_state *state, unsigned access,
                   uint8_t bytes[INSTRUCTION_MAX], struct guest_exception *exception) {
    struct slot_reader reader = {.vcpu = vcpu_of(virt_vcpu),
                                 .space = vcpu_space(vcpu_of(virt_vcpu))};
    unsigned done = 0;
    while (done < INSTRUCTION_MAX) {
        uint64_t gpa, linear = state->code_linear + done;
        unsigned piece = INSTRUCTION_MAX - done, left = PAGE_SIZE - (linear & ~PAGE_MASK);
        if (left < piece)
            piece = left;
        if (walk(&reader, &state->paging, linear, GUEST_FETCH | access, &gpa, exception))
            break;
        const void *user = find_user(&reader, gpa);
        if (!user || user_access_copy(bytes + done, user, piece))
            break;
        done += piece;
    }
    return done;
}

int guest_translate(struct vcpu *vcpu, struct kvm_translation *translation) {
    struct guest_exception exception;
    struct virt_state state;
    uint64_t gpa = 0;
    virt_get_state(&vcpu->virt, &state);
    translation->valid =
        !guest_memory_translate(vcpu, &state, translation->linear_address,
                                GUEST_NO_CHECK | GUEST_NO_SET_AD, &gpa, &exception);
    translation->physical_address = translation->valid ? gpa : ~0ull;
    translation->writeable = 1;
    translation->usermode = 0;
    return 0;
}
