/* The built-in runtime.
 *
 * The library is opened once, on first use: it costs 6 MB and some milliseconds that most processes
 * need not spend. A model is given one row of missing values when it is loaded: that proves that it
 * can predict, and tells how many numbers a row it gives. Each prediction gathers the tensors into
 * one matrix of floats, which XGBoost reads in place.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "upstream/xgb.h"
#include "base/library.h"
#include "oip/pb.h"
#include "oip/service.h"
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <sys/stat.h>
#include <xgboost/c_api.h>

#define NAME_FMT    "%.*s"
#define NAME_ARG(s) (int)MIN((s).n, (size_t)64), ((s).p ? (s).p : "")

enum { FEATURES_MAX = 1 << 20 };

/* ---- the library ---- */

struct api {
    __typeof__(&XGBGetLastError) last_error;
    __typeof__(&XGBSetGlobalConfig) configure;
    __typeof__(&XGBoosterCreate) create;
    __typeof__(&XGBoosterFree) free;
    __typeof__(&XGBoosterSetParam) set;
    __typeof__(&XGBoosterLoadModel) load;
    __typeof__(&XGBoosterGetNumFeature) features;
    __typeof__(&XGBoosterPredictFromDense) predict;
    __typeof__(&XGDMatrixCreateFromDense) matrix;
    __typeof__(&XGDMatrixFree) matrix_free;
    __typeof__(&XGBoosterPredictFromDMatrix) predict_matrix;
};

static struct api api_table;
static const struct library_function functions[] = {
    {"XGBGetLastError", offsetof(struct api, last_error)},
    {"XGBSetGlobalConfig", offsetof(struct api, configure)},
    {"XGBoosterCreate", offsetof(struct api, create)},
    {"XGBoosterFree", offsetof(struct api, free)},
    {"XGBoosterSetParam", offsetof(struct api, set)},
    {"XGBoosterLoadModel", offsetof(struct api, load)},
    {"XGBoosterGetNumFeature", offsetof(struct api, features)},
    {"XGBoosterPredictFromDense", offsetof(struct api, predict)},
    {"XGDMatrixCreateFromDense", offsetof(struct api, matrix)},
    {"XGDMatrixFree", offsetof(struct api, matrix_free)},
    {"XGBoosterPredictFromDMatrix", offsetof(struct api, predict_matrix)},
};
static struct library library = LIBRARY("libxgboost.so.0", "libxgboost0", functions, &api_table);

static enum rc api_open(const struct api **ret, struct err *e)
{
    static atomic_bool configured;

    if (library_get(&library, e)) {
        e->rc = RC_UNAVAILABLE;
        return err_in(e, "XGBoost models");
    }
    if (!atomic_exchange(&configured, true)) api_table.configure("{\"verbosity\": 0}");
    *ret = &api_table;
    return RC_OK;
}

/* XGBoost's sentence without time, source line and stack: "[12:00:00] file.cc:93: Check failed:
 * …\nStack trace:…". */
static enum rc failed(const struct api *api, enum rc rc, const char *what, struct err *e)
{
    const char *text = api->last_error(), *at;
    struct str line;

    while (*text == '\n' || *text == ' ')
        text++;
    if (*text == '[' && (at = strstr(text, "] "))) text = at + 2;
    if ((at = strstr(text, ".cc:")) || (at = strstr(text, ".h:")))
        text = strstr(at, ": ") ? strstr(at, ": ") + 2 : text;
    line = str_of(text);
    str_cut(line, '\n', &line, &(struct str){0});
    while (line.n && (line.p[line.n - 1] == ' ' || line.p[line.n - 1] == ':'))
        line.n--;
    return err_set(e, rc, "XGBoost: %s: " STR_FMT, what, STR_ARG(line));
}

/* ---- models ---- */

struct xgb_model {
    const struct api *api;
    BoosterHandle booster;
    uint64_t features;
    uint64_t numbers; /* a row */
    bool linear;      /* such boosters do not read memory in place */
};

struct answer {
    const float *values;
    uint64_t n, rows, numbers;
};

/* What XGBoost answers stays its own until the next call. */
static int call(const struct xgb_model *m, const char *array, const char *config,
                const bst_ulong **shape, bst_ulong *dims, const float **values)
{
    DMatrixHandle matrix;
    int rc;

    if (!m->linear) return m->api->predict(m->booster, array, config, NULL, shape, dims, values);
    if (m->api->matrix(array, "{\"missing\":NaN,\"nthread\":1}", &matrix)) return -1;
    rc = m->api->predict_matrix(m->booster, matrix, config, shape, dims, values);
    m->api->matrix_free(matrix);
    return rc;
}

