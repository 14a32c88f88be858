/* bus/remote_gate.h - who may connect while brokers refuse our login.
 *
 * Every client of the library connects again on its own, a dozen connections in all: within seconds a broker that counts
 * failures would lock this address out, and go on doing so when the password is right again. So from a refusal on one
 * connection at a time tries, one of the client that is asked whether a broker answers ("knocks"), first soon and then less
 * often; all others are held back here, before a packet leaves. A login that is not refused opens the gate.
 * Any thread.   Used by: bus/remote*.c only.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    GATE_FIRST_MS = 1000, GATE_MAX_MS = 12000,   /* between two tries: doubled from one to the next */
    GATE_OTHERS_MS = 4000,                       /* later than that others try: who knocks is connected */
    GATE_ANSWER_MS = 3000                        /* a login that nobody has refused for so long was taken */
};

struct gate {
    pthread_mutex_t lock;
    uint64_t        refused_ms;                  /* the last refusal; 0: open */
    uint64_t        passed_ms, next_ms, wait_ms; /* the last try, and when the next one may be */
};

void gate_init(struct gate *g);
void gate_fini(struct gate *g);
bool gate_pass(struct gate *g, bool knocks, uint64_t now_ms);    /* may this connection be made now? */
void gate_refused(struct gate *g, uint64_t now_ms);              /* a broker has refused a login */
void gate_changed(struct gate *g, uint64_t now_ms);              /* there are other credentials: a try at once */
void gate_answered(struct gate *g);                              /* who knocks was answered */
