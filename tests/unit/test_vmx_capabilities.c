// SPDX-License-Identifier: BSD-2-Clause
// What the VMX capability MSRs (SDM vol. 3 appendix A) say, and the messages for what they lack.
// Sources: core/format.c
#include <check.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include "arch/x86/vmx/capabilities.h"
#include "arch/x86/vmx/instructions.h"
#include "arch/x86/vmx/vmcs_fields.h"

// A processor's MSRs: any control may be 1 and none must, but for what a test takes away.
static uint64_t basic, misc, ept;
static uint32_t must[WORD_COUNT], may[WORD_COUNT];
static bool old_msrs_read;

static uint64_t read_control(enum control_word word) {
    return (uint64_t)may[word] << 32 | must[word];
}

static uint64_t read_fake_msr(uint32_t index) {
    switch (index) {
    case MSR_VMX_BASIC:
        return basic;
    case MSR_VMX_MISC:
        return misc;
    case MSR_VMX_EPT_VPID:
        return ept;
    case MSR_VMX_CPU2:
        return read_control(WORD_CPU2);
    case MSR_VMX_PIN:
    case MSR_VMX_CPU:
    case MSR_VMX_EXIT:
    case MSR_VMX_ENTRY:
        old_msrs_read = true;
        return UINT64_MAX;
    case MSR_VMX_TRUE_PIN:
        return read_control(WORD_PIN);
    case MSR_VMX_TRUE_CPU:
        return read_control(WORD_CPU);
    case MSR_VMX_TRUE_EXIT:
        return read_control(WORD_EXIT);
    case MSR_VMX_TRUE_ENTRY:
        return read_control(WORD_ENTRY);
    default:
        return 0;
    }
}

static void whole_processor(void) {
    basic = 6ull << 50 | 1ull << 55 | 0x2b;
    misc = 1 << 5 | 7;
    ept = UINT64_MAX;
    old_msrs_read = false;
    memset(must, 0, sizeof(must));
    memset(may, 0xff, sizeof(may));
}

static const char *read_all(struct vmx_capabilities *capabilities) {
    return vmx_capabilities_read(capabilities, read_fake_msr);
}

START_TEST(whole_processor_is_accepted) {
    struct vmx_capabilities c;
    whole_processor();
    must[WORD_PIN] = 0x16;
    ck_assert_ptr_null(read_all(&c));
    ck_assert(!old_msrs_read);
    ck_assert_uint_eq(c.revision, 0x2b);
    ck_assert_uint_eq(c.control[WORD_PIN], 0x16u | PIN_EXTERNAL_INTERRUPT | PIN_NMI |
                                               PIN_VIRTUAL_NMI | PIN_PREEMPTION_TIMER);
    ck_assert(c.control[WORD_CPU2] & CPU2_EPT);
    ck_assert(!(c.control[WORD_CPU] & (CPU_CR3_LOAD | CPU_CR3_STORE | CPU_INVLPG)));
    ck_assert(!(c.control[WORD_CPU] & (CPU_INTERRUPT_WINDOW | CPU_NMI_WINDOW)));
    // Write-back, four levels, accessed and dirty (SDM vol. 3 table 25-9).
    ck_assert_uint_eq(c.ept_pointer_bits, 0x5e);
    ck_assert_uint_eq(c.preemption_timer_shift, 7);
    ck_assert(c.ept_1g && c.tsc_scaling && c.preemption_timer);
}
END_TEST

START_TEST(options_may_be_missing) {
    struct vmx_capabilities c;
    char text[128];
    whole_processor();
    may[WORD_CPU2] &= ~(uint32_t)(CPU2_TSC_SCALING | CPU2_XSAVES | CPU2_PAUSE_LOOP | CPU2_INVPCID);
    may[WORD_PIN] &= ~(uint32_t)PIN_PREEMPTION_TIMER;
    may[WORD_CPU] &= ~(uint32_t)CPU_MONITOR_TRAP;
    ept &= ~(1ull << 17 | 1ull << 21);
    ck_assert_ptr_null(read_all(&c));
    ck_assert_uint_eq(c.ept_pointer_bits, 0x1e);
    vmx_capabilities_describe(&c, text, sizeof(text));
    ck_assert_str_eq(text, "EPT 4K/2M, VPID, unrestricted guest, TPR shadow");
}
END_TEST

// One row a feature that nothing goes without: the bit taken away and a word of the message.
static const struct {
    enum control_word word;
    uint32_t bit;
    const char *says;
} required[] = {
    {WORD_PIN, PIN_NMI, "NMI"},
    {WORD_PIN, PIN_VIRTUAL_NMI, "virtual NMIs"},
    {WORD_CPU, CPU_SECONDARY, "secondary"},
    {WORD_CPU, CPU_MSR_BITMAPS, "MSR bitmaps"},
    {WORD_CPU, CPU_TPR_SHADOW, "TPR shadow"},
    {WORD_CPU2, CPU2_EPT, "EPT"},
    {WORD_CPU2, CPU2_VPID, "VPID"},
    {WORD_CPU2, CPU2_UNRESTRICTED, "unrestricted guest"},
    {WORD_EXIT, EXIT_ACKNOWLEDGE_INTERRUPT, "acknowledge"},
    {WORD_EXIT, EXIT_LOAD_EFER, "IA32_EFER"},
    {WORD_ENTRY, ENTRY_LOAD_PAT, "IA32_PAT"},
};

START_TEST(each_missing_control_is_named) {
    struct vmx_capabilities c;
    whole_processor();
    may[required[_i].word] &= ~required[_i].bit;
    const char *message = read_all(&c);
    ck_assert_ptr_nonnull(message);
    ck_assert_ptr_nonnull(strstr(message, required[_i].says));
}
END_TEST

static const unsigned ept_required[] = {6, 14, 16, 20, 25, 32, 41};

START_TEST(each_missing_ept_feature_is_named) {
    struct vmx_capabilities c;
    whole_processor();
    ept &= ~(1ull << ept_required[_i]);
    ck_assert_ptr_nonnull(read_all(&c));
}
END_TEST

START_TEST(forced_cr3_exits_are_refused) {
    struct vmx_capabilities c;
    whole_processor();
    must[WORD_CPU] = CPU_CR3_LOAD;
    ck_assert_ptr_nonnull(strstr(read_all(&c), "CR3"));
    whole_processor();
    misc = 0;
    ck_assert_ptr_nonnull(strstr(read_all(&c), "EFER.LMA"));
    whole_processor();
    basic &= ~(15ull << 50);
    ck_assert_ptr_nonnull(strstr(read_all(&c), "write-back"));
}
END_TEST

Suite *vmx_capabilities_suite(void) {
    Suite *suite = suite_create("vmx_capabilities");
    TCase *tests = tcase_create("vmx_capabilities");
    tcase_add_test(tests, whole_processor_is_accepted);
    tcase_add_test(tests, options_may_be_missing);
    tcase_add_loop_test(tests, each_missing_control_is_named, 0,
                        sizeof(required) / sizeof(required[0]));
    tcase_add_loop_test(tests, each_missing_ept_feature_is_named, 0,
                        sizeof(ept_required) / sizeof(ept_required[0]));
    tcase_add_test(tests, forced_cr3_exits_are_refused);
    suite_add_tcase(suite, tests);
    return suite;
}
