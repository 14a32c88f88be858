/* DescribeUserScramCredentials (key 50) and AlterUserScramCredentials (51), KIP-554: who may log in with SCRAM or PLAIN. What a client
 * sends is salted already; passwords never come here.   SPDX-License-Identifier: Apache-2.0
 */
#include "broker/api.h"
#include "broker/api/seen.h"
#include "kafka/msg/alter_user_scram_credentials.h"
#include "kafka/msg/describe_user_scram_credentials.h"

typedef struct describe_user_scram_credentials_response_result described;

static void describe(struct request *r, const struct user *u, described *row)
{
    row->user = u->name;
    row->credential_infos =
        arena_array(&r->arena, struct describe_user_scram_credentials_response_credential_info, 2);
    for (int h = SCRAM_SHA_256; h <= SCRAM_SHA_512; h++)
        if (u->has[h]) {
            row->credential_infos[row->credential_infos_n].mechanism = (int8_t)h;
            row->credential_infos[row->credential_infos_n++].iterations =
                u->credential[h].iterations;
        }
}

static void describe_all(struct request *r, struct describe_user_scram_credentials_response *a)
{
    const struct users *all = &r->broker->users;
    const struct user *u;

    a->results = arena_array(&r->arena, described, all->map.n);
    for (size_t at = 0; (u = users_next(all, &at));)
        describe(r, u, &a->results[a->results_n++]);
}

static void describe_named(struct request *r,
                           const struct describe_user_scram_credentials_request *q,
                           struct describe_user_scram_credentials_response *a)
{
    AUTO(seen_fini) struct seen seen = {0}, told = {0};

    a->results = arena_array(&r->arena, described, q->users_n);
    for (size_t i = 0; i < q->users_n; i++)
        seen_add(&seen, q->users[i].name, 0);
    for (size_t i = 0; i < q->users_n; i++) {
        described *row = &a->results[a->results_n];
        const struct user *u = users_get(&r->broker->users, q->users[i].name);
        bool twice = seen_count(&seen, q->users[i].name, 0) > 1;

        if (twice && seen_add(&told, q->users[i].name, 0) > 1) continue;
        a->results_n++;
        row->user = q->users[i].name;
        if (twice) {
            row->error_code = KAFKA_ERR_DUPLICATE_RESOURCE;
            row->error_message = STR("the user is named more than once");
        } else if (!u) {
            row->error_code = KAFKA_ERR_RESOURCE_NOT_FOUND;
            row->error_message = STR("this user has no credentials");
        } else {
            describe(r, u, row);
        }
    }
}

void api_describe_user_scram_credentials(struct request *r)
{
    const struct describe_user_scram_credentials_request *q = request_decode(r);
    struct describe_user_scram_credentials_response a = {0};

    if (!q) return;
    if (!request_allows_cluster(r, ACL_DESCRIBE)) {
        a.error_code = KAFKA_ERR_CLUSTER_AUTHORIZATION_FAILED;
        a.error_message = STR("DESCRIBE on the cluster is not allowed");
    } else if (q->users_n) {
        describe_named(r, q, &a);
    } else {
        describe_all(r, &a);
    }
    request_answer_when(r, &a, r->broker->meta_seq);
}

/* ---- altering ---- */

typedef struct alter_user_scram_credentials_response_result altered;

/* Once for each user, in the order of the first mention; an error stays. */
static altered *row_of(struct alter_user_scram_credentials_response *a, struct map *rows,
                       struct str user)
{
    altered *row = map_get_str(rows, user);

    if (row) return row;
    row = &a->results[a->results_n++];
    row->user = user;
    map_put_str(rows, user, row);
    return row;
}

static void fail(altered *row, int16_t code, const char *why)
{
    if (row->error_code) return;
    row->error_code = code;
    row->error_message = str_of(why);
}

static bool hash_known(int8_t mechanism)
{
    return mechanism == SCRAM_SHA_256 || mechanism == SCRAM_SHA_512;
}

