/* SPDX-License-Identifier: Apache-2.0 */
#include "cred/secret.h"
#include "cred/secret_core.h"
#include "sys/fs.h"
#include "test.h"
#include "support/turn.h"
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];

static int folder_make(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/secret-test-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int folder_remove(void **state)
{
    char path[80];
    struct err e;

    (void)state;
    for (int i = 1; i < 3; i++) {
        snprintf(path, sizeof path, "%s/..%d", folder, i);
        if (fs_remove_dir(&fs_real, path, &e)) return -1;
    }
    return fs_remove_dir(&fs_real, folder, &e) ? -1 : 0;
}

static const char *at(const char *name)
{
    static char path[4][128];
    static unsigned n;

    snprintf(path[++n % 4], 128, "%s/%s", folder, name);
    return path[n % 4];
}

static void fill(const char *name, const char *text)
{
    struct err e;

    assert_int_equal(fs_save(&fs_real, at(name), str_bytes(str_of(text)), false, &e), RC_OK);
}

static struct secret_source *source_of(const char *name, const char *path, bool optional)
{
    struct secret_item item = {.path = str_of(path), .optional = optional};

    return secret_source_new(&(struct secret_options){.what = STR("the SASL password"), .name = str_of(name), .items = &item, .items_n = 1});
}

static enum rc read_one(const char *name, const char *path, bool optional, struct secret **ret, struct err *e)
{
    struct secret_source *s = source_of(name, path, optional);
    enum rc rc = secret_read(s, NULL, ret, e);

    secret_source_free(s);
    return rc;
}

static void the_line_end_of_a_file_does_not_belong_to_the_secret(void **state)
{
    struct secret *s = NULL;
    struct err e;

    (void)state;
    fill("password", "pass word \r\n");
    assert_int_equal(read_one("", at("password"), false, &s, &e), RC_OK);
    assert_str(secret_text(s, str_of(at("password"))), "pass word ");
    assert_str(secret_text(s, STR("other")), "");
    s = secret_free(secret_hold(s));
    secret_free(s);
}

static void a_folder_is_a_secret_with_its_files_as_keys(void **state)
{
    struct secret *s = NULL;
    struct err e = {0};

    (void)state;
    fill("token", "abc\n");
    assert_int_equal(read_one(folder, "/somewhere/else/token", false, &s, &e), RC_OK);
    assert_str(secret_text(s, STR("/somewhere/else/token")), "abc");
    s = secret_free(s);
    assert_int_equal(read_one(folder, "absent", false, &s, &e), RC_NOT_FOUND);
    assert_non_null(strstr(e.text, "the SASL password: the folder"));
    assert_non_null(strstr(e.text, "absent"));
    assert_int_equal(read_one(folder, "absent", true, &s, &e), RC_OK);
    s = secret_free(s);
    assert_int_equal(mkdir(at("dir"), 0700), 0);
    assert_int_equal(read_one(folder, "dir", false, &s, &e), RC_INVALID);
    rmdir(at("dir"));
}

static void files_with_one_name_in_two_folders_are_two_values(void **state)
{
    struct secret_item items[3];
    struct secret_options o = {.what = STR("the client certificate"), .items = items, .items_n = countof(items)};
    struct secret_source *source;
    struct secret *s = NULL;
    struct err e;

    (void)state;
    assert_int_equal(mkdir(at("a"), 0700) | mkdir(at("b"), 0700), 0);
    fill("a/tls.pem", "certificate\n");
    fill("b/tls.pem", "key\n");
    fill("tls.pem", "both\n");
    items[0] = (struct secret_item){.path = str_of(at("a/tls.pem"))};
    items[1] = (struct secret_item){.path = str_of(at("b/tls.pem"))};
    items[2] = items[0];                         /* as when one file has both in it */
    source = secret_source_new(&o);
    assert_int_equal(secret_read(source, NULL, &s, &e), RC_OK);
    assert_str(secret_text(s, items[0].path), "certificate");
    assert_str(secret_text(s, items[1].path), "key");
    s = secret_free(s);
    secret_source_free(source);
    o.name = str_of(folder);                     /* a folder has one file of this name */
    source = secret_source_new(&o);
    assert_int_equal(secret_read(source, NULL, &s, &e), RC_OK);
    assert_str(secret_text(s, items[0].path), "both");
    assert_str(secret_text(s, items[1].path), "both");
    secret_free(s);
    secret_source_free(source);
    assert_int_equal(fs_remove_dir(&fs_real, at("a"), &e) | fs_remove_dir(&fs_real, at("b"), &e), 0);
}

static void a_kubernetes_secret_outside_a_pod_says_what_to_do(void **state)
{
    struct secret *s = NULL;
    struct err e = {0};

    (void)state;
    unsetenv("KUBERNETES_SERVICE_HOST");
    setenv("POD_NAMESPACE", "models", 1);
    assert_int_equal(read_one("kafka-secret", "password", false, &s, &e), RC_UNAVAILABLE);
    assert_non_null(strstr(e.text, "give files"));
    assert_int_equal(read_one("Not A Name", "password", false, &s, &e), RC_INVALID);
    setenv("POD_NAMESPACE", "../x", 1);
    assert_int_equal(read_one("kafka-secret", "password", false, &s, &e), RC_INVALID);
    unsetenv("POD_NAMESPACE");
}

static void a_file_in_memory_that_is_filled_again_has_nothing_of_before(void **state)
{
    AUTO(buf_fini) struct buf there = {0};
    struct secret_file f;
    struct err e;

    (void)state;
    assert_int_equal(secret_file_open(&f, &e), RC_OK);
    assert_int_equal(secret_file_fill(&f, str_bytes(STR("a long certificate")), &e), RC_OK);
    assert_int_equal(secret_file_fill(&f, str_bytes(STR("a key")), &e), RC_OK);
    assert_int_equal(fs_load(&fs_real, f.path, 100, &there, &e), RC_OK);
    assert_str(buf_str(&there), "a key");
    secret_file_close(&f);
    assert_int_equal(secret_file_fill(&f, str_bytes(STR("x")), &e), RC_IO);
}

/* ---- what the API server says ---- */

static const struct k8s_who who = {{"kafka-secret", 12}, {"models", 6}};

static void the_api_servers_answer_is_decoded(void **state)
{
    AUTO(draft_fini) struct secret_draft d = {0};
    struct err e;
    struct secret *s;

    (void)state;
    assert_int_equal(k8s_answer(&who, 200, str_bytes(STR("{\"kind\":\"Secret\",\"data\":{\"password\":\"cw==\",\"empty\":\"\",\"bin\":\"AAEK\"}}")), &d, &e), RC_OK);
    s = secret_of(&d);
    assert_str(secret_text(s, STR("password")), "s");
    assert_str(secret_text(s, STR("empty")), "");
    assert_int_equal(secret_text(s, STR("bin")).n, 2);
    assert_true(secret_eq(s, s));
    secret_free(s);
}

static void a_refusal_of_the_api_server_names_the_rule_that_is_missing(void **state)
{
    static const struct { long status; const char *body; enum rc rc; const char *says; } cases[] = {
        {403, "{\"kind\":\"Status\",\"message\":\"secrets \\\"kafka-secret\\\" is forbidden: User \\\"system:serviceaccount:models:default\\\" cannot get\"}", RC_DENIED,
         "resources [secrets], resourceNames [kafka-secret], verbs [get]"},
        {403, "", RC_DENIED, "Role in namespace models"},
        {404, "{}", RC_NOT_FOUND, "no Kubernetes Secret kafka-secret in namespace models"},
        {401, "{}", RC_AUTH, "token of the pod's service account"},
        {503, "x", RC_UNAVAILABLE, "503"},
        {302, "x", RC_INVALID, "302"},
        {200, "<html>", RC_INVALID, "no Secret"},
        {200, "{\"kind\":\"ConfigMap\"}", RC_INVALID, "no Secret"},
        {200, "{\"kind\":\"Secret\",\"data\":[]}", RC_INVALID, "no object"},
        {200, "{\"kind\":\"Secret\",\"data\":{\"a\":1}}", RC_INVALID, "no text"},
        {200, "{\"kind\":\"Secret\",\"data\":{\"a\":\"***\"}}", RC_INVALID, "no base64"},
    };

    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        struct secret_draft d = {0};
        struct err e = {0};

        assert_int_equal(k8s_answer(&who, cases[i].status, str_bytes(str_of(cases[i].body)), &d, &e), cases[i].rc);
        assert_non_null(strstr(e.text, cases[i].says));
        assert_null(d.v);
    }
}

