/* SPDX-License-Identifier: Apache-2.0 */
#include "contract.h"
#include "sys/clock.h"
#include "test.h"
#include <stdio.h>

enum { PATIENCE_MS = 20000 }; /* no test waits that long unless it fails */

static struct contract *the; /* cmocka gives a group no argument */

static uint64_t now_ms(void)
{
    return clock_mono_ms(&clock_real);
}

/* ---- operations, one at a time ---- */

struct flag {
    bool done;
    unsigned times;
};
static struct flag flag_of_last;

static void on_done(struct bus_op *op)
{
    (void)op;
    flag_of_last.done = true;
    flag_of_last.times++;
}

static void begin(struct bus_op *op)
{
    flag_of_last = (struct flag){0};
    op->reply_to = loop_mailbox(the->loop);
    op->done = on_done;
}

static bool turn_until(const bool *what)
{
    uint64_t until = now_ms() + PATIENCE_MS;

    while (!*what && now_ms() < until)
        loop_turn(the->loop, 20);
    return *what;
}

static enum rc end(struct bus_op *op)
{
    assert_true(turn_until(&flag_of_last.done));
    assert_int_equal(flag_of_last.times, 1);
    if (op->err.rc && op->err.rc != RC_TIMEOUT) assert_true(op->err.text[0] != 0);
    return op->err.rc;
}

static char names[16][128];
static unsigned names_n;

/* prefix + name; good until sixteen more were made. */
static struct str topic(const char *name)
{
    char *p = names[names_n++ % countof(names)];

    snprintf(p, sizeof names[0], "%s.%s", the->prefix, name);
    return str_of(p);
}

static enum rc ensure(struct bus_topic *t, struct str name, int32_t partitions)
{
    *t = (struct bus_topic){.topic = name, .partitions = partitions, .replication = 1};
    begin(&t->op);
    bus_topic_ensure(the->bus, t);
    return end(&t->op);
}

static enum rc describe(struct bus_topic *t, struct str name)
{
    *t = (struct bus_topic){.topic = name};
    begin(&t->op);
    bus_topic_describe(the->bus, t);
    return end(&t->op);
}

static enum rc append(struct bus_append *a, struct str name, int32_t partition,
                      const struct bus_record *records, size_t n)
{
    *a = (struct bus_append){.topic = name, .partition = partition};
    begin(&a->op);
    bus_append(the->bus, a, records, n);
    return end(&a->op);
}

static enum rc append_text(struct bus_append *a, struct str name, int32_t partition,
                           const char *value)
{
    struct bus_record r = {.timestamp_ms = -1, .value = str_bytes(str_of(value))};

    return append(a, name, partition, &r, 1);
}

static enum rc fetch(struct bus_fetch *f, struct str name, int32_t partition, int64_t offset,
                     uint64_t wait_ms)
{
    *f = (struct bus_fetch){.topic = name,
                            .partition = partition,
                            .offset = offset,
                            .size_max = 1 << 20,
                            .wait_ms = wait_ms};
    begin(&f->op);
    bus_fetch(the->bus, f);
    return end(&f->op);
}

/* From the start, once that many can be had in one piece: a fetch may end at any batch. */
static enum rc fetch_all(struct bus_fetch *f, struct str name, size_t n)
{
    for (unsigned tries = 0;; tries++) {
        enum rc rc = fetch(f, name, 0, -1, 1000);

        if (rc || f->records_n >= n || tries > 100) return rc;
        bus_fetch_fini(f);
    }
}

#define assert_bytes(b, literal) assert_str(bytes_str(b), literal)

/* ---- topics ---- */

