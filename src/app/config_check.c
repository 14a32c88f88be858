/* app/config_check.c - what follows from several values together, and what cannot stand together.
 * SPDX-License-Identifier: Apache-2.0 */
#include "app/config_load.h"
#include "net/addr.h"
#include <inttypes.h>

static bool has_role(const struct config *c, const char *role)
{
    for (size_t i = 0; i < c->roles.n; i++)
        if (str_is(c->roles.list[i], role)) return true;
    return false;
}

bool config_runs_broker(const struct config *c)
{
    return has_role(c, "broker");
}
bool config_runs_gateway(const struct config *c)
{
    return has_role(c, "gateway");
}
bool config_is_embedded(const struct config *c)
{
    return str_is(c->kafka_bootstrap, "embedded");
}

bool config_gateway_encrypts(const struct config *c)
{
    return c->security_gateway_protocol == CONFIG_SECURITY_GATEWAY_PROTOCOL_SSL;
}

enum tls_client_auth config_gateway_client_auth(const struct config *c)
{
    if (!c->security_gateway_tls_client_ca_path.n && !c->security_gateway_tls_client_secret.n) return TLS_CLIENT_NONE;
    switch (c->security_gateway_tls_client_auth) {
    case CONFIG_SECURITY_GATEWAY_TLS_CLIENT_AUTH_NONE: return TLS_CLIENT_NONE;
    case CONFIG_SECURITY_GATEWAY_TLS_CLIENT_AUTH_REQUESTED: return TLS_CLIENT_REQUESTED;
    case CONFIG_SECURITY_GATEWAY_TLS_CLIENT_AUTH_REQUIRED: return TLS_CLIENT_REQUIRED;
    }
    return TLS_CLIENT_REQUIRED;
}

static bool given(const struct config_loader *l, enum config_key key)
{
    return l->c->origins[key].from != CONFIG_DEFAULT;
}

static void refuse(struct config_loader *l, enum config_key key, const char *fmt, ...) PRINTF(3, 4);
static void refuse(struct config_loader *l, enum config_key key, const char *fmt, ...)
{
    AUTO(buf_fini) struct buf text = {0};
    struct config_place at = l->places[key];
    va_list ap;

    if (!at.label.n) at.label = str_of(config_rows[key].key);
    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    config_problem(l, &at, STR_FMT, STR_ARG(buf_str(&text)));
}

/* ---- derived values ---- */

/* The original's chart sets the paths of the environment always, and the protocol says whether they count. */
static void derive_gateway_protocol(struct config_loader *l)
{
    struct config_place at = {.from = CONFIG_DERIVED, .label = STR("security.gateway.tls names a certificate")};
    enum config_from crt = l->c->origins[CONFIG_KEY_SECURITY_GATEWAY_TLS_CRT_PATH].from, secret = l->c->origins[CONFIG_KEY_SECURITY_GATEWAY_TLS_SECRET].from;

    if (!given(l, CONFIG_KEY_SECURITY_GATEWAY_PROTOCOL) &&
        ((l->c->security_gateway_tls_crt_path.n && (crt == CONFIG_YAML || crt == CONFIG_FLAG)) ||
         (l->c->security_gateway_tls_secret.n && (secret == CONFIG_YAML || secret == CONFIG_FLAG))))
        config_set_text(l, CONFIG_KEY_SECURITY_GATEWAY_PROTOCOL, STR("SSL"), &at);
}

void config_derive(struct config_loader *l)
{
    struct config_place at = {.from = CONFIG_DERIVED,
                              .label = STR("kafka.bootstrap names another Kafka")};

    if (!config_is_embedded(l->c) && !given(l, CONFIG_KEY_ROLES))
        config_set_text(l, CONFIG_KEY_ROLES, STR("gateway"), &at);
    derive_gateway_protocol(l);
    config_derive_security(l);
}

/* ---- contradictions ---- */

