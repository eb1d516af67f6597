// SPDX-License-Identifier: BSD-2-Clause
// The 16550A's registers (National Semiconductor PC16550D data sheet). Transmission takes no time;
// reception obeys RTS as a modem with hardware flow control would.
#include "serial.h"

#include <errno.h>
#include <linux/serial_reg.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "error.h"

#define IIR_FIFOS_ENABLED   0xc0
#define IIR_RECEIVE_TIMEOUT 0x0c
#define IER_IMPLEMENTED     0x0f
#define MCR_IMPLEMENTED     0x1f

static unsigned capacity(const struct serial *serial) {
    return serial->fifo_control & UART_FCR_ENABLE_FIFO ? SERIAL_FIFO_SIZE : 1;
}

static unsigned trigger_level(const struct serial *serial) {
    static const uint8_t levels[] = {1, 4, 8, 14};

    return capacity(serial) == 1 ? 1 : levels[serial->fifo_control >> 6];
}

// The highest pending interrupt in IIR's encoding.
static uint8_t interrupt_id(const struct serial *serial) {
    if ((serial->interrupt_enable & UART_IER_RLSI) && serial->line_errors) {
        return UART_IIR_RLSI;
    }
    if ((serial->interrupt_enable & UART_IER_RDI) && serial->received) {
        // Below the trigger level the character timeout is over at once.
        return serial->received >= trigger_level(serial) ? UART_IIR_RDI : IIR_RECEIVE_TIMEOUT;
    }
    if ((serial->interrupt_enable & UART_IER_THRI) && serial->transmitter_event) {
        return UART_IIR_THRI;
    }
    return UART_IIR_NO_INT;
}

static void update_irq(struct serial *serial) {
    bool level = interrupt_id(serial) != UART_IIR_NO_INT;

    if (level != serial->irq_level) {
        serial->irq_level = level;
        serial->backend.set_irq(serial->backend.context, level);
    }
}

static void write_output(const struct serial *serial, uint8_t byte) {
    while (serial->backend.output_fd >= 0) {
        ssize_t written = write(serial->backend.output_fd, &byte, 1);
        if (written == 1) {
            return;
        }
        if (written < 0 && errno == EAGAIN) {
            struct pollfd fd = {.fd = serial->backend.output_fd, .events = POLLOUT};
            poll(&fd, 1, -1);
        } else if (written < 0 && errno != EINTR) {
            fatal_errno("cannot write the guest's console");
        }
    }
}

static void put_received(struct serial *serial, uint8_t byte) {
    if (serial->received < capacity(serial)) {
        serial->fifo[serial->received++] = byte;
    } else {
        serial->line_errors |= UART_LSR_OE;
    }
}

static uint8_t take_received(struct serial *serial) {
    if (serial->received == 0) {
        return 0;
    }
    uint8_t byte = serial->fifo[0];
    serial->received--;
    memmove(serial->fifo, serial->fifo + 1, serial->received);
    if (serial->received == 0) {
        serial->backend.room(serial->backend.context);
    }
    return byte;
}

static void transmit(struct serial *serial, uint8_t byte) {
    if (serial->modem_control & UART_MCR_LOOP) {
        put_received(serial, byte);
    } else {
        write_output(serial, byte);
    }
    serial->transmitter_event = true;
}

static uint8_t read_interrupt_id(struct serial *serial) {
    uint8_t id = interrupt_id(serial);

    if (id == UART_IIR_THRI) {
        serial->transmitter_event = false;
    }
    return id | (serial->fifo_control & UART_FCR_ENABLE_FIFO ? IIR_FIFOS_ENABLED : 0);
}

static uint8_t read_line_status(struct serial *serial) {
    uint8_t status = UART_LSR_TEMT | UART_LSR_THRE | serial->line_errors;

    serial->line_errors = 0;
    return status | (serial->received ? UART_LSR_DR : 0);
}

static uint8_t read_modem_status(const struct serial *serial) {
    uint8_t control = serial->modem_control;

    if (!(control & UART_MCR_LOOP)) {
        return UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS;
    }
    return (uint8_t)((control & UART_MCR_RTS ? UART_MSR_CTS : 0) |
                     (control & UART_MCR_DTR ? UART_MSR_DSR : 0) |
                     (control & UART_MCR_OUT1 ? UART_MSR_RI : 0) |
                     (control & UART_MCR_OUT2 ? UART_MSR_DCD : 0));
}

