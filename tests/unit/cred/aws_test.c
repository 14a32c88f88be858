/* SPDX-License-Identifier: Apache-2.0 */
#include "cred/aws_core.h"
#include "sys/fs.h"
#include "test.h"
#include <stdio.h>

/* ---- an environment of one's own ---- */

struct env { const char *v[12][2]; };

static const char *env_get(void *ctx, const char *name)
{
    const struct env *env = ctx;

    for (size_t i = 0; i < countof(env->v) && env->v[i][0]; i++)
        if (!strcmp(env->v[i][0], name)) return env->v[i][1];
    return NULL;
}

static struct aws_place place_of(struct env *env)
{
    return (struct aws_place){.env = env_get, .ctx = env};
}

/* ---- ini ---- */

static void the_shared_files_are_read_as_awss_tools_do(void **state)
{
    const struct str text = STR("# comment\r\n[default]\r\naws_access_key_id = A1 # mine\r\n\tnested = no\r\ns3 =\n  region = wrong\n"
                                "[profile \"a b\"]\nregion=eu-west-1\n[profile x]\nREGION = us-east-1\nregion = us-east-2\n; end\n[x]\nregion = none\nlast=a=b");
    struct str v;

    (void)state;
    assert_true(aws_ini_get(text, STR("default"), STR("aws_access_key_id"), &v));
    assert_str(v, "A1");
    assert_false(aws_ini_get(text, STR("default"), STR("nested"), &v));
    assert_false(aws_ini_get(text, STR("default"), STR("region"), &v));
    assert_true(aws_ini_get(text, STR("profile a b"), STR("region"), &v));
    assert_str(v, "eu-west-1");
    assert_true(aws_ini_get(text, STR("profile x"), STR("region"), &v));
    assert_str(v, "us-east-2");
    assert_true(aws_ini_get(text, STR("x"), STR("last"), &v));
    assert_str(v, "a=b");
    assert_false(aws_ini_has(text, STR("profile y")));
    assert_false(aws_ini_has(STR("["), STR("")));
}

/* ---- regions ---- */

static void a_brokers_name_tells_its_region(void **state)
{
    char region[64];

    (void)state;
    assert_true(aws_region_in(STR("b-2.shop.x1y2z3.c4.kafka.eu-central-1.amazonaws.com:9098"), region));
    assert_string_equal(region, "eu-central-1");
    assert_true(aws_region_in(STR("localhost:1, boot-abc.c1.kafka-serverless.us-west-2.amazonaws.com:9098"), region));
    assert_string_equal(region, "us-west-2");
    assert_true(aws_region_in(STR("b-1.a.b.c2.kafka.cn-north-1.amazonaws.com.cn:9098"), region));
    assert_string_equal(region, "cn-north-1");
    assert_false(aws_region_in(STR("kafka.example.org:9092,s3.eu-west-1.amazonaws.com"), region));
    assert_false(aws_region_in(STR(",:,.amazonaws.com,.kafka..amazonaws.com"), region));
}

static void a_region_that_is_given_wins_and_none_is_said(void **state)
{
    struct env env = {{{"AWS_DEFAULT_REGION", "us-east-1"}, {"AWS_EC2_METADATA_DISABLED", "true"}, {"HOME", "/nowhere"}}};
    struct aws_place p = place_of(&env);
    char region[64];
    struct err e;

    (void)state;
    p.region = STR("eu-north-1");
    assert_int_equal(aws_region_find(&p, STR(""), region, &e), RC_OK);
    assert_string_equal(region, "eu-north-1");
    p.region = STR("");
    assert_int_equal(aws_region_find(&p, STR("b-1.a.c2.kafka.eu-west-1.amazonaws.com:9098"), region, &e), RC_OK);
    assert_string_equal(region, "us-east-1");
    env.v[0][0] = "OTHER";
    assert_int_equal(aws_region_find(&p, STR("b-1.a.c2.kafka.eu-west-1.amazonaws.com:9098"), region, &e), RC_OK);
    assert_string_equal(region, "eu-west-1");
    assert_int_equal(aws_region_find(&p, STR("kafka:9098"), region, &e), RC_INVALID);
    assert_non_null(strstr(e.text, "security.kafka.sasl.aws.region"));
    p.region = STR("eu west");
    assert_int_equal(aws_region_find(&p, STR(""), region, &e), RC_INVALID);
}

