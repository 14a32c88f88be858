/* control/record_json.h - one record of the log for people: key, headers, and the V2 message in it as JSON.
 * Used by: control/browse.c.     SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "bus/bus.h"

/* Appends {"topic":…,"partition":…,"offset":…,"timestampMs":…,"key":…,"headers":[…],"kind":…,"value":…}. What the value is
 * follows from the topic's name and the headers: kind is request, response, error, lost (a record that could not be written), text, bytes (base64) or null.
 * `tensor` not empty: only that tensor of the message. raw: bytes whatever it is. Never fails: what cannot be decoded is
 * text or bytes. */
void record_put_json(struct str topic, int32_t partition, const struct bus_record *r, struct str tensor, bool raw, struct buf *b);

/* The first header of that name. */
bool record_header(const struct bus_record *r, const char *name, struct str *ret);
