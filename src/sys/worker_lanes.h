/* sys/worker_lanes.h - who has which lane of the process's pool of workers, in one place: what is on one lane runs one after the
 * other, so no two who know nothing of each other may share one. A pool of one's own has its own lanes.
 *
 * Used by: broker/, upstream/.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "sys/worker.h"

enum worker_lane {
    LANE_WAL = 1, LANE_CHECKPOINT, LANE_DELETE, LANE_LARGE, LANE_COMPACT, LANE_UNPACK, LANE_OLD_FETCH, LANE_PATTERNS,     /* broker/ */
    LANE_OAUTH,                                    /* cred/oauth.h */
    LANE_BUILTIN,                                  /* upstream/builtin.c */
    LANES_KNOWN
};
_Static_assert((int)LANES_KNOWN <= (int)WORKER_LANES_MAX, "every lane has a place");
