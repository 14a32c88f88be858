/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/config.h"
#include "test.h"

#include <stdio.h>

static const char *value_of(struct topic_config *t, struct broker_config *c, const char *name,
                            enum config_source *ret_source)
{
    static char text[64];
    struct config_row row;

    topic_config_row(t, c, topic_config_find(str_of(name)), &row);
    if (ret_source) *ret_source = row.source;
    snprintf(text, sizeof text, STR_FMT, STR_ARG(row.value));
    return text;
}

static void the_defaults_are_kafkas(void **state)
{
    struct broker_config c;
    struct topic_config t = {0};

    (void)state;
    broker_config_init(&c);
    topic_config_resolve(&t, &c);
    assert_int_equal(t.log.retention_ms, 604800000);
    assert_int_equal(t.log.segment_bytes, 1073741824);
    assert_int_equal(t.log.segment_ms, 604800000);
    assert_int_equal(t.log.cleanup, LOG_CLEANUP_DELETE);
    assert_int_equal(t.compression, -1);
    assert_int_equal(t.timestamp_before_max_ms, INT64_MAX);
    assert_false(t.log_append_time);
    assert_int_equal(c.group_initial_rebalance_delay_ms, 3000);
    assert_int_equal(c.offsets_retention_ms, INT64_C(10080) * 60000);
    topic_config_fini(&t);
    broker_config_fini(&c);
}

static void every_row_has_a_type_a_sentence_and_a_value_its_own_check_accepts(void **state)
{
    struct broker_config c;
    struct topic_config t = {0};
    struct config_row row;
    struct err e;

    (void)state;
    broker_config_init(&c);
    assert_int_equal(topic_config_rows(), TOPIC_CONFIGS_N);
    for (size_t i = 0; i < topic_config_rows(); i++) {
        topic_config_row(&t, &c, i, &row);
        assert_true(row.type >= CONFIG_BOOL && row.doc && *row.doc && row.value.p);
        if (topic_config_check(str_of(row.name), row.value, &e)) fail_msg("%s", e.text);
    }
    for (size_t i = 0; i < broker_config_rows(); i++) {
        broker_config_row(&c, i, &row);
        assert_true(row.type >= CONFIG_BOOL && row.doc && *row.doc);
        if (row.value.p && broker_config_check(CONFIG_SOURCE_STATIC, str_of(row.name), row.value, &e))
            fail_msg("%s", e.text);
    }
    broker_config_fini(&c);
}

static void a_topics_own_value_beats_the_brokers_and_the_dynamic_one_the_files(void **state)
{
    struct broker_config c;
    struct topic_config t = {0};
    enum config_source source;
    struct err e;

    (void)state;
    broker_config_init(&c);
    assert_int_equal(broker_config_set(&c, CONFIG_SOURCE_STATIC, STR("log.retention.hours"), STR("2"), &e), RC_OK);
    topic_config_resolve(&t, &c);
    assert_int_equal(t.log.retention_ms, 7200000);
    assert_string_equal(value_of(&t, &c, "retention.ms", &source), "7200000");
    assert_int_equal(source, CONFIG_SOURCE_DEFAULT); /* as Kafka says it of the weaker keys */
    assert_int_equal(broker_config_set(&c, CONFIG_SOURCE_STATIC, STR("log.retention.ms"), STR("7200001"), &e), RC_OK);
    assert_string_equal(value_of(&t, &c, "retention.ms", &source), "7200001");
    assert_int_equal(source, CONFIG_SOURCE_STATIC);
    assert_int_equal(broker_config_set(&c, CONFIG_SOURCE_STATIC, STR("log.retention.ms"), (struct str){0}, &e), RC_OK);
    assert_int_equal(broker_config_set(&c, CONFIG_SOURCE_BROKER, STR("log.retention.ms"), STR("500"), &e), RC_OK);
    topic_config_resolve(&t, &c);
    assert_int_equal(t.log.retention_ms, 500);
    (void)value_of(&t, &c, "retention.ms", &source);
    assert_int_equal(source, CONFIG_SOURCE_BROKER);
    assert_int_equal(topic_config_set(&t, STR("retention.ms"), STR("-1"), &e), RC_OK);
    topic_config_resolve(&t, &c);
    assert_int_equal(t.log.retention_ms, -1);
    assert_int_equal(topic_config_set(&t, STR("retention.ms"), (struct str){0}, &e), RC_OK);
    assert_int_equal(broker_config_set(&c, CONFIG_SOURCE_BROKER, STR("log.retention.ms"), (struct str){0}, &e), RC_OK);
    topic_config_resolve(&t, &c);
    assert_int_equal(t.log.retention_ms, 7200000);
    topic_config_fini(&t);
    broker_config_fini(&c);
}

