/* Fetch up to version 3, through a whole broker: what consumers from before Kafka 0.11 get. SPDX-License-Identifier: Apache-2.0 */
#include "broker/core.h"
#include "kafka/errors.h"
#include "test.h"
#include "txn_client.h"

enum { MEMORY_MAX = 8 << 20, LONG_WAIT_MS = 60000, MESSAGE_HEAD = 12 };

struct house { struct rig rig; struct client k, other; struct txn_client txn; };

static int house_open(void **state)
{
    struct house *h = xnew(struct house);

    rig_init(&h->rig, 5);
    h->rig.opt.memory_max = MEMORY_MAX;
    if (rig_open(&h->rig)) fail_msg("%s", h->rig.err.text);
    client_open(&h->k, &h->rig);
    client_open(&h->other, &h->rig);
    txn_client_open(&h->txn, &h->rig, "one");
    client_create(&h->k, "t", 2, NULL, NULL);
    *state = h;
    return 0;
}

static int house_close(void **state)
{
    struct house *h = *state;

    client_close(&h->k);
    client_close(&h->other);
    txn_client_close(&h->txn);
    rig_settle(&h->rig);
    assert_int_equal(h->rig.b->memory_reserved, 0);
    rig_close(&h->rig);
    rig_fini(&h->rig);
    free(h);
    return 0;
}

struct ask { int16_t version; int32_t partition; int64_t offset; int32_t bytes_max, wait_ms, min_bytes; };

static void ask_send(struct client *k, struct ask ask)
{
    struct fetch_request_partition p = {.partition = ask.partition, .fetch_offset = ask.offset, .partition_max_bytes = ask.bytes_max ? ask.bytes_max : 1 << 20};
    struct fetch_request_topic t = {.topic = STR("t"), .partitions = &p, .partitions_n = 1};
    struct fetch_request q;

    fetch_request_init_defaults(&q);
    q.max_wait_ms = ask.wait_ms;
    q.min_bytes = ask.min_bytes ? ask.min_bytes : 1;
    q.topics = &t;
    q.topics_n = 1;
    client_send(k, KAFKA_FETCH, ask.version, &q);
}

static struct fetch_response_partition *answer(struct client *k, int16_t version)
{
    struct fetch_response *a = client_answer(k, KAFKA_FETCH, version);

    if (!a) return NULL;
    assert_int_equal(a->topics_n, 1);
    assert_int_equal(a->topics[0].partitions_n, 1);
    return a->topics[0].partitions;
}

static struct fetch_response_partition *ask(struct client *k, struct ask q)
{
    struct fetch_response_partition *a;

    ask_send(k, q);
    assert_non_null(a = answer(k, q.version));
    return a;
}

/* How many whole messages, all of that format; the offset of the first. */
static int messages(struct bytes in, int8_t magic, int64_t *ret_first)
{
    int n = 0;

    while (in.n >= MESSAGE_HEAD && in.n >= MESSAGE_HEAD + load_be32(in.p + 8)) {
        if (n++ == 0) *ret_first = (int64_t)load_be64(in.p);
        assert_int_equal(in.p[16], magic);
        in = bytes_sub(in, MESSAGE_HEAD + load_be32(in.p + 8), in.n - MESSAGE_HEAD - load_be32(in.p + 8));
    }
    return n;
}

static void produce(struct house *h, int n, size_t bytes)
{
    assert_int_equal(client_produce(&h->k, "t", 0, client_batch(&h->k, n, bytes, -1, -1), NULL), 0);
}

static void each_version_gets_its_format_from_the_offset_on(void **state)
{
    struct house *h = *state;

    for (int i = 0; i < 5; i++) produce(h, 2, 10);
    for (int16_t v = 0; v < 4; v++)
        for (int64_t from = 0; from <= 10; from++) {
            struct fetch_response_partition *a = ask(&h->k, (struct ask){.version = v, .offset = from});
            int64_t first = 10;

            assert_int_equal(a->error_code, 0);
            assert_int_equal(a->high_watermark, 10);
            assert_true(messages(a->records, v < 2 ? 0 : 1, &first) > 0 || from == 10);
            assert_int_equal(first, from);
        }
    assert_int_equal(ask(&h->k, (struct ask){.version = 1, .offset = 11})->error_code, KAFKA_ERR_OFFSET_OUT_OF_RANGE);
    assert_int_equal(ask(&h->k, (struct ask){.version = 1, .partition = 7})->error_code, KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION);
}

