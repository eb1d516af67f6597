// SPDX-License-Identifier: BSD-2-Clause
// Terminals: the console, which is COM1 and the screen, and /dev/ttyS1, which is COM2 alone, each
// behind a line discipline. Received bytes wait unprocessed in a ring until a program reads or
// polls, so what is typed ahead meets the mode its reader has set; only the console's ISIG
// characters act at once. When the ring is full reception stops and bytes stay in the UART.
#include <asm/fcntl.h>
#include <asm/ioctls.h>
#include <asm/siginfo.h>
#include <asm/stat.h>
#include <asm/termios.h>
#include <linux/errno.h>
#include <linux/eventpoll.h>
#include <linux/kdev_t.h>
#include "core/file/file_mode.h"
#include "arch/x86/cpu.h"
#include "arch/x86/cpu/uart.h"
#include "core/file/blocking.h"
#include "core/file/io_buffer.h"
#include "core/file/line_discipline.h"
#include "core/log.h"
#include "core/mm/user_copy.h"
#include "core/process/job_control.h"
#include "core/process/process.h"
#include "core/process/signal_queue.h"
#include "core/process/system_call.h"

#define RING_SIZE  4096u
#define PIECE      128u // bytes written with interrupts off: 11 ms at 115200 baud
#define READ_CHUNK 256u
#define PATIENCE   200000u // looks at a transmitter before it counts as stuck
#define DECISECOND 100000000ull

static struct terminal {
    enum uart_port port;
    struct spinlock lock;
    uint8_t ring[RING_SIZE];
    uint32_t head, tail; // free-running
    bool stopped;        // reception is off until there is room
    bool started;
    struct line_discipline line;
    struct winsize window;
    unsigned foreground; // the console's group of TIOCSPGRP; 0: never set
    struct wait_queue queue;
} terminals[UART_PORTS];

// Everybody's controlling terminal.
static bool is_console(const struct terminal *terminal) {
    return terminal->port == UART_COM1;
}

static void put(struct terminal *terminal, const char *text, size_t length) {
    if (is_console(terminal))
        console_write(text, length);
    else
        uart_write(terminal->port, text, length);
}

static void echo(void *argument, const char *text, size_t length) {
    put(argument, text, length);
}

// Who gets ^C: the foreground group; while there is none every process but init.
static unsigned foreground(void) {
    unsigned group = __atomic_load_n(&terminals[UART_COM1].foreground, __ATOMIC_RELAXED);
    return group && process_group_exists(group) ? group : 0;
}

// 0, or why a process in the background may not read (POSIX, 11.1.4).
static int check_reader(const struct terminal *terminal) {
    const struct process *process = process_current();
    unsigned group = is_console(terminal) ? foreground() : 0;
    if (!group || group == process->group)
        return 0;
    uint64_t handler = process->actions[SIGTTIN - 1].handler;
    if (handler == (uint64_t)(uintptr_t)SIG_IGN || process_group_orphaned() ||
        thread_current()->signals.blocked & SIGNAL_BIT(SIGTTIN))
        return -EIO;
    process_group_signal(process->group,
                         &(struct signal_info){.signal = SIGTTIN, .code = SI_KERNEL});
    return -ERESTARTSYS;
}

static void signal_typed(struct terminal *terminal, uint8_t byte, int signal) {
    spin_lock(&terminal->lock);
    if (!(terminal->line.termios.c_lflag & NOFLSH))
        terminal->tail = terminal->head;
    line_discipline_signalled(&terminal->line, byte);
    spin_unlock(&terminal->lock);
    process_group_signal(foreground(), &(struct signal_info){.signal = signal, .code = SI_KERNEL});
}

// False: the ring is full.
static bool receive_byte(struct terminal *terminal) {
    spin_lock(&terminal->lock);
    bool room = terminal->head - terminal->tail < RING_SIZE;
    int byte = room ? uart_read(terminal->port) : -1;
    int signal = byte < 0 || !is_console(terminal)
                     ? 0
                     : line_discipline_signal(&terminal->line, (uint8_t)byte);
    if (byte >= 0 && !signal)
        terminal->ring[terminal->head++ % RING_SIZE] = (uint8_t)byte;
    if (!room) { // under the lock, so that a reader that makes room turns it on after this
        terminal->stopped = true;
        uart_input_enable(terminal->port, false);
    }
    spin_unlock(&terminal->lock);
    if (signal)
        signal_typed(terminal, (uint8_t)byte, signal);
    return byte >= 0;
}