static void check_roles(struct config_loader *l)
{
    const struct config *c = l->c;

    if (!c->roles.n)
        refuse(l, CONFIG_KEY_ROLES, "at least one of broker and gateway is wanted");
    else if (!config_runs_broker(c) && config_is_embedded(c))
        refuse(l, CONFIG_KEY_ROLES,
               "without the broker the data plane needs another Kafka: give kafka.bootstrap "
               "(--bootstrap HOST:PORT)");
    else if (!config_runs_gateway(c) && !config_is_embedded(c))
        refuse(l, CONFIG_KEY_KAFKA_BOOTSTRAP,
               "a broker without the gateway uses no other Kafka: leave out kafka.bootstrap, or "
               "add the gateway to roles");
    if (config_is_embedded(c) && c->kafka_topics_replication_factor > 1)
        refuse(l, CONFIG_KEY_KAFKA_TOPICS_REPLICATION_FACTOR,
               "%" PRId64 " replicas are impossible with the embedded broker, which is one node; "
               "give 1, or kafka.bootstrap",
               c->kafka_topics_replication_factor);
    if (config_is_embedded(c) &&
        c->security_kafka_protocol != CONFIG_SECURITY_KAFKA_PROTOCOL_PLAINTEXT)
        refuse(l, CONFIG_KEY_SECURITY_KAFKA_PROTOCOL,
               "client security has no meaning with the embedded broker, which is not reached over "
               "a socket");
}

static void check_limits(struct config_loader *l)
{
    const struct config *c = l->c;

    if (c->gateway_timeout_ms > c->gateway_timeout_max_ms)
        refuse(l, CONFIG_KEY_GATEWAY_TIMEOUT_MS,
               "%" PRIu64 " is more than gateway.timeoutMaxMs, %" PRIu64, c->gateway_timeout_ms,
               c->gateway_timeout_max_ms);
    if (c->broker_config_message_max_bytes > c->broker_config_socket_request_max_bytes)
        refuse(l, CONFIG_KEY_BROKER_CONFIG_MESSAGE_MAX_BYTES,
               "%" PRId64 " could never arrive: broker.config.socket.request.max.bytes is %" PRId64,
               c->broker_config_message_max_bytes, c->broker_config_socket_request_max_bytes);
    if (config_is_embedded(c) && c->kafka_topics_num_partitions > 1 &&
        c->control_store == CONFIG_CONTROL_STORE_FILE)
        config_note(
            l, "control.store is file: other processes on the same log do not see the resources");
}

/* Two listeners of one name cannot be told apart in the ready line; two of one address cannot both be opened. */
static void check_listeners(struct config_loader *l)
{
    struct {
        enum config_key key;
        const struct config_listener *one;
    } all[64];
    const enum config_key keys[] = {CONFIG_KEY_BROKER_LISTENERS, CONFIG_KEY_GATEWAY_LISTENERS};
    size_t n = 0;

    for (size_t k = 0; k < countof(keys); k++) {
        const struct config_listeners *list = config_field(l->c, keys[k]);
        if (!list->n) refuse(l, keys[k], "at least one listener is wanted");
        for (size_t i = 0; i < list->n; i++) {
            if (n == countof(all)) {
                refuse(l, keys[k], "more than %zu listeners", countof(all));
                return;
            }
            all[n].key = keys[k];
            all[n++].one = &list->list[i];
        }
    }
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < i; k++) {
            const struct config_listener *a = all[k].one, *b = all[i].one;
            if (str_eq(a->name, b->name))
                refuse(l, all[i].key, "two listeners have the name \"" STR_FMT "\"",
                       STR_ARG(b->name));
            else if (str_eq(a->listen, b->listen) && !str_ends(b->listen, STR(":0")))
                refuse(l, all[i].key,
                       "the listeners " STR_FMT " and " STR_FMT " have the same address " STR_FMT,
                       STR_ARG(a->name), STR_ARG(b->name), STR_ARG(b->listen));
        }
}

static bool is_loopback(struct str listen)
{
    struct addr a;
    struct str host;
    uint16_t port;
    struct err e = {0};

    if (addr_literal(listen, &a)) return addr_loopback(&a);
    return !addr_split(listen, &host, &port, &e) && str_is(host, "localhost");
}

