/* ApiVersions (key 18). A version above ours never gets here: conn.c has it answered. SPDX-License-Identifier: Apache-2.0 */
#include "kafka/msg/api_versions.h"
#include "broker/api.h"
#include "broker/feature_levels.h"

static bool is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* Letters and digits, with '.' and '-' inside. */
static bool is_software(struct str s)
{
    if (!s.n || !is_alnum(s.p[0]) || !is_alnum(s.p[s.n - 1])) return false;
    for (size_t i = 0; i < s.n; i++)
        if (!is_alnum(s.p[i]) && s.p[i] != '.' && s.p[i] != '-') return false;
    return true;
}

static void remember(struct str *at, struct str s)
{
    char *p = xcalloc(1, MIN(s.n, (size_t)255) + 1);

    memcpy(p, s.p, MIN(s.n, (size_t)255));
    free((char *)(uintptr_t)at->p);
    *at = (struct str){p, MIN(s.n, (size_t)255)};
}

static void tell_features(struct request *r, struct api_versions_response *a)
{
    size_t n = features_n(r->broker);

    a->supported_features =
        arena_array(&r->arena, struct api_versions_response_supported_feature, n);
    a->finalized_features =
        arena_array(&r->arena, struct api_versions_response_finalized_feature, n);
    a->supported_features_n = a->finalized_features_n = n;
    for (size_t i = 0; i < n; i++) {
        const struct feature *f = &broker_features[i];

        a->supported_features[i] =
            (struct api_versions_response_supported_feature){str_of(f->name), f->min, f->max};
        a->finalized_features[i] =
            (struct api_versions_response_finalized_feature){str_of(f->name), f->level, f->level};
    }
    a->finalized_features_epoch = 0;
}

void api_api_versions(struct request *r)
{
    const struct api_versions_request *q = request_decode(r);
    struct api_versions_response a;

    if (!q) return;
    api_versions_response_init_defaults(&a);
    if (request_version(r) >= 3) {
        if (!is_software(q->client_software_name) || !is_software(q->client_software_version)) {
            a.error_code = KAFKA_ERR_INVALID_REQUEST;
            request_answer(r, &a);
            return;
        }
        remember(&r->conn->software_name, q->client_software_name);
        remember(&r->conn->software_version, q->client_software_version);
    }
    for (const struct api *i = api_next(NULL); i; i = api_next(i))
        a.api_keys_n += !(i->flags & API_HIDDEN);
    a.api_keys = arena_array(&r->arena, struct api_versions_response_api_key, a.api_keys_n);
    a.api_keys_n = 0;
    for (const struct api *i = api_next(NULL); i; i = api_next(i))
        if (!(i->flags & API_HIDDEN))
            a.api_keys[a.api_keys_n++] =
                (struct api_versions_response_api_key){i->key, i->min, i->max};
    tell_features(r, &a);
    request_answer(r, &a);
}
