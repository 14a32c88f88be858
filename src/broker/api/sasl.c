/* SaslHandshake (key 17) and SaslAuthenticate (36): a client says who it is. See broker/sasl.h.
 *
 * A failure says the same whatever was wrong, after connection.failed.authentication.delay.ms, and closes the connection. An
 * address that fails again and again waits longer, and from STRIKES_MAX in a minute on is refused without a look at what it
 * sends, until the minute is over (net/strikes.h).   SPDX-License-Identifier: Apache-2.0
 */
#include "base/base64.h"
#include "base/diag.h"
#include "broker/api.h"
#include "cred/oauth.h"
#include "kafka/msg/sasl_authenticate.h"
#include "kafka/msg/sasl_handshake.h"
#include "sys/worker.h"

#include <openssl/crypto.h>

enum {
    NONCE_BYTES = 18,
    AGAIN_MS_MIN = 1000, /* between two authentications of one connection */
    DELAY_MS_MAX = 5000,
};

/* ---- addresses that fail ---- */

static bool too_many_failures(struct request *r)
{
    return strikes_of(r->broker->login_failures, str_bytes(str_of(r->conn->host)), broker_now_ms(r->broker)) >= STRIKES_MAX;
}

static uint32_t count_failure(struct request *r)
{
    struct broker *b = r->broker;

    b->stats.logins_failed++;
    return strikes_note(b->login_failures, str_bytes(str_of(r->conn->host)), broker_now_ms(b));
}

/* A bearer token's failure was counted when it was told: the client's last message may never come. */
static bool is_counted(const struct sasl *s)
{
    return s->mechanism == SASL_OAUTHBEARER && s->step == 2;
}

/* How long this one waits for its answer. */
static uint64_t failure_delay(struct request *r)
{
    struct broker *b = r->broker;
    uint64_t base = (uint64_t)b->config.failed_authentication_delay_ms;
    uint32_t n = is_counted(r->conn->sasl) ? strikes_of(b->login_failures, str_bytes(str_of(r->conn->host)), broker_now_ms(b)) : count_failure(r);

    return MIN(base * (1 + n / 4), MAX(base, (uint64_t)DELAY_MS_MAX));
}

/* ---- the end of an exchange ---- */

static void answer_token(struct request *r, struct bytes token, int64_t lifetime_ms)
{
    struct sasl_authenticate_response a = {.auth_bytes = token, .session_lifetime_ms = lifetime_ms};

    if (r->raw) {
        request_answer_raw(r, token);
        return;
    }
    if (!a.auth_bytes.p) a.auth_bytes = bytes_of("", 0);
    request_answer(r, &a);
}

static void say_refused(struct request *r)
{
    struct sasl_authenticate_response a = {.error_code = KAFKA_ERR_SASL_AUTHENTICATION_FAILED};

    if (r->raw) {
        request_close(r, "authentication has failed");
        return;
    }
    r->last = true;
    a.error_message = *(struct str *)r->ctx;
    a.auth_bytes = bytes_of("", 0);
    request_answer(r, &a);
}

static void on_delay(struct timer *t)
{
    say_refused(container_of(t, struct request, timer));
}

static void on_cancel(struct request *r)
{
    r->ctx = NULL;
}

/* `why` is for the log; `told` for the client, and tells nobody which part was wrong. */
static void refuse(struct request *r, struct str user, const char *why, const char *told)
{
    struct sasl *s = r->conn->sasl;
    uint64_t delay = failure_delay(r);

    if (trouble_is_new(r->broker, why, r->conn))
        diag(DIAG_WARN, "sasl.authentication_failed",
             KV_CSTR(
                 "why",
                 "SASL authentication failed: check the username, the password and the mechanism"),
             KV_CSTR("cause", why), KV_CSTR("mechanism", sasl_mechanism_name(s->mechanism)),
             KV_STR("user", user), KV_CSTR("peer", r->conn->peer),
             KV_STR("listener", r->conn->listener->name));
    s->state = SASL_REFUSED;
    if (r->state == REQUEST_RUNNING) request_park(r, on_cancel);
    r->ctx = arena_new(&r->arena, struct str);
    *(struct str *)r->ctx = arena_dup_str(&r->arena, str_of(told));
    r->cancel = on_cancel;
    timer_set(r->broker->timers, &r->timer, broker_now_ms(r->broker) + delay, on_delay);
}

