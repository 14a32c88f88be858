/* The configuration: every source, which of them wins, and every refusal in its words. SPDX-License-Identifier: Apache-2.0 */
#include "app/config.h"
#include "broker/config.h"
#include "sys/fs.h"
#include "test.h"
#include <stdio.h>
#include <unistd.h>

static char folder[] = "/tmp/millrace-config-XXXXXX";
static char yaml_path[64], json_path[64], namespace_path[64];

struct loaded {
    struct config *c;
    struct problems problems;
    enum rc rc;
};

static void save(const char *path, const char *text)
{
    struct err e = {0};
    assert_int_equal(fs_save(&fs_real, path, str_bytes(str_of(text)), false, &e), RC_OK);
}

/* Words of `flags` are divided by blanks; `env` is NULL-terminated. */
static struct loaded load(const char *yaml, const char *kafka_json, char *const *env,
                          const char *flags)
{
    struct loaded l = {0};
    char text[2000], *args[64], *rest = NULL;
    size_t n = 0;
    snprintf(text, sizeof text, "%s%s%s%s%s %s", yaml ? "--config=" : "", yaml ? yaml_path : "",
             kafka_json ? " --kafka-config-path=" : "", kafka_json ? json_path : "", "",
             flags ? flags : "");
    for (char *w = strtok_r(text, " ", &rest); w; w = strtok_r(NULL, " ", &rest))
        args[n++] = w;
    if (yaml) save(yaml_path, yaml);
    if (kafka_json) save(json_path, kafka_json);
    struct config_sources src = {
        .args = args, .args_n = n, .environ = env, .namespace_file = namespace_path};
    l.rc = config_load(&src, &l.c, &l.problems);
    return l;
}

static void drop(struct loaded *l)
{
    if (l->rc == RC_OK) config_free(l->c);
    problems_fini(&l->problems);
}

/* The problems, with the folder's name taken out. */
static void assert_problems(struct loaded *l, const char *wanted)
{
    struct buf b = {0}, plain = {0};
    char *at, *found;
    problems_print(&l->problems, &b);
    at = buf_cstr(&b);
    while ((found = strstr(at, folder)) != NULL) {
        buf_append_str(&plain, (struct str){at, (size_t)(found - at)});
        at = found + strlen(folder) + 1;
    }
    buf_append_str(&plain, str_of(at));
    assert_string_equal(buf_cstr(&plain), wanted);
    buf_fini(&b);
    buf_fini(&plain);
}

static void assert_refused(const char *yaml, char *const *env, const char *flags,
                           const char *wanted)
{
    struct loaded l = load(yaml, NULL, env, flags);
    assert_int_equal(l.rc, wanted[0] ? RC_INVALID : RC_OK);
    assert_problems(&l, wanted);
    drop(&l);
}

static struct loaded good(const char *yaml, const char *kafka_json, char *const *env,
                          const char *flags)
{
    struct loaded l = load(yaml, kafka_json, env, flags);
    assert_problems(&l, "");
    assert_int_equal(l.rc, RC_OK);
    return l;
}

#define ENV(...) ((char *[]){__VA_ARGS__, NULL})

static void without_any_source_the_defaults_hold(void **state)
{
    (void)state;
    struct loaded l = good(NULL, NULL, NULL, NULL);
    const struct config *c = l.c;
    assert_str(c->data, "./millrace-data");
    assert_str(c->namespace, "default");
    assert_true(config_runs_broker(c) && config_runs_gateway(c) && config_is_embedded(c));
    assert_int_equal(c->gateway_timeout_ms, 120000);
    assert_int_equal(c->gateway_in_flight_bytes_max, INT64_C(2) << 30);
    assert_int_equal(c->broker_config_log_retention_bytes, -1);
    assert_int_equal(c->gateway_headers_deny.n, 6);
    assert_str(c->gateway_headers_deny.list[3], "x-auth-*");
    assert_int_equal(c->broker_listeners.n, 1);
    assert_str(c->broker_listeners.list[0].name, "kafka");
    assert_str(c->broker_listeners.list[0].listen, "127.0.0.1:9092");
    assert_int_equal(c->flow_durability, CONFIG_FLOW_DURABILITY_DISK);
    assert_int_equal(c->security_kafka_sasl_mechanism,
                     CONFIG_SECURITY_KAFKA_SASL_MECHANISM_SCRAM_SHA_512);
    assert_int_equal(c->notes.n, 0);
    drop(&l);
}

static void yaml_gives_values_of_every_type(void **state)
{
    (void)state;
    struct loaded l =
        good("data: /d\n"
             "kafka:\n  debug:\n  consumer:\n    properties: {fetch.min.bytes: 7, client.id: me}\n "
             " topics: {config: {retention.ms: 1000}}\n"
             "broker:\n  memoryMax: 64Mi\n  config:\n    num.partitions: 3\n    "
             "auto.create.topics.enable: false\n    log.roll.ms: 5000\n"
             "  listeners:\n  - {name: kafka, listen: '127.0.0.1:1', advertise: 'h:2'}\n  - {name: "
             "inner, listen: '127.0.0.1:3', protocol: PLAINTEXT, clientAuth: none}\n"
             "gateway:\n  reply: immediate\n  headers: {deny: []}\nflow:\n  redact: []\n"
             "telemetry:\n  tracing: {ratio: 0.25}\n  log: {level: 'info,broker=debug'}\n",
             NULL, NULL, NULL);
    const struct config *c = l.c;
    assert_str(c->data, "/d");
    assert_int_equal(c->broker_memory_max, 64 << 20);
    assert_int_equal(c->broker_config_num_partitions, 3);
    assert_false(c->broker_config_auto_create_topics_enable);
    assert_int_equal(c->broker_config.n, 1);
    assert_str(c->broker_config.list[0].name, "log.roll.ms");
    assert_int_equal(c->kafka_consumer_properties.n, 2);
    assert_str(c->kafka_consumer_properties.list[1].name, "client.id");
    assert_str(c->kafka_topics_config.list[0].value, "1000");
    assert_int_equal(c->broker_listeners.n, 2);
    assert_str(c->broker_listeners.list[0].advertise, "h:2");
    assert_str(c->broker_listeners.list[1].name, "inner");
    assert_int_equal(c->gateway_reply, CONFIG_GATEWAY_REPLY_IMMEDIATE);
    assert_int_equal(c->gateway_headers_deny.n, 0);
    assert_true(c->telemetry_tracing_ratio > 0.24 && c->telemetry_tracing_ratio < 0.26);
    assert_str(c->telemetry_log_level, "info,broker=debug");
    assert_int_equal(c->notes.n, 1);
    assert_str(c->notes.list[0], "gateway.reply is immediate: after a crash the log may lack the "
                                 "record of a reply that was given");
    drop(&l);
}

