/* bus/wire.h - one connection to a broker in Kafka's own protocol, for administration that librdkafka has no call for.
 *
 * It speaks as librdkafka is told to: the properties are its (security.protocol, sasl.*, ssl.*), and so are their defaults; a token is
 * given in a property of our own. One request at a time; everything blocks, up to timeout_ms each.
 * Lives on: a worker, or a command.   Used by: bus/remote_ask.c, cli.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "bus/remote.h"

/* A token for OAUTHBEARER, and what goes beside it: "\1name=value" each. */
#define WIRE_TOKEN "millrace.token"
#define WIRE_TOKEN_EXTENSIONS "millrace.token.extensions"

struct wire;
struct wire_options {
    const struct remote_property *properties;    /* borrowed for the life of the connection */
    size_t   properties_n;
    int32_t  node;                               /* BUS_ASK_ANY, BUS_ASK_CONTROLLER, or a broker's number */
    uint64_t timeout_ms;
    bool   (*go_on)(void *ctx);                  /* false: give up. NULL is fine */
    void    *ctx;
};
/* RC_UNAVAILABLE: one of bus/trouble.h, in its words. RC_NOT_FOUND: no such broker. RC_UNSUPPORTED: the mechanism. */
enum rc wire_open(const struct wire_options *o, struct wire **ret, struct err *e) MUST_USE;
struct wire *wire_close(struct wire *w);         /* NULL is fine; returns NULL */
/* A request without its size, and its answer without it. */
enum rc wire_ask(struct wire *w, struct bytes frame, struct buf *ret, struct err *e) MUST_USE;
struct str wire_peer(const struct wire *w);      /* "HOST:PORT" */

/* A request of ours as a frame, and what an answer says; the structs are those of kafka/msg. RC_INVALID: it is no such answer. */
void wire_encode(int16_t key, int16_t version, const void *request, struct buf *ret);
enum rc wire_decode(int16_t key, int16_t version, struct bytes answer, struct arena *a, void *ret, struct err *e) MUST_USE;
/* The highest version that we and the broker have, out of its ApiVersions (version 0). -1: it has none that we know. */
struct api_versions_response;
int16_t wire_version(const struct api_versions_response *theirs, int16_t key);
