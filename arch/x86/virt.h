// SPDX-License-Identifier: BSD-2-Clause
// The border between the KVM API (core/kvm) and the hardware back ends (arch/x86/vmx,
// arch/x86/svm). Data flows one way: core calls virt->run; it enters the guest, completes the exits
// that need nothing but the vCPU (CPUID, MSRs, CRs, interrupts), and returns the others described
// in struct virt_exit. Core acts on it and calls run again.
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/kvm.h>
#include "arch/x86/context.h"
#include "arch/x86/guest/cpuid.h"
#include "arch/x86/guest/decoder.h"
#include "arch/x86/guest/guest_walk.h"
#include "arch/x86/guest/lapic.h"
#include "arch/x86/guest/msr.h"
#include "arch/x86/cpu.h"

struct page_format;

// Part of a VM that the back end needs. Embedded in core's struct vm.
struct virt_vm {
    // Physical addresses of the top tables (EPT or NPT), [1] for vCPUs in system-management mode;
    // core/kvm maps and unmaps.
    uint64_t stage2_root[2];
    // From 1; bumped after entries were taken away or lost rights.
    _Atomic uint64_t stage2_generation;
    uint64_t stage2_seen[CPU_MAX]; // per CPU: generation its TLB is clean for; entry compares and
                                   // flushes (INVEPT)
    _Atomic uint64_t cpus[CPU_MAX / 64]; // CPUs that may run a vCPU of this VM now
    _Atomic uint64_t disabled_quirks;    // KVM_X86_QUIRK_*
    uint64_t disabled_exits;             // KVM_X86_DISABLE_EXITS_*, before the first vCPU
};

// Events on their way into the guest, as KVM_GET/SET_VCPU_EVENTS shows them.
struct virt_events {
    bool exception_pending;  // raised, not yet injected
    bool exception_injected; // put in the VM-entry field, delivery not confirmed (re-injected if
                             // the delivery exits)
    bool exception_has_error;
    uint8_t exception_vector;
    uint32_t exception_error;
    bool exception_has_payload;
    uint64_t exception_payload; // CR2 for #PF, DR6 bits for #DB
    bool interrupt_injected;    // delivery was cut off by an exit: goes first at the next entry
    bool interrupt_soft;
    uint8_t interrupt_vector;
    bool interrupt_of_lapic; // the last that was chosen is in service there
    bool exception_soft;     // INT3, INTO, INT1: soft_length counts
    uint8_t soft_length;     // instruction length for soft interrupts/exceptions
    bool triple_fault;       // the next entry ends with VIRT_EXIT_SHUTDOWN instead
    bool nmi_injected;
    _Atomic uint8_t nmi_pending; // 0..2, set by any CPU
    _Atomic bool smi_pending;
    int16_t user_interrupt; // KVM_INTERRUPT vector without in-kernel irqchip; -1 none
};

enum virt_attention { // bits of virt_vcpu.attention, set by any CPU; core handles them before the
                      // next entry
    ATTENTION_EVENT = 1 << 0, // look at lapic, PIC, NMI (a kick)
    ATTENTION_INIT = 1 << 1,
    ATTENTION_SIPI = 1 << 2,
    ATTENTION_TIMER = 1 << 3,       // LAPIC timer fired
    ATTENTION_CLOCK = 1 << 4,       // kvmclock page to be written
    ATTENTION_STEAL = 1 << 6,       // the guest has given a page for stolen time
    ATTENTION_MSR_FILTER = 1 << 7,  // the VM's MSR filter has changed
    ATTENTION_IOAPIC_EOI = 1 << 8,  // an EOI that user space's I/O APIC wants to know
    ATTENTION_SMI = 1 << 9,         // left alone while an event is being injected
    ATTENTION_PV_EOI = 1 << 10,     // the guest's word for EOIs is to be brought in
    ATTENTION_DIRTY_RING = 1 << 11, // its dirty ring is nearly full
    ATTENTION_WRITE_LOG = 1 << 12,  // whether writes are logged has changed
};

// What fetching an instruction and running it in software begin with.
struct virt_state {
    struct guest_paging paging;
    uint64_t rip, rsp;
    uint64_t code_base; // of CS, from the back end
    uint64_t code_linear;
    bool code_long, code_32; // CS.L, CS.D
    bool interrupt_shadow;
    enum code_mode code_mode;
};

