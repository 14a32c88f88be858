/* base/list.h - intrusive doubly linked list. The head is a struct list too; items embed one.
 * A list_init()ed or removed item points at itself, so list_remove() may be called twice.
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/macros.h"
#include <stdbool.h>

struct list { struct list *next, *prev; };

static inline void list_init(struct list *l)              { l->next = l->prev = l; }
static inline bool list_empty(const struct list *l)       { return l->next == l; }
static inline void list_insert_before(struct list *at, struct list *x)
{
    x->prev = at->prev; x->next = at; at->prev->next = x; at->prev = x;
}
static inline void list_push(struct list *head, struct list *x)       { list_insert_before(head, x); }       /* at the end */
static inline void list_push_front(struct list *head, struct list *x) { list_insert_before(head->next, x); }
static inline void list_remove(struct list *x)            { x->prev->next = x->next; x->next->prev = x->prev; list_init(x); }
static inline struct list *list_pop(struct list *head)                /* the first, or NULL */
{
    struct list *x = head->next;
    if (x == head) return NULL;
    list_remove(x);
    return x;
}
static inline void list_move(struct list *from, struct list *to)      /* all of it; `to` need not be initialised */
{
    list_init(to);
    if (list_empty(from)) return;
    *to = *from;
    to->next->prev = to->prev->next = to;
    list_init(from);
}
#define list_each(it, head)      for (struct list *it = (head)->next; it != (head); it = it->next)
#define list_each_safe(it, head) for (struct list *it = (head)->next, *it##_next = it->next; it != (head); it = it##_next, it##_next = it->next)
