// SPDX-License-Identifier: BSD-2-Clause
// What virtd reads and writes: XDR, headers, XML, domain XML and the monitor's command line.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "guest-tools/virtd/domain.h"
#include "guest-tools/virtd/domain_xml.h"
#include "guest-tools/virtd/packet.h"
#include "guest-tools/virtd/spawn.h"
#include "guest-tools/virtd/vmm.h"
#include "guest-tools/virtd/xdr.h"

Suite *virtd_suite(void);

START_TEST(test_xdr_round_trip) {
    struct buffer b = {0};
    xdr_put_u32(&b, 0x80000001);
    xdr_put_u64(&b, 0x123456789abcdef0);
    xdr_put_string(&b, "");
    xdr_put_string(&b, "a");
    xdr_put_string(&b, "abcd");
    xdr_put_optional_string(&b, NULL);
    xdr_put_optional_string(&b, "xyz");
    xdr_put_opaque(&b, "\0\1\2\3\4", 5);
    xdr_put_parameter(&b, "quota", PARAMETER_LLONG, (uint64_t)-1);
    xdr_put_parameter(&b, "on", PARAMETER_BOOLEAN, 1);
    xdr_put_string_parameter(&b, "name", "vda");
    ck_assert_uint_eq(b.length % 4, 0);
    // The layout of RFC 4506: big-endian, padded with zeros.
    ck_assert_mem_eq(b.data, "\x80\0\0\1\x12\x34\x56\x78\x9a\xbc\xde\xf0\0\0\0\0\0\0\0\1a\0\0\0",
                     24);

    struct xdr_reader r = {.at = b.data, .end = b.data + b.length};
    uint32_t length;
    ck_assert_uint_eq(xdr_get_u32(&r), 0x80000001);
    ck_assert_uint_eq(xdr_get_u64(&r), 0x123456789abcdef0);
    ck_assert_str_eq(xdr_get_string(&r), "");
    ck_assert_str_eq(xdr_get_string(&r), "a");
    ck_assert_str_eq(xdr_get_string(&r), "abcd");
    ck_assert_ptr_null(xdr_get_optional_string(&r));
    ck_assert_str_eq(xdr_get_optional_string(&r), "xyz");
    ck_assert_mem_eq(xdr_get_opaque(&r, &length), "\0\1\2\3\4", 5);
    ck_assert_uint_eq(length, 5);
    struct parameter p = xdr_get_parameter(&r);
    ck_assert_str_eq(p.name, "quota");
    ck_assert_int_eq((int64_t)p.value, -1);
    ck_assert_uint_eq(xdr_get_parameter(&r).value, 1);
    ck_assert_str_eq(xdr_get_parameter(&r).string, "vda");
    ck_assert(!r.bad && r.at == r.end);
    xdr_get_u32(&r);
    ck_assert(r.bad);
    buffer_free(&b);
}
END_TEST

// Lengths beyond the message, missing padding, a NUL within a string, an unknown type.
START_TEST(test_xdr_malformed) {
    static const struct {
        char bytes[12];
        uint32_t length;
    } rows[] = {{"\0\0\0\5abcd", 8},
                {"\xff\xff\xff\xff", 4},
                {"\xff\xff\xff\xfd"
                 "abcd",
                 8},
                {"\0\0\0\3abc", 7},
                {"\0\0\0\3a\0c\0", 8},
                {"\0\0", 2}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint8_t *copy = malloc(rows[i].length);
        memcpy(copy, rows[i].bytes, rows[i].length);
        struct xdr_reader r = {.at = copy, .end = copy + rows[i].length};
        ck_assert_str_eq(xdr_get_string(&r), "");
        ck_assert(r.bad);
        ck_assert_uint_eq(xdr_get_u32(&r), 0);
        free(copy);
    }
    uint8_t unknown[] = {0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0};
    struct xdr_reader r = {.at = unknown, .end = unknown + sizeof unknown};
    xdr_get_parameter(&r);
    ck_assert(r.bad);
}
END_TEST

