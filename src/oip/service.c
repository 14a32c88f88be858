/* The small messages of the inference service. Each decoder counts its repeated fields first, so
 * that arrays come from the arena in one piece and a peer's count is bounded by its bytes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "oip/service.h"
#include "oip/json.h"
#include "oip/pb.h"
#include <inttypes.h>

static enum rc no_room(const char *what, struct err *e)
{
    return err_set(e, RC_TOO_LARGE, "%s: above the memory limit of a request", what);
}

/* Checks that the message reads to its end and counts the PB_LEN fields numbered below `n`. */
static enum rc count_fields(struct bytes msg, const char *what, size_t *counts, size_t n,
                            struct err *e)
{
    struct pb_reader r = pb_reader_of(msg);

    memset(counts, 0, n * sizeof *counts);
    for (struct pb_field f; pb_next(&r, &f);)
        if (f.number < n && f.wire == PB_LEN) counts[f.number]++;
    return r.why ? pb_failed(&r, what, e) : RC_OK;
}

/* ---- flags and references ---- */

enum rc flag_decode(struct bytes msg, bool *ret, struct err *e)
{
    struct pb_reader r = pb_reader_of(msg);
    bool v = false;

    for (struct pb_field f; pb_next(&r, &f);)
        if (f.number == 1 && f.wire == PB_VARINT) v = f.value != 0;
    if (r.why) return pb_failed(&r, "ready response", e);
    *ret = v;
    return RC_OK;
}

void flag_encode(bool v, struct buf *b)
{
    pb_put_bool(b, 1, v);
}

enum rc model_ref_decode(struct bytes msg, struct model_ref *ret, struct err *e)
{
    struct pb_reader r = pb_reader_of(msg);
    struct model_ref m = {0};

    for (struct pb_field f; pb_next(&r, &f);) {
        if (f.number == 1 && f.wire == PB_LEN) m.name = pb_str(&f);
        if (f.number == 2 && f.wire == PB_LEN) m.version = pb_str(&f);
    }
    if (r.why) return pb_failed(&r, "model request", e);
    *ret = m;
    return RC_OK;
}

void model_ref_encode(const struct model_ref *m, struct buf *b)
{
    pb_put_str(b, 1, m->name);
    pb_put_str(b, 2, m->version);
}

/* ---- metadata ---- */

enum rc server_metadata_decode(struct bytes msg, struct arena *a, struct server_metadata *ret,
                               struct err *e)
{
    struct pb_reader r = pb_reader_of(msg);
    struct server_metadata m = {0};
    struct str *extensions;
    size_t n[4];

    if (count_fields(msg, "ServerMetadataResponse", n, countof(n), e)) return e->rc;
    if (!(extensions = arena_array(a, struct str, n[3])))
        return no_room("ServerMetadataResponse", e);
    for (struct pb_field f; pb_next(&r, &f);) {
        if (f.wire != PB_LEN) continue;
        if (f.number == 1) m.name = pb_str(&f);
        if (f.number == 2) m.version = pb_str(&f);
        if (f.number == 3) extensions[m.extensions_n++] = pb_str(&f);
    }
    m.extensions = extensions;
    *ret = m;
    return RC_OK;
}

void server_metadata_encode(const struct server_metadata *m, struct buf *b)
{
    pb_put_str(b, 1, m->name);
    pb_put_str(b, 2, m->version);
    for (size_t i = 0; i < m->extensions_n; i++)
        pb_put_bytes(b, 3, str_bytes(m->extensions[i]));
}

static size_t shape_entries(const struct pb_field *f)
{
    size_t n = 0;

    if (f->wire == PB_VARINT) return 1;
    for (size_t i = 0; i < f->bytes.n; i++)
        n += f->bytes.p[i] < 128;
    return n;
}

