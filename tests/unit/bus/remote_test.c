/* SPDX-License-Identifier: Apache-2.0
 *
 * The remote bus under the same contract: librdkafka speaks to our own broker over a socket, or to the Kafka whose address is
 * the argument (tests/e2e/test_045_bus.py gives that of a real Apache Kafka 3.8.1).
 */
#include "base/rng.h"
#include "bus/remote_core.h"
#include "house.h"
#include "test.h"
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

static struct bus *bus_at(const char *address)
{
    struct remote_options o = {.bootstrap = str_of(address),
                               .session_timeout_ms = 6000,
                               .metadata_refresh_ms = 300000,
                               .metadata_propagation_ms = 1500,
                               .consume_bytes_max = 2 << 20,
                               .produce_bytes_max = 1 << 20,
                               .connect_ms = 10000};
    struct bus *b = NULL;
    struct err e;

    if (bus_remote_open(&o, &b, &e)) fprintf(stderr, "%s\n", e.text);
    return b;
}

/* ---- a producer that fails for good ---- */

enum { MANY = 60, PATIENCE_TURNS = 1000 };
static struct contract *the;
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
        f = (struct bus_fetch){.topic = topic,
                               .offset = f.next_offset,
                               .size_max = 1 << 20,
                               .op = {.reply_to = loop_mailbox(the->loop), .done = on_done}};
        done_n = 0;
        bus_fetch(the->bus, &f);
        until_done(1);
        assert_int_equal(f.op.err.rc, RC_OK);
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
    struct bus_topic t = {.partitions = 1,
                          .replication = 1,
                          .op = {.reply_to = loop_mailbox(the->loop), .done = on_done}};
    unsigned times[MANY + 1] = {0}, refused = 0;
    char name[128];

    (void)state;
    snprintf(name, sizeof name, "%s.broken", the->prefix);
    t.topic = str_of(name);
    done_n = 0;
    bus_topic_ensure(the->bus, &t);
    until_done(1);
    assert_int_equal(t.op.err.rc, RC_OK);
    for (unsigned round = 0; round < 2; round++) { /* the first producer is a special one */
        done_n = 0;
        for (unsigned i = 0; i < MANY / 2; i++)
            append_number(&as[round * MANY / 2 + i], t.topic, round * MANY / 2 + i);
        mailbox_post(loop_mailbox(b.r->loop), &b.msg);
        until_done(MANY / 2);
    }
    done_n = 0;
    append_number(&as[MANY], t.topic, MANY);
    until_done(1);
    assert_int_equal(as[MANY].op.err.rc, RC_OK);
    numbers_count(t.topic, times);
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
    c.bus = bus_at(argc < 2 ? address : argv[1]);
    c.ctx = other = bus_at(argc < 2 ? address : argv[1]);
    if (c.bus && other) failed = contract_run(&c) + run_ours(&c);
    bus_close(other);
    bus_close(c.bus);
    if (argc < 2) house_close(&h);
    loop_free(c.loop);
    fs_sim_free(h.disk);
    return failed;
}