/* ---- answers ---- */

static void credentials_are_found_in_every_form_of_answer(void **state)
{
    static const char *const answers[] = {
        "{\"Code\":\"Success\",\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"s&<\",\"Token\":\"t\",\"Expiration\":\"2026-11-23T04:06:10Z\"}",
        "{\"AssumeRoleResponse\":{\"AssumeRoleResult\":{\"AssumedRoleUser\":{\"Arn\":\"x\"},\"Credentials\":{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"s&<\",\"SessionToken\":\"t\","
        "\"Expiration\":1.79540677E9}}}}",
        "<AssumeRoleResponse xmlns=\"x\"><AssumeRoleResult><Credentials>\n <SessionToken> t </SessionToken><SecretAccessKey>s&amp;&lt;</SecretAccessKey>"
        "<Expiration>2026-11-23T04:06:10.000Z</Expiration><AccessKeyId>A</AccessKeyId></Credentials></AssumeRoleResult></AssumeRoleResponse>",
    };

    (void)state;
    for (size_t i = 0; i < countof(answers); i++) {
        AUTO(aws_keys_fini) struct aws_keys k = {0};
        struct err e;

        assert_int_equal(aws_answer_keys(str_bytes(str_of(answers[i])), &k, &e), RC_OK);
        assert_string_equal(k.id, "A");
        assert_str(buf_str(&k.secret), "s&<");
        assert_str(buf_str(&k.session), "t");
        assert_int_equal(k.expires_ms, INT64_C(1795406770000));
    }
}

static void an_answer_without_credentials_is_refused(void **state)
{
    static const char *const answers[] = {
        "", "{", "[]", "{}", "null", "{\"AccessKeyId\":\"A\"}", "{\"AccessKeyId\":\"A\",\"SecretAccessKey\":1}", "<", "<Credentials></Credentials>",
        "<Credentials><AccessKeyId>A</AccessKeyId><SecretAccessKey>", "{\"AccessKeyId\":\"A b\",\"SecretAccessKey\":\"s\"}",
        "{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"s\",\"Token\":\"a\\nb\"}", "{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"s\",\"Expiration\":\"soon\"}",
        "{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"s\",\"Expiration\":-1}",
    };

    (void)state;
    for (size_t i = 0; i < countof(answers); i++) {
        struct aws_keys k = {0};
        struct err e;

        assert_int_equal(aws_answer_keys(str_bytes(str_of(answers[i])), &k, &e), RC_INVALID);
        assert_null(k.secret.p);
    }
}

static void what_aws_says_against_it_is_told(void **state)
{
    static const char *const pairs[][2] = {
        {"{\"Error\":{\"Code\":\"AccessDenied\",\"Message\":\"Not authorized\"},\"RequestId\":\"1\"}", "AccessDenied: Not authorized"},
        {"<ErrorResponse><Error><Code>ExpiredToken</Code><Message>a &amp; b</Message></Error></ErrorResponse>", "ExpiredToken: a & b"},
        {"{\"code\":\"x\"}", "x"},
        {"404 page\nnot found", "404 page"},
        {"", ""},
    };
    char why[256];

    (void)state;
    for (size_t i = 0; i < countof(pairs); i++) {
        aws_answer_why(str_bytes(str_of(pairs[i][0])), why);
        assert_string_equal(why, pairs[i][1]);
    }
}

/* ---- the chain, as far as it asks nobody ---- */

static void fill(const char *path, const char *text)
{
    struct err e;

    assert_int_equal(fs_save(&fs_real, path, str_bytes(str_of(text)), false, &e), RC_OK);
}

