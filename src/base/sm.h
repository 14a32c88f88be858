/* base/sm.h - state machines as tables: a state is a name and the set of states that may follow it.
 *
 *     static const struct sm_state group_states[] = { [GROUP_EMPTY] = {"empty", 1u << GROUP_PREPARING | …}, … };
 *     sm_move(group_states, &g->state, GROUP_STABLE, "group.state", g->id);
 *
 * At most 32 states. The diagrams in docs/ are drawn from these tables. SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/bytes.h"

struct sm_state { const char *name; uint32_t next; };       /* next: bit n set = state n may follow */

static inline bool sm_may(const struct sm_state *table, unsigned from, unsigned to)
{
    return (table[from].next >> to & 1u) != 0;
}

/* Asserts the edge, leaves one diag line at debug level (event is a literal: "group.state") and moves. */
void sm_move(const struct sm_state *table, unsigned *state, unsigned to, const char *event, struct str id);
