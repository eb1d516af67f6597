// SPDX-License-Identifier: BSD-2-Clause
// The guest's side of the I/O bench: requests to its disk, frames to another guest, each in ticks
// of the time stamp counter.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <x86intrin.h>

#define BLOCK     4096u
#define BLOCKS    1024u // of the disk that are touched
#define DEPTH_MAX 32u
#define BATCH     64u
#define BATCHES   9u // the first warms up; the median of the others counts
#define WINDOW    32u
#define ETHERTYPE 0x88b5 // IEEE 802's first for local experiments
#define FRAME_MAX 1514u
#define PATIENCE  20000 // milliseconds until a frame is lost

static void fail(const char *what) {
    printf("io: failed: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int compare(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static void report(const char *name, uint64_t ticks[BATCHES], unsigned operations) {
    qsort(ticks + 1, BATCHES - 1, sizeof(ticks[0]), compare);
    printf("io: %-44s %8llu\n", name, (unsigned long long)ticks[BATCHES / 2] / operations);
    fflush(stdout);
}

// -- disk --

struct disk {
    int fd;
    aio_context_t context;
    uint8_t *buffers; // DEPTH_MAX blocks
    uint32_t next;    // pseudo-random places, the same in each run
};

static void submit(struct disk *disk, struct iocb *request, unsigned slot, bool write) {
    disk->next = disk->next * 1664525u + 1013904223u;
    *request = (struct iocb){.aio_lio_opcode = write ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD,
                             .aio_fildes = (uint32_t)disk->fd,
                             .aio_buf = (uintptr_t)(disk->buffers + slot * BLOCK),
                             .aio_nbytes = BLOCK,
                             .aio_offset = (int64_t)(disk->next >> 8) % BLOCKS * BLOCK,
                             .aio_data = slot};
    if (syscall(SYS_io_submit, disk->context, 1, &request) != 1)
        fail("io_submit");
}

static uint64_t batch(struct disk *disk, unsigned depth, bool write) {
    struct iocb requests[DEPTH_MAX];
    struct io_event events[DEPTH_MAX];
    unsigned begun = 0, done = 0;
    uint64_t start = __rdtsc();

    for (; begun < depth; begun++)
        submit(disk, &requests[begun], begun, write);
    while (done < BATCH) {
        long count = syscall(SYS_io_getevents, disk->context, 1, DEPTH_MAX, events, NULL);
        if (count < 1)
            fail("io_getevents");
        for (long i = 0; i < count; i++, done++) {
            unsigned slot = (unsigned)events[i].data;
            if (events[i].res != BLOCK)
                fail("a request");
            if (begun < BATCH) {
                submit(disk, &requests[slot], slot, write);
                begun++;
            }
        }
    }
    return __rdtsc() - start;
}

static void measure_disk(const char *path) {
    static const struct {
        const char *name;
        unsigned depth;
        bool write;
    } rows[] = {{"disk: 4 KiB read, depth 1", 1, false},
                {"disk: 4 KiB read, depth 32", 32, false},
                {"disk: 4 KiB write, depth 1", 1, true},
                {"disk: 4 KiB write, depth 32", 32, true}};
    struct disk disk = {.fd = open(path, O_RDWR | O_DIRECT)};
    uint64_t ticks[BATCHES];

    disk.buffers = mmap(NULL, DEPTH_MAX * BLOCK, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (disk.fd < 0 || disk.buffers == MAP_FAILED ||
        syscall(SYS_io_setup, DEPTH_MAX, &disk.context) != 0)
        fail(path);
    for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
        for (unsigned i = 0; i < BATCHES; i++)
            ticks[i] = batch(&disk, rows[row].depth, rows[row].write);
        report(rows[row].name, ticks, BATCH);
    }
}

// -- network --

enum kind { DATA, LAST, ACKNOWLEDGE, ASK }; // ASK: the peer sends a window

struct frame {
    struct ethhdr header;
    uint8_t kind;
    uint16_t size; // that the window asked for has
    uint8_t padding[FRAME_MAX - sizeof(struct ethhdr) - 4];
} __attribute__((packed));

static int open_interface(const char *name) {
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETHERTYPE));
    struct ifreq request = {0};

    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &request) < 0)
        fail(name);
    request.ifr_flags |= IFF_UP;
    if (ioctl(fd, SIOCSIFFLAGS, &request) < 0 || ioctl(fd, SIOCGIFINDEX, &request) < 0)
        fail(name);
    struct sockaddr_ll address = {.sll_family = AF_PACKET,
                                  .sll_protocol = htons(ETHERTYPE),
                                  .sll_ifindex = request.ifr_ifindex};
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        fail(name);
    return fd;
}

