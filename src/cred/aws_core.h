/* cred/aws_core.h - what the files of AWS credentials share. Used by: cred/aws.c and its kind, cred/msk.c, their tests.
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "cred/aws.h"

/* ---- aws_sign.c: Signature Version 4 ---- */

struct aws_stamp { char date[9], time[17]; };              /* 20261123, 20261123T035110Z */
struct aws_stamp aws_stamp_of(int64_t now_s);
struct aws_scope { struct aws_stamp at; struct str region, service; };
void aws_sha256(struct bytes b, char ret[65]);             /* in hexadecimal, as the signature is */
void aws_sign(const struct aws_scope *s, struct str secret, struct str canonical, char ret[65]);

/* ---- aws_ini.c: the shared files ---- */

/* The last of that key in the sections of that name; a name in quotes is without them here. Borrowed. False: it is not there. */
bool aws_ini_get(struct str text, struct str section, struct str key, struct str *ret);
bool aws_ini_has(struct str text, struct str section);

/* ---- aws_answer.c: what STS, containers and instances say, in JSON or STS's XML ---- */

/* Without `from`. RC_INVALID: there are no credentials in it. */
enum rc aws_answer_keys(struct bytes body, struct aws_keys *ret, struct err *e) MUST_USE;
/* "AccessDenied: Not authorized …", or its beginning if it is a line of text, or nothing. */
void aws_answer_why(struct bytes body, char ret[256]);
bool aws_time_of(struct str iso, int64_t *ret_ms);

/* ---- aws_sts.c, aws_metadata.c ---- */

struct aws_role {
    struct str arn, session, external_id, region;
    struct str token_file;                                 /* with web identity */
    const struct aws_keys *with;                           /* else: with these */
};
enum rc aws_assume(const struct aws_place *p, const struct aws_role *r, struct aws_keys *ret, struct err *e) MUST_USE;
bool aws_container_configured(const struct aws_place *p);
enum rc aws_container(const struct aws_place *p, struct aws_keys *ret, struct err *e) MUST_USE;
enum rc aws_instance(const struct aws_place *p, struct aws_keys *ret, struct err *e) MUST_USE;
enum rc aws_instance_region(const struct aws_place *p, char ret[64], struct err *e) MUST_USE;

/* ---- aws_profile.c ---- */

/* RC_NOT_FOUND: there is no such profile, or nothing in it that could be credentials. */
enum rc aws_profile_keys(const struct aws_place *p, struct str profile, struct aws_keys *ret, struct err *e) MUST_USE;
void aws_profile_region(const struct aws_place *p, struct str profile, char ret[64]);
struct str aws_profile_name(const struct aws_place *p);

/* ---- aws.c ---- */

struct str aws_env(const struct aws_place *p, const char *name);                 /* empty: not set */
enum rc aws_keys_env(const struct aws_place *p, struct aws_keys *ret, struct err *e) MUST_USE;   /* RC_NOT_FOUND */
enum rc aws_keys_set(struct aws_keys *k, struct str id, struct str secret, struct str session, struct err *e) MUST_USE;
enum rc aws_file(const char *path, size_t max, struct buf *ret, struct err *e) MUST_USE;         /* in one piece that never moves: wipe it */
void aws_region_known(const struct aws_place *p, char ret[64]);                  /* by configuration; empty: not */
