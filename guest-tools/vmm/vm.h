// SPDX-License-Identifier: BSD-2-Clause
// One virtual machine from its creation to its end, on the KVM API.
#pragma once

#include <linux/kvm.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "drivers/virtio/guest_memory_map.h"

#include "bus.h"
#include "devices.h"
#include "guest_kernel.h"
#include "hotplug.h"
#include "irq_routes.h"
#include "memory.h"
#include "options.h"
#include "pci.h"
#include "power.h"
#include "run_gate.h"
#include "serial.h"

enum vm_outcome {
    VM_RUNNING,
    VM_POWERED_OFF,
    VM_RESET,  // the guest asked for a reboot
    VM_ENDED,  // from the terminal or by a signal
    VM_FAILED, // said why
};

struct vcpu {
    struct vm *vm;
    unsigned index;    // also its APIC id
    int tid;           // of its thread
    int statistics_fd; // KVM's counters, -1: it has none
    bool parked;       // not plugged; atomic
    int fd;
    struct kvm_run *run;
    pthread_t thread;
};

struct vm {
    struct options *options; // what is plugged is added to them
    int kvm_fd;
    int fd;
    int wake_fd; // eventfd: the main loop has something to look at
    size_t run_size;
    struct guest_memory memory;
    struct bus ports;
    struct bus mmio;
    struct pci pci;
    struct irq_routes irq_routes;
    struct guest_memory_map memory_map; // what devices may reach
    struct devices devices;
    struct serial serial;
    bool serial_connected; // to the terminal; else to nothing
    struct power power;
    struct hotplug hotplug;
    uint32_t slots; // whose devices come and go
    unsigned cpus;  // parked ones too
    struct vcpu *vcpus;
    pthread_barrier_t started;
    struct run_gate gate;
    struct kvm_clock_data paused_clock;
    _Atomic enum vm_outcome outcome;
};

// Makes the machine and loads its kernel; exits with a message where something is missing.
void vm_create(struct vm *vm, int kvm_fd, struct options *options);

// Starts the vCPUs' threads, which wait for vm_resume where paused is set.
void vm_start(struct vm *vm, bool paused);

// Serves it until it ends. Returns how.
enum vm_outcome vm_run(struct vm *vm);

void vm_destroy(struct vm *vm);

// Ends the machine's run for the given reason; the first reason given stays. Any thread or signal
// handler.
void vm_end(struct vm *vm, enum vm_outcome outcome);

// Stops vCPUs and devices, calling meanwhile again and again until they stand still; and lets them
// go on, with the guest's clock where it was. One thread at a time.
void vm_pause(struct vm *vm, void (*meanwhile)(void));
void vm_resume(struct vm *vm);

void vm_press_power_button(struct vm *vm);

// How many vCPUs are plugged; and asks the guest to use so many. NULL, or why it cannot.
unsigned vm_cpus(const struct vm *vm);
const char *vm_set_cpus(struct vm *vm, unsigned count);

// Wakes the main loop. Any thread or signal handler.
void vm_wake(struct vm *vm);

// Sets an interrupt line of the in-kernel controllers.
void vm_set_irq(struct vm *vm, uint32_t line, bool level);
