/* broker/core.h - what the files of broker/ share: the broker, its topics and partitions.
 *
 * A topic exists by its metadata record; a partition's log is made on first use. Nothing here is locked.
 * Lives on: the broker loop.   Used by: broker/ only.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/map.h"
#include "base/rng.h"
#include "broker/acl.h"
#include "broker/age_clock.h"
#include "broker/broker.h"
#include "broker/config.h"
#include "broker/log.h"
#include "broker/quota.h"
#include "broker/sasl.h"
#include "broker/txn_refused.h"
#include "broker/store.h"
#include "broker/users.h"
#include "net/loop.h"
#include "net/strikes.h"
#include "sys/clock.h"
#include "sys/timers.h"

struct api;
struct batch;
struct codecs;
struct fetch_sessions;
struct group_config_values;
struct groups;
struct request;
struct txns;

struct partition {
    struct topic *topic;
    int32_t number;
    struct log *log;                     /* NULL until partition_log() */
    struct list fetches;                 /* parked requests: struct fetch_wait of api/fetch.c */
    struct list waits;                   /* struct broker_fetch */
    struct list watches;                 /* struct broker_watch */
    struct list appends;                 /* struct broker_append, not yet staged, in order */
    struct list held_link;               /* in broker.partitions_held */
};

struct topic {
    struct broker *broker;
    struct str   name;                   /* owned, NUL-terminated */
    struct uuid  id;
    bool         internal;
    uint64_t     seq;                    /* of its last metadata record */
    struct topic_config config;          /* effective values and which of them were set */
    struct partition **partitions;
    int32_t      partitions_n;
    uint64_t     bytes_in, bytes_out, batches_in, records_in;
};

/* How far a walk over all partitions has come; empty: at the start. */
struct sweep { char topic[256]; int32_t partition; };

struct api_stats { uint64_t n, us, us_max, request_bytes, reply_bytes; };
enum { SCRATCH_KEPT_BYTES = 1 << 20 };
enum { API_KEYS = 76, REPLIES_POOLED_MAX = 256, REQUESTS_POOLED_MAX = 256 };

struct broker {
    struct broker_options opt;           /* without the settings, which are in config */
    struct loop *loop;
    const struct clock *clock;
    struct mailbox *mailbox;
    struct timers *timers;
    struct turn_hook hook;
    struct timer store_timer;            /* when the store wants a turn */
    struct age_clock age_clock;
    struct timer retention_timer, compaction_timer, producers_timer;
    struct sweep retention_sweep, compaction_sweep, producers_sweep;
    struct msg again;                    /* posted to ourselves when a turn left something to do */
    bool     again_posted, in_turn;
    uint32_t orphans;                    /* logs without a topic, dropped at the start */
    struct store *store;
    struct broker_config config;
    char     cluster_id[UUID_TEXT_LEN + 1];
    struct rng rng;

    struct map topics;                   /* name -> struct topic */
    struct map topics_by_id;
    struct map topics_folded;            /* names with . read as _ : two that collide must not both exist */
    struct topic **topics_sorted;        /* by name */
    size_t   topics_n, topics_cap, partitions_n;
    uint64_t meta_seq;                   /* of the last metadata record: what Metadata answers wait for */
    int64_t  producer_id_next, producer_id_end;          /* handed out below end, which is durable at producer_id_seq */
    uint64_t producer_id_seq;

    struct acls acls;
    struct users users;
    struct oauth *oauth;                 /* NULL: no bearer tokens */
    uint8_t login_secret[32];            /* makes salts for users that there are not */
    struct strikes *login_failures;      /* addresses that fail to log in */
    struct map troubles;                 /* event and address -> struct trouble of listener.c */
    struct quotas quotas;
    struct txn_refused txn_refused;
    struct map client_metrics;           /* client_metrics.h */
    struct map group_configs;            /* group_config.h */
    struct map telemetry;                /* client instance id -> struct telemetry_instance of api/telemetry.c */
    struct list telemetry_ages;          /* … the oldest first */
    struct quota_meter accepts;          /* for max.connection.creation.rate */

    struct groups *groups;               /* broker/groups.h */
    struct txns *txns;                   /* broker/txns.h */
    struct codecs *codecs;               /* working memory of (de)compression on this loop */
    struct buf scratch;                  /* for one compressed batch at a time */
    struct fetch_sessions *sessions;     /* api/fetch_session.h */

