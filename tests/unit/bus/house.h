/* tests/unit/bus/house.h - a broker on a thread of its own with a simulated disk, for tests of what talks to it.
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "broker/broker.h"
#include "bus/embedded.h"
#include "contract.h"
#include "sys/fs.h"

struct house {
    struct fs_sim *disk;
    struct workers *workers;
    struct loop *loop;                   /* the broker's */
    struct broker *broker;
    struct thread *thread;
    struct bus *bus;                     /* the embedded one */
    uint16_t port;                       /* of its Kafka listener on 127.0.0.1; 0: none */
    struct msg stop;
};

/* Opens what is on the disk, which is made at the first time. */
void house_open(struct house *h, size_t message_bytes_max, bool listen);
void house_close(struct house *h);
void house_crash(struct house *h);       /* nothing is written any more */
/* For struct contract, whose ctx is the house: appends one record without the bus. */
void house_outside(struct contract *c, const char *topic, int32_t partition, const char *key, const char *value);
