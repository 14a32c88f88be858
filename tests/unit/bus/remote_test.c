/* SPDX-License-Identifier: Apache-2.0
 *
 * The remote bus under the same contract: librdkafka speaks to our own broker over a socket, or to the Kafka whose address is
 * the argument (tests/e2e/test_045_bus.py gives that of a real Apache Kafka 3.8.1).
 */
#include "base/rng.h"
#include "bus/remote_core.h"
#include "house.h"
#include "test.h"
#include <dirent.h>
#include <dlfcn.h>
#include <stdio.h>

static bool appended;

static void on_appended(struct bus_op *op)
{
    appended = op->err.rc == RC_OK;
}

/* Somebody else: another client. */
static void outside(struct contract *c, const char *topic, int32_t partition, const char *key,
                    const char *value)
{
    struct bus_record r = {
        .timestamp_ms = -1, .key = str_bytes(str_of(key)), .value = str_bytes(str_of(value))};
    struct bus_append a = {.topic = str_of(topic),
                           .partition = partition,
                           .op = {.reply_to = loop_mailbox(c->loop), .done = on_appended}};

    appended = false;
    bus_append(c->ctx, &a, &r, 1);
    for (unsigned i = 0; i < 1000 && !appended; i++)
        loop_turn(c->loop, 20);
    assert_true(appended);
}

static struct bus *bus_with(const char *address, const struct remote_property *consumer, size_t consumer_n)
{
    struct remote_options o = {.bootstrap = str_of(address),
                               .session_timeout_ms = 6000,
                               .metadata_refresh_ms = 300000,
                               .metadata_propagation_ms = 1500,
                               .consume_bytes_max = 2 << 20,
                               .produce_bytes_max = 1 << 20,
                               .consumer = consumer,
                               .consumer_n = consumer_n,
                               .connect_ms = 10000};
    struct bus *b = NULL;
    struct err e;

    if (bus_remote_open(&o, &b, &e)) fprintf(stderr, "%s\n", e.text);
    return b;
}

static struct bus *bus_at(const char *address)
{
    return bus_with(address, NULL, 0);
}

enum { MANY = 60, PATIENCE_TURNS = 1000 };
static struct contract *the;
static const char *kafka;                        /* where it is */
static unsigned done_n;

static void on_done(struct bus_op *op)
{
    (void)op;
    done_n++;
}

static void until_done(unsigned n)
{
    for (unsigned i = 0; i < PATIENCE_TURNS && done_n < n; i++)
        loop_turn(the->loop, 20);
    assert_int_equal(done_n, n);
}

static void topic_make(const char *name)
{
    struct bus_topic t = {.topic = str_of(name), .partitions = 1, .replication = 1, .op = {.reply_to = loop_mailbox(the->loop), .done = on_done}};

    done_n = 0;
    bus_topic_ensure(the->bus, &t);
    until_done(1);
    assert_int_equal(t.op.err.rc, RC_OK);
    bus_topic_fini(&t);
}

static void fetch_from(struct bus *b, const char *topic, int64_t offset, struct bus_fetch *ret)
{
    *ret = (struct bus_fetch){.topic = str_of(topic), .offset = offset, .size_max = 1 << 20, .op = {.reply_to = loop_mailbox(the->loop), .done = on_done}};
    done_n = 0;
    bus_fetch(b, ret);
    until_done(1);
    assert_int_equal(ret->op.err.rc, RC_OK);
}

/* ---- what a fetch sees ---- */

