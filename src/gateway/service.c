/* The gRPC services: inference.GRPCInferenceService, grpc.health.v1.Health, grpc.reflection.v1 and v1alpha.
 * SPDX-License-Identifier: Apache-2.0 */
#include "oip/service.h"
#include "gateway/internal.h"

static const struct {
    const char *path;
} reflections[] = {
    {"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"},
    {"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"},
};

/* ---- Reflection: a stream of questions, each answered when it comes ---- */

static void reflection_message(struct exchange *x, struct bytes message)
{
    struct buf out = {0};
    struct err e;

    if (reflection_answer(message, &out, &e)) {
        buf_fini(&out);
        if (!x->streaming_out) exchange_stream_begin(x, 200, NULL, 0);
        exchange_stream_end(
            x, &(struct grpc_reply){.status = GRPC_INVALID_ARGUMENT, .message = str_of(e.text)});
        return;
    }
    if (!x->streaming_out) exchange_stream_begin(x, 200, NULL, 0);
    exchange_stream_send(x, &out);
}

static void reflection_end(struct exchange *x)
{
    if (x->answered && !x->streaming_out) return; /* ended by an error before */
    if (!x->streaming_out) exchange_stream_begin(x, 200, NULL, 0);
    exchange_stream_end(x, &(struct grpc_reply){.status = GRPC_OK});
}

/* ---- Health ---- */

static void health_check(struct gateway *g, struct exchange *x)
{
    struct buf out = {0};
    struct str service, why;
    struct err e;

    if (health_request_decode(buf_view(&x->body), &service, &e)) {
        answer_err(x, &e);
        return;
    }
    if (!health_service_known(service)) {
        answer_error(x, 404, GRPC_NOT_FOUND, STR("unknown service"), 0);
        return;
    }
    health_response_encode(process_ready(g, &why) ? HEALTH_SERVING : HEALTH_NOT_SERVING, &out);
    answer_message(x, &out);
}

/* ---- Inference ---- */

static void server_live(struct gateway *g, struct exchange *x)
{
    struct buf out = {0};

    (void)g;
    flag_encode(true, &out);
    answer_message(x, &out);
}

static void server_ready(struct gateway *g, struct exchange *x)
{
    struct buf out = {0};
    struct str why;

    flag_encode(process_ready(g, &why), &out);
    answer_message(x, &out);
}

static void server_metadata(struct gateway *g, struct exchange *x)
{
    struct buf out = {0};

    server_metadata_of(g, &out, false);
    answer_message(x, &out);
}

/* The name in the message wins here; a routing header stands in when it is empty. */
static bool model_of(struct gateway *g, struct exchange *x, struct resource *ret)
{
    struct model_ref ref = {0};
    struct err e;

    if (model_ref_decode(buf_view(&x->body), &ref, &e)) goto refuse;
    if (!ref.name.n) resource_header(x, &ref.name);
    if (resource_named(g, ref.name, ret, &e) || version_check(g, ret, ref.version, &e)) goto refuse;
    return true;
refuse:
    answer_err(x, &e);
    return false;
}

static void model_ready(struct gateway *g, struct exchange *x)
{
    struct resource r;

    if (model_of(g, x, &r)) ask_ready(g, x, &r);
}

static void model_metadata(struct gateway *g, struct exchange *x)
{
    struct resource r;

    if (model_of(g, x, &r)) ask_metadata(g, x, &r);
}

static void repository_index(struct gateway *g, struct exchange *x)
{
    struct repository_index_request request;
    struct buf out = {0};
    struct err e;

    if (repository_index_request_decode(buf_view(&x->body), &request, &e)) {
        answer_err(x, &e);
        return;
    }
    repository_index_of(g, request.ready, &out, false);
    answer_message(x, &out);
}

static void repository_load(struct gateway *g, struct exchange *x)
{
    struct repository_model m;
    struct err e;

    if (repository_model_decode(buf_view(&x->body), &x->arena, &m, &e))
        answer_err(x, &e);
    else
        ask_load(g, x, &(struct resource){m.model_name, true});
}

static void repository_unload(struct gateway *g, struct exchange *x)
{
    struct repository_model m;
    struct err e;

    if (repository_model_decode(buf_view(&x->body), &x->arena, &m, &e) == RC_OK) {
        struct resource r = {m.model_name, true};

        if (!resource_known(g, &r))
            err_set(&e, RC_NOT_FOUND, "model " STR_FMT " does not exist", STR_ARG(r.name));
        else {
            answer_error(
                x, 409, GRPC_FAILED_PRECONDITION,
                STR("a model is there as long as its resource is: delete the Model instead"), 0);
            return;
        }
    }
    answer_err(x, &e);
}

/* ---- Dispatch ---- */

static const struct method {
    const char *path;
    void (*request)(struct gateway *g, struct exchange *x);
} methods[] = {
    {"/inference.GRPCInferenceService/ModelInfer", infer_grpc},
    {"/inference.GRPCInferenceService/ModelReady", model_ready},
    {"/inference.GRPCInferenceService/ModelMetadata", model_metadata},
    {"/inference.GRPCInferenceService/ServerLive", server_live},
    {"/inference.GRPCInferenceService/ServerReady", server_ready},
    {"/inference.GRPCInferenceService/ServerMetadata", server_metadata},
    {"/inference.GRPCInferenceService/RepositoryIndex", repository_index},
    {"/inference.GRPCInferenceService/RepositoryModelLoad", repository_load},
    {"/inference.GRPCInferenceService/RepositoryModelUnload", repository_unload},
    {"/grpc.health.v1.Health/Check", health_check},
    {"/grpc.health.v1.Health/Watch", health_watch},
};

static const struct method *method_of(const struct exchange *x)
{
    for (size_t i = 0; i < countof(methods); i++)
        if (str_is(x->path, methods[i].path)) return &methods[i];
    return NULL;
}

/* At once: who opens a stream for it would wait for an answer to what he has not sent yet. */
static void method_refuse(struct exchange *x)
{
    struct err e;

    if (str_is(x->path, "/inference.GRPCInferenceService/ModelStreamInfer"))
        err_set(&e, RC_UNSUPPORTED, "ModelStreamInfer is not served: a request of a pipeline is one record and has one answer. Send each by "
                "ModelInfer, as many at a time as you like on one connection");
    else
        err_set(&e, RC_UNSUPPORTED, "unknown method " STR_FMT, STR_ARG(x->path));
    answer_err(x, &e);
}

void service_begin(struct gateway *g, struct exchange *x)
{
    (void)g;
    for (size_t i = 0; i < countof(reflections); i++)
        if (str_is(x->path, reflections[i].path)) {
            x->message = reflection_message;
            x->half_closed = reflection_end;
            return;
        }
    if (!method_of(x)) method_refuse(x);
}

void service_request(struct gateway *g, struct exchange *x)
{
    method_of(x)->request(g, x);
}