static void a_topic_is_made_once_and_described(void **state)
{
    struct bus_topic t;
    struct bus_uuid id;

    (void)state;
    assert_int_equal(ensure(&t, topic("made"), 3), RC_OK);
    assert_true(t.created);
    assert_int_equal(t.partitions, 3);
    assert_int_equal(ensure(&t, topic("made"), 7), RC_OK);
    assert_false(t.created);
    assert_int_equal(t.partitions, 3);

    assert_int_equal(describe(&t, topic("made")), RC_OK);
    assert_int_equal(t.partitions, 3);
    assert_int_equal(t.replication, 1);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(t.start_offsets[i] + t.end_offsets[i], 0);
    assert_string_equal(t.cleanup_policy, "delete");
    id = t.id;
    bus_topic_fini(&t);

    t = (struct bus_topic){.topic = topic("made")};
    begin(&t.op);
    bus_topic_delete(the->bus, &t);
    assert_int_equal(end(&t.op), RC_OK);
    assert_int_equal(ensure(&t, topic("made"), 1), RC_OK);
    assert_true(t.created);
    if (the->ids_are_names)
        assert_memory_equal(&id, &t.id, sizeof id);
    else
        assert_memory_not_equal(&id, &t.id, sizeof id);
    assert_int_equal(ensure(&t, topic("made.too"), 1), RC_OK);
    assert_memory_not_equal(&id, &t.id, sizeof id);
}

static void configs_are_set_and_unknown_ones_given_up(void **state)
{
    struct bus_config configs[] = {{STR("cleanup.policy"), STR("compact")},
                                   {STR("no.such.config"), STR("1")}};
    struct bus_topic t = {.topic = topic("configured"),
                          .partitions = 1,
                          .replication = 1,
                          .configs = configs,
                          .configs_n = 2};

    (void)state;
    begin(&t.op);
    bus_topic_ensure(the->bus, &t);
    assert_int_equal(end(&t.op), RC_OK);
    assert_true(t.created);
    assert_int_equal(describe(&t, topic("configured")), RC_OK);
    assert_string_equal(t.cleanup_policy, "compact");
    bus_topic_fini(&t);
}

static void what_does_not_exist_says_so(void **state)
{
    struct bus_topic t;
    struct bus_append a;
    struct bus_fetch f;

    (void)state;
    assert_int_equal(describe(&t, topic("none")), RC_OK);
    assert_int_equal(t.partitions, 0);
    bus_topic_fini(&t);
    t = (struct bus_topic){.topic = topic("none")};
    begin(&t.op);
    bus_topic_delete(the->bus, &t);
    assert_int_equal(end(&t.op), RC_NOT_FOUND);
    assert_int_equal(append_text(&a, topic("none"), 0, "x"), RC_NOT_FOUND);
    assert_int_equal(fetch(&f, topic("none"), 0, 0, 0), RC_NOT_FOUND);
    assert_int_equal(ensure(&t, topic("small"), 1), RC_OK);
    assert_int_equal(append_text(&a, topic("small"), 1, "x"), RC_NOT_FOUND);
}

static void topics_are_listed_by_prefix(void **state)
{
    struct bus_topics ts = {.prefix = topic("list.")};
    struct bus_topic t;
    unsigned found = 0;

    (void)state;
    assert_int_equal(ensure(&t, topic("list.a"), 1), RC_OK);
    assert_int_equal(ensure(&t, topic("list.b"), 1), RC_OK);
    assert_int_equal(ensure(&t, topic("lisa"), 1), RC_OK);
    begin(&ts.op);
    bus_topics(the->bus, &ts);
    assert_int_equal(end(&ts.op), RC_OK);
    assert_int_equal(ts.names_n, 2);
    for (size_t i = 0; i < 2; i++)
        found |= str_eq(ts.names[i], topic("list.a"))   ? 1u
                 : str_eq(ts.names[i], topic("list.b")) ? 2u
                                                        : 4u;
    assert_int_equal(found, 3);
    bus_topics_fini(&ts);
}

/* ---- append and fetch ---- */

