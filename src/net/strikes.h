/* net/strikes.h - who fails again and again: a count for each address, for a minute from its first failure on.
 *
 * Who shows wrong passwords and tokens is refused without a look from STRIKES_MAX on; who is logged is logged at the first.
 * Memory is bounded: with too many addresses at a time all are forgotten.
 * Lives on: any thread, it is locked; asking costs nothing while nobody fails.   Used by: http_server, broker/api/sasl.c, gateway.
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/bytes.h"
#include "net/addr.h"
#include <stdint.h>

enum { STRIKES_MAX = 20, STRIKES_MS = 60000 };

struct strikes;
struct strikes *strikes_new(void);
struct strikes *strikes_free(struct strikes *s);                                         /* NULL is fine; returns NULL */
uint32_t strikes_note(struct strikes *s, struct bytes who, uint64_t now_ms);             /* one more; how many that makes */
uint32_t strikes_of(struct strikes *s, struct bytes who, uint64_t now_ms);
/* The address without its port; of IPv6 the part that says which network it is, since a host has the rest to itself.
 * Borrowed from a. */
struct bytes strikes_key(const struct addr *a);
