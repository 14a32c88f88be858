/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/epochs.h"
#include <inttypes.h>

void epochs_fini(struct epochs *es)
{
    free(es->v);
    *es = (struct epochs){0};
}

bool epochs_add(struct epochs *es, int32_t number, int64_t start)
{
    if (es->n && es->v[es->n - 1].number >= number) return false;
    if (es->n && es->v[es->n - 1].start == start) es->n--;        /* nothing was written in that one */
    es->v = xrealloc(es->v, es->n + 1, sizeof *es->v);
    es->v[es->n++] = (struct epoch){number, start};
    return true;
}

bool epochs_cut_end(struct epochs *es, int64_t end)
{
    size_t n = es->n;

    while (es->n && es->v[es->n - 1].start >= end) es->n--;
    return n != es->n;
}

bool epochs_cut_start(struct epochs *es, int64_t start)
{
    size_t gone = 0;

    while (gone + 1 < es->n && es->v[gone + 1].start <= start) gone++;
    if (!es->n || es->v[gone].start >= start) return false;
    es->v[gone].start = start;
    memmove(es->v, es->v + gone, (es->n - gone) * sizeof *es->v);
    es->n -= gone;
    return true;
}

void epochs_end(const struct epochs *es, int32_t number, int64_t log_end, int32_t *ret_number, int64_t *ret_end)
{
    size_t above = 0;                                             /* entries up to here are <= number */

    *ret_number = -1, *ret_end = -1;
    if (number < 0 || !es->n || number > es->v[es->n - 1].number) return;
    while (above < es->n && es->v[above].number <= number) above++;
    *ret_number = above ? es->v[above - 1].number : number;
    *ret_end = above < es->n ? es->v[above].start : log_end;
}

int32_t epochs_at(const struct epochs *es, int64_t offset)
{
    int32_t number = -1;

    for (size_t i = 0; i < es->n && es->v[i].start <= offset; i++) number = es->v[i].number;
    return number;
}

void epochs_encode(const struct epochs *es, struct buf *into)
{
    buf_printf(into, "0\n%zu\n", es->n);
    for (size_t i = 0; i < es->n; i++) buf_printf(into, "%" PRId32 " %" PRId64 "\n", es->v[i].number, es->v[i].start);
}
