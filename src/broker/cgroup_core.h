/* broker/cgroup_core.h - what the files of the newer group's state machine share.
 *
 * Used by: broker/cgroup*.c, and nobody else.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/err.h"
#include "broker/cgroup.h"
#include "broker/pattern.h"

struct cgroup_pattern {
    struct list link;                                      /* in group.patterns */
    struct str text;
    struct pattern *compiled;
    struct str *topics;                                    /* sorted */
    size_t topics_n, users;
    uint64_t version;                                      /* of the world when they were looked up; 0: not yet */
};

/* ---- cgroup_member.c: the books ---- */
struct cgroup_member *cgroup_member_add(struct cgroup *g, struct str id, struct str instance_id);
void cgroup_member_remove(struct cgroup *g, struct cgroup_member *m);         /* its records are to go */
void cgroup_member_rename(struct cgroup *g, struct cgroup_member *m, struct str id);
/* Takes over what the request says. *ret_subscription: it is another one now. The pattern's text is known to compile. */
void cgroup_member_update(struct cgroup *g, struct cgroup_member *m, const struct cgroup_beat *q, bool *ret_subscription);
void cgroup_member_account(struct cgroup *g, struct cgroup_member *m);
void cgroup_mark(struct cgroup *g, struct cgroup_member *m, unsigned what);
void cgroup_own(struct cgroup *g, struct cgroup_member *m, const struct parts *s);
void cgroup_disown(struct cgroup *g, struct cgroup_member *m, const struct parts *s);
size_t cgroup_beat_bytes(const struct cgroup_beat *q);

/* ---- cgroup_topics.c: what is subscribed to, and the target ---- */
struct cgroup_pattern *cgroup_pattern_take(struct cgroup *g, struct str text);     /* NULL: it does not compile */
void cgroup_pattern_drop(struct cgroup *g, struct cgroup_pattern *p);              /* NULL is fine */
/* Looks up again what the members subscribe to. True: g->topics is another set now. */
bool cgroup_topics_refresh(struct cgroup *g, const struct cgroup_world *world);
void cgroup_topics_fini(struct cgroup *g);
void cgroup_assign(struct cgroup *g);                      /* makes the target for the group's epoch */
