/* tests/prop/naive.h - random graphs, and a reference that says what comes of them.
 *
 * A seed makes a pipeline (chains, joins of all kinds, triggers, tensor selections, renames) and models that answer with some
 * tensors, none, or an error. The reference knows nothing of gates and effects: after every answer it goes over all steps again
 * and again until nothing changes. SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"

enum { STEPS_MAX = 9, REFS_MAX = 4, TENSORS = 3, TEXT = 4096, TAG = 1000 };

struct ref { int step; bool inputs; int tensor; };           /* step -1: the pipeline's inputs; tensor -1: all */
struct gate { struct ref refs[REFS_MAX]; int n, join; };     /* join: inner, outer, any */
struct step { struct gate data, trigger; bool rename; };     /* rename: tensor A of the first source becomes Z */
struct world {
    struct step steps[STEPS_MAX + 1];                        /* the last: the output section */
    int n;
    bool has_output;
    int answers[STEPS_MAX];                                  /* bits of A, B, C; -1: an error */
    int input;                                               /* bits */
};
extern const char *const joins[3];

struct world world_random(uint64_t seed);
/* With few steps, and nothing that depends on which model answers first. */
struct world world_settled(uint64_t seed);
void world_print(const struct world *w, char *to);           /* as flow_fixture.h has it; TEXT bytes */

/* The tensors in `bits` of what a step (-1: the caller) says: "A=11;C=13", each TAG * tag more. */
int tensors_print(char *to, size_t room, int tag, int step, int bits);

struct tensor { char name; int value; };
struct topic { enum { UNKNOWN, THERE, NEVER } state; bool failed; int order; struct tensor t[64]; int n; };
/* An outer gate that went on when its window was over, with what was there. */
struct frozen { bool is; struct topic *taken[REFS_MAX]; int n; };
struct naive {
    const struct world *w;
    int tag;                                                 /* tells the tensors of one request from those of others */
    struct frozen frozen[STEPS_MAX + 1][2];
    struct topic input, inputs[STEPS_MAX], outputs[STEPS_MAX];
    bool called[STEPS_MAX], decided[STEPS_MAX + 1];
    int now, failures, calls, answers;
    enum { OPEN, ANSWER, UNSELECTED, FAILED } outcome;
    char request[STEPS_MAX][TEXT], answer[TEXT];
};

void naive_begin(struct naive *v, const struct world *w, int tag, int input);
void naive_answered(struct naive *v, int step);
void naive_windows_over(struct naive *v);
void naive_run(struct naive *v);                             /* every model that is called answers, the first step first */
