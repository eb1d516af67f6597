// SPDX-License-Identifier: BSD-2-Clause
// Creation of the machine's parts, and the main loop that serves the console while vCPUs run.
#include "vm.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "acpi.h"
#include "control.h"
#include "error.h"
#include "guest_layout.h"
#include "statistics.h"
#include "terminal.h"
#include "vcpu.h"

#define PAUSE_POLL_US 200

static void add_memory_slot(struct vm *vm, uint32_t slot, uint64_t address, uint64_t size) {
    struct kvm_userspace_memory_region region = {
        .slot = slot,
        .guest_phys_addr = address,
        .memory_size = size,
        .userspace_addr = (uintptr_t)memory_pointer(&vm->memory, address, size),
    };

    if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &region) < 0) {
        fatal_errno("KVM_SET_USER_MEMORY_REGION for %llu MiB at %#llx",
                    (unsigned long long)(size >> 20), (unsigned long long)address);
    }
}

// Interrupt controllers and timer live in the kernel: an interrupt costs no exit to this program.
static void create_irqchip(struct vm *vm) {
    uint64_t identity_map = IDENTITY_MAP_ADDRESS;
    struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};

    if (ioctl(vm->fd, KVM_SET_TSS_ADDR, TSS_ADDRESS) < 0) {
        fatal_errno("KVM_SET_TSS_ADDR");
    }
    if (ioctl(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map) < 0) {
        fatal_errno("KVM_SET_IDENTITY_MAP_ADDR");
    }
    if (ioctl(vm->fd, KVM_CREATE_IRQCHIP, 0) < 0) {
        fatal_errno("KVM_CREATE_IRQCHIP");
    }
    if (ioctl(vm->fd, KVM_CREATE_PIT2, &pit) < 0) {
        fatal_errno("KVM_CREATE_PIT2");
    }
}

// APIC ids that do not fit into eight bits need x2APIC's wide format.
static void enable_wide_apic_ids(struct vm *vm) {
    struct kvm_enable_cap cap = {
        .cap = KVM_CAP_X2APIC_API,
        .args = {KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK},
    };

    if (vm->cpus > 255 && ioctl(vm->fd, KVM_ENABLE_CAP, &cap) < 0) {
        fatal_errno("%u CPUs need KVM_CAP_X2APIC_API", vm->cpus);
    }
}

static void set_serial_irq(void *context, bool level) {
    vm_set_irq(context, SERIAL_IRQ, level);
}

static void serial_room(void *context) {
    vm_wake(context);
}

static void end_by_power(void *context, bool reset) {
    vm_end(context, reset ? VM_RESET : VM_POWERED_OFF);
}

static void report_panic(void *context) {
    (void)context;
    warning("the guest's kernel has panicked");
    control_event("panicked");
}

static void interrupt_for_hotplug(void *context) {
    vm_set_irq(context, HOTPLUG_IRQ, true);
    vm_set_irq(context, HOTPLUG_IRQ, false);
}

static bool is_plugged_cpu(void *context, unsigned object) {
    const struct vm *vm = context;

    return object >= HOTPLUG_CPUS && object - HOTPLUG_CPUS < vm->cpus &&
           !vcpu_is_parked(&vm->vcpus[object - HOTPLUG_CPUS]);
}

// A device is off the bus at once; what it takes to end it is the main loop's.
static void eject(void *context, unsigned object) {
    struct vm *vm = context;
    char event[32];

    if (object > HOTPLUG_CPUS && is_plugged_cpu(vm, object)) { // the first CPU stays
        vcpu_park(&vm->vcpus[object - HOTPLUG_CPUS], true);
        snprintf(event, sizeof(event), "cpus %u", vm_cpus(vm));
        control_event(event);
    } else if (object < PCI_DEVICES_MAX && vm->slots >> object & 1) {
        pci_detach(&vm->pci, object);
        vm->devices.ejected = true;
        vm_wake(vm);
    }
}

// A device stays: who asked is told by the main loop.
static void refuse(void *context, unsigned object) {
    struct vm *vm = context;

    if (object < PCI_DEVICES_MAX) {
        vm->devices.refused |= 1u << object;
        vm->devices.ejected = true;
        vm_wake(vm);
    }
}

static void attach_devices(struct vm *vm, const struct options *options) {
    // First the reset register, which lies within PCI's ports.
    vm->power = (struct power){.end = end_by_power, .panicked = report_panic, .context = vm};
    power_attach(&vm->power, &vm->ports);
    vm->hotplug = (struct hotplug){.interrupt = interrupt_for_hotplug,
                                   .is_there = is_plugged_cpu,
                                   .eject = eject,
                                   .refuse = refuse,
                                   .context = vm};
    hotplug_attach(&vm->hotplug, &vm->ports);
    irq_routes_create(&vm->irq_routes, vm->fd);
    pci_create(&vm->pci, &vm->ports, &vm->mmio);
    devices_create(vm);
    vm->serial_connected = options->serial == SERIAL_TTY || options->serial == SERIAL_FILE ||
                           options->serial == SERIAL_API;
    if (options->serial != SERIAL_OFF) {
        const struct serial_backend backend = {.output_fd =
                                                   vm->serial_connected ? terminal_output() : -1,
                                               .context = vm,
                                               .set_irq = set_serial_irq,
                                               .room = serial_room};
        serial_attach(&vm->serial, &vm->ports, SERIAL_PORT, &backend);
    }
}

