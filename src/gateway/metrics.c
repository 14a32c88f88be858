/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/metrics.h"
#include "base/map.h"
#include <inttypes.h>
#include <math.h>

static const double bounds[HISTOGRAM_BUCKETS] = {0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25,
                                                 0.5,   0.75, 1,     2.5,  5,     7.5, 10};
static const char *const bound_texts[HISTOGRAM_BUCKETS] = {
    "0.005", "0.01", "0.025", "0.05", "0.075", "0.1", "0.25",
    "0.5",   "0.75", "1",     "2.5",  "5",     "7.5", "10"};

struct sample {
    struct buf labels;
    double value;
    bool histogram;
    struct histogram h;
};
struct family {
    const char *name, *help, *type;
    struct sample **samples;
    size_t n;
    struct map by_labels;
};
struct metrics {
    struct family **families;
    size_t n;
    struct map by_name;
};

static struct family *family_of(struct metrics *m, const char *name, const char *help,
                                const char *type)
{
    struct family *f = map_get_str(&m->by_name, str_of(name));

    if (f) return f;
    f = xnew(struct family);
    f->name = name;
    f->help = help;
    f->type = type;
    m->families = xrealloc(m->families, m->n + 1, sizeof(struct family *));
    m->families[m->n++] = f;
    map_put_str(&m->by_name, str_of(name), f);
    return f;
}

static struct sample *sample_of(struct family *f, struct str labels)
{
    struct str key = labels.n ? labels : STR(" ");
    struct sample *s = map_get_str(&f->by_labels, key);

    if (s) return s;
    s = xnew(struct sample);
    buf_append_str(&s->labels, labels);
    f->samples = xrealloc(f->samples, f->n + 1, sizeof(struct sample *));
    f->samples[f->n++] = s;
    map_put_str(&f->by_labels, key, s);
    return s;
}

void metrics_add(struct metrics *m, enum metrics_kind kind, const char *name, const char *help,
                 struct str labels, double value)
{
    sample_of(family_of(m, name, help, kind == METRICS_COUNTER ? "counter" : "gauge"), labels)
        ->value += value;
}

void metrics_label(struct buf *b, const char *name, struct str value)
{
    buf_printf(b, "%s%s=\"", b->n ? "," : "", name);
    for (size_t i = 0; i < value.n; i++) {
        char c = value.p[i];

        if (c == '\n')
            buf_append_str(b, STR("\\n"));
        else if (c == '"' || c == '\\')
            buf_printf(b, "\\%c", c);
        else
            buf_append_byte(b, (uint8_t)c);
    }
    buf_append_byte(b, '"');
}

void histogram_note(struct histogram *h, double seconds)
{
    h->count++;
    h->sum_s += seconds;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        if (seconds <= bounds[i]) {
            h->buckets[i]++;
            break;
        }
}

void metrics_histogram(struct metrics *m, const char *name, const char *help, struct str labels,
                       const struct histogram *h)
{
    struct sample *s = sample_of(family_of(m, name, help, "histogram"), labels);

    s->histogram = true;
    s->h.count += h->count;
    s->h.sum_s += h->sum_s;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        s->h.buckets[i] += h->buckets[i];
}

/* ---- Text ---- */

static void number_put(struct buf *b, double v)
{
    if (v == floor(v) && fabs(v) < 1e15)
        buf_printf(b, "%" PRId64, (int64_t)v);
    else
        buf_printf(b, "%.9g", v);
}

static void histogram_put(struct buf *b, const struct family *f, struct sample *s)
{
    struct str labels = buf_str(&s->labels);
    const char *comma = labels.n ? "," : "";
    uint64_t below = 0;

    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        below += s->h.buckets[i];
        buf_printf(b, "%s_bucket{" STR_FMT "%sle=\"%s\"} %" PRIu64 "\n", f->name, STR_ARG(labels),
                   comma, bound_texts[i], below);
    }
    buf_printf(b, "%s_bucket{" STR_FMT "%sle=\"+Inf\"} %" PRIu64 "\n", f->name, STR_ARG(labels),
               comma, s->h.count);
    buf_printf(b, "%s_sum{" STR_FMT "} %.9g\n", f->name, STR_ARG(labels), s->h.sum_s);
    buf_printf(b, "%s_count{" STR_FMT "} %" PRIu64 "\n", f->name, STR_ARG(labels), s->h.count);
}

static void family_put(struct buf *b, const struct family *f)
{
    buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n", f->name, f->help, f->name, f->type);
    for (size_t i = 0; i < f->n; i++) {
        struct sample *s = f->samples[i];

        if (s->histogram) {
            histogram_put(b, f, s);
            continue;
        }
        buf_append_str(b, str_of(f->name));
        if (s->labels.n) buf_printf(b, "{" STR_FMT "}", STR_ARG(buf_str(&s->labels)));
        buf_append_byte(b, ' ');
        number_put(b, s->value);
        buf_append_byte(b, '\n');
    }
}

static void metrics_free(struct metrics *m)
{
    for (size_t i = 0; i < m->n; i++) {
        struct family *f = m->families[i];

        for (size_t k = 0; k < f->n; k++) {
            buf_fini(&f->samples[k]->labels);
            free(f->samples[k]);
        }
        map_fini(&f->by_labels);
        free(f->samples);
        free(f);
    }
    map_fini(&m->by_name);
    free(m->families);
    free(m);
}

/* ---- The round ---- */

static void at_home(struct msg *msg)
{
    struct metrics_collection *c = container_of(msg, struct metrics_collection, msg);

    for (size_t i = 0; i < c->metrics->n; i++)
        family_put(&c->text, c->metrics->families[i]);
    metrics_free(c->metrics);
    c->metrics = NULL;
    c->done(c);
}

static void next_stop(struct metrics_collection *c);

static void at_source(struct msg *msg)
{
    struct metrics_collection *c = container_of(msg, struct metrics_collection, msg);
    const struct metrics_source *s = &c->sources->list[c->at++];

    s->write(s->ctx, c->metrics);
    next_stop(c);
}

static void next_stop(struct metrics_collection *c)
{
    bool more = c->at < c->sources->n;

    c->msg.run = more ? at_source : at_home;
    mailbox_post(more ? c->sources->list[c->at].mailbox : c->home, &c->msg);
}

void metrics_collect(struct metrics_collection *c, const struct metrics_sources *sources,
                     struct mailbox *home, void (*done)(struct metrics_collection *c))
{
    c->sources = sources;
    c->at = 0;
    c->metrics = xnew(struct metrics);
    c->home = home;
    c->text = (struct buf){0};
    c->done = done;
    next_stop(c);
}