static void a_value_that_cannot_be_is_refused_with_its_reason(void **state)
{
    static const struct { const char *name, *value; enum rc rc; } bad[] = {
        {"no.such.setting", "1", RC_NOT_FOUND},       {"retention.ms", "abc", RC_INVALID},
        {"retention.ms", "-2", RC_INVALID},           {"segment.bytes", "13", RC_INVALID},
        {"segment.bytes", "2147483648", RC_INVALID},  {"cleanup.policy", "shred", RC_INVALID},
        {"cleanup.policy", "delete,", RC_INVALID},    {"min.cleanable.dirty.ratio", "1.5", RC_INVALID},
        {"min.cleanable.dirty.ratio", "x", RC_INVALID}, {"preallocate", "maybe", RC_INVALID},
        {"compression.type", "brotli", RC_INVALID},   {"remote.storage.enable", "true", RC_INVALID},
        {"message.timestamp.type", "Never", RC_INVALID}, {"retention.ms", "", RC_INVALID},
        {"leader.replication.throttled.replicas", "x", RC_INVALID}, {"leader.replication.throttled.replicas", "*,0:1", RC_INVALID},
        {"leader.replication.throttled.replicas", "0:", RC_INVALID}, {"leader.replication.throttled.replicas", "0:-1", RC_INVALID},
    };
    static const struct { const char *name, *value; } good[] = {
        {"cleanup.policy", "compact,delete"}, {"cleanup.policy", "delete, compact"}, {"compression.type", "zstd"},
        {"preallocate", "TRUE"}, {"retention.ms", "-1"}, {"min.cleanable.dirty.ratio", "0"},
    };
    struct err e;

    (void)state;
    for (size_t i = 0; i < countof(bad); i++) {
        assert_int_equal(topic_config_check(str_of(bad[i].name), str_of(bad[i].value), &e), bad[i].rc);
        assert_non_null(strstr(e.text, bad[i].name));
    }
    for (size_t i = 0; i < countof(good); i++)
        if (topic_config_check(str_of(good[i].name), str_of(good[i].value), &e)) fail_msg("%s", e.text);
    assert_int_equal(broker_config_check(CONFIG_SOURCE_BROKER, STR("node.id"), STR("2"), &e), RC_DENIED);
}

/* Both columns as Apache Kafka 3.8.1 takes and shows them. */
static void values_are_kept_in_the_form_that_kafka_shows(void **state)
{
    static const struct { const char *name, *written, *shown; } rows[] = {
        {"retention.ms", " 5 ", "5"}, {"retention.ms", "007", "7"}, {"retention.ms", "+5", "5"}, {"retention.ms", "5\t", "5"},
        {"preallocate", "TRUE", "true"}, {"preallocate", " true ", "true"}, {"compression.type", " gzip ", "gzip"},
        {"cleanup.policy", " delete , compact ", "delete,compact"}, {"cleanup.policy", "", ""}, {"cleanup.policy", " ", ""},
        {"cleanup.policy", "delete,delete", "delete,delete"}, {"min.cleanable.dirty.ratio", "0.50", "0.5"},
        {"min.cleanable.dirty.ratio", " 1e-1 ", "0.1"}, {"min.cleanable.dirty.ratio", ".5", "0.5"},
        {"min.cleanable.dirty.ratio", "1", "1.0"}, {"min.cleanable.dirty.ratio", "0.0001", "1.0E-4"},
        {"leader.replication.throttled.replicas", " 0:1 , 2:3", "0:1,2:3"}, {"leader.replication.throttled.replicas", "*", "*"},
        {"leader.replication.throttled.replicas", "", ""}, {"follower.replication.throttled.replicas", "0:99999999999", "0:99999999999"},
    };
    struct err e;

    (void)state;
    for (size_t i = 0; i < countof(rows); i++) {
        struct topic_config t = {0};

        if (topic_config_set(&t, str_of(rows[i].name), str_of(rows[i].written), &e)) fail_msg("%s", e.text);
        assert_string_equal(t.set[topic_config_find(str_of(rows[i].name))], rows[i].shown);
        topic_config_fini(&t);
    }
}

