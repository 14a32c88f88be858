/* tests/support/fake_upstream.h - model calls without a network: the functions of upstream/upstream.h at link time.
 *
 * Toy models by name, up to the first '-': mul10, add10 (the first tensor as FP32, typed contents, named OUTPUT), sum (all
 * tensors), echo (same tensors, typed), raw (byte for byte, answers model name raw_1), conditional (CHOICE picks INPUT0 ->
 * OUTPUT0 or INPUT1 -> OUTPUT1), error (INVALID_ARGUMENT), hdr (echo and headers), unavail, garbage, none (no tensors).
 * "slow" and "hang" are echoes that are only finished by fake_upstream_finish(). SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "upstream/upstream.h"

struct fake_call { struct buf model, request; struct header *headers; size_t headers_n; struct buf *strings; };

struct upstream {
    bool sync;                                   /* answers come from inside upstream_call() */
    bool hold;                                   /* every call waits for fake_upstream_finish() */
    struct upstream_call **calls; size_t calls_n;        /* in flight, oldest first */
    struct upstream_query **queries; size_t queries_n;
    bool not_ready;                              /* what queries answer */
    struct str not_ready_model;                  /* or only for this one */
    unsigned started, cancelled, most_at_once;
    /* Instead of the toys; fills err or response. NULL: the toys. */
    void (*model)(void *ctx, struct upstream_call *c);
    void *ctx;
};
struct upstream *fake_upstream_new(void);
/* Answers what may be answered now (not held, not slow). True when there was something. */
bool fake_upstream_turn(struct upstream *u);
/* Finishes the oldest call to that model, whatever holds it. False when there is none. */
bool fake_upstream_finish(struct upstream *u, const char *model);
void fake_model(struct upstream_call *c);        /* the toys */