static void records_come_back_as_they_went(void **state)
{
    struct bus_header headers[] = {
        {STR("h"), bytes_of("v", 1)}, {STR("null"), {0}}, {STR("h"), bytes_of("", 0)}};
    struct bus_record rs[] = {
        {.timestamp_ms = 1700000000123,
         .key = bytes_of("k", 1),
         .value = bytes_of("one", 3),
         .headers = headers,
         .headers_n = 3},
        {.timestamp_ms = -1, .value = bytes_of("", 0)},
        {.timestamp_ms = 1700000000125, .key = bytes_of("", 0)},
    };
    struct bus_topic t;
    struct bus_append a;
    struct bus_fetch f;
    int64_t before = clock_wall_ms(&clock_real);

    (void)state;
    assert_int_equal(ensure(&t, topic("back"), 1), RC_OK);
    assert_int_equal(append(&a, topic("back"), 0, rs, 3), RC_OK);
    assert_int_equal(a.offset, 0);
    assert_int_equal(append_text(&a, topic("back"), 0, "four"), RC_OK);
    assert_int_equal(a.offset, 3);

    assert_int_equal(fetch_all(&f, topic("back"), 4), RC_OK);
    assert_int_equal(f.start_offset, 0);
    assert_int_equal(f.end_offset, 4);
    assert_int_equal(f.next_offset, f.records[f.records_n - 1].offset + 1);
    assert_int_equal(f.records[0].offset, 0);
    assert_int_equal(f.records[0].timestamp_ms, 1700000000123);
    assert_bytes(f.records[0].key, "k");
    assert_bytes(f.records[0].value, "one");
    assert_int_equal(f.records[0].headers_n, 3);
    assert_str(f.records[0].headers[0].key, "h");
    assert_bytes(f.records[0].headers[0].value, "v");
    assert_null(f.records[0].headers[1].value.p);
    assert_str(f.records[0].headers[2].key, "h");
    assert_non_null(f.records[0].headers[2].value.p);
    assert_int_equal(f.records[0].headers[2].value.n, 0);
    bus_fetch_fini(&f);
    assert_int_equal(fetch(&f, topic("back"), 0, 1, PATIENCE_MS), RC_OK); /* a piece may end at any batch */
    assert_null(f.records[0].key.p);
    assert_non_null(f.records[0].value.p);
    assert_in_range(f.records[0].timestamp_ms, before, before + PATIENCE_MS);
    bus_fetch_fini(&f);
    assert_int_equal(fetch(&f, topic("back"), 0, 2, PATIENCE_MS), RC_OK);
    assert_non_null(f.records[0].key.p);
    assert_null(f.records[0].value.p);
    bus_fetch_fini(&f);

    assert_int_equal(fetch(&f, topic("back"), 0, 1, PATIENCE_MS), RC_OK); /* from inside a batch */
    assert_int_equal(f.records[0].offset, 1);
    bus_fetch_fini(&f);
    assert_int_equal(fetch(&f, topic("back"), 0, -2, 0), RC_OK);
    assert_int_equal(f.records_n, 0);
    assert_int_equal(f.next_offset, 4);
    bus_fetch_fini(&f);
    assert_int_equal(fetch(&f, topic("back"), 0, 5, 0), RC_INVALID);
}

static unsigned appended;
static bool all_appended;
enum { MANY = 500 };

static void on_appended(struct bus_op *op)
{
    struct bus_append *a = (struct bus_append *)(void *)op;

    if (a->op.err.rc) fail_msg("%s", a->op.err.text);
    assert_int_equal(a->offset, appended++);
    all_appended = appended == MANY;
}

