/* SPDX-License-Identifier: Apache-2.0 */
#include "base/blob.h"
#include <stdatomic.h>

struct blob {
    atomic_uint refs;
    uint8_t *owned; /* NULL: the bytes follow the struct */
    size_t n;
    uint8_t inline_bytes[];
};

struct blob *blob_new_uninit(size_t n, uint8_t **ret_p)
{
    struct blob *b = malloc(sizeof *b + n);

    must(b != NULL);
    atomic_init(&b->refs, 1);
    b->owned = NULL;
    b->n = n;
    *ret_p = b->inline_bytes;
    return b;
}

struct blob *blob_new(struct bytes copy)
{
    uint8_t *p;
    struct blob *b = blob_new_uninit(copy.n, &p);

    if (copy.n) memcpy(p, copy.p, copy.n);
    return b;
}

struct blob *blob_take(struct buf *src)
{
    struct blob *b = malloc(sizeof *b);

    must(b != NULL);
    atomic_init(&b->refs, 1);
    b->owned = src->p;
    b->n = src->n;
    *src = (struct buf){0};
    return b;
}

struct blob *blob_ref(struct blob *b)
{
    atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    return b;
}

void blob_unref(struct blob **b)
{
    struct blob *x = *b;

    *b = NULL;
    if (!x || atomic_fetch_sub_explicit(&x->refs, 1, memory_order_acq_rel) != 1) return;
    free(x->owned);
    free(x);
}

struct bytes blob_view(const struct blob *b)
{
    return (struct bytes){b->owned || !b->n ? b->owned : b->inline_bytes, b->n};
}
