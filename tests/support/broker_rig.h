/* tests/support/broker_rig.h - a broker without sockets, threads or real time: frames in, frames out, on a simulated disk.
 * Time stands still unless rig_advance() moves it. SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "broker/broker.h"
#include "sys/clock.h"
#include "sys/fs.h"
#include "sys/mailbox.h"
#include "sys/worker.h"

struct rig {
    struct fs_sim *disk;
    struct clock_sim clock;
    struct workers *workers;
    struct mailbox *mailbox;
    struct timers timers;
    struct broker_options opt;
    struct broker *b;
    struct broker_listener *listener;
    struct err err;
    bool hold_oldest;                    /* the oldest job of the workers stays where it is */
};

struct rig_conn {
    struct broker_conn conn;
    struct rig *rig;
    struct buf in;                       /* frames not taken yet, each with its size */
    struct buf out;                      /* answers not read yet, each with its size */
    bool later, closed;                  /* the broker put us off; the broker closed */
};

/* The caller may change opt between init and open. */
void rig_init(struct rig *g, uint64_t seed);
enum rc rig_open(struct rig *g);
void rig_close(struct rig *g);           /* broker_free */
void rig_crash(struct rig *g);           /* broker_abandon; the disk keeps what it had, see fs_sim_cut() */
void rig_fini(struct rig *g);

/* Turns until nothing happens any more. Timers that are due now fire; time does not pass. */
void rig_settle(struct rig *g);
void rig_advance(struct rig *g, uint64_t ms);

void rig_connect(struct rig *g, struct rig_conn *c);
void rig_hang_up(struct rig_conn *c);    /* may be called twice */
/* A whole frame, its size in front; settles. */
void rig_send(struct rig_conn *c, struct bytes frame);
/* The next answer, its size in front; false: none is there. Borrowed until the next rig_ call on this connection. */
bool rig_answer(struct rig_conn *c, struct buf *into);
