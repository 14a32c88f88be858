/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/txn.h"
#include "base/diag.h"
#include "kafka/errors.h"

static const struct { const char *name; unsigned next; } states[TXN_STATES] = {
    [TXN_EMPTY] = {"Empty", 1u << TXN_EMPTY | 1u << TXN_ONGOING | 1u << TXN_DEAD},
    [TXN_ONGOING] = {"Ongoing", 1u << TXN_ONGOING | 1u << TXN_PREPARE_COMMIT | 1u << TXN_PREPARE_ABORT | 1u << TXN_PREPARE_EPOCH_FENCE},
    [TXN_PREPARE_COMMIT] = {"PrepareCommit", 1u << TXN_COMPLETE_COMMIT},
    [TXN_PREPARE_ABORT] = {"PrepareAbort", 1u << TXN_COMPLETE_ABORT},
    [TXN_COMPLETE_COMMIT] = {"CompleteCommit", 1u << TXN_EMPTY | 1u << TXN_ONGOING | 1u << TXN_DEAD},
    [TXN_COMPLETE_ABORT] = {"CompleteAbort", 1u << TXN_EMPTY | 1u << TXN_ONGOING | 1u << TXN_DEAD},
    [TXN_DEAD] = {"Dead", 0},
    [TXN_PREPARE_EPOCH_FENCE] = {"PrepareEpochFence", 1u << TXN_PREPARE_ABORT},
};

const char *txn_state_name(enum txn_state s)
{
    return s < TXN_STATES ? states[s].name : "?";
}

bool txn_state_of(struct str name, enum txn_state *ret)
{
    for (int i = 0; i < TXN_STATES; i++)
        if (str_is(name, states[i].name)) {
            *ret = (enum txn_state)i;
            return true;
        }
    return false;
}

void txn_move(struct txn *t, enum txn_state to)
{
    must(states[t->state].next & 1u << to);
    diag(DIAG_DEBUG, "txn.state", KV_STR("transactional_id", t->id), KV_CSTR("from", txn_state_name(t->state)),
         KV_CSTR("to", txn_state_name(to)), KV_I64("epoch", t->epoch));
    t->state = to;
}

bool txn_is_pending(const struct txn *t)
{
    return t->state == TXN_PREPARE_COMMIT || t->state == TXN_PREPARE_ABORT;
}

void txn_fini(struct txn *t)
{
    txn_parts_clear(&t->parts);
    free(t->parts.v);
    free((char *)(uintptr_t)t->id.p);
    *t = (struct txn){0};
}

/* ---- partitions ---- */

static size_t place(const struct txn_parts *ps, struct str topic, int32_t partition, bool *ret_found)
{
    size_t lo = 0, hi = ps->n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int    c = str_cmp(ps->v[mid].topic, topic);

        if (c < 0 || (c == 0 && ps->v[mid].partition < partition)) lo = mid + 1;
        else hi = mid;
    }
    *ret_found = lo < ps->n && ps->v[lo].partition == partition && str_eq(ps->v[lo].topic, topic);
    return lo;
}

bool txn_parts_has(const struct txn_parts *ps, struct str topic, int32_t partition)
{
    bool found;

    (void)place(ps, topic, partition, &found);
    return found;
}

bool txn_parts_add(struct txn_parts *ps, struct str topic, int32_t partition)
{
    bool   found;
    size_t at = place(ps, topic, partition, &found);
    char  *name;

    if (found) return false;
    if (ps->n == ps->cap) {
        ps->cap = ps->cap ? ps->cap * 2 : 4;
        ps->v = xrealloc(ps->v, ps->cap, sizeof *ps->v);
    }
    name = xnew_array(char, topic.n + 1);
    memcpy(name, topic.p, topic.n);
    memmove(ps->v + at + 1, ps->v + at, (ps->n++ - at) * sizeof *ps->v);
    ps->v[at] = (struct txn_part){{name, topic.n}, partition};
    return true;
}

