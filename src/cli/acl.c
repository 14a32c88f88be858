/* cli/acl.c - acl: entries of access control lists, said as with kafka-acls. What is given is multiplied out: resources by
 * principals, hosts and operations. SPDX-License-Identifier: Apache-2.0 */
#include "cli/kafka.h"
#include "kafka/msg/create_acls.h"
#include "kafka/msg/delete_acls.h"
#include "kafka/msg/describe_acls.h"
#include "kafka/security.h"
#include <ctype.h>

enum { ENTRIES_MAX = 10000 };

struct entries { struct acl list[ENTRIES_MAX]; size_t n; };

/* ---- names ---- */

/* "DescribeConfigs" as DESCRIBE_CONFIGS. */
static struct str shouted(struct arena *a, const char *name)
{
    struct str s = str_of(name ? name : "Unknown");
    char *p = arena_alloc(a, 2 * s.n + 1);
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++) {
        if (i && isupper((unsigned char)s.p[i])) p[n++] = '_';
        p[n++] = (char)toupper((unsigned char)s.p[i]);
    }
    return (struct str){p, n};
}

static bool same_word(const char *a, const char *b)
{
    for (;; a++, b++) {
        while (*a == '_' || *a == '-') a++;
        while (*b == '_' || *b == '-') b++;
        if (tolower((unsigned char)*a) != tolower((unsigned char)*b)) return false;
        if (!*a) return true;
    }
}

static int operation_of(const char *said, bool filter, int8_t *ret)
{
    for (int op = filter ? ACL_OPERATION_ANY : ACL_ALL; op < ACL_OPERATIONS; op++)
        if (same_word(acl_operation_name((int8_t)op), said)) {
            *ret = (int8_t)op;
            return CLI_DONE;
        }
    return cli_usage("--operation: there is no \"%s\"; millrace help acl names them", said);
}

static const char *const patterns[ACL_PATTERNS] = {[ACL_PATTERN_ANY] = "Any", [ACL_MATCH] = "Match", [ACL_LITERAL] = "Literal", [ACL_PREFIXED] = "Prefixed"};

static int pattern_get(const struct cli *cli, bool filter, int8_t *ret)
{
    const char *said = cli_given(cli, "--resource-pattern-type", 0);

    *ret = ACL_LITERAL;
    for (int p = filter ? ACL_PATTERN_ANY : ACL_LITERAL; said && p < ACL_PATTERNS; p++)
        if (same_word(patterns[p], said)) {
            *ret = (int8_t)p;
            return CLI_DONE;
        }
    return said ? cli_usage("--resource-pattern-type: %s is wanted, not \"%s\"", filter ? "literal, prefixed, any or match" : "literal or prefixed", said) : CLI_DONE;
}

static const struct { const char *option; enum acl_resource type; uint32_t operations; } resources[] = {
    {"--topic", ACL_TOPIC, 1 << ACL_READ | 1 << ACL_WRITE | 1 << ACL_CREATE | 1 << ACL_DELETE | 1 << ACL_ALTER | 1 << ACL_DESCRIBE | 1 << ACL_DESCRIBE_CONFIGS | 1 << ACL_ALTER_CONFIGS},
    {"--group", ACL_GROUP, 1 << ACL_READ | 1 << ACL_DESCRIBE | 1 << ACL_DELETE},
    {"--cluster", ACL_CLUSTER, 1 << ACL_CREATE | 1 << ACL_CLUSTER_ACTION | 1 << ACL_DESCRIBE_CONFIGS | 1 << ACL_ALTER_CONFIGS | 1 << ACL_IDEMPOTENT_WRITE | 1 << ACL_ALTER | 1 << ACL_DESCRIBE},
    {"--transactional-id", ACL_TRANSACTIONAL_ID, 1 << ACL_DESCRIBE | 1 << ACL_WRITE},
    {"--delegation-token", ACL_DELEGATION_TOKEN, 1 << ACL_DESCRIBE},
    {"--user-principal", ACL_USER, 1 << ACL_CREATE_TOKENS | 1 << ACL_DESCRIBE_TOKENS},
};

/* ---- what is meant ---- */

static int entry_add(struct entries *to, const struct acl *one)
{
    if (to->n == ENTRIES_MAX) return cli_usage("acl: more than %d entries at once", ENTRIES_MAX);
    to->list[to->n++] = *one;
    return CLI_DONE;
}

