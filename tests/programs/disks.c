// SPDX-License-Identifier: BSD-2-Clause
// The drivers of disk controllers at the machine's controllers: `disks ADDRESS[,UNIT[,BAD]]...`
// writes over the beginning of each disk; sector BAD cannot be read. Several processes one after
// the other take the device over, one of which is killed at work.
#define _GNU_SOURCE // memfd_create
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "drivers/machine_disks.h"
#include "tests/programs/tap.h"

#define SECTOR     512u
#define WORDS      (SECTOR / sizeof(uint64_t))
#define LANES      16u // requests in flight, each in an area of its own
#define LANE       (512u << 10)
#define LANE_SLOTS (LANE / SECTOR)
#define SECTORS    (LANES * LANE_SLOTS)
#define LENGTH_MAX (300u << 10) // several commands
#define PIECES     7u
#define REQUESTS   400u
#define KILL_AFTER 150u // requests

// What the processes share: the generation of each sector that is on the disk for certain, and the
// one that may be.
struct ledger {
    uint32_t written[SECTORS], wanted[SECTORS];
    uint32_t generation;
    unsigned over;
};

struct lane {
    struct block_request request; // first
    struct iovec pieces[PIECES];
    uint8_t *memory, *check;
    uint32_t sector, sectors; // of the request
    uint32_t generation;
    bool busy;
    int error;
};

static struct ledger *ledger;
static uint32_t bad_sector; // 0: none
static struct block_device *disk;
static uint32_t block; // sectors of one
static struct lane lanes[LANES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static uint32_t random_below(uint32_t limit) {
    static uint64_t state = 88172645463325252ull;

    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 20) % limit;
}

static uint64_t word_of(uint32_t sector, uint32_t generation, unsigned index) {
    return generation ? ((uint64_t)sector << 32 | generation) * 0x9e3779b97f4a7c15ull + index : 0;
}

