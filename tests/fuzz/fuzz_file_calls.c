// SPDX-License-Identifier: BSD-2-Clause
// What programs hand to the file system and to Unix sockets: paths of any shape, socket addresses,
// control messages.
#include <asm/socket.h>
#include <linux/fcntl.h>
#include <linux/stat.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include "core/file/file.h"
#include "core/file/socket_abi.h"
#include "core/process/process.h"
#include "core/process/system_call.h"
#include "tests/unit/fake_process.h"

#define FIRST_FD 3 // what an input opens lies from here on
#define LAST_FD  64

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *data;
    size_t left;
};

static uint8_t next(struct input *input) {
    if (input->left == 0)
        return 0;
    input->left--;
    return *input->data++;
}

// A string in a block of its exact size. Of few different bytes, so that names are met again.
static char *next_path(struct input *input) {
    static const char letters[16] = "//..abcdefgh\1\200";
    static const char *const known[] = {
        "/bin/tool", "loop",      "/proc/self/fd/", "/proc/self/exe",
        "../",       "/dev/null", "bin/",           "/etc/ashlar.conf"};
    char text[600];
    size_t length = 0;
    uint8_t count = next(input);

    for (unsigned i = 0; i < count && length < 500; i++) {
        uint8_t byte = next(input);
        if (byte < 8) {
            memcpy(text + length, known[byte], strlen(known[byte]));
            length += strlen(known[byte]);
        } else if (byte > 250) { // a long name
            memset(text + length, 'n', 100);
            length += length < 400 ? 100 : 0;
        } else {
            text[length++] = letters[byte & 15] ? letters[byte & 15] : 'i';
        }
    }
    char *path = malloc(length + 1);
    if (!path)
        abort();
    memcpy(path, text, length);
    path[length] = '\0';
    return path;
}

static void path_call(struct input *input) {
    static int64_t (*const calls[])(const uint64_t *) = {
        sys_open,  sys_stat,  sys_lstat,   sys_readlink, sys_mkdir, sys_unlink,
        sys_rmdir, sys_chdir, sys_symlink, sys_rename,   sys_access};
    struct {
        char bytes[4096];
    } *room = malloc(sizeof *room);
    uint8_t which = next(input) % 11, flags = next(input);
    char *first = next_path(input), *second = next_path(input);

    if (!room)
        abort();
    if (which == 0)
        CALL(calls[which], (uintptr_t)first,
             (flags & 3) | (flags & 4 ? 0100 : 0) | (flags & 8 ? 01000 : 0), 0644);
    else if (which >= 8)
        CALL(calls[which], (uintptr_t)first, which == 10 ? flags & 7 : (uintptr_t)second);
    else
        CALL(calls[which], (uintptr_t)first, (uintptr_t)room->bytes, flags);
    free(first);
    free(second);
    free(room);
}

static void *next_block(struct input *input, size_t *size) {
    *size = next(input);
    void *block = calloc(1, *size ? *size : 1);
    if (!block)
        abort();
    for (size_t i = 0; i < *size; i++)
        ((uint8_t *)block)[i] = next(input);
    return block;
}

static void message(struct input *input) {
    uint8_t flags = next(input), fd = FIRST_FD + next(input) % 8;
    size_t control_size, name_size;
    uint8_t *control = next_block(input, &control_size);
    uint8_t *name = next_block(input, &name_size);
    struct iovec piece = {name, name_size};
    struct message_header header = {.name = flags & 1 ? (uintptr_t)name : 0,
                                    .name_length = (uint32_t)name_size,
                                    .pieces = (uintptr_t)&piece,
                                    .piece_count = 1,
                                    .control = (uintptr_t)control,
                                    .control_length = control_size};

    // Mostly a header that says what is there.
    if (flags & 2 && control_size >= sizeof(struct control_header)) {
        struct control_header *first = (struct control_header *)control;
        first->length = flags & 4 ? control_size : first->length & 63;
        first->level = SOL_SOCKET;
        first->type = flags & 8 ? 1 : first->type & 3; // SCM_RIGHTS
    }
    if (name_size >= 2)
        name[0] = 1, name[1] = 0; // AF_UNIX
    switch (flags >> 4 & 7) {
    case 0:
        CALL(sys_bind, fd, (uintptr_t)name, name_size);
        break;
    case 1:
        CALL(sys_connect, fd, (uintptr_t)name, name_size);
        break;
    case 2:
        CALL(sys_sendto, fd, (uintptr_t)control, control_size, 0x40, (uintptr_t)name, name_size);
        break;
    case 3 ... 4:
        CALL(sys_recvmsg, fd, (uintptr_t)&header, 0x40);
        break;
    default:
        CALL(sys_sendmsg, fd, (uintptr_t)&header, 0x4040);
    }
    free(control);
    free(name);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    static struct fake_archive archive;
    (void)argc;
    (void)argv;
    fake_process_start();
    fake_archive_add(&archive, ".", S_IFDIR | 0755, 1, 2, NULL, 0);
    fake_archive_add(&archive, "bin", S_IFDIR | 0711, 3, 2, NULL, 0);
    fake_archive_add(&archive, "bin/tool", S_IFREG | 0755, 2, 1, "original", 8);
    fake_archive_add(&archive, "loop", S_IFLNK | 0777, 6, 1, "loop", 4);
    fake_archive_add(&archive, "a", S_IFLNK | 0777, 7, 1, "bin/../b", 8);
    fake_archive_add(&archive, "TRAILER!!!", 0, 0, 1, NULL, 0);
    return root_init(archive.bytes, archive.size, "cpus = 2\n", 9);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input input = {data, size};
    int fds[2] = {-1, -1};

    for (int type = 1; type <= 2; type++) // stream, datagram
        CALL(sys_socketpair, 1, type | 04000, 0, (uintptr_t)fds);
    CALL(sys_socket, 1, 2 | 04000, 0);
    while (input.left)
        (next(&input) & 1 ? path_call : message)(&input);
    for (int fd = 0; fd < LAST_FD; fd++)
        CALL(sys_close, fd);
    CALL(sys_chdir, (uintptr_t) "/");
    return 0;
}