static uint8_t read_register(struct serial *serial, uint64_t offset) {
    bool divisor = serial->line_control & UART_LCR_DLAB;

    switch (offset) {
    case UART_RX:
        return divisor ? serial->divisor[0] : take_received(serial);
    case UART_IER:
        return divisor ? serial->divisor[1] : serial->interrupt_enable;
    case UART_IIR:
        return read_interrupt_id(serial);
    case UART_LCR:
        return serial->line_control;
    case UART_MCR:
        return serial->modem_control;
    case UART_LSR:
        return read_line_status(serial);
    case UART_MSR:
        return read_modem_status(serial);
    default:
        return serial->scratch;
    }
}

static void write_interrupt_enable(struct serial *serial, uint8_t value) {
    // Enabling the interrupt while the transmitter is empty raises it.
    if ((value & UART_IER_THRI) && !(serial->interrupt_enable & UART_IER_THRI)) {
        serial->transmitter_event = true;
    }
    serial->interrupt_enable = value & IER_IMPLEMENTED;
    serial->backend.room(serial->backend.context);
}

static void write_fifo_control(struct serial *serial, uint8_t value) {
    bool toggled = (value ^ serial->fifo_control) & UART_FCR_ENABLE_FIFO;

    if (toggled || (value & UART_FCR_CLEAR_RCVR)) {
        serial->received = 0;
    }
    serial->fifo_control = value & (UART_FCR_ENABLE_FIFO | UART_FCR_TRIGGER_MASK);
    serial->backend.room(serial->backend.context);
}

static void write_register(struct serial *serial, uint64_t offset, uint8_t value) {
    bool divisor = serial->line_control & UART_LCR_DLAB;

    switch (offset) {
    case UART_TX:
        if (divisor) {
            serial->divisor[0] = value;
        } else {
            transmit(serial, value);
        }
        break;
    case UART_IER:
        if (divisor) {
            serial->divisor[1] = value;
        } else {
            write_interrupt_enable(serial, value);
        }
        break;
    case UART_FCR:
        write_fifo_control(serial, value);
        break;
    case UART_LCR:
        serial->line_control = value;
        break;
    case UART_MCR:
        serial->modem_control = value & MCR_IMPLEMENTED;
        serial->backend.room(serial->backend.context);
        break;
    case UART_SCR:
        serial->scratch = value;
        break;
    default: // LSR and MSR are read-only.
        break;
    }
}

static void serial_read(void *device, uint64_t offset, void *data, unsigned length) {
    struct serial *serial = device;
    uint8_t *bytes = data;

    pthread_mutex_lock(&serial->lock);
    for (unsigned i = 0; i < length; i++) {
        bytes[i] = read_register(serial, offset + i);
    }
    update_irq(serial);
    pthread_mutex_unlock(&serial->lock);
}

static void serial_write(void *device, uint64_t offset, const void *data, unsigned length) {
    struct serial *serial = device;
    const uint8_t *bytes = data;

    pthread_mutex_lock(&serial->lock);
    for (unsigned i = 0; i < length; i++) {
        write_register(serial, offset + i, bytes[i]);
    }
    update_irq(serial);
    pthread_mutex_unlock(&serial->lock);
}

void serial_attach(struct serial *serial, struct bus *ports, uint64_t port,
                   const struct serial_backend *backend) {
    static const struct bus_device_ops ops = {serial_read, serial_write};

    *serial = (struct serial){.lock = PTHREAD_MUTEX_INITIALIZER, .backend = *backend};
    bus_attach(ports, port, 8, &ops, serial);
}

size_t serial_room_left(struct serial *serial) {
    const uint8_t ready = UART_MCR_RTS | UART_MCR_DTR;
    size_t room = 0;

    pthread_mutex_lock(&serial->lock);
    if ((serial->modem_control & (ready | UART_MCR_LOOP)) == ready &&
        (serial->interrupt_enable & UART_IER_RDI)) {
        room = capacity(serial) - serial->received;
    }
    pthread_mutex_unlock(&serial->lock);
    return room;
}

void serial_receive(struct serial *serial, const uint8_t *bytes, size_t count) {
    pthread_mutex_lock(&serial->lock);
    for (size_t i = 0; i < count; i++) {
        put_received(serial, bytes[i]);
    }
    update_irq(serial);
    pthread_mutex_unlock(&serial->lock);
}
