/* Everything but registry_ask() and the ends happens on the registry's thread. SPDX-License-Identifier: Apache-2.0 */
#include "bus/registry.h"
#include "base/buf.h"
#include "base/diag.h"
#include "base/map.h"
#include "net/curl.h"
#include "sys/clock.h"
#include <jansson.h>
#include <stdatomic.h>
#include <string.h>

enum { ANSWER_BYTES_MAX = 1 << 20 };
static const char content_type[] = "Content-Type: application/vnd.schemaregistry.v1+json";

struct registry {
    struct schema_registry face;
    struct workers *workers;
    atomic_bool closing;
    char *url, *username, *password, *ca_path;
    CURL *curl;                                  /* kept: so is its connection */
    struct map ids;                              /* topic -> id */
    struct err down;                             /* why it could not be reached; rc RC_OK: it could, the last time */
    uint64_t down_until_ms;
    struct work first;
    struct mailbox *home;                        /* of `first` */
};

struct reply { long status; struct buf body; };

static size_t on_body(char *p, size_t size, size_t n, void *ctx)
{
    struct reply *a = ctx;

    if (a->body.n + size * n > ANSWER_BYTES_MAX) return 0;
    buf_append(&a->body, bytes_of(p, size * n));
    return size * n;
}

static int on_progress(void *ctx, curl_off_t total, curl_off_t now, curl_off_t up_total, curl_off_t up)
{
    (void)total, (void)now, (void)up_total, (void)up;
    return atomic_load(&((struct registry *)ctx)->closing);
}

/* ---- one request ---- */

static void ask_prepare(const struct registry *r, const struct curl_lib *lib, const char *method, struct reply *into)
{
    CURL *c = r->curl;

    lib->reset(c);
    lib->setopt(c, CURLOPT_CUSTOMREQUEST, method);
    lib->setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    lib->setopt(c, CURLOPT_WRITEDATA, into);
    lib->setopt(c, CURLOPT_NOSIGNAL, 1L);
    lib->setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)REGISTRY_CONNECT_MS);
    lib->setopt(c, CURLOPT_TIMEOUT_MS, (long)REGISTRY_TIMEOUT_MS);
    lib->setopt(c, CURLOPT_NOPROGRESS, 0L);
    lib->setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
    lib->setopt(c, CURLOPT_XFERINFODATA, r);
    lib->setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    lib->setopt(c, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
    if (*r->username) lib->setopt(c, CURLOPT_USERNAME, r->username);
    if (*r->username) lib->setopt(c, CURLOPT_PASSWORD, r->password);
    if (*r->ca_path) lib->setopt(c, CURLOPT_CAINFO, r->ca_path);
}

static enum rc no_answer(const struct registry *r, const struct curl_lib *lib, CURLcode code, struct err *e)
{
    if (atomic_load(&r->closing)) return err_set(e, RC_CANCELLED, "this process is stopping");
    if (code == CURLE_OPERATION_TIMEDOUT)
        return err_set(e, RC_TIMEOUT, "no answer from the schema registry at %s in time; check that it runs, and the URL in .confluent-schema.yaml", r->url);
    if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE)
        return err_set(e, RC_UNAVAILABLE, "the certificate of the schema registry at %s is not trusted (%s); caPath in .confluent-schema.yaml names the authority's", r->url,
                       lib->strerror(code));
    return err_set(e, RC_UNAVAILABLE, "the schema registry at %s cannot be reached (%s); check that it runs, and the URL in .confluent-schema.yaml", r->url,
                   lib->strerror(code));
}

/* Any answer is RC_OK here. */
static enum rc http(struct registry *r, const char *method, const char *path, const char *body, struct reply *into, struct err *e)
{
    AUTO(buf_fini) struct buf url = {0};
    const struct curl_lib *lib;
    struct curl_slist *headers;
    CURLcode code;

    if (curl_load(&lib, e)) return e->rc;
    if (!r->curl) r->curl = lib->init();
    if (!r->curl) return err_set(e, RC_UNSUPPORTED, "libcurl does not start");
    ask_prepare(r, lib, method, into);
    buf_printf(&url, "%s%s", r->url, path);
    headers = lib->slist_append(lib->slist_append(NULL, content_type), "Expect:");
    lib->setopt(r->curl, CURLOPT_URL, buf_cstr(&url));
    lib->setopt(r->curl, CURLOPT_HTTPHEADER, headers);
    if (body) lib->setopt(r->curl, CURLOPT_POSTFIELDS, body);
    code = lib->perform(r->curl);
    lib->slist_free(headers);
    if (code != CURLE_OK) return no_answer(r, lib, code, e);
    lib->getinfo(r->curl, CURLINFO_RESPONSE_CODE, &into->status);
    return RC_OK;
}

