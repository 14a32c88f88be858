/* What a broker without authentication and authorization says to those who ask for it: DescribeAcls (key 29), CreateAcls
 * (30), DeleteAcls (31), SaslHandshake (17), SaslAuthenticate (36), the delegation tokens (38 to 41) and
 * DescribeUserScramCredentials (50).
 * SPDX-License-Identifier: Apache-2.0
 */
#include "broker/api.h"
#include "broker/api/seen.h"
#include "kafka/msg/create_acls.h"
#include "kafka/msg/create_delegation_token.h"
#include "kafka/msg/delete_acls.h"
#include "kafka/msg/describe_acls.h"
#include "kafka/msg/describe_delegation_token.h"
#include "kafka/msg/describe_user_scram_credentials.h"
#include "kafka/msg/expire_delegation_token.h"
#include "kafka/msg/renew_delegation_token.h"
#include "kafka/msg/sasl_authenticate.h"
#include "kafka/msg/sasl_handshake.h"

static const char no_authorizer[] = "no authorizer is configured";

void api_describe_acls(struct request *r)
{
    struct describe_acls_response a = {.error_code = KAFKA_ERR_SECURITY_DISABLED};

    if (!request_decode(r)) return;
    a.error_message = str_of(no_authorizer);
    request_answer(r, &a);
}

void api_create_acls(struct request *r)
{
    const struct create_acls_request *q = request_decode(r);
    struct create_acls_response a = {0};

    if (!q) return;
    a.results_n = q->creations_n;
    a.results = arena_array(&r->arena, struct create_acls_response_result, a.results_n);
    for (size_t i = 0; i < a.results_n; i++) {
        a.results[i].error_code = KAFKA_ERR_SECURITY_DISABLED;
        a.results[i].error_message = str_of(no_authorizer);
    }
    request_answer(r, &a);
}

void api_delete_acls(struct request *r)
{
    const struct delete_acls_request *q = request_decode(r);
    struct delete_acls_response a = {0};

    if (!q) return;
    a.filter_results_n = q->filters_n;
    a.filter_results =
        arena_array(&r->arena, struct delete_acls_response_filter_result, a.filter_results_n);
    for (size_t i = 0; i < a.filter_results_n; i++) {
        a.filter_results[i].error_code = KAFKA_ERR_SECURITY_DISABLED;
        a.filter_results[i].error_message = str_of(no_authorizer);
    }
    request_answer(r, &a);
}

void api_sasl_handshake(struct request *r)
{
    struct sasl_handshake_response a = {.error_code = KAFKA_ERR_ILLEGAL_SASL_STATE};

    if (request_decode(r)) request_answer(r, &a);
}

void api_sasl_authenticate(struct request *r)
{
    struct sasl_authenticate_response a = {.error_code = KAFKA_ERR_ILLEGAL_SASL_STATE};

    if (!request_decode(r)) return;
    a.error_message = STR("this listener asks nobody to authenticate");
    a.auth_bytes = bytes_of("", 0);
    request_answer(r, &a);
}

/* A token is given to who has authenticated. */
void api_create_delegation_token(struct request *r)
{
    const struct create_delegation_token_request *q = request_decode(r);
    struct create_delegation_token_response a = {.error_code =
                                                     KAFKA_ERR_DELEGATION_TOKEN_REQUEST_NOT_ALLOWED,
                                                 .issue_timestamp_ms = -1,
                                                 .expiry_timestamp_ms = -1,
                                                 .max_timestamp_ms = -1};

    if (!q) return;
    a.principal_type = a.token_requester_principal_type = STR("User");
    a.principal_name = a.token_requester_principal_name = request_user(r);
    a.token_id = STR("");
    a.hmac = bytes_of("", 0);
    request_answer(r, &a);
}

void api_renew_delegation_token(struct request *r)
{
    struct renew_delegation_token_response a = {
        .error_code = KAFKA_ERR_DELEGATION_TOKEN_REQUEST_NOT_ALLOWED, .expiry_timestamp_ms = -1};

    if (request_decode(r)) request_answer(r, &a);
}

void api_expire_delegation_token(struct request *r)
{
    struct expire_delegation_token_response a = {
        .error_code = KAFKA_ERR_DELEGATION_TOKEN_REQUEST_NOT_ALLOWED, .expiry_timestamp_ms = -1};

    if (request_decode(r)) request_answer(r, &a);
}

void api_describe_delegation_token(struct request *r)
{
    struct describe_delegation_token_response a = {
        .error_code = KAFKA_ERR_DELEGATION_TOKEN_REQUEST_NOT_ALLOWED};

    if (request_decode(r)) request_answer(r, &a);
}

/* Nobody has any. */
void api_describe_user_scram_credentials(struct request *r)
{
    const struct describe_user_scram_credentials_request *q = request_decode(r);
    AUTO(seen_fini) struct seen seen = {0}, told = {0};
    struct describe_user_scram_credentials_response a = {0};

    if (!q) return;
    a.results =
        arena_array(&r->arena, struct describe_user_scram_credentials_response_result, q->users_n);
    for (size_t i = 0; i < q->users_n; i++)
        seen_add(&seen, q->users[i].name, 0);
    for (size_t i = 0; i < q->users_n; i++) {
        struct describe_user_scram_credentials_response_result *row = &a.results[a.results_n];
        bool twice = seen_count(&seen, q->users[i].name, 0) > 1;

        if (twice && seen_add(&told, q->users[i].name, 0) > 1) continue;
        a.results_n++;
        row->user = q->users[i].name;
        row->error_code = twice ? KAFKA_ERR_DUPLICATE_RESOURCE : KAFKA_ERR_RESOURCE_NOT_FOUND;
        row->error_message =
            twice ? STR("the user is named more than once") : STR("this user has no credentials");
    }
    request_answer(r, &a);
}
