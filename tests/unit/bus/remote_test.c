/* SPDX-License-Identifier: Apache-2.0
 *
 * The remote bus under the same contract: librdkafka speaks to our own broker over a socket, or to the Kafka whose address is
 * the argument (tests/e2e/test_045_bus.py gives that of a real Apache Kafka 3.8.1).
 */
#include "base/rng.h"
#include "bus/remote.h"
#include "house.h"
#include "test.h"
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

static struct bus *connect(const char *address)
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
    c.bus = connect(argc < 2 ? address : argv[1]);
    c.ctx = other = connect(argc < 2 ? address : argv[1]);
    if (c.bus && other) failed = contract_run(&c);
    bus_close(other);
    bus_close(c.bus);
    if (argc < 2) house_close(&h);
    loop_free(c.loop);
    fs_sim_free(h.disk);
    return failed;
}
