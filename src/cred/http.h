/* cred/http.h - one question to an HTTP server that knows secrets, and its answer. Blocks: on a worker.
 *
 * Certificates are always checked, redirects never followed. What can pass by itself (no connection, 429, 5xx) is tried again after a
 * quarter of a second, a half …, give or take, for as long as timeout_ms lasts and at most HTTP_TRIES times.
 * Used by: the files of cred; http_escape() by cli, too.     SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include <stdatomic.h>

enum { HTTP_TRIES = 4, HTTP_ANSWER_MAX = 4 << 20 };

struct cred_ask {
    const char *method, *url;
    const char *headers[6];                      /* "Name: value", until NULL */
    struct bytes body;                           /* .p NULL: none */
    const char *ca_path;                         /* PEM; NULL: the system's */
    const char *basic;                           /* "user:password", for Authorization: Basic; NULL: none */
    bool local;                                  /* never through a proxy */
    uint32_t timeout_ms;                         /* for all tries together */
    size_t bytes_max;                            /* of the answer; 0: HTTP_ANSWER_MAX */
    const atomic_bool *stop;                     /* NULL is fine */
};
struct cred_answer { long status; struct buf body; };
void cred_answer_fini(struct cred_answer *a);    /* clears the memory */

/* Any status is RC_OK. Else RC_TIMEOUT, RC_UNAVAILABLE or RC_CANCELLED, with curl's words and the URL without its query. */
enum rc cred_ask(const struct cred_ask *q, struct cred_answer *ret, struct err *e) MUST_USE;
void http_escape(struct str s, struct buf *ret); /* appends with everything but A-Z a-z 0-9 - _ . ~ as %XX (RFC 3986) */
/* What the other side says, for a sentence of ours: what is not printable becomes '?', and what is longer than fits is cut. NULL: nothing. */
void cred_quote(const char *text, char *ret, size_t room);
