// SPDX-License-Identifier: BSD-2-Clause
// Runs a virtual CPU: KVM_RUN, then the device or message its exit calls for.
#define _GNU_SOURCE
#include "vcpu.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cpuid.h"
#include "error.h"

#define KICK_SIGNAL SIGUSR1

#define MSR_IA32_MISC_ENABLE     0x1a0
#define MISC_ENABLE_FAST_STRINGS (1ull << 0)
#define MSR_IA32_MTRR_DEF_TYPE   0x2ff
#define MTRR_ENABLE              (1ull << 11)
#define MTRR_TYPE_WRITE_BACK     6ull

// What firmware would have set up (SDM volume 3, 12.11.2.1: MTRRs are off after reset).
static void set_msrs(struct vcpu *vcpu, bool mtrr) {
    struct {
        struct kvm_msrs header;
        struct kvm_msr_entry entries[2];
    } msrs = {
        .header = {.nmsrs = mtrr ? 2 : 1},
        .entries = {{.index = MSR_IA32_MISC_ENABLE, .data = MISC_ENABLE_FAST_STRINGS},
                    {.index = MSR_IA32_MTRR_DEF_TYPE, .data = MTRR_ENABLE | MTRR_TYPE_WRITE_BACK}}};
    int set = ioctl(vcpu->fd, KVM_SET_MSRS, &msrs);

    if (set < 0) {
        fatal_errno("KVM_SET_MSRS");
    }
    if ((unsigned)set < msrs.header.nmsrs) {
        fatal("KVM_SET_MSRS refused MSR %#x", msrs.entries[set].index);
    }
}

void vcpu_create(struct vcpu *vcpu, struct vm *vm, unsigned index) {
    *vcpu = (struct vcpu){.vm = vm, .index = index};
    vcpu->fd = ioctl(vm->fd, KVM_CREATE_VCPU, index);
    if (vcpu->fd < 0) {
        fatal_errno("KVM_CREATE_VCPU %u", index);
    }
    vcpu->run = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
    if (vcpu->run == MAP_FAILED) {
        fatal_errno("cannot map the run structure of CPU %u", index);
    }
    vcpu->statistics_fd = ioctl(vcpu->fd, KVM_GET_STATS_FD, NULL);
    bool mtrr = cpuid_set(vm->kvm_fd, vcpu->fd, index, vm->cpus);
    set_msrs(vcpu, mtrr);
}

static void kick(int signal) {
    (void)signal; // Its arrival alone ends KVM_RUN.
}

static void *run_thread(void *argument);

void vcpu_start(struct vcpu *vcpu) {
    struct sigaction action = {.sa_handler = kick};

    sigaction(KICK_SIGNAL, &action, NULL);
    int error = pthread_create(&vcpu->thread, NULL, run_thread, vcpu);
    if (error) {
        errno = error;
        fatal_errno("cannot start the thread of CPU %u", vcpu->index);
    }
}

void vcpu_kick(struct vcpu *vcpu) {
    // First the flag, then the signal: a thread on its way into KVM_RUN comes straight out again.
    __atomic_store_n(&vcpu->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
    pthread_kill(vcpu->thread, KICK_SIGNAL);
}

bool vcpu_is_parked(const struct vcpu *vcpu) {
    return __atomic_load_n(&vcpu->parked, __ATOMIC_SEQ_CST);
}

void vcpu_park(struct vcpu *vcpu, bool parked) {
    struct kvm_mp_state state = {.mp_state = KVM_MP_STATE_UNINITIALIZED};

    // It comes as after power-on: waiting for INIT and SIPI.
    if (!parked && ioctl(vcpu->fd, KVM_SET_MP_STATE, &state) < 0) {
        fatal_errno("KVM_SET_MP_STATE");
    }
    run_gate_set(&vcpu->vm->gate, &vcpu->parked, parked);
    if (parked) {
        vcpu_kick(vcpu);
    }
}

void vcpu_stop(struct vcpu *vcpu) {
    vcpu_kick(vcpu);
    pthread_join(vcpu->thread, NULL);
}

void vcpu_destroy(struct vcpu *vcpu) {
    munmap(vcpu->run, vcpu->vm->run_size);
    if (vcpu->statistics_fd >= 0) {
        close(vcpu->statistics_fd);
    }
    close(vcpu->fd);
}

static void handle_io(struct vcpu *vcpu) {
    const struct kvm_run *run = vcpu->run;
    uint8_t *data = (uint8_t *)run + run->io.data_offset;

    for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
        if (run->io.direction == KVM_EXIT_IO_OUT) {
            bus_write(&vcpu->vm->ports, run->io.port, data, run->io.size);
        } else {
            bus_read(&vcpu->vm->ports, run->io.port, data, run->io.size);
        }
    }
}

