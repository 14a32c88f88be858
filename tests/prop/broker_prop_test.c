/* The broker against hostile peers, and against a model of what it promised. SPDX-License-Identifier: Apache-2.0 */
#include "broker_client.h"
#include "kafka_frames.h"
#include "test.h"

#include <stdio.h>

enum {
    HOSTILE_SEEDS = 40,
    HOSTILE_FRAMES = 120,
    HISTORY_SEEDS = 60,
    HISTORY_STEPS = 60,
    PARTITIONS = 3,
    OFFSETS_MAX = 4096
};

static const char *golden_dir;

/* ---- whatever is sent, the broker lives, forgets who has gone, and serves the next ---- */

static struct bytes mutated(struct rng *r, const struct frame *f, struct buf *into)
{
    size_t n = f->bytes.n;

    buf_clear(into);
    memset(buf_grow(into, 4), 0, 4);
    buf_append(into, f->bytes);
    if (n && rng_below(r, 3) == 0)
        for (uint64_t i = 1 + rng_below(r, 4); i; i--)
            into->p[4 + rng_below(r, n)] = (uint8_t)rng_u64(r);
    if (n > 10 && rng_below(r, 8) == 0) into->n = 4 + 10 + (size_t)rng_below(r, n - 10);
    if (n > 20 && rng_below(r, 6) == 0)
        store_be32(into->p + 4 + rng_below(r, n - 4), (uint32_t)rng_u64(r) >> rng_below(r, 31));
    store_be32(into->p, (uint32_t)(into->n - 4));
    return buf_view(into);
}

static void hostile(uint64_t seed, const struct frames *frames)
{
    AUTO(buf_fini) struct buf frame = {0}, answer = {0};
    struct rig_conn conns[4];
    struct rng r;
    struct rig g;
    struct broker_stats s;

    rng_init(&r, seed);
    rig_init(&g, seed);
    assert_int_equal(rig_open(&g), RC_OK);
    for (size_t i = 0; i < countof(conns); i++)
        rig_connect(&g, &conns[i]);
    for (int i = 0; i < HOSTILE_FRAMES; i++) {
        struct rig_conn *c = &conns[rng_below(&r, countof(conns))];
        const struct frame *f = &frames->v[rng_below(&r, frames->n)];

        if (c->closed || rng_below(&r, 30) == 0) {
            rig_hang_up(c);
            rig_connect(&g, c);
        }
        if (f->kind == KAFKA_MESSAGE_REQUEST) rig_send(c, mutated(&r, f, &frame));
        if (rng_below(&r, 10) == 0) rig_advance(&g, rng_below(&r, 20000));
        while (rig_answer(c, &answer))
            assert_true(answer.n >= 8);
    }
    for (size_t i = 0; i < countof(conns); i++)
        rig_hang_up(&conns[i]);
    rig_settle(&g);
    broker_stats(g.b, &s);
    assert_int_equal(s.connections, 0);
    assert_int_equal(s.requests_parked, 0);
    assert_int_equal(s.memory_used, 0);
    rig_close(&g);
    rig_fini(&g);
}

static void no_frame_harms_the_broker(void **state)
{
    struct frames frames = {0};
    uint64_t first = getenv("SEED") ? strtoull(getenv("SEED"), NULL, 10) : 1;

    (void)state;
    frames_load_recorded(&frames, golden_dir);
    for (uint64_t seed = first; seed < first + HOSTILE_SEEDS; seed++) {
        print_message("seed %llu\n", (unsigned long long)seed);
        hostile(seed, &frames);
    }
    frames_fini(&frames);
}

/* ---- what was answered is there, once, in order, whatever happens in between ---- */

/* One record a batch; its value is its number. number[offset] 0: not known to us (not acknowledged before a crash). */
struct model {
    int64_t end[PARTITIONS], start[PARTITIONS];
    uint64_t number[PARTITIONS][OFFSETS_MAX];
    uint64_t next;
    int32_t sequence[PARTITIONS];
};

static struct bytes numbered(struct client *k, uint64_t number, size_t pad, int64_t producer,
                             int32_t sequence)
{
    struct batch_options o = {.has_producer = producer >= 0,
                              .producer_id = producer,
                              .base_sequence = sequence,
                              .leader_epoch = -1};
    AUTO(buf_fini) struct buf out = {0}, value = {0};
    struct batch_builder w;
    struct bytes view;
    struct err e;

    store_be64(buf_grow(&value, 8), number);
    memset(buf_grow(&value, pad), 'p', pad);
    batch_begin(&w, &out, &o);
    batch_add(&w, &(struct record_new){.timestamp = 1700000000000, .value = buf_view(&value)});
    assert_int_equal(batch_end(&w, NULL, &view, &e), RC_OK);
    return arena_dup(&k->arena, view);
}

