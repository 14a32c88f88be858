/* control/problems.h - everything that is wrong with what a person wrote, reported at once, each with its place.
 *
 * At most PROBLEMS_MAX are kept, further ones are counted. Texts are copied. One owner, no thread of its own.
 * Used by: control/, app/config, cli.     SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/arena.h"
#include "base/buf.h"

enum { PROBLEMS_MAX = 200 };
struct problem { struct str file; uint32_t line, column; struct str text; };     /* file may be empty; line 0: no place */
struct problems { struct problem *list; size_t n, left_out; struct arena arena; };  /* {0} is empty */

void problems_fini(struct problems *p);
void problem_add(struct problems *p, struct str file, uint32_t line, uint32_t column, const char *fmt, ...) PRINTF(5, 6);
/* By place, from the from-th on; those of one place stay in the order of adding. */
void problems_sort(struct problems *p, size_t from);
/* One line each: "pipeline.yaml:7:11: step a: …". */
void problems_print(const struct problems *p, struct buf *b);
/* A JSON array: [{"file":…,"line":7,"column":11,"message":…}]. */
void problems_json(const struct problems *p, struct buf *b);
