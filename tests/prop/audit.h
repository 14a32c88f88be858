/* tests/prop/audit.h - what was asked, and whether the log and the answers fit it.
 *
 * Every request and every record from outside has a tag of its own in its tensors (naive.h), which all that is made of them
 * keeps: so it is seen when anything goes to the wrong caller or run. Requests with the same idempotency key are the same.
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "prop/naive.h"
#include "support/fake_bus.h"
#include "flow/flow.h"
#include "sys/clock.h"

#define INPUTS       "seldon.default.pipeline.p.inputs"
#define OUTPUTS      "seldon.default.pipeline.p.outputs"
#define GROUP        "seldon-default-flow-p"
#define MODEL_INPUTS  "seldon.default.model.m0.inputs"
#define MODEL_OUTPUTS "seldon.default.model.m0.outputs"
#define MODEL_GROUP  "seldon-default-flowmodel-m0"
#define ERRORS       "seldon.default.errors.errors"
enum { PROCS_MAX = 4, KEYS = 3, REQUESTS_MAX = 160, INPUT_BITS = 1 << TENSORS };

struct proc;
struct history;
struct request {
    struct flow_request q;
    struct history *h;
    struct flow *flow;                           /* who was asked */
    struct proc *proc;
    struct buf message;
    char id[16], key_text[16];
    int tag, bits, key;                          /* key -1: none */
    bool direct;                                 /* of the model m0 */
    bool cancelled, cut;                         /* the caller went away; the process was killed, or told to end */
    unsigned times;
    uint64_t done_ms;
};

struct history {
    uint64_t seed;
    struct world world;
    bool embedded;
    bool disturbed;                              /* outcomes may be repeated, requests refused */
    bool zombies;                                /* … by one that was frozen and reads on, which does not know of any other attempt */
    bool in_doubt;                               /* … by one that was not told that the first was written */
    const struct clock *clock;
    uint64_t timeout_ms;                         /* of what nobody waits for */
    struct naive *naive[INPUT_BITS];             /* what comes of such an input; with tag 0 */
    struct request requests[REQUESTS_MAX];
    int requests_n, tags_n;
};

#define SEED_MUST(h, cond, ...) do { if (!(cond)) seed_failed((h)->seed, #cond, __VA_ARGS__); } while (0)
void seed_failed(uint64_t seed, const char *cond, const char *fmt, ...) PRINTF(3, 4);

/* "A=2011;C=2013" is tag 2, the bits of A and C, and "A=11;C=13"; false: no tensors of one tag. plain: TEXT bytes. */
bool tensors_read(const char *text, int *ret_tag, int *ret_bits, char *ret_plain);

void history_begin(struct history *h, uint64_t seed, bool embedded, const struct clock *clock, uint64_t timeout_ms);
void history_end(struct history *h);
/* NULL: it has had enough of them. The deadline and who is asked are the caller's to set. */
struct request *history_request(struct history *h, bool direct, int key, int bits);
void history_outside(struct history *h, int bits, char *ret_text, size_t room);
void history_called(const struct history *h, int step, const char *text, int *ret_tag);
struct request *history_open(struct history *h, uint64_t from);         /* the first from here on that has no answer; NULL: all have */
void audit(struct history *h, struct fake_bus *log);
