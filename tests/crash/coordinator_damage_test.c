/* Damage in __consumer_offsets and __transaction_state: every byte of a segment flipped, and cut there. The broker starts; what is
 * recorded in the other partitions is served; of what is recorded in the damaged one either the truth is told, or that it
 * is not available. SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "broker/verify.h"
#include "kafka/errors.h"
#include "kafka/batch.h"
#include "test.h"
#include "txn_client.h"
#include <stdio.h>

enum { PARTITIONS = 2, OFFSETS = 3, EPOCHS = 2 };

struct house { struct rig rig; struct txn_client p; };

/* A name that is recorded in that partition. */
static const char *name_in(int32_t partition)
{
    static const char *const names[] = {"a", "b", "c", "d", "e"};

    for (size_t i = 0; i < countof(names); i++)
        if (kafka_partition_of_group(str_of(names[i]), PARTITIONS) == partition) return names[i];
    fail();
    return NULL;
}

static int16_t commit(struct client *k, const char *group, int64_t offset)
{
    struct offset_commit_request_partition p = {.committed_offset = offset, .committed_leader_epoch = -1};
    struct offset_commit_request_topic t = {.name = STR("t"), .partitions = &p, .partitions_n = 1};
    struct offset_commit_request q = {.group_id = str_of(group), .generation_id_or_member_epoch = -1, .retention_time_ms = -1, .topics = &t, .topics_n = 1};
    struct offset_commit_response *a = client_ask(k, KAFKA_OFFSET_COMMIT, 8, &q);

    assert_non_null(a);
    return a->topics[0].partitions[0].error_code;
}

static int16_t find(struct client *k, int8_t type, const char *key)
{
    struct find_coordinator_request q = {.key = str_of(key), .key_type = type};
    struct find_coordinator_response *a = client_ask(k, KAFKA_FIND_COORDINATOR, 3, &q);

    assert_non_null(a);
    return a->error_code;
}

static void house_open(struct house *h)
{
    static const struct broker_setting settings[] = {{{"offsets.topic.num.partitions", 28}, {"2", 1}},
                                                     {{"transaction.state.log.num.partitions", 36}, {"2", 1}}};

    rig_init(&h->rig, 9);
    h->rig.opt.settings = settings;
    h->rig.opt.settings_n = countof(settings);
    if (rig_open(&h->rig)) fail_msg("%s", h->rig.err.text);
    txn_client_open(&h->p, &h->rig, "");
    client_create(&h->p.k, "t", 1, NULL, NULL);
    for (int32_t i = 0; i < PARTITIONS; i++) {
        for (int64_t offset = 1; offset <= OFFSETS; offset++)
            assert_int_equal(commit(&h->p.k, name_in(i), offset), 0);
        h->p.id = name_in(i);
        assert_int_equal(find(&h->p.k, 1, h->p.id), 0);
        for (int epoch = 0; epoch < EPOCHS; epoch++) {
            assert_int_equal(txn_client_init(&h->p), 0);
            assert_int_equal(txn_client_add(&h->p, "t", 0), 0);
            assert_int_equal(txn_client_write(&h->p, "t", 0, 10 * epoch + i), 0);
            assert_int_equal(txn_client_end(&h->p, true), 0);
        }
    }
    txn_client_close(&h->p);
    rig_close(&h->rig);
}

static void house_close(struct house *h)
{
    txn_client_close(&h->p);
    rig_fini(&h->rig);
}

/* Clients that ask for one group: the code stands at each partition, since version 2 above them. */
static void old_clients_are_told_too(struct client *k, const char *group)
{
    int32_t partition = 0;
    struct offset_fetch_request_topic t = {str_of("t"), &partition, 1};
    struct offset_fetch_request q = {.group_id = str_of(group), .topics = &t, .topics_n = 1};
    struct offset_fetch_response *a = client_ask(k, KAFKA_OFFSET_FETCH, 1, &q);

    assert_int_equal(a->topics[0].partitions[0].error_code, KAFKA_ERR_COORDINATOR_NOT_AVAILABLE);
    a = client_ask(k, KAFKA_OFFSET_FETCH, 7, &q);
    assert_int_equal(a->error_code, KAFKA_ERR_COORDINATOR_NOT_AVAILABLE);
}

