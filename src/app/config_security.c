/* app/config_security.c - security.kafka: what follows from several of its values, and what cannot stand together.
 * SPDX-License-Identifier: Apache-2.0 */
#include "app/config_load.h"
#include "bus/remote_kind.h"

static bool given(const struct config_loader *l, enum config_key key)
{
    return l->c->origins[key].from != CONFIG_DEFAULT;
}

/* At its place, or, where it was not given, under its name. */
static struct config_place place(const struct config_loader *l, enum config_key key)
{
    struct config_place at = l->places[key];

    if (!at.label.n) at.label = str_of(config_rows[key].key);
    return at;
}

#define REFUSE(l, key, ...)                                                                                            \
    do {                                                                                                               \
        struct config_place at_ = place(l, key);                                                                       \
        config_problem(l, &at_, __VA_ARGS__);                                                                          \
    } while (0)

static bool is_sasl(enum config_key key)
{
    return key == CONFIG_KEY_SECURITY_KAFKA_PROTOCOL || str_starts(str_of(config_rows[key].key), STR("security.kafka.sasl."));
}

static bool uses_sasl(const struct config *c)
{
    return c->security_kafka_protocol == CONFIG_SECURITY_KAFKA_PROTOCOL_SASL_SSL || c->security_kafka_protocol == CONFIG_SECURITY_KAFKA_PROTOCOL_SASL_PLAINTEXT;
}

static bool uses_tls(const struct config *c)
{
    return c->security_kafka_protocol == CONFIG_SECURITY_KAFKA_PROTOCOL_SSL || c->security_kafka_protocol == CONFIG_SECURITY_KAFKA_PROTOCOL_SASL_SSL;
}

/* ---- what follows ---- */

static void derive(struct config_loader *l, enum config_key key, const char *value, const char *why)
{
    struct config_place at = {.from = CONFIG_DERIVED, .label = str_of(why)};

    if (!given(l, key)) config_set_text(l, key, str_of(value), &at);
}

/* Only the environment speaks of SASL: the original's gateways then take PLAIN. */
static bool only_environment(const struct config_loader *l)
{
    bool env = false;

    for (int i = 0; i < CONFIG_KEYS; i++) {
        if (!is_sasl((enum config_key)i) || !given(l, (enum config_key)i)) continue;
        if (l->c->origins[i].from != CONFIG_ENV) return false;
        env = true;
    }
    return env;
}

void config_derive_security(struct config_loader *l)
{
    const struct config *c = l->c;
    bool hubs = remote_kind_of(c->kafka_bootstrap) == REMOTE_EVENT_HUBS && uses_sasl(c);

    if (only_environment(l)) derive(l, CONFIG_KEY_SECURITY_KAFKA_SASL_MECHANISM, "PLAIN", "only the environment speaks of SASL");
    if (hubs) derive(l, CONFIG_KEY_SECURITY_KAFKA_SASL_MECHANISM, "PLAIN", "kafka.bootstrap is an Azure Event Hub");
    if (hubs && c->security_kafka_sasl_mechanism == CONFIG_SECURITY_KAFKA_SASL_MECHANISM_PLAIN)
        derive(l, CONFIG_KEY_SECURITY_KAFKA_SASL_CLIENT_USERNAME, "$ConnectionString", "kafka.bootstrap is an Azure Event Hub");
}

/* ---- contradictions ---- */

static void check_tls(struct config_loader *l)
{
    const struct config *c = l->c;
    bool crt = c->security_kafka_ssl_client_crt_path.n > 0, key = c->security_kafka_ssl_client_key_path.n > 0;

    if (!uses_tls(c) || c->security_kafka_ssl_client_secret.n) return;
    if (crt && !key)
        REFUSE(l, CONFIG_KEY_SECURITY_KAFKA_SSL_CLIENT_CRT_PATH,
               "a certificate without its key: give security.kafka.ssl.client.keyPath as well (KAFKA_CLIENT_TLS_KEY_LOCATION)");
    if (key && !crt)
        REFUSE(l, CONFIG_KEY_SECURITY_KAFKA_SSL_CLIENT_KEY_PATH,
               "a key without its certificate: give security.kafka.ssl.client.crtPath as well (KAFKA_CLIENT_TLS_CRT_LOCATION)");
}

