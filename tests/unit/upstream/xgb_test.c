/* SPDX-License-Identifier: Apache-2.0 */
#include "../oip/oip_help.h"
#include "oip/service.h"
#include "upstream/xgb.h"
#include "xgb_models.h"
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];

static struct str file_of(struct arena *a, const char *name)
{
    return arena_printf(a, "%s/%s", folder, name);
}

static void write_file(const char *name, const char *text)
{
    struct arena a = {0};
    FILE *f = fopen(file_of(&a, name).p, "w");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    arena_fini(&a);
}

static int make_files(void **state)
{
    struct arena a = {0};

    (void)state;
    strcpy(folder, "/tmp/millrace-xgb-XXXXXX");
    assert_non_null(mkdtemp(folder));
    mkdir(file_of(&a, "folder").p, 0700);
    mkdir(file_of(&a, "empty").p, 0700);
    write_file("regression.json", regression_json);
    write_file("binary.json", binary_json);
    write_file("linear.json", linear_json);
    write_file("folder/model.json", classes_json);
    write_file("garbage.json", "{\"learner\": 1}");
    write_file("garbage.bin", "no model at all");
    arena_fini(&a);
    return 0;
}

static int remove_files(void **state)
{
    static const char *const names[] = {"regression.json",
                                        "binary.json",
                                        "linear.json",
                                        "folder/model.json",
                                        "garbage.json",
                                        "garbage.bin",
                                        "folder",
                                        "empty",
                                        ""};
    struct arena a = {0};

    (void)state;
    for (size_t i = 0; i < countof(names); i++)
        remove(file_of(&a, names[i]).p);
    arena_fini(&a);
    return 0;
}

static struct xgb_model *loaded(const char *name)
{
    struct arena a = {0};
    struct xgb_model *m = NULL;
    struct err e = {0};

    if (xgb_load(file_of(&a, name), &m, &e)) fail_msg("%s", e.text);
    arena_fini(&a);
    return m;
}

/* A request of `tensors` tensors that share the three columns: one of three columns, or three of
 * one. */
static void put_request(struct buf *b, size_t tensors)
{
    const int64_t shapes[2][2] = {{6, 3}, {6, 0}};
    struct buf contents = {0};

    pb_put_str(b, 1, STR("m"));
    pb_put_str(b, 3, STR("id"));
    for (size_t t = 0; t < tensors; t++) {
        float column[6];

        for (size_t i = 0; i < 6; i++)
            column[i] = rows[i][t];
        buf_clear(&contents);
        infer_put_contents(&contents, DT_FP32,
                           tensors == 1 ? bytes_of(rows, sizeof rows)
                                        : bytes_of(column, sizeof column));
        put_tensor_field(b, "X", "FP32", shapes[tensors > 1], tensors > 1 ? 1 : 2, &contents);
    }
    buf_fini(&contents);
}

static void check_prediction(struct xgb_model *m, const struct buf *request, const float *want,
                             size_t want_n, size_t dims)
{
    struct arena a = {0};
    struct buf response = {0};
    struct infer_view v;
    struct err e = {0};
    float got[32];

    if (xgb_predict(m, buf_view(request), &response, &e)) fail_msg("%s", e.text);
    v = view_of(&a, INFER_RESPONSE, buf_view(&response));
    if (infer_validate(&v, &e)) fail_msg("%s", e.text);
    assert_str(v.model_name, "m");
    assert_str(v.id, "id");
    assert_str(v.tensors[0].name, "predict");
    assert_int_equal(v.tensors[0].shape_n, dims);
    assert_int_equal(v.tensors[0].raw.n, want_n * sizeof(float));
    memcpy(got, v.tensors[0].raw.p, v.tensors[0].raw.n);
    for (size_t i = 0; i < want_n; i++)
        assert_true(fabsf(got[i] - want[i]) <= 1e-6f * (1 + fabsf(want[i])));
    buf_fini(&response);
    arena_fini(&a);
}

static void predictions_equal_xgboosts_own(void **state)
{
    const struct infer_param yes = {.kind = INFER_PARAM_BOOL, .b = true};
    struct xgb_model *regression = loaded("regression.json"), *binary = loaded("binary.json"),
                     *classes = loaded("folder"), *linear = loaded("linear.json");
    struct buf request = {0};

    (void)state;
    assert_int_equal(xgb_features(regression), 3);
    for (size_t tensors = 1; tensors <= 3; tensors += 2) {
        buf_clear(&request);
        put_request(&request, tensors);
        check_prediction(regression, &request, regression_predicted, 6, 1);
        check_prediction(binary, &request, binary_predicted, 6, 1);
        check_prediction(classes, &request, classes_predicted, 18, 2);
        check_prediction(linear, &request, linear_predicted, 6, 1);
    }
    infer_put_param(&request, 4, STR("output_margin"), &yes);
    check_prediction(binary, &request, binary_margins, 6, 1);
    buf_fini(&request);
    xgb_free(regression);
    xgb_free(binary);
    xgb_free(classes);
    xgb_free(linear);
}

static void one_row_may_come_without_its_dimension(void **state)
{
    struct xgb_model *m = loaded("regression.json");
    struct buf request = {0}, contents = {0};
    const int64_t three = 3;
    double row[3];

    (void)state;
    for (size_t i = 0; i < 3; i++)
        row[i] = (double)rows[0][i];
    infer_put_contents(&contents, DT_FP64, bytes_of(row, sizeof row));
    pb_put_str(&request, 1, STR("m"));
    pb_put_str(&request, 3, STR("id"));
    put_tensor_field(&request, "X", "FP64", &three, 1, &contents);
    check_prediction(m, &request, regression_predicted, 1, 1);
    buf_fini(&request);
    buf_fini(&contents);
    xgb_free(m);
}