static void receive(void *argument) {
    struct terminal *terminal = argument;
    while (receive_byte(terminal))
        ;
    wait_queue_wake(&terminal->queue, EPOLLIN | EPOLLRDNORM);
}

// Feeds the line discipline until a read can be served or nothing is left. Lock held.
static void process_ring(struct terminal *terminal) {
    while (terminal->tail != terminal->head &&
           line_discipline_input(&terminal->line, terminal->ring[terminal->tail % RING_SIZE]))
        terminal->tail++;
}

// Lets the UART go on when there is room again. Lock not held: the handler may run from here.
static void resume_reception(struct terminal *terminal) {
    spin_lock(&terminal->lock);
    bool resume = terminal->stopped && terminal->head - terminal->tail <= RING_SIZE / 2;
    if (resume)
        terminal->stopped = false;
    spin_unlock(&terminal->lock);
    if (resume)
        uart_input_enable(terminal->port, true);
}

static bool readable_locked(struct terminal *terminal) {
    process_ring(terminal);
    return terminal->line.ready || line_discipline_available(&terminal->line);
}

static bool can_read(void *object) {
    struct terminal *terminal = object;
    spin_lock(&terminal->lock);
    bool ready = readable_locked(terminal);
    spin_unlock(&terminal->lock);
    resume_reception(terminal);
    return ready;
}

struct taken {
    size_t size;
    bool cooked, end_of_file, line_end;
    uint8_t minimum, time; // VMIN, VTIME
};

static struct taken take(struct terminal *terminal, uint8_t *to, size_t size) {
    spin_lock(&terminal->lock);
    struct taken taken = {.cooked = line_discipline_is_cooked(&terminal->line),
                          .minimum = terminal->line.termios.c_cc[VMIN],
                          .time = terminal->line.termios.c_cc[VTIME]};
    bool ready = readable_locked(terminal) && terminal->line.ready;
    taken.size = line_discipline_take(&terminal->line, to, size);
    taken.end_of_file = ready && !taken.size;
    taken.line_end = ready && !terminal->line.ready;
    spin_unlock(&terminal->lock);
    resume_reception(terminal);
    return taken;
}

// How a read that has `done` bytes goes on: 0: try again, 1: enough, or -errno.
static int64_t wait_for_more(struct file *file, const struct taken *last, size_t done,
                             size_t wanted) {
    struct terminal *terminal = file->object;
    if (last->end_of_file || last->line_end || (last->cooked && done))
        return 1;
    if (!last->cooked && done >= last->minimum && (done || !last->time))
        return 1;
    if (done == wanted)
        return 1;
    if (file->flags & O_NONBLOCK)
        return done ? 1 : -EAGAIN;
    bool timed = !last->cooked && last->time && (done || !last->minimum);
    uint64_t deadline = timed ? time_now() + last->time * DECISECOND : TIME_NEVER;
    int error = file_wait(&terminal->queue, can_read, terminal, deadline);
    return error == -ETIMEDOUT ? 1 : error;
}

static int64_t console_read(struct file *file, struct io_buffer *buffer, uint64_t *offset) {
    struct terminal *terminal = file->object;
    size_t before = io_remaining(buffer);
    uint8_t bytes[READ_CHUNK];
    int64_t status = before ? check_reader(terminal) : 1;
    while (!status) {
        size_t left = io_remaining(buffer);
        struct taken taken = take(terminal, bytes, left < sizeof(bytes) ? left : sizeof(bytes));
        if (taken.size)
            status = io_copy_to(buffer, bytes, taken.size);
        bool more = taken.size == sizeof(bytes) && !taken.line_end && io_remaining(buffer);
        if (!status && !more)
            status = wait_for_more(file, &taken, before - io_remaining(buffer), before);
    }
    return io_result(buffer, before, status < 0 ? status : 0);
}

