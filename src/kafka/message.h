/* kafka/message.h - what every generated message has in common, and the tables over all of them.
 *
 * The schema (schema/kafka) gives, for each message X: struct X and its parts, X_init_defaults(), X_decode() and X_encode(),
 * and X_message below. Include "kafka/msg/<file>.h" for one file of the schema or "kafka/msg/all.h" for everything.
 *
 *   X_init_defaults(m)            the protocol's defaults, for building a message. Part structs have theirs too.
 *   X_decode(r, version, a, ret)  reads the body, not the header. False: rd_err(r) says why, and *ret is not to be used.
 *                                 Strings, bytes and records are views of the input; arrays are in the arena. What the
 *                                 version lacks has its default. Bytes behind the body are left to the caller.
 *                                 Whatever the input, the arena gives at most 40 bytes for each byte of it.
 *   X_encode(w, version, m)       appends the body. Fields that the version lacks are dropped. False: see wr.failed.
 *
 * A field that may be null has .p == NULL (strings, bytes, records), name_null (arrays) or is a NULL pointer (structs).
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "kafka/api.h"

enum kafka_message_kind { KAFKA_MESSAGE_REQUEST, KAFKA_MESSAGE_RESPONSE, KAFKA_MESSAGE_DATA };

struct kafka_message {
    const char             *name;                                  /* "Produce", "Produce response", "offset commit key" */
    enum kafka_message_kind kind;
    int16_t                 key, min, max, flex_from;              /* key -1: not an API's */
    size_t                  size;                                  /* of the struct */
    size_t                  throttle_at;                           /* offset of throttle_time_ms, an int32_t; SIZE_MAX: it has none */
    void (*init_defaults)(void *m);
    bool (*decode)(struct rd *r, int16_t version, struct arena *a, void *ret);
    bool (*encode)(struct wr *w, int16_t version, const void *m);
};

extern const struct kafka_message *const kafka_messages[];
extern const size_t                      kafka_messages_n;
extern const struct kafka_api            kafka_api_table[KAFKA_API_KEY_MAX + 1];

const struct kafka_message *kafka_message_of(enum kafka_message_kind kind, int16_t key);   /* NULL: no such API */

/* For the generated decoders: names what is read, and refuses a version outside the schema's. */
void rd_message(struct rd *r, const char *what, int16_t version, int16_t min, int16_t max);