static void appends_keep_their_order(void **state)
{
    struct bus_append *as = xnew_array(struct bus_append, MANY);
    struct str order = topic("order"); /* one for all: topic() would write where appends under way still read */
    struct bus_topic t;
    struct bus_fetch f;
    int64_t next = 0;

    (void)state;
    assert_int_equal(ensure(&t, order, 1), RC_OK);
    appended = 0;
    all_appended = false;
    for (unsigned i = 0; i < MANY; i++) {
        char text[16];
        struct bus_record r = {.timestamp_ms = -1,
                               .value =
                                   bytes_of(text, (size_t)snprintf(text, sizeof text, "%u", i))};

        as[i] =
            (struct bus_append){.topic = order,
                                .op = {.reply_to = loop_mailbox(the->loop), .done = on_appended}};
        bus_append(the->bus, &as[i], &r, 1);
    }
    assert_true(turn_until(&all_appended));
    while (next < MANY) {
        assert_int_equal(fetch(&f, order, 0, next, PATIENCE_MS), RC_OK);
        assert_true(f.records_n > 0);
        for (size_t i = 0; i < f.records_n; i++) {
            char text[16];

            assert_int_equal(f.records[i].offset, next);
            snprintf(text, sizeof text, "%lld", (long long)next++);
            assert_bytes(f.records[i].value, text);
        }
        bus_fetch_fini(&f);
    }
    free(as);
}

static void an_append_that_need_not_wait_is_there_all_the_same(void **state)
{
    struct bus_record r = {.timestamp_ms = -1, .value = bytes_of("cached", 6)};
    struct bus_append a = {.topic = topic("cache"), .durability = BUS_CACHE};
    struct bus_topic t;
    struct bus_fetch f;

    (void)state;
    assert_int_equal(ensure(&t, topic("cache"), 1), RC_OK);
    a.topic = topic("cache");
    begin(&a.op);
    bus_append(the->bus, &a, &r, 1);
    assert_int_equal(end(&a.op), RC_OK);
    assert_int_equal(a.offset, 0);
    assert_int_equal(fetch(&f, topic("cache"), 0, 0, PATIENCE_MS), RC_OK);
    assert_bytes(f.records[0].value, "cached");
    bus_fetch_fini(&f);
}

static void what_is_too_large_or_nothing_is_refused(void **state)
{
    struct bus_record r = {.timestamp_ms = -1};
    struct bus_append a;
    struct bus_topic t;

    (void)state;
    assert_int_equal(ensure(&t, topic("large"), 1), RC_OK);
    assert_int_equal(append(&a, topic("large"), 0, &r, 0), RC_INVALID);
    if (!the->message_bytes_max) return;
    r.value = bytes_of(xcalloc(1, the->message_bytes_max + 1), the->message_bytes_max + 1);
    assert_int_equal(append(&a, topic("large"), 0, &r, 1), RC_TOO_LARGE);
    r.value.n = the->message_bytes_max - 1000;
    assert_int_equal(append(&a, topic("large"), 0, &r, 1), RC_OK);
    free((void *)(uintptr_t)r.value.p);
}

static void a_fetch_that_does_not_wait_sees_all_that_was_acknowledged_before(void **state)
{
    struct bus_topic t;
    struct bus_fetch f;

    (void)state;
    assert_int_equal(ensure(&t, topic("fresh"), 1), RC_OK);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(fetch(&f, topic("fresh"), 0, i, 0), RC_OK); /* sees the end, and stands there */
        assert_int_equal(f.records_n, 0);
        bus_fetch_fini(&f);
        the->outside(the, topic("fresh").p, 0, "k", "new");
        assert_int_equal(fetch(&f, topic("fresh"), 0, i, 0), RC_OK);
        assert_int_equal(f.records_n, 1);
        assert_int_equal(f.next_offset, i + 1);
        bus_fetch_fini(&f);
    }
}

static void a_fetch_waits_for_the_first_record(void **state)
{
    struct bus_topic t;
    struct bus_fetch f;
    uint64_t begun;

    (void)state;
    assert_int_equal(ensure(&t, topic("wait"), 1), RC_OK);
    begun = now_ms();
    assert_int_equal(fetch(&f, topic("wait"), 0, 0, 60), RC_OK);
    assert_int_equal(f.records_n, 0);
    assert_int_equal(f.next_offset, 0);
    assert_true(now_ms() - begun >= 50);
    bus_fetch_fini(&f);

    f = (struct bus_fetch){
        .topic = topic("wait"), .offset = 0, .size_max = 1000, .wait_ms = PATIENCE_MS};
    begin(&f.op);
    bus_fetch(the->bus, &f);
    loop_turn(the->loop, 30);
    assert_false(flag_of_last.done);
    the->outside(the, topic("wait").p, 0, "k", "now");
    assert_int_equal(end(&f.op), RC_OK);
    assert_int_equal(f.records_n, 1);
    assert_bytes(f.records[0].value, "now");
    bus_fetch_fini(&f);
}