/* Its own words, or none. */
static void put_message(const struct reply *a, struct buf *b)
{
    json_t *top = json_loadb((const char *)a->body.p, a->body.n, 0, NULL);
    const char *message = json_string_value(json_object_get(top, "message"));

    if (message) buf_printf(b, ": %.200s", message);
    json_decref(top);
}

static enum rc refused(const struct registry *r, const struct reply *a, struct err *e)
{
    AUTO(buf_fini) struct buf said = {0};

    put_message(a, &said);
    if (a->status == 401)
        return err_set(e, RC_AUTH, "the schema registry at %s answers 401" STR_FMT "; check username and password in .confluent-schema.yaml", r->url,
                       STR_ARG(buf_str(&said)));
    if (a->status == 403) return err_set(e, RC_DENIED, "the schema registry at %s answers 403" STR_FMT, r->url, STR_ARG(buf_str(&said)));
    if (a->status == 409)
        return err_set(e, RC_INVALID, "the schema registry has another, incompatible schema for this topic" STR_FMT "; delete that subject or set its compatibility to NONE",
                       STR_ARG(buf_str(&said)));
    if (a->status == 429 || a->status >= 500)
        return err_set(e, RC_UNAVAILABLE, "the schema registry at %s answers %ld" STR_FMT, r->url, a->status, STR_ARG(buf_str(&said)));
    return err_set(e, RC_INVALID, "the schema registry at %s answers %ld" STR_FMT, r->url, a->status, STR_ARG(buf_str(&said)));
}

/* ---- there, or not ---- */

static bool passing(enum rc rc)
{
    return rc == RC_UNAVAILABLE || rc == RC_TIMEOUT || rc == RC_AUTH;
}

static void note(struct registry *r, const struct err *e)
{
    bool was = r->down.rc != RC_OK;

    if (e->rc == RC_CANCELLED) return;
    if (passing(e->rc)) {
        r->down = *e;
        r->down_until_ms = clock_mono_ms(&clock_real) + REGISTRY_PAUSE_MS;
        if (!was)
            diag(DIAG_WARN, "registry.unavailable", KV_CSTR("why", e->text),
                 KV_CSTR("meanwhile", "records of topics whose schema is not registered yet are written without its prefix; it is tried again"));
        return;
    }
    if (was) diag(DIAG_INFO, "registry.back", KV_CSTR("url", r->url));
    r->down = (struct err){0};
}

static bool is_down(const struct registry *r, struct err *e)
{
    if (!r->down.rc || clock_mono_ms(&clock_real) >= r->down_until_ms) return false;
    *e = r->down;
    return true;
}

/* ---- registering, forgetting ---- */

static enum rc id_parse(const struct registry *r, const struct reply *a, int32_t *ret, struct err *e)
{
    json_t *top = json_loadb((const char *)a->body.p, a->body.n, 0, NULL);
    json_int_t id = json_integer_value(json_object_get(top, "id"));

    json_decref(top);
    if (id < 1 || id > INT32_MAX)
        return err_set(e, RC_INVALID, "the schema registry at %s answers without an id; is this a schema registry?", r->url);
    *ret = (int32_t)id;
    return RC_OK;
}

static enum rc subject_register(struct registry *r, struct schema_ask *a, struct err *e)
{
    AUTO(buf_fini) struct buf path = {0};
    struct reply reply = {0};
    json_t *body = json_pack("{s:s, s:s}", "schemaType", "PROTOBUF", "schema", schema_text(a->outputs));
    char *text = json_dumps(body, JSON_COMPACT);
    enum rc rc;

    buf_printf(&path, "/subjects/" STR_FMT "-value/versions?normalize=true", STR_ARG(a->topic));
    rc = http(r, "POST", buf_cstr(&path), text, &reply, e);
    if (!rc) rc = reply.status == 200 ? id_parse(r, &reply, &a->id, e) : refused(r, &reply, e);
    if (!rc) map_put_str(&r->ids, a->topic, (void *)(uintptr_t)a->id);
    buf_fini(&reply.body);
    free(text);
    json_decref(body);
    return rc;
}

static enum rc subject_delete(struct registry *r, const struct schema_ask *a, bool for_good, struct err *e)
{
    AUTO(buf_fini) struct buf path = {0};
    struct reply reply = {0};
    enum rc rc;