/* When this session ends, if it does. */
static int64_t lifetime(const struct broker *b, int64_t credential_ms)
{
    int64_t limit = b->config.connections_max_reauth_ms;

    if (!limit) return credential_ms;
    return credential_ms ? MIN(limit, credential_ms) : limit;
}

/* credential_ms: how long what was shown is good for; 0: no end. */
static void accept_user(struct request *r, struct str user, struct bytes token,
                        int64_t credential_ms)
{
    struct sasl *s = r->conn->sasl;
    struct str principal = arena_printf(&r->arena, "User:" STR_FMT, STR_ARG(user));
    int64_t ms = lifetime(r->broker, credential_ms);

    if (s->again && !str_eq(principal, r->conn->principal)) {
        refuse(r, user, "it authenticates again as somebody else",
               "Cannot change principals during re-authentication");
        return;
    }
    if (!s->again) {
        broker_conn_principal(r->conn, principal);
        r->broker->stats.logins++;
        diag(DIAG_DEBUG, "sasl.authenticated", KV_STR("principal", principal),
             KV_CSTR("peer", r->conn->peer),
             KV_CSTR("mechanism", sasl_mechanism_name(s->mechanism)));
    }
    s->state = SASL_DONE;
    s->again = s->raw = false;
    s->done_ms = broker_now_ms(r->broker);
    s->session_end_ms = ms ? s->done_ms + (uint64_t)ms : 0;
    scram_fini(&s->scram);
    answer_token(r, token, ms);
}

/* ---- what takes long ---- */

struct sasl_job {
    struct work work;
    struct broker *broker;
    struct request *r; /* NULL: the client is gone */
    struct scram_credential credential;
    bool known, good;
    struct oauth *oauth;
    struct oauth_login login;
    int64_t now_s;
    struct buf secret; /* the password, or the bearer token */
    struct str user;   /* owned */
    struct err err;
};

static void job_delete(struct sasl_job *j)
{
    j->broker->jobs_n--;
    if (j->secret.p) OPENSSL_cleanse(j->secret.p, j->secret.cap);
    buf_fini(&j->secret);
    OPENSSL_cleanse(&j->credential, sizeof j->credential);
    oauth_login_fini(&j->login);
    str_drop(&j->user);
    free(j);
}

static void job_cancel(struct request *r)
{
    ((struct sasl_job *)r->ctx)->r = NULL;
}

static void job_start(struct request *r, struct sasl_job *j, void (*run)(struct work *),
                      void (*done)(struct work *), uint32_t lane)
{
    j->work = (struct work){.run = run, .done = done, .reply_to = r->broker->mailbox, .lane = lane};
    j->broker = r->broker;
    j->broker->jobs_n++;
    j->r = r;
    r->ctx = j;
    request_park(r, job_cancel);
    workers_submit(r->broker->opt.workers, &j->work);
}

/* ---- PLAIN (RFC 4616) ---- */

static void password_run(struct work *w)
{
    struct sasl_job *j = container_of(w, struct sasl_job, work);

    j->good = scram_password_is(&j->credential, buf_str(&j->secret));
}

static void password_done(struct work *w)
{
    struct sasl_job *j = container_of(w, struct sasl_job, work);
    struct request *r = j->r;

    if (r && j->good && j->known)
        accept_user(r, j->user, (struct bytes){0}, 0);
    else if (r)
        refuse(r, j->user, j->known ? "the password is another one" : "there is no such user",
               "Authentication failed: Invalid username or password");
    job_delete(j);
}

/* The credential of a user, or one that nobody can meet, so that the time taken tells nothing. */
static bool credential_of(struct broker *b, struct str user, enum scram_hash hash,
                          struct scram_credential *ret)
{
    const struct user *u = users_get(&b->users, user);

    if (u && u->has[hash]) {
        *ret = u->credential[hash];
        return true;
    }
    scram_credential_unknown(hash, user, bytes_of(b->login_secret, sizeof b->login_secret), ret);
    return false;
}

