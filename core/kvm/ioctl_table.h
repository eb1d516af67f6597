// SPDX-License-Identifier: BSD-2-Clause
// Tables of KVM ioctls by number: the argument is copied in whole, the handler sees kernel memory,
// the result is copied out.
#pragma once
#include <stdint.h>
#include <linux/ioctl.h>

enum ioctl_direction {
    IOCTL_VALUE = 0,   // the argument is a number
    IOCTL_IN = 1,      // points to a structure the handler reads
    IOCTL_OUT = 2,     // points to one the handler fills
    IOCTL_POINTER = 4, // a user pointer of variable size: the handler copies
};

// A handler has the types it works on, and its row does not compile with others: int (object *,
// structure *) or, with IOCTL_VALUE and IOCTL_POINTER, int64_t (object *, uint64_t argument). It
// returns the result or -errno. It is called by one type: pointers to all structures are passed
// alike (System V ABI, AMD64 supplement, 3.2.3).
typedef int ioctl_handler(void *object, void *structure);
typedef int64_t ioctl_argument_handler(void *object, uint64_t argument);
struct ioctl_row {
    unsigned command;
    uint16_t direction;
    uint16_t size; // bytes of the structure; not _IOC_SIZE where the header is known to lie
    union {
        ioctl_handler *structure;
        ioctl_argument_handler *argument;
    } handle;
};

// A row's place: the command's number, and whether a structure goes one way; some commands share a
// number otherwise.
#define IOCTL_ONE_WAY(command) (_IOC_DIR(command) == _IOC_READ || _IOC_DIR(command) == _IOC_WRITE)
#define IOCTL_PLACE(command)   (_IOC_NR(command) | (IOCTL_ONE_WAY(command) ? 0 : 0x100))
#define IOCTL_ROW(object, name, direction_, structure_, handler)                                   \
    [IOCTL_PLACE(name)] = {.command = (unsigned)(name),                                            \
                           .direction = (direction_),                                              \
                           .size = sizeof(structure_),                                             \
                           .handle.structure = _Generic((handler), int (*)(object *, structure_ *) \
                                                        : (ioctl_handler *)(handler),              \
                                                          int (*)(object *, const structure_ *)    \
                                                        : (ioctl_handler *)(handler))}
#define IOCTL_PLAIN(object, name, direction_, handler)                                             \
    [IOCTL_PLACE(name)] = {.command = (unsigned)(name),                                            \
                           .direction = (direction_),                                              \
                           .handle.argument = _Generic((handler), int64_t(*)(object *, uint64_t)   \
                                                       : (ioctl_argument_handler *)(handler))}

// -ENOTTY when the table has no such command; -EFAULT, -ENOMEM; else what the handler says.
int64_t ioctl_dispatch(const struct ioctl_row *rows, unsigned count, void *object, unsigned command,
                       uint64_t argument);
