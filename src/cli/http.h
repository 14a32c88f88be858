/* cli/http.h - one HTTP request at a time, through libcurl, which is loaded with the first one.
 * Used by: cli/ only.     SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "cred/http.h"                         /* http_escape() */

enum { HTTP_SERVER_PORT = 9000 };               /* when --server names a host alone */

struct http_ask {
    const char *method, *server;                 /* "GET", "127.0.0.1:9000" or "https://127.0.0.1:9000" */
    struct str path;                             /* with its query, encoded */
    const char *const *headers; size_t headers_n;        /* "name: value" */
    struct bytes body;
    bool grpc;                                   /* HTTP/2 without asking first */
    unsigned timeout_s;                          /* 0: the server's own deadline decides */
};
struct http_answer {
    long status;
    struct buf body;
    int grpc_status;                             /* -1: none came */
    struct buf grpc_message;                     /* decoded */
    struct buf request_id;                       /* the first x-request-id, when one came */
};
/* Who this command is, for every request it makes; borrowed for ever. */
struct http_identity {
    const char *token;                           /* "@FILE"; from the environment the token itself, too. NULL: none */
    bool token_given;                            /* on the command line, where everybody can read it: only @FILE is taken */
    const char *cacert, *cert, *key;             /* PEM files; NULL: none, and the system's authorities */
};
/* RC_INVALID: a token on the command line, a file without one; RC_NOT_FOUND, RC_DENIED, RC_IO: as the file says. */
enum rc http_identify(const struct http_identity *who, struct err *e) MUST_USE;

/* RC_UNAVAILABLE: the server cannot be reached; RC_UNSUPPORTED: libcurl is not installed. *ret is yours to fini. */
enum rc http_ask(const struct http_ask *a, struct http_answer *ret, struct err *e) MUST_USE;
void http_answer_fini(struct http_answer *a);

/* What --server or MILLRACE_SERVER says as HOST:PORT, or https://HOST:PORT: HOST alone, :PORT and http://HOST:PORT/ are understood.
 * RC_INVALID says what is wrong with it. */
enum rc http_server_name(struct str said, struct buf *ret, struct err *e) MUST_USE;

