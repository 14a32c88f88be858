/* base/nearest.h - which of the known words was meant: for messages about words that are not known.
 * Pure. Used by: control (kinds), cli (commands, options), app (configuration keys).     SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/bytes.h"

/* Offer the known words one after the other; `best` is then the one that is fewest changed letters away, or empty when none
 * is near: more than a third of the letters, or more than three, would have to change. */
struct nearest { struct str wanted, best; size_t distance; };
void nearest_begin(struct nearest *n, struct str wanted);
void nearest_offer(struct nearest *n, struct str known);
