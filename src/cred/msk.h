/* cred/msk.h - tokens for AWS MSK with IAM: a presigned URL of the action kafka-cluster:Connect, as base64url.
 *
 * Such a token is made here, without asking anybody, out of AWS credentials (cred/aws.h). It lives for 15 minutes, or as long as the
 * credentials do.     Used by: bus/remote.     SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "cred/aws.h"
#include "cred/token.h"

struct msk_options {                             /* borrowed for the call; all may be empty */
    struct str bootstrap;                        /* HOST:PORT,…: says the region if nothing else does */
    struct str region, profile, role_arn, role_session;
};
struct token_maker *msk_maker_new(const struct msk_options *o);

/* ---- the part that needs nothing but its arguments ---- */
enum { MSK_TOKEN_S = 900 };
struct msk_signing { struct str region, id, secret, session, user_agent; int64_t now_s; };
void msk_token(const struct msk_signing *s, struct buf *ret);     /* appends */
