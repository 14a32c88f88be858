/* cred/secret.h - named values that nobody else may see: a Kubernetes Secret, a folder of files, or single files.
 *
 * A source says where values are; reading it makes a struct secret, which never changes and may be looked at by every
 * thread. A value is without line ends at its end, and its memory is cleared when the last owner lets go.
 * What an error says: which secret, which key, and what to do.
 * Used by: bus/remote, cred/oidc.c.     SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "net/loop.h"
#include "sys/worker.h"
#include <stdatomic.h>

/* ---- what was read ---- */

struct secret;
struct secret *secret_hold(struct secret *s);              /* one more owner; any thread */
struct secret *secret_free(struct secret *s);              /* one less; NULL is fine; returns NULL */
bool secret_get(const struct secret *s, struct str key, struct bytes *ret);      /* borrowed; false: there is none */
struct str secret_text(const struct secret *s, struct str key);                  /* borrowed, NUL beyond its end; empty: there is none */
bool secret_eq(const struct secret *a, const struct secret *b);

/* ---- where it is ---- */

/* A key, or a path whose last part is the key: so one setting says both, the file and the key in a Secret. */
struct secret_item {
    struct str path;                                       /* "password", "/var/run/secrets/kafka/password"; the key for secret_get() */
    bool       optional;                                   /* its absence is no error */
};

struct secret_options {                                    /* borrowed for the call */
    struct str what;                                       /* for errors: "the SASL password" */
    /* Empty: every item is a file at its path. With a '/' in it: a folder, whose files are the keys (a mounted Secret).
     * Else the name of a Kubernetes Secret, read through the API server. */
    struct str name;
    struct str ns;                                         /* empty: POD_NAMESPACE, SELDON_POD_NAMESPACE, the service account's */
    const struct secret_item *items;
    size_t items_n;
    struct str account_dir;                                /* empty: MILLRACE_SERVICE_ACCOUNT_DIR, else /var/run/secrets/kubernetes.io/serviceaccount */
};

struct secret_source;
struct secret_source *secret_source_new(const struct secret_options *o);
struct secret_source *secret_source_free(struct secret_source *s);               /* NULL is fine; returns NULL */

enum { SECRET_READ_MS = 10000, SECRET_BYTES_MAX = 4 << 20 };
/* Blocks, up to SECRET_READ_MS and only for the API server; ends soon when *stop becomes true (NULL is fine). One attempt.
 * RC_NOT_FOUND: no such Secret, key or file; RC_DENIED, RC_AUTH: not allowed; RC_UNAVAILABLE, RC_TIMEOUT: no API server;
 * RC_INVALID: what is there cannot be used. A value's key is its item's path, as it was given:
 * /a/tls.pem and /b/tls.pem are two files, and one and the same key of a Secret. */
enum rc secret_read(const struct secret_source *s, const atomic_bool *stop, struct secret **ret, struct err *e) MUST_USE;

/* ---- for a library that reads files only ---- */

/* A file in memory that only this process sees: a secret is on no disk. */
enum { SECRET_FILE_PATH = 40 };
struct secret_file { int fd; char path[SECRET_FILE_PATH]; };
enum rc secret_file_open(struct secret_file *f, struct err *e) MUST_USE;         /* an error: there is nothing to close */
enum rc secret_file_fill(const struct secret_file *f, struct bytes value, struct err *e) MUST_USE;       /* instead of what was in it: it gets a new time */
void secret_file_close(struct secret_file *f);

/* ---- when it changes ---- */

enum { SECRET_FILES_EVERY_MS = 2000, SECRET_API_EVERY_MS = 30000 };

/* Reads again from time to time on a worker: files every SECRET_FILES_EVERY_MS, which sees the swap of a mounted Secret's
 * ..data; the API server every SECRET_API_EVERY_MS, give or take a quarter, which needs no right but `get`. */
struct secret_watch;
struct secret_watch_options {
    struct loop *loop;                                     /* where the functions are called */
    struct workers *workers;
    struct secret_source *source;                          /* given away */
    struct secret *known;                                  /* what is in use; given away; NULL: the first one read counts as a change */
    void (*changed)(void *ctx, struct secret *s);          /* s is borrowed for the call: secret_hold() keeps it */
    void (*failed)(void *ctx, const struct err *e);        /* once when it begins to fail; what is known stays in use. NULL is fine */
    void *ctx;
    uint64_t every_ms;                                     /* 0: as above */
};
struct secret_watch *secret_watch_new(const struct secret_watch_options *o);
void secret_watch_now(struct secret_watch *w);             /* looks at once: somebody's login was refused */
/* On the loop, or after it has ended: no function is called any more. What a worker still does ends soon, and the memory goes
 * when its answer is drained from the loop's mailbox. NULL is fine; returns NULL. */
struct secret_watch *secret_watch_free(struct secret_watch *w);