static void plain(struct request *r, struct str token)
{
    struct str authzid, user, password;
    const struct user *u;
    struct sasl_job *j;

    if (!str_cut(token, 0, &authzid, &user) || !str_cut(user, 0, &user, &password) ||
        (password.n && memchr(password.p, 0, password.n)) || !user.n || !password.n) {
        refuse(r, STR(""), "the token is not that of PLAIN",
               "Authentication failed: Invalid SASL/PLAIN response");
        return;
    }
    if (authzid.n && !str_eq(authzid, user)) {
        refuse(r, user, "it wants to act for somebody else",
               "Authentication failed: Client requested an authorization id that is different from "
               "username");
        return;
    }
    u = users_get(&r->broker->users, user);
    j = xnew(struct sasl_job);
    j->known =
        credential_of(r->broker, user, u && !u->has[SCRAM_SHA_512] ? SCRAM_SHA_256 : SCRAM_SHA_512,
                      &j->credential);
    j->user = str_own(user);
    buf_append_str(&j->secret, password);
    job_start(r, j, password_run, password_done, 0);
}

/* ---- SCRAM ---- */

static void scram_round_first(struct request *r, struct str token)
{
    struct sasl *s = r->conn->sasl;
    enum scram_hash hash = s->mechanism == SASL_SCRAM_SHA_256 ? SCRAM_SHA_256 : SCRAM_SHA_512;
    AUTO(buf_fini) struct buf out = {0}, nonce = {0};
    struct scram_credential credential;
    uint8_t random[NONCE_BYTES];
    struct str user;
    struct err e;

    scram_fini(&s->scram);
    scram_init(&s->scram, hash);
    if (scram_first(&s->scram, token, &user, &e)) {
        refuse(r, str_of(s->scram.user), e.text,
               "Authentication failed during authentication: Invalid SASL mechanism response");
        return;
    }
    random_bytes(random, sizeof random);
    base64_encode(bytes_of(random, sizeof random), &nonce);
    (void)credential_of(r->broker, user, hash, &credential);
    scram_challenge(&s->scram, &credential, buf_str(&nonce), &out);
    s->step = 1;
    answer_token(r, arena_dup(&r->arena, buf_view(&out)), 0);
}

static void scram_round_final(struct request *r, struct str token)
{
    struct sasl *s = r->conn->sasl;
    AUTO(buf_fini) struct buf out = {0};
    struct str user = arena_dup_str(&r->arena, str_of(s->scram.user));
    struct err e;

    if (scram_final(&s->scram, token, &out, &e))
        refuse(r, user, e.text,
               s->mechanism == SASL_SCRAM_SHA_256
                   ? "Authentication failed during authentication due to invalid credentials with "
                     "SASL mechanism SCRAM-SHA-256"
                   : "Authentication failed during authentication due to invalid credentials with "
                     "SASL mechanism SCRAM-SHA-512");
    else
        accept_user(r, user, arena_dup(&r->arena, buf_view(&out)), 0);
}

/* ---- OAUTHBEARER (RFC 7628) ---- */

static void bearer_run(struct work *w)
{
    struct sasl_job *j = container_of(w, struct sasl_job, work);

    j->good = !oauth_verify(j->oauth, buf_str(&j->secret), j->now_s, &j->login, &j->err);
}

/* The failure is said as JSON; the client answers it with one byte, and then the exchange is over. */
static void bearer_done(struct work *w)
{
    struct sasl_job *j = container_of(w, struct sasl_job, work);
    struct request *r = j->r;

    if (r && j->good) {
        int64_t left = (j->login.expires_s - j->now_s) * 1000;

        accept_user(r, j->login.user, (struct bytes){0}, MAX(left, (int64_t)1));
    } else if (r) {
        if (trouble_is_new(r->broker, j->err.text, r->conn))
            diag(DIAG_WARN, "sasl.token_refused", KV_CSTR("why", j->err.text),
                 KV_CSTR("peer", r->conn->peer));
        count_failure(r);
        r->conn->sasl->step = 2;
        answer_token(r, str_bytes(STR("{\"status\":\"invalid_token\"}")), 0);
    }
    job_delete(j);
}

static void bearer(struct request *r, struct str token)
{
    struct str bearer_token;
    struct sasl_job *j;
    struct err e;

    if (oauth_message(token, &bearer_token, &e)) {
        refuse(r, STR(""), e.text,
               "Authentication failed: Invalid OAUTHBEARER client first message");
        return;
    }
    j = xnew(struct sasl_job);
    j->oauth = r->broker->oauth;
    j->now_s = broker_wall_ms(r->broker) / 1000;
    buf_append_str(&j->secret, bearer_token);
    job_start(r, j, bearer_run, bearer_done, LANE_OAUTH);
}

