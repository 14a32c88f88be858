/* cli/kafka.h - requests in Kafka's protocol, for the commands that administrate: through a millrace's management API, by a
 * connection of our own (--bootstrap), or to a data folder that nobody serves (--offline). The requests are the same.
 *
 *     struct kafka k = {.cli = cli};
 *     if ((status = kafka_ask(&k, BUS_ASK_ANY, KAFKA_LIST_GROUPS, &q, &a)) == CLI_DONE) …   the answer lives as long as k
 *     kafka_end(&k);
 * Used by: cli/ only.     SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "bus/bus.h"
#include "bus/wire.h"
#include "cli/command.h"
#include "kafka/msg/api_versions.h"

struct kafka {
    struct cli *cli;
    struct arena arena;                          /* of all answers */
    bool known;
    struct api_versions_response versions;
    struct remote_property *properties; size_t properties_n;     /* --bootstrap */
    struct offline *offline;
    int16_t version;                             /* of the last request */
    /* How a frame travels; NULL: as the options say. */
    enum rc (*carry)(struct kafka *k, int32_t node, struct bytes frame, struct buf *ret, struct err *e);
    void *ctx;
};
/* One request to a broker (BUS_ASK_…, or its number), in the highest version that both sides have. Not CLI_DONE: the reason was
 * printed. What the answer itself says (error codes) is the caller's business. */
int kafka_ask(struct kafka *k, int32_t node, int16_t key, const void *request, void *ret);
/* … which prints nothing. */
enum rc kafka_try(struct kafka *k, int32_t node, int16_t key, const void *request, void *ret, struct err *e) MUST_USE;
/* The broker that leads a group or transactional id. */
int kafka_coordinator(struct kafka *k, struct str group, int32_t *ret);
int kafka_fail(const char *what, struct str name, int16_t code, struct str message);   /* prints; CLI_FAILED */
void kafka_end(struct kafka *k);
