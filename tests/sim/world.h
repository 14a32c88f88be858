/* tests/sim/world.h - the whole broker and its bus on a simulated disk, clock and network, and what happens to them.
 *
 * One seed is one run: time is a queue of events, in microseconds that pass only from one event to the next; which of several
 * things comes first, how long a worker, a disk or a frame takes, and what fails, is drawn from the seed. Frames travel whole
 * and in order, each connection for itself; a lost connection loses what is on its way in both directions.
 *
 *     world_new(seed) … clients, nemesis … world_run_until() … world_free()
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/list.h"
#include "base/rng.h"
#include "broker/broker.h"
#include "checker.h"
#include "sys/clock.h"
#include "sys/fs.h"
#include "sys/mailbox.h"
#include "sys/worker.h"

struct bus;
struct client;
enum { TRACE_MAX = 1024, DATA_LOGS = 5, WORLD_SESSION_MS = 8000 };        /* the session: of members of the newer group protocol */
struct trace { uint64_t at_us; const char *what; uint32_t client; uint64_t a, b; };

struct world {
    uint64_t seed, now_us;
    struct rng rng;
    struct fs_sim *disk;
    struct clock_sim clock;
    struct workers *workers;
    struct mailbox *mailbox;
    struct timers timers;                /* the broker's, in ms */
    struct timers queue;                 /* ours, in us */
    struct broker_options opt;
    struct broker_setting *settings;
    struct broker *b;                    /* NULL while it is down */
    struct broker_listener *listener;
    struct bus *bus;                     /* NULL while the broker is down, and after world_bus_close() */
    struct mailbox *home;                /* of those who use the bus */
    uint64_t bus_ops;                    /* operations of the bus that have begun and not ended */
    struct timer turn, work, start, homeward;
    struct uuid log_ids[DATA_LOGS];      /* of their topics */
    struct list clients;
    unsigned clients_n;

    uint64_t work_us_max;                /* how long a job may wait for its worker */
    uint64_t net_us_max;                 /* how long a frame may travel */
    bool finishing;                      /* nothing new is begun: clients come to an end */
    uint64_t written_us;                 /* since then nobody writes any more: readers come to an end; 0: not yet */
    uint32_t written_at;                 /* … and its place in the history */
    bool lost;                           /* the run is over: something happened that must not */
    unsigned idle_turns;                 /* steps since time has passed */
    uint64_t started, cuts, kills, frames;
    uint64_t commits;                    /* how many offset commits were asked for */

    struct history history;
    struct verdict verdict;              /* what clients complained about themselves, then the checker */
    uint64_t hash;                       /* of everything that has happened */
    struct trace trace[TRACE_MAX];
    uint64_t trace_n;
    bool loud;                           /* prints the trace as it goes */
};

struct world *world_new(uint64_t seed);
struct world *world_free(struct world *w);
void world_start(struct world *w);                       /* opens the broker, now */

uint64_t world_pick(struct world *w, uint64_t n);        /* 0 … n-1 */
bool world_chance(struct world *w, unsigned percent);
/* A duration: mostly near the lower end. */
uint64_t world_duration(struct world *w, uint64_t from_us, uint64_t to_us);
void world_after(struct world *w, struct timer *t, uint64_t us, void (*fire)(struct timer *t));
uint32_t world_event(struct world *w, struct event e);
void world_trace(struct world *w, const char *what, uint32_t client, uint64_t a, uint64_t b);
/* Something that must not be, found by a client; the run ends. */
void world_complain(struct world *w, const char *name, const char *fmt, ...) PRINTF(3, 4);

/* Lets time pass until the condition holds; false: it never did within so many simulated milliseconds. */
bool world_run_until(struct world *w, bool (*holds)(struct world *w), uint64_t ms);
/* An operation of the bus has begun: the broker will find it. world_bus_ended() from its `done`. */
void world_bus_asked(struct world *w);
void world_bus_ended(struct world *w);
/* Until the next start of the broker. Every operation ends. */
void world_bus_close(struct world *w);

enum world_end { WORLD_POWER_CUT, WORLD_KILL, WORLD_STOP };
/* The broker ends, in the way said, and every connection with it; it is started again after a while. */
void world_end(struct world *w, enum world_end how);
void world_print(const struct world *w, struct buf *into);           /* the last things that happened */

/* ---- connections ---- */

struct frame { struct list link; uint64_t at_us; struct buf bytes; struct broker_reply *reply; bool last; };
struct sim_conn {
    struct broker_conn conn;
    struct world *w;
    struct client *client;
    struct list up, down;                /* frames on their way */
    struct timer up_timer, down_timer;
    struct buf in;                       /* what has arrived at the broker and is not taken yet */
    bool open, later;
    uint64_t slow_us;                    /* this connection's frames take longer */
};
void conn_open(struct sim_conn *c, struct world *w, struct client *client);
void conn_send(struct sim_conn *c, struct buf *frame);               /* its size in front; moved */
void conn_drop(struct sim_conn *c);                                  /* at once, on both sides; may be called twice */
