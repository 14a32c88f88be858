/* app/config_listeners.c - broker.listeners and gateway.listeners. SPDX-License-Identifier: Apache-2.0 */
#include "app/config_load.h"
#include "net/addr.h"

static const char *const protocols[] = {"PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"};

static bool address_good(struct config_loader *l, struct str address, const char *what,
                         const struct config_place *at)
{
    struct str host;
    uint16_t port;
    struct err e = {0};

    if (!addr_split(address, &host, &port, &e)) return true;
    config_problem(l, at, "%s: HOST:PORT is wanted, not \"" STR_FMT "\"", what, STR_ARG(address));
    return false;
}

static bool advertise_good(struct config_loader *l, struct str address,
                           const struct config_place *at)
{
    struct str host;
    uint16_t port;
    struct err e = {0};

    if (!address_good(l, address, "advertise", at)) return false;
    if (addr_split(address, &host, &port, &e) || !addr_is_any(host)) return true;
    config_problem(l, at,
                   "advertise: clients cannot connect to \"" STR_FMT
                   "\": a name or address of this machine is wanted",
                   STR_ARG(address));
    return false;
}

static bool is_listener_name(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!((s.p[i] >= 'a' && s.p[i] <= 'z') || (s.p[i] >= '0' && s.p[i] <= '9') ||
              s.p[i] == '-'))
            return false;
    return s.n > 0 && s.n <= 30;
}

/* name=HOST:PORT with commas between them: the default, and the flag. */
void config_listeners_text(struct config_loader *l, enum config_key key, struct str text,
                           const struct config_place *at)
{
    struct config_listeners *all = config_field(l->c, key);
    struct config_listener *list = arena_array(&l->c->arena, struct config_listener, text.n + 1);
    size_t n = 0;
    bool more = text.n > 0;

    while (more) {
        struct str one, name, address;
        more = str_cut(text, ',', &one, &text);
        if (!str_cut(one, '=', &name, &address) || !is_listener_name(name)) {
            config_problem(l, at, "NAME=HOST:PORT is wanted, not \"" STR_FMT "\"", STR_ARG(one));
            return;
        }
        if (!address_good(l, address, "the address", at)) return;
        list[n++] = (struct config_listener){.name = arena_dup_str(&l->c->arena, name),
                                             .listen = arena_dup_str(&l->c->arena, address)};
    }
    *all = (struct config_listeners){list, n};
    config_mark(l, key, at);
    for (size_t i = 0; i < n; i++)
        list[i].origin = l->c->origins[key];
}

/* The first listener keeps its other settings and gets another address. */
void config_set_listen(struct config_loader *l, enum config_key key, struct str address,
                       const struct config_place *at)
{
    struct config_listeners *all = config_field(l->c, key);

    if (!address_good(l, address, "the address", at)) return;
    if (!all->n) {
        config_problem(l, at, "%s is empty: there is no first listener to set",
                       config_rows[key].key);
        return;
    }
    config_mark(l, key, at);
    all->list[0].listen = arena_dup_str(&l->c->arena, address);
    all->list[0].origin = l->c->origins[key];
}

/* What the first listener tells clients. */
void config_set_advertise(struct config_loader *l, enum config_key key, struct str address,
                          const struct config_place *at)
{
    struct config_listeners *all = config_field(l->c, key);

    if (!advertise_good(l, address, at)) return;
    if (all->n)
        all->list[0].advertise = arena_dup_str(&l->c->arena, address);
    else
        config_problem(l, at, "%s is empty: there is no first listener to set",
                       config_rows[key].key);
}

static void protocol_read(struct yaml_map *m, struct config_listener *one)
{
    struct yaml_text protocol = yaml_map_text(m, "protocol");

    one->protocol = CONFIG_PLAINTEXT;
    if (!protocol.at) return;
    for (size_t i = 0; i < countof(protocols); i++)
        if (str_is(protocol.s, protocols[i])) one->protocol = (enum config_protocol)i;
    if (!str_is(protocol.s, protocols[one->protocol]))
        yaml_problem(m, protocol.at,
                     STR_FMT ".protocol: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL is wanted, not \"" STR_FMT "\"",
                     STR_ARG(m->path), STR_ARG(protocol.s));
}