static void check_cpu_count(int kvm_fd, unsigned cpus) {
    int most = ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);

    if (most <= 0) {
        most = ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_NR_VCPUS);
    }
    if (most > 0 && cpus > (unsigned)most) {
        fatal("--cpus %u: this system runs at most %d a virtual machine", cpus, most);
    }
}

// Back ends in other programs map the guest's memory too.
static bool needs_sharing(const struct options *options) {
    bool shared = options->net_count > 0;

    for (unsigned i = 0; i < options->disk_count; i++) {
        shared |= options->disks[i].socket != NULL;
    }
    return shared;
}

static void grant_memory(struct vm *vm) {
    struct guest_memory *memory = &vm->memory;

    vm->memory_map = (struct guest_memory_map){
        .regions = {{.address = 0, .size = memory->low_size, .host = memory->host},
                    {.address = HOLE_END,
                     .size = memory->high_size,
                     .host = memory->host + memory->low_size}},
        .count = memory->high_size ? 2 : 1};
}

void vm_create(struct vm *vm, int kvm_fd, struct options *options) {
    memset(vm, 0, sizeof(*vm));
    vm->options = options;
    vm->kvm_fd = kvm_fd;
    vm->cpus = options->cpus_max;
    run_gate_init(&vm->gate, true);
    check_cpu_count(kvm_fd, vm->cpus);
    vm->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (vm->wake_fd < 0) {
        fatal_errno("eventfd");
    }
    vm->fd = ioctl(kvm_fd, KVM_CREATE_VM, 0);
    if (vm->fd < 0) {
        fatal_errno("KVM_CREATE_VM");
    }
    int run_size = ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (run_size < (int)sizeof(struct kvm_run)) {
        fatal_errno("KVM_GET_VCPU_MMAP_SIZE");
    }
    vm->run_size = (size_t)run_size;

    enable_wide_apic_ids(vm);
    create_irqchip(vm);
    memory_create(&vm->memory, options->memory_bytes, needs_sharing(options));
    grant_memory(vm);
    add_memory_slot(vm, 0, 0, vm->memory.low_size);
    if (vm->memory.high_size) {
        add_memory_slot(vm, 1, HOLE_END, vm->memory.high_size);
    }
    attach_devices(vm, options);

    struct kernel_entry entry = kernel_load(&vm->memory, options);
    acpi_write_tables(&vm->memory, &(struct acpi_machine){.cpus = options->cpus,
                                                          .cpus_max = vm->cpus,
                                                          .serial = options->serial != SERIAL_OFF,
                                                          .slots = vm->slots});
    power_write_reset_vector(&vm->memory);
    vm->vcpus = calloc(vm->cpus, sizeof(*vm->vcpus));
    if (!vm->vcpus) {
        fatal("out of memory");
    }
    for (unsigned i = 0; i < vm->cpus; i++) {
        vcpu_create(&vm->vcpus[i], vm, i);
        vm->vcpus[i].parked = i >= options->cpus;
    }
    vcpu_set_entry(&vm->vcpus[0], &entry);
}

void vm_wake(struct vm *vm) {
    const uint64_t one = 1;

    // It can only fail by being signalled already.
    if (write(vm->wake_fd, &one, sizeof(one)) < 0) {
        return;
    }
}

