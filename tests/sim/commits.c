/* SPDX-License-Identifier: Apache-2.0 */
#include "commits.h"

#include <stdio.h>

enum { OFFSET_BITS = 24 };

uint32_t commit_register(struct world *w, const char *group, uint32_t log)
{
    char name[80];

    snprintf(name, sizeof name, "offset of %s in %s", group, w->history.logs[log].name);
    return history_reg(&w->history, name);
}

uint32_t group_register(struct world *w, const char *group)
{
    char name[80];

    snprintf(name, sizeof name, "group %s", group);
    return history_reg(&w->history, name);
}

uint64_t commit_value(struct world *w, int64_t offset, char metadata[32])
{
    snprintf(metadata, 32, "c%llu", (unsigned long long)++w->commits);
    return w->commits << OFFSET_BITS | (uint64_t)offset;
}

uint64_t commit_value_of(struct str metadata, int64_t offset)
{
    int64_t n = 0;

    if (metadata.n > 1) (void)str_to_i64((struct str){metadata.p + 1, metadata.n - 1}, &n);
    return (uint64_t)n << OFFSET_BITS | (uint64_t)offset;
}

struct call *commit_ask(struct client *c, const struct committing *by, uint32_t log, int64_t offset,
                        void (*done)(struct client *c, struct call *k, const void *response))
{
    struct world *w = c->w;
    char text[32];
    uint64_t value = commit_value(w, offset, text);
    struct offset_commit_request_partition p = {.partition_index = data_logs[log].partition, .committed_offset = offset,
                                                .committed_leader_epoch = -1, .committed_metadata = str_of(text)};
    struct offset_commit_request_topic t = {.name = str_of(data_logs[log].topic), .partitions = &p, .partitions_n = 1};
    struct offset_commit_request q = {.group_id = str_of(by->group), .member_id = by->member, .generation_id_or_member_epoch = by->generation,
                                      .retention_time_ms = -1, .topics = &t, .topics_n = 1};
    struct call *k;

    k = client_ask(c, KAFKA_OFFSET_COMMIT, by->newer ? 9 : 8, &q, done);
    k->tag = value;
    k->log = log;
    k->begun = world_event(w, (struct event){.kind = EVENT_WRITE, .client = c->id, .reg = commit_register(w, by->group, log), .value = value, .offset = offset});
    return k;
}

int16_t commit_ended(struct client *c, struct call *k, const struct committing *by, const struct offset_commit_response *a)
{
    int16_t code = a ? a->topics[0].partitions[0].error_code : -1;
    bool unsure = code == -1 || code == KAFKA_ERR_KAFKA_STORAGE_ERROR || code == KAFKA_ERR_REQUEST_TIMED_OUT ||
                  code == KAFKA_ERR_COORDINATOR_NOT_AVAILABLE || code == KAFKA_ERR_NOT_COORDINATOR;

    world_event(c->w, (struct event){.kind = EVENT_WRITTEN, .client = c->id, .reg = commit_register(c->w, by->group, k->log), .begun = k->begun,
                                     .value = k->tag, .result = !code ? RESULT_OK : unsure ? RESULT_UNKNOWN : RESULT_FAILED,
                                     .log = k->log, .next = by->newer ? 0 : by->generation, .key = group_register(c->w, by->group)});
    return code;
}

struct call *committed_ask(struct client *c, const char *group, void (*done)(struct client *c, struct call *k, const void *response))
{
    struct offset_fetch_request_group g = {.group_id = str_of(group), .member_epoch = -1, .topics_null = true};
    struct offset_fetch_request q = {.groups = &g, .groups_n = 1, .require_stable = true};
    struct call *k = client_ask(c, KAFKA_OFFSET_FETCH, 8, &q, done);

    k->begun = world_event(c->w, (struct event){.kind = EVENT_LOOK, .client = c->id, .reg = group_register(c->w, group)});
    return k;
}

bool committed_ended(struct client *c, struct call *k, const char *group, const struct offset_fetch_response *a,
                     int64_t ret_offsets[DATA_LOGS])
{
    uint64_t values[DATA_LOGS] = {0};
    const struct offset_fetch_response_group *g = a ? &a->groups[0] : NULL;

    for (uint32_t i = 0; i < DATA_LOGS; i++)
        ret_offsets[i] = -1;
    if (!g || g->error_code) return false;
    for (size_t t = 0; t < g->topics_n; t++)
        for (size_t p = 0; p < g->topics[t].partitions_n; p++) {
            const struct offset_fetch_response_group_topic_partition *x = &g->topics[t].partitions[p];
            uint32_t log = data_log_of(g->topics[t].name, x->partition_index);

            if (x->error_code) return false;
            if (x->committed_offset < 0) continue;
            ret_offsets[log] = x->committed_offset;
            values[log] = commit_value_of(x->metadata, x->committed_offset);
        }
    for (uint32_t i = 0; i < DATA_LOGS; i++)
        world_event(c->w, (struct event){.kind = EVENT_SEEN, .client = c->id, .reg = commit_register(c->w, group, i), .log = i, .begun = k->begun,
                                         .value = values[i], .offset = ret_offsets[i]});
    return true;
}
