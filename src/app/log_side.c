/* Design note: the broker is made, and freed, on the main thread while its loop does not run.
 * SPDX-License-Identifier: Apache-2.0 */
#include "app/parts.h"
#include "base/diag.h"
#include "broker/broker.h"
#include "bus/embedded.h"
#include "bus/remote.h"
#include "net/addr.h"
#include "sys/fs.h"
#include "sys/thread.h"
#include <stdio.h>
#include <unistd.h>

enum { CONNECT_MS = 30000, DRAIN_STEP_MS = 20, DRAIN_MS = 5000 };

/* ---- the embedded broker ---- */

struct settings { struct broker_setting *list; size_t n; struct arena arena; };

/* Only what was really set: the broker has the same defaults itself, and tells its clients which is which. */
static void settings_add(void *ctx, struct str name, struct str value, bool is_default)
{
    struct settings *s = ctx;

    if (is_default) return;
    s->list = xrealloc(s->list, s->n + 1, sizeof s->list[0]);
    s->list[s->n++] = (struct broker_setting){arena_dup_str(&s->arena, name), arena_dup_str(&s->arena, value)};
}

static void put_address(struct buf *b, struct str host, uint16_t port)
{
    bool brackets = host.n && memchr(host.p, ':', host.n);

    buf_printf(b, "%s" STR_FMT "%s:%u", brackets ? "[" : "", STR_ARG(host.n ? host : STR("0.0.0.0")), brackets ? "]" : "", port);
}

static enum rc listen_on(struct log_side *s, const struct config_listener *at, struct err *e)
{
    struct broker_listen l = {.name = at->name,
                              .protocol = (enum broker_protocol)at->protocol,
                              .sasl = at->sasl,
                              .tls = {.crt_path = at->crt_path.p, .key_path = at->key_path.p, .client_ca_path = at->client_ca_path.p,
                                      .client_auth = at->client_auth},
                              .principal_rules = at->principal_rules};
    char                 name[256] = "";
    uint16_t             port;
    enum rc              rc;

    if (addr_split(at->listen, &l.host, &l.port, e)) return err_in(e, "broker.listeners " STR_FMT, STR_ARG(at->name));
    if (at->advertise.n && addr_split(at->advertise, &l.advertised_host, &l.advertised_port, e))
        return err_in(e, "broker.listeners " STR_FMT ": advertise", STR_ARG(at->name));
    if (addr_is_any(l.host)) {
        if (str_is(l.host, "*")) l.host = STR("");
        if (!l.advertised_host.n && !gethostname(name, sizeof name - 1)) l.advertised_host = str_of(name);
        diag(DIAG_INFO, "broker.advertised", KV_STR("listener", at->name), KV_STR("host", l.advertised_host),
             KV_CSTR("why", "it listens on every address; clients are told this one (--kafka-advertise HOST:PORT sets another)"));
    }
    rc = broker_listen(s->broker, &l, &port, e);
    if (rc == RC_EXISTS)
        return err_more(e, "choose another address with --kafka-listen HOST:PORT (broker.listeners, " STR_FMT ")", STR_ARG(at->name));
    if (rc) return err_in(e, "broker.listeners " STR_FMT, STR_ARG(at->name));
    buf_printf(&s->ready, " " STR_FMT "=", STR_ARG(at->name));
    put_address(&s->ready, l.host, port);
    return RC_OK;
}

static enum rc broker_open(struct log_side *s, const struct config *c, struct workers *workers, struct err *e)
{
    struct settings       settings = {0};
    struct broker_options o = {
        .fs = &fs_real,
        .workers = workers,
        .dir = c->data.p,
        .memory_max = c->broker_memory_max,
        .connections_max = (uint32_t)c->broker_connections_max,
        .topics_max = (uint32_t)c->broker_topics_max,
        .wal_bytes_max = c->broker_wal_size_max,
        .refuse_replication = c->broker_replication == CONFIG_BROKER_REPLICATION_REFUSE,
        .acls = c->broker_authorizer == CONFIG_BROKER_AUTHORIZER_ACL,
        .allow_everyone_if_no_acl = c->broker_allow_everyone_if_no_acl_found,
        .super_users = c->broker_super_users.list,
        .super_users_n = c->broker_super_users.n,
        .oauth = {.jwks = c->broker_oauth_jwks, .issuer = c->broker_oauth_issuer, .audience = c->broker_oauth_audience, .scope = c->broker_oauth_scope},
    };
    enum rc rc;

