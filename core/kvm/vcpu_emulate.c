// SPDX-License-Identifier: BSD-2-Clause
// Instructions the hardware could not finish: MMIO and string I/O, run by the emulator over the
// VM's memory and devices.
#include <asm/errno.h>
#include <asm/processor-flags.h>
#include "arch/x86/guest/vcpu_exit.h"
#include "core/kvm/vm.h"
#include "core/kvm/guest_memory.h"
#include "core/kvm/irqchip.h"
#include "core/kvm/vcpu.h"
#include "core/mm/page.h"
#include "core/mm/user_copy.h"
#include "core/string.h"

// The exit has told where the instruction's memory operand is: no walk for that page.
static int emulation_translate(void *context, uint64_t linear, unsigned access, uint64_t *gpa,
                               struct guest_exception *exception) {
    struct vcpu *vcpu = context;
    if (vcpu->mmio_known && !((linear ^ vcpu->exit.stage2.linear) & PAGE_MASK) &&
        !(access & GUEST_FETCH)) {
        *gpa = (vcpu->exit.stage2.gpa & PAGE_MASK) | (linear & ~PAGE_MASK);
        return 0;
    }
    return guest_memory_translate(vcpu, &vcpu->state, linear, access, gpa, exception);
}

// The slot of an access; false: none, as the exit may have found out already.
static inline bool find_slot(struct vcpu *vcpu, uint64_t gpa, bool write, struct memslot *slot) {
    if (vcpu->mmio_unbacked && !((gpa ^ vcpu->exit.stage2.gpa) & PAGE_MASK) &&
        write == vcpu->exit.stage2.write)
        return false;
    return memslot_find(vcpu->vm, gpa | vcpu_space(vcpu), slot) &&
           !(write && (slot->flags & KVM_MEM_READONLY));
}

// One look at the slots an access: they may change while it goes on, but not what it is.
static enum emulated_access emulation_read(void *context, uint64_t gpa, void *data, uint32_t size) {
    struct vcpu *vcpu = context;
    struct memslot slot;
    if (vcpu->virt.irqchip && lapic_owns(&vcpu->virt.lapic, gpa)) {
        if (size > 8)
            return ACCESS_MMIO;
        lapic_mmio_read(&vcpu->virt.lapic, (uint32_t)gpa & 0xfff, size, data);
        return ACCESS_DONE;
    }
    if (find_slot(vcpu, gpa, false, &slot))
        return copy_from_user(data, memslot_user(&slot, gpa | vcpu_space(vcpu)), size)
                   ? ACCESS_FAILED
                   : ACCESS_DONE;
    return size <= 8 && irqchip_mmio(vcpu->vm, gpa, size, false, data) ? ACCESS_DONE : ACCESS_MMIO;
}

static enum emulated_access emulation_write(void *context, uint64_t gpa, const void *data,
                                            uint32_t size) {
    struct vcpu *vcpu = context;
    struct memslot slot;
    if (vcpu->virt.irqchip && lapic_owns(&vcpu->virt.lapic, gpa)) {
        if (size > 8)
            return ACCESS_MMIO;
        lapic_mmio_write(&vcpu->virt.lapic, (uint32_t)gpa & 0xfff, size, data);
        return ACCESS_DONE;
    }
    if (find_slot(vcpu, gpa, true, &slot)) {
        uint64_t space = vcpu_space(vcpu);
        if (copy_to_user(memslot_user(&slot, gpa | space), data, size))
            return ACCESS_FAILED;
        memslot_mark_dirty(vcpu, gpa | space, size);
        return ACCESS_DONE;
    }
    bool done = size <= 8 && (irqchip_mmio(vcpu->vm, gpa, size, true, (void *)(uintptr_t)data) ||
                              ioeventfd_write(vcpu->vm, false, gpa, size, data) ||
                              coalesced_write(vcpu->vm, false, gpa, size, data));
    return done ? ACCESS_DONE : ACCESS_MMIO;
}

static enum emulated_access emulation_exchange(void *context, uint64_t gpa, uint64_t old_value,
                                               uint64_t new_value, uint32_t size, bool *exchanged) {
    struct vcpu *vcpu = context;
    struct memslot slot;
    if (!find_slot(vcpu, gpa, true, &slot))
        return ACCESS_MMIO;
    gpa |= vcpu_space(vcpu);
    return vcpu_exchange_slot(vcpu, &slot, gpa, old_value, new_value, size, exchanged)
               ? ACCESS_FAILED
               : ACCESS_DONE;
}

static void emulation_segment(void *context, enum segment_register which,
                              struct kvm_segment *segment) {
    virt->get_segment(&((struct vcpu *)context)->virt, which, segment);
}

// Vector registers live in the CPU while the vCPU's thread runs: fetch them into the area, change
// it, put it back.
static void emulation_read_vector(void *context, unsigned which, void *data, uint32_t size) {
    struct vcpu *vcpu = context;
    fpu_switch(&vcpu->virt.guest_fpu, NULL);
    vcpu_read_vector(vcpu, which, data, size);
    fpu_switch(NULL, &vcpu->virt.guest_fpu);
}

