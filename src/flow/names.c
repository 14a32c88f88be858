/* SPDX-License-Identifier: Apache-2.0 */
#include "flow/names.h"
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

struct str name_topic(struct arena *a, const struct naming *n, bool model, struct str name,
                      bool inputs)
{
    return arena_printf(a, STR_FMT "." STR_FMT ".%s." STR_FMT ".%s", STR_ARG(n->prefix),
                        STR_ARG(n->ns), model ? "model" : "pipeline", STR_ARG(name),
                        inputs ? "inputs" : "outputs");
}

struct str name_errors_topic(struct arena *a, const struct naming *n)
{
    return arena_printf(a, STR_FMT "." STR_FMT ".errors.errors", STR_ARG(n->prefix),
                        STR_ARG(n->ns));
}

struct str name_control_topic(struct arena *a, const struct naming *n, const char *what)
{
    return arena_printf(a, STR_FMT "." STR_FMT ".control.%s", STR_ARG(n->prefix), STR_ARG(n->ns), what);
}

struct str name_owners_group(struct arena *a, const struct naming *n)
{
    return arena_printf(a, STR_FMT "%s" STR_FMT "-" STR_FMT "-owners", STR_ARG(n->group), n->group.n ? "-" : "", STR_ARG(n->prefix),
                        STR_ARG(n->ns));
}

/* ---- the original's groups ---- */

static uint32_t fnv1a(struct str s)
{
    uint32_t hash = 2166136261;

    for (size_t i = 0; i < s.n; i++)
        hash = (hash ^ (uint8_t)s.p[i]) * 16777619;
    return hash;
}

/* A short id stands for itself, a longer one for its MD5 as a hexadecimal number, which has no zeros in front but those that
 * make it 16 digits long. */
static struct str uid_text(struct arena *a, struct str uid)
{
    enum { SHORT_MAX = 16, DIGITS_MIN = 16 };
    uint8_t md[EVP_MAX_MD_SIZE];
    char hex[2 * EVP_MAX_MD_SIZE + 1];
    size_t n = 0, skip = 0;

    if (uid.n <= SHORT_MAX) return uid;
    must(EVP_Q_digest(NULL, "MD5", NULL, uid.p, uid.n, md, &n));
    for (size_t i = 0; i < n; i++)
        snprintf(hex + 2 * i, 3, "%02x", md[i]);
    while (skip < 2 * n - DIGITS_MIN && hex[skip] == '0')
        skip++;
    return arena_dup_str(a, str_of(hex + skip));
}

static struct str seldon_group(struct arena *a, const struct naming *n, bool model, struct str name, struct str uid)
{
    struct str tail = model ? arena_printf(a, "modelgateway-%" PRIu32, fnv1a(name) % n->seldon_gateways)
                            : arena_printf(a, "dataflow-" STR_FMT, STR_ARG(uid_text(a, uid.n ? uid : name)));

    return arena_printf(a, STR_FMT "%s" STR_FMT "%sseldon-" STR_FMT, STR_ARG(n->group), n->group.n ? "-" : "", STR_ARG(n->seldon_ns),
                        n->seldon_ns.n ? "-" : "", STR_ARG(tail));
}

struct str name_group(struct arena *a, const struct naming *n, bool model, struct str name, struct str uid)
{
    if (n->seldon) return seldon_group(a, n, model, name, uid);
    return arena_printf(a, STR_FMT "%s" STR_FMT "-" STR_FMT "-flow%s-" STR_FMT, STR_ARG(n->group), n->group.n ? "-" : "", STR_ARG(n->prefix),
                        STR_ARG(n->ns), model ? "model" : "", STR_ARG(name));
}

struct str name_key(struct arena *a, int32_t partition, struct str name, struct str request_id)
{
    return arena_printf(a, "%" PRId32 "." STR_FMT "." STR_FMT, partition, STR_ARG(name),
                        STR_ARG(request_id));
}

static bool number(struct str s, int64_t min, int64_t max, int64_t *ret)
{
    return str_to_i64(s, ret) && *ret >= min && *ret <= max;
}

static bool parse_own(struct str whole, const struct str *part, struct run_id *id)
{
    int64_t n, attempt, deadline;

    if (!number(part[3], 0, INT64_MAX, &n) || !number(part[4], 1, UINT32_MAX, &attempt) ||
        !number(part[5], 0, INT64_MAX, &deadline))
        return false;
    *id = (struct run_id){
        .cluster = part[0],
        .topic = part[1],
        .incarnation = part[2],
        .number = (uint64_t)n,
        .attempt = (uint32_t)attempt,
        .deadline_wall_ms = deadline,
        .identity = {whole.p, (size_t)(part[3].p + part[3].n - whole.p)},
    };
    return true;
}

static bool parse_outside(struct str whole, const struct str *part, struct run_id *id)
{
    int64_t partition, offset, attempt;

    if (!number(part[1], 0, INT32_MAX, &partition) || !number(part[2], 0, INT64_MAX, &offset) ||
        !number(part[3], 1, UINT32_MAX, &attempt))
        return false;
    *id = (struct run_id){
        .outside = true,
        .topic = part[0],
        .partition = (int32_t)partition,
        .offset = offset,
        .attempt = (uint32_t)attempt,
        .identity = {whole.p, (size_t)(part[2].p + part[2].n - whole.p)},
    };
    return true;
}

bool run_id_parse(struct str s, struct run_id *ret)
{
    struct str part[6], rest = s;
    size_t n = 0;
    bool more = true;

    while (more && n < countof(part)) {
        more = str_cut(rest, '/', &part[n], &rest);
        if (!part[n++].n) return false;
    }
    if (more) return false;
    return n == 6 ? parse_own(s, part, ret) : n == 4 && parse_outside(s, part, ret);
}

struct str run_id_print(struct arena *a, const struct run_id *id)
{
    if (id->outside)
        return arena_printf(a, STR_FMT "/%" PRId32 "/%" PRId64 "/%" PRIu32, STR_ARG(id->topic),
                            id->partition, id->offset, id->attempt);
    return arena_printf(a, STR_FMT "/" STR_FMT "/" STR_FMT "/%" PRIu64 "/%" PRIu32 "/%" PRId64,
                        STR_ARG(id->cluster), STR_ARG(id->topic), STR_ARG(id->incarnation),
                        id->number, id->attempt, id->deadline_wall_ms);
}

struct str run_id_outside(struct arena *a, struct str topic, int32_t partition, int64_t offset)
{
    return arena_printf(a, STR_FMT "/%" PRId32 "/%" PRId64, STR_ARG(topic), partition, offset);
}