static void a_flag_wins_over_environment_over_yaml_over_kafka_json_over_default(void **state)
{
    (void)state;
    static const char yaml[] = "kafka:\n  topics: {numPartitions: 3}\n",
                      json[] = "{\"topics\": {\"numPartitions\": 2}}";
    char *env[] = {"KAFKA_DEFAULT_NUM_PARTITIONS=4", NULL};
    struct loaded l = good(NULL, json, NULL, NULL);
    assert_int_equal(l.c->kafka_topics_num_partitions, 2);
    assert_int_equal(l.c->origins[CONFIG_KEY_KAFKA_TOPICS_NUM_PARTITIONS].from, CONFIG_KAFKA_JSON);
    drop(&l);
    l = good(yaml, json, NULL, NULL);
    assert_int_equal(l.c->kafka_topics_num_partitions, 3);
    assert_true(str_ends(l.c->origins[CONFIG_KEY_KAFKA_TOPICS_NUM_PARTITIONS].detail,
                         STR("config.yaml:2:27")));
    drop(&l);
    l = good(yaml, json, env, NULL);
    assert_int_equal(l.c->kafka_topics_num_partitions, 4);
    assert_str(l.c->origins[CONFIG_KEY_KAFKA_TOPICS_NUM_PARTITIONS].detail,
               "KAFKA_DEFAULT_NUM_PARTITIONS");
    drop(&l);
    l = good(yaml, json, env, "--kafka.topics.numPartitions 5");
    assert_int_equal(l.c->kafka_topics_num_partitions, 5);
    assert_str(l.c->origins[CONFIG_KEY_KAFKA_TOPICS_NUM_PARTITIONS].detail,
               "--kafka.topics.numPartitions");
    drop(&l);
}

static void maps_are_merged_by_name(void **state)
{
    (void)state;
    struct loaded l =
        good("kafka: {topics: {config: {a: 2, b: 2}}}\n", "{\"topics\": {\"a\": 1, \"c\": \"1\"}}",
             NULL, "--kafka.topics.config.b 3");
    assert_int_equal(l.c->kafka_topics_config.n, 3);
    assert_str(l.c->kafka_topics_config.list[0].value, "2");
    assert_str(l.c->kafka_topics_config.list[1].value, "1");
    assert_str(l.c->kafka_topics_config.list[2].value, "3");
    assert_int_equal(l.c->kafka_topics_config.list[1].origin.from, CONFIG_KAFKA_JSON);
    drop(&l);
}

static void short_flags_set_what_they_stand_for(void **state)
{
    (void)state;
    struct loaded l =
        good(NULL, NULL, NULL,
             "--data=/x --kafka-listen 127.0.0.1:0 --infer-listen=[::1]:0 --namespace team");
    assert_str(l.c->data, "/x");
    assert_str(l.c->broker_listeners.list[0].listen, "127.0.0.1:0");
    assert_str(l.c->broker_listeners.list[0].name, "kafka");
    assert_str(l.c->gateway_listeners.list[0].listen, "[::1]:0");
    assert_str(l.c->namespace, "team");
    drop(&l);
    l = good(NULL, NULL, NULL, "--broker-only");
    assert_true(config_runs_broker(l.c) && !config_runs_gateway(l.c));
    drop(&l);
    l = good(NULL, NULL, NULL, "--no-broker --bootstrap a:1,b:2");
    assert_true(!config_runs_broker(l.c) && config_runs_gateway(l.c) && !config_is_embedded(l.c));
    drop(&l);
    l = good(NULL, NULL, NULL, "--infer-listen 0.0.0.0:9000 --allow-unauthenticated");
    assert_true(l.c->security_gateway_allow_unauthenticated);
    drop(&l);
}

static void another_kafka_leaves_the_broker_out(void **state)
{
    (void)state;
    struct loaded l = good("kafka: {bootstrap: 'k:9092'}\n", NULL, NULL, NULL);
    assert_false(config_runs_broker(l.c));
    assert_int_equal(l.c->origins[CONFIG_KEY_ROLES].from, CONFIG_DERIVED);
    drop(&l);
}

static void kafka_json_is_read_by_its_own_rules(void **state)
{
    (void)state;
    struct loaded l = good(NULL,
                           "{\"bootstrap.servers\":\"k:1\",\"debug\":\"\",\"topicPrefix\":\"pre\","
                           "\"consumerGroupIdPrefix\":\"g\",\n"
                           "\t\"consumer\":{\"session.timeout.ms\":7000,\"auto.offset.reset\":"
                           "\"latest\",\"topic.metadata.propagation.max.ms\":\"9\","
                           "\"message.max.bytes\":5000,\"fetch.min.bytes\":3,\"check.crcs\":true,"
                           "\"bootstrap.servers\":\"k:1\",\"log_level\":7},\n"
                           "\"producer\":{\"linger.ms\":4,\"message.max.bytes\":6000,\"compression."
                           "type\":\"lz4\"},\"streams\":{\"x\":1},\"topics\":{}} and more",
                           NULL, NULL);
    const struct config *c = l.c;
    assert_str(c->kafka_bootstrap, "k:1");
    assert_str(c->kafka_topic_prefix, "pre");
    assert_str(c->kafka_consumer_group_id_prefix, "g");
    assert_int_equal(c->kafka_consumer_session_timeout_ms, 7000);
    assert_int_equal(c->kafka_consumer_auto_offset_reset,
                     CONFIG_KAFKA_CONSUMER_AUTO_OFFSET_RESET_LATEST);
    assert_int_equal(c->kafka_consumer_topic_metadata_propagation_max_ms, 9);
    assert_int_equal(c->kafka_consumer_message_max_bytes, 5000);
    assert_int_equal(c->kafka_producer_message_max_bytes, 6000);
    assert_int_equal(c->kafka_producer_linger_ms, 4);
    assert_int_equal(c->kafka_consumer_properties.n, 2);
    assert_str(c->kafka_consumer_properties.list[1].value, "true");
    assert_int_equal(c->kafka_producer_properties.n, 1);
    assert_int_equal(c->notes.n, 2);
    drop(&l);
}