/* As messages they have more bytes than as batches: an answer has as many as the batches had bytes. */
static void who_goes_on_behind_the_last_message_gets_every_one_once(void **state)
{
    struct house *h = *state;

    for (int i = 0; i < 10; i++) produce(h, 30, 30);
    for (int16_t v = 0; v < 4; v++)
        for (int64_t at = 0, first; at < 300;) {
            struct fetch_response_partition *a = ask(&h->k, (struct ask){.version = v, .offset = at});
            int n = messages(a->records, v < 2 ? 0 : 1, &first);

            assert_true(n > 0);
            assert_int_equal(first, at);
            assert_true(a->records.n < 10 * 30 * 30 || n <= 30);
            at += n;
        }
}

static void a_fetch_that_waits_is_woken_like_any_other(void **state)
{
    struct house *h = *state;
    struct fetch_response_partition *a;
    int64_t first;

    ask_send(&h->other, (struct ask){.version = 2, .wait_ms = LONG_WAIT_MS, .min_bytes = 200});
    assert_null(answer(&h->other, 2));
    produce(h, 1, 10);
    assert_null(answer(&h->other, 2));
    produce(h, 1, 200);
    assert_non_null(a = answer(&h->other, 2));
    assert_int_equal(messages(a->records, 1, &first), 2);
    ask_send(&h->other, (struct ask){.version = 2, .offset = 2, .wait_ms = 50});
    rig_advance(&h->rig, 49);
    assert_null(answer(&h->other, 2));
    rig_advance(&h->rig, 1);
    assert_non_null(a = answer(&h->other, 2));
    assert_int_equal(a->records.n, 0);
}

static void markers_are_passed_over_and_waited_behind(void **state)
{
    struct house *h = *state;
    struct fetch_response_partition *a;
    int64_t first;

    assert_int_equal(txn_client_init(&h->txn), 0);
    for (int i = 0; i < 3; i++) {                        /* 0 1M 2 3M 4 5M */
        assert_int_equal(txn_client_add(&h->txn, "t", 0), 0);
        assert_int_equal(txn_client_write(&h->txn, "t", 0, i), 0);
        assert_int_equal(txn_client_end(&h->txn, i != 1), 0);
    }
    a = ask(&h->k, (struct ask){.version = 3});
    assert_int_equal(messages(a->records, 1, &first), 3);          /* what was aborted is shown: these consumers read all there is */
    a = ask(&h->k, (struct ask){.version = 3, .offset = 1, .bytes_max = 80});
    assert_int_equal(messages(a->records, 1, &first), 1);          /* 80 bytes hold the marker alone */
    assert_int_equal(first, 2);
    ask_send(&h->other, (struct ask){.version = 3, .offset = 5, .wait_ms = 1000});
    assert_null(answer(&h->other, 3));
    rig_advance(&h->rig, 999);
    assert_null(answer(&h->other, 3));
    rig_advance(&h->rig, 1);
    assert_non_null(a = answer(&h->other, 3));
    assert_int_equal(a->error_code, 0);
    assert_int_equal(a->records.n, 0);
    ask_send(&h->other, (struct ask){.version = 0, .offset = 5, .wait_ms = LONG_WAIT_MS});
    assert_null(answer(&h->other, 0));
    produce(h, 1, 10);
    assert_non_null(a = answer(&h->other, 0));
    assert_int_equal(messages(a->records, 0, &first), 1);
    assert_int_equal(first, 6);
}

/* Offsets 0 and 2, a marker behind each. */
static void two_transactions(struct house *h, int partition)
{
    assert_int_equal(txn_client_init(&h->txn), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(txn_client_add(&h->txn, "t", partition), 0);
        assert_int_equal(txn_client_write(&h->txn, "t", partition, i), 0);
        assert_int_equal(txn_client_end(&h->txn, true), 0);
    }
}

/* Of the same answer one partition has messages at once, another only behind its markers. */
static void a_partition_with_messages_does_not_keep_another_behind_its_markers(void **state)
{
    struct house *h = *state;
    struct fetch_request_partition p[] = {{.partition = 0, .partition_max_bytes = 1000}, {.partition = 1, .fetch_offset = 1, .partition_max_bytes = 80}};
    struct fetch_request_topic t = {.topic = STR("t"), .partitions = p, .partitions_n = 2};
    struct fetch_request q;
    struct fetch_response *a;
    int64_t first;

    two_transactions(h, 1);
    produce(h, 1, 10);
    fetch_request_init_defaults(&q);
    q.topics = &t;
    q.topics_n = 1;
    assert_non_null(a = client_ask(&h->k, KAFKA_FETCH, 3, &q));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(messages(a->topics[0].partitions[i].records, 1, &first), 1);
        assert_int_equal(first, i ? 2 : 0);
    }
}