/* The broker holds its answer to the reader back for longer than the writer's acknowledgement takes. */
static void a_fetch_at_an_end_that_was_told_before_asks_again(void **state)
{
    static const struct remote_property slow[] = {{{"fetch.min.bytes", 15}, {"100000", 6}}, {{"fetch.wait.max.ms", 17}, {"100", 3}}};
    struct bus *b = bus_with(kafka, slow, countof(slow));
    struct bus_fetch f;
    char name[128];

    (void)state;
    assert_non_null(b);
    snprintf(name, sizeof name, "%s.ends", the->prefix);
    topic_make(name);
    for (int i = 0; i < 2; i++) {
        fetch_from(b, name, i, &f);
        assert_int_equal(f.records_n, 0);
        assert_int_equal(f.end_offset, i);
        bus_fetch_fini(&f);
        outside(the, name, 0, "k", "new");
        fetch_from(b, name, i, &f);
        assert_int_equal(f.records_n, 1);
        assert_int_equal(f.end_offset, i + 1);
        bus_fetch_fini(&f);
    }
    bus_close(b);
}

/* Clients of the library's own. */
#define LIBRARY_FUNCTIONS(X)                                                                                                      \
    X(rd_kafka_conf_new) X(rd_kafka_conf_set) X(rd_kafka_new) X(rd_kafka_init_transactions) X(rd_kafka_begin_transaction)         \
    X(rd_kafka_producev) X(rd_kafka_flush) X(rd_kafka_commit_transaction) X(rd_kafka_destroy)                                       \
    X(rd_kafka_topic_partition_list_new) X(rd_kafka_topic_partition_list_add) X(rd_kafka_topic_partition_list_destroy)             \
    X(rd_kafka_subscribe) X(rd_kafka_consumer_poll) X(rd_kafka_message_destroy) X(rd_kafka_assignment)
struct library {
#define FIELD(name) __typeof__(name) *name;
    LIBRARY_FUNCTIONS(FIELD)
#undef FIELD
};

static void *library_open(struct library *k)
{
    void *library = dlopen("librdkafka.so.1", RTLD_NOW | RTLD_LOCAL);

#define FIND(name) *(void **)(void *)&k->name = dlsym(library, #name);
    LIBRARY_FUNCTIONS(FIND)
#undef FIND
    return library;
}

static rd_kafka_t *client_new(const struct library *k, rd_kafka_type_t type, const char *const *properties, size_t n)
{
    rd_kafka_conf_t *conf = k->rd_kafka_conf_new();
    char why[512];
    rd_kafka_t *rk;

    assert_int_equal(k->rd_kafka_conf_set(conf, "bootstrap.servers", kafka, why, sizeof why), RD_KAFKA_CONF_OK);
    for (size_t i = 0; i < n; i += 2)
        assert_int_equal(k->rd_kafka_conf_set(conf, properties[i], properties[i + 1], why, sizeof why), RD_KAFKA_CONF_OK);
    rk = k->rd_kafka_new(type, conf, why, sizeof why);
    assert_non_null(rk);
    return rk;
}

static rd_kafka_t *transaction_begin(const struct library *k, const char *topic)
{
    rd_kafka_t *rk = client_new(k, RD_KAFKA_PRODUCER, (const char *const[]){"transactional.id", topic}, 2);

    assert_null(k->rd_kafka_init_transactions(rk, 20000));
    assert_null(k->rd_kafka_begin_transaction(rk));
    assert_int_equal(k->rd_kafka_producev(rk, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(0), RD_KAFKA_V_VALUE("open", 4), RD_KAFKA_V_END), 0);
    assert_int_equal(k->rd_kafka_flush(rk, 20000), 0);
    return rk;
}

static void a_fetch_that_shows_all_that_is_decided_has_reached_the_end(void **state)
{
    struct library k;
    void *library = library_open(&k);
    struct bus_fetch f;
    rd_kafka_t *rk;
    char name[128];

    (void)state;
    snprintf(name, sizeof name, "%s.undecided", the->prefix);
    topic_make(name);
    outside(the, name, 0, "k", "first");
    rk = transaction_begin(&k, name);
    fetch_from(the->bus, name, 1, &f);
    assert_int_equal(f.records_n, 0);
    assert_int_equal(f.next_offset, 1);
    assert_int_equal(f.end_offset, 1);
    bus_fetch_fini(&f);
    assert_null(k.rd_kafka_commit_transaction(rk, 20000));
    fetch_from(the->bus, name, 1, &f);
    assert_int_equal(f.records_n, 1);
    bus_fetch_fini(&f);
    k.rd_kafka_destroy(rk);
    dlclose(library);
}

