/* SPDX-License-Identifier: Apache-2.0 */
#include "base/sm.h"
#include "base/diag.h"

void sm_move(const struct sm_state *table, unsigned *state, unsigned to, const char *event,
             struct str id)
{
    must(sm_may(table, *state, to));
    diag(DIAG_DEBUG, event, KV_STR("id", id), KV_CSTR("from", table[*state].name),
         KV_CSTR("to", table[to].name));
    *state = to;
}