static enum rc tensor_metadata_decode(struct bytes msg, struct arena *a,
                                      struct tensor_metadata *ret, struct err *e)
{
    struct pb_reader r = pb_reader_of(msg);
    struct tensor_metadata t = {0};
    struct bytes *params;
    int64_t *shape;
    size_t n[5], dims = 0;

    if (count_fields(msg, "TensorMetadata", n, countof(n), e)) return e->rc;
    for (struct pb_field f; pb_next(&r, &f);)
        if (f.number == 3 && (f.wire == PB_LEN || f.wire == PB_VARINT)) dims += shape_entries(&f);
    params = arena_array(a, struct bytes, n[4]);
    shape = arena_array(a, int64_t, dims);
    if (!params || !shape) return no_room("TensorMetadata", e);
    r = pb_reader_of(msg);
    for (struct pb_field f; pb_next(&r, &f);) {
        struct pb_reader packed = pb_reader_of(f.bytes);

        if (f.number == 3 && f.wire == PB_VARINT) shape[t.shape_n++] = (int64_t)f.value;
        if (f.wire != PB_LEN) continue;
        if (f.number == 1) t.name = pb_str(&f);
        if (f.number == 2) t.datatype = pb_str(&f);
        if (f.number == 4) params[t.params.n++] = f.bytes;
        while (f.number == 3 && packed.p < packed.end && !packed.why)
            shape[t.shape_n] = (int64_t)pb_read_varint(&packed), t.shape_n += !packed.why;
        if (packed.why) return pb_failed(&packed, "TensorMetadata shape", e);
    }
    t.params.entries = params;
    t.shape = shape;
    *ret = t;
    return RC_OK;
}

enum rc model_metadata_decode(struct bytes msg, struct arena *a, struct model_metadata *ret,
                              struct err *e)
{
    struct pb_reader r = pb_reader_of(msg);
    struct model_metadata m = {0};
    struct str *versions;
    struct tensor_metadata *inputs, *outputs;
    struct bytes *params;
    size_t n[7];

    if (count_fields(msg, "ModelMetadataResponse", n, countof(n), e)) return e->rc;
    versions = arena_array(a, struct str, n[2]);
    inputs = arena_array(a, struct tensor_metadata, n[4]);
    outputs = arena_array(a, struct tensor_metadata, n[5]);
    params = arena_array(a, struct bytes, n[6]);
    if (!versions || !inputs || !outputs || !params) return no_room("ModelMetadataResponse", e);
    for (struct pb_field f; pb_next(&r, &f);) {
        if (f.wire != PB_LEN) continue;
        if (f.number == 1) m.name = pb_str(&f);
        if (f.number == 2) versions[m.versions_n++] = pb_str(&f);
        if (f.number == 3) m.platform = pb_str(&f);
        if (f.number == 4 && tensor_metadata_decode(f.bytes, a, &inputs[m.inputs_n++], e))
            return err_in(e, "ModelMetadataResponse");
        if (f.number == 5 && tensor_metadata_decode(f.bytes, a, &outputs[m.outputs_n++], e))
            return err_in(e, "ModelMetadataResponse");
        if (f.number == 6) params[m.params.n++] = f.bytes;
    }
    m.versions = versions;
    m.inputs = inputs;
    m.outputs = outputs;
    m.params.entries = params;
    *ret = m;
    return RC_OK;
}

static void put_tensor_metadata(uint32_t number, const struct tensor_metadata *t, struct buf *b)
{
    size_t at = pb_begin(b, number), in;

    pb_put_str(b, 1, t->name);
    pb_put_str(b, 2, t->datatype);
    if (t->shape_n) {
        in = pb_begin(b, 3);
        for (size_t i = 0; i < t->shape_n; i++)
            pb_put_varint(b, (uint64_t)t->shape[i]);
        pb_end(b, in);
    }
    for (size_t i = 0; i < t->params.n; i++)
        pb_put_bytes(b, 4, t->params.entries[i]);
    pb_end(b, at);
}