/* ---- a member that is refused ---- */

static void nothing_taken(struct bus_member *m, const int32_t *numbers, size_t n)
{
    (void)m, (void)numbers, (void)n;
    fail_msg("a group of other members gave something");
}

static void nothing_wanted(struct bus_member *m, const int32_t *numbers, size_t n, bool lost)
{
    (void)m, (void)numbers, (void)n, (void)lost;
    fail_msg("a group of other members wanted something back");
}

/* A member of another kind, with the topic in its hands. */
static rd_kafka_t *group_hold(const struct library *k, const char *topic)
{
    rd_kafka_t *rk = client_new(k, RD_KAFKA_CONSUMER, (const char *const[]){"group.id", topic, "partition.assignment.strategy", "range"}, 4);
    rd_kafka_topic_partition_list_t *list = k->rd_kafka_topic_partition_list_new(1);
    int held = 0;

    k->rd_kafka_topic_partition_list_add(list, topic, RD_KAFKA_PARTITION_UA);
    assert_int_equal(k->rd_kafka_subscribe(rk, list), 0);
    k->rd_kafka_topic_partition_list_destroy(list);
    for (unsigned i = 0; i < PATIENCE_TURNS && !held; i++) {
        rd_kafka_message_t *m = k->rd_kafka_consumer_poll(rk, 20);

        if (m) k->rd_kafka_message_destroy(m);
        assert_int_equal(k->rd_kafka_assignment(rk, &list), 0);
        held = list->cnt;
        k->rd_kafka_topic_partition_list_destroy(list);
    }
    assert_int_equal(held, 1);
    return rk;
}

