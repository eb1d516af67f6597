// SPDX-License-Identifier: BSD-2-Clause
// Text on the framebuffer: 8x16 cells. The characters are kept beside the pixels, which are slow to
// read back.
#include "arch/x86/cpu/console.h"
#include "boot/boot_info.h"
#include "core/string.h"

enum { CELL_WIDTH = 8, CELL_HEIGHT = 16, COLUMNS_MOST = 128, ROWS_MOST = 64, TAB = 8 };

static struct {
    uint8_t *pixels;
    uint32_t pitch, ink; // bytes a line, a pixel's value
    unsigned columns, rows, column, row;
    enum { TEXT, ESCAPE, SEQUENCE } state;
    char text[ROWS_MOST][COLUMNS_MOST];
} screen;

static unsigned at_most(unsigned value, unsigned limit) {
    return value < limit ? value : limit;
}

void framebuffer_init(const struct boot_framebuffer *framebuffer, void *pixels) {
    if (!pixels)
        return;
    screen.pitch = framebuffer->pitch;
    screen.ink = 0xc0u << framebuffer->red_shift | 0xc0u << framebuffer->green_shift |
                 0xc0u << framebuffer->blue_shift;
    screen.columns = at_most(framebuffer->width / CELL_WIDTH, COLUMNS_MOST);
    screen.rows = at_most(framebuffer->height / CELL_HEIGHT, ROWS_MOST);
    memset(screen.text, ' ', sizeof screen.text);
    memset(pixels, 0, (size_t)framebuffer->pitch * framebuffer->height);
    screen.pixels = screen.columns && screen.rows ? pixels : NULL;
}

static void draw(unsigned row, unsigned column) {
    for (unsigned y = 0; y < CELL_HEIGHT; y++) {
        // The font's seven lines are drawn twice as high, one blank line above and below.
        unsigned line = y - 1;
        uint8_t bits = line < 2 * FONT_HEIGHT ? font_line(screen.text[row][column], line / 2) : 0;
        uint32_t *pixel =
            (uint32_t *)(screen.pixels + (size_t)(row * CELL_HEIGHT + y) * screen.pitch) +
            column * CELL_WIDTH + 1;
        for (unsigned x = 0; x < FONT_WIDTH; x++)
            pixel[x] = bits >> (FONT_WIDTH - 1 - x) & 1 ? screen.ink : 0;
    }
}

static void put_cell(unsigned row, unsigned column, char character) {
    if (screen.text[row][column] == character)
        return;
    screen.text[row][column] = character;
    draw(row, column);
}

// Half a screen at a time: redrawing is what costs.
static void scroll(void) {
    unsigned lines = screen.rows / 2 ? screen.rows / 2 : 1;
    for (unsigned row = 0; row < screen.rows; row++)
        for (unsigned column = 0; column < screen.columns; column++)
            put_cell(row, column,
                     row + lines < screen.rows ? screen.text[row + lines][column] : ' ');
    screen.row -= lines;
}

static void new_line(void) {
    if (++screen.row == screen.rows)
        scroll();
}

static void put_printable(char character) {
    if (screen.column == screen.columns) {
        screen.column = 0;
        new_line();
    }
    put_cell(screen.row, screen.column++, character);
}

static void put_text(char character) {
    switch (character) {
    case '\n':
        new_line();
        break;
    case '\r':
        screen.column = 0;
        break;
    case '\b':
        screen.column -= screen.column > 0;
        break;
    case '\t':
        screen.column = at_most((screen.column / TAB + 1) * TAB, screen.columns - 1);
        break;
    case 0x1b:
        screen.state = ESCAPE;
        break;
    default:
        if (character >= ' ' && character <= '~')
            put_printable(character);
    }
}

static void put(char character) {
    switch (screen.state) {
    case TEXT:
        put_text(character);
        break;
    case ESCAPE:
        screen.state = character == '[' ? SEQUENCE : TEXT;
        break;
    case SEQUENCE: // parameters until a letter (ECMA-48 5.4)
        if (character >= '@')
            screen.state = TEXT;
        break;
    }
}

void framebuffer_write(const char *text, size_t length) {
    for (size_t i = 0; screen.pixels && i < length; i++)
        put(text[i]);
}
