/* bus/remote_access.h - the secrets of the remote bus: read at the start, looked at again while it runs, given to every client.
 * On the bus's loop, and before it runs.   Used by: bus/remote*.c only.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"
#include "bus/remote_lib.h"
#include "bus/remote_security.h"
#include "cred/secret.h"
#include "net/loop.h"
#include "sys/worker.h"
#include <stdatomic.h>

struct access;
struct access_news {                             /* who is told, on the loop */
    void (*credentials)(void *ctx);              /* access_refresh() is wanted for every client */
    void (*certificates)(void *ctx);             /* clients have to be made anew */
    void *ctx;
};
struct access_options {
    const struct remote_security *security;
    const struct kafka_lib *k;
    struct str bootstrap;
    struct loop *loop;
    struct workers *workers;
    const atomic_bool *stop;
    struct access_news news;
};

/* Reads every secret, and fetches the first token: blocks. The error says which secret, and e->retry whether it may work later. */
enum rc access_open(const struct access_options *o, struct access **ret, struct err *e) MUST_USE;
void access_watch(struct access *a);             /* from now on changes are looked for */
void access_stop(struct access *a);              /* no more news: before the workers end. NULL is fine */
struct access *access_free(struct access *a);    /* after the last client; NULL is fine; returns NULL */

/* A client's configuration, before it is made; what has to stay open until it is, is in `until`. */
struct access_until { struct secret_file files[3]; size_t n; };
enum rc access_conf(struct access *a, rd_kafka_conf_t *conf, struct access_until *until, struct err *e) MUST_USE;
void access_until_fini(struct access_until *u);
enum rc access_refresh(struct access *a, rd_kafka_t *rk, struct err *e) MUST_USE;      /* the password or the token of now */
/* The same for a client of our own (bus/wire.h): librdkafka's names, PEM in place of files, and the token of now. `put` copies. */
void access_each_property(const struct access *a, void (*put)(void *ctx, const char *name, struct str value), void *ctx);
void access_refused(struct access *a);           /* a login was refused: is there something newer? */
bool access_uses_tls(const struct access *a);
bool access_uses_scram(const struct access *a);
bool access_wants_token(const struct access *a);  /* a new client has to be given one: access_refresh() */

/* "certificate verify failed" in a text of the library: with which certificate of whom, for whom, from when to when. Appends;
 * false: nothing is known about it. Any thread. */
bool access_certificate_put(struct access *a, const char *text, struct buf *b);
