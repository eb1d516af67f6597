// SPDX-License-Identifier: BSD-2-Clause
// ioeventfds: guest writes that become an eventfd signal. The table is immutable; a change
// publishes a new one, so the exit path looks without a lock.
#include "core/kvm/vm.h"
#include <asm/errno.h>
#include "core/file/eventfd.h"
#include "core/mm/heap.h"
#include "core/string.h"

#define IOEVENTFD_MAX 1000 // a VM, as Linux's limit of devices on a bus
#define IOEVENTFD_FLAGS                                                                            \
    (KVM_IOEVENTFD_FLAG_DATAMATCH | KVM_IOEVENTFD_FLAG_PIO | KVM_IOEVENTFD_FLAG_DEASSIGN)

struct ioeventfd {
    uint64_t address, match;
    uint32_t size; // 0: any
    bool port, matches;
    struct eventfd *eventfd;
    struct file *file;
};

struct ioeventfd_table {
    uint32_t count;
    struct ioeventfd rows[];
};

bool ioeventfd_write(struct vm *vm, bool port, uint64_t address, unsigned size, const void *data) {
    const struct ioeventfd_table *table =
        atomic_load_explicit(&vm->ioeventfds, memory_order_acquire);
    for (uint32_t i = 0; table && i < table->count; i++) {
        const struct ioeventfd *row = &table->rows[i];
        if (row->address != address || row->port != port || (row->size && row->size != size))
            continue;
        uint64_t value = 0;
        memcpy(&value, data, size < 8 ? size : 8);
        if (row->matches && row->match != value)
            continue;
        eventfd_signal(row->eventfd, 1);
        return true;
    }
    return false;
}

static bool same(const struct ioeventfd *a, const struct ioeventfd *b) {
    return a->address == b->address && a->port == b->port && a->size == b->size &&
           a->matches == b->matches && (!a->matches || a->match == b->match);
}

// As KVM's collision rule: a wildcard on either side of size or data collides.
static bool collides(const struct ioeventfd *a, const struct ioeventfd *b) {
    return a->address == b->address && a->port == b->port &&
           (!a->size || !b->size ||
            (a->size == b->size && (!a->matches || !b->matches || a->match == b->match)));
}

static void publish(struct vm *vm, struct ioeventfd_table *table) {
    struct ioeventfd_table *old = atomic_exchange(&vm->ioeventfds, table);
    atomic_store(&vm->kernel_ports, true);
    kvm_synchronize();
    heap_free(old);
}

static struct ioeventfd_table *table_without(const struct ioeventfd_table *old, uint32_t skip,
                                             uint32_t room) {
    struct ioeventfd_table *table = heap_alloc(sizeof(*table) + room * sizeof(struct ioeventfd));
    for (uint32_t i = 0; table && old && i < old->count; i++)
        if (i != skip)
            table->rows[table->count++] = old->rows[i];
    return table;
}

static int assign(struct vm *vm, struct ioeventfd *row) {
    struct ioeventfd_table *old = atomic_load(&vm->ioeventfds);
    uint32_t count = old ? old->count : 0;
    for (uint32_t i = 0; i < count; i++)
        if (collides(&old->rows[i], row))
            return -EEXIST;
    if (count >= IOEVENTFD_MAX)
        return -ENOSPC;
    struct ioeventfd_table *table = table_without(old, UINT32_MAX, count + 1);
    if (!table)
        return -ENOMEM;
    table->rows[table->count++] = *row;
    row->file = NULL; // the table's now
    publish(vm, table);
    return 0;
}

static int deassign(struct vm *vm, const struct ioeventfd *row) {
    struct ioeventfd_table *old = atomic_load(&vm->ioeventfds);
    for (uint32_t i = 0; old && i < old->count; i++) {
        if (!same(&old->rows[i], row) || old->rows[i].eventfd != row->eventfd)
            continue;
        struct file *file = old->rows[i].file;
        struct ioeventfd_table *table = table_without(old, i, old->count);
        if (!table)
            return -ENOMEM;
        publish(vm, table);
        file_put(file);
        return 0;
    }
    return -ENOENT;
}

static int request_check(const struct kvm_ioeventfd *request) {
    static const bool length_allowed[9] = {
        [0] = true, [1] = true, [2] = true, [4] = true, [8] = true};
    if ((request->flags & ~IOEVENTFD_FLAGS) || request->len > 8 || !length_allowed[request->len])
        return -EINVAL;
    if (request->addr + request->len < request->addr)
        return -EINVAL;
    return !request->len && (request->flags & KVM_IOEVENTFD_FLAG_DATAMATCH) ? -EINVAL : 0;
}

int ioeventfd_change(struct vm *vm, const struct kvm_ioeventfd *request) {
    int error = request_check(request);
    if (error)
        return error;
    struct ioeventfd row = {.address = request->addr,
                            .match = request->datamatch,
                            .size = request->len,
                            .port = request->flags & KVM_IOEVENTFD_FLAG_PIO,
                            .matches = request->flags & KVM_IOEVENTFD_FLAG_DATAMATCH};
    row.eventfd = eventfd_get(request->fd, &row.file);
    if (!row.eventfd)
        return -EBADF;
    vm_change_begin(vm);
    if (request->flags & KVM_IOEVENTFD_FLAG_DEASSIGN)
        error = deassign(vm, &row);
    else
        error = assign(vm, &row);
    vm_change_end(vm);
    if (row.file)
        file_put(row.file);
    return error;
}

void ioeventfd_destroy_all(struct vm *vm) {
    struct ioeventfd_table *table = atomic_exchange(&vm->ioeventfds, NULL);
    for (uint32_t i = 0; table && i < table->count; i++)
        file_put(table->rows[i].file);
    heap_free(table);
}
