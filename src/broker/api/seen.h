/* broker/api/seen.h - what a request names more than once, found without comparing everything with everything.
 * {0} is empty.   Lives on: the broker loop.   Used by: broker/api/.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/map.h"

struct seen { struct map map; };
struct seen_part { struct str topic; int32_t number; int16_t code; };

void seen_fini(struct seen *s);
size_t seen_add(struct seen *s, struct str name, int32_t number);        /* how often it was added by now */
size_t seen_count(const struct seen *s, struct str name, int32_t number);
size_t seen_take(struct seen *s, struct str name, int32_t number);       /* one that was added less: how many are left */

/* Parts of topics in the order of their names and numbers: what is named twice stands together. */
void seen_parts_sort(struct seen_part *parts, size_t n);
size_t seen_topic_end(const struct seen_part *parts, size_t n, size_t at);       /* behind the last of the topic of parts[at] */
