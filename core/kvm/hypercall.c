// SPDX-License-Identifier: BSD-2-Clause
// KVM's hypercalls: number in RAX, arguments in RBX, RCX, RDX, RSI, result in RAX.
#include "core/kvm/vcpu.h"
#include <asm/errno.h>
#include "arch/x86/guest/vcpu_exit.h"
#include "core/kvm/guest_memory.h"
#include "core/kvm/irqchip.h"
#include "core/string.h"

#define NS_PER_SECOND 1000000000ull

enum { RAX, RCX, RDX, RBX, RSI = 6 };

struct arguments {
    uint64_t a0, a1, a2, a3;
};

static int64_t nothing(struct vcpu *vcpu, const struct arguments *arguments) {
    return 0;
}

static bool code_64(struct vcpu *vcpu) {
    struct kvm_segment cs;
    virt->get_segment(&vcpu->virt, SEG_CS, &cs);
    return cs.l;
}

// The vCPU with that APIC ID, which is its number.
static struct vcpu *vcpu_of_apic(struct vcpu *vcpu, uint64_t id) {
    return id < VM_MAX_VCPUS ? vcpu->vm->vcpus[id] : NULL;
}

static int64_t sched_yield(struct vcpu *vcpu, const struct arguments *arguments) {
    struct vcpu *target = vcpu_of_apic(vcpu, arguments->a0);
    if (target && target != vcpu && vcpu_yield_to(vcpu, target))
        vcpu_give_way(vcpu);
    return 0;
}

// Wakes a vCPU from HLT, or keeps its next HLT from sleeping.
static int64_t kick_cpu(struct vcpu *vcpu, const struct arguments *arguments) {
    struct vcpu *target = vcpu_of_apic(vcpu, arguments->a1);
    if (!target)
        return 0;
    atomic_store(&target->unhalted, true);
    vcpu_attend(target, ATTENTION_EVENT);
    return sched_yield(vcpu, &(struct arguments){.a0 = arguments->a1});
}

// a0, a1: a bit an APIC ID from a2 on; a3: vector and delivery mode as in the ICR.
static int64_t send_ipi(struct vcpu *vcpu, const struct arguments *arguments) {
    const uint32_t logical = 1u << 11, shorthand = 3u << 18;
    unsigned width = code_64(vcpu) ? 64 : 32;
    uint32_t command = (uint32_t)arguments->a3;
    struct lapic_message message = {.vector = (uint8_t)command,
                                    .delivery_mode = command >> 8 & 7,
                                    .level = true,
                                    .x2apic_source = true};
    int64_t count = 0;
    if (!vcpu->virt.irqchip || (command & (logical | shorthand)))
        return -KVM_EINVAL;
    for (unsigned i = 0; i < 2 * width; i++) {
        uint64_t bits = i < width ? arguments->a0 : arguments->a1;
        uint64_t id = (uint32_t)arguments->a2 + (uint64_t)i;
        if (!(bits >> i % width & 1) || !vcpu_of_apic(vcpu, id))
            continue;
        message.destination = (uint32_t)id;
        count += irqchip_deliver(vcpu->vm, &vcpu->virt.lapic, &message) > 0;
    }
    return count;
}

// Real time and the guest's TSC at one moment.
static int64_t clock_pairing(struct vcpu *vcpu, const struct arguments *arguments) {
    if (arguments->a1 != KVM_CLOCK_PAIRING_WALLCLOCK)
        return -KVM_EOPNOTSUPP;
    uint64_t now = time_now() + time_realtime_offset();
    struct kvm_clock_pairing pairing = {.sec = (int64_t)(now / NS_PER_SECOND),
                                        .nsec = (int64_t)(now % NS_PER_SECOND),
                                        .tsc = virt_guest_tsc(&vcpu->virt)};
    return vcpu_write_guest(vcpu, arguments->a0, &pairing, sizeof(pairing)) ? -KVM_EFAULT : 0;
}

enum { ALWAYS = 32 };