/* A member that was there before the restart is not sent back with "unknown member", which would have it join a new group. */
static void members_are_told_too(struct client *k, const char *group)
{
    struct leave_group_request_member one = {.member_id = STR("m")};
    struct heartbeat_request beat = {.group_id = str_of(group), .generation_id = 1, .member_id = STR("m")};
    struct sync_group_request sync = {.group_id = str_of(group), .generation_id = 1, .member_id = STR("m")};
    struct leave_group_request leave = {.group_id = str_of(group), .members = &one, .members_n = 1};

    assert_int_equal(((struct heartbeat_response *)client_ask(k, KAFKA_HEARTBEAT, 4, &beat))->error_code, KAFKA_ERR_COORDINATOR_NOT_AVAILABLE);
    assert_int_equal(((struct sync_group_response *)client_ask(k, KAFKA_SYNC_GROUP, 4, &sync))->error_code, KAFKA_ERR_COORDINATOR_NOT_AVAILABLE);
    assert_int_equal(((struct leave_group_response *)client_ask(k, KAFKA_LEAVE_GROUP, 4, &leave))->error_code, KAFKA_ERR_COORDINATOR_NOT_AVAILABLE);
}

/* A list that lacks something says so. */
static bool has_group(struct client *k, const char *group, int16_t error)
{
    struct list_groups_request q = {0};
    struct list_groups_response *a = client_ask(k, KAFKA_LIST_GROUPS, 4, &q);

    assert_non_null(a);
    assert_int_equal(a->error_code, error);
    for (size_t i = 0; i < a->groups_n; i++)
        if (str_is(a->groups[i].group_id, group)) return true;
    return false;
}

static bool has_txn(struct client *k, const char *id, int16_t error)
{
    struct list_transactions_request q = {.duration_filter = -1};
    struct list_transactions_response *a = client_ask(k, KAFKA_LIST_TRANSACTIONS, 1, &q);

    assert_non_null(a);
    assert_int_equal(a->error_code, error);
    for (size_t i = 0; i < a->transaction_states_n; i++)
        if (str_is(a->transaction_states[i].transactional_id, id)) return true;
    return false;
}

/* The group says the truth, or (if it may) that it is not there to ask. True: the truth. */
static bool group_is_true(struct house *h, int32_t partition, bool may_be_lost)
{
    const char *group = name_in(partition);
    int16_t code;
    int64_t offset = txn_committed(&h->p.k, group, "t", 0, &code);

    assert_int_equal(find(&h->p.k, 0, group), code);
    if (code && may_be_lost) {
        assert_int_equal(code, KAFKA_ERR_COORDINATOR_NOT_AVAILABLE);
        assert_int_equal(commit(&h->p.k, group, 9), KAFKA_ERR_COORDINATOR_NOT_AVAILABLE);
        old_clients_are_told_too(&h->p.k, group);
        members_are_told_too(&h->p.k, group);
        assert_false(has_group(&h->p.k, group, KAFKA_ERR_KAFKA_STORAGE_ERROR));
        assert_true(has_group(&h->p.k, name_in(1), KAFKA_ERR_KAFKA_STORAGE_ERROR));
        return false;
    }
    assert_int_equal(code, 0);
    if (may_be_lost) assert_true(has_group(&h->p.k, group, 0));
    assert_int_equal(offset, OFFSETS);
    return true;
}

static bool txn_is_true(struct house *h, int32_t partition, bool may_be_lost)
{
    int16_t code;

    h->p.id = name_in(partition);
    h->p.pid = -1;
    code = txn_client_init_once(&h->p, -1, -1);
    assert_int_equal(find(&h->p.k, 1, h->p.id), code);
    if (code && may_be_lost) {
        assert_int_equal(code, KAFKA_ERR_COORDINATOR_NOT_AVAILABLE);
        assert_false(has_txn(&h->p.k, h->p.id, KAFKA_ERR_KAFKA_STORAGE_ERROR));
        assert_true(has_txn(&h->p.k, name_in(1), KAFKA_ERR_KAFKA_STORAGE_ERROR));
        return false;
    }
    assert_int_equal(code, 0);
    if (may_be_lost) assert_true(has_txn(&h->p.k, h->p.id, 0));
    assert_int_equal(h->p.epoch, EPOCHS);                              /* the id is known, with its epoch */
    return true;
}

