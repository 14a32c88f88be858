/* oip/service.h - the small messages of inference.GRPCInferenceService, grpc.health.v1 and grpc.reflection.
 *
 * Decoding borrows from the message and the arena. Encoding appends to a buf. `x_decode(bytes, arena, &m, e)` gives
 * RC_INVALID for what is no such message; `x_encode(&m, buf)` cannot fail. Messages without fields need neither.
 * Both directions exist for all, since the gateway answers them and upstream asks them.
 * Pure. Used by: gateway, upstream, cli.      SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "oip/proto.h"

/* ServerLiveResponse.live, ServerReadyResponse.ready, ModelReadyResponse.ready: the same message under three names. */
enum rc flag_decode(struct bytes msg, bool *ret, struct err *e) MUST_USE;
void    flag_encode(bool v, struct buf *b);

/* ModelReadyRequest and ModelMetadataRequest. */
struct model_ref { struct str name, version; };
enum rc model_ref_decode(struct bytes msg, struct model_ref *ret, struct err *e) MUST_USE;
void    model_ref_encode(const struct model_ref *m, struct buf *b);

struct server_metadata { struct str name, version; const struct str *extensions; size_t extensions_n; };
enum rc server_metadata_decode(struct bytes msg, struct arena *a, struct server_metadata *ret, struct err *e) MUST_USE;
void    server_metadata_encode(const struct server_metadata *m, struct buf *b);

struct tensor_metadata { struct str name, datatype; const int64_t *shape; size_t shape_n; struct infer_params params; };
struct model_metadata {
    struct str                    name, platform;
    const struct str             *versions;
    size_t                        versions_n;
    const struct tensor_metadata *inputs, *outputs;
    size_t                        inputs_n, outputs_n;
    struct infer_params           params;
};
enum rc model_metadata_decode(struct bytes msg, struct arena *a, struct model_metadata *ret, struct err *e) MUST_USE;
void    model_metadata_encode(const struct model_metadata *m, struct buf *b);

/* The REST forms: {"name":…,"versions":[…],"platform":…,"inputs":[{"name":…,"datatype":…,"shape":[…]}],"outputs":[…]}
 * and {"name":…,"version":…,"extensions":[…]}. */
void    model_metadata_encode_json(const struct model_metadata *m, struct buf *b);
void    server_metadata_encode_json(const struct server_metadata *m, struct buf *b);

struct repository_index_request { struct str repository_name; bool ready; };
enum rc repository_index_request_decode(struct bytes msg, struct repository_index_request *ret, struct err *e) MUST_USE;
void    repository_index_request_encode(const struct repository_index_request *m, struct buf *b);

struct model_index { struct str name, version, state, reason; };
struct repository_index { const struct model_index *models; size_t models_n; };
enum rc repository_index_decode(struct bytes msg, struct arena *a, struct repository_index *ret, struct err *e) MUST_USE;
void    repository_index_encode(const struct repository_index *m, struct buf *b);
void    repository_index_encode_json(const struct repository_index *m, struct buf *b);     /* the array of POST /v2/repository/index */

/* RepositoryModelLoadRequest and RepositoryModelUnloadRequest; parameters stay as map entries (ModelRepositoryParameter). */
struct repository_model { struct str repository_name, model_name; struct infer_params params; };
enum rc repository_model_decode(struct bytes msg, struct arena *a, struct repository_model *ret, struct err *e) MUST_USE;
void    repository_model_encode(const struct repository_model *m, struct buf *b);

/* grpc.health.v1.Health/Check and /Watch. */
enum health_status { HEALTH_UNKNOWN = 0, HEALTH_SERVING = 1, HEALTH_NOT_SERVING = 2, HEALTH_SERVICE_UNKNOWN = 3 };
enum rc health_request_decode(struct bytes msg, struct str *ret_service, struct err *e) MUST_USE;
void    health_response_encode(enum health_status s, struct buf *b);

/* grpc.reflection.v1 and v1alpha: one request in, its response out (the two versions have the same layout). What cannot
 * be found is answered with the protocol's own error_response, so only a malformed request fails. */
enum rc reflection_answer(struct bytes request, struct buf *response, struct err *e) MUST_USE;

/* The files behind reflection, compiled into the program from schema/oip. */
struct schema_file {
    struct str        name;
    struct bytes      descriptor;            /* a serialised FileDescriptorProto; it imports nothing */
    const struct str *symbols;               /* full names of services, methods, messages, fields, enums and their values */
    size_t            symbols_n;
    const struct str *services;
    size_t            services_n;
};
size_t                    schema_files(const struct schema_file **ret);
const struct schema_file *schema_by_name(struct str name);
const struct schema_file *schema_by_symbol(struct str symbol);
