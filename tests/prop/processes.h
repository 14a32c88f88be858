/* tests/prop/processes.h - processes with executors, at the seats of a cluster (support/fake_cluster.h): they start, stop in
 * order, are frozen, and are killed. SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "support/fake_cluster.h"
#include "support/flow_fixture.h"

enum { LANES_MAX = 4, SESSION_MS = 1000 };
enum proc_state { PROC_ABSENT, PROC_LIVE, PROC_FROZEN, PROC_LEAVING, PROC_DEAD };     /* dead: its session is not over */

struct lane { struct loop *loop; struct upstream *up; struct flow *flow; };
struct proc {
    enum proc_state state;
    struct seat *seat;
    struct lane lanes[LANES_MAX];
    unsigned lanes_n, drained;
    uint64_t wakes_ms, expires_ms;               /* frozen; frozen or dead. expires 0: others have its numbers already */
};

struct proc_options {
    const struct clock *clock;
    struct flow_options flow;
    struct flow_snapshot *snapshot;
    void (*model)(void *ctx, struct upstream_call *c);
    void *ctx;
};

void proc_start(struct proc *p, struct cluster *c, const struct proc_options *o, unsigned lanes_n);
void proc_leave(struct proc *p, uint64_t within_ms);
void proc_freeze(struct proc *p, uint64_t for_ms);
void proc_kill(struct proc *p);
void proc_turn(struct proc *p, unsigned steps);  /* so many operations of its bus, and a turn of its loops */
void proc_look(struct proc *p);                  /* what time has brought: it wakes, has expired, has ended */
bool proc_finish(struct proc *p, struct rng *g); /* a model answers; false: none is asked */
bool proc_idle(struct proc *p);                  /* live, and nothing runs */