static unsigned threads_now(void)
{
    DIR *d = opendir("/proc/self/task");
    unsigned n = 0;

    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

/* A data plane that may not join tries again each second: whatever a try leaves would pile up. */
static void a_member_that_is_refused_leaves_nothing_behind(void **state)
{
    struct library k;
    void *library = library_open(&k);
    struct bus_member m;
    rd_kafka_t *other;
    unsigned before;
    char name[128];

    (void)state;
    snprintf(name, sizeof name, "%s.held", the->prefix);
    topic_make(name);
    other = group_hold(&k, name);
    before = threads_now();
    for (int i = 0; i < 2; i++) {
        m = (struct bus_member){.op = {.reply_to = loop_mailbox(the->loop), .done = on_done},
                                .group = str_of(name), .topic = str_of(name), .taken = nothing_taken, .wanted = nothing_wanted};
        done_n = 0;
        bus_join(the->bus, &m);
        until_done(1);
        assert_int_equal(m.op.err.rc, RC_INVALID);
        for (unsigned turn = 0; turn < PATIENCE_TURNS && threads_now() > before; turn++)
            loop_turn(the->loop, 5);
        assert_int_equal(threads_now(), before);
    }
    k.rd_kafka_destroy(other);
    dlclose(library);
}

/* ---- a producer that fails for good ---- */

static void append_number(struct bus_append *a, struct str topic, unsigned number)
{
    char text[16];
    struct bus_record r = {
        .timestamp_ms = -1,
        .value = bytes_of(text, (size_t)snprintf(text, sizeof text, "%u", number))};

    *a = (struct bus_append){.topic = topic,
                             .op = {.reply_to = loop_mailbox(the->loop), .done = on_done}};
    bus_append(the->bus, a, &r, 1);
}

struct breaking {
    struct msg msg;
    struct remote *r;
};

static void on_break(struct msg *m)
{
    struct remote *r = container_of(m, struct breaking, msg)->r;
    void *library = dlopen("librdkafka.so.1", RTLD_NOW | RTLD_LOCAL);
    __typeof__(rd_kafka_test_fatal_error) *fatal;

    *(void **)(void *)&fatal = dlsym(library, "rd_kafka_test_fatal_error");
    fatal(r->senders[LANE_ALL]->rk, RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, "as a test wants it");
    dlclose(library);
}

/* How often each number is in the log. */
static void numbers_count(struct str topic, unsigned *times)
{
    struct bus_fetch f = {.next_offset = 0};

    do {
        fetch_from(the->bus, topic.p, f.next_offset, &f);
        for (size_t i = 0; i < f.records_n; i++) {
            char text[16];

            snprintf(text, sizeof text, STR_FMT, STR_ARG(bytes_str(f.records[i].value)));
            times[strtoul(text, NULL, 10) % (MANY + 1)]++;
        }
        bus_fetch_fini(&f);
    } while (f.next_offset < f.end_offset);
}

static void a_producer_that_failed_for_good_is_made_anew_and_nothing_is_called_written_that_is_not(
    void **state)
{
    struct bus_append as[MANY + 1];
    struct breaking b = {.msg.run = on_break, .r = container_of(the->bus, struct remote, bus)};
    unsigned times[MANY + 1] = {0}, refused = 0;
    char name[128];

    (void)state;
    snprintf(name, sizeof name, "%s.broken", the->prefix);
    topic_make(name);
    for (unsigned round = 0; round < 2; round++) { /* the first producer is a special one */
        done_n = 0;
        for (unsigned i = 0; i < MANY / 2; i++)
            append_number(&as[round * MANY / 2 + i], str_of(name), round * MANY / 2 + i);
        mailbox_post(loop_mailbox(b.r->loop), &b.msg);
        until_done(MANY / 2);
    }
    done_n = 0;
    append_number(&as[MANY], str_of(name), MANY);
    until_done(1);
    assert_int_equal(as[MANY].op.err.rc, RC_OK);
    numbers_count(str_of(name), times);
    for (unsigned i = 0; i < MANY; i++) {
        enum rc rc = as[i].op.err.rc;

        assert_true(rc == RC_OK || rc == RC_UNAVAILABLE || rc == RC_TIMEOUT);
        refused += rc != RC_OK;
        if (rc != RC_TIMEOUT) assert_int_equal(times[i], rc == RC_OK);
    }
    assert_int_equal(times[MANY], 1);
    assert_true(refused > 0);
}

static int run_ours(struct contract *c)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fetch_at_an_end_that_was_told_before_asks_again),
        cmocka_unit_test(a_fetch_that_shows_all_that_is_decided_has_reached_the_end),
        cmocka_unit_test(a_member_that_is_refused_leaves_nothing_behind),
        cmocka_unit_test(a_producer_that_failed_for_good_is_made_anew_and_nothing_is_called_written_that_is_not),
    };

    the = c;
    if (getenv("TEST")) cmocka_set_test_filter(getenv("TEST"));
    return cmocka_run_group_tests_name("the remote bus alone", tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    struct house h = {0};
    struct contract c = {.message_bytes_max = 1 << 20,
                         .ids_are_names = true,
                         .own_are_watched = true,
                         .outside = outside};
    char address[64], prefix[64];
    struct bus *other;
    struct err e;
    int failed = 1;

    if (argc < 2) house_open(&h, 0, true);
    snprintf(address, sizeof address, "127.0.0.1:%u", h.port);
    snprintf(prefix, sizeof prefix, "contract-%llx", (unsigned long long)process_seed());
    c.prefix = prefix;
    if (loop_new(&clock_real, &c.loop, &e)) return 1;
    kafka = argc < 2 ? address : argv[1];
    c.bus = bus_at(kafka);
    c.ctx = other = bus_at(kafka);
    if (c.bus && other) failed = contract_run(&c) + run_ours(&c);
    bus_close(other);
    bus_close(c.bus);
    if (argc < 2) house_close(&h);
    loop_free(c.loop);
    fs_sim_free(h.disk);
    return failed;
}