static void mistakes_in_kafka_json_are_all_told(void **state)
{
    (void)state;
    struct loaded l = load(
        NULL,
        "{\"bootstrap.server\": \"k:1\",\n \"bootstrap.servers\": \"k:1\", \"consumer\": "
        "{\"session.timeout.ms\": 1.5, \"a\": [1],\n"
        "  \"bootstrap.servers\": \"other:1\", \"sasl.password\": \"not-so-\", "
        "\"fetch.min.bytes\": null},\n \"producer\": 3, \"topicPrefix\": \"a b\", \"debug\": 1}",
        NULL, NULL);
    assert_int_equal(l.rc, RC_INVALID);
    assert_problems(&l,
                    "kafka.json:1:22: bootstrap.server: unknown key; known are bootstrap.servers, "
                    "debug, consumer, producer, streams, topics, topicPrefix, "
                    "consumerGroupIdPrefix\n"
                    "kafka.json:2:65: consumer.session.timeout.ms: a text, a whole number, true or "
                    "false is wanted\n"
                    "kafka.json:2:75: consumer.a: a text, a whole number, true or false is wanted\n"
                    "kafka.json:3:24: consumer.bootstrap.servers: \"other:1\" is another cluster "
                    "than \"k:1\"; there is one bootstrap for everything\n"
                    "kafka.json:3:52: consumer.sasl.password: a secret does not stand in this file: "
                    "give @FILE, which is security.kafka.sasl.client.passwordPath\n"
                    "kafka.json:3:82: consumer.fetch.min.bytes: a text, a whole number, true or "
                    "false is wanted\n"
                    "kafka.json:4:14: producer: names with values are wanted here\n"
                    "kafka.json:4:32: topicPrefix: 1 to 150 characters of A-Z, a-z, 0-9, ., _ and "
                    "- is wanted, not \"a b\"\n"
                    "kafka.json:4:48: debug: a text is wanted\n");
    drop(&l);
    l = load(NULL, "{\"consumer\": ", NULL, NULL);
    assert_problems(&l, "kafka.json:1:13: not JSON: unexpected token near end of file\n");
    drop(&l);
    l = load(NULL, "[1]", NULL, NULL);
    assert_problems(&l, "kafka.json: an object is wanted\n");
    drop(&l);
}

static void names_of_headers_are_lower_case(void **state)
{
    (void)state;
    struct loaded l = good(NULL, NULL, NULL, "--gateway.headers.deny X-Secret,X-Auth-*");
    assert_int_equal(l.c->gateway_headers_deny.n, 2);
    assert_str(l.c->gateway_headers_deny.list[0], "x-secret");
    assert_str(l.c->gateway_headers_deny.list[1], "x-auth-*");
    drop(&l);
}

static void a_file_that_is_not_there_is_told(void **state)
{
    (void)state;
    struct loaded l =
        load(NULL, NULL, NULL, "--config /nowhere/x.yaml --kafka-config-path /nowhere/kafka.json");
    assert_int_equal(l.problems.n, 2);
    assert_true(str_starts(l.problems.list[0].text, STR("--kafka-config-path: ")));
    assert_true(str_starts(l.problems.list[1].text, STR("--config: ")));
    drop(&l);
}