/* Does the inference port know who calls, whoever it is? */
static bool gateway_asks(const struct config *c)
{
    return c->security_gateway_tokens.n || c->security_gateway_jwt_jwks.n || (config_gateway_encrypts(c) && config_gateway_client_auth(c) == TLS_CLIENT_REQUIRED);
}

static void check_gateway_tls(struct config_loader *l)
{
    const struct config *c = l->c;

    if (!config_runs_gateway(c)) return;
    if (c->security_gateway_jwt_jwks.n && (!c->security_gateway_jwt_issuer.n || !c->security_gateway_jwt_audience.n))
        refuse(l, CONFIG_KEY_SECURITY_GATEWAY_JWT_JWKS, "security.gateway.jwt.issuer and audience are wanted, too: else a token that was signed for somebody else would do");
    if (!config_gateway_encrypts(c)) {
        if (l->c->origins[CONFIG_KEY_SECURITY_GATEWAY_TLS_CRT_PATH].from == CONFIG_YAML)
            config_note(l, "security.gateway.tls is given, but security.gateway.protocol is PLAINTEXT: nothing is encrypted");
        return;
    }
    if (!c->security_gateway_tls_secret.n && (!c->security_gateway_tls_crt_path.n || !c->security_gateway_tls_key_path.n))
        refuse(l, CONFIG_KEY_SECURITY_GATEWAY_PROTOCOL, "SSL wants security.gateway.tls.crtPath and keyPath, or security.gateway.tls.secret");
    if (c->security_gateway_tls_client_ca_path.n || c->security_gateway_tls_client_secret.n) return;
    if (given(l, CONFIG_KEY_SECURITY_GATEWAY_TLS_CLIENT_AUTH) && c->security_gateway_tls_client_auth != CONFIG_SECURITY_GATEWAY_TLS_CLIENT_AUTH_NONE)
        refuse(l, CONFIG_KEY_SECURITY_GATEWAY_TLS_CLIENT_AUTH, "callers' certificates are checked against security.gateway.tls.clientCaPath, which is missing");
    else if (l->c->origins[CONFIG_KEY_SECURITY_GATEWAY_PROTOCOL].from == CONFIG_ENV && !given(l, CONFIG_KEY_SECURITY_GATEWAY_TLS_CLIENT_AUTH))
        refuse(l, CONFIG_KEY_SECURITY_GATEWAY_PROTOCOL,
               "SSL means mutual TLS there: ENVOY_UPSTREAM_CLIENT_TLS_CA_LOCATION (security.gateway.tls.clientCaPath) is missing; "
               "security.gateway.tls.clientAuth: none does without callers' certificates");
}

static void check_public(struct config_loader *l)
{
    const struct config *c = l->c;

    for (size_t i = 0; i < c->gateway_listeners.n && config_runs_gateway(c) &&
                       !c->security_gateway_allow_unauthenticated && !gateway_asks(c);
         i++)
        if (!is_loopback(c->gateway_listeners.list[i].listen))
            refuse(l, CONFIG_KEY_GATEWAY_LISTENERS,
                   STR_FMT " can be reached from other machines and asks nobody who they are: "
                           "ask for tokens (security.gateway.tokens, security.gateway.jwt) or certificates (security.gateway.tls with clientCaPath), listen on 127.0.0.1, "
                           "or say --allow-unauthenticated",
                   STR_ARG(c->gateway_listeners.list[i].listen));
}

static bool asks_who(const struct config_listener *one)
{
    return one->sasl || one->client_auth == TLS_CLIENT_REQUIRED;
}

/* Whoever listens to the network could take a token from it. */
static void note_clear_tokens(struct config_loader *l)
{
    const struct config *c = l->c;

    if (!config_runs_gateway(c) || !(c->security_gateway_tokens.n || c->security_gateway_jwt_jwks.n) || config_gateway_encrypts(c)) return;
    for (size_t i = 0; i < c->gateway_listeners.n; i++)
        if (!is_loopback(c->gateway_listeners.list[i].listen)) {
            config_note(l, "gateway.listeners " STR_FMT ": tokens travel in the clear; security.gateway.tls hides them", STR_ARG(c->gateway_listeners.list[i].name));
            return;
        }
}

