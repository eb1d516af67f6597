// SPDX-License-Identifier: BSD-2-Clause
// Exits that mean the same on both vendors' processors: handlers for the back ends' tables.
#pragma once
#include "arch/x86/guest/decoder.h"
#include "arch/x86/virt.h"

// What the run loop does after a handler; SKIP: the instruction that exited is done.
enum exit_action { EXIT_RESUME = 0, EXIT_SKIP = 1, EXIT_LEAVE = 2, EXIT_SKIP_LEAVE = 3 };
typedef enum exit_action (*exit_handler)(struct virt_vcpu *vcpu, struct virt_exit *exit);

#define HANDLER(name) enum exit_action name(struct virt_vcpu *vcpu, struct virt_exit *exit)

HANDLER(exit_cpuid);
HANDLER(exit_msr_read);
HANDLER(exit_msr_write);
HANDLER(exit_halt);
HANDLER(exit_shutdown);
HANDLER(exit_hypercall);
HANDLER(exit_pause);
HANDLER(exit_interrupt_window); // the next entry closes it or opens it again
HANDLER(exit_recheck);          // what blocks events has changed
HANDLER(exit_xsetbv);
HANDLER(exit_nothing);        // the instruction has no effect here
HANDLER(exit_mwait);          // and MONITOR
HANDLER(exit_protection);     // #GP(0)
HANDLER(exit_undefined);      // #UD
HANDLER(exit_invalid_opcode); // the guest's own #UD, see VIRT_EXIT_UNDEFINED
HANDLER(exit_breakpoint);     // INT3 while user space debugs
HANDLER(exit_ignored);        // the host has taken what ended the guest

// VIRT_EXIT_INTERNAL_ERROR with two words.
enum exit_action exit_internal_error(struct virt_exit *exit, uint32_t suberror, uint64_t first,
                                     uint64_t second);
// A hardware task switch: nothing emulates it.
static inline enum exit_action exit_task_switch_to(struct virt_exit *exit, uint64_t reason,
                                                   uint64_t information) {
    return exit_internal_error(exit, KVM_INTERNAL_ERROR_EMULATION, reason, information);
}

// -- vcpu_control.c --

// CR4 bits this vCPU may set: its CPUID's, or everything supported as long as it has no CPUID
// table.
uint64_t vcpu_cr4_allowed(const struct virt_vcpu *vcpu);
// KVM_SET_SREGS' checks of CR0, CR4, EFER and CS together.
bool vcpu_sregs_valid(const struct virt_vcpu *vcpu, const struct kvm_sregs *sregs);
// Loads the PDPTEs from guest memory if these registers mean PAE paging and the back end holds
// them. False: no memory there or reserved bits.
bool vcpu_load_pdptes(struct virt_vcpu *vcpu, uint64_t cr0, uint64_t cr4, uint64_t efer);
// Guest-physical address bits, 36 without a CPUID table (as KVM).
unsigned vcpu_physical_bits(const struct virt_vcpu *vcpu);

// MOV to CR0, CR4 or CR8; #GP(0) for what they must not hold (SDM vol. 2 MOV-CR).
enum exit_action vcpu_write_control(struct virt_vcpu *vcpu, struct virt_exit *exit, unsigned number,
                                    uint64_t value);
// LMSW: sets PE but cannot clear it (SDM vol. 2, APM vol. 3).
enum exit_action vcpu_load_status(struct virt_vcpu *vcpu, struct virt_exit *exit, uint64_t source);
// CLTS.
enum exit_action vcpu_clear_task_switched(struct virt_vcpu *vcpu, struct virt_exit *exit);

// -- vcpu_debug.c --

#define DR7_ENABLES  0xffull
#define DR7_FIXED    0x400ull
#define DR7_GD       (1ull << 13)
#define DR6_BD       (1ull << 13)
#define DR6_BS       (1ull << 14)
#define DR6_FIXED    0xffff0ff0ull
#define DR6_VOLATILE 0xe00full // B0-B3, BD, BS, BT

#define EXCEPTION_BIT(vector) (1u << (vector))

