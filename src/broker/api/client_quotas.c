/* DescribeClientQuotas (key 48) and AlterClientQuotas (key 49). An entity changes as a whole or not at all; the answer leaves
 * when the change is on disk.   SPDX-License-Identifier: Apache-2.0
 */
#include "broker/api.h"
#include "broker/api/seen.h"
#include "kafka/msg/alter_client_quotas.h"
#include "kafka/msg/describe_client_quotas.h"

enum match { MATCH_EXACT, MATCH_DEFAULT, MATCH_SPECIFIED };

/* ---- describe ---- */

struct filter {
    bool named[QUOTA_PARTS];
    enum match match[QUOTA_PARTS];
    struct str name[QUOTA_PARTS];
    bool strict;
};

static int16_t refuse(struct request *r, struct str *ret_why, int16_t code, const char *why)
{
    *ret_why = arena_dup_str(&r->arena, str_of(why));
    return code;
}

static int16_t filter_add(struct request *r, struct filter *f,
                          const struct describe_client_quotas_request_component *c,
                          struct str *ret_why)
{
    enum quota_part p;

    if (!c->entity_type.n)
        return refuse(r, ret_why, KAFKA_ERR_INVALID_REQUEST, "the type of an entity is empty");
    if (!quota_part_of(c->entity_type, &p))
        return refuse(r, ret_why, KAFKA_ERR_UNSUPPORTED_VERSION, "no such type of entity");
    if (f->named[p])
        return refuse(r, ret_why, KAFKA_ERR_INVALID_REQUEST, "a type of entity is named twice");
    if (c->match_type < MATCH_EXACT || c->match_type > MATCH_SPECIFIED)
        return refuse(r, ret_why, KAFKA_ERR_INVALID_REQUEST, "no such type of match");
    if ((c->match_type == MATCH_EXACT) != (c->match.p != NULL))
        return refuse(r, ret_why, KAFKA_ERR_INVALID_REQUEST,
                      "an exact match needs a name, the others take none");
    f->named[p] = true;
    f->match[p] = (enum match)c->match_type;
    f->name[p] = c->match;
    return 0;
}

static int16_t filter_of(struct request *r, const struct describe_client_quotas_request *q,
                         struct filter *f, struct str *ret_why)
{
    int16_t code;

    f->strict = q->strict;
    for (size_t i = 0; i < q->components_n; i++)
        if ((code = filter_add(r, f, &q->components[i], ret_why))) return code;
    if (f->named[QUOTA_IP] && (f->named[QUOTA_USER] || f->named[QUOTA_CLIENT]))
        return refuse(r, ret_why, KAFKA_ERR_INVALID_REQUEST,
                      "an ip cannot be combined with a user or a client-id");
    return 0;
}

static bool matches(const struct filter *f, const struct quota *q)
{
    for (int i = 0; i < QUOTA_PARTS; i++) {
        const struct quota_name *n = &q->who.part[i];

        if (!f->named[i] && f->strict && n->given) return false;
        if (!f->named[i]) continue;
        if (!n->given) return false;
        if (f->match[i] == MATCH_DEFAULT && n->name.p) return false;
        if (f->match[i] == MATCH_EXACT && (!n->name.p || !str_eq(n->name, f->name[i])))
            return false;
    }
    return true;
}

/* Types and keys in the order of their names. */
static void tell(struct request *r, const struct quota *q,
                 struct describe_client_quotas_response_entry *a)
{
    static const enum quota_part types[] = {QUOTA_CLIENT, QUOTA_IP, QUOTA_USER};
    static const enum quota_kind kinds[] = {QUOTA_CONNECTION, QUOTA_FETCH, QUOTA_MUTATION,
                                            QUOTA_PRODUCE, QUOTA_REQUEST};