static const struct {
    int64_t (*call)(struct vcpu *vcpu, const struct arguments *arguments);
    uint8_t feature; // KVM_FEATURE_*
} calls[] = {
    [KVM_HC_VAPIC_POLL_IRQ] = {nothing, ALWAYS},
    [KVM_HC_KICK_CPU] = {kick_cpu, KVM_FEATURE_PV_UNHALT},
    [KVM_HC_CLOCK_PAIRING] = {clock_pairing, ALWAYS},
    [KVM_HC_SEND_IPI] = {send_ipi, KVM_FEATURE_PV_SEND_IPI},
    [KVM_HC_SCHED_YIELD] = {sched_yield, KVM_FEATURE_PV_SCHED_YIELD},
};

static int64_t map_gpa_range(struct vcpu *vcpu, const struct arguments *arguments) {
    struct kvm_run *run = vcpu->run;
    uint64_t page = arguments->a0 / 4096, count = arguments->a1;
    if (arguments->a0 % 4096 || page + count <= page)
        return -KVM_EINVAL;
    run->exit_reason = KVM_EXIT_HYPERCALL;
    memset(&run->hypercall, 0, sizeof(run->hypercall));
    run->hypercall.nr = KVM_HC_MAP_GPA_RANGE;
    run->hypercall.args[0] = arguments->a0;
    run->hypercall.args[1] = count;
    run->hypercall.args[2] = arguments->a2;
    run->hypercall.longmode = code_64(vcpu);
    vcpu->completion = COMPLETE_HYPERCALL;
    return 0;
}

static __attribute__((noinline)) int64_t call(struct vcpu *vcpu, uint64_t number) {
    const uint64_t *gpr = vcpu->virt.gpr;
    const struct arguments arguments = {gpr[RBX], gpr[RCX], gpr[RDX], gpr[RSI]};
    if (number == KVM_HC_MAP_GPA_RANGE && (vcpu->vm->hypercall_exits >> number & 1))
        return map_gpa_range(vcpu, &arguments);
    if (number >= sizeof(calls) / sizeof(calls[0]) || !calls[number].call)
        return -KVM_ENOSYS;
    if (calls[number].feature != ALWAYS &&
        !guest_pv_feature(&vcpu->virt.msrs, calls[number].feature))
        return -KVM_ENOSYS;
    return calls[number].call(vcpu, &arguments);
}

int hypercall(struct vcpu *vcpu) {
    uint64_t number = vcpu->virt.gpr[RAX];
    int64_t result = -KVM_ENOSYS;
    if (virt->get(&vcpu->virt, BACKEND_CPL))
        result = -KVM_EPERM;
    else if (number <= KVM_HC_MAP_GPA_RANGE)
        result = call(vcpu, number);
    vcpu->virt.statistics.hypercalls++;
    vcpu->virt.gpr[RAX] = (uint64_t)result;
    return vcpu->completion == COMPLETE_HYPERCALL ? VCPU_EXIT_TO_USER : VCPU_RESUME;
}

int hypercall_complete(struct vcpu *vcpu) {
    vcpu->virt.gpr[RAX] = vcpu->run->hypercall.ret;
    return VCPU_RESUME;
}

// -- the other vendor's instruction --

bool hypercall_fix(struct vcpu *vcpu, const uint8_t *bytes, unsigned count) {
    const uint8_t ours = virt->hypercall_opcode, other = ours ^ 0xc1 ^ 0xd9; // VMCALL, VMMCALL
    struct guest_exception exception;
    uint64_t gpa, linear = vcpu->state.code_linear + 2; // of the one byte that differs
    if (count < 3 || bytes[0] != 0x0f || bytes[1] != 0x01 || bytes[2] != other ||
        (vcpu->vm->virt.disabled_quirks & KVM_X86_QUIRK_FIX_HYPERCALL_INSN))
        return false;
    if (!guest_memory_translate(vcpu, &vcpu->state, linear, GUEST_WRITE, &gpa, &exception))
        return !vcpu_write_guest(vcpu, gpa | vcpu_space(vcpu), &ours, 1);
    virt_raise(&vcpu->virt, &exception);
    return true;
}