/* An error of another partition is no reason to answer before the markers are passed. */
static void a_partition_that_is_not_there_does_not_keep_another_behind_its_markers(void **state)
{
    struct house *h = *state;
    struct fetch_request_partition p[] = {{.partition = 0, .fetch_offset = 1, .partition_max_bytes = 80}, {.partition = 7, .partition_max_bytes = 80}};
    struct fetch_request_topic t = {.topic = STR("t"), .partitions = p, .partitions_n = 2};
    struct fetch_request q;
    struct fetch_response *a;
    int64_t first;

    two_transactions(h, 0);
    fetch_request_init_defaults(&q);
    q.topics = &t;
    q.topics_n = 1;
    assert_non_null(a = client_ask(&h->k, KAFKA_FETCH, 3, &q));
    assert_int_equal(messages(a->topics[0].partitions[0].records, 1, &first), 1);
    assert_int_equal(first, 2);
    assert_int_equal(a->topics[0].partitions[1].error_code, KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION);
}

static void a_batch_above_the_limit_is_told_to_the_oldest_and_given_to_version_3(void **state)
{
    struct house *h = *state;
    int64_t first;

    produce(h, 3, 1000);
    for (int16_t v = 0; v < 3; v++) {
        struct fetch_response_partition *a = ask(&h->k, (struct ask){.version = v, .bytes_max = 500, .wait_ms = LONG_WAIT_MS});

        assert_true(a->records.n > MESSAGE_HEAD && a->records.n <= 500);
        assert_int_equal(messages(a->records, v < 2 ? 0 : 1, &first), 0);        /* one that does not end */
    }
    assert_int_equal(messages(ask(&h->k, (struct ask){.version = 3, .bytes_max = 500})->records, 1, &first), 3);
}

static void who_leaves_while_a_worker_is_at_it_is_forgotten(void **state)
{
    struct house *h = *state;

    produce(h, 3, 1000);
    h->rig.hold_oldest = true;
    ask_send(&h->other, (struct ask){.version = 1});
    assert_int_equal(workers_runnable(h->rig.workers), 1);
    assert_true(h->rig.b->memory_reserved > 0);
    client_close(&h->other);
    h->rig.hold_oldest = false;
    rig_settle(&h->rig);
    assert_int_equal(h->rig.b->memory_reserved, 0);
    client_open(&h->other, &h->rig);
}

static void who_was_woken_may_leave_as_well(void **state)
{
    struct house *h = *state;

    ask_send(&h->other, (struct ask){.version = 1, .wait_ms = LONG_WAIT_MS});
    h->rig.hold_oldest = true;
    client_produce_send(&h->k, "t", 0, -1, client_batch(&h->k, 3, 1000, -1, -1));
    for (int i = 0; i < 3 && !h->rig.b->memory_reserved; i++) { /* what is held may be the wal's */
        h->rig.hold_oldest = false;
        must(workers_run_one(h->rig.workers));
        h->rig.hold_oldest = true;
        rig_settle(&h->rig);
    }
    assert_true(h->rig.b->memory_reserved > 0);
    client_close(&h->other);
    h->rig.hold_oldest = false;
    rig_settle(&h->rig);
    assert_non_null(client_answer(&h->k, KAFKA_PRODUCE, 9));
    assert_int_equal(h->rig.b->memory_reserved, 0);
    client_open(&h->other, &h->rig);
}

static void a_topic_may_go_while_a_worker_is_at_its_records(void **state)
{
    struct delete_topics_request_topic gone = {.name = STR("t")};
    struct delete_topics_request q = {.topics = &gone, .topics_n = 1};
    struct house *h = *state;
    struct fetch_response_partition *a;
    int64_t first;

    produce(h, 3, 1000);
    h->rig.hold_oldest = true;
    ask_send(&h->other, (struct ask){.version = 1});
    client_send(&h->k, KAFKA_DELETE_TOPICS, 6, &q);
    h->rig.hold_oldest = false;
    rig_settle(&h->rig);
    assert_non_null(client_answer(&h->k, KAFKA_DELETE_TOPICS, 6));
    assert_non_null(a = answer(&h->other, 1));
    assert_int_equal(messages(a->records, 0, &first), 3);
}

static void large_ones_have_memory_one_after_the_other(void **state)
{
    struct house *h = *state;
    struct fetch_response_partition *a;
    int64_t first;

    for (int i = 0; i < 6; i++) produce(h, 1, 1 << 19);
    h->rig.hold_oldest = true;
    ask_send(&h->other, (struct ask){.version = 3, .bytes_max = 4 << 20});
    ask_send(&h->k, (struct ask){.version = 3, .bytes_max = 4 << 20});
    assert_int_equal(workers_runnable(h->rig.workers), 1);         /* the other waits for its memory */
    assert_true(h->rig.b->memory_used <= MEMORY_MAX);
    assert_null(answer(&h->k, 3));
    h->rig.hold_oldest = false;
    rig_settle(&h->rig);
    assert_non_null(a = answer(&h->other, 3));
    assert_int_equal(messages(a->records, 1, &first), 6);
    assert_non_null(a = answer(&h->k, 3));
    assert_int_equal(messages(a->records, 1, &first), 6);
}