/* One resource with one operation, for everybody who was named. */
static int principals_add(const struct cli *cli, const struct acl *of, bool filter, struct entries *to)
{
    static const struct { const char *who, *host; enum acl_permission permission; } kinds[] = {
        {"--allow-principal", "--allow-host", ACL_ALLOW}, {"--deny-principal", "--deny-host", ACL_DENY}, {"--principal", NULL, ACL_PERMISSION_ANY}};
    const char *who, *host;
    int status = CLI_DONE;
    bool any = false;

    for (size_t i = 0; i < countof(kinds); i++)
        for (size_t n = 0; !status && (who = cli_given(cli, kinds[i].who, n)); n++) {
            struct acl one = *of;
            size_t h = 0;

            any = true;
            if (!strchr(who, ':')) return cli_usage("%s: User:NAME is wanted, not \"%s\"", kinds[i].who, who);
            one.principal = str_of(who);
            one.permission = (int8_t)kinds[i].permission;
            one.host = filter ? (struct str){0} : STR("*");
            for (; !status && kinds[i].host && (host = cli_given(cli, kinds[i].host, h)); h++) {
                one.host = str_of(host);
                status = entry_add(to, &one);
            }
            if (!h) status = entry_add(to, &one);
        }
    if (any || !filter) return status;
    return entry_add(to, of);
}

static int operations_add(const struct cli *cli, const struct acl *of, uint32_t possible, bool filter, struct entries *to)
{
    struct acl one = *of;
    const char *said;
    int status = CLI_DONE;
    size_t n = 0;

    for (; !status && (said = cli_given(cli, "--operation", n)); n++) {
        if ((status = operation_of(said, filter, &one.operation))) return status;
        if (one.operation > ACL_ALL && !(possible >> one.operation & 1))
            return cli_usage("--operation %s: nothing of this kind is done to a %s", said, acl_resource_name(one.type));
        status = principals_add(cli, &one, filter, to);
    }
    if (n) return status;
    one.operation = filter ? ACL_OPERATION_ANY : ACL_ALL;
    return principals_add(cli, &one, filter, to);
}

/* --producer and --consumer: what such a client needs of each resource that was named. */
static int roles_add(const struct cli *cli, const struct acl *of, bool filter, struct entries *to)
{
    static const struct { const char *role; enum acl_resource type; enum acl_operation operation; } needs[] = {
        {"--producer", ACL_TOPIC, ACL_WRITE},  {"--producer", ACL_TOPIC, ACL_DESCRIBE},          {"--producer", ACL_TOPIC, ACL_CREATE},
        {"--producer", ACL_TRANSACTIONAL_ID, ACL_WRITE}, {"--producer", ACL_TRANSACTIONAL_ID, ACL_DESCRIBE}, {"--consumer", ACL_TOPIC, ACL_READ},
        {"--consumer", ACL_TOPIC, ACL_DESCRIBE}, {"--consumer", ACL_GROUP, ACL_READ}};
    struct acl one = *of;
    int status = CLI_DONE;
    bool described = false;

    for (size_t i = 0; !status && i < countof(needs); i++) {
        if (needs[i].type != (enum acl_resource)of->type || !cli_given(cli, needs[i].role, 0)) continue;
        if (needs[i].operation == ACL_DESCRIBE && described) continue;
        described |= needs[i].operation == ACL_DESCRIBE;
        one.operation = (int8_t)needs[i].operation;
        status = principals_add(cli, &one, filter, to);
    }
    return status;
}

static int roles_check(const struct cli *cli)
{
    bool producer = cli_given(cli, "--producer", 0), consumer = cli_given(cli, "--consumer", 0), topic = cli_given(cli, "--topic", 0);

    if (cli_given(cli, "--idempotent", 0) && !producer) return cli_usage("acl: --idempotent goes with --producer");
    if (!producer && !consumer) return CLI_DONE;
    if (cli_given(cli, "--operation", 0)) return cli_usage("acl: --producer and --consumer name the operations; leave --operation out");
    if (!topic) return cli_usage("acl: --producer and --consumer want --topic");
    if (consumer && !cli_given(cli, "--group", 0)) return cli_usage("acl: --consumer wants --group");
    return CLI_DONE;
}

static int resource_add(const struct cli *cli, size_t kind, const char *name, int8_t pattern, bool filter, struct entries *to)
{
    bool roles = cli_given(cli, "--producer", 0) || cli_given(cli, "--consumer", 0);
    struct acl one = {.type = (int8_t)resources[kind].type, .pattern = pattern, .name = str_of(name), .operation = ACL_OPERATION_ANY, .permission = ACL_PERMISSION_ANY};

    if (resources[kind].type == ACL_CLUSTER) {
        one.name = ACL_CLUSTER_NAME;
        one.pattern = ACL_LITERAL;
    }
    if (!one.name.n) return cli_usage("%s: a name is wanted", resources[kind].option);
    return roles ? roles_add(cli, &one, filter, to) : operations_add(cli, &one, resources[kind].operations, filter, to);
}