/* Without a Secret, whose keys have the same names, the token endpoint stands here. */
static void check_oauth(struct config_loader *l)
{
    const struct config *c = l->c;

    if (c->security_kafka_sasl_oauth_method.n && !str_is(c->security_kafka_sasl_oauth_method, "OIDC"))
        REFUSE(l, CONFIG_KEY_SECURITY_KAFKA_SASL_OAUTH_METHOD, "OIDC is wanted, not \"" STR_FMT "\"", STR_ARG(c->security_kafka_sasl_oauth_method));
    if (c->security_kafka_sasl_client_secret.n) return;
    if (!c->security_kafka_sasl_oauth_token_endpoint_url.n)
        REFUSE(l, CONFIG_KEY_SECURITY_KAFKA_SASL_OAUTH_TOKEN_ENDPOINT_URL, "OAUTHBEARER wants it, or security.kafka.sasl.client.secret, a Secret with the key token_endpoint_url");
    if (!c->security_kafka_sasl_oauth_client_id.n)
        REFUSE(l, CONFIG_KEY_SECURITY_KAFKA_SASL_OAUTH_CLIENT_ID, "OAUTHBEARER wants it, or security.kafka.sasl.client.secret, a Secret with the key client_id");
    if (!c->security_kafka_sasl_oauth_client_secret_path.n)
        REFUSE(l, CONFIG_KEY_SECURITY_KAFKA_SASL_OAUTH_CLIENT_SECRET_PATH,
               "OAUTHBEARER wants it, or security.kafka.sasl.client.secret, a Secret with the key client_secret");
}

static void check_sasl(struct config_loader *l)
{
    const struct config *c = l->c;
    bool clear = c->security_kafka_protocol == CONFIG_SECURITY_KAFKA_PROTOCOL_SASL_PLAINTEXT;

    if (!uses_sasl(c)) return;
    switch (c->security_kafka_sasl_mechanism) {
    case CONFIG_SECURITY_KAFKA_SASL_MECHANISM_AWS_MSK_IAM:
        if (clear)
            REFUSE(l, CONFIG_KEY_SECURITY_KAFKA_PROTOCOL, "AWS_MSK_IAM is spoken over TLS: SASL_SSL is wanted, not SASL_PLAINTEXT");
        return;
    case CONFIG_SECURITY_KAFKA_SASL_MECHANISM_OAUTHBEARER: check_oauth(l); break;
    case CONFIG_SECURITY_KAFKA_SASL_MECHANISM_PLAIN:
    case CONFIG_SECURITY_KAFKA_SASL_MECHANISM_SCRAM_SHA_256:
    case CONFIG_SECURITY_KAFKA_SASL_MECHANISM_SCRAM_SHA_512:
        if (!c->security_kafka_sasl_client_username.n)
            REFUSE(l, CONFIG_KEY_SECURITY_KAFKA_SASL_CLIENT_USERNAME, "a name to log in with is wanted (KAFKA_CLIENT_SASL_USERNAME)");
        if (!c->security_kafka_sasl_client_password_path.n)
            REFUSE(l, CONFIG_KEY_SECURITY_KAFKA_SASL_CLIENT_PASSWORD_PATH,
                   "the file with the password is wanted, or its key in the Secret (KAFKA_CLIENT_SASL_PASSWORD_LOCATION)");
        break;
    }
    if (clear && (c->security_kafka_sasl_mechanism == CONFIG_SECURITY_KAFKA_SASL_MECHANISM_PLAIN ||
                  c->security_kafka_sasl_mechanism == CONFIG_SECURITY_KAFKA_SASL_MECHANISM_OAUTHBEARER))
        config_note(l, "security.kafka.protocol is SASL_PLAINTEXT: the %s travels in the clear; SASL_SSL hides it",
                    c->security_kafka_sasl_mechanism == CONFIG_SECURITY_KAFKA_SASL_MECHANISM_PLAIN ? "password" : "token");
}

/* Somebody named a Secret, a certificate or a login, and no protocol that uses them. */
static void note_unused(struct config_loader *l)
{
    static const enum config_key keys[] = {
        CONFIG_KEY_SECURITY_KAFKA_SASL_CLIENT_USERNAME, CONFIG_KEY_SECURITY_KAFKA_SASL_CLIENT_SECRET, CONFIG_KEY_SECURITY_KAFKA_SASL_OAUTH_TOKEN_ENDPOINT_URL,
        CONFIG_KEY_SECURITY_KAFKA_SSL_CLIENT_SECRET,    CONFIG_KEY_SECURITY_KAFKA_SSL_CLIENT_CRT_PATH};

    if (given(l, CONFIG_KEY_SECURITY_KAFKA_PROTOCOL)) return;
    for (size_t i = 0; i < countof(keys); i++) {
        if (!given(l, keys[i])) continue;
        config_note(l, "%s is given, but not security.kafka.protocol, so it is PLAINTEXT and none of that is used; SSL, SASL_SSL or SASL_PLAINTEXT would", config_rows[keys[i]].key);
        return;
    }
}

void config_check_security(struct config_loader *l)
{
    const struct config *c = l->c;
    bool none = c->security_kafka_ssl_client_endpoint_identification_algorithm == CONFIG_SECURITY_KAFKA_SSL_CLIENT_ENDPOINT_IDENTIFICATION_ALGORITHM_NONE;

    if (config_is_embedded(c) || !config_runs_gateway(c)) return;
    check_tls(l);
    check_sasl(l);
    if (c->security_kafka_protocol == CONFIG_SECURITY_KAFKA_PROTOCOL_PLAINTEXT) note_unused(l);
    if (uses_tls(c) && none)
        config_note(l, "security.kafka.ssl.client.endpointIdentificationAlgorithm is none: any broker with a certificate of a known authority is believed, whatever its name");
}
