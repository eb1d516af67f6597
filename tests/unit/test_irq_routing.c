// SPDX-License-Identifier: BSD-2-Clause
// GSI routing and the MSI format.
// Sources: arch/x86/guest/irq_routing.c
#include <asm/errno.h>
#include <check.h>
#include <stdlib.h>
#include "arch/x86/guest/irq_routing.h"

static struct kvm_irq_routing_entry chip(uint32_t gsi, uint32_t irqchip, uint32_t pin) {
    return (struct kvm_irq_routing_entry){
        .gsi = gsi, .type = KVM_IRQ_ROUTING_IRQCHIP, .u.irqchip = {.irqchip = irqchip, .pin = pin}};
}

static struct kvm_irq_routing_entry msi(uint32_t gsi, uint32_t data) {
    return (struct kvm_irq_routing_entry){
        .gsi = gsi, .type = KVM_IRQ_ROUTING_MSI, .u.msi = {.address_lo = 0xfee00000, .data = data}};
}

START_TEST(default_table) {
    uint32_t count;
    ck_assert_int_eq(irq_routing_check(irq_routing_default, IRQ_ROUTING_DEFAULT_COUNT, true, false),
                     0);
    void *block = malloc(irq_routing_size(irq_routing_default, IRQ_ROUTING_DEFAULT_COUNT));
    struct irq_routing *table =
        irq_routing_build(block, irq_routing_default, IRQ_ROUTING_DEFAULT_COUNT);
    ck_assert_uint_eq(table->gsi_count, 24);
    for (uint32_t gsi = 0; gsi < 24; gsi++) {
        const struct kvm_irq_routing_entry *entries = irq_routing_lookup(table, gsi, &count);
        ck_assert_uint_eq(count, gsi < 16 ? 2 : 1);
        ck_assert_uint_eq(entries[0].u.irqchip.irqchip, KVM_IRQCHIP_IOAPIC);
        ck_assert_uint_eq(entries[0].u.irqchip.pin, gsi);
        if (gsi < 16) {
            ck_assert_uint_eq(entries[1].u.irqchip.irqchip, gsi / 8);
            ck_assert_uint_eq(entries[1].u.irqchip.pin, gsi % 8);
        }
        ck_assert_uint_eq(irq_routing_gsi(table, KVM_IRQCHIP_IOAPIC, gsi), gsi);
    }
    irq_routing_lookup(table, 24, &count);
    ck_assert_uint_eq(count, 0);
    ck_assert_uint_eq(irq_routing_gsi(table, KVM_IRQCHIP_PIC_SLAVE, 4), 12);
    ck_assert_uint_eq(irq_routing_gsi(table, 7, 4), IRQ_ROUTING_NO_GSI);
    free(block);
}
END_TEST

START_TEST(unsorted_and_sparse) {
    struct kvm_irq_routing_entry entries[] = {msi(100, 1), chip(5, 2, 7), msi(30, 2), chip(5, 0, 3),
                                              msi(4095, 3)};
    uint32_t count;
    ck_assert_int_eq(irq_routing_check(entries, 5, true, false), 0);
    void *block = malloc(irq_routing_size(entries, 5));
    struct irq_routing *table = irq_routing_build(block, entries, 5);
    ck_assert_uint_eq(irq_routing_lookup(table, 100, &count)->u.msi.data, 1);
    ck_assert_uint_eq(count, 1);
    ck_assert_uint_eq(irq_routing_lookup(table, 4095, &count)->u.msi.data, 3);
    irq_routing_lookup(table, 5, &count);
    ck_assert_uint_eq(count, 2);
    irq_routing_lookup(table, 6, &count);
    ck_assert_uint_eq(count, 0);
    ck_assert_uint_eq(irq_routing_gsi(table, 2, 7), 5);
    free(block);
    ck_assert_uint_ge(irq_routing_size(NULL, 0), sizeof(struct irq_routing));
}
END_TEST

START_TEST(refused) {
    struct kvm_irq_routing_entry bad[20];
    bad[0] = chip(0, 3, 0);
    ck_assert_int_eq(irq_routing_check(bad, 1, true, false), -EINVAL);
    bad[0] = chip(0, 0, 8);
    ck_assert_int_eq(irq_routing_check(bad, 1, true, false), -EINVAL);
    bad[0] = chip(4096, 0, 1);
    ck_assert_int_eq(irq_routing_check(bad, 1, true, false), -EINVAL);
    bad[0] = chip(1, 0, 1);
    ck_assert_int_eq(irq_routing_check(bad, 1, false, false), -EINVAL);
    bad[0].flags = 1;
    ck_assert_int_eq(irq_routing_check(bad, 1, true, false), -EINVAL);
    bad[0] = chip(1, 0, 1);
    bad[1] = chip(1, 0, 2);
    ck_assert_int_eq(irq_routing_check(bad, 2, true, false), -EINVAL);
    bad[1] = msi(1, 2);
    ck_assert_int_eq(irq_routing_check(bad, 2, true, false), -EINVAL);
    for (uint32_t i = 0; i < 20; i++) // the long way round
        bad[i] = msi(1000 + i, 0);
    ck_assert_int_eq(irq_routing_check(bad, 20, true, false), 0);
    bad[19].gsi = 1003;
    ck_assert_int_eq(irq_routing_check(bad, 20, true, false), -EINVAL);
    bad[0] = msi(1, 0);
    bad[0].u.msi.address_hi = 0x101;
    ck_assert_int_eq(irq_routing_check(bad, 1, true, false), 0);
    ck_assert_int_eq(irq_routing_check(bad, 1, true, true), -EINVAL);
    bad[0].type = KVM_IRQ_ROUTING_HV_SINT;
    ck_assert_int_eq(irq_routing_check(bad, 1, true, false), -EINVAL);
}
END_TEST

START_TEST(msi_format) {
    struct lapic_message message;
    ck_assert_int_eq(msi_decode(0xfee05004, 0, 0x8141, false, &message), 0);
    ck_assert_uint_eq(message.destination, 5);
    ck_assert_uint_eq(message.vector, 0x41);
    ck_assert_uint_eq(message.delivery_mode, LAPIC_DELIVER_LOWEST);
    ck_assert(message.logical && message.level_triggered);
    ck_assert_int_eq(msi_decode(0xfee05000, 0x00012300, 0x41, true, &message), 0);
    ck_assert_uint_eq(message.destination, 0x12305);
    ck_assert_int_eq(msi_decode(0xfee05000, 0x00012301, 0x41, true, &message), -EINVAL);
    ck_assert_int_eq(msi_decode(0xfee05000, 0x00012300, 0x41, false, &message), 0);
    ck_assert_uint_eq(message.destination, 5);
    msi_decode(0xfee0f00c, 0, 0x41, false, &message);
    ck_assert_uint_eq(message.delivery_mode, LAPIC_DELIVER_LOWEST);
    msi_decode(0xfee0f008, 0, 0x41, false, &message);
    ck_assert_uint_eq(message.delivery_mode, LAPIC_DELIVER_FIXED);
}
END_TEST

Suite *irq_routing_suite(void) {
    Suite *suite = suite_create("irq_routing");
    TCase *tests = tcase_create("irq_routing");
    tcase_add_test(tests, default_table);
    tcase_add_test(tests, unsorted_and_sparse);
    tcase_add_test(tests, refused);
    tcase_add_test(tests, msi_format);
    suite_add_tcase(suite, tests);
    return suite;
}
