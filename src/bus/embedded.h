/* bus/embedded.h - the bus over the broker in this process: messages to its mailbox, no socket.
 *
 * A batch is built on the asker's thread and decoded there; the broker loop only appends and reads bytes.
 * Lives on: both sides.   Used by: app.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "bus/bus.h"

struct broker;
struct clock;
struct timers;

struct bus_embedded_options {
    struct broker *broker;               /* must outlive the bus */
    struct timers *timers;               /* of the broker's loop */
    const struct clock *clock;
    size_t message_bytes_max;            /* one append, and one decompressed batch; 0: 1000000000 */
};
/* On the broker's loop, or before it runs; bus_close() likewise. What is asked after the close, or was on its way, ends with
 * RC_CANCELLED as long as the broker's loop turns. */
struct bus *bus_embedded(const struct bus_embedded_options *opt);