static void a_deadline_before_the_wait_is_over_is_a_timeout(void **state)
{
    struct bus_topic t;
    struct bus_fetch f;

    (void)state;
    assert_int_equal(ensure(&t, topic("late"), 1), RC_OK);
    f = (struct bus_fetch){.topic = topic("late"),
                           .size_max = 1000,
                           .wait_ms = PATIENCE_MS,
                           .op.deadline_ms = now_ms() + 50};
    begin(&f.op);
    bus_fetch(the->bus, &f);
    assert_int_equal(end(&f.op), RC_TIMEOUT);
    bus_fetch_fini(&f);
}

/* ---- watch ---- */

struct watcher {
    struct bus_watch w;
    char values[64][16];
    unsigned n, calls, answered, done_n;
    bool done, told;
    int64_t next;
};

static void on_records(struct bus_watch *w, const struct bus_record *records, size_t n,
                       int64_t next_offset)
{
    struct watcher *me = (struct watcher *)(void *)w;

    me->calls++;
    me->next = next_offset;
    if (n == 0) {
        assert_true(me->told);
        return;
    }
    for (size_t i = 0; i < n && me->n < countof(me->values); i++)
        snprintf(me->values[me->n++], sizeof me->values[0], STR_FMT,
                 STR_ARG(bytes_str(records[i].value)));
    assert_true(next_offset > records[n - 1].offset);
}

static void on_watch_done(struct bus_op *op)
{
    struct watcher *me = (struct watcher *)(void *)op;

    me->done = true;
    me->done_n++;
}

static struct watcher *watch(const char *name, int64_t offset)
{
    struct watcher *me = xnew(struct watcher);

    me->w = (struct bus_watch){.topic = topic(name),
                               .offset = offset,
                               .records = on_records,
                               .op = {.reply_to = loop_mailbox(the->loop), .done = on_watch_done}};
    bus_watch(the->bus, &me->w);
    return me;
}

/* Asks for more if a piece was handed over and not answered, whenever that was. */
static void want_more(struct watcher *me)
{
    if (me->answered == me->calls) return;
    me->answered = me->calls;
    bus_watch_more(the->bus, &me->w);
}

/* Until that many of other people's records were shown. */
static void watch_until(struct watcher *me, unsigned n, bool more)
{
    uint64_t until = now_ms() + PATIENCE_MS;

    while (me->n < n && now_ms() < until) {
        loop_turn(the->loop, 20);
        if (more) want_more(me);
    }
    assert_true(me->n >= n);
}

/* Until it says that it has come so far. */
static void stand_at(struct watcher *me, int64_t next)
{
    uint64_t until = now_ms() + PATIENCE_MS;

    me->told = true;
    while (me->next < next && now_ms() < until) {
        bus_watch_tell(the->bus, &me->w);
        loop_turn(the->loop, 20);
        want_more(me);
    }
    assert_int_equal(me->next, next);
}

static void watch_end(struct watcher *me, enum rc rc)
{
    assert_true(turn_until(&me->done));
    assert_int_equal(me->w.op.err.rc, rc);
    loop_turn(the->loop, 20);
    assert_int_equal(me->done_n, 1);
    free(me);
}