static void the_first_source_that_is_configured_counts(void **state)
{
    char folder[] = "/tmp/aws-test-XXXXXX", credentials[64], config[64];
    struct env env = {{{"AWS_SHARED_CREDENTIALS_FILE", credentials}, {"AWS_CONFIG_FILE", config}, {"AWS_EC2_METADATA_DISABLED", "true"},
                       {"AWS_ACCESS_KEY_ID", "FROMENV"}, {"AWS_SECRET_ACCESS_KEY", "s"}, {"AWS_SESSION_TOKEN", "t"}}};
    struct aws_place p = place_of(&env);
    struct aws_keys k = {0};
    struct err e = {0};

    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(credentials, sizeof credentials, "%s/credentials", folder);
    snprintf(config, sizeof config, "%s/config", folder);
    fill(credentials, "[default]\naws_access_key_id = FROMFILE\naws_secret_access_key = x\n[half]\naws_access_key_id = A\n");
    fill(config, "[profile other]\naws_access_key_id = OTHER\naws_secret_access_key = y\nregion = eu-west-3\n[profile sso]\nsso_session = s\n"
                 "[profile loop]\nrole_arn = r\nsource_profile = loop2\n[profile loop2]\nrole_arn = r\nsource_profile = loop\n[profile bare]\nrole_arn = r\n");
    assert_int_equal(aws_keys_find(&p, &k, &e), RC_OK);
    assert_string_equal(k.id, "FROMENV");
    assert_str(buf_str(&k.session), "t");
    aws_keys_fini(&k);
    p.profile = STR("other");                    /* asked for by name: before the environment */
    assert_int_equal(aws_keys_find(&p, &k, &e), RC_OK);
    assert_string_equal(k.id, "OTHER");
    assert_string_equal(k.from, "profile other");
    aws_keys_fini(&k);
    p.profile = STR("sso");
    assert_int_equal(aws_keys_find(&p, &k, &e), RC_UNSUPPORTED);
    p.profile = STR("half");
    assert_int_equal(aws_keys_find(&p, &k, &e), RC_INVALID);
    p.profile = STR("loop");
    assert_int_equal(aws_keys_find(&p, &k, &e), RC_INVALID);
    p.profile = STR("bare");
    assert_int_equal(aws_keys_find(&p, &k, &e), RC_INVALID);
    p.profile = STR("absent");
    assert_int_equal(aws_keys_find(&p, &k, &e), RC_NOT_FOUND);
    assert_non_null(strstr(e.text, "absent"));
    p.profile = STR("");
    env.v[4][0] = "NOT_IT";
    assert_int_equal(aws_keys_find(&p, &k, &e), RC_INVALID);       /* half of the environment's is no reason to go on */
    env.v[3][0] = "NOT_IT";
    assert_int_equal(aws_keys_find(&p, &k, &e), RC_OK);
    assert_string_equal(k.id, "FROMFILE");
    aws_keys_fini(&k);
    fill(credentials, "");
    assert_int_equal(aws_keys_find(&p, &k, &e), RC_NOT_FOUND);
    assert_non_null(strstr(e.text, "there are no AWS credentials"));
    env.v[5][0] = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
    env.v[5][1] = "http://169.254.170.2.example.org/x";
    assert_int_equal(aws_keys_find(&p, &k, &e), RC_INVALID);
    env.v[5][1] = "http://127.0.0.1@example.org/x";
    assert_int_equal(aws_keys_find(&p, &k, &e), RC_INVALID);
    assert_int_equal(fs_remove_dir(&fs_real, folder, &e), RC_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_shared_files_are_read_as_awss_tools_do),
        cmocka_unit_test(a_brokers_name_tells_its_region),
        cmocka_unit_test(a_region_that_is_given_wins_and_none_is_said),
        cmocka_unit_test(credentials_are_found_in_every_form_of_answer),
        cmocka_unit_test(an_answer_without_credentials_is_refused),
        cmocka_unit_test(what_aws_says_against_it_is_told),
        cmocka_unit_test(the_first_source_that_is_configured_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
