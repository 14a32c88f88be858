/* Server reflection out of the descriptors that tools/gendescriptors.py embeds.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "oip/pb.h"
#include "oip/service.h"

enum {
    ASK_FILE = 3,
    ASK_SYMBOL = 4,
    ASK_EXTENSION = 5,
    ASK_EXTENSION_NUMBERS = 6,
    ASK_SERVICES = 7
};
enum { ANSWER_FILE = 4, ANSWER_EXTENSION_NUMBERS = 5, ANSWER_SERVICES = 6, ANSWER_ERROR = 7 };
enum { GRPC_INVALID_ARGUMENT = 3, GRPC_NOT_FOUND = 5 };

const struct schema_file *schema_by_name(struct str name)
{
    const struct schema_file *files;
    size_t n = schema_files(&files);

    for (size_t i = 0; i < n; i++)
        if (str_eq(files[i].name, name)) return &files[i];
    return NULL;
}

const struct schema_file *schema_by_symbol(struct str symbol)
{
    const struct schema_file *files;
    size_t n = schema_files(&files);

    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < files[i].symbols_n; k++)
            if (str_eq(files[i].symbols[k], symbol)) return &files[i];
    return NULL;
}

static void put_error(struct buf *b, int code, struct str what, struct str name)
{
    size_t at = pb_begin(b, ANSWER_ERROR), text;

    pb_put_u64(b, 1, (uint64_t)code);
    text = pb_begin(b, 2);
    buf_append_str(b, what);
    buf_append_str(b, name);
    pb_end(b, text);
    pb_end(b, at);
}

static void put_file(struct buf *b, const struct schema_file *f, struct str asked)
{
    size_t at;

    if (!f) {
        put_error(b, GRPC_NOT_FOUND, STR("not known here: "), asked);
        return;
    }
    at = pb_begin(b, ANSWER_FILE);
    pb_put_bytes(b, 1, f->descriptor);
    pb_end(b, at);
}

static void put_services(struct buf *b)
{
    const struct schema_file *files;
    size_t n = schema_files(&files), at = pb_begin(b, ANSWER_SERVICES);

    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < files[i].services_n; k++) {
            size_t one = pb_begin(b, 1);

            pb_put_str(b, 1, files[i].services[k]);
            pb_end(b, one);
        }
    pb_end(b, at);
}

static void put_extension_numbers(struct buf *b, struct str type)
{
    size_t at;

    if (!schema_by_symbol(type)) {
        put_error(b, GRPC_NOT_FOUND, STR("not known here: "), type);
        return;
    }
    at = pb_begin(b, ANSWER_EXTENSION_NUMBERS);
    pb_put_str(b, 1, type);
    pb_end(b, at);
}

enum rc reflection_answer(struct bytes request, struct buf *response, struct err *e)
{
    struct pb_reader r = pb_reader_of(request);
    struct pb_field ask = {0};
    struct str host = {0};

    for (struct pb_field f; pb_next(&r, &f);) {
        if (f.number == 1 && f.wire == PB_LEN) host = pb_str(&f);
        if (f.number >= ASK_FILE && f.number <= ASK_SERVICES && f.wire == PB_LEN) ask = f;
    }
    if (r.why) return pb_failed(&r, "ServerReflectionRequest", e);
    pb_put_str(response, 1, host);
    pb_put_bytes(response, 2, request);
    switch (ask.number) {
    case ASK_FILE: put_file(response, schema_by_name(pb_str(&ask)), pb_str(&ask)); break;
    case ASK_SYMBOL: put_file(response, schema_by_symbol(pb_str(&ask)), pb_str(&ask)); break;
    case ASK_EXTENSION:
        put_error(response, GRPC_NOT_FOUND, STR("there are no extensions"), (struct str){0});
        break;
    case ASK_EXTENSION_NUMBERS: put_extension_numbers(response, pb_str(&ask)); break;
    case ASK_SERVICES: put_services(response); break;
    default:
        put_error(response, GRPC_INVALID_ARGUMENT, STR("the request asks for nothing"),
                  (struct str){0});
        break;
    }
    return RC_OK;
}