START_TEST(test_packet_header) {
    // `virsh list`'s first packet, and what a header may not be from its first bytes on.
    static const uint8_t good[28] = {0, 0, 0, 28, 0x20, 0, 0x80, 0x86, 0, 0, 0, 1, 0, 0, 0, 66};
    struct packet packet;
    for (size_t length = 0; length <= sizeof good; length++)
        ck_assert(packet_parse(&packet, good, length));
    ck_assert_uint_eq(packet.procedure, 66);
    static const struct {
        unsigned at;
        uint8_t value;
    } bad[] = {{3, 27}, {1, 0x11}, {0, 'G'}, {7, 0x85}, {11, 2}, {14, 0xff}, {19, 7}, {27, 3}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint8_t copy[28];
        memcpy(copy, good, sizeof copy);
        copy[bad[i].at] = bad[i].value;
        ck_assert_msg(!packet_parse(&packet, copy, bad[i].at / 4 * 4 + 4), "row %zu", i);
    }
}
END_TEST

static char *text_of(const struct xml *xml) {
    struct buffer text = {0};
    xml_write(&text, xml, 0);
    return buffer_take_string(&text);
}

static struct xml *parse(const char *text) {
    char *error = NULL;
    struct xml *xml = xml_parse(text, strlen(text), &error);
    ck_assert_msg(xml, "%s", error);
    return xml;
}

START_TEST(test_xml) {
    struct xml *xml =
        parse("<?xml version='1.0'?><!-- c --><a x='1&lt;&apos;\"'>\n <b>t &amp; u</b>\n"
              " <b/><c><d e='f&#10;g'/></c></a>");
    char *text = text_of(xml);
    ck_assert_str_eq(text, "<a x='1&lt;&apos;&quot;'>\n  <b>t &amp; u</b>\n  <b/>\n  <c>\n"
                           "    <d e='f&#10;g'/>\n  </c>\n</a>\n");
    struct xml *again = parse(text);
    char *second = text_of(again);
    ck_assert_str_eq(text, second);
    ck_assert_str_eq(xml_get(xml, "b"), "t & u");
    ck_assert_str_eq(xml_get(xml, "c/d@e"), "f\ng");
    ck_assert_str_eq(xml_get(xml, "@x"), "1<'\"");
    ck_assert_str_eq(xml_get(xml_next(xml_find(xml, "b")), ""), "");
    ck_assert_ptr_null(xml_get(xml, "c/e"));
    ck_assert_ptr_null(xml_get(xml, "c@d"));
    ck_assert_uint_eq(xml_find(xml, "c/d")->line, 3);
    xml_set(xml, "n/m@k", "v");
    xml_set(xml, "b", NULL);
    xml_set(xml, "@x", NULL);
    struct xml *copy = xml_copy(xml);
    char *third = text_of(copy);
    ck_assert_str_eq(third,
                     "<a>\n  <b/>\n  <c>\n    <d e='f&#10;g'/>\n  </c>\n  <n>\n    <m k='v'/>\n"
                     "  </n>\n</a>\n");
    free(text), free(second), free(third);
    xml_free(xml), xml_free(again), xml_free(copy);
}
END_TEST

START_TEST(test_xml_refused) {
    static const char *const rows[] = {"",
                                       "<a>",
                                       "<a></b>",
                                       "<a/><b/>",
                                       "<a x='1' x='2'/>",
                                       "text",
                                       "<a>t<b/></a>",
                                       "<a><b/>t</a>",
                                       "<!DOCTYPE a [<!ENTITY e 'x'>]><a>&e;</a>",
                                       "<a>&e;</a>",
                                       "<a>\xff</a>"};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *error = NULL;
        ck_assert_msg(!xml_parse(rows[i], strlen(rows[i]), &error), "%s", rows[i]);
        ck_assert_ptr_nonnull(strstr(error, "line "));
        free(error);
    }
    struct buffer deep = {0};
    char *error;
    for (int i = 0; i < 100; i++)
        buffer_print(&deep, "<a>");
    ck_assert_ptr_null(xml_parse((char *)deep.data, deep.length, &error));
    ck_assert_ptr_nonnull(strstr(error, "deeply"));
    free(error);
    buffer_free(&deep);
}
END_TEST

