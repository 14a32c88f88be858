/* broker/api.h - how a request is handled: its context, the ways to answer, and the table of handlers.
 *
 *     void api_heartbeat(struct request *r)
 *     {
 *         const struct heartbeat_request *q = request_decode(r);
 *         struct heartbeat_response a = {0};
 *
 *         if (!q) return;                          the body was malformed; the connection is closed
 *         …
 *         request_answer(r, &a);
 *     }
 *
 * A handler runs on the broker loop, on a whole request, and does one of four things before it returns:
 *   answers   request_answer(r, &a), or request_answer_when(r, &a, seq): the answer is encoded at once and leaves when the wal
 *             covers seq, after all earlier answers of that connection;
 *   parks     request_park(r, cancel): keeps r and answers later. Until then the connection's later requests wait, as in
 *             Kafka. cancel(r) runs if the client goes away: forget r, do not answer it;
 *   drops     request_drop(r): no answer at all (Produce with acks=0);
 *   closes    request_close(r, why): the connection is closed after what was answered before.
 * What is decoded stays valid until the request is answered: views point into the frame, arrays into r->arena.
 *
 * Lives on: the broker loop.   Used by: broker/api/.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/arena.h"
#include "broker/core.h"
#include "kafka/message.h"

struct request {
    struct list link;                    /* in conn->requests, in order */
    struct broker *broker;
    struct broker_conn *conn;            /* who asks */
    struct kafka_request_header h;       /* api_key, api_version, client_id … */
    const struct api *api;
    struct rd body;                      /* behind the header */
    uint8_t *frame;                      /* all of it: a copy in the arena, or the transport's for API_BORROWS */
    size_t   frame_n;
    struct buf *frame_owner;             /* API_BORROWS: as given to broker_conn_frame() */
    struct arena arena;                  /* all this request needs */
    struct timer timer;                  /* for parked requests: timer_set(b->timers, …), container_of() in fire. Dropped with r */
    void    *ctx;                        /* the handler's own while parked */
    void   (*cancel)(struct request *r);
    /* Only if set: the log has stopped while the answer waited for it; answer once more, saying so. Not set: the
     * connection is closed. */
    void   (*refuse)(struct request *r);

    uint32_t throttle_ms;                /* raised by handlers whose client is above a quota: told in the answer, and
                                          * its connection is not read for so long */
    bool last;                           /* its connection is closed when the answer has left */
    bool raw;                            /* a SASL token without Kafka's headers, and so is its answer */

    struct broker_reply *reply;          /* request.c's own, as is what follows */
    struct wr wr;
    uint64_t seq, begun_us, parked_us;                   /* parked_us: how long it ran before it was parked */
    uint64_t aside_us;                                   /* how long workers were at it; handlers add to that */
    enum { REQUEST_RUNNING, REQUEST_PARKED, REQUEST_ANSWERED, REQUEST_DROPPED, REQUEST_CLOSING } state;
};

typedef void (*api_handler_fn)(struct request *r);
enum api_flags {
    API_BORROWS = 1,                     /* the frame is not copied: the handler has done with it before it returns (Produce) */
    API_HIDDEN = 2,                      /* served, but not advertised */
    API_APPENDS = 4,                     /* writes to a log: waits in the connection while the wal is full */
};
struct api {
    int16_t key, min, max;               /* what is advertised; other versions close the connection */
    unsigned flags;
    api_handler_fn handle;
};
const struct api *api_of(int16_t key);                   /* NULL: not served */
const struct api *api_next(const struct api *a);         /* by key; NULL gives the first, the last gives NULL */

/* ---- who asks, and what for (api/allow.c) ---- */

struct str request_principal(const struct request *r);           /* "User:alice", "User:ANONYMOUS" */
struct str request_user(const struct request *r);                /* "alice": whom quotas know */
/* May the client do this? True wherever no authorizer is on. A refusal is counted, and said at debug. */
bool request_allows(struct request *r, enum acl_operation op, enum acl_resource type, struct str name);
bool request_allows_any(struct request *r, enum acl_operation op, enum acl_resource type);
static inline bool request_allows_cluster(struct request *r, enum acl_operation op)
{
    return request_allows(r, op, ACL_CLUSTER, ACL_CLUSTER_NAME);
}
static inline bool request_allows_topic(struct request *r, enum acl_operation op, struct str topic)
{
    return request_allows(r, op, ACL_TOPIC, topic);
}
static inline bool request_allows_group(struct request *r, enum acl_operation op, struct str group)
{
    return request_allows(r, op, ACL_GROUP, group);
}
static inline bool request_allows_txn(struct request *r, enum acl_operation op, struct str transactional_id)
{
    return request_allows(r, op, ACL_TRANSACTIONAL_ID, transactional_id);
}
/* All it may do there, as a set of operation codes: the authorized_operations of answers. */
int32_t request_operations(struct request *r, enum acl_resource type, struct str name);

