/* tests/support/fake_bus.h - a bus in memory, with failures and delays on demand.
 *
 * Everything happens on the test's thread. An operation is carried out when it is started and its answer posted to the
 * asker's mailbox, or kept back while the bus holds. SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "bus/bus.h"

enum fake_kind { FAKE_APPEND, FAKE_FETCH, FAKE_ENSURE, FAKE_DESCRIBE, FAKE_DELETE, FAKE_COMMIT, FAKE_COMMITTED, FAKE_GROUP_DELETE };

struct fake_header { struct buf key, value; };
struct fake_record {
    int64_t timestamp_ms;
    bool key_null, value_null, outside;
    struct buf key, value;
    struct fake_header *headers;
    size_t headers_n;
};
struct fake_partition { struct fake_record *records; size_t n, cap, start; };
struct fake_topic { struct buf name; struct bus_uuid id; int32_t partitions_n; struct fake_partition *partitions;
                    char cleanup_policy[32]; };

struct fake_bus {
    struct bus bus;
    struct fake_topic **topics;
    size_t topics_n;
    uint8_t next_id;
    struct { struct buf group, topic; int32_t partition; int64_t offset; struct buf metadata; } *offsets;
    size_t offsets_n;
    struct fake_watch { struct bus_watch *w; bool armed, posted, stopping, tell; } *watches;
    size_t watches_n;
    struct bus_fetch **waits; size_t waits_n;    /* fetches that wait for records */
    /* What to do to the next operations: */
    bool hold;                                   /* answers wait for fake_bus_release() */
    bool hold_appends;                           /* those of appends do */
    struct msg *held, **held_end;
    struct mailbox *held_to[4096];
    size_t held_n;
    enum rc (*fail)(void *ctx, enum fake_kind kind, struct str topic, struct err *e);    /* NULL: nothing fails */
    void *fail_ctx;
    bool not_ready;
    struct bus_member *member;                   /* who has joined; NULL: nobody */
    unsigned given;                              /* how often numbers were given up */
    const char *stranger, *stranger_topic;       /* a group with members, and what they read; NULL: none */
    int64_t wall_ms;                             /* for records without a timestamp */
    uint64_t appends, commits, fetched;          /* fetched: records */
};

struct fake_bus *fake_bus_new(void);
void fake_bus_share(struct fake_bus *b);         /* before anybody uses it: it is one that several processes share */
struct bus *fake_bus_close(struct fake_bus *b);
void fake_bus_restart(struct fake_bus *b, const char *incarnation);     /* the log stays, the process is another one */
void fake_bus_tick(struct fake_bus *b);                                 /* fetches have waited long enough */
void fake_bus_release(struct fake_bus *b);                              /* posts what was held and stops holding */
struct fake_topic *fake_bus_topic(struct fake_bus *b, const char *name);        /* NULL when it is not there */
void fake_bus_make(struct fake_bus *b, const char *topic, int32_t partitions);
void fake_bus_remove(struct fake_bus *b, const char *topic);            /* somebody deletes it */
void fake_bus_trim(struct fake_bus *b, const char *topic, int32_t partition, size_t start);         /* what lay before it is gone */
void fake_bus_grow(struct fake_bus *b, const char *topic, int32_t partitions);  /* somebody adds partitions */
const struct fake_record *fake_bus_record(struct fake_bus *b, const char *topic, int32_t partition, size_t i);
size_t fake_bus_count(struct fake_bus *b, const char *topic);           /* records in all its partitions */
struct str fake_record_header(const struct fake_record *r, const char *name);  /* the first; empty when absent */
/* As a producer that is not this process would: the watches hear of it. Creates the topic. */
int64_t fake_bus_produce(struct fake_bus *b, const char *topic, int32_t partition, const struct bus_record *record);
/* An append, all at once and without an answer: its offset, or -1 when there is no such partition. outside: watches tell of it. */
int64_t fake_bus_land(struct fake_bus *b, struct str topic, int32_t partition, const struct bus_record *record, bool outside);
int64_t fake_bus_committed(struct fake_bus *b, const char *group, const char *topic, int32_t partition);     /* -1: none */
