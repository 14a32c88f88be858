/* cred/token.h - tokens for OAUTHBEARER: made by somebody, kept fresh on a loop.
 *
 * Makers: oidc_maker_new() (cred/oidc.h), msk_maker_new() (cred/msk.h). A keeper asks its maker on a worker, hands each token to
 * the loop, and asks again when a fifth of its life is left, a little earlier by chance so that many replicas do not ask at once.
 * A failure is tried again after one second, two, four … a minute, give or take, and never later than half of what is left.
 * Used by: bus/remote.     SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "net/loop.h"
#include "sys/worker.h"
#include <stdatomic.h>

struct token {
    struct buf value;                            /* buf_cstr() is what rd_kafka_oauthbearer_set_token() wants */
    int64_t    expires_ms;                       /* wall time */
    char       principal[256];
    char     **extensions;                       /* name, value, name, value …: as that function wants them */
    size_t     extensions_n;                     /* texts, so twice the number of extensions */
};
void token_fini(struct token *t);                /* clears the memory; {0} again */

struct token_maker {
    /* Blocks with a deadline of its own; ends soon when *stop becomes true (NULL is fine). One attempt. The error says what to do, and
     * e->retry whether it may work later by itself. Not from two threads at once. */
    enum rc (*make)(struct token_maker *m, const atomic_bool *stop, struct token *ret, struct err *e);
    void (*free)(struct token_maker *m);
};
static inline enum rc token_make(struct token_maker *m, const atomic_bool *stop, struct token *ret, struct err *e) { return m->make(m, stop, ret, e); }
struct token_maker *token_maker_free(struct token_maker *m);                     /* NULL is fine; returns NULL */

struct token_keeper;
struct token_keeper_options {
    struct loop *loop;                           /* where the functions are called */
    struct workers *workers;
    struct token_maker *maker;                   /* given away */
    int64_t first_expires_ms;                    /* of a token that is in use already (made before the loop ran); 0: ask at once */
    void (*fresh)(void *ctx, const struct token *t);           /* borrowed for the call */
    void (*failed)(void *ctx, const struct err *e);            /* each time; for rd_kafka_oauthbearer_set_token_failure(). NULL is fine */
    void *ctx;
};
struct token_keeper *token_keeper_new(const struct token_keeper_options *o);
void token_keeper_now(struct token_keeper *k);   /* asks at once, unless it is asking: a credential has changed, a login was refused */
struct token_keeper *token_keeper_free(struct token_keeper *k);                  /* as secret_watch_free() */

/* When to ask again: pure, for tests. `chance` is 0 … 65535. */
uint64_t token_refresh_in_ms(int64_t now_ms, int64_t expires_ms, uint16_t chance);
uint64_t token_retry_in_ms(unsigned failures, int64_t left_ms, uint16_t chance);
