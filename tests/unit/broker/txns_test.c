/* Transactions through a whole broker: what clients are answered, and what readers see. Named after what went wrong elsewhere.
 * SPDX-License-Identifier: Apache-2.0 */
#include "broker/txn.h"
#include "kafka/errors.h"
#include "test.h"
#include "txn_client.h"
#include <stdio.h>

enum { VALUES = 64 };

struct house { struct rig rig; struct client reader; struct txn_client a, b; };

static void clients(struct house *h)
{
    client_open(&h->reader, &h->rig);
    txn_client_open(&h->a, &h->rig, "one");
    txn_client_open(&h->b, &h->rig, "one");              /* a second instance of the same application */
}

static void hang_up(struct house *h)
{
    client_close(&h->reader);
    txn_client_close(&h->a);
    txn_client_close(&h->b);
}

static int house_open(void **state)
{
    struct house *h = xnew(struct house);

    rig_init(&h->rig, 5);
    if (rig_open(&h->rig)) fail_msg("%s", h->rig.err.text);
    clients(h);
    client_create(&h->reader, "t", 3, NULL, NULL);
    *state = h;
    return 0;
}

static int house_close(void **state)
{
    struct house *h = *state;

    hang_up(h);
    rig_fini(&h->rig);
    free(h);
    return 0;
}

/* Both instances keep what they knew. */
static void restart(struct house *h, bool crash)
{
    struct txn_client a = h->a, b = h->b;

    hang_up(h);
    if (crash) {
        fs_sim_cut(h->rig.disk);
        rig_crash(&h->rig);
        fs_sim_power_on(h->rig.disk);
    } else {
        rig_close(&h->rig);
    }
    if (rig_open(&h->rig)) fail_msg("%s", h->rig.err.text);
    clients(h);
    h->a.pid = a.pid, h->a.epoch = a.epoch, memcpy(h->a.sequence, a.sequence, sizeof a.sequence);
    h->b.pid = b.pid, h->b.epoch = b.epoch, memcpy(h->b.sequence, b.sequence, sizeof b.sequence);
}

static void is(int16_t code, enum kafka_err want)
{
    assert_int_equal(code, want);
}

static void reads(struct house *h, int32_t partition, const char *want)
{
    int values[VALUES], n = txn_read(&h->reader, "t", partition, values, VALUES, NULL, NULL);
    char text[256] = "";
    size_t at = 0;

    assert_true(n >= 0);
    for (int i = 0; i < n; i++) at += (size_t)snprintf(text + at, sizeof text - at, "%s%d", i ? " " : "", values[i]);
    assert_string_equal(text, want);
}

/* The producer's partition 0 takes part, and got the value. */
static void begin_and_write(struct txn_client *p, int value)
{
    is(txn_client_add(p, "t", 0), KAFKA_ERR_NONE);
    is(txn_client_write(p, "t", 0, value), KAFKA_ERR_NONE);
}

static void an_open_transaction_is_aborted_by_the_next_instance_first(void **state)
{
    struct house *h = *state;

    is(txn_client_init(&h->a), KAFKA_ERR_NONE);
    begin_and_write(&h->a, 1);
    is(txn_client_init_once(&h->b, -1, -1), KAFKA_ERR_CONCURRENT_TRANSACTIONS);
    is(txn_client_init_once(&h->b, -1, -1), KAFKA_ERR_NONE);
    assert_int_equal(h->b.epoch, h->a.epoch + 2);
    begin_and_write(&h->b, 2);
    is(txn_client_end(&h->b, true), KAFKA_ERR_NONE);
    reads(h, 0, "2");                                    /* and 1 never becomes visible */
    is(txn_client_end(&h->a, true), KAFKA_ERR_PRODUCER_FENCED);
    is(txn_client_write(&h->a, "t", 0, 3), KAFKA_ERR_INVALID_PRODUCER_EPOCH);
    restart(h, true);
    reads(h, 0, "2");
}

static void an_end_that_comes_late_does_not_touch_a_later_transaction(void **state)
{
    struct house *h = *state;

    is(txn_client_init(&h->a), KAFKA_ERR_NONE);
    begin_and_write(&h->a, 1);
    is(txn_client_init(&h->b), KAFKA_ERR_NONE);
    begin_and_write(&h->b, 2);
    is(txn_client_end(&h->a, false), KAFKA_ERR_PRODUCER_FENCED);
    is(txn_client_end(&h->b, true), KAFKA_ERR_NONE);
    reads(h, 0, "2");
}