    if (loop_new(&clock_real, &s->loop, e)) return e->rc;
    if (config_runs_gateway(c)) buf_printf(&s->owners_group, STR_FMT "-" STR_FMT "-owners", STR_ARG(c->kafka_topic_prefix), STR_ARG(c->namespace));
    o.group_reserved = buf_str(&s->owners_group);
    config_each_broker(c, settings_add, &settings);
    o.loop = s->loop;
    o.settings = settings.list;
    o.settings_n = settings.n;
    rc = broker_new(&o, &s->broker, e);
    free(settings.list);
    arena_fini(&settings.arena);
    for (size_t i = 0; !rc && i < c->broker_listeners.n; i++) rc = listen_on(s, &c->broker_listeners.list[i], e);
    return rc;
}

/* ---- a Kafka cluster ---- */

static struct remote_property *properties(const struct config_map *m)
{
    struct remote_property *p = xnew_array(struct remote_property, m->n);

    for (size_t i = 0; i < m->n; i++) p[i] = (struct remote_property){m->list[i].name, m->list[i].value};
    return p;
}

static struct remote_file file_of(const struct config *c, enum config_key key, struct str path, bool may_lack)
{
    return (struct remote_file){path, may_lack && c->origins[key].from == CONFIG_ENV};
}

/* The original's chart always sets the paths of certificates, whether or not there are any: where they come from the environment
 * and nothing depends on them, a file that is not there is no mistake (the log says what is used). */
static struct remote_security security_of(const struct config *c)
{
    bool aside = c->security_kafka_protocol != CONFIG_SECURITY_KAFKA_PROTOCOL_SSL; /* a client certificate beside SASL */

    return (struct remote_security){
        .protocol = (enum remote_protocol)c->security_kafka_protocol,
        .mechanism = config_choice_text(CONFIG_KEY_SECURITY_KAFKA_SASL_MECHANISM, (int)c->security_kafka_sasl_mechanism),
        .username = c->security_kafka_sasl_client_username,
        .sasl_secret = c->security_kafka_sasl_client_secret,
        .password = {c->security_kafka_sasl_client_password_path, false},
        .oauth_method = c->security_kafka_sasl_oauth_method,
        .oauth_client_id = c->security_kafka_sasl_oauth_client_id,
        .oauth_client_secret_path = c->security_kafka_sasl_oauth_client_secret_path,
        .oauth_scope = c->security_kafka_sasl_oauth_scope,
        .oauth_token_endpoint_url = c->security_kafka_sasl_oauth_token_endpoint_url,
        .oauth_ca_path = c->security_kafka_sasl_oauth_ca_path,
        .oauth_extensions = c->security_kafka_sasl_oauth_extensions,
        .aws_region = c->security_kafka_sasl_aws_region,
        .aws_role_arn = c->security_kafka_sasl_aws_role_arn,
        .tls_secret = c->security_kafka_ssl_client_secret,
        .brokers_secret = c->security_kafka_ssl_client_broker_validation_secret,
        .crt = file_of(c, CONFIG_KEY_SECURITY_KAFKA_SSL_CLIENT_CRT_PATH, c->security_kafka_ssl_client_crt_path, aside),
        .key = file_of(c, CONFIG_KEY_SECURITY_KAFKA_SSL_CLIENT_KEY_PATH, c->security_kafka_ssl_client_key_path, aside),
        .ca = file_of(c, CONFIG_KEY_SECURITY_KAFKA_SSL_CLIENT_CA_PATH, c->security_kafka_ssl_client_ca_path, true),
        .brokers_ca = file_of(c, CONFIG_KEY_SECURITY_KAFKA_SSL_CLIENT_BROKER_CA_PATH, c->security_kafka_ssl_client_broker_ca_path, true),
        .any_name = c->security_kafka_ssl_client_endpoint_identification_algorithm == CONFIG_SECURITY_KAFKA_SSL_CLIENT_ENDPOINT_IDENTIFICATION_ALGORITHM_NONE,
    };
}