void model_metadata_encode(const struct model_metadata *m, struct buf *b)
{
    pb_put_str(b, 1, m->name);
    for (size_t i = 0; i < m->versions_n; i++)
        pb_put_bytes(b, 2, str_bytes(m->versions[i]));
    pb_put_str(b, 3, m->platform);
    for (size_t i = 0; i < m->inputs_n; i++)
        put_tensor_metadata(4, &m->inputs[i], b);
    for (size_t i = 0; i < m->outputs_n; i++)
        put_tensor_metadata(5, &m->outputs[i], b);
    for (size_t i = 0; i < m->params.n; i++)
        pb_put_bytes(b, 6, m->params.entries[i]);
}

/* ---- metadata as JSON ---- */

static void put_strs(struct buf *b, const struct str *s, size_t n)
{
    buf_append_byte(b, '[');
    for (size_t i = 0; i < n; i++) {
        if (i) buf_append_byte(b, ',');
        json_put_str(b, s[i]);
    }
    buf_append_byte(b, ']');
}

static void put_json_tensors(struct buf *b, const char *name, const struct tensor_metadata *t,
                             size_t n)
{
    buf_printf(b, ",\"%s\":[", name);
    for (size_t i = 0; i < n; i++) {
        buf_append_str(b, i ? STR(",{\"name\":") : STR("{\"name\":"));
        json_put_str(b, t[i].name);
        buf_append_str(b, STR(",\"datatype\":"));
        json_put_str(b, t[i].datatype);
        buf_append_str(b, STR(",\"shape\":["));
        for (size_t k = 0; k < t[i].shape_n; k++)
            buf_printf(b, k ? ",%" PRId64 : "%" PRId64, t[i].shape[k]);
        buf_append_byte(b, ']');
        json_put_params(b, t[i].params);
        buf_append_byte(b, '}');
    }
    buf_append_byte(b, ']');
}

void model_metadata_encode_json(const struct model_metadata *m, struct buf *b)
{
    buf_append_str(b, STR("{\"name\":"));
    json_put_str(b, m->name);
    buf_append_str(b, STR(",\"versions\":"));
    put_strs(b, m->versions, m->versions_n);
    buf_append_str(b, STR(",\"platform\":"));
    json_put_str(b, m->platform);
    put_json_tensors(b, "inputs", m->inputs, m->inputs_n);
    put_json_tensors(b, "outputs", m->outputs, m->outputs_n);
    json_put_params(b, m->params);
    buf_append_byte(b, '}');
}

void server_metadata_encode_json(const struct server_metadata *m, struct buf *b)
{
    buf_append_str(b, STR("{\"name\":"));
    json_put_str(b, m->name);
    buf_append_str(b, STR(",\"version\":"));
    json_put_str(b, m->version);
    buf_append_str(b, STR(",\"extensions\":"));
    put_strs(b, m->extensions, m->extensions_n);
    buf_append_byte(b, '}');
}

/* ---- repository ---- */

enum rc repository_index_request_decode(struct bytes msg, struct repository_index_request *ret,
                                        struct err *e)
{
    struct pb_reader r = pb_reader_of(msg);
    struct repository_index_request m = {0};

    for (struct pb_field f; pb_next(&r, &f);) {
        if (f.number == 1 && f.wire == PB_LEN) m.repository_name = pb_str(&f);
        if (f.number == 2 && f.wire == PB_VARINT) m.ready = f.value != 0;
    }
    if (r.why) return pb_failed(&r, "RepositoryIndexRequest", e);
    *ret = m;
    return RC_OK;
}

void repository_index_request_encode(const struct repository_index_request *m, struct buf *b)
{
    pb_put_str(b, 1, m->repository_name);
    pb_put_bool(b, 2, m->ready);
}

static enum rc model_index_decode(struct bytes msg, struct model_index *ret, struct err *e)
{
    struct pb_reader r = pb_reader_of(msg);
    struct model_index m = {0};
    struct str *fields[] = {NULL, &m.name, &m.version, &m.state, &m.reason};

