/* broker/group_member.h - the members of a group: who they are, what they support, what they cost.
 *
 * Knows no states and no time; broker/group.c decides, this keeps the books (counts, maps, bytes) right.
 * Used by: broker/group.c, and nobody else.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "broker/group.h"

struct group_pending { struct list link; struct str id; uint64_t deadline_ms; };

/* What a join says about its member. `id` and `instance_id` are set once, the rest may be replaced. */
struct group_member *member_add(struct group *g, struct str id, const struct group_join *j);
void member_update(struct group *g, struct group_member *m, const struct group_join *j);
void member_rename(struct group *g, struct group_member *m, struct str id);        /* the leader stays the leader */
void member_remove(struct group *g, struct group_member *m);                       /* nothing of it may be parked */
bool member_matches(const struct group_member *m, const struct group_join *j);     /* same protocols, same metadata */
void member_assign(struct group *g, struct group_member *m, struct bytes assignment);

/* The member of a request: by id, checked against the instance id if one is given. *ret_error 0: found. */
struct group_member *member_of(const struct group *g, struct str id, struct str instance_id, int16_t *ret_error);

bool group_supports(const struct group *g, const struct group_join *j);            /* a type and a protocol all share */
/* Each member votes for the first of its protocols that all support; ties go to the oldest member's order.
 * Borrowed from a member. */
struct str group_vote(const struct group *g, struct arena *scratch);

struct group_pending *pending_add(struct group *g, struct str id);
struct group_pending *pending_find(const struct group *g, struct str id);
void pending_remove(struct group *g, struct group_pending *p);

void group_set_str(struct group *g, struct str *field, struct str value);          /* owned copies; .p NULL clears */
