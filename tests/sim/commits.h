/* tests/sim/commits.h - committed offsets as registers of the history: who commits writes down which commit it was, in the metadata
 * that travels with the offset, so that who fetches it can say which one it sees. SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "client.h"

struct commit { uint32_t log; int64_t offset; uint32_t begun; uint64_t value; };

/* Who commits: a member (generation > 0) or nobody in particular (-1, ""). */
struct committing { const char *group; struct str member; int32_t generation; bool newer; };      /* newer: the protocol with member epochs */

/* Begins a commit of one offset. The call's begun is its event; end it with commit_ended(). */
struct call *commit_ask(struct client *c, const struct committing *by, uint32_t log, int64_t offset,
                        void (*done)(struct client *c, struct call *k, const void *response));
/* Kafka's code, or -1 where the connection was lost. */
int16_t commit_ended(struct client *c, struct call *k, const struct committing *by, const struct offset_commit_response *a);
/* Looks at the group's offsets in all logs; committed_ended() says what was there: -1 none. False: no answer, or an error. */
struct call *committed_ask(struct client *c, const char *group, void (*done)(struct client *c, struct call *k, const void *response));
bool committed_ended(struct client *c, struct call *k, const char *group, const struct offset_fetch_response *a,
                     int64_t ret_offsets[DATA_LOGS]);
/* A value for a commit, and the metadata that tells it. */
uint64_t commit_value(struct world *w, int64_t offset, char metadata[32]);
uint64_t commit_value_of(struct str metadata, int64_t offset);
uint32_t commit_register(struct world *w, const char *group, uint32_t log);
uint32_t group_register(struct world *w, const char *group);
