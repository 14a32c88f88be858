/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/group_config.h"
#include "broker/config.h"
#include <stdlib.h>

static const struct {
    const char *name, *doc, *min, *max;
} keys[GROUP_CONFIG_KEYS] = {
    [GROUP_CONFIG_SESSION_TIMEOUT] = {"consumer.session.timeout.ms",
                                      "A member of this group that is silent for so long is out.",
                                      "group.consumer.min.session.timeout.ms",
                                      "group.consumer.max.session.timeout.ms"},
    [GROUP_CONFIG_HEARTBEAT_INTERVAL] =
        {"consumer.heartbeat.interval.ms",
         "How often members of this group are told to send a heartbeat.",
         "group.consumer.min.heartbeat.interval.ms", "group.consumer.max.heartbeat.interval.ms"},
};

const char *group_config_key_name(enum group_config_key k)
{
    return keys[k].name;
}

const char *group_config_key_doc(enum group_config_key k)
{
    return keys[k].doc;
}

bool group_config_key_of(struct str name, enum group_config_key *ret)
{
    for (int i = 0; i < GROUP_CONFIG_KEYS; i++)
        if (str_is(name, keys[i].name)) {
            *ret = (enum group_config_key)i;
            return true;
        }
    return false;
}

static int64_t of_broker(const struct broker_config *c, enum group_config_key k)
{
    return k == GROUP_CONFIG_SESSION_TIMEOUT ? c->group_consumer_session_timeout_ms
                                             : c->group_consumer_heartbeat_interval_ms;
}

/* What the broker itself uses is always within. */
static int64_t lowest(const struct broker_config *c, enum group_config_key k)
{
    return MIN(of_broker(c, k), k == GROUP_CONFIG_SESSION_TIMEOUT
                                    ? c->group_consumer_min_session_timeout_ms
                                    : c->group_consumer_min_heartbeat_interval_ms);
}

static int64_t highest(const struct broker_config *c, enum group_config_key k)
{
    return MAX(of_broker(c, k), k == GROUP_CONFIG_SESSION_TIMEOUT
                                    ? c->group_consumer_max_session_timeout_ms
                                    : c->group_consumer_max_heartbeat_interval_ms);
}

int32_t group_config_value(const struct group_config_values *own, const struct broker_config *c,
                           enum group_config_key k)
{
    return own->value[k] ? own->value[k] : (int32_t)of_broker(c, k);
}

enum rc group_config_read(enum group_config_key k, struct str text, int32_t *ret, struct err *e)
{
    struct str s = str_trim(text);
    int64_t v;

    if (!str_to_i64(s, &v) || v > INT32_MAX || v < INT32_MIN)
        return err_set(e, RC_INVALID, "%s cannot be '" STR_FMT "': not a number of type int",
                       keys[k].name, STR_ARG(s));
    if (v < 1)
        return err_set(e, RC_INVALID, "%s cannot be " STR_FMT ": at least 1", keys[k].name,
                       STR_ARG(s));
    *ret = (int32_t)v;
    return RC_OK;
}

enum rc group_config_check(const struct group_config_values *own, const struct broker_config *c,
                           struct err *e)
{
    for (int i = 0; i < GROUP_CONFIG_KEYS; i++) {
        enum group_config_key k = (enum group_config_key)i;

        if (!own->value[k]) continue;
        if (own->value[k] < lowest(c, k))
            return err_set(e, RC_INVALID, "%s must be at least %s", keys[k].name, keys[k].min);
        if (own->value[k] > highest(c, k))
            return err_set(e, RC_INVALID, "%s must be at most %s", keys[k].name, keys[k].max);
    }
    if (group_config_value(own, c, GROUP_CONFIG_SESSION_TIMEOUT) <=
            group_config_value(own, c, GROUP_CONFIG_HEARTBEAT_INTERVAL) &&
        (own->value[GROUP_CONFIG_SESSION_TIMEOUT] || own->value[GROUP_CONFIG_HEARTBEAT_INTERVAL]))
        return err_set(e, RC_INVALID, "%s must be greater than %s",
                       keys[GROUP_CONFIG_SESSION_TIMEOUT].name,
                       keys[GROUP_CONFIG_HEARTBEAT_INTERVAL].name);
    return RC_OK;
}

/* ---- all of them ---- */

struct group_config_values group_config_get(const struct map *all, struct str group)
{
    const struct group_config_values *own = map_get_str(all, group);

    return own ? *own : (struct group_config_values){0};
}

void group_config_set(struct map *all, struct str group, const struct group_config_values *own)
{
    struct group_config_values *kept;

    if (!own->value[GROUP_CONFIG_SESSION_TIMEOUT] && !own->value[GROUP_CONFIG_HEARTBEAT_INTERVAL]) {
        free(map_del_str(all, group));
        return;
    }
    kept = xnew(struct group_config_values);
    *kept = *own;
    free(map_put_str(all, group, kept));
}

void group_config_fini(struct map *all)
{
    map_fini_each(all, free);
}