static void done(struct block_request *request, int error) {
    struct lane *lane = (struct lane *)request;

    pthread_mutex_lock(&lock);
    lane->error = error;
    lane->busy = false;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

// Waits until a lane is free; a lane that stays busy is a failure.
static void wait_for(const struct lane *lane) {
    struct timespec deadline;

    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += 120;
    pthread_mutex_lock(&lock);
    while (lane->busy) {
        if (pthread_cond_timedwait(&changed, &lock, &deadline)) {
            printf("# a request does not end\n");
            _exit(1);
        }
    }
    pthread_mutex_unlock(&lock);
}

// The lane's memory in pieces: whole pages, or cut anywhere.
static void cut(struct lane *lane, bool anywhere) {
    size_t left = lane->sectors * SECTOR;
    uint8_t *at = lane->memory;
    unsigned count = 0;

    while (left) {
        size_t size = random_below((uint32_t)left) + 1;

        if (!anywhere)
            size = (size + 4095) & ~4095ul;
        if (size > left || count == PIECES - 1)
            size = left;
        lane->pieces[count++] = (struct iovec){.iov_base = at, .iov_len = size};
        at += size;
        left -= size;
    }
    lane->request.data = lane->pieces;
    lane->request.count = count;
}

static void submit(struct lane *lane, enum block_operation operation) {
    bool moves = operation == BLOCK_READ || operation == BLOCK_WRITE;

    cut(lane, random_below(2));
    lane->request.operation = operation;
    lane->request.queue = (unsigned)(lane - lanes);
    lane->request.offset = (uint64_t)lane->sector * SECTOR;
    lane->request.length = (uint64_t)lane->sectors * SECTOR;
    lane->request.done = done;
    if (!moves)
        lane->request.count = 0;
    lane->busy = true;
    block_submit(disk, &lane->request);
}

static void choose_sectors(struct lane *lane) {
    uint32_t sectors =
        random_below(2) ? random_below(16) + 1 : random_below(LENGTH_MAX / SECTOR) + 1;

    lane->sectors = (sectors + block - 1) & ~(block - 1);
    lane->sector = (uint32_t)(lane - lanes) * LANE_SLOTS +
                   (random_below(LANE_SLOTS - lane->sectors) & ~(block - 1));
}

static void submit_write(struct lane *lane, bool zeroes) {
    uint64_t *words = (uint64_t *)lane->memory;

    choose_sectors(lane);
    lane->generation = zeroes ? 0 : ++ledger->generation;
    for (uint32_t i = 0; i < lane->sectors; i++) {
        ledger->wanted[lane->sector + i] = lane->generation;
        for (unsigned j = 0; j < WORDS; j++)
            *words++ = word_of(lane->sector + i, lane->generation, j);
    }
    lane->request.may_unmap = random_below(2);
    submit(lane, zeroes ? BLOCK_WRITE_ZEROES : BLOCK_WRITE);
}

static void end_write(struct lane *lane) {
    wait_for(lane);
    if (!lane->sectors)
        return;
    CHECK_EQUAL(lane->error, 0);
    for (uint32_t i = 0; i < lane->sectors; i++)
        ledger->written[lane->sector + i] = lane->generation;
    ledger->over++;
    lane->sectors = 0;
}

static bool holds(const uint64_t *words, uint32_t sector, uint32_t generation) {
    for (unsigned i = 0; i < WORDS; i++)
        if (words[i] != word_of(sector, generation, i))
            return false;
    return true;
}

// Reads everything back. What was under way when the writer died may be there or not, sector by
// sector.
static void verify(void) {
    unsigned bad = 0;

    for (unsigned part = 0; part < 2; part++) {
        for (struct lane *lane = lanes; lane < lanes + LANES; lane++) {
            lane->sector = (uint32_t)(lane - lanes) * LANE_SLOTS + part * (LANE_SLOTS / 2);
            lane->sectors = LANE_SLOTS / 2;
            memset(lane->memory, 0xa5, LANE / 2);
            submit(lane, BLOCK_READ);
        }
        for (struct lane *lane = lanes; lane < lanes + LANES; lane++) {
            const uint64_t *words = (uint64_t *)lane->memory;

            wait_for(lane);
            CHECK_EQUAL(lane->error, 0);
            for (uint32_t i = 0; i < lane->sectors; i++, words += WORDS) {
                uint32_t sector = lane->sector + i;

                if (holds(words, sector, ledger->wanted[sector]))
                    ledger->written[sector] = ledger->wanted[sector];
                else if (holds(words, sector, ledger->written[sector]))
                    ledger->wanted[sector] = ledger->written[sector];
                else if (!bad++)
                    printf("# sector %u: %#llx, written %u, wanted %u\n", sector,
                           (unsigned long long)words[0], ledger->written[sector],
                           ledger->wanted[sector]);
            }
            lane->sectors = 0;
        }
    }
    CHECK(bad == 0, "%u sectors are wrong", bad);
}

// Only the request that touches the bad sector fails, whatever is under way beside it.
static void read_bad_sector(void) {
    for (struct lane *lane = lanes; lane < lanes + LANES; lane++) {
        choose_sectors(lane);
        if (lane == &lanes[5])
            lane->sector = (bad_sector - lane->sectors / 2) & ~(block - 1);
        submit(lane, BLOCK_READ);
    }
    for (struct lane *lane = lanes; lane < lanes + LANES; lane++) {
        wait_for(lane);
        CHECK_EQUAL(lane->error, lane == &lanes[5] ? -EIO : 0);
        lane->sectors = 0;
    }
}

static void flush(void) {
    lanes[0].sectors = 0;
    submit(&lanes[0], BLOCK_FLUSH);
    wait_for(&lanes[0]);
    CHECK_EQUAL(lanes[0].error, 0);
}

static void write_all(unsigned requests) {
    for (unsigned i = 0; i < requests; i++) {
        struct lane *lane = &lanes[i % LANES];

        end_write(lane);
        submit_write(lane, random_below(12) == 0);
    }
    for (struct lane *lane = lanes; lane < lanes + LANES; lane++)
        end_write(lane);
}

static void fill(void) {
    for (struct lane *lane = lanes; lane < lanes + LANES; lane++) {
        lane->sector = (uint32_t)(lane - lanes) * LANE_SLOTS;
        lane->sectors = LANE_SLOTS;
        lane->generation = 0;
        submit(lane, BLOCK_WRITE_ZEROES);
    }
    for (struct lane *lane = lanes; lane < lanes + LANES; lane++)
        end_write(lane);
}

// What a discarded sector holds is not said; its neighbours keep what they have.
static void discard(void) {
    for (struct lane *lane = lanes; lane < lanes + LANES; lane++) {
        choose_sectors(lane);
        submit(lane, BLOCK_DISCARD);
    }
    for (struct lane *lane = lanes; lane < lanes + LANES; lane++) {
        wait_for(lane);
        CHECK_EQUAL(lane->error, disk->discards ? 0 : -EOPNOTSUPP);
        lane->request.may_unmap = true;
        lane->generation = 0;
        for (uint32_t i = 0; i < lane->sectors; i++)
            ledger->wanted[lane->sector + i] = 0;
        submit(lane, BLOCK_WRITE_ZEROES);
    }
    for (struct lane *lane = lanes; lane < lanes + LANES; lane++)
        end_write(lane);
}

// --- processes

static void take_over(const char *address, unsigned unit) {
    const struct machine_disk *found = machine_disks(address);

    while (found && found->unit != unit)
        found = found->next;
    if (!found) {
        printf("# no disk %u at %s\n", unit, address);
        _exit(1);
    }
    disk = found->device;
    block = disk->logical_block / SECTOR;
    // Like a guest's memory: a file in memory. Half of it is mapped for the device, where it can
    // be.
    int memory = memfd_create("guest", MFD_CLOEXEC);
    if (ftruncate(memory, (off_t)LANES * LANE) < 0)
        _exit(1);
    uint8_t *base = mmap(NULL, (size_t)LANES * LANE, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    for (unsigned i = 0; i < LANES; i++)
        lanes[i].memory = base + (size_t)i * LANE;
    int error = disk->map(disk, base, (size_t)LANES / 2 * LANE);
    printf("# %s unit %u: %llu MiB in blocks of %u, '%.20s', %sdiscards, guest memory %s\n",
           address, unit, (unsigned long long)disk->sectors >> 11, disk->logical_block, disk->id,
           disk->discards ? "" : "no ", error ? "copied" : "mapped");
}

static void write_and_verify(void) {
    CHECK(disk->sectors >= SECTORS);
    fill();
    write_all(REQUESTS);
    verify();
    flush();
    discard();
    verify();
    if (bad_sector) {
        read_bad_sector();
        write_all(LANES);
        verify();
    }
}

static void write_for_ever(void) {
    for (;;)
        write_all(REQUESTS);
}

static pid_t start(const char *address, unsigned unit, void (*run)(void)) {
    pid_t child = fork();

    if (child == 0) {
        take_over(address, unit);
        run();
        _exit(tap_failed_checks != 0);
    }
    return child;
}

static bool ends_well(pid_t child) {
    int status = 0;

    return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool test_disk(const char *address, unsigned unit) {
    bool good = ends_well(start(address, unit, write_and_verify));

    printf("%s - %s unit %u: what was written is read\n", good ? "ok" : "not ok", address, unit);
    ledger->over = 0;
    pid_t victim = start(address, unit, write_for_ever);
    for (unsigned i = 0; i < 60000 && *(volatile unsigned *)&ledger->over < KILL_AFTER; i++)
        usleep(1000);
    kill(victim, SIGKILL);
    bool killed = !ends_well(victim) && ledger->over >= KILL_AFTER;
    bool after = ends_well(start(address, unit, verify)) && killed;
    printf("%s - %s unit %u: a killed driver's successor finds what it had written\n",
           after ? "ok" : "not ok", address, unit);
    return good && after;
}

int main(int argc, char **argv) {
    bool good = argc > 1;

    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("1..%d\n", 2 * (argc - 1));
    ledger = mmap(NULL, sizeof(*ledger), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (int i = 1; i < argc; i++) {
        char *rest = strchr(argv[i], ',');
        unsigned unit = rest ? (unsigned)strtoul(rest + 1, &rest, 10) : 0;

        bad_sector = rest && *rest == ',' ? (uint32_t)strtoul(rest + 1, NULL, 10) : 0;
        argv[i][strcspn(argv[i], ",")] = 0;
        memset(ledger, 0, sizeof(*ledger));
        good &= test_disk(argv[i], unit);
    }
    return good ? 0 : 1;
}
