// SPDX-License-Identifier: BSD-2-Clause
// One memory object for all: the data page, then the image.
#include "core/process/vdso/vdso.h"
#include <asm/errno.h>
#include <linux/mman.h>
#include "arch/x86/cpu.h"
#include "core/mm/address_space.h"
#include "core/mm/memory_object.h"
#include "core/mm/page.h"
#include "core/process/vdso/clock_data.h"
#include "core/string.h"

enum { IMAGE_PAGES = 2, PAGES = 1 + IMAGE_PAGES };

extern const char vdso_image[], vdso_image_end[];

static struct memory_object *pages;
static uint64_t mapped_size;

static size_t image_part(unsigned page) {
    size_t size = (size_t)(vdso_image_end - vdso_image), done = page * PAGE_SIZE;
    return size <= done ? 0 : size - done < PAGE_SIZE ? size - done : PAGE_SIZE;
}

int vdso_init(void) {
    uint64_t physical[PAGES];
    unsigned count = 0;
    for (; count < PAGES && (!count || image_part(count - 1)); count++) {
        physical[count] = page_alloc_zeroed(0);
        if (physical[count] == PHYSICAL_NONE)
            return -ENOMEM;
        if (count)
            memcpy(page_to_virtual(physical[count]), vdso_image + (count - 1) * PAGE_SIZE,
                   image_part(count - 1));
    }
    struct vdso_clock_data *data = page_to_virtual(physical[0]);
    time_parameters(&data->start, &data->ns_a_tick);
    data->realtime_offset = time_realtime_offset();
    pages = kernel_pages_create(physical, count);
    for (unsigned i = 0; i < count; i++)
        page_put(physical[i]); // the object has its own references
    mapped_size = count * PAGE_SIZE;
    return pages ? 0 : -ENOMEM;
}

int vdso_map(struct address_space *space, uint64_t *address) {
    int64_t base = address_space_map(space, 0, mapped_size, PROT_READ | PROT_EXEC,
                                     MAP_SHARED | ADDRESS_SPACE_MAP_NO_WRITE, pages, 0);
    if (base < 0)
        return (int)base;
    *address = (uint64_t)base + PAGE_SIZE;
    return address_space_protect(space, (uint64_t)base, PAGE_SIZE, PROT_READ);
}