/* Reads everything from `from` on and compares. Ends where the log ends. */
static void check_partition(struct client *k, struct model *m, int p, int64_t from)
{
    int64_t at = from;

    for (;;) {
        struct fetch_response_partition *f = client_fetch(k, "t", p, at);

        assert_non_null(f);
        assert_int_equal(f->error_code, 0);
        assert_int_equal(f->log_start_offset, m->start[p]);
        if (!f->records.n) break;
        for (size_t i = 0; i < f->records.n;) {
            struct batch b;
            struct records it;
            struct record rec;
            AUTO(buf_fini) struct buf scratch = {0};

            assert_int_equal(batch_view(bytes_sub(f->records, i, f->records.n - i), &b), BATCH_OK);
            assert_true(batch_crc_ok(&b));
            assert_int_equal(b.base_offset, at);
            assert_int_equal(records_open(&it, &b, NULL, 1 << 24, &scratch), BATCH_OK);
            assert_true(records_next(&it, &rec));
            if (at < m->end[p] && m->number[p][at])
                assert_int_equal(load_be64(rec.value.p), m->number[p][at]);
            if (at >= m->end[p])
                m->number[p][at] = load_be64(rec.value.p); /* was on its way when the power went */
            at = batch_next_offset(&b);
            i += b.raw.n;
        }
    }
    assert_true(at >= m->end[p]);
    m->end[p] = at;
}

static void step_produce(struct client *k, struct model *m, struct rng *r)
{
    int p = (int)rng_below(r, PARTITIONS);
    bool idempotent = rng_below(r, 2), twice = idempotent && rng_below(r, 3) == 0;
    size_t pad = rng_below(r, 20) == 0 ? 600000 : (size_t)rng_below(r, 3000);
    struct bytes batch =
        numbered(k, ++m->next, pad, idempotent ? 100 + p : -1, idempotent ? m->sequence[p] : -1);
    int64_t offset;

    assert_int_equal(client_produce(k, "t", p, batch, &offset), 0);
    assert_int_equal(offset, m->end[p]);
    m->number[p][m->end[p]++] = m->next;
    if (twice) {
        assert_int_equal(client_produce(k, "t", p, batch, &offset), 0);
        assert_int_equal(offset, m->end[p] - 1);
    }
    if (idempotent) m->sequence[p]++;
}

static void step_delete_records(struct client *k, struct model *m, struct rng *r)
{
    int p = (int)rng_below(r, PARTITIONS);
    int64_t to = m->start[p] + (int64_t)rng_below(r, (uint64_t)(m->end[p] - m->start[p]) + 1);
    struct delete_records_request_partition q = {p, to};
    struct delete_records_request_topic t = {.name = STR("t"), .partitions = &q, .partitions_n = 1};
    struct delete_records_response *a = client_ask(
        k, KAFKA_DELETE_RECORDS, 2, &(struct delete_records_request){.topics = &t, .topics_n = 1});

    assert_int_equal(a->topics[0].partitions[0].error_code, 0);
    m->start[p] = to;
}

/* The batches without an answer may be there afterwards or not; an idempotent producer's may not come twice. */
static void step_power_cut(struct rig *g, struct client *k, struct model *m, struct rng *r)
{
    int p = (int)rng_below(r, PARTITIONS);

    if (rng_below(r, 2)) fs_sim_cut_at(g->disk, fs_sim_ops(g->disk) + 1 + rng_below(r, 6));
    client_produce_send(k, "t", p, 0, numbered(k, ++m->next, 100, -1, -1));
    client_close(k);
    fs_sim_cut(g->disk);
    rig_crash(g);
    fs_sim_power_on(g->disk);
    fs_sim_cut_at(g->disk, 0);
    if (rig_open(g)) fail_msg("%s", g->err.text);
    client_open(k, g);
    for (int i = 0; i < PARTITIONS; i++)
        check_partition(k, m, i, m->start[i]);
}

static void history(uint64_t seed)
{
    struct model *m = xnew(struct model);
    struct client k;
    struct rng r;
    struct rig g;

    rng_init(&r, seed);
    rig_init(&g, seed);
    assert_int_equal(rig_open(&g), RC_OK);
    client_open(&k, &g);
    client_create(&k, "t", PARTITIONS, "segment.bytes", "700000");
    for (int i = 0; i < HISTORY_STEPS; i++) {
        uint64_t what = rng_below(&r, 20);

        if (what < 14)
            step_produce(&k, m, &r);
        else if (what == 14)
            step_delete_records(&k, m, &r);
        else if (what == 15)
            step_power_cut(&g, &k, m, &r);
        else if (what == 16)
            rig_advance(&g, rng_below(&r, 40000));
        else
            check_partition(&k, m, (int)(what % PARTITIONS), m->start[what % PARTITIONS]);
    }
    for (int i = 0; i < PARTITIONS; i++)
        check_partition(&k, m, i, m->start[i]);
    client_close(&k);
    rig_close(&g);
    rig_fini(&g);
    free(m);
}

static void every_answered_record_is_there_once_and_in_order(void **state)
{
    uint64_t first = getenv("SEED") ? strtoull(getenv("SEED"), NULL, 10) : 1;

    (void)state;
    for (uint64_t seed = first; seed < first + HISTORY_SEEDS; seed++) {
        print_message("seed %llu\n", (unsigned long long)seed);
        history(seed);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_frame_harms_the_broker),
        cmocka_unit_test(every_answered_record_is_there_once_and_in_order),
    };

    golden_dir = argc > 1 ? argv[1] : ".";
    return cmocka_run_group_tests(tests, NULL, NULL);
}
