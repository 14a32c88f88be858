/* tests/support/cred_probe.c - src/cred for the end-to-end tests: one wish as a line of JSON on standard input, the answer as JSON on
 * standard output. {"do": "sign" | "secret" | "keys" | "region" | "msk" | "oidc", …} answers once; {"do": "watch" | "keep", …} goes on until
 * standard input ends. A refusal is {"rc": …, "text": …, "retry": …}. It shows secrets, and is in no package.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cred/msk.h"
#include "cred/oidc.h"
#include "cred/secret.h"
#include <jansson.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { ITEMS_MAX = 8 };

static struct str text(const json_t *wish, const char *name)
{
    const char *s = json_string_value(json_object_get(wish, name));

    return str_of(s ? s : "");
}

static json_t *str_json(struct str s)
{
    return json_stringn(s.p ? s.p : "", s.n);
}

static void say(json_t *answer)
{
    char *line = json_dumps(answer, JSON_COMPACT);

    puts(line);
    fflush(stdout);
    free(line);
    json_decref(answer);
}

static json_t *refusal(const struct err *e)
{
    return json_pack("{s:s, s:s, s:b}", "rc", rc_name(e->rc), "text", e->text, "retry", e->retry);
}

/* ---- one answer ---- */

static json_t *sign(const json_t *wish, struct err *e)
{
    AUTO(buf_fini) struct buf b = {0};

    (void)e;
    msk_token(&(struct msk_signing){.region = text(wish, "region"), .id = text(wish, "id"), .secret = text(wish, "secret"), .session = text(wish, "session"),
                                    .user_agent = text(wish, "user_agent"), .now_s = json_integer_value(json_object_get(wish, "now"))}, &b);
    return json_pack("{s:o}", "token", str_json(buf_str(&b)));
}

static struct secret_source *source_of(const json_t *wish)
{
    struct secret_item items[ITEMS_MAX] = {0};
    const json_t *list = json_object_get(wish, "items");
    size_t n = MIN(json_array_size(list), (size_t)ITEMS_MAX);

    for (size_t i = 0; i < n; i++)
        items[i].path = str_of(json_string_value(json_array_get(list, i)));
    return secret_source_new(&(struct secret_options){.what = text(wish, "what"), .name = text(wish, "name"), .ns = text(wish, "ns"), .items = items, .items_n = n,
                                                      .account_dir = text(wish, "account_dir")});
}

static json_t *secret_json(const struct secret *s, const json_t *wish)
{
    json_t *ret = json_object();
    const json_t *item;
    size_t i;

    json_array_foreach(json_object_get(wish, "items"), i, item) {
        const char *path = json_string_value(item), *slash = strrchr(path, '/');
        const char *key = slash ? slash + 1 : path;

        json_object_set_new(ret, key, str_json(secret_text(s, str_of(path))));
    }
    return ret;
}

static json_t *secret(const json_t *wish, struct err *e)
{
    struct secret_source *from = source_of(wish);
    struct secret *s = NULL;
    json_t *ret = secret_read(from, NULL, &s, e) ? NULL : secret_json(s, wish);

    secret_free(s);
    secret_source_free(from);
    return ret;
}

static struct aws_place place_of(const json_t *wish)
{
    return (struct aws_place){.region = text(wish, "region"), .profile = text(wish, "profile"), .role_arn = text(wish, "role_arn"), .container_base = text(wish, "container_base")};
}

static json_t *keys(const json_t *wish, struct err *e)
{
    struct aws_place place = place_of(wish);
    AUTO(aws_keys_fini) struct aws_keys k = {0};

    if (aws_keys_find(&place, &k, e)) return NULL;
    return json_pack("{s:s, s:o, s:o, s:I, s:s}", "id", k.id, "secret", str_json(buf_str(&k.secret)), "session", str_json(buf_str(&k.session)), "expires_ms",
                     (json_int_t)k.expires_ms, "from", k.from);
}

static json_t *region(const json_t *wish, struct err *e)
{
    struct aws_place place = place_of(wish);
    char found[64];

    return aws_region_find(&place, text(wish, "hosts"), found, e) ? NULL : json_pack("{s:s}", "region", found);
}

static json_t *token_json(const struct token *t)
{
    json_t *extensions = json_array();

    for (size_t i = 0; i < t->extensions_n; i++)
        json_array_append_new(extensions, json_string(t->extensions[i]));
    return json_pack("{s:o, s:I, s:s, s:o}", "token", str_json(buf_str(&t->value)), "expires_ms", (json_int_t)t->expires_ms, "principal", t->principal, "extensions", extensions);
}

static json_t *token_of(struct token_maker *m, struct err *e)
{
    AUTO(token_fini) struct token t = {0};

    return token_make(m, NULL, &t, e) ? NULL : token_json(&t);
}