// A vCPU's register state and models. Embedded in core's struct vcpu. Touched by the vCPU's own
// thread (or whoever holds the vCPU while it is not running), except what is marked _Atomic and the
// lapic's posting functions.
struct virt_vcpu {
    uint64_t gpr[16]; // hardware order RAX RCX RDX RBX RSP RBP RSI RDI R8..R15; RSP only valid
                      // through virt->get_regs
    uint64_t cr2;
    _Atomic uint32_t attention; // enum virt_attention
    _Atomic bool in_guest;      // true from before the last look at attention until after the exit
    bool irqchip;               // in-kernel local APIC
    bool user_debug;            // KVM_SET_GUEST_DEBUG in force
    struct virt_vm *vm;
    uint32_t id;
    struct guest_cpuid cpuid;
    struct guest_msrs msrs;
    struct lapic lapic;
    struct virt_events events;
    struct fpu_state guest_fpu;  // thread->fpu points here while inside KVM_RUN
    uint64_t xcr0;               // guest's; kept equal to guest_fpu.xcr0
    uint64_t debug[4], dr6, dr7; // guest's DR0-3, DR6, DR7
    struct kvm_guest_debug guest_debug;
    bool user_debug_stepping; // TF in RFLAGS is the debugger's
    // Work before an entry, rare each: the run loop tests all at once.
    union {
        struct {
            bool recheck_events;  // events or what blocks them changed
            bool flush_tlb;       // of the guest's own translations
            bool debug_registers; // DR0-3 must be loaded: breakpoints are enabled
            bool load_spec_ctrl;  // the guest's IA32_SPEC_CTRL is not the host's 0
            bool step_due;        // an instruction with TF was completed for the guest
        };
        uint64_t before_entry;
    };
    uint64_t spec_ctrl;
    uint64_t tsc_offset; // guest TSC = host TSC (scaled by tsc_khz ratio if the CPU can) + offset
    uint64_t tsc_ratio;  // in virt->tsc_*_bits' format; 0: not scaled
    uint32_t tsc_khz;
    const bool *pic_output;                             // PIC's INTR if this VM has one; NULL none
    uint8_t (*pic_acknowledge)(struct virt_vcpu *vcpu); // set by core: INTA cycle
    // Set by core: guest-physical memory, for what the processor would read itself (PAE PDPTEs).
    // False: no memory. NULL: none.
    bool (*read_physical)(struct virt_vcpu *vcpu, uint64_t gpa, void *data, uint32_t size);
    // Set by core: reads the instruction at RIP, see guest_memory_fetch.
    unsigned (*fetch)(struct virt_vcpu *vcpu, const struct virt_state *state, unsigned access,
                      uint8_t *bytes, struct guest_exception *exception);
    // Set by core: the guest has written the page of gpa, logged by the processor.
    void (*note_write)(struct virt_vcpu *vcpu, uint64_t gpa);
    bool interrupt_window_requested; // without irqchip: leave with VIRT_EXIT_INTERRUPT_WINDOW as
                                     // soon as interrupt_allowed
    uint64_t cr8;                    // without irqchip; with it the TPR is in lapic
    bool in_smm;
    struct {
        uint64_t exits, halt_exits, irq_exits, io_exits, mmio_exits, msr_exits, cpuid_exits,
            stage2_faults, hypercalls, injections, nmi_injections, irq_window_exits, tlb_flushes,
            signal_exits, insn_emulations;
        uint64_t yields, yields_done; // to a vCPU of the VM that waits for a CPU
    } statistics;
    void *backend;
};

enum virt_exit_kind {
    VIRT_EXIT_ATTENTION, // attention, thread work or reschedule is set: look, then run again
    VIRT_EXIT_PORT,      // IN/OUT, not string: emulate, then virt->skip_instruction
    VIRT_EXIT_EMULATE,   // emulate the instruction at RIP (string I/O, MMIO found by other means,
                         // UMIP, ...)
    VIRT_EXIT_STAGE2,    // second-stage violation at gpa
    VIRT_EXIT_HALT,      // HLT executed (already skipped)
    VIRT_EXIT_SHUTDOWN,  // triple fault
    VIRT_EXIT_HYPERCALL, // VMCALL/VMMCALL (already skipped): number and arguments in gpr, result to
                         // RAX by core
    VIRT_EXIT_DEBUG,     // guest debugging hit: exception, pc, dr6, dr7
    VIRT_EXIT_MSR, // RDMSR/WRMSR that the table does not know or refuses (msr.result): core injects
                   // #GP or asks user space
    VIRT_EXIT_INTERRUPT_WINDOW, // guest can take an interrupt now and user space asked for it (no
                                // in-kernel irqchip)
    VIRT_EXIT_PAUSE,            // PAUSE loop: yield
    VIRT_EXIT_FAIL_ENTRY, // hardware refused the state; reason; already reported in words to the
                          // log
    VIRT_EXIT_INTERNAL_ERROR, // suberror + data
    VIRT_EXIT_SET_TPR,
    VIRT_EXIT_UNDEFINED, // #UD: RSM in system-management mode, the other vendor's hypercall, or an
                         // exception for the guest
};