#define OS            "<os><type>hvm</type><kernel>/k</kernel></os>"
#define DOMAIN(rest)  "<domain type='kvm'><name>n</name><memory>65536</memory>" OS rest "</domain>"
#define DEVICES(rest) DOMAIN("<devices>" rest "</devices>")

static struct xml *read_domain(const char *text, enum error_code *code, char **sentence) {
    *sentence = NULL;
    return domain_xml_read(text, strlen(text), code, sentence);
}

START_TEST(test_domain_defaults) {
    enum error_code code;
    char *sentence;
    struct xml *xml =
        read_domain(DEVICES("<console type='pty'/><disk type='file'><source file='/d'/>"
                            "<target dev='vda'/></disk><interface type='vhostuser'>"
                            "<source path='/s'/></interface>"),
                    &code, &sentence);
    uint8_t uuid[UUID_BYTES];
    ck_assert_msg(xml, "%s", sentence);
    ck_assert(uuid_parse(xml_get(xml, "uuid"), uuid));
    ck_assert_str_eq(xml_get(xml, "currentMemory"), "65536");
    ck_assert_str_eq(xml_get(xml, "memory@unit"), "KiB");
    ck_assert_str_eq(xml_get(xml, "vcpu"), "1");
    ck_assert_str_eq(xml_get(xml, "os/type@arch"), "x86_64");
    ck_assert_str_eq(xml_get(xml, "clock@offset"), "utc");
    ck_assert_str_eq(xml_get(xml, "on_reboot"), "restart");
    ck_assert_str_eq(xml_get(xml, "devices/emulator"), "/bin/vmm");
    ck_assert_str_eq(xml_get(xml, "devices/disk/target@bus"), "virtio");
    ck_assert_str_eq(xml_get(xml, "devices/memballoon@model"), "virtio");
    ck_assert_str_eq(xml_get(xml, "devices/serial/target@type"), "isa-serial");
    ck_assert_int_eq(strncmp(xml_get(xml, "devices/interface/mac@address"), "52:54:00:", 9), 0);
    // What was read is read again to the same.
    char *text = text_of(xml);
    struct xml *again = read_domain(text, &code, &sentence);
    ck_assert_msg(again, "%s", sentence);
    char *second = text_of(again);
    ck_assert_str_eq(text, second);
    // libvirt's order, whatever that of the definition was.
    ck_assert(strstr(text, "<uuid>") < strstr(text, "<memory"));
    ck_assert(strstr(text, "<disk") < strstr(text, "<serial"));
    ck_assert(strstr(text, "<serial") < strstr(text, "<console"));
    free(text), free(second);
    xml_free(xml), xml_free(again);
}
END_TEST

START_TEST(test_domain_memory) {
    static const struct {
        const char *text;
        uint64_t kib;
    } rows[] = {{"<memory unit='MiB'>64</memory>", 65536},
                {"<memory unit='G'>1</memory>", 1048576},
                {"<memory unit='b'>67108864</memory>", 65536},
                {"<memory unit='MB'>64</memory>", 62500},
                {"<memory unit='KiB'>65533</memory>", 65536}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        enum error_code code;
        char text[512], *sentence;
        snprintf(text, sizeof text, "<domain type='kvm'><name>n</name>%s" OS "</domain>",
                 rows[i].text);
        struct xml *xml = read_domain(text, &code, &sentence);
        ck_assert_msg(xml, "%s", sentence);
        ck_assert_uint_eq(domain_memory(xml), rows[i].kib);
        ck_assert_uint_eq(domain_current_memory(xml), rows[i].kib);
        xml_free(xml);
    }
}
END_TEST