static void emulation_write_vector(void *context, unsigned which, const void *data, uint32_t size,
                                   bool clear_upper) {
    struct vcpu *vcpu = context;
    fpu_switch(&vcpu->virt.guest_fpu, NULL);
    vcpu_write_vector(vcpu, which, data, size, clear_upper);
    fpu_switch(NULL, &vcpu->virt.guest_fpu);
}

static enum emulated_access emulation_port_read(void *context, uint16_t port, uint32_t size,
                                                void *data) {
    return irqchip_port(((struct vcpu *)context)->vm, port, size, true, data) ? ACCESS_DONE
                                                                              : ACCESS_MMIO;
}

static enum emulated_access emulation_port_write(void *context, uint16_t port, uint32_t size,
                                                 const void *data) {
    struct vm *vm = ((struct vcpu *)context)->vm;
    uint8_t copy[4];
    memcpy(copy, data, size);
    bool done = irqchip_port(vm, port, size, false, copy) ||
                ioeventfd_write(vm, true, port, size, copy) ||
                coalesced_write(vm, true, port, size, copy);
    return done ? ACCESS_DONE : ACCESS_MMIO;
}

static const struct emulation_ops emulation_ops = {
    .translate = emulation_translate,
    .read = emulation_read,
    .write = emulation_write,
    .exchange = emulation_exchange,
    .segment = emulation_segment,
    .read_vector = emulation_read_vector,
    .write_vector = emulation_write_vector,
    .port_read = emulation_port_read,
    .port_write = emulation_port_write,
};

static void store_registers(struct vcpu *vcpu) {
    const struct emulation *emulation = &vcpu->emulation;
    const struct virt_state *state = &vcpu->state;
    if (vcpu->virt.gpr[GPR_RSP] != state->rsp)
        virt->set(&vcpu->virt, BACKEND_RSP, vcpu->virt.gpr[GPR_RSP]);
    if (emulation->rip != state->rip)
        virt->set(&vcpu->virt, BACKEND_RIP, emulation->rip);
    if (emulation->rflags != state->paging.rflags)
        virt_set_rflags(&vcpu->virt, emulation->rflags);
}

static void load_registers(struct vcpu *vcpu) {
    struct emulation *emulation = &vcpu->emulation;
    const struct virt_state *state = &vcpu->state;
    virt_get_state(&vcpu->virt, &vcpu->state);
    vcpu->virt.gpr[GPR_RSP] = state->rsp; // elsewhere not kept there
    emulation->rip = state->rip;
    emulation->rflags = state->paging.rflags;
    emulation->cr0 = state->paging.cr0;
    emulation->cr4 = state->paging.cr4;
}

static void commit(struct vcpu *vcpu) {
    store_registers(vcpu);
    if (vcpu->state.interrupt_shadow)
        virt->set_interrupt_shadow(&vcpu->virt, 0);
}

static bool stepping(const struct vcpu *vcpu) {
    return vcpu_debugging(&vcpu->virt, KVM_GUESTDBG_SINGLESTEP) ||
           (vcpu->state.paging.rflags & X86_EFLAGS_TF);
}

static void complete(struct vcpu *vcpu) {
    commit(vcpu);
    if (stepping(vcpu))
        vcpu->virt.step_due = true;
}

// Up to 15 bytes at RIP. 0 with an exception, or without one where no memory is.
static unsigned fetch(struct vcpu *vcpu, uint8_t *bytes, struct guest_exception *exception) {
    unsigned count = virt->instruction_bytes ? virt->instruction_bytes(&vcpu->virt, bytes) : 0;
    return count ? count : guest_memory_fetch(&vcpu->virt, &vcpu->state, 0, bytes, exception);
}

// An unprivileged program of the guest must not stop the guest: it gets #UD, unless user space
// wants to know. Else KVM_EXIT_INTERNAL_ERROR with the instruction's bytes (struct kvm_run,
// emulation_failure).
static int fail(struct vcpu *vcpu) {
    struct kvm_run *run = vcpu->run;
    struct guest_exception exception = {.vector = GUEST_UD};
    uint8_t bytes[INSTRUCTION_MAX];
    if (vcpu->state.paging.cpl && !vcpu->vm->exit_on_emulation_failure) {
        virt_raise(&vcpu->virt, &exception);
        return VCPU_RESUME;
    }
    unsigned count = fetch(vcpu, bytes, &exception);
    run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
    run->emulation_failure.suberror = KVM_INTERNAL_ERROR_EMULATION;
    run->emulation_failure.ndata = count ? 3 : 1;
    run->emulation_failure.flags = count ? KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES : 0;
    run->emulation_failure.insn_size = (uint8_t)count;
    memset(run->emulation_failure.insn_bytes, 0x90, sizeof(run->emulation_failure.insn_bytes));
    memcpy(run->emulation_failure.insn_bytes, bytes, count);
    return VCPU_EXIT_TO_USER;
}

// User space sees the registers between two iterations, and may change them.
static int wait_for_user(struct vcpu *vcpu) {
    if (vcpu->emulation.complete) {
        complete(vcpu);
        return VCPU_EXIT_TO_USER;
    }
    store_registers(vcpu);
    vcpu->rip_moved = false;
    vcpu->completion = COMPLETE_EMULATION;
    return VCPU_EXIT_TO_USER;
}

