/* app/harden.h - what a serving process gives up, and whom it lets look. Used by: app/serve.c. SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "app/config.h"

/* Before the first thread: no privileges beyond those of the user (docs/adr/0009), no core dumps. */
void harden_process(const struct config *c);
/* Says in the log which files with secrets, and whether the data folder, others on this machine can read. */
void harden_look(const struct config *c);
