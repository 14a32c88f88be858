/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/age_clock.h"
#include "base/diag.h"

int64_t age_clock_ms(struct age_clock *c, uint64_t mono_ms, int64_t wall_ms)
{
    int64_t offset = wall_ms - (int64_t)mono_ms;

    if (!c->known || offset <= c->offset + AGE_CLOCK_STEP_MS) {
        c->known = true;
        c->offset = offset;
        c->jump_since = 0;
        return wall_ms;
    }
    if (!c->jump_since || offset > c->jump + AGE_CLOCK_STEP_MS || offset < c->jump - AGE_CLOCK_STEP_MS) {
        c->jump_since = mono_ms | 1;
        diag(DIAG_WARN, "clock.jumped", KV_I64("forward_ms", offset - c->offset), KV_CSTR("what", "nothing grows older by it for an hour"));
    }
    c->jump = offset;
    if (mono_ms >= c->jump_since && mono_ms - c->jump_since >= AGE_CLOCK_PATIENCE_MS) {
        c->offset = offset;
        c->jump_since = 0;
        return wall_ms;
    }
    return (int64_t)mono_ms + c->offset;
}
