/* The roles that endpoints need: the first line that fits counts. docs/security.md shows it to people, and
 * tests/e2e/test_076_gateway_security.py asks every line of that page. SPDX-License-Identifier: Apache-2.0 */
#include "gateway/auth.h"

enum { ANY_ROLE = ROLE_INFER | ROLE_READ, NOBODY_IS_ASKED = 0 };

/* A * in a path stands for anything. */
static const struct line {
    const char *method; /* NULL: any */
    const char *path;
    unsigned roles;
    bool management;
} rest[] = {
    {NULL, "/v2/health/live", NOBODY_IS_ASKED, false},
    {NULL, "/v2/health/ready", NOBODY_IS_ASKED, false},
    {NULL, "/ready", NOBODY_IS_ASKED, false},
    {NULL, "/v2/models/*/infer", ROLE_INFER, false},
    {NULL, "/v2/pipelines/*/infer", ROLE_INFER, false},
    {NULL, "/metrics", ROLE_READ, false},
    {"GET", "/millrace/v1/*", ROLE_READ, true},
    {"HEAD", "/millrace/v1/*", ROLE_READ, true},
    {NULL, "/millrace/v1/*", ROLE_ADMIN, true},
    {NULL, "*", ANY_ROLE, false},
}, grpc_methods[] = {
    {NULL, "/grpc.health.v1.Health/*", NOBODY_IS_ASKED, false},
    {NULL, "/inference.GRPCInferenceService/ServerLive", NOBODY_IS_ASKED, false},
    {NULL, "/inference.GRPCInferenceService/ServerReady", NOBODY_IS_ASKED, false},
    {NULL, "/inference.GRPCInferenceService/ModelInfer", ROLE_INFER, false},
    {NULL, "/inference.GRPCInferenceService/ModelStreamInfer", ROLE_INFER, false},
    {NULL, "/inference.GRPCInferenceService/RepositoryModelLoad", ROLE_ADMIN, false},
    {NULL, "/inference.GRPCInferenceService/RepositoryModelUnload", ROLE_ADMIN, false},
    {NULL, "*", ANY_ROLE, false},
};

static bool path_fits(const char *pattern, struct str path)
{
    struct str before, after;

    if (!str_cut(str_of(pattern), '*', &before, &after)) return str_eq(path, before);
    return path.n >= before.n + after.n && str_starts(path, before) && str_ends(path, after);
}

struct access access_of(struct str method, struct str path, bool grpc)
{
    const struct line *l = grpc ? grpc_methods : rest;

    while ((l->method && !str_is(method, l->method)) || !path_fits(l->path, path)) l++; /* the last one fits all */
    return (struct access){l->roles, l->management};
}