/* Every byte of the first partition's segment; how often that was noticed. */
static unsigned damage(const char *topic, bool (*is_true)(struct house *h, int32_t partition, bool may_be_lost), unsigned *ret_n)
{
    unsigned noticed = 0;

    *ret_n = 0;
    for (uint64_t at = 0;; at += at < 70 ? 1 : 7) {
        struct house h = {0};
        char path[80];
        bool ok;

        house_open(&h);
        snprintf(path, sizeof path, "data/%s-0/00000000000000000000.log", topic);
        if (!fs_sim_damage(h.rig.disk, path, at, 0x55)) {
            house_close(&h);
            return noticed;
        }
        if (rig_open(&h.rig)) fail_msg("byte %llu of %s: %s", (unsigned long long)at, path, h.rig.err.text);
        txn_client_open(&h.p, &h.rig, "");
        assert_true(is_true(&h, 1, false));
        ok = is_true(&h, 0, true);
        noticed += !ok;
        ++*ret_n;
        assert_int_equal(client_end(&h.p.k, "t", 0), 2 * PARTITIONS * EPOCHS);
        house_close(&h);
    }
}

static void damaged_offsets_are_not_told_and_the_others_are(void **state)
{
    unsigned n, noticed = damage("__consumer_offsets", group_is_true, &n);

    (void)state;
    print_message("%u of %u damaged bytes noticed\n", noticed, n);
    assert_true(n > 50 && noticed * 10 > n * 9);
}

static void damaged_transactional_ids_are_not_served_and_the_others_are(void **state)
{
    unsigned n, noticed = damage("__transaction_state", txn_is_true, &n);

    (void)state;
    print_message("%u of %u damaged bytes noticed\n", noticed, n);
    assert_true(n > 50 && noticed * 10 > n * 9);
}

/* to NULL: it is gone. */
static void move_segment(const char *to)
{
    struct house h = {0};
    struct err e;

    house_open(&h);
    if (to) assert_int_equal(fs_rename(fs_sim_fs(h.rig.disk), "data/__consumer_offsets-0/00000000000000000000.log", to, &e), RC_OK);
    else assert_int_equal(fs_unlink(fs_sim_fs(h.rig.disk), "data/__consumer_offsets-0/00000000000000000000.log", &e), RC_OK);
    if (rig_open(&h.rig)) fail_msg("%s", h.rig.err.text);
    txn_client_open(&h.p, &h.rig, "");
    assert_true(group_is_true(&h, 1, false));
    assert_false(group_is_true(&h, 0, true));
    house_close(&h);
}

static void a_segment_that_is_missing_or_has_another_name_is_noticed_at_the_start(void **state)
{
    (void)state;
    move_segment(NULL);
    move_segment("data/__consumer_offsets-0/00000000000000000001.log");
    move_segment("data/__consumer_offsets-0/00000000000000000400.log");
    move_segment("data/__consumer_offsets-0/00000000000000000000.lof");
}

/* ---- the checker, and what a repair leaves ---- */

static void on_found(void *ctx, const struct verify_finding *x)
{
    buf_printf(ctx, "%s: %s%s; ", x->file, x->text, x->repaired ? " [repaired]" : "");
}

static struct verify_summary verify(struct house *h, bool repair, struct buf *text)
{
    struct verify_options o = {fs_sim_fs(h->rig.disk), "data", repair, on_found, text};
    struct verify_summary sum = {0};
    struct err e;

    buf_clear(text);
    if (verify_folder(&o, &sum, &e)) fail_msg("verify: %s", e.text);
    return sum;
}

/* Served as if there had been no damage, with what is left: an offset that was committed once, or none, never one that was not. */
static void repaired_group_is_served(struct house *h, const char *group)
{
    int16_t code;
    int64_t offset = txn_committed(&h->p.k, group, "t", 0, &code);

    assert_int_equal(code, 0);
    assert_in_range(offset + 1, 0, OFFSETS + 1);
    assert_int_equal(commit(&h->p.k, group, 9), 0);
    assert_int_equal(txn_committed(&h->p.k, group, "t", 0, &code), 9);
    (void)has_group(&h->p.k, group, 0);
}