static enum rc predict(const struct xgb_model *m, const float *matrix, uint64_t rows, bool margin,
                       struct answer *ret, struct err *e)
{
    char array[160], config[160];
    const bst_ulong *shape;
    bst_ulong dims;

    snprintf(array, sizeof array,
             "{\"data\":[%" PRIuPTR ",true],\"shape\":[%" PRIu64 ",%" PRIu64
             "],\"typestr\":\"<f4\",\"version\":3}",
             (uintptr_t)matrix, rows, m->features);
    snprintf(config, sizeof config,
             "{\"type\":%d,\"training\":false,\"iteration_begin\":0,\"iteration_end\":0,"
             "\"strict_shape\":true,\"cache_id\":0,\"missing\":NaN}",
             margin);
    if (call(m, array, config, &shape, &dims, &ret->values))
        return failed(m->api, RC_UPSTREAM, "predict", e);
    ret->n = 1;
    for (bst_ulong i = 0; i < dims; i++)
        ret->n *= shape[i];
    ret->rows = dims ? shape[0] : 0;
    ret->numbers = ret->rows ? ret->n / ret->rows : 0;
    if (ret->rows == rows && ret->n == rows * ret->numbers) return RC_OK;
    return err_set(e, RC_UPSTREAM, "XGBoost gave %" PRIu64 " rows for %" PRIu64, ret->rows, rows);
}

enum rc xgb_file(struct str path, struct buf *ret, struct err *e)
{
    static const char *const names[] = {"model.json", "model.ubj", "model.bst"};
    struct stat st;

    buf_append_str(ret, path);
    if (stat(buf_cstr(ret), &st)) return err_sys(e, "model " STR_FMT, STR_ARG(path));
    if (!S_ISDIR(st.st_mode)) return RC_OK;
    for (size_t i = 0; i < countof(names); i++) {
        buf_clear(ret);
        buf_printf(ret, STR_FMT "/%s", STR_ARG(path), names[i]);
        if (!stat(buf_cstr(ret), &st) && S_ISREG(st.st_mode)) return RC_OK;
    }
    return err_set(e, RC_NOT_FOUND,
                   "model folder " STR_FMT " holds neither model.json nor model.ubj nor model.bst",
                   STR_ARG(path));
}

/* The formats named .json and .ubj begin with an object; the old one has no mark that could be looked for. */
enum rc xgb_look(struct str path, struct err *e)
{
    AUTO(buf_fini) struct buf file = {0};
    bool object;
    FILE *f;
    int c;

    if (xgb_file(path, &file, e)) return e->rc;
    object = str_ends(buf_str(&file), STR(".json")) || str_ends(buf_str(&file), STR(".ubj"));
    if (!(f = fopen(buf_cstr(&file), "re")))
        return err_sys(e, "model " STR_FMT, STR_ARG(buf_str(&file)));
    do
        c = fgetc(f);
    while (c == ' ' || c == '\n' || c == '\r' || c == '\t');
    fclose(f);
    if (c == EOF)
        return err_set(e, RC_INVALID, "model " STR_FMT ": the file is empty",
                       STR_ARG(buf_str(&file)));
    if (object && c != '{')
        return err_set(e, RC_INVALID, "model " STR_FMT ": not a model: it does not begin with {",
                       STR_ARG(buf_str(&file)));
    return RC_OK;
}

static enum rc probe(struct xgb_model *m, struct err *e)
{
    struct answer answer;
    float *row;
    bst_ulong features;
    enum rc rc;

    if (m->api->features(m->booster, &features)) return failed(m->api, RC_INVALID, "features", e);
    if (!features || features > FEATURES_MAX)
        return err_set(e, RC_INVALID, "the model has %" PRIu64 " features", (uint64_t)features);
    m->features = features;
    row = xnew_array(float, features);
    for (bst_ulong i = 0; i < features; i++)
        row[i] = NAN;
    rc = predict(m, row, 1, false, &answer, e);
    if (rc) {
        m->linear = true;
        rc = predict(m, row, 1, false, &answer, e);
    }
    free(row);
    if (!rc) m->numbers = answer.numbers;
    return rc;
}

enum rc xgb_load(struct str path, struct xgb_model **ret, struct err *e)
{
    AUTO(buf_fini) struct buf file = {0};
    struct xgb_model *m;
    const struct api *api = NULL;

