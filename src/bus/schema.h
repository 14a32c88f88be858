/* bus/schema.h - values as users of a Confluent schema registry write them: six bytes, then the protobuf message.
 *
 *     0   the id of the schema, 4 bytes big endian   0, which means the first message of the schema
 *
 * No protobuf message begins with a byte of zero (it would be a field of number 0), so a prefix is told from a message for
 * certain. The registry itself is spoken to by bus/registry.h; tests have one of their own.
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/bytes.h"
#include "base/err.h"
#include "sys/worker.h"

enum { SCHEMA_PREFIX_LEN = 6 };

void schema_prefix(int32_t id, uint8_t ret[SCHEMA_PREFIX_LEN]);
/* The message in a value: what follows the prefix, or all of it when there is none. Both ways of writing "the first message"
 * are known. Borrows. */
struct bytes schema_message(struct bytes value);
/* A prefix that means another message of its schema than the first; such a value is not one of ours. */
bool schema_other_message(struct bytes value);
/* What is registered for the values of inputs topics (ModelInferRequest), or outputs topics (ModelInferResponse). */
const char *schema_text(bool outputs);

/* One question. The asker lends it until `done`, which is called exactly once on the loop of reply_to. */
struct schema_ask {
    struct work work;                            /* the registry's own until done */
    struct schema_registry *registry;            /* the registry's own */
    struct mailbox *reply_to;
    struct str topic;                            /* borrowed */
    bool outputs;
    bool forget;                                 /* the topic is gone: so is to be its subject */
    int32_t id;                                  /* out */
    struct err err;                              /* out: RC_OK, or RC_UNAVAILABLE, RC_TIMEOUT (later it may work), RC_AUTH,
                                                    RC_DENIED, RC_INVALID, RC_UNSUPPORTED, RC_CANCELLED */
    void (*done)(struct schema_ask *a);
};
struct schema_registry { void (*ask)(struct schema_registry *r, struct schema_ask *a); };
