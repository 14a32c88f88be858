/* broker/parts.h - sets of partitions, as the newer group protocol speaks of them: a topic's id and a number.
 *
 * Sorted, without doubles. {0} is the empty set; whoever fills one calls parts_fini(). Pure.
 * Used by: broker/cgroup*.c, broker/assignor.c, broker/api, tests.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/uuid.h"

struct part { struct uuid topic; int32_t number; };
_Static_assert(sizeof(struct part) == 20, "a part is a key of maps: no padding");
struct parts { struct part *p; size_t n, cap; };

int  part_cmp(const struct part *a, const struct part *b);
static inline struct bytes part_key(const struct part *p) { return bytes_of(p, sizeof *p); }

void parts_fini(struct parts *s);
void parts_clear(struct parts *s);
void parts_push(struct parts *s, struct part p);                           /* at the end; parts_sort() before any use */
void parts_sort(struct parts *s);
bool parts_has(const struct parts *s, const struct part *p);
bool parts_eq(const struct parts *a, const struct parts *b);
bool parts_within(const struct parts *a, const struct parts *b);           /* all of a are in b */
bool parts_meet(const struct parts *a, const struct parts *b);             /* some of a are in b */
void parts_copy(struct parts *to, const struct parts *from);
/* *ret is emptied first, and is neither a nor b. */
void parts_both(const struct parts *a, const struct parts *b, struct parts *ret);
void parts_without(const struct parts *a, const struct parts *b, struct parts *ret);
void parts_join(struct parts *to, const struct parts *from);               /* to becomes both together */
