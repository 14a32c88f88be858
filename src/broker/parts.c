/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/parts.h"
#include <stdlib.h>

int part_cmp(const struct part *a, const struct part *b)
{
    int c = memcmp(a->topic.b, b->topic.b, sizeof a->topic.b);

    return c ? c : (a->number > b->number) - (a->number < b->number);
}

static int compare(const void *a, const void *b)
{
    return part_cmp(a, b);
}

void parts_fini(struct parts *s)
{
    free(s->p);
    *s = (struct parts){0};
}

void parts_clear(struct parts *s)
{
    s->n = 0;
}

void parts_push(struct parts *s, struct part p)
{
    if (s->n == s->cap) {
        s->cap = s->cap ? 2 * s->cap : 4;
        s->p = xrealloc(s->p, s->cap, sizeof *s->p);
    }
    s->p[s->n++] = p;
}

void parts_sort(struct parts *s)
{
    size_t n = 0;

    if (s->n > 1) qsort(s->p, s->n, sizeof *s->p, compare);
    for (size_t i = 0; i < s->n; i++)
        if (!n || part_cmp(&s->p[n - 1], &s->p[i])) s->p[n++] = s->p[i];
    s->n = n;
}

bool parts_has(const struct parts *s, const struct part *p)
{
    return s->n && bsearch(p, s->p, s->n, sizeof *s->p, compare);
}

bool parts_eq(const struct parts *a, const struct parts *b)
{
    if (a->n != b->n) return false;
    for (size_t i = 0; i < a->n; i++)
        if (part_cmp(&a->p[i], &b->p[i])) return false;
    return true;
}

bool parts_within(const struct parts *a, const struct parts *b)
{
    for (size_t i = 0; i < a->n; i++)
        if (!parts_has(b, &a->p[i])) return false;
    return true;
}

bool parts_meet(const struct parts *a, const struct parts *b)
{
    for (size_t i = 0; i < a->n; i++)
        if (parts_has(b, &a->p[i])) return true;
    return false;
}

void parts_copy(struct parts *to, const struct parts *from)
{
    parts_clear(to);
    for (size_t i = 0; i < from->n; i++)
        parts_push(to, from->p[i]);
}

void parts_both(const struct parts *a, const struct parts *b, struct parts *ret)
{
    parts_clear(ret);
    for (size_t i = 0; i < a->n; i++)
        if (parts_has(b, &a->p[i])) parts_push(ret, a->p[i]);
}

void parts_without(const struct parts *a, const struct parts *b, struct parts *ret)
{
    parts_clear(ret);
    for (size_t i = 0; i < a->n; i++)
        if (!parts_has(b, &a->p[i])) parts_push(ret, a->p[i]);
}

void parts_join(struct parts *to, const struct parts *from)
{
    for (size_t i = 0; i < from->n; i++)
        parts_push(to, from->p[i]);
    parts_sort(to);
}