    for (struct pb_field f; pb_next(&r, &f);)
        if (f.number < countof(fields) && f.wire == PB_LEN) *fields[f.number] = pb_str(&f);
    if (r.why) return pb_failed(&r, "ModelIndex", e);
    *ret = m;
    return RC_OK;
}

enum rc repository_index_decode(struct bytes msg, struct arena *a, struct repository_index *ret,
                                struct err *e)
{
    struct pb_reader r = pb_reader_of(msg);
    struct model_index *models;
    size_t n[2], at = 0;

    if (count_fields(msg, "RepositoryIndexResponse", n, countof(n), e)) return e->rc;
    if (!(models = arena_array(a, struct model_index, n[1])))
        return no_room("RepositoryIndexResponse", e);
    for (struct pb_field f; pb_next(&r, &f);)
        if (f.number == 1 && f.wire == PB_LEN && model_index_decode(f.bytes, &models[at++], e))
            return err_in(e, "RepositoryIndexResponse");
    *ret = (struct repository_index){models, at};
    return RC_OK;
}

void repository_index_encode(const struct repository_index *m, struct buf *b)
{
    for (size_t i = 0; i < m->models_n; i++) {
        size_t at = pb_begin(b, 1);

        pb_put_str(b, 1, m->models[i].name);
        pb_put_str(b, 2, m->models[i].version);
        pb_put_str(b, 3, m->models[i].state);
        pb_put_str(b, 4, m->models[i].reason);
        pb_end(b, at);
    }
}

void repository_index_encode_json(const struct repository_index *m, struct buf *b)
{
    buf_append_byte(b, '[');
    for (size_t i = 0; i < m->models_n; i++) {
        buf_append_str(b, i ? STR(",{\"name\":") : STR("{\"name\":"));
        json_put_str(b, m->models[i].name);
        buf_append_str(b, STR(",\"version\":"));
        json_put_str(b, m->models[i].version);
        buf_append_str(b, STR(",\"state\":"));
        json_put_str(b, m->models[i].state);
        buf_append_str(b, STR(",\"reason\":"));
        json_put_str(b, m->models[i].reason);
        buf_append_byte(b, '}');
    }
    buf_append_byte(b, ']');
}

enum rc repository_model_decode(struct bytes msg, struct arena *a, struct repository_model *ret,
                                struct err *e)
{
    struct pb_reader r = pb_reader_of(msg);
    struct repository_model m = {0};
    struct bytes *params;
    size_t n[4];

    if (count_fields(msg, "repository request", n, countof(n), e)) return e->rc;
    if (!(params = arena_array(a, struct bytes, n[3]))) return no_room("repository request", e);
    for (struct pb_field f; pb_next(&r, &f);) {
        if (f.wire != PB_LEN) continue;
        if (f.number == 1) m.repository_name = pb_str(&f);
        if (f.number == 2) m.model_name = pb_str(&f);
        if (f.number == 3) params[m.params.n++] = f.bytes;
    }
    m.params.entries = params;
    *ret = m;
    return RC_OK;
}

void repository_model_encode(const struct repository_model *m, struct buf *b)
{
    pb_put_str(b, 1, m->repository_name);
    pb_put_str(b, 2, m->model_name);
    for (size_t i = 0; i < m->params.n; i++)
        pb_put_bytes(b, 3, m->params.entries[i]);
}

/* ---- health ---- */

enum rc health_request_decode(struct bytes msg, struct str *ret_service, struct err *e)
{
    struct pb_reader r = pb_reader_of(msg);
    struct str service = {0};

    for (struct pb_field f; pb_next(&r, &f);)
        if (f.number == 1 && f.wire == PB_LEN) service = pb_str(&f);
    if (r.why) return pb_failed(&r, "HealthCheckRequest", e);
    *ret_service = service;
    return RC_OK;
}

void health_response_encode(enum health_status s, struct buf *b)
{
    pb_put_u64(b, 1, s);
}