static inline bool vcpu_debugging(const struct virt_vcpu *vcpu, uint32_t flag) {
    return (vcpu->guest_debug.control & KVM_GUESTDBG_ENABLE) && (vcpu->guest_debug.control & flag);
}

// Loads DR0-3 in force, and clears DR6. Returns the four.
const uint64_t *vcpu_load_breakpoints(const struct virt_vcpu *vcpu);
// DR7 in force as the processor may hold it: GD is emulated, since MOV DR exits before the
// processor looks at it. Says in vcpu->debug_registers whether an entry must load DR0-3.
uint64_t vcpu_breakpoint_control(struct virt_vcpu *vcpu);
// Exceptions that must exit, a bit a vector.
uint32_t vcpu_debug_exceptions(const struct virt_vcpu *vcpu);
// Puts TF into RFLAGS or takes it out, as stepping by the debugger begins, goes on or has ended.
void vcpu_step(struct virt_vcpu *vcpu);

// A #DB with DR6 bits `hit`: does it belong to the debugger in user space?
bool vcpu_debug_is_ours(const struct virt_vcpu *vcpu, uint64_t hit);
// VIRT_EXIT_DEBUG.
enum exit_action vcpu_to_debugger(struct virt_vcpu *vcpu, struct virt_exit *exit,
                                  uint32_t exception, uint64_t dr6);
// #DB with DR6 bits `hit`: to the debugger, or into the guest.
enum exit_action vcpu_debug_exception(struct virt_vcpu *vcpu, struct virt_exit *exit, uint64_t hit);
// Before an entry, when step_due: true if the step is the debugger's in user space.
bool vcpu_take_step(struct virt_vcpu *vcpu, struct virt_exit *exit);
// MOV DR (SDM vol. 2).
enum exit_action vcpu_move_debug(struct virt_vcpu *vcpu, struct virt_exit *exit, bool write,
                                 unsigned number, unsigned gpr);

// -- vcpu_entry_failure.c --

// A value of the back end's control block that decides over an entry.
struct entry_field {
    const char *name;
    uint16_t where; // as read takes it
};

// Logs the reason, the guest's registers and the fields, but not again within five seconds; fills
// exit with VIRT_EXIT_FAIL_ENTRY.
void vcpu_entry_failed(struct virt_vcpu *vcpu, struct virt_exit *exit, uint64_t code,
                       const char *reason, const struct entry_field *fields, size_t count,
                       uint64_t (*read)(struct virt_vcpu *vcpu, const struct entry_field *field));

// -- vcpu_registers.c --

// In struct virt_vcpu.gpr's order, the hardware's.
enum { GPR_RAX, GPR_RCX, GPR_RDX, GPR_RBX, GPR_RSP };

// Segments by the numbers of virt_ops.get_segment.
enum { VCPU_SEGMENT_TR = 6, VCPU_SEGMENT_LDTR = 7, VCPU_SEGMENTS = 8 };
struct kvm_segment *vcpu_sregs_segment(struct kvm_sregs *sregs, unsigned segment_register);
// Bits 40-47 and 52-55 of a descriptor where it has them (SDM vol. 3 table 25-2).
enum { ATTRIBUTE_P = 1 << 7, ATTRIBUTE_L = 1 << 13 };
uint16_t vcpu_segment_attributes(const struct kvm_segment *segment);
struct kvm_segment vcpu_segment(uint16_t selector, uint64_t base, uint32_t limit,
                                uint16_t attributes);

uint64_t vcpu_gpr(struct virt_vcpu *vcpu, unsigned index);
void vcpu_set_gpr(struct virt_vcpu *vcpu, unsigned index, uint64_t value);
// RIP as a linear address.
uint64_t vcpu_linear_rip(struct virt_vcpu *vcpu);
// KVM_SET_SREGS without checks, CR8 and APIC base.
void vcpu_load_sregs(struct virt_vcpu *vcpu, struct kvm_sregs *sregs);

// -- vcpu_event.c --

