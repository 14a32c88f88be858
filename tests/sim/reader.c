/* Readers of all logs from their starts, with and without fetch sessions; and the auditors, who do it once more at the end.
 * SPDX-License-Identifier: Apache-2.0 */
#include "commits.h"

struct reader {
    struct client c;
    bool committed, auditor;
    bool sessions;                       /* incremental fetches */
    int16_t version;
    int64_t position[DATA_LOGS];         /* -1: to be asked for */
    int64_t high[DATA_LOGS];             /* as the last fetch said */
    int64_t told[DATA_LOGS];             /* the position the session knows */
    int32_t session, epoch;
    uint32_t asked;                      /* the log whose start is being asked for */
    bool ended[DATA_LOGS];               /* the auditor is at the end */
    unsigned looked;                     /* groups of processors: … and has seen how far the processors have committed */
    uint64_t whole_us;                   /* the fetch that was begun then told the ends of all logs */
    uint64_t begun_us;
};

static struct reader *reader_of(struct client *c) { return container_of(c, struct reader, c); }

static void look(struct reader *r);

/* ---- where to begin ---- */

static void on_start(struct client *c, struct call *k, const void *response)
{
    struct reader *r = reader_of(c);
    const struct list_offsets_response *a = response;

    if (!a) return;
    if (!a->topics[0].partitions[0].error_code) {
        r->position[k->log] = a->topics[0].partitions[0].offset;
        world_event(c->w, (struct event){.kind = EVENT_SEEK, .client = c->id, .log = k->log, .offset = r->position[k->log]});
    }
    client_wake(c, a->topics[0].partitions[0].error_code ? world_duration(c->w, 1000, 50000) : 1);
}

static bool starts_known(struct reader *r)
{
    for (uint32_t i = 0; i < DATA_LOGS; i++) {
        if (r->position[i] >= 0) continue;
        client_ask_offset(&r->c, i, -2, false, on_start);
        return false;
    }
    return true;
}

/* ---- reading ---- */

static void audit_ended(struct reader *r, uint32_t log, const struct fetch_response_partition *p)
{
    if (!r->auditor || r->ended[log] || r->position[log] < p->high_watermark) return;
    r->ended[log] = true;
    if (!r->committed)
        world_event(r->c.w, (struct event){.kind = EVENT_FINAL, .client = r->c.id, .log = log, .offset = p->log_start_offset,
                                           .next = p->high_watermark, .value = (uint64_t)p->last_stable_offset});
}

static void on_partition(struct reader *r, uint32_t log, const struct fetch_response_partition *p)
{
    if (p->error_code == KAFKA_ERR_OFFSET_OUT_OF_RANGE) r->position[log] = -1;
    if (p->error_code) return;
    records_take(&r->c, log, r->committed, 0, p, &r->position[log]);
    r->high[log] = p->high_watermark;
    audit_ended(r, log, p);
}

static void on_fetched(struct client *c, struct call *k, const void *response)
{
    struct reader *r = reader_of(c);
    const struct fetch_response *a = response;
    unsigned logs = 0;

    (void)k;
    if (!a) return;
    if (a->error_code) {
        r->session = 0;
        r->epoch = 0;
    } else if (r->sessions) {
        r->session = a->session_id;
        r->epoch = r->session ? r->epoch + 1 : 0;
    }
    for (size_t t = 0; t < a->topics_n; t++)
        for (size_t p = 0; p < a->topics[t].partitions_n; p++, logs++)
            on_partition(r, data_log_of(a->topics[t].topic, a->topics[t].partitions[p].partition_index), &a->topics[t].partitions[p]);
    if (logs == DATA_LOGS) r->whole_us = r->begun_us;
    client_wake(c, world_duration(c->w, 10, r->auditor ? 100 : 30000));
}

static void look(struct reader *r)
{
    struct fetch_request_partition p[DATA_LOGS];
    struct fetch_request_topic t[DATA_LOGS];
    struct fetch_request q;

    fetch_request_init_defaults(&q);
    q.max_wait_ms = r->c.w->finishing ? 1 : (int32_t)world_pick(r->c.w, 200);
    q.min_bytes = 1;
    q.isolation_level = r->committed;
    q.session_id = r->session;
    q.session_epoch = r->sessions ? r->epoch : -1;
    q.topics = t;
    r->begun_us = r->c.w->now_us;
    for (uint32_t i = 0; i < DATA_LOGS; i++) {
        if (r->sessions && r->epoch && r->told[i] == r->position[i]) continue;
        fetch_request_topic_init_defaults(&t[q.topics_n]);
        fetch_request_partition_init_defaults(&p[q.topics_n]);
        p[q.topics_n].partition = data_logs[i].partition;
        p[q.topics_n].current_leader_epoch = -1;
        p[q.topics_n].fetch_offset = r->told[i] = r->position[i];
        p[q.topics_n].partition_max_bytes = (int32_t)(1 + world_duration(r->c.w, 0, 200000));
        t[q.topics_n].topic = str_of(data_logs[i].topic);
        t[q.topics_n].partitions = &p[q.topics_n];
        t[q.topics_n++].partitions_n = 1;
    }
    client_ask(&r->c, KAFKA_FETCH, r->version, &q, on_fetched);
}

static void on_looked(struct client *c, struct call *k, const void *response)
{
    struct reader *r = reader_of(c);
    int64_t offsets[DATA_LOGS];

    r->looked += committed_ended(c, k, processor_groups[r->looked], response, offsets);
    if (response) client_wake(c, world_duration(c->w, 10, 10000));
}

static void wake(struct client *c)
{
    struct reader *r = reader_of(c);

    if (client_waits(c) || !starts_known(r)) return;
    if (r->auditor && !r->committed && r->looked < PROCESSOR_GROUPS) {
        committed_ask(c, processor_groups[r->looked], on_looked);
        return;
    }
    if (c->w->written_us && r->whole_us <= c->w->written_us) r->session = r->epoch = 0;
    look(r);
}

static void up(struct client *c)
{
    struct reader *r = reader_of(c);

    r->session = r->epoch = 0;
    wake(c);
}

static bool is_done(struct client *c)
{
    const struct reader *r = reader_of(c);

    if (!r->auditor && (!c->w->written_us || r->whole_us <= c->w->written_us)) return false;
    if (r->auditor && !r->committed && r->looked < PROCESSOR_GROUPS) return false;
    for (uint32_t i = 0; i < DATA_LOGS; i++)
        if (r->auditor ? !r->ended[i] : r->position[i] < 0 || r->position[i] < r->high[i]) return false;
    return true;
}

static const struct client_kind kind = {.name = "reader", .size = sizeof(struct reader), .reads = true, .up = up, .wake = wake, .is_done = is_done};

struct client *reader_new(struct world *w, bool committed)
{
    static const int16_t versions[] = {4, 10, 11, 12};
    struct reader *r = client_new(w, &kind);

    r->committed = committed;
    r->version = versions[world_pick(w, countof(versions))];
    r->sessions = r->version >= 7 && world_chance(w, 50);
    for (uint32_t i = 0; i < DATA_LOGS; i++)
        r->position[i] = -1;
    return &r->c;
}

struct client *auditor_new(struct world *w, bool committed)
{
    struct reader *r = container_of(reader_new(w, committed), struct reader, c);

    r->auditor = true;
    r->version = 12;
    r->c.id = committed ? AUDITOR_COMMITTED : AUDITOR;
    r->c.patience_us = 60000000;
    return &r->c;
}
