/* What others answer when we ask for credentials, and the files they lie in. The first byte says which: 'k' a Kubernetes API server, 'o' a token
 * endpoint, 'a' STS, a container's agent or an instance, 'i' a shared file of AWS (section, key, text), 'e' extensions, 'h' names of brokers, 't' a
 * time. SPDX-License-Identifier: Apache-2.0 */
#include "cred/aws_core.h"
#include "cred/oidc.h"
#include "cred/secret_core.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const int64_t now_ms = INT64_C(1795406770000);

static void kubernetes(struct bytes body)
{
    const struct k8s_who who = {STR("kafka-login"), STR("models")};
    long status = body.n ? 200 + 100 * (body.p[0] % 4) : 200;

    for (int i = 0; i < 2; i++, status = 200) {
        AUTO(draft_fini) struct secret_draft d = {0};
        struct err e;

        if (k8s_answer(&who, status, body, &d, &e)) {
            must(!d.v && *e.text && !strpbrk(e.text, "\r\n"));
            continue;
        }
        must(status == 200 && d.n <= SECRET_KEYS_MAX);
        secret_free(secret_of(&d));
    }
}

static void endpoint(struct bytes body)
{
    static const long statuses[] = {200, 400, 401, 503};

    for (size_t i = 0; i < countof(statuses); i++) {
        AUTO(token_fini) struct token t = {0};
        struct err e;

        if (oidc_answer(statuses[i], body, now_ms, "https://idp/token", &t, &e)) {
            must(!t.value.p && *e.text && !strpbrk(e.text, "\r\n"));
            continue;
        }
        must(statuses[i] == 200 && t.value.n && t.expires_ms > now_ms && strlen(buf_cstr(&t.value)) == t.value.n);
    }
}

static void amazon(struct bytes body)
{
    AUTO(aws_keys_fini) struct aws_keys k = {0};
    char why[256];
    struct err e;

    aws_answer_why(body, why);
    must(strlen(why) < sizeof why && !strpbrk(why, "\r\n"));
    if (!aws_answer_keys(body, &k, &e)) must(*k.id && k.secret.n);
    else must(!k.secret.p && !k.session.p);
}

static void shared_file(struct str text)
{
    struct str section, key, rest, value;

    str_cut(text, '\n', &section, &rest);
    str_cut(rest, '\n', &key, &rest);
    if (!aws_ini_get(rest, section, key, &value)) return;
    must(aws_ini_has(rest, section));
    must(!value.n || (value.p >= rest.p && value.p + value.n <= rest.p + rest.n && !memchr(value.p, '\n', value.n)));
}

static void extensions(struct str text)
{
    AUTO(token_fini) struct token t = {0};
    struct err e;

    if (oidc_extensions(text, &t, &e)) return;
    must(t.extensions_n % 2 == 0);
    for (size_t i = 0; i < t.extensions_n; i += 2)
        must(*t.extensions[i] && strcmp(t.extensions[i], "auth") != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes rest = bytes_of(data + 1, size ? size - 1 : 0);
    char region[64];
    int64_t at;

    switch (size ? data[0] : 0) {
    case 'k': kubernetes(rest); break;
    case 'o': endpoint(rest); break;
    case 'a': amazon(rest); break;
    case 'i': shared_file(bytes_str(rest)); break;
    case 'e': extensions(bytes_str(rest)); break;
    case 'h': if (aws_region_in(bytes_str(rest), region)) must(*region); break;
    case 't': (void)aws_time_of(bytes_str(rest), &at); break;
    default: break;
    }
    return 0;
}
