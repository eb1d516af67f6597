// SPDX-License-Identifier: BSD-2-Clause
// The parser of ashlar.conf and the table of the keys it knows. Calls no library, so that the
// loader can use it.
#include "core/config.h"
#include <asm/errno.h>

#define CONFIG_MAX_WORDS 3

struct config_rule {
    const char *name;
    unsigned long minimum, maximum;      // numeric key when maximum is not 0
    const char *words[CONFIG_MAX_WORDS]; // choice when words[0] is not NULL
};

static const struct config_rule rules[CONFIG_KEY_COUNT] = {
    [CONFIG_PROGRAM] = {.name = "program"},
    [CONFIG_ARGS] = {.name = "args"},
    [CONFIG_CPUS] = {.name = "cpus", .minimum = 1, .maximum = 256},
    [CONFIG_VIRT] = {.name = "virt", .words = {"required", "optional"}},
    [CONFIG_GUEST_CPUS] = {.name = "guest.cpus", .minimum = 1, .maximum = 256},
    [CONFIG_GUEST_MEMORY] = {.name = "guest.memory", .minimum = 16, .maximum = 1ul << 24},
    [CONFIG_GUEST_CMDLINE] = {.name = "guest.cmdline"},
    [CONFIG_GUEST_DEVICES] = {.name = "guest.devices"},
    [CONFIG_DRIVERS] = {.name = "drivers"},
    [CONFIG_VIRTD] = {.name = "virtd"},
    [CONFIG_AUTOSTART] = {.name = "autostart", .words = {"yes", "no"}},
    [CONFIG_LOG] = {.name = "log", .words = {"quiet", "normal"}},
    [CONFIG_DMA] = {.name = "dma", .words = {"trusted", "isolated"}},
    [CONFIG_CORES] = {.name = "cores", .words = {"separate", "shared"}},
};

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\r';
}

static bool span_is(const char *text, size_t length, const char *word) {
    size_t i = 0;
    while (i < length && word[i] != '\0' && text[i] == word[i])
        i++;
    return i == length && word[i] == '\0';
}

static void trim(const char **text, size_t *length) {
    while (*length > 0 && is_blank(**text)) {
        (*text)++;
        (*length)--;
    }
    while (*length > 0 && is_blank((*text)[*length - 1]))
        (*length)--;
}

static int refuse(struct config_error *error, const char *reason, const char *word, size_t length) {
    error->reason = reason;
    error->word = word;
    error->word_length = length;
    return -EINVAL;
}

static int parse_number(const struct config_rule *rule, struct config_value *value,
                        struct config_error *error) {
    unsigned long number = 0;
    for (size_t i = 0; i < value->length; i++) {
        char c = value->text[i];
        if (c < '0' || c > '9')
            return refuse(error, "not a decimal number", value->text, value->length);
        number = number * 10 + (unsigned long)(c - '0');
        if (number > rule->maximum)
            return refuse(error, "number too large", value->text, value->length);
    }
    if (number < rule->minimum)
        return refuse(error, "number too small", value->text, value->length);
    value->number = number;
    return 0;
}

static int parse_choice(const struct config_rule *rule, struct config_value *value,
                        struct config_error *error) {
    for (unsigned i = 0; i < CONFIG_MAX_WORDS && rule->words[i]; i++) {
        if (span_is(value->text, value->length, rule->words[i])) {
            value->number = i;
            return 0;
        }
    }
    return refuse(error, "value is not one of those this key takes", value->text, value->length);
}

static int parse_value(enum config_key key, struct config_value *value,
                       struct config_error *error) {
    const struct config_rule *rule = &rules[key];
    if (value->length == 0 && key != CONFIG_ARGS && key != CONFIG_GUEST_CMDLINE)
        return refuse(error, "key without a value", NULL, 0);
    if (rule->maximum != 0)
        return parse_number(rule, value, error);
    if (rule->words[0])
        return parse_choice(rule, value, error);
    return 0;
}

static int parse_line(const char *text, size_t length, unsigned line, struct config *config,
                      struct config_error *error) {
    trim(&text, &length);
    if (length == 0 || text[0] == '#')
        return 0;
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '\0' || (unsigned char)text[i] == 0x7f ||
            ((unsigned char)text[i] < 0x20 && text[i] != '\t'))
            return refuse(error, "control character; is this a text file?", NULL, 0);
    }
    size_t equals = 0;
    while (equals < length && text[equals] != '=')
        equals++;
    if (equals == length)
        return refuse(error, "no `=`; a line is `key = value`", text, length);

    const char *name = text;
    size_t name_length = equals;
    trim(&name, &name_length);
    for (unsigned key = 0; key < CONFIG_KEY_COUNT; key++) {
        if (!span_is(name, name_length, rules[key].name))
            continue;
        struct config_value *value = &config->value[key];
        if (value->text)
            return refuse(error, "key given twice", name, name_length);
        value->text = text + equals + 1;
        value->length = length - equals - 1;
        value->line = line;
        trim(&value->text, &value->length);
        return parse_value((enum config_key)key, value, error);
    }
    return refuse(error, "unknown key", name, name_length);
}

int config_parse(const char *text, size_t size, struct config *config, struct config_error *error) {
    for (unsigned key = 0; key < CONFIG_KEY_COUNT; key++)
        config->value[key] = (struct config_value){.text = NULL};
    unsigned line = 1;
    for (size_t start = 0; start < size; line++) {
        size_t end = start;
        while (end < size && text[end] != '\n')
            end++;
        error->line = line;
        int status = parse_line(text + start, end - start, line, config, error);
        if (status < 0)
            return status;
        start = end + 1;
    }
    return 0;
}

unsigned long config_number(const struct config *config, enum config_key key,
                            unsigned long fallback) {
    return config->value[key].text ? config->value[key].number : fallback;
}

bool config_is(const struct config *config, enum config_key key, const char *word) {
    const struct config_value *value = &config->value[key];
    return value->text && span_is(value->text, value->length, word);
}