    struct list listeners, conns, conns_ready;
    struct list conns_resume, conns_room, conns_short;   /* were told LATER: now, for want of wal room, of memory */
    struct list waits;                   /* struct broker_wait, any order */
    struct list group_waits;             /* struct group_wait of api/group_wait.c */
    struct list appends;                 /* struct broker_append: staged, waiting for the wal; by seq */
    struct list partitions_held;         /* … whose appends wait for room in the wal */
    struct list appends_done;            /* … end in this turn */
    struct list produces_large;          /* struct large of api/produce.c */
    struct list produces_held;           /* struct produce of it: for room in the wal */
    uint32_t jobs_n;                     /* large batches, messages of old formats, names of topics, logins that workers are at: the way down waits for them */
    struct list old_fetches_held;        /* struct old_fetch of api/old_fetch.c: for memory */
    struct list fetches_woken;           /* parked Fetch requests whose partitions moved: struct fetch of api/fetch.c */
    struct list reads_ready, watches_ready;              /* broker_fetch, broker_watch with something to do */

    struct request *requests_pool;
    struct broker_reply *replies_pool;
    uint32_t requests_pooled, replies_pooled;
    uint64_t memory_used, memory_max;    /* what peers make us hold: large frames, answers on their way */
    uint64_t memory_reserved;            /* of it, for large frames */
    bool     memory_wanted;              /* somebody waits for some: what is given back makes a turn */
    bool     draining, fatal;
    char     fatal_text[256];
    uint32_t conns_n;
    struct broker_stats stats;
    struct api_stats api_stats[API_KEYS];
};

/* ---- topics.c ---- */
struct log *partition_log(struct partition *p);
struct topic *broker_topic_after(struct broker *b, struct str name);           /* the first whose name is larger */
struct topic *topic_by_id(struct broker *b, const struct uuid *id);
struct partition *topic_partition(struct topic *t, int32_t number);            /* NULL: no such */
/* Kafka's rule for names. On refusal *ret_why is a phrase for the peer. */
bool topic_name_ok(struct str name, const char **ret_why);
/* What would creating it say? Kafka's code and a sentence; 0: it would work. *ret gets the counts in force. */
struct topic_counts { int32_t partitions; int16_t replication; };
int16_t topic_refusal(struct broker *b, const struct broker_topic_spec *spec, struct topic_counts *ret, struct err *e);
enum rc broker_topic_grow(struct broker *b, struct topic *t, int32_t partitions, uint64_t *ret_seq, struct err *e) MUST_USE;
/* Replaces the topic's own settings: `config` is moved in on RC_OK. */
enum rc broker_topic_configure(struct broker *b, struct topic *t, struct topic_config *config, uint64_t *ret_seq, struct err *e) MUST_USE;
/* value.p NULL removes it; level CONFIG_SOURCE_BROKER or _DEFAULT_BROKER. */
enum rc broker_configure(struct broker *b, enum config_source level, struct str name, struct str value, uint64_t *ret_seq, struct err *e) MUST_USE;
enum rc broker_producer_id(struct broker *b, int64_t *ret_id, uint64_t *ret_seq, struct err *e) MUST_USE;
/* meta_admin.c: all values of the entity, checked before; none: it is forgotten. RC_OVERLOAD: there are too many. */
enum rc broker_quota_set(struct broker *b, const struct quota_entity *who, const struct quota *values, uint64_t *ret_seq, struct err *e) MUST_USE;
/* value: an array by enum client_metrics_key; all NULL: the subscription is forgotten. */
enum rc broker_client_metrics_set(struct broker *b, struct str name, char *const *value, uint64_t *ret_seq, struct err *e) MUST_USE;
/* meta_security.c: RC_OVERLOAD: there are too many. A credential without iterations takes that hash's away. */
enum rc broker_acl_add(struct broker *b, const struct acl *one, uint64_t *ret_seq, struct err *e) MUST_USE;
enum rc broker_acl_remove(struct broker *b, const struct acl *one, uint64_t *ret_seq, struct err *e) MUST_USE;
enum rc broker_user_set(struct broker *b, struct str user, const struct scram_credential *c, uint64_t *ret_seq, struct err *e) MUST_USE;
/* All values, checked before; none: the group has none of its own. RC_OVERLOAD: too many groups have. */
enum rc broker_group_config_set(struct broker *b, struct str group, const struct group_config_values *own, uint64_t *ret_seq, struct err *e) MUST_USE;
void telemetry_fini(struct broker *b);                   /* api/telemetry.c */
void topics_fini(struct broker *b);
/* The store's callbacks (ctx is the broker), see store.h. */
enum rc topics_meta_apply(void *ctx, struct bytes record, struct err *e);
void topics_meta_snapshot(void *ctx, struct store_meta_sink *sink);