    buf_printf(&path, "/subjects/" STR_FMT "-value%s", STR_ARG(a->topic), for_good ? "?permanent=true" : "");
    rc = http(r, "DELETE", buf_cstr(&path), NULL, &reply, e);
    if (!rc && reply.status != 200 && reply.status != 404) rc = refused(r, &reply, e);
    buf_fini(&reply.body);
    return rc;
}

/* A subject is deleted softly first: the registry wants it so. */
static enum rc subject_forget(struct registry *r, const struct schema_ask *a, struct err *e)
{
    map_del(&r->ids, str_bytes(a->topic));
    return subject_delete(r, a, false, e) ? e->rc : subject_delete(r, a, true, e);
}

static void ask_run(struct work *w)
{
    struct schema_ask *a = container_of(w, struct schema_ask, work);
    struct registry *r = container_of(a->registry, struct registry, face);
    void *known = a->forget ? NULL : map_get_str(&r->ids, a->topic);
    struct err e = {0};

    a->id = (int32_t)(uintptr_t)known;
    if (!known && atomic_load(&r->closing)) {
        err_set(&e, RC_CANCELLED, "this process is stopping");
    } else if (!known && !is_down(r, &e)) {
        enum rc rc = a->forget ? subject_forget(r, a, &e) : subject_register(r, a, &e);

        err_keep(rc, &e);
        note(r, &e);
        if (rc && !passing(rc) && rc != RC_CANCELLED) diag(DIAG_WARN, "registry.refused", KV_STR("topic", a->topic), KV_CSTR("why", e.text));
    }
    a->err = e;
}

static void ask_done(struct work *w)
{
    struct schema_ask *a = container_of(w, struct schema_ask, work);

    a->done(a);
}

static void registry_ask(struct schema_registry *face, struct schema_ask *a)
{
    struct registry *r = container_of(face, struct registry, face);

    a->registry = face;
    a->work = (struct work){.run = ask_run, .done = ask_done, .reply_to = a->reply_to};
    workers_submit(r->workers, &a->work);
}

/* ---- life ---- */

static void first_run(struct work *w)
{
    struct registry *r = container_of(w, struct registry, first);
    struct reply reply = {0};
    struct err e = {0};
    enum rc rc = http(r, "GET", "/config", NULL, &reply, &e);

    if (!rc && (reply.status == 401 || reply.status == 403 || reply.status >= 500)) rc = refused(r, &reply, &e);
    err_keep(rc, &e);
    note(r, &e);
    buf_fini(&reply.body);
}

static void first_done(struct work *w)
{
    (void)w;
}

static char *text_dup(struct str s, bool url)
{
    char *p = xcalloc(1, s.n + 1);

    while (url && s.n && s.p[s.n - 1] == '/')
        s.n--;
    memcpy(p, s.p ? s.p : "", s.n);
    return p;
}

enum rc registry_new(const struct registry_options *o, struct schema_registry **ret, struct err *e)
{
    const struct curl_lib *lib;
    struct registry *r;

    if (curl_load(&lib, e)) return err_in(e, "schema registry");
    r = xnew(struct registry);
    r->face.ask = registry_ask;
    r->url = text_dup(o->url, true);
    r->username = text_dup(o->username, false);
    r->password = text_dup(o->password, false);
    r->ca_path = text_dup(o->ca_path, false);
    r->home = mailbox_new();
    if (workers_new(1, &r->workers, e)) {
        registry_free(&r->face);
        return err_in(e, "schema registry");
    }
    r->first = (struct work){.run = first_run, .done = first_done, .reply_to = r->home};
    workers_submit(r->workers, &r->first);
    *ret = &r->face;
    return RC_OK;
}

void registry_stop(struct schema_registry *face)
{
    if (face) atomic_store(&container_of(face, struct registry, face)->closing, true);
}

struct schema_registry *registry_free(struct schema_registry *face)
{
    struct registry *r;
    const struct curl_lib *lib;
    struct err e;

    if (!face) return NULL;
    r = container_of(face, struct registry, face);
    atomic_store(&r->closing, true);
    workers_free(r->workers);
    mailbox_drain(r->home);
    mailbox_free(r->home);
    if (r->curl && !curl_load(&lib, &e)) lib->cleanup(r->curl);
    map_fini(&r->ids);
    explicit_bzero(r->password, strlen(r->password));
    free(r->url);
    free(r->username);
    free(r->password);
    free(r->ca_path);
    free(r);
    return NULL;
}
