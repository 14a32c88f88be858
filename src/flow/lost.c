/* Offsets that lead nowhere. Retention took the records, or the topic was deleted and made again: what was known of it, and
 * the outcomes of its records, belong to a topic that is no more. On a Kafka far away a topic made again has the id of its
 * name, as before; it is noticed by an end that lies before what was read, or when this process makes it itself. One that
 * somebody else makes and fills beyond that offset before the watch is back goes unnoticed.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "flow/executor.h"
#include <inttypes.h>

static void forget(struct intake *in, int64_t at, const struct ends *e, bool outcomes)
{
    in->committed = at;
    if (outcomes) outcomes_begin(in, e);
    in->ends[0] = (struct intake_ends){at, in->outputs.from, in->errors.from};
    in->ends_n = 1;
    in->p->acked[in->partition] = at - 1;
}

enum rc intake_go_on_at(struct intake *in, int64_t at, bool made, const struct ends *e, int64_t *ret, struct err *why)
{
    struct place *p = in->p;
    int64_t end = ends_of(&e->inputs, in->partition);
    int64_t start = e->inputs.t.start_offsets[ends_at(&e->inputs, in->partition)];

    *ret = at;
    if (!made && at >= start && at <= end) return RC_OK;
    if (!made && p->f->o.offset_reset == FLOW_RESET_NONE)
        return err_set(why, RC_INVALID,
                       "offset %" PRId64 " of partition %" PRId32 " is lost, the topic has %" PRId64 " to %" PRId64
                       ", and kafka.consumer.autoOffsetReset is none: set it to earliest or latest, or delete the offsets of group " STR_FMT,
                       at, in->partition, start, end, STR_ARG(p->group));
    *ret = made || p->f->o.offset_reset == FLOW_RESET_EARLIEST ? start : end;
    diag(DIAG_WARN, "flow.offset.lost", KV_STR("topic", p->inputs.name), KV_I64("partition", in->partition), KV_I64("offset", at),
         KV_I64("goes_on_at", *ret), KV_CSTR("why", made || at > end ? "the topic was made again" : "its records were deleted"));
    forget(in, *ret, e, made || at > end);
    return RC_OK;
}