static void a_topic_without_a_cleanup_policy_keeps_everything(void **state)
{
    struct broker_config c;
    struct topic_config t = {0};
    struct err e;

    (void)state;
    broker_config_init(&c);
    assert_int_equal(topic_config_set(&t, STR("cleanup.policy"), STR(""), &e), RC_OK);
    topic_config_resolve(&t, &c);
    assert_int_equal(t.log.cleanup, 0);
    topic_config_fini(&t);
    broker_config_fini(&c);
}

static void a_value_may_be_set_to_a_part_of_itself(void **state)
{
    struct topic_config t = {0};
    struct err e;
    size_t row = topic_config_find(STR("cleanup.policy"));

    (void)state;
    assert_int_equal(topic_config_set(&t, STR("cleanup.policy"), STR("delete,compact"), &e), RC_OK);
    assert_int_equal(topic_config_set(&t, STR("cleanup.policy"), (struct str){t.set[row] + 7, 7}, &e), RC_OK);
    assert_string_equal(t.set[row], "compact");
    topic_config_fini(&t);
}

static void the_old_limit_of_timestamps_sets_both_new_ones_where_they_are_not_set(void **state)
{
    struct broker_config c;
    struct topic_config t = {0};
    struct err e;

    (void)state;
    broker_config_init(&c);
    assert_int_equal(topic_config_set(&t, STR("message.timestamp.difference.max.ms"), STR("1000"), &e), RC_OK);
    assert_int_equal(topic_config_set(&t, STR("message.timestamp.after.max.ms"), STR("5"), &e), RC_OK);
    topic_config_resolve(&t, &c);
    assert_int_equal(t.timestamp_before_max_ms, 1000);
    assert_int_equal(t.timestamp_after_max_ms, 5);
    topic_config_fini(&t);
    broker_config_fini(&c);
}

static void what_holds_here_and_nothing_else_is_shown_and_cannot_be_set(void **state)
{
    static const struct { const char *name, *wrong; } fixed[] = {
        {"sasl.enabled.mechanisms", "GSSAPI"}, {"sasl.oauthbearer.sub.claim.name", "name"},
        {"ssl.enabled.protocols", "TLSv1.1"}, {"group.coordinator.threads", "4"},
        {"offsets.topic.compression.codec", "1"}, {"delegation.token.secret.key", "secret"}};
    static const char *const absent[] = {"zookeeper.connect", "replica.lag.time.max.ms",
                                         "controlled.shutdown.enable", "ssl.keystore.location"};
    struct err e;

    (void)state;
    for (size_t i = 0; i < countof(fixed); i++) {
        assert_int_not_equal(broker_config_find(str_of(fixed[i].name)), SIZE_MAX);
        assert_int_equal(broker_config_check(CONFIG_SOURCE_STATIC, str_of(fixed[i].name),
                                             str_of(fixed[i].wrong), &e),
                         RC_INVALID);
    }
    for (size_t i = 0; i < countof(absent); i++)
        assert_int_equal(broker_config_find(str_of(absent[i])), SIZE_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_holds_here_and_nothing_else_is_shown_and_cannot_be_set),
        cmocka_unit_test(the_defaults_are_kafkas),
        cmocka_unit_test(every_row_has_a_type_a_sentence_and_a_value_its_own_check_accepts),
        cmocka_unit_test(a_topics_own_value_beats_the_brokers_and_the_dynamic_one_the_files),
        cmocka_unit_test(a_value_that_cannot_be_is_refused_with_its_reason),
        cmocka_unit_test(values_are_kept_in_the_form_that_kafka_shows),
        cmocka_unit_test(a_topic_without_a_cleanup_policy_keeps_everything),
        cmocka_unit_test(a_value_may_be_set_to_a_part_of_itself),
        cmocka_unit_test(the_old_limit_of_timestamps_sets_both_new_ones_where_they_are_not_set),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