// Each refused by name; the sentence says where.
START_TEST(test_domain_refused) {
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"<network/>", "network"},
        {"<domain type='xen'><name>n</name></domain>", "type='xen'"},
        {"<domain type='kvm'><memory>65536</memory>" OS "</domain>", "name"},
        {"<domain type='kvm'><name>a/b</name><memory>65536</memory>" OS "</domain>", "name"},
        {"<domain type='kvm'><name>n</name>" OS "</domain>", "memory"},
        {"<domain type='kvm'><name>n</name><memory unit='q'>9</memory>" OS "</domain>", "memory"},
        {"<domain type='kvm'><name>n</name><memory>1</memory>" OS "</domain>", "16 MiB"},
        {"<domain type='kvm'><name>n</name><memory>65536</memory></domain>", "<os>"},
        {"<domain "
         "type='kvm'><name>n</name><memory>65536</memory><os><type>hvm</type></os></domain>",
         "firmware"},
        {DOMAIN("\n<sysinfo/>"), "line 2: the element <sysinfo>"},
        {DOMAIN("<uuid>1234</uuid>"), "uuid"},
        {DOMAIN("<vcpu>0</vcpu>"), "vcpu"},
        {DOMAIN("<vcpu current='3'>2</vcpu>"), "vcpu"},
        {DOMAIN("<vcpu cpuset='1-'>2</vcpu>"), "cpuset"},
        {DOMAIN("<cputune><vcpupin vcpu='1' cpuset='0'/></cputune>"), "vcpupin"},
        {DOMAIN("<cputune><shares>many</shares></cputune>"), "shares"},
        {DOMAIN("<cpu mode='host-model'/>"), "mode='host-model'"},
        {DOMAIN("<clock offset='localtime'/>"), "offset='localtime'"},
        {DOMAIN("<on_crash>preserve</on_crash>"), "preserve"},
        {DEVICES("<emulator>/bin/sh</emulator>"), "emulator"},
        {DEVICES("\n\n<graphics type='vnc'/>"), "line 3: the element <graphics>"},
        {DEVICES("<disk type='file' device='cdrom'/>"), "device='cdrom'"},
        {DEVICES("<disk type='file'><target dev='vda'/></disk>"), "source@file"},
        {DEVICES("<disk type='file'><source file='/a,b'/><target dev='vda'/></disk>"), "comma"},
        {DEVICES("<disk type='file'><source file='/a'/><target dev='hda' bus='ide'/></disk>"),
         "ide"},
        {DEVICES("<disk type='file'><source file='/a'/><target dev='vda'/></disk>"
                 "<disk type='file'><source file='/b'/><target dev='vda'/></disk>"),
         "another"},
        {DEVICES("<interface type='network'/>"), "type='network'"},
        {DEVICES("<interface type='vhostuser'><source path='/s'/><mtu size='9000,id=x'/>"
                 "</interface>"),
         "'9000,id=x' is no MTU"},
        {DEVICES("<interface type='vhostuser'><mac address='01:0:0:0:0:0'/><source "
                 "path='/s'/></interface>"),
         "MAC"},
        {DEVICES("<controller type='usb' model='qemu-xhci'/>"), "qemu-xhci"},
        {DEVICES("<controller type='pci' model='none'/>"), "line 1"},
        {DEVICES("<serial type='pty'/><serial type='pty'/>"), "console"},
        {DEVICES("<rng model='virtio'/>"), "rng"},
        {DOMAIN("<features>text</features>"), "text"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        enum error_code code;
        char *sentence;
        struct xml *xml = read_domain(rows[i].text, &code, &sentence);
        ck_assert_msg(!xml, "row %zu was accepted: %s", i, rows[i].text);
        ck_assert_msg(sentence && strstr(sentence, rows[i].says), "row %zu: %s", i, sentence);
        ck_assert(code == ERROR_XML || code == ERROR_CONFIG_UNSUPPORTED);
        free(sentence);
    }
}
END_TEST

START_TEST(test_cpuset) {
    static const struct {
        const char *text, *same; // NULL: malformed
    } rows[] = {{"0", "0"},     {"0-3", "0-3"}, {"0,2-3,1", "0-3"}, {"0-5,^2", "0-1,3-5"},
                {"31", "31"},   {"", ""},       {"32", NULL},       {"3-1", NULL},
                {"0--1", NULL}, {"a", NULL},    {"0,,1", NULL},     {"99999999999999999999", NULL}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint8_t map[4];
        bool good = cpuset_parse(rows[i].text, map, sizeof map);
        ck_assert_msg(good == (rows[i].same != NULL), "%s", rows[i].text);
        if (good) {
            char *text = cpuset_format(map, sizeof map);
            ck_assert_str_eq(text, rows[i].same);
            free(text);
        }
    }
}
END_TEST

