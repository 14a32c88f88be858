/* tests/fuzz/kafka_batch_fuzz.c - record batches as a peer or a damaged disk may present them. Each batch is looked at as
 * it is, and once more with its checksum made right, so that the search gets behind it. What can be read in full is built
 * again, and must give the same records; also by way of messages of the old formats.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kafka/message_set.h"
#include "kafka/message_set_build.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PAYLOAD_MAX = 1 << 20, HEADERS_MAX = 64 };

static struct codecs *codecs;

static bool same(struct bytes a, struct bytes b)
{
    return bytes_eq(a, b) && !a.p == !b.p;
}

static size_t headers(const struct record *rec, struct record_header *h)
{
    struct rd walk = record_headers(rec);
    size_t    n = 0;

    while (n < HEADERS_MAX && record_headers_next(&walk, &h[n])) n++;
    return n;
}

/* Copies the records of b into a new batch; false when something in b cannot be read or deltas do not go up. */
static bool rebuild(const struct batch *b, struct buf *out, struct buf *scratch)
{
    struct record_header h[HEADERS_MAX];
    struct batch_builder w;
    struct records       it;
    struct record        rec;
    struct bytes         made;
    struct err           e;
    int32_t              last = -1;

    batch_begin(&w, out, &(struct batch_options){.codec = batch_codec(b), .base_offset = b->base_offset, .leader_epoch = -1});
    if (records_open(&it, b, codecs, PAYLOAD_MAX, scratch) != BATCH_OK) return false;
    while (records_next(&it, &rec)) {
        size_t n = headers(&rec, h);

        if (n != rec.headers_n || rec.offset_delta <= last) return false;
        last = rec.offset_delta;
        batch_add_at(&w, last, &(struct record_new){rec.timestamp, rec.key, rec.value, h, n});
    }
    return it.fault == BATCH_OK && batch_end(&w, codecs, &made, &e) == RC_OK;
}

static void compare(const struct batch *a, const struct batch *b)
{
    AUTO(buf_fini) struct buf sa = {0}, sb = {0};
    struct records            ia, ib;
    struct record             ra, rb;

    must(records_open(&ia, a, codecs, PAYLOAD_MAX, &sa) == BATCH_OK);
    must(records_open(&ib, b, codecs, 2 * PAYLOAD_MAX, &sb) == BATCH_OK);
    while (records_next(&ia, &ra)) {
        must(records_next(&ib, &rb));
        must(ra.offset == rb.offset && ra.timestamp == rb.timestamp && ra.headers_n == rb.headers_n);
        must(same(ra.key, rb.key) && same(ra.value, rb.value));
    }
    must(!records_next(&ib, &rb) && ib.fault == BATCH_OK);
}

/* Out in an old format, and in again. */
static void old(const struct batch *b, int8_t magic)
{
    AUTO(buf_fini) struct buf  out = {0}, back = {0}, sa = {0}, sb = {0};
    struct message_set_builder w = {.codecs = codecs, .magic = magic, .from = INT64_MIN, .expanded_bytes_max = PAYLOAD_MAX};
    enum batch_fault           fault;
    struct records             ia, ib;
    struct record              ra, rb;
    struct batch               again;
    bool                       cut;

    fault = message_set_build(&w, b, (struct message_set_room){SIZE_MAX, true}, &out, &cut);
    message_set_builder_fini(&w);
    must(!cut && (!fault || out.n == 0));
    if (out.n == 0) return;
    fault = message_set_convert(buf_view(&out), codecs, (struct message_set_rules){2 * PAYLOAD_MAX, false}, &sa, &back);
    if (fault == BATCH_TIMESTAMP) return;                    /* one below -1, which is taken from nobody */
    must(!fault && batch_view(buf_view(&back), &again) == BATCH_OK);
    must(records_open(&ia, b, codecs, PAYLOAD_MAX, &sa) == BATCH_OK);
    must(records_open(&ib, &again, codecs, 2 * PAYLOAD_MAX, &sb) == BATCH_OK);
    while (records_next(&ia, &ra)) must(records_next(&ib, &rb) && same(ra.key, rb.key) && same(ra.value, rb.value) && rb.timestamp == (magic ? ra.timestamp : -1));
    must(!records_next(&ib, &rb) && ia.fault == BATCH_OK && ib.fault == BATCH_OK);
}

static void look(const struct batch *b)
{
    AUTO(buf_fini) struct buf out = {0}, scratch = {0};
    struct batch              again;
    struct control            c;

    batch_check(b);
    batch_control(b, &c);
    batch_last_sequence(b);
    old(b, 0);
    old(b, 1);
    must(batch_last_offset(b) == INT64_MAX || batch_next_offset(b) > batch_last_offset(b));
    if (!rebuild(b, &out, &scratch)) return;
    must(batch_view(buf_view(&out), &again) == BATCH_OK && again.raw.n == out.n && batch_crc_ok(&again));
    compare(b, &again);
}

/* The same bytes as a message set of an old format: what can be converted is a batch that can be read. */
static void convert(struct bytes in)
{
    AUTO(buf_fini) struct buf made = {0}, scratch = {0};
    struct records            it;
    struct record             rec;
    struct batch              b;

    if (message_set_convert(in, codecs, (struct message_set_rules){PAYLOAD_MAX, false}, &scratch, &made)) {
        must(made.n == 0);
        return;
    }
    must(batch_view(buf_view(&made), &b) == BATCH_OK && b.raw.n == made.n && batch_check(&b) == BATCH_OK);
    must(records_open(&it, &b, codecs, 2 * PAYLOAD_MAX, &scratch) == BATCH_OK);
    while (records_next(&it, &rec)) must(rec.headers_n == 0);
    must(it.fault == BATCH_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(buf_fini) struct buf mine = {0};
    struct batch              b;
    size_t                    at = 0;

    if (!codecs) codecs = codecs_new();
    convert(bytes_of(data, size));
    buf_append(&mine, bytes_of(data, size));
    while (batch_view(bytes_sub(buf_view(&mine), at, mine.n - at), &b) == BATCH_OK) {
        look(&b);
        batch_set_crc(mine.p + at, b.raw.n);
        must(batch_view(b.raw, &b) == BATCH_OK && batch_crc_ok(&b));
        look(&b);
        batch_assign(mine.p + at, 1, 2);
        batch_set_log_append_time(mine.p + at, b.raw.n, 3);
        must(batch_view(b.raw, &b) == BATCH_OK && batch_crc_ok(&b));
        must(b.base_offset == 1 && b.leader_epoch == 2 && b.max_timestamp == 3 && batch_is(&b, BATCH_LOG_APPEND_TIME));
        at += b.raw.n;
    }
    return 0;
}
