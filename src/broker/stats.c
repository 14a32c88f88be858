/* What the broker counts, told one number at a time. The counters are plain fields of the loop.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "broker/fetch.h"
#include "broker/groups.h"
#include "broker/txns.h"
#include "kafka/api.h"
#include "net/tls.h"

#include <stdio.h>

struct teller {
    broker_metric_fn fn;
    void *ctx;
    struct buf labels;
};

void broker_stats(struct broker *b, struct broker_stats *ret)
{
    *ret = b->stats;
    ret->connections = b->conns_n;
    ret->topics = b->topics_n;
    ret->partitions = b->partitions_n;
    ret->fetch_sessions = b->sessions->n;
    ret->memory_used = b->memory_used;
}

static void counter(struct teller *t, const char *name, const char *help, uint64_t v)
{
    t->fn(t->ctx, true, name, help, buf_str(&t->labels), (double)v);
}

static void seconds(struct teller *t, const char *name, const char *help, uint64_t us)
{
    t->fn(t->ctx, true, name, help, buf_str(&t->labels), (double)us / 1e6);
}

static void gauge(struct teller *t, const char *name, const char *help, double v)
{
    t->fn(t->ctx, false, name, help, buf_str(&t->labels), v);
}

/* Names of topics need no escaping; names of groups may hold anything. */
static void label(struct teller *t, const char *name, struct str value)
{
    buf_printf(&t->labels, "%s%s=\"", t->labels.n ? "," : "", name);
    for (size_t i = 0; i < value.n; i++) {
        if (value.p[i] == '"' || value.p[i] == '\\') buf_append_byte(&t->labels, '\\');
        if (value.p[i] == '\n')
            buf_append_str(&t->labels, STR("\\n"));
        else
            buf_append_byte(&t->labels, (uint8_t)value.p[i]);
    }
    buf_append_byte(&t->labels, '"');
}

static void tell_broker(struct teller *t, struct broker *b)
{
    struct broker_stats s;

    broker_stats(b, &s);
    gauge(t, "millrace_broker_connections", "Open connections of Kafka clients.",
          (double)s.connections);
    counter(t, "millrace_broker_connections_opened_total", "Connections accepted.",
            s.connections_total);
    counter(t, "millrace_broker_connections_refused_total",
            "Connections closed for a limit of their address.", s.connections_refused);
    counter(t, "millrace_broker_frames_refused_total",
            "Frames that are no request this broker serves.", s.frames_bad);
    counter(t, "millrace_logins_total", "Clients that said who they are, and were believed.",
            s.logins);
    counter(t, "millrace_logins_failed_total", "Clients that were not believed.", s.logins_failed);
    counter(t, "millrace_sessions_expired_total",
            "Connections closed because nobody authenticated again in time.", s.sessions_expired);
    counter(t, "millrace_tls_handshakes_total", "TLS handshakes that were completed.",
            s.handshakes);
    counter(t, "millrace_tls_handshakes_resumed_total",
            "… of them those that went on with an earlier session.", s.handshakes_resumed);
    counter(t, "millrace_tls_handshakes_failed_total", "TLS handshakes that failed.",
            s.handshakes_failed);
    counter(t, "millrace_denied_total", "Operations that no access control entry allows.",
            s.denied);
    gauge(t, "millrace_broker_requests_parked", "Requests that wait for records or for a group.",
          (double)s.requests_parked);
    counter(t, "millrace_broker_throttled_requests_total",
            "Requests whose clients were above a quota.", s.throttled);
    gauge(t, "millrace_broker_quotas", "Entities with quotas.", (double)b->quotas.entities_n);
    counter(t, "millrace_broker_produced_bytes_total", "Bytes of batches appended for producers.",
            s.produce_bytes);
    counter(t, "millrace_broker_produced_batches_total", "Batches appended for producers.",
            s.produce_batches);
    counter(t, "millrace_broker_produce_errors_total",
            "Partitions of produce requests answered with an error.", s.produce_errors);
    counter(t, "millrace_broker_fetched_bytes_total", "Bytes of batches sent to consumers.",
            s.fetch_bytes);
    gauge(t, "millrace_broker_topics", "Topics.", (double)s.topics);
    gauge(t, "millrace_broker_partitions", "Partitions of all topics.", (double)s.partitions);
    gauge(t, "millrace_broker_fetch_sessions", "Fetch sessions remembered.",
          (double)s.fetch_sessions);
    gauge(t, "millrace_broker_memory_bytes",
          "Memory that clients make the broker hold (broker.memoryMax).", (double)s.memory_used);
    gauge(t, "millrace_broker_groups", "Consumer groups.", (double)groups_count(b->groups));
    gauge(t, "millrace_broker_log_stopped",
          "1 when a write failed and nothing is acknowledged until a restart.", b->fatal);
}

static void tell_certificates(struct teller *t, struct broker *b)
{
    list_each(p, &b->listeners) {
        const struct broker_listener *l = container_of(p, struct broker_listener, link);

        if (!l->certificate_end_s) continue;
        buf_clear(&t->labels);
        label(t, "listener", l->name);
        gauge(t, TLS_END_METRIC, TLS_END_HELP, (double)l->certificate_end_s);
    }
    buf_clear(&t->labels);
}