static void handle_mmio(struct vcpu *vcpu) {
    struct kvm_run *run = vcpu->run;

    if (run->mmio.is_write) {
        bus_write(&vcpu->vm->mmio, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
    } else {
        bus_read(&vcpu->vm->mmio, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
    }
}

static void print_registers(const struct vcpu *vcpu) {
    struct kvm_regs regs;
    struct kvm_sregs sregs;

    if (ioctl(vcpu->fd, KVM_GET_REGS, &regs) < 0 || ioctl(vcpu->fd, KVM_GET_SREGS, &sregs) < 0) {
        return;
    }
    warning("CPU %u: cs:rip %x:%llx rsp %llx rflags %llx rax %llx rdi %llx rsi %llx", vcpu->index,
            sregs.cs.selector, regs.rip, regs.rsp, regs.rflags, regs.rax, regs.rdi, regs.rsi);
    warning("CPU %u: cr0 %llx cr2 %llx cr3 %llx cr4 %llx efer %llx", vcpu->index, sregs.cr0,
            sregs.cr2, sregs.cr3, sregs.cr4, sregs.efer);
}

static void fail(struct vcpu *vcpu) {
    print_registers(vcpu);
    vm_end(vcpu->vm, VM_FAILED);
}

static void report_internal_error(struct vcpu *vcpu) {
    static const char *const names[] = {
        [KVM_INTERNAL_ERROR_EMULATION] = "an instruction could not be emulated",
        [KVM_INTERNAL_ERROR_SIMUL_EX] = "two exceptions at once",
        [KVM_INTERNAL_ERROR_DELIVERY_EV] = "an exit while an event was delivered",
        [KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON] = "an exit nobody expected",
    };
    const struct kvm_run *run = vcpu->run;
    const char *name = "unknown";

    if (run->internal.suberror < sizeof(names) / sizeof(names[0]) &&
        names[run->internal.suberror]) {
        name = names[run->internal.suberror];
    }
    warning("CPU %u: internal error of the KVM API: %s (%u)", vcpu->index, name,
            run->internal.suberror);
    for (uint32_t i = 0; i < run->internal.ndata && i < 16; i++) {
        warning("  data[%u] = %#llx", i, run->internal.data[i]);
    }
    fail(vcpu);
}

static void handle_exit(struct vcpu *vcpu) {
    const struct kvm_run *run = vcpu->run;

    switch (run->exit_reason) {
    case KVM_EXIT_IO:
        handle_io(vcpu);
        break;
    case KVM_EXIT_MMIO:
        handle_mmio(vcpu);
        break;
    case KVM_EXIT_INTR:
    case KVM_EXIT_IRQ_WINDOW_OPEN:
        break;
    case KVM_EXIT_HLT:
        warning("CPU %u halted with nothing that could wake it", vcpu->index);
        fail(vcpu);
        break;
    case KVM_EXIT_SHUTDOWN:
        warning("CPU %u: the guest triple-faulted", vcpu->index);
        fail(vcpu);
        break;
    case KVM_EXIT_FAIL_ENTRY:
        warning("CPU %u: the processor refused to enter the guest, reason %#llx", vcpu->index,
                run->fail_entry.hardware_entry_failure_reason);
        fail(vcpu);
        break;
    case KVM_EXIT_INTERNAL_ERROR:
        report_internal_error(vcpu);
        break;
    default:
        warning("CPU %u: exit reason %u is not handled", vcpu->index, run->exit_reason);
        fail(vcpu);
        break;
    }
}

static void *run_thread(void *argument) {
    struct vcpu *vcpu = argument;
    sigset_t console_signals;

    sigemptyset(&console_signals);
    sigaddset(&console_signals, SIGINT);
    sigaddset(&console_signals, SIGTERM);
    sigaddset(&console_signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &console_signals, NULL);

    vcpu->tid = gettid();
    pthread_barrier_wait(&vcpu->vm->started);
    run_gate_enter(&vcpu->vm->gate, NULL, &vcpu->parked);
    while (vcpu->vm->outcome == VM_RUNNING) {
        while ((vcpu->vm->gate.closed || vcpu_is_parked(vcpu)) && vcpu->vm->outcome == VM_RUNNING) {
            run_gate_leave(&vcpu->vm->gate);
            run_gate_enter(&vcpu->vm->gate, NULL, &vcpu->parked);
        }
        if (ioctl(vcpu->fd, KVM_RUN, 0) == 0) {
            handle_exit(vcpu);
        } else if (errno == EINTR) {
            // Before the next looks: whoever asks it out sets this after what they see.
            __atomic_store_n(&vcpu->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
        } else if (errno != EAGAIN) {
            // EAGAIN: the CPU was waiting for SIPI and has come out of it.
            warning("CPU %u: KVM_RUN: %s", vcpu->index, strerror(errno));
            fail(vcpu);
        }
    }
    run_gate_leave(&vcpu->vm->gate);
    return NULL;
}
