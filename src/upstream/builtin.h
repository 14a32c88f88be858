/* upstream/builtin.h - the built-in runtime's side of upstream: models are loaded once, predictions run on one worker lane.
 *
 * One `struct builtin` per upstream (loop). Loaded models are shared by all loops of the process and counted; since they
 * all run on the same lane, no two threads ever use one at a time. Used by: upstream.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"
#include "base/err.h"

struct workers;
struct mailbox;
struct builtin;
struct builtin_job;

enum builtin_what { BUILTIN_PREDICT, BUILTIN_READY, BUILTIN_METADATA, BUILTIN_UNLOAD };

struct builtin *builtin_new(struct workers *w, struct mailbox *home);
struct builtin *builtin_free(struct builtin *b);         /* jobs under way finish on their own; their done is not called */

/* done's e: RC_UNAVAILABLE, the model cannot be loaded; RC_INVALID, the request does not fit the model; RC_UPSTREAM, the
 * runtime itself failed. request is copied. done is called on home's loop, unless builtin_forget(). */
struct builtin_job *builtin_start(struct builtin *b, enum builtin_what what, struct str path, struct str model, struct str version,
                                  struct bytes request, void (*done)(void *ctx, const struct err *e, struct buf *response),
                                  void *ctx);
void builtin_forget(struct builtin_job *j);
