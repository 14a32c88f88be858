/* tests/fuzz/kafka_compress_fuzz.c - the codecs. The first byte chooses one; the rest is expanded, within a limit, and also
 * compressed and expanded again.   SPDX-License-Identifier: Apache-2.0
 */
#include "kafka/compress.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { EXPANDED_MAX = 1 << 20 };

static struct codecs *codecs;

static void there_and_back(enum kafka_codec codec, struct bytes plain)
{
    AUTO(buf_fini) struct buf small = {0}, back = {0};
    struct err                e;

    must(kafka_compress(codecs, codec, plain, &small, &e) == RC_OK);
    must(kafka_decompress(codecs, codec, buf_view(&small), plain.n, &back, &e) == RC_OK);
    must(bytes_eq(plain, buf_view(&back)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(buf_fini) struct buf out = {0};
    enum kafka_codec          codec;
    struct bytes              in;
    struct err                e;
    enum rc                   rc;

    if (size == 0) return 0;
    if (!codecs) codecs = codecs_new();
    codec = (enum kafka_codec)(data[0] % KAFKA_CODECS);
    in = bytes_of(data + 1, size - 1);
    rc = kafka_decompress(codecs, codec, in, EXPANDED_MAX, &out, &e);
    must(rc == RC_OK || rc == RC_INVALID || rc == RC_TOO_LARGE);
    must(out.n <= EXPANDED_MAX && (rc == RC_OK || out.n == 0));
    must(out.cap <= 4 * EXPANDED_MAX);
    if (rc == RC_OK) there_and_back(codec, buf_view(&out));
    there_and_back(codec, in);
    return 0;
}
