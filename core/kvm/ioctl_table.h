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

// A handler has the types it works on: (struct vm * or struct vcpu *, structure *) or, with
// IOCTL_VALUE and IOCTL_POINTER, (..., uint64_t argument). It returns the result or -errno.
// Pointers of all types are passed alike.
typedef int ioctl_handler(void *object, void *structure);
struct ioctl_row {
    unsigned command;
    uint16_t direction;
    uint16_t size; // bytes of the structure; not _IOC_SIZE where the header is known to lie
    union {
        ioctl_handler *structure;
        int64_t (*argument)(void *object, uint64_t argument);
    } handle;
};

// A row's place: the command's number, and whether a structure goes one way; some commands share a
// number otherwise.
#define IOCTL_ONE_WAY(command) (_IOC_DIR(command) == _IOC_READ || _IOC_DIR(command) == _IOC_WRITE)
#define IOCTL_PLACE(command)   (_IOC_NR(command) | (IOCTL_ONE_WAY(command) ? 0 : 0x100))
#define IOCTL_ROW(name, direction_, structure_, handler)                                           \
    [IOCTL_PLACE(name)] = {.command = (unsigned)(name),                                            \
                           .direction = (direction_),                                              \
                           .size = sizeof(structure_),                                             \
                           .handle.structure = (ioctl_handler *)(handler)}
#define IOCTL_PLAIN(name, direction_, handler)                                                     \
    [IOCTL_PLACE(name)] = {.command = (unsigned)(name),                                            \
                           .direction = (direction_),                                              \
                           .handle.argument = (int64_t(*)(void *, uint64_t))(handler)}

// -ENOTTY when the table has no such command; -EFAULT, -ENOMEM; else what the handler says.
int64_t ioctl_dispatch(const struct ioctl_row *rows, unsigned count, void *object, unsigned command,
                       uint64_t argument);