    if (api_open(&api, e) || xgb_file(path, &file, e)) return e->rc;
    m = xnew(struct xgb_model);
    m->api = api;
    if (api->create(NULL, 0, &m->booster))
        failed(api, RC_UNAVAILABLE, "create", e);
    else if (api->set(m->booster, "nthread", "1"))
        failed(api, RC_UNAVAILABLE, "nthread", e);
    else if (api->load(m->booster, buf_cstr(&file)))
        failed(api, RC_INVALID, "not a model", e);
    else if (!probe(m, e))
        return *ret = m, RC_OK;
    xgb_free(m);
    return err_in(e, "model " STR_FMT, STR_ARG(buf_str(&file)));
}

struct xgb_model *xgb_free(struct xgb_model *m)
{
    if (!m) return NULL;
    if (m->booster) m->api->free(m->booster);
    free(m);
    return NULL;
}

uint64_t xgb_features(const struct xgb_model *m)
{
    return m->features;
}

/* ---- the matrix ---- */

/* How a tensor fits into the matrix: its columns stand beside those of the others. */
struct block {
    uint64_t rows, columns;
};

static enum rc block_of(const struct infer_view *v, const struct infer_tensor *t, uint64_t features,
                        struct block *ret, struct err *e)
{
    if (t->type == DT_BYTES || t->type == DT_UNKNOWN)
        return err_set(e, RC_INVALID, "tensor \"" NAME_FMT "\" is " NAME_FMT ", numbers are wanted",
                       NAME_ARG(t->name), NAME_ARG(t->datatype));
    if (t->shape_n == 1 && v->tensors_n == 1 && (uint64_t)t->shape[0] == features)
        *ret = (struct block){1, features};
    else if (t->shape_n == 1)
        *ret = (struct block){(uint64_t)t->shape[0], 1};
    else if (t->shape_n == 2)
        *ret = (struct block){(uint64_t)t->shape[0], (uint64_t)t->shape[1]};
    else
        return err_set(e, RC_INVALID,
                       "tensor \"" NAME_FMT "\" has %zu dimensions, [rows, features] is wanted",
                       NAME_ARG(t->name), t->shape_n);
    return RC_OK;
}

static enum rc matrix_shape(const struct infer_view *v, uint64_t features, struct block *ret,
                            struct err *e)
{
    *ret = (struct block){0};
    if (!v->tensors_n) return err_set(e, RC_INVALID, "the request has no tensor");
    for (size_t i = 0; i < v->tensors_n; i++) {
        struct block b;

        if (block_of(v, &v->tensors[i], features, &b, e)) return e->rc;
        if (i && b.rows != ret->rows)
            return err_set(
                e, RC_INVALID,
                "tensor \"" NAME_FMT "\" has %" PRIu64 " rows, \"" NAME_FMT "\" has %" PRIu64,
                NAME_ARG(v->tensors[i].name), b.rows, NAME_ARG(v->tensors[0].name), ret->rows);
        ret->rows = b.rows;
        ret->columns += b.columns;
    }
    if (ret->columns == features) return RC_OK;
    return err_set(e, RC_INVALID,
                   "tensor \"" NAME_FMT "\"%s: %" PRIu64
                   " features a row, the model wants %" PRIu64,
                   NAME_ARG(v->tensors[0].name), v->tensors_n > 1 ? " and others" : "",
                   ret->columns, features);
}

static float element(enum datatype t, const uint8_t *p)
{
    float f = 0;
    double d;

    switch (t) {
    case DT_BOOL: return *p != 0;
    case DT_UINT8: return *p;
    case DT_UINT16: return load_le16(p);
    case DT_UINT32: return (float)load_le32(p);
    case DT_UINT64: return (float)load_le64(p);
    case DT_INT8: return (int8_t)*p;
    case DT_INT16: return (int16_t)load_le16(p);
    case DT_INT32: return (float)(int32_t)load_le32(p);
    case DT_INT64: return (float)(int64_t)load_le64(p);
    case DT_FP16: return half_to_float(load_le16(p));
    case DT_BF16: return bfloat_to_float(load_le16(p));
    case DT_FP32: memcpy(&f, p, sizeof f); return f;
    case DT_FP64: memcpy(&d, p, sizeof d); return (float)d;
    case DT_UNKNOWN:
    case DT_BYTES: break;
    }
    return f;
}