static void every_mistake_in_yaml_is_told_with_its_place(void **state)
{
    (void)state;
    assert_refused(
        "data: [x]\nnamespace: My.Space\nroles: [broker, cook]\nkafka:\n  bootstrap: 'k'\n  "
        "topicPrefix: ''\n  consumer:\n    sessionTimeoutMs: 0\n"
        "    autoOffsetReset: newest\n    messageMaxBytes: 2Gi\n    properties: {sasl.password: x, "
        "session.timeout.ms: 1, a: {b: c}}\n  extra: 1\n"
        "broker:\n  config: {num.partition: 3, num.partitions: many}\n  listeners:\n  - {name: UP, "
        "listen: nowhere, colour: red}\n"
        "  - {name: a, listen: 'h:1', protocol: TELNET}\n  - x\n  superUsers: x\n"
        "gateway: 7\nflow:\n  durability: tape\n  mode: kafka\ntelemetry:\n  metrics: yes\n  "
        "tracing: {ratio: 2}\n  log: {level: loud}\nsecurity:\n  envoy: {}\n",
        NULL, NULL,
        "config.yaml:1:7: data: one value is wanted here\n"
        "config.yaml:2:12: namespace: a name of a-z, 0-9 and - (not first, not last) is wanted, "
        "not \"My.Space\"\n"
        "config.yaml:3:17: roles: broker or gateway is wanted, not \"cook\"\n"
        "config.yaml:5:14: kafka.bootstrap: the word embedded, or HOST:PORT with commas between "
        "them is wanted, not \"k\"\n"
        "config.yaml:6:16: kafka.topicPrefix: 1 to 150 characters of A-Z, a-z, 0-9, ., _ and - is "
        "wanted, not \"\"\n"
        "config.yaml:8:23: kafka.consumer.sessionTimeoutMs: a whole number of milliseconds from 1 "
        "to 3600000 is wanted, not \"0\"\n"
        "config.yaml:9:22: kafka.consumer.autoOffsetReset: earliest, latest or none is wanted, not "
        "\"newest\"\n"
        "config.yaml:10:22: kafka.consumer.messageMaxBytes: a size in bytes (or 64Ki, 1Gi) from "
        "1000 to 1000000000 is wanted, not \"2Gi\"\n"
        "config.yaml:11:33: kafka.consumer.properties.sasl.password: cannot be set here: "
        "security.kafka.sasl says it\n"
        "config.yaml:11:56: kafka.consumer.properties.session.timeout.ms: cannot be set here: "
        "kafka.consumer.sessionTimeoutMs says it\n"
        "config.yaml:11:62: kafka.consumer.properties.a: a text or a number is wanted\n"
        "config.yaml:12:3: kafka.extra: unknown key; known here are bootstrap, topicPrefix, "
        "consumerGroupIdPrefix, debug, consumer, producer, topics\n"
        "config.yaml:14:27: broker.config.num.partition: unknown broker setting 'num.partition'\n"
        "config.yaml:14:46: broker.config.num.partitions: a whole number from 1 to 10000 is "
        "wanted, not \"many\"\n"
        "config.yaml:16:5: broker.listeners[0]: name: 1 to 30 of a-z, 0-9 and - are wanted, not "
        "\"UP\"\n"
        "config.yaml:16:5: broker.listeners[0]: listen: HOST:PORT is wanted, not \"nowhere\"\n"
        "config.yaml:16:33: unknown field \"colour\" in broker.listeners[0]; known are name, "
        "listen, advertise, protocol, tls, sasl, clientAuth, principalMappingRules\n"
        "config.yaml:17:40: broker.listeners[1].protocol: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL is wanted, not \"TELNET\"\n"
        "config.yaml:18:5: broker.listeners[2]: names with values are wanted here\n"
        "config.yaml:19:15: broker.superUsers: a list is wanted here\n"
        "config.yaml:20:10: gateway: this is a section: names with values are wanted here\n"
        "config.yaml:22:15: flow.durability: disk or cache is wanted, not \"tape\"\n"
        "config.yaml:23:9: flow.mode: direct is wanted, not \"kafka\"\n"
        "config.yaml:25:12: telemetry.metrics: true or false is wanted, not \"yes\"\n"
        "config.yaml:26:20: telemetry.tracing.ratio: a number from 0 to 1 is wanted, not \"2\"\n"
        "config.yaml:27:16: telemetry.log.level: error, warn, info or debug, also per module "
        "(info,broker=debug) is wanted, not \"loud\"\n"
        "config.yaml:29:3: security.envoy: there is no Envoy; the inference port's certificates "
        "are security.gateway.tls\n");
}

static void yaml_must_be_one_document_of_names_without_repeats(void **state)
{
    (void)state;
    assert_refused("data: a\ndata: b\n", NULL, NULL,
                   "config.yaml:2:1: the key \"data\" is there twice\n");
    assert_refused("data: a\n---\ndata: b\n", NULL, NULL,
                   "config.yaml:3:1: a second document; the configuration is one\n");
    assert_refused("- data\n", NULL, NULL, "config.yaml:1:1: names with values are wanted here\n");
    assert_refused("a: [\n", NULL, NULL,
                   "config.yaml:2:1: not YAML: while parsing a flow node: did not find expected "
                   "node content\n");
    assert_refused("# nothing\n", NULL, NULL, "");
}

static void the_two_families_of_variables_must_agree(void **state)
{
    (void)state;
    struct loaded l =
        good(NULL, NULL,
             ENV("KAFKA_DEFAULT_NUM_PARTITIONS=4", "SELDON_KAFKA_PARTITIONS_DEFAULT=4",
                 "SELDON_KAFKA_CONSUMER_PREFIX="),
             NULL);
    assert_int_equal(l.c->kafka_topics_num_partitions, 4);
    drop(&l);
    l = load(NULL, NULL, ENV("KAFKA_DEFAULT_NUM_PARTITIONS=4", "SELDON_KAFKA_PARTITIONS_DEFAULT=5"),
             NULL);
    assert_problems(
        &l, "SELDON_KAFKA_PARTITIONS_DEFAULT: \"5\" contradicts KAFKA_DEFAULT_NUM_PARTITIONS, "
            "which is \"4\"; both say kafka.topics.numPartitions\n");
    drop(&l);
    l = load(NULL, NULL, ENV("KAFKA_DEFAULT_NUM_PARTITIONS=many", "ENVOY_SECURITY_PROTOCOL=TLS"),
             NULL);
    assert_problems(
        &l, "KAFKA_DEFAULT_NUM_PARTITIONS: a whole number from 1 to 10000 is wanted, not \"many\"\n"
            "ENVOY_SECURITY_PROTOCOL: PLAINTEXT or SSL is wanted, not \"TLS\"\n");
    drop(&l);
}

static void the_pods_namespace_file_comes_before_the_variable(void **state)
{
    (void)state;
    struct loaded l = good(NULL, NULL, ENV("POD_NAMESPACE=from-env"), NULL);
    assert_str(l.c->namespace, "from-env");
    drop(&l);
    save(namespace_path, "from-file\n");
    l = good("namespace: from-yaml\n", NULL,
             ENV("POD_NAMESPACE=from-env", "SELDON_POD_NAMESPACE=else"), NULL);
    assert_str(l.c->namespace, "from-file");
    drop(&l);
    l = good(NULL, NULL, NULL, "--namespace from-flag");
    assert_str(l.c->namespace, "from-flag");
    drop(&l);
    unlink(namespace_path);
}

static void the_mechanism_is_plain_when_only_the_environment_speaks_of_sasl(void **state)
{
    (void)state;
    struct loaded l = good(NULL, NULL, ENV("KAFKA_CLIENT_SASL_USERNAME=u"), NULL);
    assert_int_equal(l.c->security_kafka_sasl_mechanism,
                     CONFIG_SECURITY_KAFKA_SASL_MECHANISM_PLAIN);
    assert_int_equal(l.c->origins[CONFIG_KEY_SECURITY_KAFKA_SASL_MECHANISM].from, CONFIG_DERIVED);
    drop(&l);
    l = good("security: {kafka: {sasl: {client: {username: v}}}}\n", NULL,
             ENV("KAFKA_CLIENT_SASL_SECRET_NAME=s"), NULL);
    assert_int_equal(l.c->security_kafka_sasl_mechanism,
                     CONFIG_SECURITY_KAFKA_SASL_MECHANISM_SCRAM_SHA_512);
    drop(&l);
}

