/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/handles.h"

void handles_init(struct handles *hs, struct fs *fs, uint32_t max)
{
    *hs = (struct handles){.fs = fs, .max = max};
    list_init(&hs->used);
}

struct log_file *log_file_ref(struct log_file *h)
{
    h->refs++;
    return h;
}

void log_file_unref(struct log_file **h)
{
    struct log_file *was = *h;

    *h = NULL;
    if (!was || --was->refs) return;
    file_close(was->file);
    free(was);
}

void handles_drop(struct log_file **slot)
{
    struct log_file *h = *slot;

    if (!h) return;
    list_remove(&h->link);
    h->owner->n--;
    h->slot = NULL;
    log_file_unref(slot);
}

enum rc handles_get(struct handles *hs, struct log_file **slot, const char *path, unsigned flags, struct file **ret, struct err *e)
{
    struct log_file *h = *slot;

    if (h) {
        list_remove(&h->link);
    } else {
        struct file *f;

        if (fs_open(hs->fs, path, flags, &f, e)) return e->rc;
        while (hs->n >= hs->max && !list_empty(&hs->used))
            handles_drop(container_of(hs->used.next, struct log_file, link)->slot);
        *slot = h = xnew(struct log_file);
        *h = (struct log_file){.file = f, .refs = 1, .slot = slot, .owner = hs};
        hs->n++;
    }
    list_push(&hs->used, &h->link);
    *ret = h->file;
    return RC_OK;
}