// The end of a piece: after its last newline, so that lines of different writers stay whole where
// they can.
static size_t piece_length(const uint8_t *text, size_t size) {
    if (size <= PIECE)
        return size;
    for (size_t length = PIECE; length; length--) {
        if (text[length - 1] == '\n')
            return length;
    }
    return PIECE;
}

// A serial line alone is waited for with interrupts on, and takes what its FIFO holds.
static void write_pieces(struct terminal *terminal, const uint8_t *text, size_t size) {
    char out[2 * PIECE];
    while (size) {
        size_t piece = piece_length(text, size);
        if (!is_console(terminal)) {
            for (unsigned i = 0; i < PATIENCE && !uart_can_write(terminal->port); i++)
                thread_preemption_point();
            if (piece > UART_BURST / 2) // each byte may become two
                piece = UART_BURST / 2;
        }
        put(terminal, out, line_discipline_output(&terminal->line, text, piece, out));
        text += piece;
        size -= piece;
        thread_preemption_point();
    }
}

static int64_t console_file_write(struct file *file, struct io_buffer *buffer, uint64_t *offset) {
    size_t before = io_remaining(buffer);
    struct bounce_buffer bounce;
    int64_t error = bounce_buffer_init(&bounce, before);
    if (error)
        return error;
    while (!error && io_remaining(buffer)) {
        size_t left = io_remaining(buffer);
        error = io_copy_from(buffer, bounce.data, left < bounce.size ? left : bounce.size);
        write_pieces(file->object, bounce.data, left - io_remaining(buffer));
        if (!error && io_remaining(buffer) && thread_interrupted())
            break;
    }
    bounce_buffer_free(&bounce);
    return io_result(buffer, before, error);
}

static unsigned console_poll(struct file *file, struct poll_table *table) {
    struct terminal *terminal = file->object;
    poll_wait(table, &terminal->queue);
    unsigned events = EPOLLOUT | EPOLLWRNORM;
    if (can_read(terminal))
        events |= EPOLLIN | EPOLLRDNORM;
    return events;
}

static void set_termios(struct terminal *terminal, const struct termios *termios, bool flush) {
    spin_lock(&terminal->lock);
    if (flush) {
        terminal->tail = terminal->head;
        line_discipline_flush(&terminal->line);
    }
    line_discipline_set(&terminal->line, termios);
    spin_unlock(&terminal->lock);
    resume_reception(terminal);
    wait_queue_wake(&terminal->queue, EPOLLIN | EPOLLRDNORM);
}

_Static_assert(sizeof(struct termios) <= offsetof(struct termios2, c_ispeed),
               "termios2 extends it");

// size: that of struct termios or of struct termios2.
static int64_t termios_ioctl(struct terminal *terminal, unsigned command, uint64_t argument,
                             size_t size) {
    struct termios2 extended = {.c_ispeed = 115200, .c_ospeed = 115200};
    struct termios termios;
    if (command == TCGETS || command == TCGETS2) {
        spin_lock(&terminal->lock);
        __builtin_memcpy(&extended, &terminal->line.termios, sizeof(termios));
        spin_unlock(&terminal->lock);
        return copy_to_user(argument, &extended, size);
    }
    if (copy_from_user(&extended, argument, size))
        return -EFAULT;
    __builtin_memcpy(&termios, &extended, sizeof(termios));
    set_termios(terminal, &termios, command == TCSETSF || command == TCSETSF2);
    return 0;
}

static int64_t flush(struct terminal *terminal, uint64_t which) {
    if (which > TCIOFLUSH)
        return -EINVAL;
    if (which == TCOFLUSH) // output is written through: none waits
        return 0;
    spin_lock(&terminal->lock);
    terminal->tail = terminal->head;
    line_discipline_flush(&terminal->line);
    spin_unlock(&terminal->lock);
    resume_reception(terminal);
    return 0;
}

static int64_t give_int(uint64_t address, int value) {
    return copy_to_user(address, &value, sizeof(value));
}