static void a_batch_that_comes_late_opens_no_transaction(void **state)
{
    struct house *h = *state;
    struct bytes late;

    is(txn_client_init(&h->a), KAFKA_ERR_NONE);
    begin_and_write(&h->a, 1);
    late = txn_client_batch(&h->a, 1, true, 2);
    is(txn_client_end(&h->a, false), KAFKA_ERR_NONE);
    is(txn_client_produce(&h->a, "t", 0, late, NULL), KAFKA_ERR_TRANSACTION_ABORTABLE);
    is(txn_client_add(&h->a, "t", 1), KAFKA_ERR_NONE);   /* a later transaction, elsewhere */
    is(txn_client_produce(&h->a, "t", 0, late, NULL), KAFKA_ERR_TRANSACTION_ABORTABLE);
    is(txn_client_end(&h->a, true), KAFKA_ERR_NONE);
    assert_int_equal(client_end(&h->reader, "t", 0), 2);
    reads(h, 0, "");
}

static void a_sequence_used_again_after_an_abort_is_appended(void **state)
{
    struct house *h = *state;
    int64_t first, second;

    is(txn_client_init(&h->a), KAFKA_ERR_NONE);
    is(txn_client_add(&h->a, "t", 0), KAFKA_ERR_NONE);
    is(txn_client_produce(&h->a, "t", 0, txn_client_batch(&h->a, 0, true, 1), &first), KAFKA_ERR_NONE);
    is(txn_client_end(&h->a, false), KAFKA_ERR_NONE);
    is(txn_client_init_once(&h->a, h->a.pid, h->a.epoch), KAFKA_ERR_NONE);
    is(txn_client_add(&h->a, "t", 0), KAFKA_ERR_NONE);
    is(txn_client_produce(&h->a, "t", 0, txn_client_batch(&h->a, 0, true, 2), &second), KAFKA_ERR_NONE);
    assert_true(second > first);
    is(txn_client_end(&h->a, true), KAFKA_ERR_NONE);
    reads(h, 0, "2");
}

static void the_last_five_batches_are_answered_with_their_offsets_after_a_restart(void **state)
{
    struct house *h = *state;
    struct bytes batch;
    int64_t at[7], again;

    for (int32_t i = 0; i < 7; i++) {
        batch = client_batch(&h->reader, 1, 10, 4711, i);
        is(client_produce(&h->reader, "t", 2, batch, &at[i]), KAFKA_ERR_NONE);
    }
    for (int crash = 0; crash < 2; crash++) {
        restart(h, crash);
        for (int32_t i = 0; i < 7; i++) {
            int16_t code = client_produce(&h->reader, "t", 2, client_batch(&h->reader, 1, 10, 4711, i), &again);

            is(code, i < 2 ? KAFKA_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER : KAFKA_ERR_NONE);
            assert_int_equal(again, i < 2 ? -1 : at[i]);
        }
        assert_int_equal(client_end(&h->reader, "t", 2), 7);
    }
}

static void offsets_are_unstable_until_the_end_and_a_repeated_end_is_no_error(void **state)
{
    struct house *h = *state;
    int16_t code;

    is(txn_client_init(&h->a), KAFKA_ERR_NONE);
    begin_and_write(&h->a, 1);
    is(txn_client_offset(&h->a, "g", "t", 1, 7), KAFKA_ERR_NONE);
    (void)txn_committed(&h->reader, "g", "t", 1, &code);
    is(code, KAFKA_ERR_UNSTABLE_OFFSET_COMMIT);
    restart(h, true);
    (void)txn_committed(&h->reader, "g", "t", 1, &code);
    is(code, KAFKA_ERR_UNSTABLE_OFFSET_COMMIT);
    is(txn_client_end(&h->a, true), KAFKA_ERR_NONE);
    is(txn_client_end(&h->a, true), KAFKA_ERR_NONE);     /* its answer was lost */
    is(txn_client_end(&h->a, false), KAFKA_ERR_INVALID_TXN_STATE);
    for (int crash = 0; crash < 2; crash++) {
        assert_int_equal(txn_committed(&h->reader, "g", "t", 1, &code), 7);
        is(code, KAFKA_ERR_NONE);
        restart(h, crash);
    }
}