START_TEST(test_monitor_arguments) {
    enum error_code code;
    char *sentence;
    struct xml *xml = read_domain(
        "<domain type='kvm'><name>n</name><memory unit='MiB'>256</memory>"
        "<currentMemory unit='MiB'>192</currentMemory><vcpu current='2'>4</vcpu>"
        "<os><type>hvm</type><kernel>/k</kernel><initrd>/i</initrd><cmdline>a b</cmdline></os>"
        "<devices><disk type='file'><source file='/d'/><target dev='vda'/><readonly/></disk>"
        "<disk type='vhostuser'><driver queues='2'/><source path='/v'/><target dev='vdb'/></disk>"
        "<interface type='vhostuser'><mac address='52:54:00:00:00:01'/><source "
        "path='/n'/><mtu size='9000'/></interface>"
        "<channel type='unix'><source path='/c'/><target type='virtio' name='a.0'/></channel>"
        "<input type='keyboard' bus='virtio'/>"
        "<rng model='virtio'><backend model='random'/></rng><memballoon model='virtio' "
        "autodeflate='on'/>"
        "<console type='pty'><target type='virtio'/></console></devices></domain>",
        &code, &sentence);
    ck_assert_msg(xml, "%s", sentence);
    static const char *const expected[] = {
        "/bin/vmm",
        "--landlock",
        "--api-socket",
        "/s",
        "--kernel",
        "/k",
        "--initrd",
        "/i",
        "--cmdline",
        "a b",
        "--cpus",
        "boot=2,max=4",
        "--memory",
        "262144K",
        "--disk",
        "path=/d,readonly=on,id=vda",
        "--disk",
        "vhost_user=true,socket=/v,num_queues=2,id=vdb",
        "--net",
        "vhost_user=true,socket=/n,mac=52:54:00:00:00:01,mtu=9000,id=52:54:00:00:00:01",
        "--channel",
        "name=a.0,socket=/c",
        "--keyboard",
        "--rng",
        "src=/dev/urandom",
        "--balloon",
        "size=65536K,deflate_on_oom=on",
        "--serial",
        "null",
        "--console",
        "api",
        "--paused"};
    char **arguments = monitor_arguments(xml, "/s", true);
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        ck_assert_str_eq(arguments[i], expected[i]);
    ck_assert_ptr_null(arguments[sizeof expected / sizeof *expected]);
    monitor_arguments_free(arguments);
    xml_free(xml);
}
END_TEST

START_TEST(test_answer_number) {
    const char *answer = "state=running\nvcpu.1.time=12\nvcpu.11.time=13\ncpus=2\n";
    uint64_t value = 0;
    ck_assert(answer_number(answer, "cpus", &value) && value == 2);
    ck_assert(answer_number(answer, "vcpu.11.time", &value) && value == 13);
    ck_assert(!answer_number(answer, "vcpu.1", &value));
    ck_assert(!answer_number("", "cpus", &value));
}
END_TEST

Suite *virtd_suite(void) {
    Suite *suite = suite_create("virtd");
    TCase *tests = tcase_create("virtd");
    tcase_add_test(tests, test_xdr_round_trip);
    tcase_add_test(tests, test_xdr_malformed);
    tcase_add_test(tests, test_packet_header);
    tcase_add_test(tests, test_xml);
    tcase_add_test(tests, test_xml_refused);
    tcase_add_test(tests, test_domain_defaults);
    tcase_add_test(tests, test_domain_memory);
    tcase_add_test(tests, test_domain_refused);
    tcase_add_test(tests, test_cpuset);
    tcase_add_test(tests, test_monitor_arguments);
    tcase_add_test(tests, test_answer_number);
    suite_add_tcase(suite, tests);
    return suite;
}
