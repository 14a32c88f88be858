/* broker/pattern.h - a regular expression over topic names, as consumers of the newer group protocol subscribe to.
 *
 * Kafka's brokers use RE2's language. Ours is what PCRE2 matches without going back, which is the same but for a few
 * classes and flags: what would need to go back (references, looking around, atomic groups) is refused. A name matches as
 * a whole. The steps and the states of one match have a ceiling, which is a few microseconds for a simple pattern, and some
 * milliseconds for the worst there are: those are for a worker.
 * Used by: broker/cgroup_topics.c, broker/groups_scan.c, broker/client_metrics.c.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/bytes.h"
#include "base/err.h"

struct pattern;                                          /* about 38 KB */
enum { PATTERN_BYTES_MAX = 4096, PATTERN_COST = 38 << 10 };

/* RC_INVALID: e says what is wrong with it, and where. */
enum rc pattern_new(struct str text, struct pattern **ret, struct err *e) MUST_USE;
struct pattern *pattern_free(struct pattern *p);          /* NULL is fine; returns NULL */
/* Only characters, classes and a few repetitions of one of them, in a row: never slow. */
bool pattern_is_simple(struct str text);
bool pattern_matches(const struct pattern *p, struct str name);