static void check_users(struct config_loader *l)
{
    const struct config *c = l->c;

    for (size_t i = 0; i < c->broker_listeners.n && config_runs_broker(c); i++) {
        const struct config_listener *one = &c->broker_listeners.list[i];

        if (one->protocol == CONFIG_SASL_PLAINTEXT && one->sasl & (SASL_PLAIN | SASL_OAUTHBEARER) && !is_loopback(one->listen))
            config_note(l, "broker.listeners " STR_FMT ": passwords and tokens travel in the clear (PLAIN, OAUTHBEARER); SASL_SSL hides them",
                        STR_ARG(one->name));
        if (one->sasl & SASL_OAUTHBEARER && !c->broker_oauth_jwks.n)
            refuse(l, CONFIG_KEY_BROKER_LISTENERS, STR_FMT ": OAUTHBEARER wants broker.oauth.jwks, the keys that tokens are checked against",
                   STR_ARG(one->name));
    }
    for (size_t i = 0; i < c->broker_super_users.n; i++)
        if (!str_starts(c->broker_super_users.list[i], STR("User:")))
            refuse(l, CONFIG_KEY_BROKER_SUPER_USERS, "a principal is User:NAME, not \"" STR_FMT "\": it would match nobody",
                   STR_ARG(c->broker_super_users.list[i]));
    if (c->broker_authorizer == CONFIG_BROKER_AUTHORIZER_ACL && !c->broker_super_users.n && config_runs_broker(c))
        config_note(l, "broker.authorizer is acl and broker.superUsers is empty: only what entries allow is allowed, so that nobody may add the first one");
}

/* Anyone who reaches this port may read and write every topic. */
static void note_public_broker(struct config_loader *l)
{
    const struct config *c = l->c;

    for (size_t i = 0; i < c->broker_listeners.n && config_runs_broker(c); i++)
        if (!is_loopback(c->broker_listeners.list[i].listen) && !asks_who(&c->broker_listeners.list[i]))
            config_note(l,
                        "broker.listeners " STR_FMT ": " STR_FMT
                        " can be reached from other machines and asks nobody who they are: whoever "
                        "reaches it can read and write every topic (protocol SASL_SSL asks)",
                        STR_ARG(c->broker_listeners.list[i].name),
                        STR_ARG(c->broker_listeners.list[i].listen));
}

/* Keys of features that this version does not have. */
static void check_later(struct config_loader *l)
{
    for (int i = 0; i < CONFIG_KEYS; i++) {
        AUTO(buf_fini) struct buf value = {0};
        if (!config_rows[i].later || !given(l, (enum config_key)i)) continue;
        config_put_value(l->c, (enum config_key)i, &value);
        if (!str_is(buf_str(&value), config_rows[i].preset))
            refuse(l, (enum config_key)i,
                   "this comes with a later version of millrace; leave it out");
    }
}

/* Weaker promises are the user's choice, and said once. */
static void note_weak(struct config_loader *l)
{
    const struct config *c = l->c;

    if (!config_runs_gateway(c)) return;
    if (c->flow_record == CONFIG_FLOW_RECORD_ERRORS)
        config_note(l, "flow.record is errors: no recovery, no idempotence, no replay");
    if (c->flow_redact.n)
        config_note(l, "flow.redact is set: a request whose record lacks something ends in an error record after a crash, and is not replayed");
    if (c->gateway_reply == CONFIG_GATEWAY_REPLY_IMMEDIATE)
        config_note(l, "gateway.reply is immediate: after a crash the log may lack the record of a "
                       "reply that was given");
    if (c->flow_durability == CONFIG_FLOW_DURABILITY_CACHE)
        config_note(l, "flow.durability is cache: a crash may lose the last records although their "
                       "replies were given");
}

void config_check(struct config_loader *l)
{
    check_roles(l);
    check_limits(l);
    check_listeners(l);
    check_gateway_tls(l);
    config_check_security(l);
    check_public(l);
    check_later(l);
    note_public_broker(l);
    check_users(l);
    note_weak(l);
    note_clear_tokens(l);
}
