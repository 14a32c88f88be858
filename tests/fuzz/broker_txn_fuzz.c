/* Records of __transaction_state, as a start finds them: the first byte is the key's length, then key and value (none left: null).
 * What is read is written again as the same, in no state that is never on record, and every request about it is answered.
 * SPDX-License-Identifier: Apache-2.0 */
#include "broker/txn_record.h"
#include "one_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_same(const struct txn *was, const struct txn *is)
{
    must(was->producer_id == is->producer_id && was->epoch == is->epoch && was->timeout_ms == is->timeout_ms && was->state == is->state);
    must(was->start_ms == is->start_ms && was->update_ms == is->update_ms);
    if (was->state == TXN_EMPTY) return;                          /* has none on record */
    must(was->parts.n == is->parts.n);
    for (size_t i = 0; i < was->parts.n; i++)
        must(str_eq(was->parts.v[i].topic, is->parts.v[i].topic) && was->parts.v[i].partition == is->parts.v[i].partition);
}

static void ask(const struct txn *t)
{
    int16_t code = 0;
    bool    done;

    must(t->state != TXN_DEAD && t->state != TXN_PREPARE_EPOCH_FENCE && t->state < TXN_STATES);
    (void)txn_check_producer(t, t->producer_id, t->epoch);
    (void)txn_check_add(t, t->producer_id, t->epoch);
    (void)txn_check_end(t, t->producer_id, t->epoch, true, &done);
    (void)txn_check_init(t, -1, -1, &code);
    (void)txn_check_init(t, t->producer_id, t->epoch, &code);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(arena_fini) struct arena a = {0};
    AUTO(buf_fini) struct buf out = {0};
    struct txn t = {0}, again = {0};
    struct record rec;
    struct batch_builder w;
    struct bytes view;
    struct str id, id_again;
    struct err e;
    bool gone, gone_again;

    if (!size) return 0;
    rec = one_record(data, size);
    if (!txn_record_decode(&rec, &a, &t, &id, &gone, &e)) {
        batch_begin(&w, &out, NULL);
        txn_record_add(&w, id, gone ? NULL : &t, 1);
        must(!batch_end(&w, NULL, &view, &e));
        rec = only_record(view, &a);
        must(!txn_record_decode(&rec, &a, &again, &id_again, &gone_again, &e));
        must(str_eq(id, id_again) && gone == gone_again);
        if (!gone) check_same(&t, &again), ask(&t);
    }
    txn_fini(&t);
    txn_fini(&again);
    return 0;
}