static enum rc remote_open(struct log_side *s, const struct config *c, struct err *e)
{
    struct remote_property *consumer = properties(&c->kafka_consumer_properties), *producer = properties(&c->kafka_producer_properties);
    struct remote_security  security = security_of(c);
    struct remote_options   o = {
        .security = &security,
        .replication = (int32_t)c->kafka_topics_replication_factor,
        .bootstrap = c->kafka_bootstrap,
        .debug = c->kafka_debug,
        .session_timeout_ms = c->kafka_consumer_session_timeout_ms,
        .metadata_refresh_ms = c->kafka_consumer_topic_metadata_refresh_interval_ms,
        .metadata_propagation_ms = c->kafka_consumer_topic_metadata_propagation_max_ms,
        .linger_ms = c->kafka_producer_linger_ms,
        .consume_bytes_max = c->kafka_consumer_message_max_bytes,
        .produce_bytes_max = c->kafka_producer_message_max_bytes,
        .consumer = consumer,
        .consumer_n = c->kafka_consumer_properties.n,
        .producer = producer,
        .producer_n = c->kafka_producer_properties.n,
        .connect_ms = CONNECT_MS,
        .go_on = s->go_on,
        .ctx = s->ctx,
    };
    enum rc rc = bus_remote_open(&o, &s->bus, e);

    free(consumer);
    free(producer);
    return rc;
}

enum rc log_side_open(struct log_side *s, const struct config *c, struct workers *workers, struct err *e)
{
    if (config_runs_broker(c) && broker_open(s, c, workers, e)) return e->rc;
    if (!config_runs_gateway(c)) return RC_OK;
    if (!config_is_embedded(c)) return remote_open(s, c, e);
    s->bus = bus_embedded(&(struct bus_embedded_options){.broker = s->broker, .timers = loop_timers(s->loop), .clock = &clock_real,
                                                        .message_bytes_max = c->kafka_producer_message_max_bytes});
    return RC_OK;
}

static void broker_main(void *arg)
{
    loop_run(((struct log_side *)arg)->loop);
}

enum rc log_side_run(struct log_side *s, struct err *e)
{
    return s->loop ? thread_start("mr-broker", broker_main, s, &s->thread, e) : RC_OK;
}

/* ---- the way down ---- */

static void until_drained(struct timer *t)
{
    struct log_side *s = container_of(t, struct log_side, stopping);

    if (broker_is_drained(s->broker) || loop_now_ms(s->loop) >= s->stop_by_ms) loop_stop(s->loop);
    else loop_timer(s->loop, &s->stopping, DRAIN_STEP_MS, until_drained);
}

struct drain { struct msg msg; struct log_side *s; };

static void drain_begin(struct msg *m)
{
    struct log_side *s = container_of(m, struct drain, msg)->s;

    s->bus = bus_close(s->bus); /* ends what it was lent, on this loop */
    broker_drain(s->broker);
    s->stop_by_ms = loop_now_ms(s->loop) + DRAIN_MS;
    until_drained(&s->stopping);
}

void log_side_close(struct log_side *s)
{
    struct drain drain = {{.run = drain_begin}, s};

    if (!s->thread) s->bus = bus_close(s->bus); /* a remote one, or a start that failed */
    if (s->thread) {
        mailbox_post(loop_mailbox(s->loop), &drain.msg);
        s->thread = thread_join(s->thread);
    }
    s->broker = broker_free(s->broker);
    loop_free(s->loop);
    buf_fini(&s->ready);
    buf_fini(&s->owners_group);
    *s = (struct log_side){0};
}

/* ---- metrics ---- */

static void metric(void *ctx, bool is_counter, const char *name, const char *help, struct str labels, double value)
{
    metrics_add(ctx, is_counter ? METRICS_COUNTER : METRICS_GAUGE, name, help, labels, value);
}

static void metrics_write(void *ctx, struct metrics *m)
{
    broker_metrics(((struct log_side *)ctx)->broker, metric, m);
}

struct metrics_source log_side_metrics(struct log_side *s)
{
    return (struct metrics_source){s->loop ? loop_mailbox(s->loop) : NULL, metrics_write, s};
}
