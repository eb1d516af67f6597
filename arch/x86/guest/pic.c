// SPDX-License-Identifier: BSD-2-Clause
// The guest's 8259A pair. Levels are kept in last_irr (input lines) and irr (requests) as in
// struct kvm_pic_state.
#include "pic.h"

#define CASCADE_IRQ 2

#define ICW1_INIT   0x10
#define ICW1_NEED_4 0x01
#define OCW3        0x08

// Lines fixed to edge: 0, 1, 2 on the master, 8 and 13 (ELCR, PIIX3 datasheet 2.5.3).
static const uint8_t elcr_mask[2] = {0xf8, 0xde};

static void acknowledged(struct pic *pic, unsigned chip, unsigned irq) {
    if (pic->ops->acknowledged)
        pic->ops->acknowledged(pic, chip * 8 + irq);
}

// Position of the highest-priority bit in mask, 0 highest, 8 none.
static unsigned priority_of(const struct kvm_pic_state *chip, uint8_t mask) {
    unsigned priority = 0;

    if (mask == 0)
        return 8;
    while (!(mask & (1u << ((priority + chip->priority_add) & 7))))
        priority++;
    return priority;
}

// The line to be served next, -1 if none.
static int next_irq(const struct pic *pic, unsigned index) {
    const struct kvm_pic_state *chip = &pic->chips[index];
    unsigned request = priority_of(chip, chip->irr & (uint8_t)~chip->imr);
    uint8_t in_service = chip->isr;

    if (request == 8)
        return -1;
    if (chip->special_mask)
        in_service &= (uint8_t)~chip->imr;
    // Special fully nested mode: the slave's further requests pass its own line in service.
    if (chip->special_fully_nested_mode && index == 0)
        in_service &= (uint8_t) ~(1u << CASCADE_IRQ);
    if (request >= priority_of(chip, in_service))
        return -1;
    return (int)((request + chip->priority_add) & 7);
}

// Returns 1 for a new request, 0 if it was there already, -1 if masked.
static int set_input(struct kvm_pic_state *chip, unsigned irq, bool level) {
    uint8_t bit = (uint8_t)(1u << irq);
    int result = 1;

    if (chip->elcr & bit) {
        if (level) {
            result = !(chip->irr & bit);
            chip->irr |= bit;
            chip->last_irr |= bit;
        } else {
            chip->irr &= (uint8_t)~bit;
            chip->last_irr &= (uint8_t)~bit;
        }
    } else if (level) {
        if (!(chip->last_irr & bit)) {
            result = !(chip->irr & bit);
            chip->irr |= bit;
        }
        chip->last_irr |= bit;
    } else {
        chip->last_irr &= (uint8_t)~bit;
    }
    return chip->imr & bit ? -1 : result;
}

static void update_output(struct pic *pic) {
    bool output;

    if (next_irq(pic, 1) >= 0) {
        // A pulse: the master may be edge-triggered.
        set_input(&pic->chips[0], CASCADE_IRQ, true);
        set_input(&pic->chips[0], CASCADE_IRQ, false);
    }
    output = next_irq(pic, 0) >= 0;
    if (output == pic->output)
        return;
    pic->output = output;
    pic->ops->output_changed(pic, output);
}

int pic_set_line(struct pic *pic, unsigned irq, enum irq_source source, bool level) {
    int result;

    if (irq >= 16)
        return -1;
    if (level)
        pic->line_sources[irq] |= (uint8_t)(1u << source);
    else
        pic->line_sources[irq] &= (uint8_t) ~(1u << source);
    result = set_input(&pic->chips[irq >> 3], irq & 7, pic->line_sources[irq]);
    update_output(pic);
    return result;
}

static void interrupt_acknowledge(struct pic *pic, unsigned index, unsigned irq) {
    struct kvm_pic_state *chip = &pic->chips[index];

    chip->isr |= (uint8_t)(1u << irq);
    if (!(chip->elcr & (1u << irq)))
        chip->irr &= (uint8_t) ~(1u << irq);
    if (!chip->auto_eoi)
        return;
    if (chip->rotate_on_auto_eoi)
        chip->priority_add = (irq + 1) & 7;
    chip->isr &= (uint8_t) ~(1u << irq);
    acknowledged(pic, index, irq);
}

uint8_t pic_acknowledge(struct pic *pic) {
    int irq = next_irq(pic, 0);
    uint8_t vector;

    if (irq < 0) {
        vector = pic->chips[0].irq_base + 7; // spurious
    } else if (irq == CASCADE_IRQ) {
        int slave = next_irq(pic, 1);
        interrupt_acknowledge(pic, 0, CASCADE_IRQ);
        if (slave >= 0)
            interrupt_acknowledge(pic, 1, (unsigned)slave);
        else
            slave = 7; // spurious on the slave
        vector = (uint8_t)(pic->chips[1].irq_base + slave);
    } else {
        interrupt_acknowledge(pic, 0, (unsigned)irq);
        vector = (uint8_t)(pic->chips[0].irq_base + irq);
    }
    update_output(pic);
    return vector;
}