struct virt_exit {
    enum virt_exit_kind kind;
    union {
        struct {
            uint16_t port;
            uint8_t size;
            bool in;
        } port;
        struct {
            uint64_t gpa;
            bool write, linear_valid, page_walk;
            uint64_t linear;
        } stage2;
        struct {
            uint32_t index;
            bool write;
            int result;
            uint64_t value;
        } msr;
        struct {
            uint32_t exception;
            uint64_t pc, dr6, dr7;
        } debug;
        uint64_t fail_reason;
        struct {
            uint32_t suberror, count;
            uint64_t data[16];
        } error;
    };
};

// What differs between the back ends. All but run: the vCPU is not in the guest; any CPU.
struct virt_ops {
    const char *name;         // "VT-x", "AMD-V"
    uint8_t hypercall_opcode; // last byte of VMCALL or VMMCALL
    const struct page_format *stage2_format;
    uint32_t vcpu_size; // of what vcpu->backend points to
    // The TSC ratio's fixed-point format, and whether the processor has one.
    uint8_t tsc_integer_bits, tsc_fraction_bits;
    const bool *tsc_scaling;
    void (*describe)(char *out, size_t size);    // features found and used, for the log
    void (*cpuid_host)(struct cpuid_host *host); // sets the fields that depend on the back end
    int (*cpu_enable)(void); // on each CPU: VMXON / EFER.SVME. 0 or -errno, logged in words
    int (*vcpu_create)(struct virt_vcpu *vcpu); // vcpu->backend is there, zeroed; 0 or -errno
    void (*vcpu_destroy)(struct virt_vcpu *vcpu);
    void (*vcpu_reset)(struct virt_vcpu *vcpu); // what only the back end holds: an entry's event...
    // Runs the guest until something core must do. Interrupts off, no lock held, thread->fpu ==
    // &vcpu->guest_fpu. May be called on any CPU. 0, or -errno for a host fault.
    int (*run)(struct virt_vcpu *vcpu, struct virt_exit *exit);
    uint64_t (*get)(struct virt_vcpu *vcpu, enum backend_register which);
    // Without checks; what hardware needs with it follows (EFER.LMA after CR0, TLB, intercepts).
    void (*set)(struct virt_vcpu *vcpu, enum backend_register which, uint64_t value);
    // All of *state that is not said with virt_get_state to be that function's.
    void (*get_state)(struct virt_vcpu *vcpu, struct virt_state *state);
    // By the numbers of enum segment_register; 6 TR, 7 LDTR.
    void (*get_segment)(struct virt_vcpu *vcpu, unsigned segment_register,
                        struct kvm_segment *segment);
    void (*set_segment)(struct virt_vcpu *vcpu, unsigned segment_register,
                        const struct kvm_segment *segment);
    // PAE's, which the processor holds on its own. NULL: it reads them from memory.
    void (*set_pdptes)(struct virt_vcpu *vcpu, const uint64_t pdpte[4]);
    unsigned (*get_interrupt_shadow)(struct virt_vcpu *vcpu); // KVM_X86_SHADOW_INT_* bits
    void (*set_interrupt_shadow)(struct virt_vcpu *vcpu, unsigned shadow);
    bool (*get_nmi_masked)(struct virt_vcpu *vcpu);
    void (*set_nmi_masked)(struct virt_vcpu *vcpu, bool masked);
    // Past the instruction that exited; clears the interrupt shadow.
    void (*skip_instruction)(struct virt_vcpu *vcpu);
    // Bytes of the current instruction if the hardware gave them (decode assists); 0: fetch from
    // memory. NULL: it never does.
    unsigned (*instruction_bytes)(struct virt_vcpu *vcpu, uint8_t *bytes);
    void (*smm_changed)(struct virt_vcpu *vcpu);   // in_smm: the second stage
    void (*debug_changed)(struct virt_vcpu *vcpu); // guest_debug, dr7 ... changed: intercepts
    void (*tsc_changed)(struct virt_vcpu *vcpu);   // tsc_offset or tsc_ratio
    // Logging of guest-physical pages whose dirty mark in the second stage gets set, on or off;
    // reported by note_write right after an exit. Only where virt_logs_writes.
    void (*log_writes)(struct virt_vcpu *vcpu, bool on);
    void (*msr_filter_changed)(struct virt_vcpu *vcpu, bool intercept_all);
    void (*user_return)(void); // see virt_user_return; NULL: nothing stays loaded
    void (*leave_cpu)(void);   // see virt_leave_cpu; NULL: nothing to do
};

