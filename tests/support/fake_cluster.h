/* tests/support/fake_cluster.h - one log in memory, the buses of several processes in front of it, and the group that shares
 * their numbers.
 *
 * Nothing happens before the test says so. Each operation waits at the seat of its process until it is picked, by random
 * numbers; an append lands first and is acknowledged later, and either may fail to happen. With an embedded log there is one
 * process at a time, its appends land in the order they came, and none is in doubt. SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/list.h"
#include "base/rng.h"
#include "fake_bus.h"
#include "sys/clock.h"

enum { SEATS_MAX = 64, NUMBERS_MAX = 8 };

struct seat {                                    /* a process's bus */
    struct bus bus;
    struct cluster *c;
    struct list waiting;                         /* operations, oldest first */
    struct bus_member *member;                   /* it has joined; NULL: not, or it has left */
    bool giving;                                 /* it was asked for numbers, and has not given them up */
    bool away;                                   /* it is frozen: neither sends nor hears */
    bool expired;                                /* its session is over: others have its numbers, and it does not know */
    bool dead;                                   /* nothing it says has any effect */
};

struct cluster {
    struct fake_bus *log;
    struct rng *rng;
    const struct clock *clock;
    struct seat *seats[SEATS_MAX];               /* not yet freed */
    unsigned seats_n, made;
    int32_t numbers_n;
    struct { struct seat *owner, *next; bool asked; } numbers[NUMBERS_MAX];       /* asked: the owner is to give it up */
    unsigned faults;                             /* of a thousand operations, how many fail or lose their answer */
    uint64_t zombies;                            /* seats that expired and came back */
};

struct cluster *cluster_new(struct rng *rng, const struct clock *clock, bool embedded, int32_t numbers);
struct cluster *cluster_free(struct cluster *c); /* no seat is left; returns NULL */

struct seat *seat_new(struct cluster *c);        /* a start: with an incarnation of its own */
struct seat *seat_free(struct seat *s);          /* nothing of it is lent any more; returns NULL */
bool seat_step(struct seat *s);                  /* carries out one operation, or a part of it; false: there is none to be */
void seat_kill(struct seat *s);                  /* some of what it had sent still lands */
void seat_due(struct seat *s);                   /* what has waited too long is answered so */

void cluster_expire(struct cluster *c, struct seat *s);      /* others may have its numbers */
void cluster_tell(struct cluster *c, struct seat *s);        /* it hears that it was expired, and is a member again */
void cluster_balance(struct cluster *c);         /* numbers that nobody has are given to somebody */
bool cluster_move(struct cluster *c);            /* somebody is asked for some of his; false: there are none to be moved */
bool cluster_settled(const struct cluster *c);   /* all numbers have an owner, none is on its way */