/* ---- append.c, read.c ---- */
/* Appends a batch of ours (whole, magic 2, CRC right) to a partition, e.g. offset commits. Patched in place, copied. See log_append. */
enum rc partition_append(struct partition *p, uint8_t *batch, size_t n, unsigned flags, struct log_appended *ret,
                         struct err *e) MUST_USE;
/* Reads whole durable batches from `offset` on into *into, about max bytes; *ret_next is where to go on. */
enum rc partition_read(struct partition *p, int64_t offset, size_t max, struct buf *into, int64_t *ret_next, struct err *e) MUST_USE;
/* Every durable batch in order, until fn refuses one. */
typedef enum rc (*partition_scan_fn)(void *ctx, const struct batch *b, struct err *e);
enum rc partition_scan(struct partition *p, partition_scan_fn fn, void *ctx, struct err *e) MUST_USE;
void appends_turn(struct broker *b);                     /* stages what was held, ends what is durable */
void appends_gone(struct partition *p);
void produces_gone(struct partition *to);
void produces_turn(struct broker *b);
void appends_cancel(struct broker *b);
void reads_turn(struct broker *b);                       /* fetches and watches of the bus */
void reads_moved(struct partition *p);
void reads_gone(struct partition *p, const struct err *why);
void reads_cancel(struct broker *b);
void partition_moved(struct partition *p);               /* its durable end has moved: wakes who waits */
void partition_gone(struct partition *p);                /* the topic is being deleted: ends who waits */

/* ---- request.c ---- */
void replies_release(struct broker *b);
void requests_fatal(struct broker *b);                   /* the log has stopped: what waits for it is refused */
void requests_fini(struct broker *b);
void memory_take(struct broker *b, uint64_t n);
void memory_give(struct broker *b, uint64_t n);
/* For a large frame, before its bytes are read. False: wait, and ask again. One that is above the limit by itself gets it
 * when it is the only one. */
bool memory_reserve(struct broker *b, uint64_t n);
void memory_keep(struct broker *b, uint64_t n);          /* it is there already: counts it, whatever the limit */
void memory_release(struct broker *b, uint64_t n);
static inline bool memory_is_short(const struct broker *b) { return b->memory_used > b->memory_max; }

/* ---- conn.c ---- */
void conn_resume_later(struct broker_conn *c);           /* it was told LATER and may go on */

/* ---- broker.c ---- */
void broker_again(struct broker *b);                     /* another turn soon */
void waits_turn(struct broker *b);
/* Monotonic. Read anew each time: a timer that asks must not see a time before its own. */
static inline uint64_t broker_now_ms(const struct broker *b) { return clock_mono_ms(b->clock); }
static inline int64_t broker_wall_ms(const struct broker *b) { return clock_wall_ms(b->clock); }
/* For whatever asks how old something is: see broker/age_clock.h. */
static inline int64_t broker_age_ms(struct broker *b) { return age_clock_ms(&b->age_clock, clock_mono_ms(b->clock), clock_wall_ms(b->clock)); }

/* api/group_wait.c: after the groups are gone, who still waited for one. */
void group_waits_free(struct broker *b);

/* ---- listener.c: addresses clients are told ---- */
struct broker_listener {
    struct list link;
    struct broker *broker;
    struct str name, host;               /* host: advertised; owned */
    uint16_t port;
    struct str bound;                    /* where it listens; owned; .p NULL: it is no socket */
    uint16_t bound_port;
    enum broker_protocol protocol;
    unsigned sasl;                       /* of enum sasl_mechanism */
    int64_t certificate_end_s;           /* since 1970; 0: no certificate */
    void (*close)(struct broker_listener *l);            /* frees it; NULL: plain */
    void (*stop)(struct broker_listener *l);             /* no new connections */
};

void broker_listener_delete(struct broker_listener *l);
/* A client that is set up wrong comes back at once, for ever: is this the first time in a minute that we hear of it? */
bool trouble_is_new(struct broker *b, const char *event, const struct broker_conn *c);
void troubles_fini(struct broker *b);

/* errors.c: what an error is called in Kafka's protocol. */
int16_t kafka_error_of(const struct err *e);