/* ---- watching, on a loop that the test turns ---- */

struct seen { unsigned changed, failed; char last[32]; };

static void on_changed(void *ctx, struct secret *s)
{
    struct seen *seen = ctx;

    seen->changed++;
    snprintf(seen->last, sizeof seen->last, "%s", secret_text(s, STR("password")).p);
}

static void on_failed(void *ctx, const struct err *e)
{
    assert_int_equal(e->rc, RC_NOT_FOUND);
    ((struct seen *)ctx)->failed++;
}

/* As the kubelet does it: files are links into ..data, a link to a folder that is replaced. */
static void a_mounted_secret_that_is_swapped_is_noticed_once(void **state)
{
    struct loop *l;
    struct workers *w;
    struct err e;
    struct seen seen = {0};
    struct secret_watch *watch;

    (void)state;
    assert_int_equal(loop_new(&clock_real, &l, &e), RC_OK);
    assert_int_equal(workers_new(1, &w, &e), RC_OK);
    mkdir(at("..1"), 0700);
    mkdir(at("..2"), 0700);
    fill("..1/password", "one\n");
    fill("..2/password", "two\n");
    unlink(at("password"));
    assert_int_equal(symlink("..1", at("..data")), 0);
    assert_int_equal(symlink("..data/password", at("password")), 0);
    watch = secret_watch_new(&(struct secret_watch_options){.loop = l, .workers = w, .source = source_of(folder, "password", false), .changed = on_changed, .failed = on_failed,
                                                            .ctx = &seen, .every_ms = 5});
    turn_until(l, &seen.changed, 1);
    assert_string_equal(seen.last, "one");
    assert_int_equal(symlink("..2", at("..tmp")), 0);
    assert_int_equal(rename(at("..tmp"), at("..data")), 0);
    turn_until(l, &seen.changed, 2);
    assert_string_equal(seen.last, "two");
    unlink(at("..data"));
    turn_until(l, &seen.failed, 1);
    assert_int_equal(symlink("..1", at("..data")), 0);
    turn_until(l, &seen.changed, 3);
    assert_int_equal(seen.failed, 1);
    secret_watch_now(watch);
    secret_watch_free(watch);
    workers_free(w);
    mailbox_drain(loop_mailbox(l));
    loop_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_line_end_of_a_file_does_not_belong_to_the_secret),
        cmocka_unit_test(a_folder_is_a_secret_with_its_files_as_keys),
        cmocka_unit_test(files_with_one_name_in_two_folders_are_two_values),
        cmocka_unit_test(a_kubernetes_secret_outside_a_pod_says_what_to_do),
        cmocka_unit_test(a_file_in_memory_that_is_filled_again_has_nothing_of_before),
        cmocka_unit_test(the_api_servers_answer_is_decoded),
        cmocka_unit_test(a_refusal_of_the_api_server_names_the_rule_that_is_missing),
        cmocka_unit_test(a_mounted_secret_that_is_swapped_is_noticed_once),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