#define KAFKA "kafka: {bootstrap: 'k:9093'}\n"

static void security_of_the_client_comes_from_everywhere(void **state)
{
    (void)state;
    struct loaded l = good(KAFKA "security: {kafka: {protocol: SASL_SSL, ssl: {client: {brokerCaPath: ca.crt}}}}\n",
                           "{\"consumer\": {\"security.protocol\": \"SSL\", \"sasl.username\": \"json\", \"sasl.password\": \"@pw\"},"
                           " \"producer\": {\"sasl.username\": \"json\"}}",
                           ENV("KAFKA_SASL_MECHANISM=SCRAM-SHA-256", "SELDON_KAFKA_SASL_MECHANISM=SCRAM-SHA-256",
                               "KAFKA_CLIENT_TLS_ENDPOINT_IDENTIFICATION_ALGORITHM="), NULL);
    const struct config *c = l.c;
    assert_int_equal(c->security_kafka_protocol, CONFIG_SECURITY_KAFKA_PROTOCOL_SASL_SSL);
    assert_int_equal(c->security_kafka_sasl_mechanism, CONFIG_SECURITY_KAFKA_SASL_MECHANISM_SCRAM_SHA_256);
    assert_str(c->security_kafka_sasl_client_username, "json");
    assert_str(c->security_kafka_sasl_client_password_path, "pw");
    assert_str(c->security_kafka_ssl_client_broker_ca_path, "ca.crt");
    assert_int_equal(c->security_kafka_ssl_client_endpoint_identification_algorithm,
                     CONFIG_SECURITY_KAFKA_SSL_CLIENT_ENDPOINT_IDENTIFICATION_ALGORITHM_HTTPS);
    assert_int_equal(c->notes.n, 0);
    drop(&l);
    l = good(KAFKA, NULL, ENV("KAFKA_SECURITY_PROTOCOL=SASL_PLAINTEXT"), NULL);
    assert_int_equal(l.c->security_kafka_sasl_mechanism, CONFIG_SECURITY_KAFKA_SASL_MECHANISM_PLAIN);
    assert_str(l.c->security_kafka_sasl_client_username, "seldon");
    assert_int_equal(l.c->notes.n, 1); /* it travels in the clear */
    drop(&l);
    l = good("kafka: {bootstrap: 'ns.servicebus.windows.net:9093'}\nsecurity: {kafka: {protocol: SASL_SSL}}\n", NULL, NULL, NULL);
    assert_int_equal(l.c->security_kafka_sasl_mechanism, CONFIG_SECURITY_KAFKA_SASL_MECHANISM_PLAIN);
    assert_str(l.c->security_kafka_sasl_client_username, "$ConnectionString");
    drop(&l);
    l = good(KAFKA "security: {kafka: {sasl: {client: {secret: s}}}}\n", NULL, NULL, NULL);
    assert_int_equal(l.c->notes.n, 1); /* nothing of it is used */
    drop(&l);
}

static void security_of_the_client_that_cannot_be_is_refused(void **state)
{
    (void)state;
    assert_refused("security:\n  kafka: {protocol: SASL_SSL}\n", NULL, NULL,
                   "config.yaml:2:21: security.kafka.protocol: client security has no meaning with the embedded broker, which is not reached over a socket\n");
    assert_refused(KAFKA "security:\n  kafka: {protocol: SASL}\n", NULL, NULL,
                   "config.yaml:3:21: security.kafka.protocol: PLAINTEXT, SSL, SASL_SSL or SASL_PLAINTEXT is wanted, not \"SASL\"\n");
    assert_refused(KAFKA "security:\n  kafka: {protocol: SSL, ssl: {client: {crtPath: c}}}\n", NULL, NULL,
                   "config.yaml:3:50: security.kafka.ssl.client.crtPath: a certificate without its key: give security.kafka.ssl.client.keyPath as well "
                   "(KAFKA_CLIENT_TLS_KEY_LOCATION)\n");
    assert_refused(KAFKA, ENV("KAFKA_SECURITY_PROTOCOL=SASL_PLAINTEXT", "KAFKA_SASL_MECHANISM=AWS_MSK_IAM"), NULL,
                   "KAFKA_SECURITY_PROTOCOL: AWS_MSK_IAM is spoken over TLS: SASL_SSL is wanted, not SASL_PLAINTEXT\n");
    assert_refused(KAFKA "security:\n  kafka: {protocol: SASL_SSL, sasl: {mechanism: OAUTHBEARER, oauth: {method: x, clientId: i}}}\n", NULL, NULL,
                   "config.yaml:3:78: security.kafka.sasl.oauth.method: OIDC is wanted, not \"x\"\n"
                   "security.kafka.sasl.oauth.tokenEndpointUrl: OAUTHBEARER wants it, or security.kafka.sasl.client.secret, a Secret with the key token_endpoint_url\n"
                   "security.kafka.sasl.oauth.clientSecretPath: OAUTHBEARER wants it, or security.kafka.sasl.client.secret, a Secret with the key client_secret\n");
    assert_refused(KAFKA, ENV("KAFKA_CLIENT_SASL_USERNAME=a", "SELDON_KAFKA_SASL_USERNAME=b"), NULL,
                   "SELDON_KAFKA_SASL_USERNAME: \"b\" contradicts KAFKA_CLIENT_SASL_USERNAME, which is \"a\"; both say security.kafka.sasl.client.username\n");
    struct loaded l = load(KAFKA, "{\"consumer\": {\"sasl.username\": \"a\"}, \"producer\": {\"sasl.username\": \"b\"}}", NULL, NULL);
    assert_problems(&l, "kafka.json:1:68: producer.sasl.username: contradicts kafka.json:1:32: both say security.kafka.sasl.client.username\n");
    drop(&l);
}

