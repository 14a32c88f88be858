/* tests/fuzz/oip_service_fuzz.c - the small gRPC messages; the first byte chooses which. What
 * decodes encodes, and decodes again.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "oip/service.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void model_metadata(struct bytes msg, struct arena *a, struct buf *out)
{
    struct model_metadata m, again;
    struct err e;

    if (model_metadata_decode(msg, a, &m, &e)) return;
    model_metadata_encode(&m, out);
    must(!model_metadata_decode(buf_view(out), a, &again, &e) && again.inputs_n == m.inputs_n &&
         again.versions_n == m.versions_n);
    model_metadata_encode_json(&m, out);
}

static void repository(struct bytes msg, struct arena *a, struct buf *out)
{
    struct repository_index m, again;
    struct repository_index_request q;
    struct repository_model load;
    struct err e;

    if (!repository_index_request_decode(msg, &q, &e)) repository_index_request_encode(&q, out);
    if (!repository_model_decode(msg, a, &load, &e)) repository_model_encode(&load, out);
    if (repository_index_decode(msg, a, &m, &e)) return;
    buf_clear(out);
    repository_index_encode(&m, out);
    must(!repository_index_decode(buf_view(out), a, &again, &e) && again.models_n == m.models_n);
    repository_index_encode_json(&m, out);
}

static void others(struct bytes msg, struct arena *a, struct buf *out)
{
    struct server_metadata s;
    struct model_ref ref;
    struct str service;
    struct err e;
    bool flag;

    if (!server_metadata_decode(msg, a, &s, &e)) server_metadata_encode_json(&s, out);
    if (!model_ref_decode(msg, &ref, &e)) model_ref_encode(&ref, out);
    if (!flag_decode(msg, &flag, &e)) flag_encode(flag, out);
    (void)!health_request_decode(msg, &service, &e);
    (void)!reflection_answer(msg, out, &e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const targets[])(struct bytes, struct arena *,
                                   struct buf *) = {model_metadata, repository, others};
    AUTO(buf_fini) struct buf out = {0};
    struct arena a = {0};

    if (size) targets[data[0] % countof(targets)](bytes_of(data + 1, size - 1), &a, &out);
    arena_fini(&a);
    return 0;
}
