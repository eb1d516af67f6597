// SPDX-License-Identifier: BSD-2-Clause
// Panic: says where, why and with which registers, then stops the machine.
#include "arch/x86/context.h"
#include "arch/x86/cpu.h"
#include "arch/x86/cpu/console.h"
#include "arch/x86/cpu/instruction.h"
#include "arch/x86/cpu/trap.h"
#include "arch/x86/intr/local_apic.h"
#include "arch/x86/mm/kernel_space.h"
#include "core/log.h"

enum { BACKTRACE_WORDS = 512, BACKTRACE_MOST = 12 };

static atomic_uint panicking;

bool panic_in_progress(void) {
    return atomic_load_explicit(&panicking, memory_order_relaxed) != 0;
}

static _Noreturn void stop(void) {
    for (;;)
        __asm__ volatile("cli; hlt");
}

// One CPU reports; those that come later, or panic while reporting, just stop.
static void begin(void) {
    if (atomic_fetch_add(&panicking, 1))
        stop();
    local_apic_stop_others();
    console_break_lock();
}

// Code addresses on the stack, newest first. Without frame pointers some may be stale: the log says
// "maybe".
static void print_backtrace(uint64_t stack_pointer) {
    extern char kernel_text_start[], kernel_text_end[];
    const uint64_t *word = (const uint64_t *)(stack_pointer & ~7ull);
    if (!kernel_space_readable(stack_pointer)) // in a guard page: the stack is above it
        word = (const uint64_t *)((stack_pointer + 4095) & ~4095ull);
    unsigned found = 0;
    char line[BACKTRACE_MOST * 18 + 1];
    int length = 0;
    for (unsigned i = 0; i < BACKTRACE_WORDS && found < BACKTRACE_MOST; i++) {
        // Looked up at the start and at each page, so as not to run off the stack.
        if ((i == 0 || ((uint64_t)&word[i] & 0xfff) == 0) &&
            !kernel_space_readable((uint64_t)&word[i]))
            break;
        if (word[i] < (uint64_t)kernel_text_start || word[i] >= (uint64_t)kernel_text_end)
            continue;
        length += format_string(line + length, sizeof line - (size_t)length, " %lx", word[i]);
        found++;
    }
    log_line("  return addresses, maybe:%s", found ? line : " none");
}

static void print_place(void) {
    uint64_t gs = read_msr(MSR_GS_BASE);
    if (gs >> 63)
        log_line("  cpu %u, cr2 %lx cr3 %lx cr0 %lx cr4 %lx", this_cpu()->index, read_cr2(),
                 read_cr3(), read_cr0(), read_cr4());
}

_Noreturn void panic_at(const char *file, int line, const char *format, ...) {
    char message[192];
    va_list arguments;
    va_start(arguments, format);
    format_string_v(message, sizeof message, format, arguments);
    va_end(arguments);
    begin();
    log_line("panic: %s (%s:%d)", message, file, line);
    print_place();
    print_backtrace((uint64_t)__builtin_frame_address(0));
    stop();
}

// A double fault on a full kernel stack: the page fault at its guard page could not be delivered.
static bool stack_overflow(const struct trap_frame *frame) {
    uint64_t distance = read_cr2() > frame->rsp ? read_cr2() - frame->rsp : frame->rsp - read_cr2();
    return distance < 2 * 4096;
}

static void print_fault(const struct trap_frame *frame) {
    static const char *const words[][2] = {{"page not present", "right violated"},
                                           {"read", "write"},
                                           {"by the kernel", "by a program"}};
    log_line("  %s, %s, %s%s%s", words[0][frame->error & 1], words[1][frame->error >> 1 & 1],
             words[2][frame->error >> 2 & 1], frame->error & 8 ? ", reserved bit set" : "",
             frame->error & 16 ? ", instruction fetch" : "");
}

_Noreturn void panic_trap(const struct trap_frame *frame, unsigned vector) {
    begin();
    log_line("panic: %s in the kernel at %lx, error %lx", trap_name(vector), frame->rip,
             frame->error);
    if (vector == 14)
        print_fault(frame);
    if (vector == 8 && stack_overflow(frame))
        log_line("  the kernel stack has overflowed into its guard page");
    print_place();
    log_line("  rax %lx rbx %lx rcx %lx rdx %lx rsi %lx rdi %lx", frame->rax, frame->rbx,
             frame->rcx, frame->rdx, frame->rsi, frame->rdi);
    log_line("  r8 %lx r9 %lx r10 %lx r11 %lx r12 %lx r13 %lx", frame->r8, frame->r9, frame->r10,
             frame->r11, frame->r12, frame->r13);
    log_line("  r14 %lx r15 %lx rbp %lx rsp %lx cs %lx ss %lx rflags %lx", frame->r14, frame->r15,
             frame->rbp, frame->rsp, frame->cs, frame->ss, frame->rflags);
    print_backtrace(frame->rsp);
    stop();
}