static void a_plain_commit_behind_a_pending_one_stays(void **state)
{
    struct house *h = *state;
    struct offset_commit_request_partition row = {.partition_index = 1, .committed_offset = 9, .committed_leader_epoch = -1, .committed_metadata = STR("")};
    struct offset_commit_request_topic t = {STR("t"), &row, 1};
    struct offset_commit_request q = {.group_id = STR("g"), .generation_id_or_member_epoch = -1, .member_id = STR(""), .topics = &t, .topics_n = 1, .retention_time_ms = -1};
    struct offset_commit_response *a;
    int16_t code;

    is(txn_client_init(&h->a), KAFKA_ERR_NONE);
    is(txn_client_offset(&h->a, "g", "t", 1, 7), KAFKA_ERR_NONE);
    a = client_ask(&h->reader, KAFKA_OFFSET_COMMIT, 8, &q);
    is(a->topics[0].partitions[0].error_code, KAFKA_ERR_NONE);
    is(txn_client_end(&h->a, true), KAFKA_ERR_NONE);
    for (int crash = 0; crash < 2; crash++) {
        assert_int_equal(txn_committed(&h->reader, "g", "t", 1, &code), 9);
        restart(h, crash);
    }
}

static void a_transaction_runs_out_of_time_and_its_producer_is_fenced(void **state)
{
    struct house *h = *state;

    h->a.timeout_ms = 30000;
    is(txn_client_init(&h->a), KAFKA_ERR_NONE);
    begin_and_write(&h->a, 1);
    rig_advance(&h->rig, 20000);
    restart(h, true);                                    /* what is left of its time goes on */
    is(txn_client_write(&h->a, "t", 0, 2), KAFKA_ERR_NONE);
    rig_advance(&h->rig, 10000);
    rig_advance(&h->rig, 10000);
    is(txn_client_write(&h->a, "t", 0, 3), KAFKA_ERR_INVALID_PRODUCER_EPOCH);
    is(txn_client_end(&h->a, true), KAFKA_ERR_PRODUCER_FENCED);
    is(txn_client_init_once(&h->a, h->a.pid, h->a.epoch), KAFKA_ERR_PRODUCER_FENCED);
    begin_and_write((txn_client_init(&h->b), &h->b), 4);
    is(txn_client_end(&h->b, true), KAFKA_ERR_NONE);
    reads(h, 0, "4");
}

static void an_id_that_nobody_uses_is_forgotten(void **state)
{
    struct house *h = *state;

    is(txn_client_init(&h->a), KAFKA_ERR_NONE);
    for (int i = 0; i < 8; i++) rig_advance(&h->rig, 24 * 3600 * 1000);
    restart(h, true);
    is(txn_client_add(&h->a, "t", 0), KAFKA_ERR_INVALID_PRODUCER_ID_MAPPING);
}

static void a_topic_may_go_while_a_transaction_is_open(void **state)
{
    struct house *h = *state;
    struct str name = STR("u");
    struct delete_topics_request q = {.topic_names = &name, .topic_names_n = 1, .timeout_ms = 1000};

    client_create(&h->reader, "u", 1, NULL, NULL);
    is(txn_client_init(&h->a), KAFKA_ERR_NONE);
    is(txn_client_add(&h->a, "u", 0), KAFKA_ERR_NONE);
    begin_and_write(&h->a, 1);
    assert_non_null(client_ask(&h->reader, KAFKA_DELETE_TOPICS, 4, &q));
    is(txn_client_end(&h->a, true), KAFKA_ERR_NONE);
    reads(h, 0, "1");
}