/* Changes of topics, in partitions, against controller_mutation_rate. False: answer 89 (strict: the version knows it). */
bool request_may_change(struct request *r, int32_t partitions, bool strict);
static inline int16_t request_version(const struct request *r) { return r->h.api_version; }
/* The body, as the struct of its schema, in the arena. NULL: it was malformed, and the request is done with. */
void *request_decode(struct request *r);

/* `response` is the struct of the API's schema. */
void request_answer(struct request *r, const void *response);                    /* depends on nothing that may still be lost */
void request_answer_when(struct request *r, const void *response, uint64_t seq); /* leaves when store_durable_seq() >= seq */
void request_park(struct request *r, void (*cancel)(struct request *r));
void request_drop(struct request *r);
void request_close(struct request *r, const char *why);          /* why: for diag, a literal */
/* For records that stand in files (wr_file.file is log_slice_file()): the slice is moved in and held until the answer
 * has left. Small ones are copied into the answer. */
void request_hold(struct request *r, struct log_slice *slice);
void request_answer_raw(struct request *r, struct bytes token);  /* … for `raw` */

/* ---- the handlers, one file each in broker/api/ ---- */
void api_produce(struct request *r);
void api_fetch(struct request *r);
void api_list_offsets(struct request *r);
void api_metadata(struct request *r);
void api_offset_commit(struct request *r);
void api_offset_fetch(struct request *r);
void api_find_coordinator(struct request *r);
void api_join_group(struct request *r);
void api_heartbeat(struct request *r);
void api_leave_group(struct request *r);
void api_sync_group(struct request *r);
void api_describe_groups(struct request *r);
void api_list_groups(struct request *r);
void api_api_versions(struct request *r);
void api_create_topics(struct request *r);
void api_delete_topics(struct request *r);
void api_delete_records(struct request *r);
void api_init_producer_id(struct request *r);
void api_add_partitions_to_txn(struct request *r);
void api_add_offsets_to_txn(struct request *r);
void api_end_txn(struct request *r);
void api_write_txn_markers(struct request *r);
void api_txn_offset_commit(struct request *r);
void api_describe_transactions(struct request *r);
void api_list_transactions(struct request *r);
void api_offset_for_leader_epoch(struct request *r);
void api_describe_configs(struct request *r);
void api_alter_configs(struct request *r);
void api_describe_log_dirs(struct request *r);
void api_create_partitions(struct request *r);
void api_delete_groups(struct request *r);
void api_elect_leaders(struct request *r);
void api_incremental_alter_configs(struct request *r);
void api_alter_partition_reassignments(struct request *r);
void api_list_partition_reassignments(struct request *r);
void api_offset_delete(struct request *r);
void api_describe_client_quotas(struct request *r);
void api_alter_client_quotas(struct request *r);
void api_sasl_handshake(struct request *r);
void api_sasl_raw(struct request *r, struct bytes token);
void api_alter_user_scram_credentials(struct request *r);
void api_describe_acls(struct request *r);
void api_create_acls(struct request *r);
void api_delete_acls(struct request *r);
void api_alter_replica_log_dirs(struct request *r);
void api_sasl_authenticate(struct request *r);
void api_create_delegation_token(struct request *r);
void api_renew_delegation_token(struct request *r);
void api_expire_delegation_token(struct request *r);
void api_describe_delegation_token(struct request *r);
void api_describe_user_scram_credentials(struct request *r);
void api_describe_quorum(struct request *r);
void api_update_features(struct request *r);
void api_unregister_broker(struct request *r);
void api_get_telemetry_subscriptions(struct request *r);
void api_push_telemetry(struct request *r);
void api_list_client_metrics_resources(struct request *r);
void api_describe_cluster(struct request *r);
void api_describe_producers(struct request *r);
void api_describe_topic_partitions(struct request *r);
void api_consumer_group_heartbeat(struct request *r);
void api_consumer_group_describe(struct request *r);
