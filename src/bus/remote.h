/* bus/remote.h - the bus on an Apache Kafka cluster, by librdkafka (loaded when the first one is opened).
 *
 * Owns a loop of its own ("mr-remote"), two producers (acks=all, and acks=1 at the first use of BUS_CACHE), consumers for
 * readers, and two worker threads for administration, which blocks. Library threads do nothing but wake the loop.
 * Used by: app.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "bus/bus.h"
#include "bus/remote_security.h"

struct remote_property { struct str name, value; };      /* librdkafka's names */
struct remote_options {                                  /* borrowed for the call */
    struct str bootstrap;                                /* host:port,… */
    struct str debug;
    uint64_t   session_timeout_ms, metadata_refresh_ms, metadata_propagation_ms, linger_ms;
    size_t     consume_bytes_max, produce_bytes_max;     /* messageMaxBytes of either side */
    const struct remote_property *consumer, *producer;   /* any other property; wins over ours */
    size_t     consumer_n, producer_n;
    int32_t    replication;                              /* wanted of topics: the capability table compares it */
    const struct remote_security *security;              /* NULL: PLAINTEXT */
    uint64_t   connect_ms;                               /* how long to look for the cluster at the start */
    bool     (*go_on)(void *ctx);                        /* asked ten times a second meanwhile; false: give up. NULL is fine */
    void      *ctx;
};

/* Blocks until the cluster has told its id. RC_UNAVAILABLE: no broker answered in time; RC_CANCELLED: go_on said no;
 * RC_INVALID: a property is refused; RC_UNSUPPORTED: librdkafka is not installed. */
enum rc bus_remote_open(const struct remote_options *o, struct bus **ret, struct err *e) MUST_USE;
/* How long a broker takes to answer a question about itself. Blocks; not on a loop. */
enum rc bus_remote_round_trip(struct bus *b, uint64_t *ret_us, struct err *e) MUST_USE;
