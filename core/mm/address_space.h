// SPDX-License-Identifier: BSD-2-Clause
// A process's address space: mappings (VMAs), its page table, faults, and those who must hear of
// pages going away.
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "core/list.h"
#include "core/mm/mapping.h"
#include "core/sched/spinlock.h"
#include "core/sched/wait.h"

#define USER_END 0x00007ffffffff000ull

struct memory_object;
struct file;

enum access { ACCESS_READ = 1, ACCESS_WRITE = 2, ACCESS_EXECUTE = 4 };

// Told after user page-table entries in [start, end) are gone or lose write permission and before
// their pages are freed. Called without the address space's lock; must take the range out of its
// own tables and return only when no CPU can use it any more (a VM: EPT entries zapped, INVEPT
// done).
struct address_space_listener {
    struct list node;
    void (*invalidate)(struct address_space_listener *listener, uint64_t start, uint64_t end);
};

// Two locks. Whoever changes mappings owns `changing` from start to end (mapping_change.h; waits
// for it, no spinlock), so changes of a range happen one after another although they are done in
// chunks. The spinlock guards tree and page table for each step; faults take only it.
struct address_space {
    atomic_uint references;
    struct list all; // in the list of all
    struct spinlock lock;
    struct mapping_tree mappings;
    struct mapping *cached; // last one that a fault found
    bool changing;
    struct wait_queue changed; // woken when `changing` ends
    struct list listeners;
    unsigned notifying;          // walks over listeners under way: none may leave meanwhile
    uint64_t page_table;         // physical address of the PML4 (CR3)
    atomic_ulong cpus[4];        // bit per CPU that has it loaded
    uint64_t brk_start, brk_end; // set by execve, both at the end of the program's data
    uint64_t map_top;            // mmap without an address takes the highest room below
};

struct address_space *address_space_create(void); // NULL: no memory
// A copy for fork(2): private pages are shared until either side writes to them. NULL: no memory,
// or killed.
struct address_space *address_space_fork(struct address_space *space);
void address_space_get(struct address_space *space);
void address_space_put(
    struct address_space *space); // last one tears it down (in chunks: no lock held)
// Loads it on this CPU (thread switch, exec). NULL: kernel only.
void address_space_switch(struct address_space *space);
// Makes every CPU that still has it loaded let go of it. No lock held.
void address_space_leave(struct address_space *space);

// A flag besides MAP_*: mprotect may not give this shared mapping PROT_WRITE (its file is open for
// reading only).
#define ADDRESS_SPACE_MAP_NO_WRITE (1 << 30)
// As mmap(2): prot and flags are PROT_*, MAP_*; object NULL for anonymous; takes its own reference
// on object. Address or -errno.
int64_t address_space_map(struct address_space *space, uint64_t address, uint64_t size, int prot,
                          int flags, struct memory_object *object, uint64_t offset);
int address_space_unmap(struct address_space *space, uint64_t address, uint64_t size);
int address_space_protect(struct address_space *space, uint64_t address, uint64_t size, int prot);
int address_space_advise(struct address_space *space, uint64_t address, uint64_t size, int advice);
// As mremap(2), flags MREMAP_*. Address or -errno.
int64_t address_space_remap(struct address_space *space, uint64_t address, uint64_t old_size,
                            uint64_t new_size, unsigned flags, uint64_t new_address);
// As brk(2): the end there is now, `end` if it could be had.
uint64_t address_space_brk(struct address_space *space, uint64_t end);

// A user page fault. 0: mapped, go on. -EFAULT: SIGSEGV (no mapping or no right;
// address_space_is_mapped says which), -ENXIO: SIGBUS, -ENOMEM: out of memory. May wait for a
// change of mappings under way: no lock held.
int address_space_fault(struct address_space *space, uint64_t address, enum access access);
bool address_space_is_mapped(struct address_space *space,
                             uint64_t address); // SEGV_ACCERR or SEGV_MAPERR

// Every address space drops what it shows of the object in [offset, end), bytes: the object has
// taken these pages out. May wait; no lock held.
void address_spaces_forget(const struct memory_object *object, uint64_t offset, uint64_t end);

// Which pages from address on, a multiple of the page size, are there: 1 or 0 a page. -ENOMEM: not
// all are mapped. Takes the lock for all, so count is to be small.
int address_space_resident(struct address_space *space, uint64_t address, size_t count,
                           uint8_t *there);

struct user_page {
    uint64_t physical; // of the page that contains address, aligned to size
    uint64_t
        size; // 4 KiB, 2 MiB or 1 GiB: how much around it maps contiguously in this address space
    bool writable;
    bool device; // registers
};
// The page behind a user address, made present for `access` if need be (as address_space_fault;
// same errors). For stage-2 faults: the result is valid until the listener's invalidate runs, so
// callers compare a sequence number under their own lock. -EFAULT for a device's registers too.
int address_space_page(struct address_space *space, uint64_t address, enum access access,
                       struct user_page *page);

// The same for one page of 4 KiB that stays what it is, with a reference on it (page_put). A fork
// or mprotect may still give the program a copy of its private page (shared memory has no such
// trouble).
int address_space_pin(struct address_space *space, uint64_t address, enum access access,
                      uint64_t *physical);
// What names the content at an address, wherever it is mapped and whatever page holds it: a shared
// mapping's object and the offset in it, else the space and the address. 0 or -EFAULT.
int address_space_content(struct address_space *space, uint64_t address, const void **owner,
                          uint64_t *offset);
// The page of 4 KiB that is mapped there now, PHYSICAL_NONE: none.
uint64_t address_space_physical(struct address_space *space, uint64_t address);

// mbind(2) of whole pages, flags MPOL_MF_*: where those to come are taken from, and with
// MPOL_MF_MOVE those that are there go. 0; -EFAULT: a hole; -EIO: MPOL_MF_STRICT, and a page is
// elsewhere.
int address_space_bind(struct address_space *space, uint64_t start, uint64_t end,
                       struct numa_policy policy, unsigned flags);
// The policy of the mapping at an address; *policy stays as it is where it has none. 0 or -EFAULT.
int address_space_policy(struct address_space *space, uint64_t address, struct numa_policy *policy);

// Unlisten returns when the listener is not being called and will not be. No lock held.
void address_space_listen(struct address_space *space, struct address_space_listener *listener);
void address_space_unlisten(struct address_space *space, struct address_space_listener *listener);