void txn_parts_remove(struct txn_parts *ps, size_t at)
{
    free((char *)(uintptr_t)ps->v[at].topic.p);
    ps->n--;
    memmove(ps->v + at, ps->v + at + 1, (ps->n - at) * sizeof *ps->v);
}

void txn_parts_clear(struct txn_parts *ps)
{
    while (ps->n) txn_parts_remove(ps, ps->n - 1);
}

size_t txn_parts_bytes(const struct txn_parts *ps)
{
    size_t n = ps->cap * sizeof *ps->v;

    for (size_t i = 0; i < ps->n; i++) n += ps->v[i].topic.n + 1;
    return n;
}

/* ---- questions ---- */

int16_t txn_check_producer(const struct txn *t, int64_t producer_id, int16_t epoch)
{
    if (t->producer_id != producer_id) return KAFKA_ERR_INVALID_PRODUCER_ID_MAPPING;
    return t->epoch != epoch ? KAFKA_ERR_PRODUCER_FENCED : KAFKA_ERR_NONE;
}

int16_t txn_check_add(const struct txn *t, int64_t producer_id, int16_t epoch)
{
    int16_t code = txn_check_producer(t, producer_id, epoch);

    if (code) return code;
    return txn_is_pending(t) ? KAFKA_ERR_CONCURRENT_TRANSACTIONS : KAFKA_ERR_NONE;
}

int16_t txn_check_end(const struct txn *t, int64_t producer_id, int16_t epoch, bool commit, bool *ret_done)
{
    int16_t code = txn_check_producer(t, producer_id, epoch);

    *ret_done = false;
    if (code) return code;
    switch (t->state) {
    case TXN_ONGOING: return KAFKA_ERR_NONE;
    case TXN_PREPARE_COMMIT: return commit ? KAFKA_ERR_CONCURRENT_TRANSACTIONS : KAFKA_ERR_INVALID_TXN_STATE;
    case TXN_PREPARE_ABORT: return commit ? KAFKA_ERR_INVALID_TXN_STATE : KAFKA_ERR_CONCURRENT_TRANSACTIONS;
    case TXN_COMPLETE_COMMIT:
    case TXN_COMPLETE_ABORT:
        *ret_done = commit == (t->state == TXN_COMPLETE_COMMIT);
        return *ret_done ? KAFKA_ERR_NONE : KAFKA_ERR_INVALID_TXN_STATE;
    case TXN_EMPTY:
    case TXN_DEAD:
    case TXN_PREPARE_EPOCH_FENCE:
    case TXN_STATES: return KAFKA_ERR_INVALID_TXN_STATE;
    }
    return KAFKA_ERR_INVALID_TXN_STATE;
}

static enum txn_init refuse(int16_t *ret_code, int16_t code)
{
    *ret_code = code;
    return TXN_INIT_REFUSE;
}

enum txn_init txn_check_init(const struct txn *t, int64_t producer_id, int16_t epoch, int16_t *ret_code)
{
    bool given = epoch >= 0, used_up = t->epoch >= TXN_EPOCH_LAST;

    *ret_code = KAFKA_ERR_NONE;
    if (given && producer_id != t->producer_id && !(producer_id == t->last_producer_id && epoch >= TXN_EPOCH_LAST))
        return refuse(ret_code, KAFKA_ERR_PRODUCER_FENCED);
    if (txn_is_pending(t)) return refuse(ret_code, KAFKA_ERR_CONCURRENT_TRANSACTIONS);
    if (given && producer_id != t->producer_id) return TXN_INIT_REPEAT;          /* the rotation's answer was lost */
    if (given && epoch != t->epoch && t->state != TXN_ONGOING && epoch == t->last_epoch) return TXN_INIT_REPEAT;
    if (given && epoch != t->epoch) return refuse(ret_code, KAFKA_ERR_PRODUCER_FENCED);
    if (t->state == TXN_ONGOING) return TXN_INIT_FENCE;
    return used_up ? TXN_INIT_ROTATE : TXN_INIT_BUMP;
}
