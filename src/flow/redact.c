/* flow.redact: tensors and parameters that no record of a run has. They are left out of what is written, never of what
 * models and callers get. `millrace-redacted` names what a record lacks: such an input cannot be run a second time.
 *
 * Names that a tensorMap makes equal count as one: the tensor is the same under both. SPDX-License-Identifier: Apache-2.0 */
#include "flow/executor.h"

struct redact { struct str *names; size_t n; bool *hit; };

static bool has(const struct redact *d, struct str name)
{
    for (size_t i = 0; i < d->n; i++)
        if (str_eq(d->names[i], name)) return true;
    return false;
}

/* One rename: when one of the names is among them, the other is now too. */
static bool follow(struct redact *d, struct str a, struct str b)
{
    if (has(d, a) == has(d, b)) return false;
    d->names[d->n] = has(d, a) ? b : a;
    d->n++;
    return true;
}

static bool follow_list(struct redact *d, const struct flow_rename *v, size_t n)
{
    bool more = false;

    for (size_t i = 0; i < n; i++)
        more |= follow(d, v[i].tensor, v[i].name);
    return more;
}

static size_t renames_count(const struct flow_pipeline_def *def)
{
    size_t n = def->output_renames_n + def->external_renames_n;

    for (size_t i = 0; i < def->steps_n; i++)
        n += def->steps[i].renames_n;
    return n;
}

static bool follow_all(struct redact *d, const struct flow_pipeline_def *def)
{
    bool more = follow_list(d, def->output_renames, def->output_renames_n);

    for (size_t i = 0; i < def->steps_n; i++)
        more |= follow_list(d, def->steps[i].renames, def->steps[i].renames_n);
    for (size_t i = 0; i < def->external_renames_n; i++)
        more |= follow(d, def->external_renames[i].from.tensor, def->external_renames[i].name);
    return more;
}

static const struct redact *redact_of(struct flow_run *r)
{
    const struct flow_pipeline_def *def = r->run.graph->def;
    const struct flow_options *o = &r->f->o;
    struct redact *d;

    if (r->redact) return r->redact;
    d = r->redact = arena_new(&r->run.arena, struct redact);
    d->names = arena_array(&r->run.arena, struct str, o->redact_n + (def ? renames_count(def) : 0));
    d->n = o->redact_n;
    memcpy(d->names, o->redact, o->redact_n * sizeof *d->names);
    while (def && follow_all(d, def)) {}
    d->hit = arena_array(&r->run.arena, bool, d->n);
    return d;
}

static struct str lacks_text(struct flow_run *r, const struct redact *d)
{
    AUTO(buf_fini) struct buf b = {0};

    for (size_t i = 0; i < d->n; i++)
        if (d->hit[i]) buf_printf(&b, "%s" STR_FMT, b.n ? "," : "", STR_ARG(d->names[i]));
    return b.n ? arena_dup_str(&r->run.arena, buf_str(&b)) : (struct str){0};
}

/* What cannot be read is not written at all: nobody knows what is in it. */
struct bytes redact_message(struct flow_run *r, enum infer_kind kind, struct bytes message, struct buf *store, struct str *ret_lacks)
{
    AUTO(arena_fini) struct arena a = {0};
    const struct redact *d;
    struct infer_view v;
    struct err e;

    *ret_lacks = (struct str){0};
    if (!r->f->o.redact_n) return message;
    d = redact_of(r);
    if (infer_parse(message, kind, &a, &v, &e)) {
        *ret_lacks = STR("*");
        return bytes_of("", 0);
    }
    infer_leave_out(&v, d->names, d->n, d->hit, store);
    *ret_lacks = lacks_text(r, d);
    return buf_view(store);
}
