// SPDX-License-Identifier: BSD-2-Clause
// A 16550A UART.
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bus.h"

#define SERIAL_FIFO_SIZE 16

struct serial_backend {
    int output_fd; // -1: output goes nowhere
    void *context;
    void (*set_irq)(void *context, bool level);
    void (*room)(void *context); // the guest has made room for input; called with the lock held
};

struct serial {
    pthread_mutex_t lock;
    struct serial_backend backend;
    uint8_t divisor[2];
    uint8_t interrupt_enable;
    uint8_t fifo_control;
    uint8_t line_control;
    uint8_t modem_control;
    uint8_t line_errors; // of LSR, cleared by reading it
    uint8_t scratch;
    bool transmitter_event; // the transmitter has become empty since IIR last said so
    bool irq_level;
    unsigned received;
    uint8_t fifo[SERIAL_FIFO_SIZE];
};

void serial_attach(struct serial *serial, struct bus *ports, uint64_t port,
                   const struct serial_backend *backend);

// Bytes the receiver takes now. A guest that does not listen takes none: RTS or its receive
// interrupt is off, and what it would lose by resetting its FIFO is better kept by the sender.
size_t serial_room_left(struct serial *serial);

// Receives count bytes, at most serial_room_left().
void serial_receive(struct serial *serial, const uint8_t *bytes, size_t count);