static int exit_mmio(struct vcpu *vcpu, bool write) {
    struct kvm_run *run = vcpu->run;
    vcpu->virt.statistics.mmio_exits++;
    run->exit_reason = KVM_EXIT_MMIO;
    run->mmio.phys_addr = vcpu->emulation.mmio.gpa;
    run->mmio.len = vcpu->emulation.mmio.len;
    run->mmio.is_write = write;
    if (write)
        memcpy(run->mmio.data, vcpu->emulation.mmio.data, sizeof(run->mmio.data));
    return wait_for_user(vcpu);
}

static int exit_port(struct vcpu *vcpu, uint8_t direction) {
    struct kvm_run *run = vcpu->run;
    run->exit_reason = KVM_EXIT_IO;
    run->io.direction = direction;
    run->io.port = vcpu->emulation.port.port;
    run->io.size = (uint8_t)vcpu->emulation.port.size;
    run->io.count = vcpu->emulation.port.count;
    run->io.data_offset = PAGE_SIZE;
    return wait_for_user(vcpu);
}

static int step(struct vcpu *vcpu) {
    struct emulation *emulation = &vcpu->emulation;
    switch (emulate_step(emulation)) {
    case EMULATE_DONE:
        complete(vcpu);
        return VCPU_RESUME;
    case EMULATE_EXCEPTION:
        commit(vcpu);
        virt_raise(&vcpu->virt, &emulation->exception);
        return VCPU_RESUME;
    case EMULATE_MMIO_READ:
        return exit_mmio(vcpu, false);
    case EMULATE_MMIO_WRITE:
        return exit_mmio(vcpu, true);
    case EMULATE_PORT_IN:
        return exit_port(vcpu, KVM_EXIT_IO_IN);
    case EMULATE_PORT_OUT:
        return exit_port(vcpu, KVM_EXIT_IO_OUT);
    default:
        return fail(vcpu);
    }
}

int vcpu_emulate_continue(struct vcpu *vcpu) {
    if (vcpu->rip_moved) // the instruction is no more
        return VCPU_RESUME;
    load_registers(vcpu);
    vcpu->mmio_unbacked = false; // user space may have changed it
    if (vcpu->emulation.waiting == EMULATE_MMIO_READ)
        memcpy(vcpu->emulation.mmio.data, vcpu->run->mmio.data, sizeof(vcpu->emulation.mmio.data));
    return step(vcpu);
}

// RSM, or undefined indeed.
int vcpu_undefined(struct vcpu *vcpu) {
    struct guest_exception exception = {.vector = GUEST_UD};
    uint8_t bytes[INSTRUCTION_MAX];
    struct instruction instruction;
    load_registers(vcpu);
    unsigned count = fetch(vcpu, bytes, &exception);
    if (vcpu->virt.in_smm && count &&
        decode(bytes, count, vcpu->state.code_mode, &instruction) == DECODED &&
        instruction.operation == OP_RSM)
        smm_resume(vcpu);
    else if (!hypercall_fix(vcpu, bytes, count))
        virt_raise(&vcpu->virt, &exception);
    return VCPU_RESUME;
}

void vcpu_emulate_init(struct vcpu *vcpu) {
    vcpu->emulation.ops = &emulation_ops;
    vcpu->emulation.context = vcpu;
    vcpu->emulation.gpr = vcpu->virt.gpr;
    vcpu->emulation.port_data = vcpu->port_data;
    vcpu->emulation.port_data_size = PAGE_SIZE;
}

int vcpu_emulate(struct vcpu *vcpu) {
    struct emulation *emulation = &vcpu->emulation;
    uint64_t bytes[2] = {0}; // the last one is the mode
    struct guest_exception exception = {.vector = 0};
    vcpu->virt.statistics.insn_emulations++;
    vcpu->mmio_unbacked = vcpu->exit.kind == VIRT_EXIT_STAGE2;
    vcpu->mmio_known =
        vcpu->mmio_unbacked && vcpu->exit.stage2.linear_valid && !vcpu->exit.stage2.page_walk;
    load_registers(vcpu);
    unsigned count = fetch(vcpu, (uint8_t *)bytes, &exception);
    if (!count && exception.vector) {
        virt_raise(&vcpu->virt, &exception);
        return VCPU_RESUME;
    }
    // A driver's instruction often comes again and again.
    ((uint8_t *)bytes)[INSTRUCTION_MAX] = (uint8_t)(0x80 | vcpu->state.code_mode << 4 | count);
    if (bytes[0] != vcpu->decoded[0] || bytes[1] != vcpu->decoded[1]) {
        vcpu->decoded[1] = 0;
        if (decode((uint8_t *)bytes, count, vcpu->state.code_mode, &emulation->instruction) !=
            DECODED)
            return fail(vcpu);
        memcpy(vcpu->decoded, bytes, sizeof(bytes));
    }
    emulation->single_step = stepping(vcpu);
    emulate_begin(emulation);
    return step(vcpu);
}