    a->entity = arena_array(&r->arena, struct describe_client_quotas_response_entity, QUOTA_PARTS);
    a->values = arena_array(&r->arena, struct describe_client_quotas_response_value, QUOTA_KINDS);
    for (size_t i = 0; i < countof(types); i++) {
        const struct quota_name *n = &q->who.part[types[i]];

        if (!n->given) continue;
        a->entity[a->entity_n++] = (struct describe_client_quotas_response_entity){
            str_of(quota_part_name(types[i])),
            n->name.p ? arena_dup_str(&r->arena, n->name) : n->name};
    }
    for (size_t i = 0; i < countof(kinds); i++)
        if (q->set[kinds[i]])
            a->values[a->values_n++] = (struct describe_client_quotas_response_value){
                str_of(quota_key(kinds[i])), q->value[kinds[i]]};
}

void api_describe_client_quotas(struct request *r)
{
    const struct describe_client_quotas_request *q = request_decode(r);
    struct describe_client_quotas_response a;
    struct broker *b = r->broker;
    struct filter f = {0};
    const struct quota *x;

    if (!q) return;
    describe_client_quotas_response_init_defaults(&a);
    if (!request_allows_cluster(r, ACL_DESCRIBE_CONFIGS))
        a.error_code = refuse(r, &a.error_message, KAFKA_ERR_CLUSTER_AUTHORIZATION_FAILED,
                              "Cluster authorization failed.");
    else
        a.error_code = filter_of(r, q, &f, &a.error_message);
    a.entries_null = a.error_code != 0;
    if (!a.error_code) {
        a.error_message = STR("");
        a.entries = arena_array(&r->arena, struct describe_client_quotas_response_entry,
                                b->quotas.entities_n);
        for (size_t at = 0; (x = quotas_next(&b->quotas, &at));)
            if (matches(&f, x)) tell(r, x, &a.entries[a.entries_n++]);
    }
    request_answer_when(r, &a, b->meta_seq);
}

/* ---- alter ---- */

typedef struct alter_client_quotas_request_entity part_type;

static int by_type(const void *a, const void *b)
{
    const part_type *x = *(const part_type *const *)a, *y = *(const part_type *const *)b;
    int c = str_cmp(x->entity_type, y->entity_type);

    return c ? c : x < y ? -1 : x > y;
}

/* By type, whatever the order in the request; of a type that is there twice the last counts, as in Kafka. */
static bool parts_of(struct request *r, const struct alter_client_quotas_request_entry *q,
                     struct alter_client_quotas_response_entry *row)
{
    const part_type **parts = arena_array(&r->arena, const part_type *, q->entity_n);

    row->entity = arena_array(&r->arena, struct alter_client_quotas_response_entity, q->entity_n);
    if (q->entity_n && (!parts || !row->entity)) return false;
    for (size_t i = 0; i < q->entity_n; i++)
        parts[i] = &q->entity[i];
    if (q->entity_n) qsort(parts, q->entity_n, sizeof(part_type *), by_type);
    for (size_t i = 0; i < q->entity_n; i++)
        if (i + 1 == q->entity_n || !str_eq(parts[i]->entity_type, parts[i + 1]->entity_type))
            row->entity[row->entity_n++] = (struct alter_client_quotas_response_entity){
                parts[i]->entity_type, parts[i]->entity_name};
    return true;
}

static int16_t entity_of(struct request *r, const struct alter_client_quotas_response_entry *row,
                         struct quota_entity *ret, struct str *ret_why)
{
    struct err e;

    for (size_t i = 0; i < row->entity_n; i++) {
        enum quota_part p;

        if (!quota_part_of(row->entity[i].entity_type, &p))
            return refuse(r, ret_why, KAFKA_ERR_INVALID_REQUEST, "no such type of entity");
        ret->part[p] = (struct quota_name){true, row->entity[i].entity_name};
    }
    if (quota_entity_check(ret, &e)) return refuse(r, ret_why, KAFKA_ERR_INVALID_REQUEST, e.text);
    return 0;
}

/* Removing what is not known is fine, as in Kafka. */
static int16_t values_of(struct request *r, const struct alter_client_quotas_request_entry *q,
                         const struct quota_entity *who, struct quota *values, struct str *ret_why)
{
    AUTO(seen_fini) struct seen seen = {0};
    struct err e;

    for (size_t i = 0; i < q->ops_n; i++)
        if (seen_add(&seen, q->ops[i].key, 0) > 1)
            return refuse(r, ret_why, KAFKA_ERR_INVALID_REQUEST,
                          "a quota of the entity is named twice");
    for (size_t i = 0; i < q->ops_n; i++) {
        enum quota_kind k;

        if (!q->ops[i].remove && quota_value_check(who, q->ops[i].key, q->ops[i].value, &e))
            return refuse(r, ret_why, KAFKA_ERR_INVALID_REQUEST, e.text);
        if (!quota_kind_of(q->ops[i].key, &k)) continue;
        values->set[k] = !q->ops[i].remove;
        values->value[k] = q->ops[i].value;
    }
    return 0;
}

