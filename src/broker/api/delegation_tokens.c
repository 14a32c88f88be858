/* CreateDelegationToken (key 38), RenewDelegationToken (39), ExpireDelegationToken (40), DescribeDelegationToken (41): there are none,
 * and each says so.   SPDX-License-Identifier: Apache-2.0
 */
#include "broker/api.h"
#include "kafka/msg/create_delegation_token.h"
#include "kafka/msg/describe_delegation_token.h"
#include "kafka/msg/expire_delegation_token.h"
#include "kafka/msg/renew_delegation_token.h"

/* A token is given to who has authenticated, and then there are none. */
static int16_t refusal(const struct request *r)
{
    return r->conn->principal.p ? KAFKA_ERR_DELEGATION_TOKEN_AUTH_DISABLED
                                : KAFKA_ERR_DELEGATION_TOKEN_REQUEST_NOT_ALLOWED;
}

void api_create_delegation_token(struct request *r)
{
    const struct create_delegation_token_request *q = request_decode(r);
    struct create_delegation_token_response a = {.error_code = refusal(r),
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
    struct renew_delegation_token_response a = {.error_code = refusal(r),
                                                .expiry_timestamp_ms = -1};

    if (request_decode(r)) request_answer(r, &a);
}

void api_expire_delegation_token(struct request *r)
{
    struct expire_delegation_token_response a = {.error_code = refusal(r),
                                                 .expiry_timestamp_ms = -1};

    if (request_decode(r)) request_answer(r, &a);
}

void api_describe_delegation_token(struct request *r)
{
    struct describe_delegation_token_response a = {.error_code = refusal(r)};

    if (request_decode(r)) request_answer(r, &a);
}
