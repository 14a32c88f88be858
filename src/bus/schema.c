/* The two schemas are the messages of schema/oip/grpc_service.proto, each with what it needs inside it, since a record names
 * a schema and a message of it. SPDX-License-Identifier: Apache-2.0 */
#include "bus/schema.h"

enum { ID_LEN = 4, INDEX_COUNT_ONE = 2 /* a count of 1, zigzag */ };

#define HELPERS                                                                                                        \
    "  message InferParameter {\n"                                                                                     \
    "    oneof parameter_choice {\n"                                                                                   \
    "      bool bool_param = 1;\n"                                                                                     \
    "      int64 int64_param = 2;\n"                                                                                   \
    "      string string_param = 3;\n"                                                                                 \
    "    }\n"                                                                                                          \
    "  }\n"                                                                                                            \
    "  message InferTensorContents {\n"                                                                                \
    "    repeated bool bool_contents = 1;\n"                                                                           \
    "    repeated int32 int_contents = 2;\n"                                                                           \
    "    repeated int64 int64_contents = 3;\n"                                                                         \
    "    repeated uint32 uint_contents = 4;\n"                                                                         \
    "    repeated uint64 uint64_contents = 5;\n"                                                                       \
    "    repeated float fp32_contents = 6;\n"                                                                          \
    "    repeated double fp64_contents = 7;\n"                                                                         \
    "    repeated bytes bytes_contents = 8;\n"                                                                         \
    "  }\n"
#define TENSOR(NAME)                                                                                                   \
    "  message " NAME " {\n"                                                                                           \
    "    string name = 1;\n"                                                                                           \
    "    string datatype = 2;\n"                                                                                       \
    "    repeated int64 shape = 3;\n"                                                                                  \
    "    map<string, InferParameter> parameters = 4;\n"                                                                \
    "    InferTensorContents contents = 5;\n"                                                                          \
    "  }\n"
#define HEAD                                                                                                           \
    "  string model_name = 1;\n"                                                                                       \
    "  string model_version = 2;\n"                                                                                    \
    "  string id = 3;\n"                                                                                               \
    "  map<string, InferParameter> parameters = 4;\n"

static const char request_text[] = "syntax = \"proto3\";\n"
                                   "package inferenceSchema;\n"
                                   "\n"
                                   "message ModelInferRequest {\n" HELPERS TENSOR("InferInputTensor")
                                       "  message InferRequestedOutputTensor {\n"
                                       "    string name = 1;\n"
                                       "    map<string, InferParameter> parameters = 2;\n"
                                       "  }\n" HEAD "  repeated InferInputTensor inputs = 5;\n"
                                       "  repeated InferRequestedOutputTensor outputs = 6;\n"
                                       "  repeated bytes raw_input_contents = 7;\n"
                                       "}\n";
static const char response_text[] = "syntax = \"proto3\";\n"
                                    "package inferenceSchema;\n"
                                    "\n"
                                    "message ModelInferResponse {\n" HELPERS TENSOR("InferOutputTensor")
                                        HEAD "  repeated InferOutputTensor outputs = 5;\n"
                                        "  repeated bytes raw_output_contents = 6;\n"
                                        "}\n";

const char *schema_text(bool outputs)
{
    return outputs ? response_text : request_text;
}

void schema_prefix(int32_t id, uint8_t ret[SCHEMA_PREFIX_LEN])
{
    uint32_t n = (uint32_t)id;

    ret[0] = 0;
    for (int i = 0; i < ID_LEN; i++)
        ret[1 + i] = (uint8_t)(n >> (24 - 8 * i));
    ret[1 + ID_LEN] = 0;
}

/* How long the prefix is; 0: there is none; SIZE_MAX: it means another message. */
static size_t prefix_len(struct bytes v)
{
    const size_t at = 1 + ID_LEN;

    if (v.n < SCHEMA_PREFIX_LEN || v.p[0] != 0) return 0;
    if (v.p[at] == 0) return SCHEMA_PREFIX_LEN;
    if (v.p[at] == INDEX_COUNT_ONE && v.n > at + 1 && v.p[at + 1] == 0) return SCHEMA_PREFIX_LEN + 1;
    return SIZE_MAX;
}

struct bytes schema_message(struct bytes value)
{
    size_t n = prefix_len(value);

    return n == 0 || n == SIZE_MAX ? value : (struct bytes){value.p + n, value.n - n};
}

bool schema_other_message(struct bytes value)
{
    return prefix_len(value) == SIZE_MAX;
}
