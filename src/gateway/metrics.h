/* gateway/metrics.h - Prometheus text, collected over the loops that own the numbers.
 *
 * Counters are plain fields of the loop that counts. When somebody asks, one collection travels from loop to loop by
 * mailbox; each source adds its series on its own thread, equal series are summed, the asker writes the text.
 * Used by: gateway, app (which lists the sources: gateways, flows, broker, …).   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"
#include "sys/mailbox.h"

struct metrics;
enum metrics_kind { METRICS_COUNTER, METRICS_GAUGE };

/* `labels` is the text between the braces, from metrics_label(), or empty. name and help are literals. */
void metrics_add(struct metrics *m, enum metrics_kind kind, const char *name, const char *help, struct str labels, double value);
/* Appends name="value", escaped, with a comma before it when b is not empty. */
void metrics_label(struct buf *b, const char *name, struct str value);

/* A latency distribution with the buckets of the original's dashboards (0.005 … 10 s). {0} is empty. */
enum { HISTOGRAM_BUCKETS = 14 };
struct histogram { uint64_t count, buckets[HISTOGRAM_BUCKETS]; double sum_s; };
void histogram_note(struct histogram *h, double seconds);
void metrics_histogram(struct metrics *m, const char *name, const char *help, struct str labels, const struct histogram *h);

/* Whoever has numbers. `write` is called on the thread that drains `mailbox`. */
struct metrics_source { struct mailbox *mailbox; void (*write)(void *ctx, struct metrics *m); void *ctx; };
/* Immutable once the loops run. */
struct metrics_sources { const struct metrics_source *list; size_t n; };

/* Visits every source, then calls done on home's loop, with the text. */
struct metrics_collection {
    struct msg msg;
    const struct metrics_sources *sources;
    size_t at;
    struct metrics *metrics;
    struct mailbox *home;
    struct buf text;                             /* out; the caller's */
    void (*done)(struct metrics_collection *c);
    void *priv;
};
void metrics_collect(struct metrics_collection *c, const struct metrics_sources *sources, struct mailbox *home,
                     void (*done)(struct metrics_collection *c));
