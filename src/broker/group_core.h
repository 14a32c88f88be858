/* broker/group_core.h - what the files of the classic group's state machine share: answers, timers, parked requests, and
 * the decision that ends a step. See group.c for the story.
 *
 * Used by: broker/group.c, group_join.c, group_rebalance.c, and nobody else.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "broker/group_member.h"

/* ---- group_rebalance.c ---- */
struct group_fx *group_fx_push(struct group_effects *fx, enum group_fx_kind kind, void *token, int16_t error);
void group_answer_join_error(struct group_effects *fx, void *token, int16_t error, struct str member_id);
void group_answer_join(const struct group *g, const struct group_member *m, void *token, struct group_effects *fx);
void group_answer_sync(const struct group *g, const struct group_member *m, void *token, struct group_effects *fx);

void group_want_tick(struct group *g, uint64_t at_ms);
void group_next_tick(struct group *g);                     /* sets it anew, after a tick */
void group_session_restart(struct group *g, struct group_member *m, uint64_t now_ms);
bool group_member_expired(const struct group_member *m, uint64_t now_ms);

void group_join_park(struct group *g, struct group_member *m, void *token, struct group_effects *fx);
void group_park_refuse(struct group *g, struct group_member *m, int16_t error, struct group_effects *fx);
void group_member_drop(struct group *g, struct group_member *m, int16_t error, struct group_effects *fx);
void group_move(struct group *g, enum group_state to, int64_t wall_ms);
/* Draws the consequence of what a step has changed: `rebalance` says that members came, went or changed. */
void group_settle(struct group *g, bool rebalance, const struct group_event *ev, struct group_effects *fx);

/* ---- group_join.c ---- */
struct group_member *group_static_member(const struct group *g, struct str instance_id);   /* NULL: none */
void group_on_join(struct group *g, const struct group_event *ev, struct group_effects *fx);