static void tell_txns(struct teller *t, struct broker *b)
{
    struct txns_stats s;

    txns_stats(b->txns, &s);
    gauge(t, "millrace_broker_transactional_ids", "Transactional ids that are remembered.",
          (double)s.ids);
    gauge(t, "millrace_broker_transactions_open", "Transactions under way.", (double)s.open);
    gauge(t, "millrace_broker_transactions_unfinished",
          "Transactions that were decided and wait for a partition to take their marker.",
          (double)s.unfinished);
    counter(t, "millrace_broker_transactions_committed_total", "Transactions committed.",
            s.committed);
    counter(t, "millrace_broker_transactions_aborted_total", "Transactions aborted.", s.aborted);
    counter(t, "millrace_broker_transactions_timed_out_total",
            "Transactions that ran out of time, which aborted them.", s.timed_out);
}

static void tell_wal(struct teller *t, struct broker *b)
{
    struct store_stats s;

    store_stats(b->store, &s);
    gauge(t, "millrace_wal_bytes", "Size of the write-ahead log.", (double)s.wal_bytes);
    gauge(t, "millrace_wal_used_bytes",
          "Bytes of the write-ahead log in use until the next checkpoint.",
          (double)s.wal_used_bytes);
    counter(t, "millrace_wal_groups_total", "Groups written to the write-ahead log.", s.wal_groups);
    counter(t, "millrace_wal_written_bytes_total", "Bytes written to the write-ahead log.",
            s.wal_written_bytes);
    gauge(t, "millrace_wal_write_seconds", "How long the last group's write took.",
          (double)s.wal_write_us_last / 1e6);
    gauge(t, "millrace_wal_write_seconds_max", "The longest write of a group.",
          (double)s.wal_write_us_max / 1e6);
    counter(t, "millrace_wal_checkpoints_total", "Checkpoints.", s.checkpoints);
    counter(t, "millrace_compactions_total", "Compaction passes that ended well.", s.compactions);
    counter(t, "millrace_compactions_failed_total", "Compaction passes that were given up.",
            s.compactions_failed);
    counter(t, "millrace_compaction_read_bytes_total", "Bytes read by compaction.",
            s.compacted_bytes_read);
    counter(t, "millrace_compaction_written_bytes_total", "Bytes written by compaction.",
            s.compacted_bytes_written);
    counter(t, "millrace_compaction_removed_records_total", "Records that compaction removed.",
            s.compacted_records_in - s.compacted_records_out);
    gauge(t, "millrace_logs_offline",
          "Partitions whose files are damaged or cannot be read; they answer with a storage error.",
          (double)s.logs_offline);
    gauge(t, "millrace_disk_free_bytes", "Free bytes of the data folder's file system.",
          (double)s.disk_free_bytes);
}

static void tell_apis(struct teller *t, struct broker *b)
{
    for (int16_t key = 0; key < API_KEYS; key++) {
        const struct api_stats *s = &b->api_stats[key];

        if (!s->n) continue;
        buf_clear(&t->labels);
        label(t, "api", str_of(kafka_api_of(key)->name));
        counter(t, "millrace_broker_requests_total", "Requests answered.", s->n);
        seconds(t, "millrace_broker_request_seconds_total",
                "Time from a request's last byte to its answer's first, waiting included.", s->us);
        gauge(t, "millrace_broker_request_seconds_max", "The longest of them.",
              (double)s->us_max / 1e6);
        counter(t, "millrace_broker_request_bytes_total", "Bytes of requests.", s->request_bytes);
        counter(t, "millrace_broker_response_bytes_total", "Bytes of answers.", s->reply_bytes);
    }
}

static void tell_topics(struct teller *t, struct broker *b)
{
    for (size_t i = 0; i < b->topics_n; i++) {
        const struct topic *p = b->topics_sorted[i];

        if (!p->bytes_in && !p->bytes_out) continue;
        buf_clear(&t->labels);
        label(t, "topic", p->name);
        counter(t, "millrace_broker_topic_in_bytes_total", "Bytes appended to a topic.",
                p->bytes_in);
        counter(t, "millrace_broker_topic_out_bytes_total", "Bytes read from a topic.",
                p->bytes_out);
        counter(t, "millrace_broker_topic_batches_total", "Batches appended to a topic.",
                p->batches_in);
        counter(t, "millrace_broker_topic_records_total", "Records producers appended to a topic.",
                p->records_in);
    }
}

static void tell_lag(struct teller *t, struct broker *b, const struct group_entry *ge)
{
    for (size_t i = 0; i < ge->offsets.topics_n; i++) {
        const struct offsets_topic *o = &ge->offsets.topics[i];

        for (size_t k = 0; k < o->n; k++) {
            struct partition *p = broker_partition(b, o->name, o->items[k].partition);
            char number[16];

            if (!p) continue;
            snprintf(number, sizeof number, "%d", p->number);
            buf_clear(&t->labels);
            label(t, "group", ge->g.id);
            label(t, "topic", o->name);
            label(t, "partition", str_of(number));
            gauge(t, "millrace_broker_group_lag",
                  "Records between a group's committed offset and the end.",
                  (double)MAX(partition_high(p) - o->items[k].offset, 0));
        }
    }
}

void broker_metrics(struct broker *b, broker_metric_fn fn, void *ctx)
{
    struct teller t = {.fn = fn, .ctx = ctx};

    tell_broker(&t, b);
    tell_certificates(&t, b);
    tell_txns(&t, b);
    tell_wal(&t, b);
    tell_apis(&t, b);
    tell_topics(&t, b);
    for (struct group_entry *ge = groups_next(b->groups, NULL); ge; ge = groups_next(b->groups, ge))
        tell_lag(&t, b, ge);
    buf_fini(&t.labels);
}
