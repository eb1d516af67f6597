// SPDX-License-Identifier: BSD-2-Clause
// Page by page through the direct map.
#include "core/mm/address_space.h"
#include "core/mm/page.h"
#include "core/process/space_write.h"
#include "core/sched/thread.h"
#include "core/string.h"

static int fill(struct address_space *space, uint64_t address, const char *data, size_t size) {
    while (size) {
        struct user_page page;
        int error = address_space_page(space, address, ACCESS_WRITE, &page);
        if (error)
            return error;
        uint64_t inside = address & (page.size - 1), piece = page.size - inside;
        if (piece > size)
            piece = size;
        char *to = (char *)page_to_virtual(page.physical) + inside;
        if (data)
            memcpy(to, data, piece);
        else
            memset(to, 0, piece);
        address += piece;
        size -= piece;
        data = data ? data + piece : NULL;
        thread_preemption_point();
    }
    return 0;
}

int space_write(struct address_space *space, uint64_t address, const void *data, size_t size) {
    return fill(space, address, data, size);
}

int space_clear(struct address_space *space, uint64_t address, size_t size) {
    return fill(space, address, NULL, size);
}
