/* tests/unit/bus/contract.h - what every bus must do, tested against struct bus alone.
 *
 * Who has a bus makes a struct contract of it and calls contract_run(): the same tests then hold for the embedded broker,
 * for librdkafka and for a real Kafka behind it. Used by: tests/unit/bus, tests/e2e.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "bus/bus.h"
#include "net/loop.h"

struct contract {
    struct bus *bus;
    struct loop *loop;                   /* the asker's; turned by the tests */
    const char *prefix;                  /* of all topics and groups: nobody else uses it */
    size_t message_bytes_max;            /* of one append; 0: too large to be tried */
    bool ids_are_names;                  /* a topic made again has the id of the one before */
    bool own_are_watched;                /* a watch shows the bus's own records too */
    /* Appends one record without the bus, and waits for it. */
    void (*outside)(struct contract *c, const char *topic, int32_t partition, const char *key, const char *value);
    void *ctx;
};

/* As cmocka_run_group_tests(): the number of failures. */
int contract_run(struct contract *c);
