/* SPDX-License-Identifier: Apache-2.0 */
#include "cred/msk.h"
#include "base/base64.h"
#include "cred/aws_core.h"
#include "cred/http.h"
#include "sys/clock.h"
#include <stdio.h>

enum { EARLY_MS = 5 * 60 * 1000, LAST_MS = 60 * 1000 };   /* credentials with less left are fetched anew; … may no longer be used if there are no others */

struct msk {
    struct token_maker face;
    struct str bootstrap, region, profile, role_arn, role_session;      /* owned */
    struct aws_keys keys;                        /* kept while they last; never those that do not expire: a file may change */
    char region_found[64];
};

/* ---- the token ---- */

/* What is signed is sorted by name; the URL has the session token behind the names of the signed headers, as AWS's own signers
 * do it. Whoever checks it sorts again. */
static void query(const struct msk_signing *s, const struct aws_stamp *at, bool sorted, struct buf *b)
{
    AUTO(buf_wipe) struct buf session = {0};

    buf_reserve(&session, s->session.n * 3 + 64);
    if (s->session.n) buf_append_str(&session, STR("&X-Amz-Security-Token="));
    http_escape(s->session, &session);
    buf_append_str(b, STR("Action=kafka-cluster%3AConnect&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential="));
    http_escape(s->id, b);
    buf_printf(b, "%%2F%s%%2F", at->date);
    http_escape(s->region, b);
    buf_printf(b, "%%2Fkafka-cluster%%2Faws4_request&X-Amz-Date=%s&X-Amz-Expires=%d", at->time, MSK_TOKEN_S);
    if (sorted) buf_append(b, buf_view(&session));
    buf_append_str(b, STR("&X-Amz-SignedHeaders=host"));
    if (!sorted) buf_append(b, buf_view(&session));
}

static void base64url(struct bytes b, struct buf *ret)
{
    size_t from = ret->n;

    base64_encode(b, ret);
    while (ret->n > from && ret->p[ret->n - 1] == '=')
        ret->n--;
    for (size_t i = from; i < ret->n; i++)
        if (ret->p[i] == '+' || ret->p[i] == '/') ret->p[i] = ret->p[i] == '+' ? '-' : '_';
}

void msk_token(const struct msk_signing *s, struct buf *ret)
{
    static const char of_nothing[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    struct aws_scope scope = {.at = aws_stamp_of(s->now_s), .region = s->region, .service = STR("kafka-cluster")};
    AUTO(buf_wipe) struct buf canonical = {0}, url = {0};
    char signature[65];
    size_t room = s->session.n * 3 + s->user_agent.n * 3 + s->id.n * 3 + 1024;

    buf_reserve(&canonical, room);
    buf_append_str(&canonical, STR("GET\n/\n"));
    query(s, &scope.at, true, &canonical);
    buf_printf(&canonical, "\nhost:kafka." STR_FMT ".amazonaws.com\n\nhost\n%s", STR_ARG(s->region), of_nothing);
    aws_sign(&scope, s->secret, buf_str(&canonical), signature);
    buf_reserve(&url, room);
    buf_printf(&url, "https://kafka." STR_FMT ".amazonaws.com/?", STR_ARG(s->region));
    query(s, &scope.at, false, &url);
    buf_printf(&url, "&X-Amz-Signature=%s&User-Agent=", signature);
    http_escape(s->user_agent, &url);
    buf_reserve(ret, url.n * 4 / 3 + 8);
    base64url(buf_view(&url), ret);
}

/* ---- the maker ---- */

static enum rc keys_refresh(struct msk *m, const struct aws_place *place, int64_t now_ms, struct err *e)
{
    struct aws_keys found = {0};

    if (m->keys.expires_ms - now_ms > EARLY_MS) return RC_OK;
    if (aws_keys_find(place, &found, e)) return m->keys.expires_ms - now_ms > LAST_MS ? RC_OK : e->rc;
    aws_keys_fini(&m->keys);
    m->keys = found;
    return RC_OK;
}

static enum rc msk_make(struct token_maker *face, const atomic_bool *stop, struct token *ret, struct err *e)
{
    struct msk *m = container_of(face, struct msk, face);
    struct aws_place place = {.region = m->region, .profile = m->profile, .role_arn = m->role_arn, .role_session = m->role_session, .stop = stop};
    int64_t now_ms = clock_wall_ms(&clock_real);

    if (!*m->region_found && aws_region_find(&place, m->bootstrap, m->region_found, e)) return err_in(e, "AWS MSK token");
    place.region = str_of(m->region_found);
    if (keys_refresh(m, &place, now_ms, e)) return err_in(e, "AWS MSK token");
    msk_token(&(struct msk_signing){.region = place.region, .id = str_of(m->keys.id), .secret = buf_str(&m->keys.secret), .session = buf_str(&m->keys.session),
                                    .user_agent = STR("millrace"), .now_s = now_ms / 1000}, &ret->value);
    ret->expires_ms = now_ms / 1000 * 1000 + (int64_t)MSK_TOKEN_S * 1000;
    if (m->keys.expires_ms && m->keys.expires_ms < ret->expires_ms) ret->expires_ms = m->keys.expires_ms;
    snprintf(ret->principal, sizeof ret->principal, "%.250s", m->keys.id);
    if (ret->expires_ms > now_ms) return RC_OK;
    aws_keys_fini(&m->keys);
    token_fini(ret);
    return err_set(e, RC_AUTH, "AWS MSK token: the credentials found have expired; renew them, and check this machine's clock");
}

static void msk_free(struct token_maker *face)
{
    struct msk *m = container_of(face, struct msk, face);

    aws_keys_fini(&m->keys);
    str_drop(&m->bootstrap);
    str_drop(&m->region);
    str_drop(&m->profile);
    str_drop(&m->role_arn);
    str_drop(&m->role_session);
    free(m);
}

struct token_maker *msk_maker_new(const struct msk_options *o)
{
    struct msk *m = xnew(struct msk);

    m->face = (struct token_maker){.make = msk_make, .free = msk_free};
    m->bootstrap = str_own(o->bootstrap);
    m->region = str_own(o->region);
    m->profile = str_own(o->profile);
    m->role_arn = str_own(o->role_arn);
    m->role_session = str_own(o->role_session);
    return &m->face;
}
