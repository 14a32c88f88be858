/* A ring that is searched from end to end: few are ever in it. SPDX-License-Identifier: Apache-2.0 */
#include "broker/txn_refused.h"
#include "base/macros.h"

static bool key_eq(const struct txn_refused_key *a, const struct txn_refused_key *b)
{
    return a->producer_id == b->producer_id && a->epoch == b->epoch && a->partition == b->partition && uuid_eq(&a->topic, &b->topic);
}

void txn_refused_note(struct txn_refused *t, struct txn_refused_key key, int32_t sequence)
{
    for (size_t i = 0; i < t->n; i++)
        if (key_eq(&t->rows[i].key, &key)) {
            t->rows[i].lowest = MIN(t->rows[i].lowest, sequence);
            return;
        }
    t->rows[t->next].key = key;
    t->rows[t->next].lowest = sequence;
    t->next = (t->next + 1) % TXN_REFUSED_KEPT;
    t->n = MAX(t->n, t->next ? t->next : (size_t)TXN_REFUSED_KEPT);
}

bool txn_refused_comes_first(const struct txn_refused *t, struct txn_refused_key key, int32_t sequence)
{
    for (size_t i = 0; i < t->n; i++)
        if (key_eq(&t->rows[i].key, &key)) return t->rows[i].lowest < sequence;
    return false;
}
