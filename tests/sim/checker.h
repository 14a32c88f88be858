/* tests/sim/checker.h - finds in a history what must never happen. The names are those that Jepsen's Kafka workload made known,
 * and some of our own:
 *
 *   lost-write            acknowledged, or read by somebody, and not in the log at the end
 *   duplicate             one value at two offsets of a log
 *   inconsistent-offsets  one offset with two values, or an answer that names another offset than readers see
 *   invented              a value that nobody sent to that log, or not yet
 *   G1a                   (aborted read) a value of an aborted transaction or of a refused request was read
 *   G1c                   (circular information flow) two committed transactions that have read each other's values
 *   precommitted-read     read by a reader of committed records before its producer asked to commit
 *   torn-transaction      some values of a transaction are visible at the end, others of it are not
 *   int-poll-skip, poll-skip                    a value was passed over within a poll, or between two
 *   int-nonmonotonic-poll, nonmonotonic-poll    offsets go back within a poll, or from one to the next
 *   nonmonotonic-send     one producer's values are in another order than it sent them
 *   unseen                acknowledged, and no reader was given it although all have read to the end
 *   gap                   offsets of an uncompacted log are missing
 *   end-backwards, start-backwards, stable-backwards    the bounds of a log were told lower than before, or below what was
 *                         acknowledged
 *   stale-register, lost-register   a committed offset, a topic … that is older than one already acknowledged; or one that
 *                         nobody wrote
 *   two-owners            a partition with two owners in one generation
 *   generation-backwards, zombie-commit         a group's generation falls; a member of an older one may still commit
 *   stable-stuck          after everything has ended, the last stable offset is not the end
 *   processed-twice       a value was consumed and transformed, visibly, twice, or although it was not committed as consumed
 *   unprocessed           a value was committed as consumed, and nothing was made of it
 *   echo                  a watch of the bus is given what the bus itself has sent
 *   stuck                 somebody who does not get on although nothing fails any more
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "history.h"

enum { ANOMALIES_MAX = 16 };
struct anomaly { const char *name; char text[256]; };
struct verdict { struct anomaly anomalies[ANOMALIES_MAX]; size_t n; };      /* the first ones found */

void history_check(const struct history *h, struct verdict *ret);
bool verdict_has(const struct verdict *v, const char *name);
