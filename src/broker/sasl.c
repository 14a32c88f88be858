/* See sasl.h. The handlers that speak Kafka are in api/sasl.c. SPDX-License-Identifier: Apache-2.0 */
#include "broker/sasl.h"

#include "kafka/api.h"

static const struct {
    enum sasl_mechanism m;
    const char *name;
} mechanisms[] = {
    {SASL_PLAIN, "PLAIN"},
    {SASL_SCRAM_SHA_256, "SCRAM-SHA-256"},
    {SASL_SCRAM_SHA_512, "SCRAM-SHA-512"},
    {SASL_OAUTHBEARER, "OAUTHBEARER"},
};

const char *sasl_mechanism_name(enum sasl_mechanism m)
{
    for (size_t i = 0; i < countof(mechanisms); i++)
        if (mechanisms[i].m == m) return mechanisms[i].name;
    return "none";
}

bool sasl_mechanism_of(struct str name, enum sasl_mechanism *ret)
{
    for (size_t i = 0; i < countof(mechanisms); i++)
        if (str_is(name, mechanisms[i].name)) {
            *ret = mechanisms[i].m;
            return true;
        }
    return false;
}

struct sasl *sasl_new(void)
{
    return xnew(struct sasl);
}

struct sasl *sasl_free(struct sasl *s)
{
    if (!s) return NULL;
    scram_fini(&s->scram);
    free(s);
    return NULL;
}

bool sasl_lets(struct sasl *s, int16_t api_key, uint64_t now_ms, const char **ret_why)
{
    bool login = api_key == KAFKA_SASL_HANDSHAKE || api_key == KAFKA_SASL_AUTHENTICATE;

    switch (s->state) {
    case SASL_START:
        if (api_key == KAFKA_API_VERSIONS && !s->versions_asked) return true;
        *ret_why = "a request before the client has authenticated";
        return api_key == KAFKA_SASL_HANDSHAKE;
    case SASL_EXCHANGE:
        *ret_why = "a request in the middle of authentication";
        return api_key == KAFKA_SASL_AUTHENTICATE ||
               (s->again && !login && now_ms < s->session_end_ms);
    case SASL_DONE:
        *ret_why = "its session has ended, and it did not authenticate again";
        return login || !s->session_end_ms || now_ms < s->session_end_ms;
    case SASL_REFUSED: break;
    }
    *ret_why = "authentication has failed";
    return false;
}
