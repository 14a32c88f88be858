/* SPDX-License-Identifier: Apache-2.0 */
#include "upstream/metadata_json.h"
#include "oip/service.h"
#include <jansson.h>

enum { TENSORS_MAX = 4096, DIMS_MAX = 64 };

static struct str text_of(const json_t *object, const char *key)
{
    const json_t *v = json_object_get(object, key);

    return json_is_string(v) ? (struct str){json_string_value(v), json_string_length(v)}
                             : (struct str){0};
}

static const int64_t *shape_of(struct arena *a, const json_t *v, size_t *ret_n)
{
    size_t n = MIN(json_array_size(v), (size_t)DIMS_MAX);
    int64_t *shape = arena_array(a, int64_t, n);

    for (size_t i = 0; i < n; i++)
        shape[i] = json_integer_value(json_array_get(v, i));
    *ret_n = n;
    return shape;
}

static const struct tensor_metadata *tensors_of(struct arena *a, const json_t *v, size_t *ret_n)
{
    size_t n = MIN(json_array_size(v), (size_t)TENSORS_MAX);
    struct tensor_metadata *list = arena_array(a, struct tensor_metadata, n);

    for (size_t i = 0; i < n; i++) {
        const json_t *t = json_array_get(v, i);

        list[i].name = text_of(t, "name");
        list[i].datatype = text_of(t, "datatype");
        list[i].shape = shape_of(a, json_object_get(t, "shape"), &list[i].shape_n);
    }
    *ret_n = n;
    return list;
}

static void encode(const json_t *root, struct buf *ret)
{
    struct arena a = {0};
    const json_t *versions = json_object_get(root, "versions");
    size_t n = MIN(json_array_size(versions), (size_t)TENSORS_MAX);
    struct str *list = arena_array(&a, struct str, n);
    struct model_metadata m = {
        .name = text_of(root, "name"), .platform = text_of(root, "platform"), .versions = list};

    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(versions, i);

        if (json_is_string(v))
            list[m.versions_n++] = (struct str){json_string_value(v), json_string_length(v)};
    }
    m.inputs = tensors_of(&a, json_object_get(root, "inputs"), &m.inputs_n);
    m.outputs = tensors_of(&a, json_object_get(root, "outputs"), &m.outputs_n);
    model_metadata_encode(&m, ret);
    arena_fini(&a);
}

enum rc metadata_of_json(struct str json, struct buf *ret, struct err *e)
{
    json_error_t why;
    json_t *root = json_loadb(json.p, json.n, JSON_REJECT_DUPLICATES, &why);

    if (!json_is_object(root)) {
        json_decref(root);
        return err_set(e, RC_INVALID, "model metadata: %s", root ? "not an object" : why.text);
    }
    encode(root, ret);
    json_decref(root);
    return RC_OK;
}