// Both vendors' types (SDM vol. 3 table 25-17, APM vol. 2 15.20).
enum vcpu_event_kind {
    EVENT_INTERRUPT = 0,
    EVENT_NMI = 2,
    EVENT_EXCEPTION = 3,
    EVENT_SOFT_INTERRUPT = 4,  // INT n cut off
    EVENT_PRIVILEGED_SOFT = 5, // INT1; Intel's alone, as is the next
    EVENT_SOFT_EXCEPTION = 6,  // INT3, INTO
    EVENT_NONE = 8,
};

enum { // interruption information, EVENTINJ and EXITINTINFO alike; AMD's error is in bits 63:32
    EVENT_VECTOR = 0xff,
    EVENT_TYPE_SHIFT = 8,
    EVENT_TYPE = 7 << EVENT_TYPE_SHIFT,
    EVENT_HAS_ERROR = 1 << 11,
};
#define EVENT_VALID (1u << 31)

struct vcpu_event {
    enum vcpu_event_kind kind;
    uint8_t vector;
    bool has_error;
    uint32_t error;
    uint8_t soft_length; // of the instruction, for the soft ones
    bool sets_rf;        // a fault's first try: RF is due in the flags that are pushed
};

static inline uint32_t vcpu_event_information(const struct vcpu_event *event,
                                              enum vcpu_event_kind kind) {
    return event->vector | (uint32_t)kind << EVENT_TYPE_SHIFT |
           (event->has_error ? EVENT_HAS_ERROR : 0) | EVENT_VALID;
}

enum { // what the guest's state holds back, and what must be waited for
    EVENT_BLOCKS_INTERRUPT = 1,
    EVENT_BLOCKS_NMI = 2,
};

// An event is on its way in: nothing else, and no SMI, may come before it.
static inline bool vcpu_event_injecting(const struct virt_events *events) {
    return events->exception_pending || events->exception_injected || events->interrupt_injected ||
           events->nmi_injected || events->triple_fault;
}
// True if vcpu_event_select could find something. A few loads.
static inline bool vcpu_event_waiting(const struct virt_vcpu *vcpu) {
    const struct virt_events *events = &vcpu->events;
    return vcpu_event_injecting(events) ||
           atomic_load_explicit(&events->nmi_pending, memory_order_relaxed) ||
           events->user_interrupt >= 0 ||
           (vcpu->irqchip && (__atomic_load_n(&vcpu->lapic.irr_summary, __ATOMIC_RELAXED) ||
                              (vcpu->pic_output && *vcpu->pic_output))) ||
           vcpu->interrupt_window_requested;
}

// Takes the event to inject at this entry (SDM vol. 3 6.9's order: cut-off deliveries, exceptions,
// NMI, interrupts) and marks it injected. blocked: EVENT_BLOCKS_*. Returns what still waits for
// which block to go: the windows to open.
unsigned vcpu_event_select(struct virt_vcpu *vcpu, unsigned blocked, struct vcpu_event *event);
// What the guest's state holds back: EVENT_BLOCKS_*. Some processors hold NMIs back after STI as
// well, so both wait for a shadow's end (SDM vol. 3 27.3.1.5).
static inline unsigned vcpu_event_blocks(bool shadow, bool nmi_masked, bool interrupts_enabled) {
    return (shadow ? EVENT_BLOCKS_INTERRUPT | EVENT_BLOCKS_NMI : 0) |
           (nmi_masked ? EVENT_BLOCKS_NMI : 0) | (interrupts_enabled ? 0 : EVENT_BLOCKS_INTERRUPT);
}
// An exit has ended a delivery half-way: it is tried again at the next entry. length: of the
// instruction, for the soft ones.
void vcpu_event_cut_off(struct virt_vcpu *vcpu, uint32_t information, uint32_t error,
                        uint8_t length);
// The guest has not taken the interrupt that was injected. The local APIC's is a request again, so
// that a higher one goes first; others still go first at the next entry.
void vcpu_event_take_back(struct virt_vcpu *vcpu);
// The delivery ended, well or not: nothing counts as injected any more.
static inline void vcpu_event_delivered(struct virt_events *events) {
    events->exception_injected = events->interrupt_injected = events->nmi_injected = false;
}