static void an_empty_endpoint_identification_means_https(void **state)
{
    (void)state;
    struct loaded l =
        good("security: {kafka: {ssl: {client: {endpointIdentificationAlgorithm: \"\"}}}}\n", NULL,
             NULL, NULL);
    assert_int_equal(l.c->security_kafka_ssl_client_endpoint_identification_algorithm,
                     CONFIG_SECURITY_KAFKA_SSL_CLIENT_ENDPOINT_IDENTIFICATION_ALGORITHM_HTTPS);
    drop(&l);
}

static void flags_are_read_strictly(void **state)
{
    (void)state;
    assert_refused(NULL, NULL,
                   "stray --what 1 --gateway.timeoutMs --data x --data y --no-broker=1 "
                   "--gateway.timeout 5 --kafka.topics.config x --roles",
                   "stray: a flag is wanted here: --KEY VALUE\n"
                   "--what: unknown flag; `millrace help keys` lists them\n"
                   "--gateway.timeoutMs: a whole number of milliseconds from 1 to 86400000 is "
                   "wanted, not \"--data\"\n"
                   "x: a flag is wanted here: --KEY VALUE\n"
                   "--no-broker: this flag takes no value\n"
                   "--gateway.timeout: unknown flag; did you mean --gateway.timeoutMs?\n"
                   "--kafka.topics.config: give one entry: --kafka.topics.config.NAME VALUE\n"
                   "--roles: a value is missing\n");
    assert_refused(NULL, NULL, "--data x --data y", "--data: given twice\n");
    assert_refused(NULL, NULL, "--kafka-listen nowhere",
                   "--kafka-listen: the address: HOST:PORT is wanted, not \"nowhere\"\n");
}

static void what_cannot_stand_together_is_refused(void **state)
{
    (void)state;
    assert_refused("roles: []\n", NULL, NULL,
                   "config.yaml:1:8: roles: at least one of broker and gateway is wanted\n");
    assert_refused(NULL, NULL, "--no-broker",
                   "--no-broker: without the broker the data plane needs another Kafka: give "
                   "kafka.bootstrap (--bootstrap HOST:PORT)\n");
    assert_refused(NULL, NULL, "--broker-only --bootstrap k:1",
                   "--bootstrap: a broker without the gateway uses no other Kafka: leave out "
                   "kafka.bootstrap, or add the gateway to roles\n");
    assert_refused("kafka:\n  topics: {replicationFactor: 3}\n", NULL, NULL,
                   "config.yaml:2:31: kafka.topics.replicationFactor: 3 replicas are impossible "
                   "with the embedded broker, which is one node; give 1, or kafka.bootstrap\n");
    assert_refused("gateway: {timeoutMs: 9, timeoutMaxMs: 8}\n", NULL, NULL,
                   "config.yaml:1:22: gateway.timeoutMs: 9 is more than gateway.timeoutMaxMs, 8\n");
    assert_refused("broker: {config: {socket.request.max.bytes: 1000}}\n", NULL, NULL,
                   "broker.config.message.max.bytes: 1000000000 could never arrive: "
                   "broker.config.socket.request.max.bytes is 1000\n");
    assert_refused(
        NULL, NULL, "--infer-listen 127.0.0.1:9092",
        "--infer-listen: the listeners kafka and infer have the same address 127.0.0.1:9092\n");
    assert_refused("gateway: {listeners: [{name: kafka, listen: 'localhost:0'}]}\n", NULL, NULL,
                   "config.yaml:1:22: gateway.listeners: two listeners have the name \"kafka\"\n");
    assert_refused("gateway: {listeners: []}\n", NULL, NULL,
                   "config.yaml:1:22: gateway.listeners: at least one listener is wanted\n");
    assert_refused(NULL, NULL, "--infer-listen 0.0.0.0:9000",
                   "--infer-listen: 0.0.0.0:9000 can be reached from other machines and asks "
                   "nobody who they are: ask for tokens (security.gateway.tokens, security.gateway.jwt) or certificates (security.gateway.tls with clientCaPath), listen on 127.0.0.1, or say "
                   "--allow-unauthenticated\n");
    assert_refused(NULL, NULL, "--no-broker --broker-only",
                   "--broker-only: contradicts --no-broker\n");
}

static void a_folder_without_a_registrys_file_is_refused(void **state)
{
    (void)state;
    assert_refused("security:\n  schemaRegistry: {configPath: /nowhere}\n", NULL, NULL,
                   "security.schemaRegistry.configPath: open /nowhere/.confluent-schema.yaml: No such file or directory\n");
}

static void features_of_later_versions_are_refused_not_ignored(void **state)
{
    (void)state;
    assert_refused(
        "security:\n  kafka: {protocol: PLAINTEXT}\n"
        "control: {scheduler: {listen: '127.0.0.1:9004'}}\n",
        NULL, NULL,
        "config.yaml:3:31: control.scheduler.listen: this comes with a later version of millrace; "
        "leave it out\n");
    assert_refused("telemetry: {tracing: {disable: false}}\n", NULL, NULL,
                   "config.yaml:1:32: telemetry.tracing.disable: false comes with a later version "
                   "of millrace; this one takes true\n");
}

/* A listener of the broker that says this. */
static void assert_listener_refused(const char *how, const char *why)
{
    AUTO(buf_fini) struct buf yaml = {0};

    buf_printf(&yaml, "broker:\n  listeners: [{name: a, listen: '127.0.0.1:1', %s}]\n", how);
    assert_refused(buf_cstr(&yaml), NULL, NULL, why);
}

