/* A key is an int16 version (0) and the id; a value an int16 version, then its body. What we write is what Kafka 3.8 writes: version 0
 * of both; version 1 of the value is read too. SPDX-License-Identifier: Apache-2.0 */
#include "broker/txn_record.h"
#include "kafka/msg/transaction_topic.h"

enum { KEY_VERSION = 0, VALUE_VERSION = 0, VALUE_VERSION_MAX = 1 };

static void value_put(struct wr *w, const struct txn *t)
{
    struct transaction_log_value v = {.producer_id = t->producer_id, .producer_epoch = t->epoch, .transaction_timeout_ms = t->timeout_ms,
                                      .transaction_status = (int8_t)t->state, .transaction_last_update_timestamp_ms = t->update_ms,
                                      .transaction_start_timestamp_ms = t->start_ms};
    struct transaction_log_value_transaction_partition *topics = xnew_array(struct transaction_log_value_transaction_partition, t->parts.n + 1);
    int32_t *numbers = xnew_array(int32_t, t->parts.n + 1);

    for (size_t i = 0; i < t->parts.n; i++) {
        numbers[i] = t->parts.v[i].partition;
        if (!i || !str_eq(t->parts.v[i].topic, topics[v.transaction_partitions_n - 1].topic))
            topics[v.transaction_partitions_n++] = (struct transaction_log_value_transaction_partition){.topic = t->parts.v[i].topic, .partition_ids = numbers + i};
        topics[v.transaction_partitions_n - 1].partition_ids_n++;
    }
    v.transaction_partitions = topics;
    v.transaction_partitions_null = t->state == TXN_EMPTY;
    wr_i16(w, VALUE_VERSION);
    must(transaction_log_value_encode(w, VALUE_VERSION, &v));
    free(numbers);
    free(topics);
}

void txn_record_add(struct batch_builder *w, struct str id, const struct txn *t, int64_t now_ms)
{
    struct transaction_log_key k = {.transactional_id = id};
    AUTO(buf_fini) struct buf key = {0}, value = {0};
    struct wr to;

    wr_init(&to, &key);
    wr_i16(&to, KEY_VERSION);
    must(transaction_log_key_encode(&to, KEY_VERSION, &k));
    wr_fini(&to);
    if (t) {
        wr_init(&to, &value);
        value_put(&to, t);
        wr_fini(&to);
    }
    batch_add(w, &(struct record_new){.timestamp = now_ms, .key = buf_view(&key), .value = t ? buf_view(&value) : (struct bytes){0}});
}

/* Kafka never writes the other two: an id that is dead has no record, and a fence is decided in memory only. */
static bool is_on_record(int8_t status)
{
    return status >= 0 && status < TXN_STATES && status != TXN_DEAD && status != TXN_PREPARE_EPOCH_FENCE;
}

static bool value_get(struct rd *r, struct arena *a, struct txn *into)
{
    struct transaction_log_value v;
    int16_t version = rd_i16(r);

    if (version < 0 || version > VALUE_VERSION_MAX || !transaction_log_value_decode(r, version, a, &v)) return false;
    if (!is_on_record(v.transaction_status)) return false;
    into->producer_id = v.producer_id;
    into->epoch = v.producer_epoch;
    into->timeout_ms = v.transaction_timeout_ms;
    into->state = (enum txn_state)v.transaction_status;
    into->update_ms = v.transaction_last_update_timestamp_ms;
    into->start_ms = v.transaction_start_timestamp_ms;
    for (size_t i = 0; i < v.transaction_partitions_n; i++)
        for (size_t k = 0; k < v.transaction_partitions[i].partition_ids_n; k++)
            txn_parts_add(&into->parts, v.transaction_partitions[i].topic, v.transaction_partitions[i].partition_ids[k]);
    return true;
}

enum rc txn_record_decode(const struct record *rec, struct arena *a, struct txn *into, struct str *ret_id, bool *ret_gone, struct err *e)
{
    struct transaction_log_key k;
    struct rd key, value;
    int16_t version;

    rd_init(&key, rec->key);
    rd_init(&value, rec->value);
    version = rd_i16(&key);
    if (!key.why && version != KEY_VERSION) return err_set(e, RC_UNSUPPORTED, "a key of version %d", version);
    if (key.why || !transaction_log_key_decode(&key, KEY_VERSION, a, &k)) return rd_err(&key, e);
    *ret_id = k.transactional_id;
    *ret_gone = !rec->value.p;
    if (*ret_gone || value_get(&value, a, into)) return RC_OK;
    return value.why ? rd_err(&value, e) : err_set(e, RC_INVALID, "a state that is never on record, or a newer version");
}
