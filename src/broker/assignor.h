/* broker/assignor.h - who gets which partition, decided by the broker (the newer group protocol). Pure.
 *
 * `range`: of each topic, every subscriber gets a stretch of neighbouring partitions, by order of member ids, so that the
 * same numbers of several topics meet in one place. `uniform`: all get about the same number, and keep what they
 * have where that allows it.
 * Used by: broker/cgroup.c, tests.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "broker/parts.h"

struct assignor_topic { struct uuid id; int32_t partitions; };
struct assignor_member {
    struct str id;                           /* given in this order */
    const uint32_t *topics;                  /* indexes into topics, ascending */
    size_t topics_n;
    const struct parts *before;              /* what it was meant to have so far; what does not fit any more is ignored */
    struct parts after;                      /* out: sorted; the caller's */
};

typedef void (*assignor_fn)(const struct assignor_topic *topics, size_t topics_n, struct assignor_member *members, size_t members_n);
struct assignor { const char *name; assignor_fn assign; };

const struct assignor *assignor_of(struct str name);         /* NULL: there is no such */
void assign_range(const struct assignor_topic *topics, size_t topics_n, struct assignor_member *members, size_t members_n);
void assign_uniform(const struct assignor_topic *topics, size_t topics_n, struct assignor_member *members, size_t members_n);
