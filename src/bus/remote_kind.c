/* Design note: what these services say of themselves in their manuals. SPDX-License-Identifier: Apache-2.0 */
#include "bus/remote_kind.h"

enum { EVENT_HUBS_REQUEST_MAX = 1046528 };

static bool ends_with(struct str host, const char *tail)
{
    return str_ends(host, str_of(tail));
}

enum remote_kind remote_kind_of(struct str bootstrap)
{
    struct str one, host, port;

    str_cut(bootstrap, ',', &one, &host);
    str_cut(one, ':', &host, &port);
    if (ends_with(host, ".servicebus.windows.net") || ends_with(host, ".servicebus.chinacloudapi.cn") || ends_with(host, ".servicebus.usgovcloudapi.net"))
        return REMOTE_EVENT_HUBS;
    if (ends_with(host, ".confluent.cloud")) return REMOTE_CONFLUENT_CLOUD;
    if ((ends_with(host, ".amazonaws.com") || ends_with(host, ".amazonaws.com.cn")) && memmem(host.p, host.n, ".kafka", 6)) return REMOTE_MSK;
    return REMOTE_APACHE;
}

const char *remote_kind_name(enum remote_kind k)
{
    switch (k) {
    case REMOTE_EVENT_HUBS: return "Azure Event Hubs";
    case REMOTE_CONFLUENT_CLOUD: return "Confluent Cloud";
    case REMOTE_MSK: return "AWS MSK";
    case REMOTE_APACHE: break;
    }
    return "Apache Kafka";
}

const struct remote_preset *remote_kind_presets(enum remote_kind k)
{
    static const struct remote_preset none[] = {{NULL, NULL, NULL}};
    static const struct remote_preset hubs[] = {
        {"connections.max.idle.ms", "180000", "connections that rest for four minutes are closed there"},
        {"metadata.max.age.ms", "180000", "connections that rest for four minutes are closed there"},
        {"socket.keepalive.enable", "true", "balancers on the way forget connections that rest"},
        {"socket.timeout.ms", "60000", "a request may take longer than 20 seconds there"},
        {NULL, NULL, NULL}};
    static const struct remote_preset confluent[] = {
        {"socket.keepalive.enable", "true", "balancers on the way forget connections that rest"},
        {"connections.max.idle.ms", "180000", "balancers on the way forget connections that rest"},
        {NULL, NULL, NULL}};

    switch (k) {
    case REMOTE_EVENT_HUBS: return hubs;
    case REMOTE_CONFLUENT_CLOUD: return confluent;
    case REMOTE_MSK:
    case REMOTE_APACHE: break;
    }
    return none;
}

size_t remote_kind_request_max(enum remote_kind k)
{
    return k == REMOTE_EVENT_HUBS ? EVENT_HUBS_REQUEST_MAX : 0;
}