static int entries_make(const struct cli *cli, bool filter, struct entries *to)
{
    const char *name;
    int8_t pattern;
    bool any = false;
    int status = pattern_get(cli, filter, &pattern);

    if (!status) status = roles_check(cli);
    for (size_t i = 0; i < countof(resources); i++)
        for (size_t n = 0; !status && (name = cli_given(cli, resources[i].option, n)); n++) {
            any = true;
            status = resource_add(cli, i, name, pattern, filter, to);
        }
    if (!status && cli_given(cli, "--idempotent", 0)) {
        struct acl one = {.type = ACL_CLUSTER, .pattern = ACL_LITERAL, .name = ACL_CLUSTER_NAME, .operation = ACL_IDEMPOTENT_WRITE, .permission = ACL_PERMISSION_ANY};

        status = principals_add(cli, &one, filter, to);
    }
    if (status || any) return status;
    if (!filter) return cli_usage("acl add: a resource is wanted: --topic, --group, --cluster, --transactional-id, --delegation-token or --user-principal");
    struct acl all = {.type = ACL_RESOURCE_ANY, .pattern = ACL_PATTERN_ANY, .operation = ACL_OPERATION_ANY, .permission = ACL_PERMISSION_ANY};
    return operations_add(cli, &all, UINT32_MAX, true, to);
}

/* ---- what is shown ---- */

struct shown { struct kafka *k; json_t *list; struct table table; size_t n; };

static void shown_begin(struct shown *s, struct kafka *k)
{
    static const char *const titles[] = {"RESOURCE", "NAME", "PATTERN", "PRINCIPAL", "HOST", "OPERATION", "PERMISSION"};

    *s = (struct shown){.k = k, .list = k->cli->output == OUT_TABLE ? NULL : json_array()};
    table_begin(&s->table, titles, countof(titles));
}

static void show(struct shown *s, const struct acl *one)
{
    const char *pattern = one->pattern > 0 && one->pattern < ACL_PATTERNS ? patterns[one->pattern] : NULL;
    struct arena *a = &s->k->arena;
    struct str cells[] = {shouted(a, acl_resource_name(one->type)), one->name, shouted(a, pattern), one->principal, one->host,
                          shouted(a, acl_operation_name(one->operation)), one->permission == ACL_ALLOW ? STR("ALLOW") : STR("DENY")};
    static const char *const keys[] = {"resourceType", "name", "patternType", "principal", "host", "operation", "permission"};
    json_t *row = s->list ? json_object() : NULL;

    s->n++;
    for (size_t i = 0; i < countof(cells); i++) {
        if (row) json_object_set_new(row, keys[i], json_stringn(cells[i].p ? cells[i].p : "", cells[i].n));
        else table_add(&s->table, cells[i]);
    }
    if (row) json_array_append_new(s->list, row);
}

static void shown_end(struct shown *s, int status)
{
    if (status || s->list) table_drop(&s->table);
    else table_end(&s->table);
    if (!status && s->list) {
        json_t *all = json_pack("{s:O}", "acls", s->list);

        cli_put_json(s->k->cli, all);
        json_decref(all);
    }
    json_decref(s->list);
}

/* ---- the three requests ---- */

static int add(struct kafka *k, const struct entries *all)
{
    struct create_acls_request_creation *rows = arena_array(&k->arena, struct create_acls_request_creation, all->n);
    struct create_acls_request q = {.creations = rows, .creations_n = all->n};
    struct create_acls_response a;
    int status;

    for (size_t i = 0; i < all->n; i++)
        rows[i] = (struct create_acls_request_creation){.resource_type = all->list[i].type,
                                                        .resource_name = all->list[i].name,
                                                        .resource_pattern_type = all->list[i].pattern,
                                                        .principal = all->list[i].principal,
                                                        .host = all->list[i].host,
                                                        .operation = all->list[i].operation,
                                                        .permission_type = all->list[i].permission};
    status = kafka_ask(k, BUS_ASK_CONTROLLER, KAFKA_CREATE_ACLS, &q, &a);
    for (size_t i = 0; !status && i < a.results_n; i++)
        if (a.results[i].error_code) status = kafka_fail("acl add", STR(""), a.results[i].error_code, a.results[i].error_message);
    return status;
}