static void listeners_say_what_their_security_lacks(void **state)
{
    (void)state;
    assert_listener_refused("protocol: TLS",
                            "config.yaml:2:58: broker.listeners[0].protocol: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL is wanted, not \"TLS\"\n");
    assert_listener_refused("protocol: SASL_SSL, sasl: [GSSAPI]",
                            "config.yaml:2:15: broker.listeners[0].tls: SASL_SSL wants crtPath and keyPath\n"
                            "config.yaml:2:75: broker.listeners[0].sasl: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER is wanted, not \"GSSAPI\"\n");
    assert_listener_refused("protocol: SASL_PLAINTEXT",
                            "config.yaml:2:15: broker.listeners[0].sasl: SASL_PLAINTEXT wants at least one mechanism, such as SCRAM-SHA-512\n");
    assert_listener_refused("sasl: [PLAIN], clientAuth: required",
                            "config.yaml:2:55: broker.listeners[0].sasl: mechanisms belong to the protocols SASL_PLAINTEXT and SASL_SSL, and this is PLAINTEXT\n"
                            "config.yaml:2:75: broker.listeners[0].clientAuth: clients' certificates are checked against tls.clientCaPath, which is missing\n");
    assert_refused("broker: {superUsers: [admin]}\n", NULL, NULL,
                   "config.yaml:1:22: broker.superUsers: a principal is User:NAME, not \"admin\": it would match nobody\n");
    assert_listener_refused("protocol: SASL_PLAINTEXT, sasl: [OAUTHBEARER]",
                            "config.yaml:2:14: broker.listeners: a: OAUTHBEARER wants broker.oauth.jwks, the keys that tokens are checked against\n");
}

#define DUS "ENVOY_UPSTREAM_SERVER_TLS_CRT_LOCATION=/dus/tls.crt", "ENVOY_UPSTREAM_SERVER_TLS_KEY_LOCATION=/dus/tls.key"

static void certificates_of_the_inference_port_come_from_the_file_or_as_the_originals_chart_says(void **state)
{
    (void)state;
    struct loaded l = good("security: {gateway: {tls: {crtPath: a.crt, keyPath: a.key}}}\n", NULL, NULL, NULL);
    assert_true(config_gateway_encrypts(l.c));
    assert_int_equal(config_gateway_client_auth(l.c), TLS_CLIENT_NONE);
    drop(&l);
    l = good("security: {gateway: {tls: {crtPath: a.crt, keyPath: a.key, clientCaPath: ca, clientAuth: requested}}}\n", NULL, NULL, NULL);
    assert_int_equal(config_gateway_client_auth(l.c), TLS_CLIENT_REQUESTED);
    drop(&l);
    l = good(NULL, NULL, ENV(DUS, "ENVOY_UPSTREAM_CLIENT_TLS_CA_LOCATION=/duc/ca.crt"), NULL); /* always set; the protocol counts */
    assert_false(config_gateway_encrypts(l.c));
    drop(&l);
    l = good(NULL, NULL, ENV("ENVOY_SECURITY_PROTOCOL=SSL", DUS, "ENVOY_UPSTREAM_CLIENT_TLS_CA_LOCATION=/duc/ca.crt"), "--infer-listen 0.0.0.0:9000");
    assert_true(config_gateway_encrypts(l.c));
    assert_int_equal(config_gateway_client_auth(l.c), TLS_CLIENT_REQUIRED);
    assert_str(l.c->security_gateway_tls_crt_path, "/dus/tls.crt");
    assert_str(l.c->security_gateway_tls_client_ca_path, "/duc/ca.crt");
    drop(&l);
    l = load(NULL, NULL, ENV("ENVOY_SECURITY_PROTOCOL=SSL", DUS), NULL);
    assert_problems(&l, "ENVOY_SECURITY_PROTOCOL: SSL means mutual TLS there: ENVOY_UPSTREAM_CLIENT_TLS_CA_LOCATION "
                        "(security.gateway.tls.clientCaPath) is missing; security.gateway.tls.clientAuth: none does without callers' certificates\n");
    drop(&l);
    l = load(NULL, NULL, ENV("ENVOY_SECURITY_PROTOCOL=SSL", "ENVOY_UPSTREAM_CLIENT_TLS_CA_LOCATION=/duc/ca.crt"), NULL);
    assert_problems(&l, "ENVOY_SECURITY_PROTOCOL: SSL wants security.gateway.tls.crtPath and keyPath, or security.gateway.tls.secret\n");
    drop(&l);
    assert_refused("security: {gateway: {jwt: {jwks: keys.json, issuer: me}}}\n", NULL, NULL,
                   "config.yaml:1:34: security.gateway.jwt.jwks: security.gateway.jwt.issuer and audience are wanted, too: else a token that was signed for "
                   "somebody else would do\n");
    assert_refused("security: {gateway: {tls: {crtPath: a, keyPath: b, clientAuth: required}}}\n", NULL, NULL,
                   "config.yaml:1:64: security.gateway.tls.clientAuth: callers' certificates are checked against security.gateway.tls.clientCaPath, which is missing\n");
    assert_refused("security: {gateway: {tls: {crtPath: a, keyPath: b, clientCaPath: c, clientAuth: requested}}}\n", NULL, "--infer-listen 0.0.0.0:9000",
                   "--infer-listen: 0.0.0.0:9000 can be reached from other machines and asks nobody who they are: ask for tokens (security.gateway.tokens, security.gateway.jwt) or certificates "
                   "(security.gateway.tls with clientCaPath), listen on 127.0.0.1, or say --allow-unauthenticated\n");
}

static void what_is_printed_as_yaml_is_read_again_as_the_same(void **state)
{
    (void)state;
    struct loaded
        l = good("kafka: {topics: {config: {retention.ms: 5}}, consumer: {properties: {client.id: "
                 "'a b'}}}\nbroker: {config: {num.partitions: 7, log.roll.ms: 6000}}\n"
                 "gateway: {listeners: [{name: x, listen: '127.0.0.1:1'}, {name: y, listen: "
                 "'127.0.0.1:2'}]}\n",
                 NULL, NULL, "--data '/x'"),
        again;
    struct buf first = {0};
    config_print(l.c, CONFIG_AS_YAML, &first);
    again = good(buf_cstr(&first), NULL, NULL, NULL);
    for (int i = 0; i < CONFIG_KEYS; i++) {
        struct buf a = {0}, b = {0};
        config_put_value(l.c, (enum config_key)i, &a);
        config_put_value(again.c, (enum config_key)i, &b);
        assert_string_equal(buf_cstr(&a), buf_cstr(&b));
        buf_fini(&a);
        buf_fini(&b);
    }
    buf_fini(&first);
    drop(&l);
    drop(&again);
}

