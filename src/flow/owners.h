/* flow/owners.h - which partition numbers this process owns: whose unfinished inputs and outside records are its own to run.
 * Executor 0 decides; owners_mine() and owners_prefer() serve every executor.     SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "flow/executor.h"

bool owners_shared(const struct flow *f);        /* other processes may be at work on the same topics */
bool owners_mine(const struct flow *f, int32_t partition);
/* The next partition for a request: one that is owned, if there is one. */
int32_t owners_prefer(struct flow *f, int32_t partitions);
void owners_begin(struct flow *f);               /* joins the group; on an embedded broker nothing */
void owners_leave(struct flow *f);
void owners_run_ended(struct flow *f);           /* a number may be waiting to be given up */