static void send_frame(int fd, enum kind kind, unsigned size, unsigned asked) {
    static struct frame frame = {.header = {.h_dest = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
                                            .h_source = {0x52, 0x54, 0, 0, 0, 1},
                                            .h_proto = 0}};

    frame.header.h_proto = htons(ETHERTYPE);
    frame.kind = (uint8_t)kind;
    frame.size = (uint16_t)asked;
    while (send(fd, &frame, size, 0) < 0)
        if (errno != ENOBUFS && errno != ENETDOWN)
            fail("send");
}

static bool receive(int fd, struct frame *frame, int patience) {
    struct pollfd wanted = {.fd = fd, .events = POLLIN};

    return poll(&wanted, 1, patience) == 1 && recv(fd, frame, sizeof(*frame), 0) > 0;
}

static void send_window(int fd, unsigned size) {
    for (unsigned i = 1; i < WINDOW; i++)
        send_frame(fd, DATA, size, 0);
    send_frame(fd, LAST, size, 0);
}

// Counts a window in. Frames of one sender keep their order.
static void receive_window(int fd) {
    struct frame frame;
    unsigned count = 0;

    do {
        if (!receive(fd, &frame, PATIENCE))
            fail("a window");
        count += frame.kind == DATA || frame.kind == LAST;
    } while (frame.kind != LAST);
    if (count != WINDOW) {
        errno = ENODATA;
        fail("frames of a window");
    }
}

static uint64_t window_out(int fd, unsigned size) {
    struct frame frame;
    uint64_t start = __rdtsc();

    send_window(fd, size);
    if (!receive(fd, &frame, PATIENCE) || frame.kind != ACKNOWLEDGE)
        fail("an acknowledgement");
    return __rdtsc() - start;
}

static uint64_t window_in(int fd, unsigned size) {
    uint64_t start = __rdtsc();

    send_frame(fd, ASK, 64, size);
    receive_window(fd);
    return __rdtsc() - start;
}

static void measure_network(const char *name) {
    static const struct {
        const char *name;
        unsigned size;
        uint64_t (*window)(int fd, unsigned size);
    } rows[] = {{"network: frame of 64 bytes, sent", 60, window_out},
                {"network: frame of 64 bytes, received", 60, window_in},
                {"network: frame of 1,500 bytes, sent", FRAME_MAX, window_out},
                {"network: frame of 1,500 bytes, received", FRAME_MAX, window_in}};
    int fd = open_interface(name);
    uint64_t ticks[BATCHES];
    struct frame frame;

    // Until the peer is there.
    do
        send_frame(fd, ASK, 64, 60);
    while (!receive(fd, &frame, 500));
    while (frame.kind != LAST)
        if (!receive(fd, &frame, PATIENCE))
            fail("the peer");
    while (receive(fd, &frame, 1000))
        ; // windows that were asked for more than once
    for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
        for (unsigned i = 0; i < BATCHES; i++)
            ticks[i] = rows[row].window(fd, rows[row].size);
        report(rows[row].name, ticks, WINDOW);
    }
}

// The peer of measure_network.
static void answer(const char *name) {
    int fd = open_interface(name);
    struct frame frame;

    for (;;) {
        if (!receive(fd, &frame, -1))
            continue;
        if (frame.kind == ASK)
            send_window(fd, frame.size <= FRAME_MAX ? frame.size : FRAME_MAX);
        else if (frame.kind == LAST)
            send_frame(fd, ACKNOWLEDGE, 60, 0);
    }
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "answer") == 0)
        answer(argv[2]);
    if (argc != 3) {
        fprintf(stderr, "usage: guest_io DISK INTERFACE | answer INTERFACE\n");
        return 2;
    }
    measure_disk(argv[1]);
    measure_network(argv[2]);
    puts("io: done");
    return 0;
}
