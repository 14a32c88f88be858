/* broker/cgroup_core.h - what the files of the newer group's state machine share.
 *
 * Used by: broker/cgroup*.c, and nobody else.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/err.h"
#include "broker/cgroup_classic.h"
#include "broker/pattern.h"

struct cgroup_pattern {
    struct list link;                                      /* in group.patterns */
    struct str text;
    struct pattern *compiled;
    struct str *topics;                                    /* sorted */
    size_t topics_n, users;
    uint64_t version;                                      /* of the world when they were looked up; 0: not yet */
    struct str reader;                                     /* owned: whose eyes they are matched for */
    bool recalled;                                         /* it was loaded, and its reader has not been heard of yet */
    bool guessed, guess_used;                              /* its topics are what its members were to have; and a target was made of that */
    bool simple, costly;                                   /* costly: refused, it takes too long */
    uint64_t scan;                                         /* its id while the names are being tried; 0: they are not */
    uint64_t scan_version, scan_us;
    struct str scan_at;                                    /* owned: the last name that was tried; .p NULL: none yet */
    struct str *found;                                     /* so far */
    size_t found_n, found_cap;
};

/* ---- cgroup.c: the steps ---- */
void cgroup_want_tick(struct cgroup *g, uint64_t at_ms);
void cgroup_session_restart(struct cgroup *g, struct cgroup_member *m, uint64_t now_ms);
void cgroup_begin_again(struct cgroup *g, struct cgroup_member *m);           /* it says that it owns nothing any more */
void cgroup_member_leave(struct cgroup *g, struct cgroup_member *m);
/* What a member says is taken over, and it makes its next step towards the target, which is made anew where it is old. */
void cgroup_member_step(struct cgroup *g, struct cgroup_member *m, const struct cgroup_beat *q, const struct cgroup_world *world,
                        uint64_t now_ms, struct cgroup_answer *ret);

/* ---- cgroup_classic.c ---- */
void cgroup_classic_set(struct cgroup *g, struct cgroup_member *m, int32_t session_timeout_ms, const struct group_protocol *protocols,
                        size_t n);
void cgroup_classic_drop(struct cgroup *g, struct cgroup_member *m);          /* it speaks the newer protocol now */

/* ---- cgroup_member.c: the books ---- */
struct cgroup_member *cgroup_member_add(struct cgroup *g, struct str id, struct str instance_id);
void cgroup_member_remove(struct cgroup *g, struct cgroup_member *m);         /* its records are to go */
void cgroup_member_rename(struct cgroup *g, struct cgroup_member *m, struct str id);
/* Takes over what the request says. *ret_subscription: it is another one now. The pattern's text is known to compile. */
void cgroup_member_update(struct cgroup *g, struct cgroup_member *m, const struct cgroup_beat *q, bool *ret_subscription);
void cgroup_member_account(struct cgroup *g, struct cgroup_member *m);
void cgroup_mark(struct cgroup *g, struct cgroup_member *m, unsigned what);
void cgroup_own(struct cgroup *g, struct cgroup_member *m, const struct parts *s);
/* The same where `s` may hold what is another's: that is taken out. */
void cgroup_own_all(struct cgroup *g, struct cgroup_member *m, struct parts *s);
void cgroup_disown(struct cgroup *g, struct cgroup_member *m, const struct parts *s);
size_t cgroup_beat_bytes(const struct cgroup_beat *q);

/* ---- cgroup_topics.c: what is subscribed to, and the target ---- */
struct cgroup_pattern *cgroup_pattern_take(struct cgroup *g, struct str text, struct str reader);      /* NULL: it does not compile */
/* A loaded one, of which it is known now for whom it is: takes over `old` and what it means. */
struct cgroup_pattern *cgroup_pattern_heard(struct cgroup *g, struct cgroup_pattern *old, struct str reader);
void cgroup_pattern_drop(struct cgroup *g, struct cgroup_pattern *p);              /* NULL is fine */
/* While loading: until it has been matched again, a pattern means what its members were to have. */
void cgroup_patterns_recall(struct cgroup *g);
/* Looks up again what the members subscribe to. True: g->topics is another set now. */
bool cgroup_topics_refresh(struct cgroup *g, const struct cgroup_world *world);
void cgroup_topics_fini(struct cgroup *g);
void cgroup_assign(struct cgroup *g);                      /* makes the target for the group's epoch */