/* ---- rounds ---- */

static void next_token(struct request *r, struct bytes token)
{
    struct sasl *s = r->conn->sasl;

    if (too_many_failures(r))
        refuse(r, STR(""), "too many failures of this address: it may try again in a minute",
               "Authentication failed: too many attempts, try again later");
    else if (s->other_mechanism)
        refuse(r, STR(""), "it authenticates again with another mechanism",
               "Cannot change the SASL mechanism during re-authentication");
    else if (s->mechanism == SASL_PLAIN)
        plain(r, bytes_str(token));
    else if (s->mechanism == SASL_OAUTHBEARER && s->step == 2)
        refuse(r, STR(""), "its token was refused", "{\"status\":\"invalid_token\"}");
    else if (s->mechanism == SASL_OAUTHBEARER)
        bearer(r, bytes_str(token));
    else if (!s->step)
        scram_round_first(r, bytes_str(token));
    else
        scram_round_final(r, bytes_str(token));
}

void api_sasl_raw(struct request *r, struct bytes token)
{
    next_token(r, token);
}

void api_sasl_authenticate(struct request *r)
{
    const struct sasl_authenticate_request *q = request_decode(r);
    struct sasl_authenticate_response a = {.error_code = KAFKA_ERR_ILLEGAL_SASL_STATE};

    if (!q) return;
    if (r->conn->sasl && r->conn->sasl->state == SASL_EXCHANGE) {
        next_token(r, q->auth_bytes);
        return;
    }
    a.error_message = r->conn->sasl ? STR("SaslAuthenticate comes after SaslHandshake")
                                    : STR("this listener asks nobody to authenticate");
    a.auth_bytes = bytes_of("", 0);
    request_answer(r, &a);
}

/* ---- the handshake ---- */

static void answer_mechanisms(struct request *r, int16_t error)
{
    struct sasl_handshake_response a = {.error_code = error};

    a.mechanisms = arena_array(&r->arena, struct str, 4);
    for (unsigned m = SASL_PLAIN; m <= SASL_OAUTHBEARER; m <<= 1)
        if (r->conn->listener->sasl & m)
            a.mechanisms[a.mechanisms_n++] = str_of(sasl_mechanism_name((enum sasl_mechanism)m));
    request_answer(r, &a);
}

/* Renewing is for sessions that have an end, and not at once. */
static bool may_begin(struct request *r)
{
    const struct sasl *s = r->conn->sasl;

    if (s->state == SASL_START) return true;
    return s->state == SASL_DONE && s->session_end_ms &&
           broker_now_ms(r->broker) - s->done_ms >= AGAIN_MS_MIN;
}

void api_sasl_handshake(struct request *r)
{
    const struct sasl_handshake_request *q = request_decode(r);
    struct sasl_handshake_response a = {.error_code = KAFKA_ERR_ILLEGAL_SASL_STATE};
    struct sasl *s = r->conn->sasl;
    enum sasl_mechanism m = SASL_PLAIN;

    if (!q) return;
    if (!s || !may_begin(r)) {
        request_answer(r, &a);
        return;
    }
    if (!sasl_mechanism_of(q->mechanism, &m) || !(r->conn->listener->sasl & m)) {
        if (trouble_is_new(r->broker, "mechanism", r->conn))
            diag(DIAG_WARN, "sasl.mechanism_refused", KV_STR("mechanism", q->mechanism),
                 KV_CSTR("peer", r->conn->peer), KV_STR("listener", r->conn->listener->name),
                 KV_CSTR("why", "SASL authentication failed: the listener does not have this "
                                "mechanism (broker.listeners, sasl)"));
        r->broker->stats.logins_failed++;
        s->state = SASL_REFUSED;
        r->last = true;
        answer_mechanisms(r, KAFKA_ERR_UNSUPPORTED_SASL_MECHANISM);
        return;
    }
    s->again = s->state == SASL_DONE;
    s->other_mechanism = s->again && m != s->mechanism;
    if (!s->other_mechanism) s->mechanism = m;
    s->state = SASL_EXCHANGE;
    s->step = 0;
    s->raw = r->h.api_version == 0;
    answer_mechanisms(r, 0);
}
