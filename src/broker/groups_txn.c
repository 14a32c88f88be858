/* Offsets committed inside transactions: written at once, in a batch of the transaction, and pending until the marker in the same
 * partition of __consumer_offsets decides. What was committed plainly behind the pending record stays.
 * SPDX-License-Identifier: Apache-2.0 */
#include "broker/groups_core.h"
#include "kafka/errors.h"

int16_t groups_put_offsets_txn(struct group_entry *ge, struct producer_ident who, const struct offset_put *puts, size_t n)
{
    struct groups *gs = ge->groups;
    struct batch_options opt = {.transactional = true, .has_producer = true, .producer_id = who.id, .producer_epoch = who.epoch,
                                .base_sequence = -1, .leader_epoch = -1};
    int16_t error = n ? groups_stage_offsets(ge, &opt, puts, n) : KAFKA_ERR_NONE;

    for (size_t i = 0; i < n && !error; i++) {
        struct committed c = puts[i].committed;

        c.record = gs->written + (int64_t)i;
        txn_offsets_put(&gs->pending, who.id, groups_home(gs, ge->g.id), ge->g.id, puts[i].topic, &c);
    }
    return error;
}

static void publish(struct group_entry *ge, const struct offsets *from)
{
    for (size_t i = 0; i < from->topics_n; i++)
        for (size_t k = 0; k < from->topics[i].n; k++) {
            const struct committed *c = &from->topics[i].items[k];
            const struct committed *now = offsets_get(&ge->offsets, from->topics[i].name, c->partition);

            if (!now || now->record < c->record) offsets_put(&ge->offsets, from->topics[i].name, c);
        }
    groups_account(ge);
}

void groups_txn_end(struct groups *gs, int32_t home, int64_t producer_id, bool commit)
{
    struct txn_pending *p;

    while ((p = txn_offsets_take(&gs->pending, producer_id, home))) {
        struct group_entry *ge = groups_find(gs, p->group);

        if (commit) {
            if (!ge) ge = groups_entry_new(gs, p->group);
            publish(ge, &p->offsets);
            ge->seq = MAX(ge->seq, store_staged_seq(gs->broker->store));
        } else if (ge) {
            ge->seq = MAX(ge->seq, store_staged_seq(gs->broker->store));   /* stable again when the marker is on disk */
        }
        txn_pending_free(p);
    }
}

bool groups_offset_is_pending(const struct groups *gs, struct str group, struct str topic, int32_t partition)
{
    return txn_offsets_has(&gs->pending, group, topic, partition);
}
