// SPDX-License-Identifier: BSD-2-Clause
// Which local APICs a message is for (SDM vol. 3 11.6.2 and 11.12.10).
#include "lapic.h"

#define X2APIC_BROADCAST 0xffffffffu
#define XAPIC_BROADCAST  0xffu

// The destination as this APIC sees it: KVM lets 0xff of a device reach x2APICs as a broadcast
// unless the VMM turned that quirk off.
static uint32_t destination_for(const struct lapic *lapic, const struct lapic_message *message) {
    if (message->destination == XAPIC_BROADCAST && !message->x2apic_source && lapic_x2apic(lapic) &&
        !lapic->no_broadcast_quirk)
        return X2APIC_BROADCAST;
    return message->destination;
}

static bool is_broadcast(const struct lapic *lapic, uint32_t destination,
                         const struct lapic_message *message) {
    if (destination == X2APIC_BROADCAST)
        return true;
    return destination == XAPIC_BROADCAST && !lapic_x2apic(lapic) && !message->x2apic_source;
}

static bool matches_logical(const struct lapic *lapic, uint32_t destination) {
    uint32_t ldr = lapic_reg(lapic, LAPIC_LDR);

    if (lapic_x2apic(lapic))
        return ldr >> 16 == destination >> 16 && (ldr & destination & 0xffff);
    if (destination > 0xff)
        return false;
    ldr >>= 24;
    if (lapic_reg(lapic, LAPIC_DFR) >> 28 == 0xf) // flat
        return ldr & destination;
    return ldr >> 4 == destination >> 4 && (ldr & destination & 0xf);
}

static bool matches_physical(const struct lapic *lapic, uint32_t destination) {
    if (lapic_x2apic(lapic))
        return destination == lapic->id;
    // An xAPIC with an ID above 254 is reached by its 32-bit ID, as in KVM (CPU hot-plug).
    return destination == lapic_reg(lapic, LAPIC_ID) >> 24 ||
           (lapic->id > 0xff && destination == lapic->id);
}

bool lapic_matches(const struct lapic *lapic, const struct lapic *source,
                   const struct lapic_message *message) {
    if (!lapic_hw_enabled(lapic))
        return false;
    switch (message->shorthand) {
    case LAPIC_TO_SELF:
        return lapic == source;
    case LAPIC_TO_ALL:
        return true;
    case LAPIC_TO_OTHERS:
        return lapic != source;
    default:;
    }
    uint32_t destination = destination_for(lapic, message);
    if (is_broadcast(lapic, destination, message))
        return true;
    return message->logical ? matches_logical(lapic, destination)
                            : matches_physical(lapic, destination);
}

// The one APIC a physical destination names, where vCPU ids are the index and the ID.
static struct lapic *direct_target(const struct lapic_set *set, const struct lapic *source,
                                   const struct lapic_message *message) {
    struct lapic *lapic;

    if (message->shorthand == LAPIC_TO_SELF)
        return (struct lapic *)source;
    if (message->shorthand != LAPIC_TO_DESTINATION || message->logical ||
        message->destination >= set->count || message->destination == XAPIC_BROADCAST)
        return 0;
    lapic = set->lapics[message->destination];
    if (lapic && lapic->id == message->destination && lapic_matches(lapic, source, message))
        return lapic;
    return 0;
}

static int counted(enum lapic_effect effect) {
    return effect != LAPIC_IGNORED && effect != LAPIC_COALESCED;
}

static struct lapic *lowest_priority(const struct lapic_set *set, const struct lapic *source,
                                     const struct lapic_message *message) {
    struct lapic *best = 0;
    uint32_t best_count = 0;

    for (uint32_t i = 0; i < set->count; i++) {
        struct lapic *lapic = set->lapics[i];
        if (!lapic || !lapic_matches(lapic, source, message) || !lapic->enabled)
            continue;
        uint32_t count = __atomic_load_n(&lapic->arbitration, __ATOMIC_RELAXED);
        if (!best || (int32_t)(count - best_count) < 0) {
            best = lapic;
            best_count = count;
        }
    }
    if (best)
        __atomic_fetch_add(&best->arbitration, 1, __ATOMIC_RELAXED);
    return best;
}

int lapic_route(const struct lapic_set *set, const struct lapic *source,
                const struct lapic_message *message, void *context,
                enum lapic_effect (*deliver)(void *context, struct lapic *lapic,
                                             const struct lapic_message *message)) {
    struct lapic *target = direct_target(set, source, message);
    int result = -1;

    if (!target && message->delivery_mode == LAPIC_DELIVER_LOWEST) {
        target = lowest_priority(set, source, message);
        if (!target)
            return -1;
    }
    if (target)
        return counted(deliver(context, target, message));
    for (uint32_t i = 0; i < set->count; i++) {
        struct lapic *lapic = set->lapics[i];
        if (!lapic || !lapic_matches(lapic, source, message))
            continue;
        result = (result < 0 ? 0 : result) + counted(deliver(context, lapic, message));
    }
    return result;
}
