// SPDX-License-Identifier: BSD-2-Clause
// format_string: the printf conversions that core/log.h names.
#include <stdbool.h>
#include "core/log.h"

struct output {
    char *text;
    size_t size, length; // length counts what would have been written
};

struct conversion {
    bool left, zero, has_precision;
    int width, precision;
    int longs; // of the length modifier: 0, 1 (l, z), 2 (ll); -1 h
};

static void put(struct output *out, char character) {
    if (out->length + 1 < out->size)
        out->text[out->length] = character;
    out->length++;
}

static void put_padded(struct output *out, const struct conversion *conversion, const char *prefix,
                       const char *text, int length) {
    int prefix_length = 0;
    while (prefix[prefix_length])
        prefix_length++;
    int padding = conversion->width - length - prefix_length;
    bool zero = conversion->zero && !conversion->left;
    for (; !conversion->left && !zero && padding > 0; padding--)
        put(out, ' ');
    for (int i = 0; i < prefix_length; i++)
        put(out, prefix[i]);
    for (; zero && padding > 0; padding--)
        put(out, '0');
    for (int i = 0; i < length; i++)
        put(out, text[i]);
    for (; conversion->left && padding > 0; padding--)
        put(out, ' ');
}

static void put_number(struct output *out, const struct conversion *conversion, const char *prefix,
                       uint64_t value, unsigned base, bool capitals) {
    char digits[24];
    int first = sizeof digits;
    const char *alphabet = capitals ? "0123456789ABCDEF" : "0123456789abcdef";
    do
        digits[--first] = alphabet[value % base];
    while (value /= base);
    put_padded(out, conversion, prefix, digits + first, (int)sizeof digits - first);
}

static uint64_t take_unsigned(const struct conversion *conversion, va_list *arguments) {
    if (conversion->longs > 0)
        return va_arg(*arguments, uint64_t);
    unsigned value = va_arg(*arguments, unsigned);
    return conversion->longs < 0 ? (uint16_t)value : value;
}

static int64_t take_signed(const struct conversion *conversion, va_list *arguments) {
    if (conversion->longs > 0)
        return va_arg(*arguments, int64_t);
    int value = va_arg(*arguments, int);
    return conversion->longs < 0 ? (int16_t)value : value;
}

static void put_signed(struct output *out, const struct conversion *conversion, int64_t value) {
    uint64_t magnitude = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    put_number(out, conversion, value < 0 ? "-" : "", magnitude, 10, false);
}

static void put_string(struct output *out, const struct conversion *conversion, const char *text) {
    if (!text)
        text = "(null)";
    int length = 0;
    while ((!conversion->has_precision || length < conversion->precision) && text[length])
        length++;
    put_padded(out, conversion, "", text, length);
}

static int read_number(const char **format, va_list *arguments) {
    if (**format == '*') {
        ++*format;
        return va_arg(*arguments, int);
    }
    int number = 0;
    while (**format >= '0' && **format <= '9')
        number = number * 10 + *(*format)++ - '0';
    return number;
}

static struct conversion read_conversion(const char **format, va_list *arguments) {
    struct conversion conversion = {0};
    for (;; ++*format) {
        if (**format == '-')
            conversion.left = true;
        else if (**format == '0')
            conversion.zero = true;
        else
            break;
    }
    conversion.width = read_number(format, arguments);
    if (conversion.width < 0) {
        conversion.left = true;
        conversion.width = -conversion.width;
    }
    if (**format == '.') {
        ++*format;
        conversion.has_precision = true;
        conversion.precision = read_number(format, arguments);
    }
    for (;; ++*format) {
        if (**format == 'l')
            conversion.longs++;
        else if (**format == 'z')
            conversion.longs = 1;
        else if (**format == 'h')
            conversion.longs = -1;
        else
            return conversion;
    }
}

static void put_conversion(struct output *out, char kind, struct conversion *conversion,
                           va_list *arguments) {
    char character;
    switch (kind) {
    case 'd':
    case 'i':
        put_signed(out, conversion, take_signed(conversion, arguments));
        break;
    case 'u':
        put_number(out, conversion, "", take_unsigned(conversion, arguments), 10, false);
        break;
    case 'o':
        put_number(out, conversion, "", take_unsigned(conversion, arguments), 8, false);
        break;
    case 'x':
    case 'X':
        put_number(out, conversion, "", take_unsigned(conversion, arguments), 16, kind == 'X');
        break;
    case 'p':
        put_number(out, conversion, "0x", (uintptr_t)va_arg(*arguments, void *), 16, false);
        break;
    case 's':
        put_string(out, conversion, va_arg(*arguments, const char *));
        break;
    case 'c':
        character = (char)va_arg(*arguments, int);
        put_padded(out, conversion, "", &character, 1);
        break;
    default:
        put(out, '%');
        if (kind != '%')
            put(out, kind);
    }
}

int format_string_v(char *text, size_t size, const char *format, va_list arguments) {
    struct output out = {text, size, 0};
    va_list rest;
    va_copy(rest, arguments);
    while (*format) {
        if (*format != '%') {
            put(&out, *format++);
            continue;
        }
        format++;
        struct conversion conversion = read_conversion(&format, &rest);
        if (!*format)
            break;
        put_conversion(&out, *format++, &conversion, &rest);
    }
    va_end(rest);
    if (size)
        text[out.length < size ? out.length : size - 1] = 0;
    return (int)out.length;
}

int format_string(char *text, size_t size, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int length = format_string_v(text, size, format, arguments);
    va_end(arguments);
    return length;
}
