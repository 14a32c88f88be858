/* cred/aws.h - AWS credentials, from where AWS's own tools look for them, and in their order.
 *
 *   1. AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN (not when a profile was asked for by name)
 *   2. AWS_ROLE_ARN with AWS_WEB_IDENTITY_TOKEN_FILE (EKS): AssumeRoleWithWebIdentity at STS (likewise)
 *   3. the profile (AWS_PROFILE, else "default") in ~/.aws/credentials and ~/.aws/config (AWS_SHARED_CREDENTIALS_FILE,
 *      AWS_CONFIG_FILE): keys; role_arn with source_profile, credential_source or web_identity_token_file
 *   4. AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or _FULL_URI (ECS, EKS pod identity), with the authorization token
 *   5. the instance's metadata, IMDSv2 (unless AWS_EC2_METADATA_DISABLED=true)
 * The first that is configured counts: if it fails, that is the error, and not that the next one has nothing either.
 * Blocking: on a worker.     Used by: cred/msk.c.     SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include <stdatomic.h>

struct aws_keys {
    char    id[256];
    struct buf secret, session;                  /* session: empty for keys that stay */
    int64_t expires_ms;                          /* wall time; 0: never */
    char    from[96];                            /* where they were found, for people */
};
void aws_keys_fini(struct aws_keys *k);          /* clears the memory; {0} again */

struct aws_place {                               /* borrowed for the call; all may be empty */
    struct str region, profile, role_arn, role_session;
    const char *(*env)(void *ctx, const char *name);      /* NULL: getenv() */
    void *ctx;
    struct str container_base;                   /* empty: http://169.254.170.2, to which a relative URI belongs */
    const atomic_bool *stop;
};

enum { AWS_TIMEOUT_MS = 5000, AWS_METADATA_TIMEOUT_MS = 1000 };
/* With place->role_arn: what was found takes on that role at STS. */
enum rc aws_keys_find(const struct aws_place *place, struct aws_keys *ret, struct err *e) MUST_USE;

/* place->region, else AWS_REGION, AWS_DEFAULT_REGION, the profile's, the one in `hosts` (HOST:PORT,… of MSK), else the instance's.
 * RC_INVALID says where it was looked for. */
enum rc aws_region_find(const struct aws_place *place, struct str hosts, char ret[64], struct err *e) MUST_USE;
bool aws_region_in(struct str hosts, char ret[64]);      /* b-1.x.y.c2.kafka.eu-west-1.amazonaws.com, boot-….c1.kafka-serverless.… */