static void an_operator_ends_a_transaction_with_a_marker(void **state)
{
    struct house *h = *state;
    int32_t zero = 0;
    struct write_txn_markers_request_topic t = {STR("t"), &zero, 1};
    struct write_txn_markers_request_marker m = {.topics = &t, .topics_n = 1, .coordinator_epoch = 1000};
    struct write_txn_markers_request q = {&m, 1};
    struct write_txn_markers_response *a;
    int64_t stable, high;
    int values[VALUES];

    is(txn_client_init(&h->a), KAFKA_ERR_NONE);
    begin_and_write(&h->a, 1);
    m.producer_id = h->a.pid;
    m.producer_epoch = h->a.epoch;
    a = client_ask(&h->reader, KAFKA_WRITE_TXN_MARKERS, 1, &q);
    is(a->markers[0].topics[0].partitions[0].error_code, KAFKA_ERR_NONE);
    assert_int_equal(txn_read(&h->reader, "t", 0, values, VALUES, &stable, &high), 0);
    assert_int_equal(stable, high);
    m.coordinator_epoch = 1;
    a = client_ask(&h->reader, KAFKA_WRITE_TXN_MARKERS, 1, &q);
    is(a->markers[0].topics[0].partitions[0].error_code, KAFKA_ERR_TRANSACTION_COORDINATOR_FENCED);
    is(txn_client_end(&h->a, true), KAFKA_ERR_NONE);     /* the coordinator's own is not kept out by it */
    is(txn_client_init(&h->b), KAFKA_ERR_NONE);
}

static void only_members_commit_as_members(void **state)
{
    struct house *h = *state;
    struct txn_offset_commit_request_partition row = {0, 5, -1, STR("")};
    struct txn_offset_commit_request_topic t = {STR("t"), &row, 1};
    struct txn_offset_commit_request c = {.transactional_id = STR("one"), .group_id = STR("g"), .generation_id = 3, .member_id = STR("nobody"), .topics = &t, .topics_n = 1};
    struct txn_offset_commit_response *a;

    is(txn_client_init(&h->a), KAFKA_ERR_NONE);
    is(txn_client_offset(&h->a, "g", "t", 1, 1), KAFKA_ERR_NONE);
    c.producer_id = h->a.pid;
    c.producer_epoch = h->a.epoch;
    a = client_ask(&h->a.k, KAFKA_TXN_OFFSET_COMMIT, 4, &c);
    is(a->topics[0].partitions[0].error_code, KAFKA_ERR_UNKNOWN_MEMBER_ID);
    c.group_id = STR("never seen");
    a = client_ask(&h->a.k, KAFKA_TXN_OFFSET_COMMIT, 4, &c);
    is(a->topics[0].partitions[0].error_code, KAFKA_ERR_ILLEGAL_GENERATION);
}

