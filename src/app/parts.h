/* app/parts.h - the threads of a serving process, and who tells whom. Used by: app/ only.
 *
 *   main thread    signals, control            "mr-broker"   the embedded broker and the sockets of Kafka clients
 *   "mr-lane-N"    one gateway, one executor, its model connections
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "app/config.h"
#include "app/gateway_secrets.h"
#include "base/err.h"
#include "gateway/gateway.h"
#include "net/loop.h"
#include <stdatomic.h>

struct broker;
struct bus;
struct control;
struct control_api;
struct flow_snapshot;
struct thread;
struct upstream;
struct workers;

/* ---- the log: an embedded broker, or a Kafka cluster (log_side.c) ---- */
struct log_side {
    struct loop     *loop;                       /* of the broker; NULL: none */
    struct thread   *thread;
    struct broker   *broker;
    struct bus      *bus;                        /* NULL: --broker-only */
    struct buf       ready;                      /* "kafka=HOST:PORT", as the ready line has it */
    struct buf       owners_group;               /* the group of data planes, which nobody may join while this one is inside */
    struct timer     stopping;
    uint64_t         stop_by_ms;
    bool           (*go_on)(void *ctx);          /* asked while a cluster is looked for; false: RC_CANCELLED */
    void            *ctx;
};
/* Opens the data folder and the listeners, or finds the cluster; nothing runs yet. */
enum rc log_side_open(struct log_side *s, const struct config *c, struct workers *workers, struct err *e) MUST_USE;
enum rc log_side_run(struct log_side *s, struct err *e) MUST_USE;
/* Ends the bus and the broker: what was answered is on disk. {0} is fine. */
void log_side_close(struct log_side *s);
struct metrics_source log_side_metrics(struct log_side *s);      /* mailbox NULL: there are none */

/* ---- lanes: gateway loops (lanes.c) ---- */
struct lane {
    struct loop     *loop;
    struct thread   *thread;
    struct tcp      *tcp;
    struct upstream *upstream;
    struct flow     *flow;
    struct gateway  *gateway;
    struct control_api *api;
    struct msg       drain;
    struct lanes    *lanes;
    int              draining;                   /* of gateway and flow: how many have not drained yet */
};
struct lanes {
    struct lane         *list;
    unsigned             n;
    struct gateway_door *doors[16];
    unsigned             doors_n;
    struct tcp_ceiling   ceiling;
    struct auth         *auth;                   /* who may call */
    struct gateway_secrets secrets;
    struct loop         *main_loop;              /* set before; what workers do for all lanes answers there: it ends after them */
    struct metrics_sources sources;
    struct metrics_source *sources_list;
    struct control      *control;                /* told what executors cleared away */
    struct flow_options  flow;                   /* what all executors get; texts are the configuration's */
    struct bus_config   *topic_configs;
    struct schema_registry *schemas;             /* NULL: none */
    struct buf           ready;                  /* "infer=HOST:PORT …" */
    uint64_t             drain_until_ms;
    struct mailbox      *home;
    struct msg           drained;                /* posted to home when every lane has drained */
    atomic_uint          draining;
    void               (*shared_refused)(void *lanes);   /* on lane 0: the namespace has a data plane inside its broker */
    struct msg           refused;
};
enum rc lanes_open(struct lanes *l, const struct config *c, struct log_side *log, struct workers *workers,
                   bool (*ready)(void *ctx, struct str *ret_why), void *ctx, struct err *e) MUST_USE;
enum rc lanes_run(struct lanes *l, struct err *e) MUST_USE;
/* The management API on every lane's gateway; before lanes_run(). */
void lanes_manage(struct lanes *l, struct control *control);
/* Gives the snapshot to every lane; `taken` is posted to `home` when all of them use it. Takes the reference. */
void lanes_publish(struct lanes *l, struct flow_snapshot *s, struct mailbox *home, struct msg *taken);
/* No new requests; running ones finish until the deadline. l->drained is posted to home afterwards. */
void lanes_drain(struct lanes *l, uint64_t until_ms, struct mailbox *home, void (*drained)(struct msg *m));
void lanes_close(struct lanes *l);          /* all but the loops, into whose mailboxes the bus still answers */
void lanes_free(struct lanes *l);           /* after the bus is closed; {0} is fine */
