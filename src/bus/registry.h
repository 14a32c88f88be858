/* bus/registry.h - the Confluent schema registry over HTTP: which id a topic's values are tagged with.
 *
 * One per process, asked from any loop. A thread of its own asks one thing after the other, each within REGISTRY_TIMEOUT_MS;
 * what was registered is remembered. When the registry cannot be reached, questions of the next REGISTRY_PAUSE_MS get the same
 * answer at once: nobody waits in a queue of timeouts. It says in diag when it goes and when it is back.
 * Used by: app/ (wiring), through struct schema_registry.     SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "bus/schema.h"

enum { REGISTRY_CONNECT_MS = 2000, REGISTRY_TIMEOUT_MS = 5000, REGISTRY_PAUSE_MS = 1000 };

struct registry_options {                        /* copied */
    struct str url;                              /* http://HOST:PORT or https://… */
    struct str username, password;               /* empty: without */
    struct str ca_path;                          /* file of certificates; empty: the system's */
};
/* Also looks at once whether the registry is there: a warning if not. */
enum rc registry_new(const struct registry_options *o, struct schema_registry **ret, struct err *e) MUST_USE;
/* The process stops: what is under way ends, and every question from now on, with RC_CANCELLED. Any thread; NULL is fine. */
void registry_stop(struct schema_registry *r);
/* Ends what is under way; questions still open are answered RC_CANCELLED into their mailboxes. NULL is fine; returns NULL */
struct schema_registry *registry_free(struct schema_registry *r);
