/* gateway/tokens.h - the file of bearer tokens (security.gateway.tokens): who may call, and what for.
 *
 * One line a token: ROLES NAME TOKEN. ROLES is infer, read, admin, or several with commas between them; TOKEN is the token itself,
 * or sha256:SALT:HEX, where HEX is the SHA-256 of SALT and the token, one behind the other. Empty lines and # comments are passed over.
 * In memory there is a salted hash of each, however it stood in the file.
 * Immutable.   Used by: gateway/auth.c.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/err.h"
#include "base/bytes.h"

enum role { ROLE_INFER = 1, ROLE_READ = 2, ROLE_ADMIN = 4 };             /* admin is allowed what the others are */
enum { TOKEN_BYTES_MIN = 16, TOKEN_BYTES_MAX = 512 };

bool roles_parse(struct str text, unsigned *ret);                        /* "infer,read" */

struct tokens;
/* RC_INVALID names the line; RC_NOT_FOUND, RC_DENIED, RC_IO: the file. */
enum rc tokens_load(const char *path, struct tokens **ret, struct err *e) MUST_USE;
enum rc tokens_parse(struct str text, const char *path, struct tokens **ret, struct err *e) MUST_USE;
struct tokens *tokens_free(struct tokens *t);                            /* NULL is fine; returns NULL */
size_t tokens_count(const struct tokens *t);
/* Takes the same time whichever it is, and none. *ret_name is borrowed from t. */
bool tokens_find(const struct tokens *t, struct str token, unsigned *ret_roles, struct str *ret_name);