static int list(struct kafka *k, const struct entries *filters, struct shown *s)
{
    for (size_t i = 0; i < filters->n; i++) {
        const struct acl *f = &filters->list[i];
        struct describe_acls_request q = {.resource_type_filter = f->type,
                                          .resource_name_filter = f->name,
                                          .pattern_type_filter = f->pattern,
                                          .principal_filter = f->principal,
                                          .host_filter = f->host,
                                          .operation = f->operation,
                                          .permission_type = f->permission};
        struct describe_acls_response a;
        int status = kafka_ask(k, BUS_ASK_ANY, KAFKA_DESCRIBE_ACLS, &q, &a);

        if (!status && a.error_code) status = kafka_fail("acl list", STR(""), a.error_code, a.error_message);
        if (status) return status;
        for (size_t r = 0; r < a.resources_n; r++)
            for (size_t n = 0; n < a.resources[r].acls_n; n++)
                show(s, &(struct acl){.type = a.resources[r].resource_type,
                                      .pattern = a.resources[r].pattern_type,
                                      .name = a.resources[r].resource_name,
                                      .principal = a.resources[r].acls[n].principal,
                                      .host = a.resources[r].acls[n].host,
                                      .operation = a.resources[r].acls[n].operation,
                                      .permission = a.resources[r].acls[n].permission_type});
    }
    return CLI_DONE;
}

static int delete(struct kafka *k, const struct entries *filters, struct shown *s)
{
    struct delete_acls_request_filter *rows = arena_array(&k->arena, struct delete_acls_request_filter, filters->n);
    struct delete_acls_request q = {.filters = rows, .filters_n = filters->n};
    struct delete_acls_response a;
    int status;

    for (size_t i = 0; i < filters->n; i++)
        rows[i] = (struct delete_acls_request_filter){.resource_type_filter = filters->list[i].type,
                                                      .resource_name_filter = filters->list[i].name,
                                                      .pattern_type_filter = filters->list[i].pattern,
                                                      .principal_filter = filters->list[i].principal,
                                                      .host_filter = filters->list[i].host,
                                                      .operation = filters->list[i].operation,
                                                      .permission_type = filters->list[i].permission};
    status = kafka_ask(k, BUS_ASK_CONTROLLER, KAFKA_DELETE_ACLS, &q, &a);
    for (size_t i = 0; !status && i < a.filter_results_n; i++) {
        struct delete_acls_response_filter_result *r = &a.filter_results[i];

        if (r->error_code) status = kafka_fail("acl delete", STR(""), r->error_code, r->error_message);
        for (size_t n = 0; !status && n < r->matching_acls_n; n++) {
            struct delete_acls_response_matching_acl *m = &r->matching_acls[n];

            if (m->error_code) status = kafka_fail("acl delete", m->resource_name, m->error_code, m->error_message);
            else
                show(s, &(struct acl){.type = m->resource_type,
                                      .pattern = m->pattern_type,
                                      .name = m->resource_name,
                                      .principal = m->principal,
                                      .host = m->host,
                                      .operation = m->operation,
                                      .permission = m->permission_type});
        }
    }
    if (!status && !s->n) status = cli_fail("acl delete: no entry is like that");
    return status;
}

static int add_check(const struct cli *cli)
{
    if (cli_given(cli, "--principal", 0)) return cli_usage("acl add: --allow-principal or --deny-principal is wanted, not --principal");
    if (!cli_given(cli, "--allow-principal", 0) && !cli_given(cli, "--deny-principal", 0))
        return cli_usage("acl add: --allow-principal or --deny-principal is wanted");
    return CLI_DONE;
}

static int delete_check(const struct cli *cli)
{
    for (size_t i = 0; i < cli->given_n; i++)
        if (strstr(cli->given[i].name, "principal")) return CLI_DONE;
    for (size_t i = 0; i < countof(resources); i++)
        if (cli_given(cli, resources[i].option, 0)) return CLI_DONE;
    return cli->force ? CLI_DONE : cli_usage("acl delete: a resource or a principal is wanted; --force deletes every entry that is left");
}

int cmd_acl(struct cli *cli)
{
    struct entries *entries = xnew(struct entries);
    struct kafka k = {.cli = cli};
    const char *what = cli->words[0];
    bool adding = !strcmp(what, "add"), listing = !strcmp(what, "list"), deleting = !strcmp(what, "delete");
    struct shown s;
    int status = adding || listing || deleting ? CLI_DONE : cli_usage("acl: add, list or delete is wanted, not \"%s\"", what);

    if (!status && cli->force && !deleting) status = cli_usage("acl: --force goes with delete");
    if (!status && adding) status = add_check(cli);
    if (!status && deleting) status = delete_check(cli);
    if (!status) status = entries_make(cli, !adding, entries);
    if (!status && adding) status = add(&k, entries);
    if (!status && !adding) {
        shown_begin(&s, &k);
        status = listing ? list(&k, entries, &s) : delete (&k, entries, &s);
        shown_end(&s, status);
    }
    kafka_end(&k);
    free(entries);
    return status;
}
