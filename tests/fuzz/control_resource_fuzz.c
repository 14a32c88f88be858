/* Documents of resources: read, and what was taken turned into a snapshot; what was declared reads back as the same.
 * SPDX-License-Identifier: Apache-2.0 */
#include "control/resource.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool parse(struct str text, struct resource ***ret, size_t *ret_n)
{
    AUTO(problems_fini) struct problems problems = {0}, warnings = {0};
    struct resource_input in = {.text = text,
                                .file = STR("f"),
                                .topic_prefix = STR("seldon"),
                                .topic_namespace = STR("default"),
                                .problems = &problems,
                                .warnings = &warnings};
    AUTO(buf_fini) struct buf b = {0};
    bool ok = resources_parse(&in, ret, ret_n);

    problems_json(&problems, &b);
    problems_print(&warnings, &b);
    must(ok == (problems.n == 0));
    return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct resource **list, **again;
    struct flow_snapshot *s;
    size_t n, again_n;

    if (!parse(bytes_str(bytes_of(data, size)), &list, &n)) return 0;
    s = snapshot_of(list, n, FLOW_RECORD_ALL, 1);
    flow_snapshot_unref(&s);
    for (size_t i = 0; i < n; i++) {
        AUTO(arena_fini) struct arena a = {0};
        AUTO(buf_fini) struct buf b = {0};
        struct yaml_node *node;
        struct err e = {0};
        must(yaml_of_json(list[i]->json, &a, &node, &e) == RC_OK); /* as the store will read it */
        yaml_put_json(node, &b);
        must(parse(buf_str(&b), &again, &again_n));
        must(again_n == 1 && again[0]->kind == list[i]->kind &&
             str_eq(again[0]->name, list[i]->name));
        must(str_eq(again[0]->json, list[i]->json));
        resources_free(again, again_n);
    }
    resources_free(list, n);
    return 0;
}