static int64_t bytes_readable(struct terminal *terminal, uint64_t address) {
    spin_lock(&terminal->lock);
    process_ring(terminal);
    size_t bytes = line_discipline_available(&terminal->line);
    if (!line_discipline_is_cooked(&terminal->line))
        bytes += terminal->head - terminal->tail;
    spin_unlock(&terminal->lock);
    return give_int(address, (int)bytes);
}

static int64_t window_ioctl(struct terminal *terminal, unsigned command, uint64_t argument) {
    struct winsize window;
    if (command == TIOCSWINSZ && copy_from_user(&window, argument, sizeof(window)))
        return -EFAULT;
    spin_lock(&terminal->lock);
    if (command == TIOCSWINSZ)
        terminal->window = window;
    window = terminal->window;
    spin_unlock(&terminal->lock);
    return command == TIOCSWINSZ ? 0 : copy_to_user(argument, &window, sizeof(window));
}

static int64_t console_ioctl(struct file *file, unsigned command, uint64_t argument) {
    struct terminal *terminal = file->object;
    uint32_t group;
    switch (command) {
    case TCGETS:
    case TCSETS:
    case TCSETSW:
    case TCSETSF:
        return termios_ioctl(terminal, command, argument, sizeof(struct termios));
    case TCGETS2:
    case TCSETS2:
    case TCSETSW2:
    case TCSETSF2:
        return termios_ioctl(terminal, command, argument, sizeof(struct termios2));
    case TCFLSH:
        return flush(terminal, argument);
    case TCSBRK:
    case TCSBRKP:
        return argument || command == TCSBRKP ? -EINVAL : 0; // tcdrain; a break cannot be sent
    case TIOCGWINSZ:
    case TIOCSWINSZ:
        return window_ioctl(terminal, command, argument);
    case FIONREAD:
        return bytes_readable(terminal, argument);
    case TIOCOUTQ:
        return give_int(argument, 0);
    default:
        break;
    }
    if (!is_console(terminal))
        return -ENOTTY;
    switch (command) {
    case TIOCGPGRP:
        group = foreground();
        return give_int(argument, (int)(group ? group : process_current()->group));
    case TIOCGSID:
        return give_int(argument, (int)process_current()->session);
    case TIOCSPGRP:
        if (user_load_32(&group, argument))
            return -EFAULT;
        if (!process_group_exists(group))
            return -ESRCH;
        __atomic_store_n(&terminal->foreground, group, __ATOMIC_RELAXED);
        return 0;
    case TIOCSCTTY: // it is everybody's controlling terminal
        return 0;
    default:
        return -ENOTTY;
    }
}

static int console_status(struct file *file, struct stat *status) {
    const struct terminal *terminal = file->object;
    status->st_mode = S_IFCHR | 0620;
    status->st_rdev = is_console(terminal) ? MKDEV(5, 1) : MKDEV(4, 64 + terminal->port);
    return 0;
}

static const struct file_ops console_ops = {
    .name = "console",
    .read = console_read,
    .write = console_file_write,
    .ioctl = console_ioctl,
    .poll = console_poll,
    .status = console_status,
};

static void start(struct terminal *terminal) {
    spin_lock(&terminal->lock);
    bool first = !terminal->started;
    terminal->started = true;
    if (first) {
        terminal->window = (struct winsize){.ws_row = 25, .ws_col = 80};
        list_init(&terminal->queue.waiters);
        line_discipline_init(&terminal->line, echo, terminal);
    }
    spin_unlock(&terminal->lock);
    if (!first)
        return;
    uart_set_handler(terminal->port, receive, terminal);
    uart_input_enable(terminal->port, true);
}

static struct file *open_port(enum uart_port port, int flags, int *error) {
    struct terminal *terminal = &terminals[port];
    terminal->port = port;
    start(terminal);
    struct file *file =
        file_create(&console_ops, terminal, (uint32_t)flags & (O_ACCMODE | O_NONBLOCK));
    *error = file ? 0 : -ENOMEM;
    return file;
}

struct file *console_open(void *object, int flags, int *error) {
    return open_port(UART_COM1, flags, error);
}

struct file *serial_open(void *object, int flags, int *error) {
    if (!uart_present(UART_COM2)) {
        *error = -ENXIO;
        return NULL;
    }
    return open_port(UART_COM2, flags, error);
}
