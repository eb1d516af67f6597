// SPDX-License-Identifier: BSD-2-Clause
// Sources: arch/x86/guest/vcpu_event.c arch/x86/guest/vcpu_cpuid.c arch/x86/guest/vcpu_exit.c
// Sources: arch/x86/guest/vcpu_tsc.c
#include "fake_backend.h"

struct fake_backend fake_backend;
uint64_t virt_supported_cr4;
struct cpuid_host virt_host;

static uint64_t get(struct virt_vcpu *vcpu, enum backend_register which) {
    (void)vcpu;
    return fake_backend.registers[which];
}

static void set(struct virt_vcpu *vcpu, enum backend_register which, uint64_t value) {
    (void)vcpu;
    fake_backend.registers[which] = value;
}

static void get_segment(struct virt_vcpu *vcpu, unsigned which, struct kvm_segment *segment) {
    (void)vcpu;
    *segment = fake_backend.segments[which];
}

static void set_segment(struct virt_vcpu *vcpu, unsigned which, const struct kvm_segment *segment) {
    (void)vcpu;
    fake_backend.segments[which] = *segment;
}

static void set_pdptes(struct virt_vcpu *vcpu, const uint64_t pdpte[4]) {
    (void)vcpu;
    for (unsigned i = 0; i < 4; i++)
        fake_backend.pdpte[i] = pdpte[i];
}

static unsigned get_interrupt_shadow(struct virt_vcpu *vcpu) {
    (void)vcpu;
    return fake_backend.shadow;
}

static void set_interrupt_shadow(struct virt_vcpu *vcpu, unsigned shadow) {
    (void)vcpu;
    fake_backend.shadow = shadow;
}

static void set_nmi_masked(struct virt_vcpu *vcpu, bool masked) {
    (void)vcpu;
    fake_backend.nmi_masked = masked;
}

static void reset(struct virt_vcpu *vcpu) {
    (void)vcpu;
    fake_backend.resets++;
}

static void debug_changed(struct virt_vcpu *vcpu) {
    (void)vcpu;
    fake_backend.debug_changes++;
}

static void tsc_changed(struct virt_vcpu *vcpu) {
    (void)vcpu;
}

uint64_t time_tsc_khz(void) {
    return fake_backend.host_khz;
}

static struct virt_ops ops = {
    .name = "fake",
    .tsc_integer_bits = 16,
    .tsc_fraction_bits = 48,
    .tsc_scaling = &fake_backend.tsc_scaling,
    .tsc_changed = tsc_changed,
    .get = get,
    .set = set,
    .get_segment = get_segment,
    .set_segment = set_segment,
    .set_pdptes = set_pdptes,
    .get_interrupt_shadow = get_interrupt_shadow,
    .set_interrupt_shadow = set_interrupt_shadow,
    .set_nmi_masked = set_nmi_masked,
    .vcpu_reset = reset,
    .debug_changed = debug_changed,
};
const struct virt_ops *virt;
bool virt_logs_writes;

void fake_backend_reset(void) {
    fake_backend = (struct fake_backend){.host_khz = 3000000, .tsc_scaling = true, .ops = &ops};
    virt = &ops;
}