static void who_leaves_while_it_waits_for_memory_is_not_in_line_any_more(void **state)
{
    struct house *h = *state;

    for (int i = 0; i < 6; i++) produce(h, 1, 1 << 19);
    h->rig.hold_oldest = true;
    ask_send(&h->k, (struct ask){.version = 3, .bytes_max = 4 << 20});
    ask_send(&h->other, (struct ask){.version = 3, .bytes_max = 4 << 20});
    assert_false(list_empty(&h->rig.b->old_fetches_held));
    client_close(&h->other);
    assert_true(list_empty(&h->rig.b->old_fetches_held));
    h->rig.hold_oldest = false;
    rig_settle(&h->rig);
    assert_non_null(answer(&h->k, 3));
    client_open(&h->other, &h->rig);
}

static void a_topic_may_refuse_to_convert(void **state)
{
    struct house *h = *state;

    client_create(&h->k, "new", 1, "message.downconversion.enable", "false");
    struct fetch_request_partition p = {.partition_max_bytes = 1000};
    struct fetch_request_topic t = {.topic = STR("new"), .partitions = &p, .partitions_n = 1};
    struct fetch_request q;

    fetch_request_init_defaults(&q);
    q.topics = &t;
    q.topics_n = 1;
    for (int16_t v = 0; v <= 4; v++) {
        struct fetch_response *a = client_ask(&h->k, KAFKA_FETCH, v, &q);

        assert_int_equal(a->topics[0].partitions[0].error_code, v < 4 ? KAFKA_ERR_UNSUPPORTED_VERSION : 0);
    }
}

/* A batch in that codec, of one record of zeros. */
static struct bytes zeros(struct client *k, enum kafka_codec codec, size_t n)
{
    AUTO(buf_fini) struct buf out = {0}, value = {0};
    AUTO(codecs_freep) struct codecs *codecs = codecs_new();
    struct batch_builder w;
    struct bytes made;
    struct err e;

    memset(buf_grow(&value, n), 0, n);
    batch_begin(&w, &out, &(struct batch_options){.codec = codec, .leader_epoch = -1});
    batch_add(&w, &(struct record_new){.timestamp = 1, .value = buf_view(&value)});
    assert_int_equal(batch_end(&w, codecs, &made, &e), RC_OK);
    return arena_dup(&k->arena, made);
}

static void what_these_formats_cannot_hold_ends_the_answer_before_it(void **state)
{
    struct house *h = *state;
    struct fetch_response_partition *a;
    int64_t first, at;

    produce(h, 1, 10);
    assert_int_equal(client_produce(&h->k, "t", 0, zeros(&h->k, KAFKA_CODEC_ZSTD, 1000), &at), 0);
    a = ask(&h->k, (struct ask){.version = 3, .offset = at - 1});
    assert_int_equal(a->error_code, 0);
    assert_int_equal(messages(a->records, 1, &first), 1);
    a = ask(&h->k, (struct ask){.version = 3, .offset = at});
    assert_int_equal(a->error_code, KAFKA_ERR_UNSUPPORTED_COMPRESSION_TYPE);
    assert_int_equal(a->records.n, 0);
    assert_int_equal(a->high_watermark, -1);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, house_open, house_close)
    const struct CMUnitTest tests[] = {
        T(each_version_gets_its_format_from_the_offset_on),
        T(who_goes_on_behind_the_last_message_gets_every_one_once),
        T(a_fetch_that_waits_is_woken_like_any_other),
        T(markers_are_passed_over_and_waited_behind),
        T(a_partition_with_messages_does_not_keep_another_behind_its_markers),
        T(a_partition_that_is_not_there_does_not_keep_another_behind_its_markers),
        T(a_batch_above_the_limit_is_told_to_the_oldest_and_given_to_version_3),
        T(who_leaves_while_a_worker_is_at_it_is_forgotten),
        T(who_was_woken_may_leave_as_well),
        T(a_topic_may_go_while_a_worker_is_at_its_records),
        T(large_ones_have_memory_one_after_the_other),
        T(who_leaves_while_it_waits_for_memory_is_not_in_line_any_more),
        T(a_topic_may_refuse_to_convert),
        T(what_these_formats_cannot_hold_ends_the_answer_before_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