/* As Kafka has it: those that are refused are answered as often as they are named. */
static void of_an_offset_that_is_named_twice_the_last_counts(void **state)
{
    struct house *h = *state;
    static char much[5000];
    struct txn_offset_commit_request_partition rows[] = {{9, 1, -1, STR("")}, {0, 5, -1, STR("")}, {9, 1, -1, STR("")}, {0, 6, -1, {much, sizeof much}}};
    struct txn_offset_commit_request_topic t = {STR("t"), rows, countof(rows)};
    struct txn_offset_commit_request c = {.transactional_id = STR("one"), .group_id = STR("g"), .generation_id = -1, .member_id = STR(""), .topics = &t, .topics_n = 1};
    struct txn_offset_commit_response *a;

    is(txn_client_init(&h->a), KAFKA_ERR_NONE);
    is(txn_client_offset(&h->a, "g", "t", 1, 1), KAFKA_ERR_NONE);
    c.producer_id = h->a.pid;
    c.producer_epoch = h->a.epoch;
    a = client_ask(&h->a.k, KAFKA_TXN_OFFSET_COMMIT, 4, &c);
    assert_int_equal(a->topics[0].partitions_n, 3);
    is(a->topics[0].partitions[0].error_code, KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION);
    is(a->topics[0].partitions[1].error_code, KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(a->topics[0].partitions[2].partition_index, 0);
    is(a->topics[0].partitions[2].error_code, KAFKA_ERR_OFFSET_METADATA_TOO_LARGE);
    rows[3].committed_metadata = STR("");
    a = client_ask(&h->a.k, KAFKA_TXN_OFFSET_COMMIT, 4, &c);
    assert_int_equal(a->topics[0].partitions_n, 3);
    is(a->topics[0].partitions[2].error_code, KAFKA_ERR_NONE);
}

/* Where the record of that value is, as a reader finds it; -1: nowhere. */
static int64_t offset_of(struct house *h, int value)
{
    struct fetch_response_partition *p = client_fetch(&h->reader, "t", 0, 0);
    struct batch b;

    for (size_t at = 0; at < p->records.n; at += b.raw.n) {
        AUTO(buf_fini) struct buf scratch = {0};
        struct records it;
        struct record rec;

        assert_int_equal(batch_view(bytes_of(p->records.p + at, p->records.n - at), &b), BATCH_OK);
        if (batch_is(&b, BATCH_CONTROL)) continue;
        assert_int_equal(records_open(&it, &b, NULL, 1 << 20, &scratch), BATCH_OK);
        while (records_next(&it, &rec))
            if (atoi((const char *)rec.value.p) == value) return rec.offset;
    }
    return -1;
}

static void a_record_has_one_offset_whoever_is_asked(void **state)
{
    struct house *h = *state;
    struct bytes batch;
    int64_t told, again;

    is(txn_client_init(&h->a), KAFKA_ERR_NONE);
    begin_and_write(&h->a, 1);
    is(txn_client_end(&h->a, true), KAFKA_ERR_NONE);     /* a marker takes an offset too */
    is(txn_client_add(&h->a, "t", 0), KAFKA_ERR_NONE);
    batch = txn_client_batch(&h->a, 1, true, 2);
    is(txn_client_produce(&h->a, "t", 0, batch, &told), KAFKA_ERR_NONE);
    assert_int_equal(told, 2);
    for (int crash = 0; crash < 2; crash++) {
        is(txn_client_produce(&h->a, "t", 0, txn_client_batch(&h->a, 1, true, 2), &again), KAFKA_ERR_NONE);
        assert_int_equal(again, told);
        assert_int_equal(offset_of(h, 2), told);
        assert_int_equal(client_end(&h->reader, "t", 0), told + 1);
        restart(h, crash);
    }
    is(txn_client_end(&h->a, true), KAFKA_ERR_NONE);
    assert_int_equal(offset_of(h, 2), told);
    reads(h, 0, "1 2");
}

/* What was decided stays decided while one of its partitions cannot be written, and is done when it can. */
static void a_partition_that_is_offline_gets_its_marker_later(void **state)
{
    static const char *const file = "data/t-0/00000000000000000000.log", *const away = "data/t-0/elsewhere";
    struct house *h = *state;
    struct fs *fs = fs_sim_fs(h->rig.disk);

    is(txn_client_init(&h->a), KAFKA_ERR_NONE);
    begin_and_write(&h->a, 1);
    is(txn_client_add(&h->a, "t", 1), KAFKA_ERR_NONE);
    is(txn_client_write(&h->a, "t", 1, 2), KAFKA_ERR_NONE);
    restart(h, false);
    assert_int_equal(fs_rename(fs, file, away, &h->rig.err), RC_OK);
    is(txn_client_end(&h->a, true), KAFKA_ERR_NONE);     /* decided */
    reads(h, 1, "2");
    is(txn_client_end(&h->a, true), KAFKA_ERR_CONCURRENT_TRANSACTIONS);
    is(txn_client_add(&h->a, "t", 1), KAFKA_ERR_CONCURRENT_TRANSACTIONS);
    rig_advance(&h->rig, 1000);
    is(txn_client_init_once(&h->b, -1, -1), KAFKA_ERR_CONCURRENT_TRANSACTIONS);
    hang_up(h);
    rig_close(&h->rig);
    assert_int_equal(fs_rename(fs, away, file, &h->rig.err), RC_OK);
    if (rig_open(&h->rig)) fail_msg("%s", h->rig.err.text);
    clients(h);
    is(txn_client_init_once(&h->b, -1, -1), KAFKA_ERR_NONE);
    reads(h, 0, "1");
    reads(h, 1, "2");
}

struct inside { struct broker_fetch f; bool done; };

static void fetched(struct broker_fetch *f)
{
    container_of(f, struct inside, f)->done = true;
}

/* The bus's readers: a batch that was aborted is marked, what is open is not there. */
static void who_reads_inside_the_process_sees_what_was_committed(void **state)
{
    struct house *h = *state;
    struct inside in = {.f = {.topic = STR("t"), .partition = 0, .offset = -1, .size_max = 1 << 20, .done = fetched}};
    struct batch b;
    char shown[16] = "";

    is(txn_client_init(&h->a), KAFKA_ERR_NONE);
    begin_and_write(&h->a, 1);
    is(txn_client_end(&h->a, false), KAFKA_ERR_NONE);
    begin_and_write(&h->a, 2);
    is(txn_client_end(&h->a, true), KAFKA_ERR_NONE);
    begin_and_write(&h->a, 3);
    broker_fetch(h->rig.b, &in.f);
    rig_settle(&h->rig);
    assert_true(in.done && !in.f.err.rc);
    assert_int_equal(in.f.end_offset, 4);
    for (size_t at = 0; at < in.f.batches.n; at += b.raw.n) {
        assert_int_equal(batch_view(bytes_of(in.f.batches.p + at, in.f.batches.n - at), &b), BATCH_OK);
        strcat(shown, batch_is(&b, BATCH_CONTROL) ? "-" : "x");
    }
    assert_string_equal(shown, "--x-");
    buf_fini(&in.f.batches);
}

/* ---- the decisions alone ---- */

static void epochs_that_are_used_up_lead_to_a_new_producer_id(void **state)
{
    struct txn t = {.producer_id = 7, .last_producer_id = 6, .epoch = TXN_EPOCH_LAST - 1, .last_epoch = 3, .state = TXN_COMPLETE_ABORT};
    int16_t code;

    (void)state;
    assert_int_equal(txn_check_init(&t, -1, -1, &code), TXN_INIT_BUMP);
    assert_int_equal(txn_check_init(&t, 7, 3, &code), TXN_INIT_REPEAT);
    assert_int_equal(txn_check_init(&t, 7, 2, &code), TXN_INIT_REFUSE);
    is(code, KAFKA_ERR_PRODUCER_FENCED);
    assert_int_equal(txn_check_init(&t, 6, TXN_EPOCH_LAST, &code), TXN_INIT_REPEAT);
    t.epoch++;
    assert_int_equal(txn_check_init(&t, -1, -1, &code), TXN_INIT_ROTATE);
    t.state = TXN_ONGOING;
    assert_int_equal(txn_check_init(&t, -1, -1, &code), TXN_INIT_FENCE);
    t.state = TXN_PREPARE_COMMIT;
    assert_int_equal(txn_check_init(&t, -1, -1, &code), TXN_INIT_REFUSE);
    is(code, KAFKA_ERR_CONCURRENT_TRANSACTIONS);
}

#define IN_A_HOUSE(f) cmocka_unit_test_setup_teardown(f, house_open, house_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_A_HOUSE(an_open_transaction_is_aborted_by_the_next_instance_first),
        IN_A_HOUSE(an_end_that_comes_late_does_not_touch_a_later_transaction),
        IN_A_HOUSE(a_batch_that_comes_late_opens_no_transaction),
        IN_A_HOUSE(a_sequence_used_again_after_an_abort_is_appended),
        IN_A_HOUSE(the_last_five_batches_are_answered_with_their_offsets_after_a_restart),
        IN_A_HOUSE(offsets_are_unstable_until_the_end_and_a_repeated_end_is_no_error),
        IN_A_HOUSE(a_plain_commit_behind_a_pending_one_stays),
        IN_A_HOUSE(a_transaction_runs_out_of_time_and_its_producer_is_fenced),
        IN_A_HOUSE(an_id_that_nobody_uses_is_forgotten),
        IN_A_HOUSE(a_topic_may_go_while_a_transaction_is_open),
        IN_A_HOUSE(an_operator_ends_a_transaction_with_a_marker),
        IN_A_HOUSE(only_members_commit_as_members),
        IN_A_HOUSE(of_an_offset_that_is_named_twice_the_last_counts),
        IN_A_HOUSE(a_record_has_one_offset_whoever_is_asked),
        IN_A_HOUSE(a_partition_that_is_offline_gets_its_marker_later),
        IN_A_HOUSE(who_reads_inside_the_process_sees_what_was_committed),
        cmocka_unit_test(epochs_that_are_used_up_lead_to_a_new_producer_id),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
