/* broker/quota.h - what clients may use up, as AlterClientQuotas says, and how much of it they have used lately.
 *
 * An entity is a user, a client id, both, or an address; a name may be left open: then it stands for all that have nothing
 * of their own. Rates are measured over the last QUOTA_SAMPLES windows of QUOTA_WINDOW_MS, as in Kafka, and whoever is
 * above its rate is told how long to be silent. Changes of topics are taken out of a bucket that fills at the rate.
 * No clock: the time is given, monotonic.
 * Owns its names.   Lives on: the broker loop.   Used by: request.c, listener.c, api/.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/err.h"
#include "base/map.h"

enum quota_kind { QUOTA_PRODUCE, QUOTA_FETCH, QUOTA_REQUEST, QUOTA_MUTATION, QUOTA_CONNECTION, QUOTA_KINDS };
enum {
    QUOTA_SAMPLES = 11, QUOTA_WINDOW_MS = 1000,          /* quota.window.num, quota.window.size.seconds */
    QUOTA_SPAN_S = QUOTA_SAMPLES - 1,                    /* a rate may be used up at once for so long */
    QUOTA_ENTITIES_MAX = 10000,
    QUOTA_METERS_MAX = 10000,                            /* above it whoever comes newly shares one */
    QUOTA_NAME_BYTES_MAX = 32767,
};

enum quota_part { QUOTA_USER, QUOTA_CLIENT, QUOTA_IP, QUOTA_PARTS };
struct quota_name { bool given; struct str name; };      /* name.p NULL: the default of all */
struct quota_entity { struct quota_name part[QUOTA_PARTS]; };

struct quota {
    struct quota_entity who;             /* its names are the quotas' */
    bool   set[QUOTA_KINDS];
    double value[QUOTA_KINDS];           /* bytes, percent, partitions, connections; a second */
};
struct quotas {
    struct map entities;                 /* key -> struct quota */
    struct map meters;                   /* key -> struct quota_meter */
    struct quota_meter *overflow;
    size_t entities_n;
    size_t set_n[QUOTA_KINDS];           /* entities that have it */
};

void quotas_fini(struct quotas *q);

/* "producer_byte_rate" … and what may stand in a request. */
const char *quota_key(enum quota_kind k);
bool quota_kind_of(struct str key, enum quota_kind *ret);
const char *quota_part_name(enum quota_part p);
bool quota_part_of(struct str type, enum quota_part *ret);

/* Would it be taken? RC_INVALID. */
enum rc quota_entity_check(const struct quota_entity *who, struct err *e) MUST_USE;
enum rc quota_value_check(const struct quota_entity *who, struct str key, double value, struct err *e) MUST_USE;

struct quota *quotas_get(const struct quotas *q, const struct quota_entity *who);      /* NULL: nothing is set */
/* Checked values. An entity without any value is forgotten. False: there are QUOTA_ENTITIES_MAX already. */
bool quotas_set(struct quotas *q, const struct quota_entity *who, enum quota_kind k, bool set, double value);
/* Iterate: size_t at = 0; while ((x = quotas_next(q, &at))) … */
const struct quota *quotas_next(const struct quotas *q, size_t *at);

static inline bool quotas_any(const struct quotas *q, enum quota_kind k) { return q->set_n[k] != 0; }

/* What holds for this user and client id; INFINITY: nothing. */
double quotas_limit(const struct quotas *q, enum quota_kind k, struct str user, struct str client);
/* Counts what was used and says for how many ms the client is to be silent. A negative amount takes back. */
uint32_t quotas_charge(struct quotas *q, enum quota_kind k, struct str user, struct str client, double amount, uint64_t now_ms);
/* Takes n changes. strict: refused while the bucket is overdrawn (false, nothing is taken). *ret_throttle_ms is raised: when
 * refused, or when n were taken and nothing is left for now. */
bool quotas_take(struct quotas *q, struct str user, struct str client, double n, bool strict, uint64_t now_ms,
                 uint32_t *ret_throttle_ms);
/* A connection from that address (as text, without port). 0: go on; else it is one too many, and to be closed in so many ms. */
uint32_t quotas_connect(struct quotas *q, struct str ip, uint64_t now_ms);

/* One rate by itself, for max.connection.creation.rate. */
struct quota_sample { uint64_t at_ms; double sum; };
struct quota_meter {
    struct quota_sample sample[QUOTA_SAMPLES + 1];       /* a ring */
    uint8_t  first, n;
    bool     bucket_used;
    double   tokens, tokens_rate;
    uint64_t tokens_ms;
};
/* Counts, and says for how long the rate is exceeded. */
uint32_t quota_meter_charge(struct quota_meter *m, double amount, double limit, uint64_t now_ms);