static void clear_isr(struct pic *pic, unsigned index, unsigned irq) {
    pic->chips[index].isr &= (uint8_t) ~(1u << irq);
    acknowledged(pic, index, irq);
}

static void initialize(struct pic *pic, unsigned index, uint8_t icw1) {
    struct kvm_pic_state *chip = &pic->chips[index];
    uint8_t pending = chip->isr;
    uint8_t elcr = chip->elcr, mask = chip->elcr_mask, lines = chip->last_irr,
            base = chip->irq_base;

    *chip = (struct kvm_pic_state){
        .elcr = elcr,
        .elcr_mask = mask,
        .irq_base = base,
        // Edges are forgotten; level inputs still asserted request again.
        .irr = lines & elcr,
        .last_irr = lines & elcr,
        .init_state = 1,
        .init4 = icw1 & ICW1_NEED_4,
    };
    for (unsigned irq = 0; irq < 8; irq++)
        if (pending & (1u << irq))
            acknowledged(pic, index, irq);
}

static void write_ocw3(struct kvm_pic_state *chip, uint8_t value) {
    if (value & 0x04)
        chip->poll = 1;
    if (value & 0x02)
        chip->read_reg_select = value & 1;
    if (value & 0x40)
        chip->special_mask = (value >> 5) & 1;
}

static void write_ocw2(struct pic *pic, unsigned index, uint8_t value) {
    struct kvm_pic_state *chip = &pic->chips[index];
    unsigned command = value >> 5, irq = value & 7, priority;

    switch (command) {
    case 0: // rotate in auto-EOI mode: clear, set
    case 4:
        chip->rotate_on_auto_eoi = command >> 2;
        break;
    case 1: // non-specific EOI, with rotation
    case 5:
        priority = priority_of(chip, chip->isr);
        if (priority == 8)
            break;
        irq = (priority + chip->priority_add) & 7;
        if (command == 5)
            chip->priority_add = (irq + 1) & 7;
        clear_isr(pic, index, irq);
        break;
    case 3: // specific EOI
        clear_isr(pic, index, irq);
        break;
    case 6: // set priority
        chip->priority_add = (irq + 1) & 7;
        break;
    case 7: // specific EOI with rotation
        chip->priority_add = (irq + 1) & 7;
        clear_isr(pic, index, irq);
        break;
    }
}

static void write_data(struct kvm_pic_state *chip, uint8_t value) {
    switch (chip->init_state) {
    case 0:
        chip->imr = value;
        break;
    case 1:
        chip->irq_base = value & 0xf8;
        chip->init_state = 2;
        break;
    case 2: // ICW3: the cascade is wired as on a PC
        chip->init_state = chip->init4 ? 3 : 0;
        break;
    case 3:
        chip->special_fully_nested_mode = (value >> 4) & 1;
        chip->auto_eoi = (value >> 1) & 1;
        chip->init_state = 0;
        break;
    }
}

void pic_write(struct pic *pic, uint16_t port, uint8_t value) {
    unsigned index = port >= 0x4d0 ? port & 1 : port >> 7;
    struct kvm_pic_state *chip = &pic->chips[index];

    if (port >= 0x4d0)
        chip->elcr = value & chip->elcr_mask;
    else if (port & 1)
        write_data(chip, value);
    else if (value & ICW1_INIT)
        initialize(pic, index, value);
    else if (value & OCW3)
        write_ocw3(chip, value);
    else
        write_ocw2(pic, index, value);
    update_output(pic);
}

// Poll command: an acknowledge by software (datasheet, "Poll Command").
static uint8_t poll(struct pic *pic, unsigned index) {
    int irq = next_irq(pic, index);

    pic->chips[index].poll = 0;
    if (irq < 0) {
        update_output(pic);
        return 0;
    }
    if (index == 1)
        interrupt_acknowledge(pic, 0, CASCADE_IRQ);
    interrupt_acknowledge(pic, index, (unsigned)irq);
    update_output(pic);
    return (uint8_t)(0x80 | irq);
}

uint8_t pic_read(struct pic *pic, uint16_t port) {
    unsigned index = port >= 0x4d0 ? port & 1 : port >> 7;
    struct kvm_pic_state *chip = &pic->chips[index];

    if (port >= 0x4d0)
        return chip->elcr;
    if (chip->poll)
        return poll(pic, index);
    if (port & 1)
        return chip->imr;
    return chip->read_reg_select ? chip->isr : chip->irr;
}

void pic_init(struct pic *pic, const struct pic_ops *ops) {
    *pic = (struct pic){.ops = ops};
    pic->chips[0].elcr_mask = elcr_mask[0];
    pic->chips[1].elcr_mask = elcr_mask[1];
}

void pic_get_state(const struct pic *pic, unsigned chip, struct kvm_pic_state *state) {
    *state = pic->chips[chip & 1];
}

void pic_set_state(struct pic *pic, unsigned chip, const struct kvm_pic_state *state) {
    struct kvm_pic_state *own = &pic->chips[chip & 1];

    *own = *state;
    own->elcr_mask = elcr_mask[chip & 1];
    own->elcr &= own->elcr_mask;
    own->priority_add &= 7;
    if (own->init_state > 3)
        own->init_state = 0;
    update_output(pic);
}