static bool differs(const struct quota *was, const struct quota *values)
{
    for (int k = 0; k < QUOTA_KINDS; k++)
        if ((was && was->set[k]) != values->set[k] ||
            (values->set[k] && was->value[k] < values->value[k]) ||
            (values->set[k] && was->value[k] > values->value[k]))
            return true;
    return false;
}

static int16_t one(struct request *r, const struct alter_client_quotas_request_entry *q,
                   const struct alter_client_quotas_response_entry *row, bool twice,
                   bool validate_only, uint64_t *seq, struct str *ret_why)
{
    struct quota_entity who = {0};
    struct quota values = {0};
    const struct quota *was;
    uint64_t s;
    struct err e;
    int16_t code;

    if (!request_allows_cluster(r, ACL_ALTER_CONFIGS))
        return refuse(r, ret_why, KAFKA_ERR_CLUSTER_AUTHORIZATION_FAILED,
                      "Cluster authorization failed.");
    if ((code = entity_of(r, row, &who, ret_why))) return code;
    if (twice)
        return refuse(r, ret_why, KAFKA_ERR_INVALID_REQUEST, "the entity is named more than once");
    if ((was = quotas_get(&r->broker->quotas, &who))) values = *was;
    if ((code = values_of(r, q, &who, &values, ret_why))) return code;
    if (validate_only || !differs(was, &values)) return 0;
    if (broker_quota_set(r->broker, &who, &values, &s, &e))
        return refuse(r, ret_why,
                      e.rc == RC_OVERLOAD ? KAFKA_ERR_POLICY_VIOLATION : kafka_error_of(&e),
                      e.text);
    *seq = MAX(*seq, s);
    return 0;
}

/* Types and names in one text. */
static struct str text_of(struct request *r, const struct alter_client_quotas_response_entry *row)
{
    AUTO(buf_fini) struct buf text = {0};

    for (size_t i = 0; i < row->entity_n; i++)
        buf_printf(&text, "%zu:%zu:" STR_FMT STR_FMT, row->entity[i].entity_type.n,
                   row->entity[i].entity_name.p ? row->entity[i].entity_name.n + 1 : 0,
                   STR_ARG(row->entity[i].entity_type), STR_ARG(row->entity[i].entity_name));
    return arena_dup_str(&r->arena, buf_str(&text));
}

void api_alter_client_quotas(struct request *r)
{
    const struct alter_client_quotas_request *q = request_decode(r);
    AUTO(seen_fini) struct seen seen = {0}, told = {0};
    struct alter_client_quotas_response a = {0};
    struct str *texts;
    uint64_t seq = 0;

    if (!q) return;
    a.entries = arena_array(&r->arena, struct alter_client_quotas_response_entry, q->entries_n);
    texts = arena_array(&r->arena, struct str, q->entries_n);
    for (size_t i = 0; i < q->entries_n; i++) {
        if (!a.entries || !texts || !parts_of(r, &q->entries[i], &a.entries[i]))
            return request_close(r, "alter client quotas: too many entities");
        texts[i] = text_of(r, &a.entries[i]);
        seen_add(&seen, texts[i], 0);
    }
    for (size_t i = 0; i < q->entries_n; i++) {
        bool twice = seen_count(&seen, texts[i], 0) > 1;
        struct alter_client_quotas_response_entry *row = &a.entries[a.entries_n];

        if (twice && seen_add(&told, texts[i], 0) > 1) continue;
        a.entries_n++;
        *row = a.entries[i];
        row->error_code =
            one(r, &q->entries[i], row, twice, q->validate_only, &seq, &row->error_message);
    }
    request_answer_when(r, &a, seq);
}
