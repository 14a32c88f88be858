/* tests/fuzz/h2_fuzz.c - HTTP/2 frames of a client, behind a preface that is always right. The first byte says where the
 * bytes are cut in two. SPDX-License-Identifier: Apache-2.0
 */
#include "http_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    static struct http_fuzz f;
    struct buf all = {0};

    if (!f.loop) http_fuzz_open(&f);
    if (size < 2 || size > 100000) return 0;
    buf_append_str(&all, STR(preface));
    buf_append(&all, bytes_of(data + 1, size - 1));
    http_fuzz_say(&f, all.p, all.n, data[0] + 24u);
    buf_fini(&all);
    return 0;
}
