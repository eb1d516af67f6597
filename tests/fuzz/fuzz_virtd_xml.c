// SPDX-License-Identifier: BSD-2-Clause
// A domain's definition is the input. What is accepted is shown so that it is accepted again, and
// then shown the same.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "guest-tools/virtd/buffer.h"
#include "guest-tools/virtd/domain_xml.h"
#include "guest-tools/virtd/spawn.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct xml *read_domain(const void *text, size_t length) {
    enum error_code code;
    char *sentence = NULL;
    struct xml *xml = domain_xml_read(text, length, &code, &sentence);
    if (!xml && !sentence)
        abort();
    free(sentence);
    return xml;
}

// A body is put where it may be accepted; whole documents begin otherwise than with '<d'.
static struct xml *read_input(const uint8_t *data, size_t size) {
    static const char head[] =
        "<domain type='kvm'><name>n</name><memory>65536</memory><os><type>hvm</type>"
        "<kernel>/k</kernel></os>";
    struct buffer text = {0};
    if (size && data[0] == '<' && !(size > 1 && data[1] == 'd'))
        buffer_append(&text, head, sizeof head - 1);
    buffer_append(&text, data, size);
    if (text.length > size)
        buffer_append(&text, "</domain>", 9);
    struct xml *xml = read_domain(text.data, text.length);
    buffer_free(&text);
    return xml;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct xml *xml = read_input(data, size);
    struct buffer first = {0}, second = {0};

    if (!xml)
        return 0;
    xml_write(&first, xml, 0);
    monitor_arguments_free(monitor_arguments(xml, "/s", false));
    struct xml *again = read_domain(first.data, first.length);
    if (!again)
        abort();
    xml_write(&second, again, 0);
    if (first.length != second.length || memcmp(first.data, second.data, first.length) != 0)
        abort();
    xml_free(xml);
    xml_free(again);
    buffer_free(&first);
    buffer_free(&second);
    return 0;
}