void vm_end(struct vm *vm, enum vm_outcome outcome) {
    enum vm_outcome running = VM_RUNNING;

    if (__atomic_compare_exchange_n((enum vm_outcome *)&vm->outcome, &running, outcome, false,
                                    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
        vm_wake(vm);
    }
}

void vm_set_irq(struct vm *vm, uint32_t line, bool level) {
    struct kvm_irq_level irq = {.irq = line, .level = level};

    if (ioctl(vm->fd, KVM_IRQ_LINE, &irq) < 0) {
        fatal_errno("KVM_IRQ_LINE %u", line);
    }
}

// Hands what is typed to COM1, never more than it has room for: the rest waits where it comes from.
static void pump_input(struct vm *vm) {
    uint8_t bytes[SERIAL_FIFO_SIZE];
    size_t room = serial_room_left(&vm->serial);

    if (room == 0) {
        return;
    }
    switch (terminal_read(bytes, &room)) {
    case TERMINAL_INPUT:
        serial_receive(&vm->serial, bytes, room);
        break;
    case TERMINAL_ESCAPE:
        vm_end(vm, VM_ENDED);
        break;
    case TERMINAL_END_OF_INPUT:
        break;
    }
}

static void serve_until_ended(struct vm *vm) {
    struct pollfd fds[2] = {{.fd = vm->wake_fd, .events = POLLIN}, {.events = POLLIN}};

    while (vm->outcome == VM_RUNNING) {
        uint64_t count;
        bool listening = !vm->gate.closed && vm->serial_connected && terminal_input() >= 0 &&
                         serial_room_left(&vm->serial) > 0;

        fds[1].fd = listening ? terminal_input() : -1;
        fds[1].revents = 0;
        if (poll(fds, 2, -1) < 0 && errno != EINTR) {
            fatal_errno("poll");
        }
        if (read(vm->wake_fd, &count, sizeof(count)) < 0 && errno != EAGAIN && errno != EINTR) {
            fatal_errno("eventfd");
        }
        if (fds[1].revents) {
            pump_input(vm);
        }
        if (atomic_exchange(&vm->devices.ejected, false)) {
            control_hold();
            devices_end_ejected(vm);
            control_release(vm);
        }
    }
}

void vm_start(struct vm *vm, bool paused) {
    pthread_barrier_init(&vm->started, NULL, vm->cpus + 1);
    for (unsigned i = 0; i < vm->cpus; i++) {
        vcpu_start(&vm->vcpus[i]);
    }
    pthread_barrier_wait(&vm->started);
    if (!paused) {
        run_gate_open(&vm->gate);
    }
}

void vm_pause(struct vm *vm, void (*meanwhile)(void)) {
    if (vm->gate.closed) {
        return;
    }
    run_gate_close(&vm->gate);
    for (unsigned i = 0; i < vm->cpus; i++) {
        vcpu_kick(&vm->vcpus[i]);
    }
    while (!run_gate_empty(&vm->gate) && vm->outcome == VM_RUNNING) {
        meanwhile();
        usleep(PAUSE_POLL_US);
    }
    ioctl(vm->fd, KVM_GET_CLOCK, &vm->paused_clock);
}

void vm_resume(struct vm *vm) {
    if (!vm->gate.closed) {
        return;
    }
    // Where the host cannot do these, the guest finds that time has passed.
    if (vm->paused_clock.clock) {
        vm->paused_clock.flags = 0;
        ioctl(vm->fd, KVM_SET_CLOCK, &vm->paused_clock);
        for (unsigned i = 0; i < vm->cpus; i++) {
            ioctl(vm->vcpus[i].fd, KVM_KVMCLOCK_CTRL, 0);
        }
    }
    run_gate_open(&vm->gate);
    vm_wake(vm);
}

void vm_press_power_button(struct vm *vm) {
    hotplug_notify(&vm->hotplug, HOTPLUG_POWER_BUTTON, NOTIFY_BUTTON_PRESSED);
}

unsigned vm_cpus(const struct vm *vm) {
    unsigned count = vm->cpus;

    while (vcpu_is_parked(&vm->vcpus[count - 1])) { // the first never is
        count--;
    }
    return count;
}

const char *vm_set_cpus(struct vm *vm, unsigned count) {
    if (count < 1 || count > vm->cpus || vm->cpus > HOTPLUG_CPUS_MAX) {
        return "no such number of CPUs can be plugged";
    }
    for (unsigned i = 0; i < vm->cpus; i++) {
        unsigned object = HOTPLUG_CPUS + i;
        bool parked = vcpu_is_parked(&vm->vcpus[i]);

        if (i < count && (parked || vm->hotplug.pending[object])) {
            if (parked) {
                vcpu_park(&vm->vcpus[i], false);
            }
            hotplug_notify(&vm->hotplug, object, NOTIFY_DEVICE_CHECK);
        } else if (i >= count && !parked) {
            hotplug_notify(&vm->hotplug, object, NOTIFY_EJECT_REQUEST);
        }
    }
    vm->options->cpus = count; // after a reset too
    return NULL;
}

enum vm_outcome vm_run(struct vm *vm) {
    serve_until_ended(vm);
    control_hold(); // what is being plugged is finished, and nothing else begun
    control_release(vm);
    statistics_keep(vm);
    run_gate_break(&vm->gate);
    for (unsigned i = 0; i < vm->cpus; i++) {
        vcpu_stop(&vm->vcpus[i]);
    }
    return vm->outcome;
}

void vm_destroy(struct vm *vm) {
    for (unsigned i = 0; i < vm->cpus; i++) {
        vcpu_destroy(&vm->vcpus[i]);
    }
    devices_destroy(&vm->devices);
    free(vm->vcpus);
    close(vm->fd);
    close(vm->wake_fd);
    memory_destroy(&vm->memory);
}