static void sasl_read(struct yaml_map *m, struct config_listener *one)
{
    bool wanted = one->protocol == CONFIG_SASL_PLAINTEXT || one->protocol == CONFIG_SASL_SSL;
    enum sasl_mechanism mechanism;
    size_t n;
    const struct yaml_text *list = yaml_map_texts(m, "sasl", &n);

    for (size_t i = 0; i < n; i++)
        if (sasl_mechanism_of(list[i].s, &mechanism))
            one->sasl |= mechanism;
        else
            yaml_problem(m, list[i].at,
                         STR_FMT ".sasl: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER is wanted, not \"" STR_FMT "\"",
                         STR_ARG(m->path), STR_ARG(list[i].s));
    if (n && !wanted)
        yaml_problem(m, list[0].at, STR_FMT ".sasl: mechanisms belong to the protocols SASL_PLAINTEXT and SASL_SSL, and this is %s",
                     STR_ARG(m->path), protocols[one->protocol]);
    else if (!n && wanted)
        yaml_problem(m, m->node, STR_FMT ".sasl: %s wants at least one mechanism, such as SCRAM-SHA-512", STR_ARG(m->path),
                     protocols[one->protocol]);
}

static void client_auth_read(struct yaml_map *m, struct config_listener *one)
{
    static const char *const words[] = {[TLS_CLIENT_NONE] = "none", [TLS_CLIENT_REQUESTED] = "requested", [TLS_CLIENT_REQUIRED] = "required"};
    struct yaml_text auth = yaml_map_text(m, "clientAuth"), rules = yaml_map_text(m, "principalMappingRules");

    one->principal_rules = rules.s;
    if (!auth.at) return;
    for (size_t i = 0; i < countof(words); i++)
        if (str_is(auth.s, words[i])) one->client_auth = (enum tls_client_auth)i;
    if (!str_is(auth.s, words[one->client_auth]))
        yaml_problem(m, auth.at, STR_FMT ".clientAuth: none, requested or required is wanted, not \"" STR_FMT "\"", STR_ARG(m->path),
                     STR_ARG(auth.s));
    else if (one->client_auth && !one->client_ca_path.n)
        yaml_problem(m, auth.at, STR_FMT ".clientAuth: clients' certificates are checked against tls.clientCaPath, which is missing",
                     STR_ARG(m->path));
}

static void security_read(struct yaml_map *m, struct config_listener *one)
{
    struct yaml_map tls;

    protocol_read(m, one);
    yaml_map_sub(m, "tls", &tls);
    one->crt_path = yaml_map_text(&tls, "crtPath").s;
    one->key_path = yaml_map_text(&tls, "keyPath").s;
    one->client_ca_path = yaml_map_text(&tls, "clientCaPath").s;
    yaml_map_end(&tls);
    if ((one->protocol == CONFIG_SSL || one->protocol == CONFIG_SASL_SSL) && (!one->crt_path.n || !one->key_path.n))
        yaml_problem(m, m->node, STR_FMT ".tls: %s wants crtPath and keyPath", STR_ARG(m->path), protocols[one->protocol]);
    sasl_read(m, one);
    client_auth_read(m, one);
}

static void listener_read(struct config_loader *l, enum config_key key, const struct yaml_node *n,
                          size_t i, const struct config_place *at, struct config_listener *one)
{
    bool broker = key == CONFIG_KEY_BROKER_LISTENERS;
    struct config_place here = config_place_of(at, n);
    struct yaml_text name, listen, advertise = {0};
    struct yaml_map m;

    here.label = arena_printf(&l->c->arena, "%s[%zu]", config_rows[key].key, i);
    yaml_map_begin(&m, n, at->file, here.label, &l->c->arena, l->problems);
    name = yaml_map_text(&m, "name");
    listen = yaml_map_text(&m, "listen");
    if (broker) {
        advertise = yaml_map_text(&m, "advertise");
        security_read(&m, one);
    }
    yaml_map_end(&m);
    if (!m.node) {
        if (yaml_is_null(n)) config_problem(l, &here, "name and listen are wanted here");
        return;
    }
    if (!is_listener_name(name.s))
        config_problem(l, &here, "name: 1 to 30 of a-z, 0-9 and - are wanted, not \"" STR_FMT "\"",
                       STR_ARG(name.s));
    address_good(l, listen.s, "listen", &here);
    if (advertise.s.n) advertise_good(l, advertise.s, &here);
    one->name = name.s;
    one->listen = listen.s;
    one->advertise = advertise.s;
}

void config_listeners_node(struct config_loader *l, enum config_key key,
                           const struct yaml_node *node, const struct config_place *at)
{
    struct config_listeners *all = config_field(l->c, key);
    struct config_listener *list = arena_array(&l->c->arena, struct config_listener, node->n + 1);
    size_t before = l->problems->n;

    for (size_t i = 0; i < node->n; i++)
        listener_read(l, key, node->items[i], i, at, &list[i]);
    if (l->problems->n != before) return;
    *all = (struct config_listeners){list, node->n};
    config_mark(l, key, at);
    for (size_t i = 0; i < node->n; i++) {
        list[i].origin = l->c->origins[key];
        list[i].origin.detail = arena_printf(&l->c->arena, STR_FMT ":%u:%u", STR_ARG(at->file),
                                             node->items[i]->line, node->items[i]->column);
    }
}