static void a_watch_shows_what_others_append(void **state)
{
    struct watcher *me;
    struct bus_topic t;
    struct bus_append a;

    (void)state;
    assert_int_equal(ensure(&t, topic("watch"), 1), RC_OK);
    the->outside(the, topic("watch").p, 0, "k", "before");
    me = watch("watch", 0);
    watch_until(me, 1, false);
    assert_string_equal(me->values[0], "before");
    assert_int_equal(append_text(&a, topic("watch"), 0, "own"), RC_OK);
    the->outside(the, topic("watch").p, 0, "k", "after");
    loop_turn(the->loop, 50);
    assert_int_equal(me->calls, 1); /* not before it is asked for */
    want_more(me);
    watch_until(me, the->own_are_watched ? 3 : 2, true);
    assert_string_equal(me->values[me->n - 1], "after");
    if (!the->own_are_watched) assert_int_equal(me->n, 2);
    assert_int_equal(me->next, 3);

    bus_watch_stop(the->bus, &me->w);
    the->outside(the, topic("watch").p, 0, "k", "too late");
    assert_true(turn_until(&me->done));
    assert_string_not_equal(me->values[me->n - 1], "too late");
    watch_end(me, RC_CANCELLED);
}

static void a_watch_begins_where_it_is_told(void **state)
{
    struct watcher *me;
    struct bus_topic t;

    (void)state;
    assert_int_equal(ensure(&t, topic("from"), 1), RC_OK);
    for (unsigned i = 0; i < 3; i++) {
        char text[8];

        snprintf(text, sizeof text, "%u", i);
        the->outside(the, topic("from").p, 0, "k", text);
    }
    me = watch("from", 2);
    watch_until(me, 1, true);
    assert_string_equal(me->values[0], "2");
    bus_watch_stop(the->bus, &me->w);
    bus_watch_stop(the->bus, &me->w); /* twice is fine */
    watch_end(me, RC_CANCELLED);

    me = watch("from", -2);
    stand_at(me, 3); /* the end is where it is when the watch has begun */
    the->outside(the, topic("from").p, 0, "k", "3");
    watch_until(me, 1, true);
    assert_string_equal(me->values[0], "3");
    bus_watch_stop(the->bus, &me->w);
    watch_end(me, RC_CANCELLED);
}

static void a_watch_says_how_far_it_is_when_asked(void **state)
{
    struct watcher *me;
    struct bus_topic t;
    struct bus_append a;
    uint64_t until = now_ms() + PATIENCE_MS;

    (void)state;
    assert_int_equal(ensure(&t, topic("far"), 1), RC_OK);
    me = watch("far", 0);
    me->told = true;
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(append_text(&a, topic("far"), 0, "own"), RC_OK);
    while (me->next < 3 && now_ms() < until) {
        bus_watch_tell(the->bus, &me->w);
        loop_turn(the->loop, 20);
        want_more(me);
    }
    assert_int_equal(me->next, 3);
    if (!the->own_are_watched) assert_int_equal(me->n, 0);
    bus_watch_stop(the->bus, &me->w);
    watch_end(me, RC_CANCELLED);
}

static void a_watch_that_cannot_go_on_ends(void **state)
{
    struct watcher *me = watch("unwatchable", 0);
    struct bus_topic t;

    (void)state;
    watch_end(me, RC_NOT_FOUND);
    assert_int_equal(ensure(&t, topic("watched"), 1), RC_OK);
    me = watch("watched", 0);
    loop_turn(the->loop, 50);
    t = (struct bus_topic){.topic = topic("watched")};
    begin(&t.op);
    bus_topic_delete(the->bus, &t);
    assert_int_equal(end(&t.op), RC_OK);
    watch_end(me, RC_NOT_FOUND);
}

/* ---- committed offsets ---- */

static enum rc committed(struct bus_commit *c, const char *group, const char *name, size_t n)
{
    *c = (struct bus_commit){.group = topic(group), .topic = topic(name), .offsets_n = n};
    begin(&c->op);
    bus_committed(the->bus, c);
    return end(&c->op);
}

static enum rc commit(const char *group, const char *name, struct bus_offset *offsets, size_t n)
{
    struct bus_commit c = {
        .group = topic(group), .topic = topic(name), .offsets = offsets, .offsets_n = n};

    begin(&c.op);
    bus_commit(the->bus, &c);
    return end(&c.op);
}

