/* broker/sasl.h - how the client of one connection says who it is (KIP-43, KIP-152, KIP-368).
 *
 *   START --handshake--> EXCHANGE --tokens--> DONE          or REFUSED: the answer says 58, and the connection is closed
 * Before DONE nothing but ApiVersions (once), SaslHandshake and SaslAuthenticate is taken. After a handshake of version 0 the
 * tokens travel without Kafka's headers (`raw`). A session has an end when connections.max.reauth.ms is set or a bearer token
 * has one: before it the client goes through the exchange again on the same connection, with the same mechanism and name;
 * after it nothing else is taken.
 * What takes long (a password's hash, keys that must be fetched) runs on a worker.
 * Lives on: the broker loop.   Used by: conn.c, api/sasl.c, sock.c.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "broker/scram.h"

enum sasl_mechanism { SASL_PLAIN = 1, SASL_SCRAM_SHA_256 = 2, SASL_SCRAM_SHA_512 = 4, SASL_OAUTHBEARER = 8, SASL_MECHANISMS = 15 };
const char *sasl_mechanism_name(enum sasl_mechanism m);
bool sasl_mechanism_of(struct str name, enum sasl_mechanism *ret);

enum { SASL_TOKEN_BYTES_MAX = 512 << 10 };               /* sasl.server.max.receive.size */

struct broker_conn;
struct sasl_job;
struct sasl {
    enum { SASL_START, SASL_EXCHANGE, SASL_DONE, SASL_REFUSED } state;
    bool versions_asked, raw;
    bool again;                          /* the session there is is being renewed */
    bool other_mechanism;                /* … with another mechanism: refused at the next token */
    enum sasl_mechanism mechanism;
    int  step;
    struct scram scram;
    uint64_t done_ms, session_end_ms;    /* monotonic; end 0: none */
};
struct sasl *sasl_new(void);
struct sasl *sasl_free(struct sasl *s);

/* May this request be taken now? Else *ret_why, and the connection is closed without an answer. */
bool sasl_lets(struct sasl *s, int16_t api_key, uint64_t now_ms, const char **ret_why);
static inline bool sasl_wants_raw(const struct sasl *s) { return s && s->raw && s->state == SASL_EXCHANGE; }
