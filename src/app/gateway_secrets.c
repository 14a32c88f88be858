/* See gateway_secrets.h. SPDX-License-Identifier: Apache-2.0 */
#include "app/gateway_secrets.h"

#include "base/diag.h"

static enum rc files_fill(struct gateway_secret *g, const struct secret *s, struct err *e)
{
    for (size_t i = 0; i < g->n; i++) {
        struct bytes pem;

        if (!secret_get(s, g->files[i].key, &pem))
            return err_set(e, RC_NOT_FOUND, "the Secret " STR_FMT " lacks the key " STR_FMT, STR_ARG(g->name), STR_ARG(g->files[i].key));
        if (secret_file_fill(&g->files[i].file, pem, e)) return e->rc;     /* whoever looks at it sees that by its time */
    }
    return RC_OK;
}

static void on_changed(void *ctx, struct secret *s)
{
    struct gateway_secret *g = ctx;
    struct err e;

    if (files_fill(g, s, &e)) diag(DIAG_WARN, "tls.secret_kept", KV_CSTR("why", e.text));
    else diag(DIAG_INFO, "tls.secret_changed", KV_STR("secret", g->name));
}

static void on_failed(void *ctx, const struct err *e)
{
    const struct gateway_secret *g = ctx;

    diag(DIAG_WARN, "tls.secret_not_read", KV_STR("secret", g->name), KV_CSTR("why", e->text));
}

static enum rc file_make(struct gateway_secret *g, struct str path, const char *preset, struct err *e)
{
    struct gateway_secret_file *f = &g->files[g->n];

    f->key = path.n && path.p[path.n - 1] != '/' ? path : str_of(preset);     /* its last part names it in the Secret */
    if (secret_file_open(&f->file, e)) return e->rc;
    g->n++;
    return RC_OK;
}

static enum rc secret_begin(struct gateway_secret *g, const char *what, struct loop *loop, struct workers *workers, struct err *e)
{
    struct secret_item items[countof(g->files)] = {0};
    struct secret_source *source;
    struct secret *now;
    enum rc rc;

    for (size_t i = 0; i < g->n; i++) items[i].path = g->files[i].key;
    source = secret_source_new(&(struct secret_options){.what = str_of(what), .name = g->name, .items = items, .items_n = g->n});
    if (secret_read(source, NULL, &now, e)) {
        secret_source_free(source);
        return e->rc;
    }
    g->watch = secret_watch_new(&(struct secret_watch_options){
        .loop = loop, .workers = workers, .source = source, .known = secret_hold(now), .changed = on_changed, .failed = on_failed, .ctx = g});
    rc = files_fill(g, now, e);
    secret_free(now);
    return rc;
}

enum rc gateway_secrets_open(struct gateway_secrets *g, const struct config *c, struct loop *loop, struct workers *workers, struct err *e)
{
    g->own.name = c->security_gateway_tls_secret;
    g->clients.name = c->security_gateway_tls_client_secret;
    if (!config_gateway_encrypts(c)) return RC_OK;
    if (g->own.name.n && (file_make(&g->own, c->security_gateway_tls_crt_path, "tls.crt", e) || file_make(&g->own, c->security_gateway_tls_key_path, "tls.key", e) ||
                          secret_begin(&g->own, "the inference port's certificate", loop, workers, e)))
        return err_in(e, "security.gateway.tls.secret");
    if (g->clients.name.n && (file_make(&g->clients, c->security_gateway_tls_client_ca_path, "ca.crt", e) ||
                              secret_begin(&g->clients, "the authority of callers", loop, workers, e)))
        return err_in(e, "security.gateway.tls.clientSecret");
    return RC_OK;
}

struct tls_options gateway_secrets_tls(const struct gateway_secrets *g, const struct config *c)
{
    return (struct tls_options){.crt_path = g->own.n ? g->own.files[0].file.path : c->security_gateway_tls_crt_path.p,
                                .key_path = g->own.n ? g->own.files[1].file.path : c->security_gateway_tls_key_path.p,
                                .client_ca_path = g->clients.n ? g->clients.files[0].file.path : c->security_gateway_tls_client_ca_path.p,
                                .client_auth = config_gateway_client_auth(c),
                                .http = true};
}

static void secret_end(struct gateway_secret *g)
{
    secret_watch_free(g->watch);
    while (g->n) secret_file_close(&g->files[--g->n].file);
    *g = (struct gateway_secret){0};
}

void gateway_secrets_close(struct gateway_secrets *g)
{
    secret_end(&g->own);
    secret_end(&g->clients);
}
