/* broker/age_clock.h - the time by which things grow old: retention, compaction, idle producers, committed offsets.
 *
 * It is the wall clock, except that a jump forward is not believed before it has stood for an hour: a wrong clock must not
 * delete data. Small steps and steps back are believed at once, the latter because they only make things younger.
 * Pure; ask it at least every few minutes.   Used by: broker/.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/bytes.h"

enum { AGE_CLOCK_STEP_MS = 60000, AGE_CLOCK_PATIENCE_MS = 3600000 };       /* more than this is a jump; believed after that */
struct age_clock { bool known; int64_t offset, jump; uint64_t jump_since; };       /* {0} believes what it sees first; offsets: wall - mono */
int64_t age_clock_ms(struct age_clock *c, uint64_t mono_ms, int64_t wall_ms);