/* False: refused, and aborted. */
static bool transaction(struct house *h, int value)
{
    int16_t code;

    assert_int_equal(txn_client_init(&h->p), 0);
    assert_int_equal(txn_client_add(&h->p, "t", 0), 0);
    code = txn_client_write(&h->p, "t", 0, value);
    if (code) assert_int_equal(code, KAFKA_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_int_equal(txn_client_end(&h->p, !code), 0);
    return !code;
}

/* What is written in a transaction after the repair is there, and not taken for what an earlier one has written. The id's last epochs
 * may be forgotten and given out again: then a producer is refused and comes with the next. */
static void repaired_id_is_served(struct house *h, const char *id)
{
    int values[20] = {0}, n, tries = 0;
    int64_t stable, high;

    h->p.id = id;
    h->p.pid = -1;
    (void)has_txn(&h->p.k, id, 0);
    while (!transaction(h, 77)) assert_true(++tries < EPOCHS);
    n = txn_read(&h->p.k, "t", 0, values, countof(values), &stable, &high);
    assert_int_equal(stable, high);
    assert_true(n > 0 && values[n - 1] == 77);
}

static bool cut(struct fs *fs, const char *path, uint64_t at)
{
    AUTO(file_closep) struct file *f = NULL;
    uint64_t size;
    struct err e;

    assert_int_equal(fs_open(fs, path, FS_READ | FS_WRITE, &f, &e), RC_OK);
    assert_int_equal(file_size(f, &size, &e), RC_OK);
    if (at >= size) return false;
    assert_int_equal(file_truncate(f, at, &e), RC_OK);
    assert_int_equal(file_sync(f, &e), RC_OK);
    return true;
}

/* The first partition's segment, flipped or cut at every so many bytes, checked and repaired. */
static void repair(const char *topic, bool flip, void (*is_served)(struct house *h, const char *name))
{
    AUTO(buf_fini) struct buf text = {0};
    unsigned noticed = 0;

    for (uint64_t at = 0;; at += at < 70 ? 5 : 17) {
        struct house h = {0};
        struct verify_summary sum;
        char path[80];

        house_open(&h);
        snprintf(path, sizeof path, "data/%s-0/00000000000000000000.log", topic);
        if (!(flip ? fs_sim_damage(h.rig.disk, path, at, 0x55) : cut(fs_sim_fs(h.rig.disk), path, at))) {
            house_close(&h);
            break;
        }
        sum = verify(&h, true, &text);
        noticed += sum.damages > 0;
        if (sum.damages != sum.repaired || verify(&h, false, &text).damages)
            fail_msg("byte %llu of %s: %s", (unsigned long long)at, path, buf_cstr(&text));
        if (rig_open(&h.rig)) fail_msg("byte %llu of %s: %s", (unsigned long long)at, path, h.rig.err.text);
        txn_client_open(&h.p, &h.rig, "");
        is_served(&h, name_in(0));
        is_served(&h, name_in(1));
        house_close(&h);
    }
    assert_true(noticed > 20);
}

static void a_repaired_partition_of_offsets_is_served_again(void **state)
{
    (void)state;
    repair("__consumer_offsets", true, repaired_group_is_served);
    repair("__consumer_offsets", false, repaired_group_is_served);
}

static void a_repaired_partition_of_transactional_ids_is_served_again(void **state)
{
    (void)state;
    repair("__transaction_state", true, repaired_id_is_served);
    repair("__transaction_state", false, repaired_id_is_served);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(damaged_offsets_are_not_told_and_the_others_are),
        cmocka_unit_test(damaged_transactional_ids_are_not_served_and_the_others_are),
        cmocka_unit_test(a_segment_that_is_missing_or_has_another_name_is_noticed_at_the_start),
        cmocka_unit_test(a_repaired_partition_of_offsets_is_served_again),
        cmocka_unit_test(a_repaired_partition_of_transactional_ids_is_served_again),
    };

    diag_silence(true);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