static void secrets_are_masked_and_origins_shown(void **state)
{
    (void)state;
    struct loaded l =
        good("kafka: {consumer: {properties: {oauth.secret.value: s3cret, client.id: me}}}\n", NULL,
             ENV("POD_NAMESPACE=ns"), "--data /x");
    static const enum config_format all[] = {CONFIG_AS_TABLE, CONFIG_AS_JSON, CONFIG_AS_YAML};
    for (size_t i = 0; i < countof(all); i++) {
        struct buf b = {0};
        config_print(l.c, all[i], &b);
        assert_null(strstr(buf_cstr(&b), "s3cret"));
        assert_non_null(strstr(buf_cstr(&b), "***"));
        assert_non_null(strstr(buf_cstr(&b), "environment POD_NAMESPACE"));
        assert_non_null(strstr(buf_cstr(&b), "flag --data"));
        buf_fini(&b);
    }
    drop(&l);
}

static void help_lists_every_key(void **state)
{
    (void)state;
    struct buf b = {0};
    config_print_flags(&b);
    assert_non_null(strstr(buf_cstr(&b), "  --gateway.timeoutMs MS  [120000]\n        Deadline of "
                                         "a request whose caller names none.\n"));
    assert_non_null(strstr(buf_cstr(&b), "  --kafka.topics.config.NAME VALUE\n"));
    buf_fini(&b);
}

static int make_folder(void **state)
{
    (void)state;
    if (!mkdtemp(folder)) return -1;
    snprintf(yaml_path, sizeof yaml_path, "%s/config.yaml", folder);
    snprintf(json_path, sizeof json_path, "%s/kafka.json", folder);
    snprintf(namespace_path, sizeof namespace_path, "%s/namespace", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    struct err e = {0};
    return fs_remove_dir(&fs_real, folder, &e) ? -1 : 0;
}

/* Of a topic too: log.retention.ms has no default of its own, log.retention.hours stands for it. */
static void effective_values(struct broker_config *b, struct str name, struct buf *out)
{
    struct topic_config t = {0};
    struct config_row row;

    broker_config_row(b, broker_config_find(name), &row);
    if (!str_is(name, "log.retention.ms")) buf_printf(out, STR_FMT " ", STR_ARG(row.value));
    for (size_t i = 0; i < topic_config_rows(); i++) {
        topic_config_row(&t, b, i, &row);
        buf_printf(out, STR_FMT " ", STR_ARG(row.value));
    }
}

static void same_without_being_told(void *ctx, struct str name, struct str value, bool is_default)
{
    AUTO(buf_fini) struct buf untold = {0}, told = {0};
    struct broker_config b;
    struct err e;

    assert_true(is_default);
    broker_config_init(&b);
    effective_values(&b, name, &untold);
    assert_int_equal(broker_config_set(&b, CONFIG_SOURCE_STATIC, name, value, &e), RC_OK);
    effective_values(&b, name, &told);
    broker_config_fini(&b);
    if (!str_eq(buf_str(&untold), buf_str(&told)))
        fail_msg(STR_FMT ": the broker's own default is not " STR_FMT, STR_ARG(name), STR_ARG(value));
    ++*(int *)ctx;
}

/* Only what was set is passed on, so that clients can tell it from a default. */
static void a_default_of_the_broker_needs_no_telling(void **state)
{
    struct loaded l = load(NULL, NULL, NULL, NULL);
    int seen = 0;

    (void)state;
    assert_int_equal(l.rc, RC_OK);
    config_each_broker(l.c, same_without_being_told, &seen);
    assert_int_equal(seen, 9);
    config_free(l.c);
    problems_fini(&l.problems);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_any_source_the_defaults_hold),
        cmocka_unit_test(yaml_gives_values_of_every_type),
        cmocka_unit_test(a_flag_wins_over_environment_over_yaml_over_kafka_json_over_default),
        cmocka_unit_test(maps_are_merged_by_name),
        cmocka_unit_test(short_flags_set_what_they_stand_for),
        cmocka_unit_test(another_kafka_leaves_the_broker_out),
        cmocka_unit_test(kafka_json_is_read_by_its_own_rules),
        cmocka_unit_test(mistakes_in_kafka_json_are_all_told),
        cmocka_unit_test(names_of_headers_are_lower_case),
        cmocka_unit_test(a_file_that_is_not_there_is_told),
        cmocka_unit_test(every_mistake_in_yaml_is_told_with_its_place),
        cmocka_unit_test(yaml_must_be_one_document_of_names_without_repeats),
        cmocka_unit_test(the_two_families_of_variables_must_agree),
        cmocka_unit_test(the_pods_namespace_file_comes_before_the_variable),
        cmocka_unit_test(the_mechanism_is_plain_when_only_the_environment_speaks_of_sasl),
        cmocka_unit_test(security_of_the_client_comes_from_everywhere),
        cmocka_unit_test(security_of_the_client_that_cannot_be_is_refused),
        cmocka_unit_test(an_empty_endpoint_identification_means_https),
        cmocka_unit_test(flags_are_read_strictly),
        cmocka_unit_test(what_cannot_stand_together_is_refused),
        cmocka_unit_test(a_folder_without_a_registrys_file_is_refused),
        cmocka_unit_test(features_of_later_versions_are_refused_not_ignored),
        cmocka_unit_test(certificates_of_the_inference_port_come_from_the_file_or_as_the_originals_chart_says),
        cmocka_unit_test(listeners_say_what_their_security_lacks),
        cmocka_unit_test(what_is_printed_as_yaml_is_read_again_as_the_same),
        cmocka_unit_test(secrets_are_masked_and_origins_shown),
        cmocka_unit_test(help_lists_every_key),
        cmocka_unit_test(a_default_of_the_broker_needs_no_telling),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