static void no_rows_give_no_rows(void **state)
{
    struct xgb_model *m = loaded("regression.json");
    struct buf request = {0};
    const int64_t none[] = {0, 3};

    (void)state;
    pb_put_str(&request, 1, STR("m"));
    pb_put_str(&request, 3, STR("id"));
    put_tensor_field(&request, "X", "FP32", none, 2, NULL);
    check_prediction(m, &request, NULL, 0, 1);
    buf_fini(&request);
    xgb_free(m);
}

#define WANTED                                                                                     \
    "; wanted is one tensor of numbers with shape [rows, 3], or several that have 3 columns "      \
    "together"

static void check_refused(struct xgb_model *m, const char *datatype, const int64_t *shape,
                          size_t shape_n, uint32_t field, struct bytes data, const char *want)
{
    struct buf request = {0}, contents = {0}, response = {0};
    struct err e = {0};

    pb_put_bytes(&contents, field, data);
    put_tensor_field(&request, "X", datatype, shape, shape_n, &contents);
    assert_int_equal(xgb_predict(m, buf_view(&request), &response, &e), RC_INVALID);
    assert_string_equal(e.text, want);
    assert_int_equal(response.n, 0);
    buf_fini(&request);
    buf_fini(&contents);
    buf_fini(&response);
}

static void what_does_not_fit_the_model_is_refused(void **state)
{
    struct xgb_model *m = loaded("regression.json");
    const int64_t wide[] = {1, 4}, deep[] = {1, 1, 3}, good[] = {1, 3}, one = 1;
    const float infinite[] = {1, INFINITY, 2, 3};
    struct buf response = {0};
    struct err e = {0};

    (void)state;
    check_refused(m, "FP32", wide, 2, 6, bytes_of(infinite, 16),
                  "tensor \"X\": 4 features a row, the model wants 3" WANTED);
    check_refused(m, "FP32", deep, 3, 6, bytes_of(infinite, 12),
                  "tensor \"X\" has 3 dimensions, [rows, features] is wanted" WANTED);
    check_refused(m, "FP32", good, 2, 6, bytes_of(infinite, 12),
                  "tensor \"X\": element 1 is infinite as FP32" WANTED);
    check_refused(m, "FP32", good, 2, 6, bytes_of(infinite, 8),
                  "inputs[0]: tensor \"X\": the shape wants 3 elements, there are 2" WANTED);
    check_refused(m, "BYTES", &one, 1, 8, bytes_of("x", 1),
                  "tensor \"X\" is BYTES, numbers are wanted" WANTED);
    assert_int_equal(xgb_predict(m, (struct bytes){0}, &response, &e), RC_INVALID);
    assert_string_equal(e.text, "the request has no tensor" WANTED);
    xgb_free(m);
}

static void check_no_model(const char *name, enum rc want, const char *words)
{
    struct arena a = {0};
    struct xgb_model *m = NULL;
    struct err e = {0};

    assert_int_equal(xgb_load(file_of(&a, name), &m, &e), want);
    assert_null(m);
    if (!strstr(e.text, words)) fail_msg("%s", e.text);
    assert_null(strchr(e.text, '\n'));
    arena_fini(&a);
}

static void what_is_no_model_is_refused_by_name(void **state)
{
    (void)state;
    check_no_model("absent.json", RC_NOT_FOUND, "absent.json: No such file or directory");
    check_no_model("empty", RC_NOT_FOUND,
                   "empty holds neither model.json nor model.ubj nor model.bst");
    check_no_model("garbage.json", RC_INVALID, "garbage.json: XGBoost: not a model: ");
    check_no_model("garbage.bin", RC_INVALID, "garbage.bin: XGBoost: not a model: ");
}

static void metadata_tells_features_and_classes(void **state)
{
    struct arena a = {0};
    struct xgb_model *m = loaded("folder");
    struct buf b = {0}, json = {0};
    struct model_metadata metadata;
    struct err e;

    (void)state;
    xgb_metadata(m, STR("iris"), STR("1"), &b);
    assert_int_equal(model_metadata_decode(buf_view(&b), &a, &metadata, &e), RC_OK);
    model_metadata_encode_json(&metadata, &json);
    assert_string_equal(
        buf_cstr(&json),
        "{\"name\":\"iris\",\"versions\":[\"1\"],\"platform\":\"xgboost\","
        "\"inputs\":[{\"name\":\"input\",\"datatype\":\"FP32\",\"shape\":[-1,3]}],"
        "\"outputs\":[{\"name\":\"predict\",\"datatype\":\"FP32\",\"shape\":[-1,3]}]}");
    xgb_free(m);
    buf_fini(&b);
    buf_fini(&json);
    arena_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(predictions_equal_xgboosts_own),
        cmocka_unit_test(one_row_may_come_without_its_dimension),
        cmocka_unit_test(no_rows_give_no_rows),
        cmocka_unit_test(what_does_not_fit_the_model_is_refused),
        cmocka_unit_test(what_is_no_model_is_refused_by_name),
        cmocka_unit_test(metadata_tells_features_and_classes),
    };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
