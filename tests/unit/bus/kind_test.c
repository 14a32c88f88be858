/* SPDX-License-Identifier: Apache-2.0
 *
 * Whose Kafka it is, by the name of its first broker; and the table of what it can do.
 */
#include "bus/capabilities.h"
#include "bus/remote_kind.h"
#include "test.h"

static void a_service_is_known_by_the_names_of_its_brokers(void **state)
{
    static const struct { const char *bootstrap; enum remote_kind kind; } rows[] = {
        {"kafka:9092", REMOTE_APACHE},
        {"ns.servicebus.windows.net:9093", REMOTE_EVENT_HUBS},
        {"ns.servicebus.chinacloudapi.cn:9093", REMOTE_EVENT_HUBS},
        {"servicebus.windows.net.example.org:9093", REMOTE_APACHE},
        {"pkc-1.eu-west-1.aws.confluent.cloud:9092", REMOTE_CONFLUENT_CLOUD},
        {"b-1.m.x.c2.kafka.eu-west-1.amazonaws.com:9098,b-2.m.x.c2.kafka.eu-west-1.amazonaws.com:9098", REMOTE_MSK},
        {"boot-x.c1.kafka-serverless.us-east-1.amazonaws.com:9098", REMOTE_MSK},
        {"ec2-1-2-3-4.compute.amazonaws.com:9092", REMOTE_APACHE},
    };

    (void)state;
    for (size_t i = 0; i < countof(rows); i++)
        if (remote_kind_of(str_of(rows[i].bootstrap)) != rows[i].kind) fail_msg("%s is taken for %s", rows[i].bootstrap, remote_kind_name(remote_kind_of(str_of(rows[i].bootstrap))));
    assert_int_equal(remote_kind_request_max(REMOTE_EVENT_HUBS), 1046528);
    assert_int_equal(remote_kind_request_max(REMOTE_APACHE), 0);
    assert_null(remote_kind_presets(REMOTE_APACHE)->name);
    assert_string_equal(remote_kind_presets(REMOTE_EVENT_HUBS)->value, "180000");
}

static void a_table_marks_what_degrades_and_says_to_what(void **state)
{
    AUTO(buf_fini) struct buf b = {0};
    struct capabilities c = {.n = 0};

    (void)state;
    capability_add(&c, "kind", "%s", "Apache Kafka");
    capability_effect(capability_add(&c, "idempotence", "no"), true, "at least %s", "once");
    capabilities_put(&c, &b);
    assert_string_equal(buf_cstr(&b), "  kind         Apache Kafka\n! idempotence  no\n               -> at least once\n");
    for (int i = 0; i < 2 * CAPABILITIES_MAX; i++)
        capability_add(&c, "more", "%d", i);
    assert_int_equal(c.n, CAPABILITIES_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_service_is_known_by_the_names_of_its_brokers),
        cmocka_unit_test(a_table_marks_what_degrades_and_says_to_what),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