/* Copies a tensor to its columns of the matrix. */
static enum rc fill(const struct infer_tensor *t, struct block b, float *to, uint64_t stride,
                    struct err *e)
{
    AUTO(buf_fini) struct buf raw = {0};
    size_t width = datatype_width(t->type);
    const uint8_t *p;

    if (infer_tensor_raw(t, &raw, e)) return e->rc;
    p = raw.p;
    for (uint64_t row = 0; row < b.rows; row++, to += stride)
        for (uint64_t i = 0; i < b.columns; i++, p += width) {
            to[i] = element(t->type, p);
            if (isinf(to[i]))
                return err_set(e, RC_INVALID,
                               "tensor \"" NAME_FMT "\": element %" PRIu64 " is infinite as FP32",
                               NAME_ARG(t->name), row * b.columns + i);
        }
    return RC_OK;
}

static enum rc gather(const struct infer_view *v, uint64_t features, struct block *ret,
                      float **ret_matrix, struct err *e)
{
    uint64_t column = 0;
    float *matrix;

    if (infer_validate(v, e) || matrix_shape(v, features, ret, e)) return e->rc;
    matrix = xnew_array(float, ret->rows *features + 1);
    for (size_t i = 0; i < v->tensors_n; i++) {
        struct block b;

        if (block_of(v, &v->tensors[i], features, &b, e) ||
            fill(&v->tensors[i], b, matrix + column, features, e)) {
            free(matrix);
            return e->rc;
        }
        column += b.columns;
    }
    *ret_matrix = matrix;
    return RC_OK;
}

/* ---- requests ---- */

static void put_response(const struct infer_view *v, const struct xgb_model *m, uint64_t rows,
                         struct bytes values, struct buf *b)
{
    size_t at, shape;

    pb_put_str(b, 1, v->model_name);
    pb_put_str(b, 2, v->model_version);
    pb_put_str(b, 3, v->id);
    at = pb_begin(b, 5);
    pb_put_str(b, 1, STR("predict"));
    pb_put_str(b, 2, STR("FP32"));
    shape = pb_begin(b, 3);
    pb_put_varint(b, rows);
    if (m->numbers > 1) pb_put_varint(b, m->numbers);
    pb_end(b, shape);
    pb_end(b, at);
    pb_put_bytes(b, 6, values);
}

/* The asker's mistake, and what would have been right. */
static void say_wanted(const struct xgb_model *m, struct err *e)
{
    size_t n = strlen(e->text);

    snprintf(e->text + n, sizeof e->text - n,
             "; wanted is one tensor of numbers with shape [rows, %" PRIu64
             "], or several that have %" PRIu64 " columns together",
             m->features, m->features);
}

enum rc xgb_predict(struct xgb_model *m, struct bytes request, struct buf *response, struct err *e)
{
    struct arena a = {0};
    struct infer_view v;
    struct infer_param margin = {0};
    struct block shape = {0};
    struct answer answer = {0};
    float *matrix = NULL;
    enum rc rc;

    rc = infer_parse(request, INFER_REQUEST, &a, &v, e);
    if (!rc) rc = gather(&v, m->features, &shape, &matrix, e);
    if (rc == RC_INVALID) say_wanted(m, e);
    if (!rc) infer_param_find(v.params, STR("output_margin"), &margin);
    if (!rc && shape.rows)
        rc =
            predict(m, matrix, shape.rows, margin.kind == INFER_PARAM_BOOL && margin.b, &answer, e);
    if (!rc)
        put_response(&v, m, shape.rows, bytes_of(answer.values, answer.n * sizeof(float)),
                     response);
    free(matrix);
    arena_fini(&a);
    return rc;
}

void xgb_metadata(const struct xgb_model *m, struct str name, struct str version, struct buf *ret)
{
    const int64_t in[] = {-1, (int64_t)m->features}, out[] = {-1, (int64_t)m->numbers};
    const struct tensor_metadata input = {
        .name = STR("input"), .datatype = STR("FP32"), .shape = in, .shape_n = 2};
    const struct tensor_metadata output = {.name = STR("predict"),
                                           .datatype = STR("FP32"),
                                           .shape = out,
                                           .shape_n = m->numbers > 1 ? 2 : 1};
    const struct model_metadata metadata = {.name = name,
                                            .platform = STR("xgboost"),
                                            .versions = &version,
                                            .versions_n = version.n > 0,
                                            .inputs = &input,
                                            .inputs_n = 1,
                                            .outputs = &output,
                                            .outputs_n = 1};

    model_metadata_encode(&metadata, ret);
}
