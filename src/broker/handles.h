/* broker/handles.h - open files of segments under a ceiling: the one not used for longest is closed first.
 *
 * A slot is a pointer in a segment that is NULL while the file is not open. A handle that a reader or a sync still holds
 * stays open until it lets go; the ceiling counts slots.
 * Lives on: the broker loop.   Used by: broker/segment.c, broker/index.c, broker/checkpoint.c.
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/list.h"
#include "sys/fs.h"

struct handles { struct fs *fs; struct list used; uint32_t n, max; };      /* used: oldest first */
struct log_file { struct list link; struct file *file; int refs; struct log_file **slot; struct handles *owner; };

void handles_init(struct handles *hs, struct fs *fs, uint32_t max);
/* Opens the file if the slot is empty. *ret is borrowed until the next handles_get. */
enum rc handles_get(struct handles *hs, struct log_file **slot, const char *path, unsigned flags, struct file **ret, struct err *e) MUST_USE;
void handles_drop(struct log_file **slot);                                 /* empties the slot; an empty one is fine */
struct log_file *log_file_ref(struct log_file *h);
void log_file_unref(struct log_file **h);                                  /* NULL is fine */