static void committed_offsets_are_remembered_until_the_group_is_deleted(void **state)
{
    struct bus_offset os[] = {{0, 17, STR("")}, {2, 5, STR("some words")}};
    struct bus_commit c;
    struct bus_topic t;

    (void)state;
    assert_int_equal(ensure(&t, topic("committed"), 3), RC_OK);
    assert_int_equal(committed(&c, "group", "committed", 3), RC_OK);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(c.offsets[i].offset, -1);
    bus_committed_fini(&c);

    assert_int_equal(commit("group", "committed", os, 2), RC_OK);
    os[0].offset = 18;
    assert_int_equal(commit("group", "committed", os, 1), RC_OK);
    assert_int_equal(committed(&c, "group", "committed", 3), RC_OK);
    assert_int_equal(c.offsets[0].offset, 18);
    assert_int_equal(c.offsets[1].offset, -1);
    assert_int_equal(c.offsets[2].partition, 2);
    assert_int_equal(c.offsets[2].offset, 5);
    assert_str(c.offsets[2].metadata, "some words");
    bus_committed_fini(&c);

    for (unsigned i = 0; i < 2; i++) { /* also when there is none */
        c = (struct bus_commit){.group = topic("group")};
        begin(&c.op);
        bus_group_delete(the->bus, &c);
        assert_int_equal(end(&c.op), RC_OK);
    }
    assert_int_equal(committed(&c, "group", "committed", 1), RC_OK);
    assert_int_equal(c.offsets[0].offset, -1);
    bus_committed_fini(&c);
}

static void commits_that_cannot_be_are_refused(void **state)
{
    struct bus_offset o = {0, 1, STR("")};
    char words[4097];

    (void)state;
    memset(words, 'x', sizeof words);
    assert_int_equal(commit("group", "none", &o, 1), RC_NOT_FOUND);
    o.metadata = (struct str){words, sizeof words};
    assert_int_equal(commit("group", "committed", &o, 1), RC_TOO_LARGE);
}

/* ---- facts ---- */

static void the_bus_says_what_it_is(void **state)
{
    const struct bus_facts *facts = bus_facts(the->bus);
    struct str why;

    (void)state;
    assert_true(facts->cluster_id[0] != 0);
    assert_true(facts->incarnation[0] != 0);
    assert_true(bus_ready(the->bus, &why));
}

int contract_run(struct contract *c)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bus_says_what_it_is),
        cmocka_unit_test(a_topic_is_made_once_and_described),
        cmocka_unit_test(configs_are_set_and_unknown_ones_given_up),
        cmocka_unit_test(what_does_not_exist_says_so),
        cmocka_unit_test(topics_are_listed_by_prefix),
        cmocka_unit_test(records_come_back_as_they_went),
        cmocka_unit_test(appends_keep_their_order),
        cmocka_unit_test(an_append_that_need_not_wait_is_there_all_the_same),
        cmocka_unit_test(what_is_too_large_or_nothing_is_refused),
        cmocka_unit_test(a_fetch_that_does_not_wait_sees_all_that_was_acknowledged_before),
        cmocka_unit_test(a_fetch_waits_for_the_first_record),
        cmocka_unit_test(a_deadline_before_the_wait_is_over_is_a_timeout),
        cmocka_unit_test(a_watch_shows_what_others_append),
        cmocka_unit_test(a_watch_begins_where_it_is_told),
        cmocka_unit_test(a_watch_says_how_far_it_is_when_asked),
        cmocka_unit_test(a_watch_that_cannot_go_on_ends),
        cmocka_unit_test(committed_offsets_are_remembered_until_the_group_is_deleted),
        cmocka_unit_test(commits_that_cannot_be_are_refused),
    };

    the = c;
    if (getenv("TEST"))
        cmocka_set_test_filter(getenv("TEST")); /* TEST='*watch*' runs some of them */
    return cmocka_run_group_tests_name(c->bus->facts.embedded ? "the bus's contract, embedded"
                                                              : "the bus's contract, remote",
                                       tests, NULL, NULL);
}