// CR4 bits the supported CPUID offers: what a vCPU without a CPUID table may set, and no vCPU more.
extern uint64_t virt_supported_cr4;
// The processor logs the pages a guest writes (virt_ops.log_writes), up to so many between two
// exits.
extern bool virt_logs_writes;
#define VIRT_WRITE_LOG_ENTRIES 512
// The back end in use; NULL when the machine has none (config virt = optional).
extern const struct virt_ops *virt;
// Finds and turns on the back end on the boot CPU; says in words what is missing and what to do. 0
// or -ENODEV.
int virt_init(void);
int virt_cpu_enable(void); // each further CPU; again on the same one: no effect
// user_return's slow path while cpu->guest_msrs_loaded: puts the host's SYSCALL MSRs back.
void virt_user_return(void);
// A thread leaves this CPU for another: if a vCPU goes with it, it need not be fetched from there
// by a call.
void virt_leave_cpu(void);

// -- what both back ends share (arch/x86/guest/vcpu_*.c) --

// A vCPU with its back end's part, in power-on state as KVM's. 0 or -errno.
int virt_vcpu_create(struct virt_vcpu *vcpu);
void virt_vcpu_destroy(struct virt_vcpu *vcpu);
// INIT, or power-on register state (SDM vol. 3 table 10-1).
void virt_reset(struct virt_vcpu *vcpu, bool init);
void virt_get_regs(struct virt_vcpu *vcpu, struct kvm_regs *regs);
void virt_set_regs(struct virt_vcpu *vcpu, const struct kvm_regs *regs);
void virt_get_sregs(struct virt_vcpu *vcpu, struct kvm_sregs *sregs); // but interrupt_bitmap
// All but APIC base, CR8 and interrupt_bitmap. 0, or -EINVAL as KVM's checks.
int virt_set_sregs(struct virt_vcpu *vcpu, const struct kvm_sregs *sregs);
// RFLAGS without the TF of a debugger that steps the guest.
uint64_t virt_get_rflags(struct virt_vcpu *vcpu);
void virt_set_rflags(struct virt_vcpu *vcpu, uint64_t rflags);
// Itself sets what CPUID says of paging, and code_linear and code_mode.
void virt_get_state(struct virt_vcpu *vcpu, struct virt_state *state);
// The task priority's class, wherever it is kept. cr8 <= 15.
static inline uint64_t virt_get_cr8(const struct virt_vcpu *vcpu) {
    return vcpu->irqchip ? lapic_get_cr8(&vcpu->lapic) : vcpu->cr8;
}
static inline void virt_set_cr8(struct virt_vcpu *vcpu, uint64_t cr8) {
    vcpu->recheck_events = true;
    if (vcpu->irqchip)
        lapic_set_cr8(&vcpu->lapic, cr8);
    else
        vcpu->cr8 = cr8;
}
bool virt_interrupt_allowed(struct virt_vcpu *vcpu); // IF=1, no shadow, nothing being injected
// Raises an exception in the guest at its next entry (double-fault and triple-fault rules, SDM vol.
// 3 6.15). DR6/CR2 by payload.
void virt_raise(struct virt_vcpu *vcpu, const struct guest_exception *exception);
void virt_raise_vector(struct virt_vcpu *vcpu, uint8_t vector); // no error code
void virt_raise_error(struct virt_vcpu *vcpu, uint8_t vector, uint32_t error);
// Puts the pending exception's payload where delivery would: CR2, or DR6 and DR7.
void virt_deliver_payload(struct virt_vcpu *vcpu);
// What the host offers a guest; filled by virt_init.
extern struct cpuid_host virt_host;
// Sets the hooks of guest_msr_backend that need only the vCPU (all but set_tsc, adjust_tsc,
// system_time, wall_clock).
void virt_msr_backend(struct guest_msr_backend *backend);
// Host value of a feature MSR, 0 where there is none: guest_msr_feature's reader.
uint64_t virt_host_msr(uint32_t index);
// Recomputes the CPUID leaves that follow CR4, XCR0, XSS, APIC base and MISC_ENABLE.
void virt_cpuid_update(struct virt_vcpu *vcpu);
// The same for a table that is not (yet) the vCPU's.
void virt_cpuid_apply(struct virt_vcpu *vcpu, struct guest_cpuid *cpuid);
// After KVM_SET_CPUID2.
void virt_cpuid_changed(struct virt_vcpu *vcpu);
// The guest's TSC at this moment.
uint64_t virt_guest_tsc(const struct virt_vcpu *vcpu);
// The same without the offset: host TSC now at the guest's rate.
uint64_t virt_scaled_tsc(const struct virt_vcpu *vcpu);
void virt_tsc_changed(struct virt_vcpu *vcpu); // tsc_offset or tsc_khz
uint64_t virt_max_tsc_khz(void);               // 0: no scaling
// XSETBV, KVM_SET_XCRS: checks and sets XCR0. 0 or -EINVAL.
int virt_set_xcr0(struct virt_vcpu *vcpu, uint64_t xcr0);