static json_t *msk(const json_t *wish, struct err *e)
{
    struct token_maker *m = msk_maker_new(&(struct msk_options){.bootstrap = text(wish, "hosts"), .region = text(wish, "region"), .profile = text(wish, "profile"),
                                                                .role_arn = text(wish, "role_arn")});
    json_t *ret = token_of(m, e);

    token_maker_free(m);
    return ret;
}

static enum rc oidc_of(const json_t *wish, struct token_maker **ret, struct err *e)
{
    struct secret_source *s = NULL;
    struct str name = text(wish, "name"), file = text(wish, "client_secret_path");
    struct secret_item one = {.path = file};

    if (name.n) s = secret_source_new(&(struct secret_options){.what = STR("the OAuth secret"), .name = name, .items = oidc_items, .items_n = countof(oidc_items),
                                                               .account_dir = text(wish, "account_dir")});
    if (!name.n && file.n) s = secret_source_new(&(struct secret_options){.what = STR("the client secret"), .items = &one, .items_n = 1});
    return oidc_maker_new(&(struct oidc_options){.method = text(wish, "method"), .client_id = text(wish, "client_id"), .client_secret = text(wish, "client_secret"),
                                                 .scope = text(wish, "scope"), .token_endpoint_url = text(wish, "token_endpoint_url"), .extensions = text(wish, "extensions"),
                                                 .secret = s, .client_secret_key = name.n ? STR("") : file, .ca_path = text(wish, "ca_path"), .timeout_ms = 3000}, ret, e);
}

static json_t *oidc(const json_t *wish, struct err *e)
{
    struct token_maker *m = NULL;
    json_t *ret = oidc_of(wish, &m, e) ? NULL : token_of(m, e);

    token_maker_free(m);
    return ret;
}

/* ---- until standard input ends ---- */

static struct loop *loop;
static const json_t *watched;

static void on_changed(void *ctx, struct secret *s)
{
    (void)ctx;
    say(secret_json(s, watched));
}

static void on_failed(void *ctx, const struct err *e)
{
    (void)ctx;
    say(refusal(e));
}

static void on_fresh(void *ctx, const struct token *t)
{
    (void)ctx;
    say(token_json(t));
}

static void on_end(struct watch *w, uint32_t events)
{
    char sink[256];

    (void)events;
    if (read(w->fd, sink, sizeof sink) <= 0) loop_stop(loop);
}

static int go_on(const json_t *wish, bool keep)
{
    struct secret_watch *w = NULL;
    struct token_keeper *k = NULL;
    struct token_maker *m = NULL;
    struct workers *workers;
    struct watch input = {0};
    struct err e;

    watched = wish;
    if (loop_new(&clock_real, &loop, &e) || workers_new(1, &workers, &e) || loop_watch(loop, &input, STDIN_FILENO, EPOLLIN, on_end, &e)) return 1;
    if (keep && oidc_of(wish, &m, &e)) {
        say(refusal(&e));
        return 1;
    }
    if (keep)
        k = token_keeper_new(&(struct token_keeper_options){.loop = loop, .workers = workers, .maker = m, .fresh = on_fresh, .failed = on_failed});
    else
        w = secret_watch_new(&(struct secret_watch_options){.loop = loop, .workers = workers, .source = source_of(wish), .changed = on_changed, .failed = on_failed,
                                                            .every_ms = (uint64_t)json_integer_value(json_object_get(wish, "every_ms"))});
    loop_run(loop);
    secret_watch_free(w);
    token_keeper_free(k);
    loop_unwatch(loop, &input);
    workers_free(workers);
    mailbox_drain(loop_mailbox(loop));
    loop_free(loop);
    return 0;
}

static int run(const json_t *wish)
{
    static const struct { const char *name; json_t *(*run)(const json_t *wish, struct err *e); } all[] = {
        {"sign", sign}, {"secret", secret}, {"keys", keys}, {"region", region}, {"msk", msk}, {"oidc", oidc}};
    struct str what = text(wish, "do");
    struct err e = {0};

    if (str_is(what, "watch") || str_is(what, "keep")) return go_on(wish, str_is(what, "keep"));
    for (size_t i = 0; i < countof(all); i++) {
        json_t *answer = str_is(what, all[i].name) ? all[i].run(wish, &e) : NULL;

        if (answer) say(answer);
        if (answer) return 0;
        if (e.rc) say(refusal(&e));
        if (e.rc) return 1;
    }
    return 2;
}

int main(void)
{
    char line[16384];
    json_t *wish = fgets(line, sizeof line, stdin) ? json_loads(line, 0, NULL) : NULL;
    int ret = wish ? run(wish) : 2;

    json_decref(wish);
    return ret;
}