static void check_deletion(struct request *r,
                           const struct alter_user_scram_credentials_request_deletion *d,
                           altered *row)
{
    const struct user *u = users_get(&r->broker->users, d->name);

    if (!d->name.n)
        fail(row, KAFKA_ERR_UNACCEPTABLE_CREDENTIAL, "the user has no name");
    else if (!hash_known(d->mechanism))
        fail(row, KAFKA_ERR_UNSUPPORTED_SASL_MECHANISM, "unknown SCRAM mechanism");
    else if (!u || !u->has[d->mechanism])
        fail(row, KAFKA_ERR_RESOURCE_NOT_FOUND, "this user has no such credential");
}

static void check_upsertion(const struct alter_user_scram_credentials_request_upsertion *u,
                            altered *row)
{
    struct scram_credential ignored;
    struct err e;

    if (!u->name.n || u->name.n > SCRAM_NAME_BYTES_MAX)
        fail(row, KAFKA_ERR_UNACCEPTABLE_CREDENTIAL, "the user has no name, or a too long one");
    else if (!hash_known(u->mechanism))
        fail(row, KAFKA_ERR_UNSUPPORTED_SASL_MECHANISM, "unknown SCRAM mechanism");
    else if (u->iterations < SCRAM_ITERATIONS_MIN)
        fail(row, KAFKA_ERR_UNACCEPTABLE_CREDENTIAL,
             "too few iterations: at least 4096 are wanted");
    else if (u->iterations > SCRAM_ITERATIONS_MAX)
        fail(row, KAFKA_ERR_UNACCEPTABLE_CREDENTIAL,
             "too many iterations: at most 16384 are taken");
    else if (scram_credential_of_salted((enum scram_hash)u->mechanism, u->salt, u->iterations,
                                        u->salted_password, &ignored, &e))
        fail(row, KAFKA_ERR_UNACCEPTABLE_CREDENTIAL,
             "the salt or the salted password has the wrong length");
}

static void stage(struct request *r, struct str user, const struct scram_credential *c,
                  altered *row)
{
    uint64_t seq;
    struct err e;

    if (row->error_code || !broker_user_set(r->broker, user, c, &seq, &e)) return;
    row->error_code = kafka_error_of(&e);
    row->error_message = arena_dup_str(&r->arena, str_of(e.text));
}

static void check_all(struct request *r, const struct alter_user_scram_credentials_request *q,
                      struct alter_user_scram_credentials_response *a, struct map *rows)
{
    AUTO(seen_fini) struct seen seen = {0};
    bool allowed = request_allows_cluster(r, ACL_ALTER);

    for (size_t i = 0; i < q->deletions_n + q->upsertions_n; i++) {
        bool del = i < q->deletions_n;
        struct str user = del ? q->deletions[i].name : q->upsertions[i - q->deletions_n].name;
        altered *row = row_of(a, rows, user);

        if (!allowed)
            fail(row, KAFKA_ERR_CLUSTER_AUTHORIZATION_FAILED,
                 "ALTER on the cluster is not allowed");
        else if (seen_add(&seen, user, 0) > 1)
            fail(row, KAFKA_ERR_DUPLICATE_RESOURCE, "the user is named more than once");
        else if (del)
            check_deletion(r, &q->deletions[i], row);
        else
            check_upsertion(&q->upsertions[i - q->deletions_n], row);
    }
}

void api_alter_user_scram_credentials(struct request *r)
{
    const struct alter_user_scram_credentials_request *q = request_decode(r);
    struct alter_user_scram_credentials_response a = {0};
    AUTO(map_fini) struct map rows = {0};
    struct scram_credential c;
    struct err e;

    if (!q) return;
    a.results = arena_array(&r->arena, altered, q->deletions_n + q->upsertions_n);
    check_all(r, q, &a, &rows);
    for (size_t i = 0; i < q->deletions_n; i++) {
        c = (struct scram_credential){.hash = (enum scram_hash)q->deletions[i].mechanism};
        stage(r, q->deletions[i].name, &c, row_of(&a, &rows, q->deletions[i].name));
    }
    for (size_t i = 0; i < q->upsertions_n; i++) {
        const struct alter_user_scram_credentials_request_upsertion *u = &q->upsertions[i];
        altered *row = row_of(&a, &rows, u->name);

        if (row->error_code) continue;
        must(!scram_credential_of_salted((enum scram_hash)u->mechanism, u->salt, u->iterations,
                                         u->salted_password, &c, &e));
        stage(r, u->name, &c, row);
    }
    request_answer_when(r, &a, r->broker->meta_seq);
}
