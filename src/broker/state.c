/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/state.h"
#include "base/crc.h"

enum { HEAD_BYTES = 16, FRAME_HEAD = 12, LOG_FIXED = 88, EPOCH_BYTES = 12, CLOSED_BYTES = 40, FORMAT_READABLE_FROM = 1, NAME_BYTES_MAX = 249 };
static const char MAGIC[8] = "MILLRSTA";

void state_put_head(struct buf *into)
{
    uint8_t *h = buf_grow(into, HEAD_BYTES);

    memcpy(h, MAGIC, 8);
    store_le16(h + 8, STATE_FORMAT);
    store_le16(h + 10, FORMAT_READABLE_FROM);
    store_le32(h + 12, crc32c(bytes_of(h, 12)));
}

/* A frame: CRC of all that follows, kind, length, payload. */
static void put_frame(struct buf *into, enum state_kind kind, struct bytes a, struct bytes b)
{
    size_t   from = into->n;
    uint8_t *h = buf_grow(into, FRAME_HEAD);

    store_le32(h + 4, (uint32_t)kind);
    store_le32(h + 8, (uint32_t)(a.n + b.n));
    buf_append(into, a);
    buf_append(into, b);
    store_le32(into->p + from, crc32c(bytes_of(into->p + from + 4, into->n - from - 4)));
}

void state_put_meta(struct buf *into, struct bytes record) { put_frame(into, STATE_META, record, (struct bytes){0}); }

void state_put_gone(struct buf *into, const struct uuid *topic, uint32_t partition)
{
    uint8_t p[20];

    memcpy(p, topic->b, 16);
    store_le32(p + 16, partition);
    put_frame(into, STATE_GONE, bytes_of(p, sizeof p), (struct bytes){0});
}

static void put_closed(struct buf *into, const struct log_state *s)
{
    uint8_t p[CLOSED_BYTES] = {0};

    memcpy(p, s->topic.b, 16);
    store_le32(p + 16, s->partition);
    store_le64(p + 24, (uint64_t)s->closed_n);
    store_le64(p + 32, s->closed_bytes);
    put_frame(into, STATE_CLOSED, bytes_of(p, sizeof p), (struct bytes){0});
}

void state_put_log(struct buf *into, const struct log_state *s, const struct epochs *es)
{
    uint8_t    p[LOG_FIXED] = {0};
    struct buf tail = {0};

    memcpy(p, s->topic.b, 16);
    store_le32(p + 16, s->partition);
    store_le64(p + 24, (uint64_t)s->start);
    store_le64(p + 32, (uint64_t)s->end);
    store_le64(p + 40, (uint64_t)s->segment_base);
    store_le64(p + 48, s->segment_bytes);
    store_le32(p + 56, s->offsets_n);
    store_le32(p + 60, s->times_n);
    store_le64(p + 64, (uint64_t)s->snapshot);
    store_le64(p + 72, (uint64_t)s->cleaned);
    p[20] = s->rescued;
    store_le32(p + 80, (uint32_t)s->name.n);
    store_le32(p + 84, (uint32_t)es->n);
    buf_append_str(&tail, s->name);
    for (size_t i = 0; i < es->n; i++) {
        uint8_t *q = buf_grow(&tail, EPOCH_BYTES);

        store_le32(q, (uint32_t)es->v[i].number);
        store_le64(q + 4, (uint64_t)es->v[i].start);
    }
    put_frame(into, STATE_LOG, bytes_of(p, sizeof p), buf_view(&tail));
    buf_fini(&tail);
    if (s->closed_n != STATE_CLOSED_UNKNOWN) put_closed(into, s);
}

void state_epochs(struct bytes raw, struct epochs *into)
{
    for (size_t at = 0; at < raw.n; at += EPOCH_BYTES) epochs_add(into, (int32_t)load_le32(raw.p + at), (int64_t)load_le64(raw.p + at + 4));
}

bool state_name_ok(struct str topic)
{
    return topic.n && topic.n <= NAME_BYTES_MAX && !memchr(topic.p, '/', topic.n) && !memchr(topic.p, 0, topic.n);
}

static bool offsets_ok(const struct log_state *s)
{
    return s->start >= 0 && s->start <= s->end && s->segment_base >= 0 && s->segment_base <= s->end && s->snapshot >= -1 && s->snapshot <= s->end;
}

static bool log_decode(struct bytes b, struct state_frame *f)
{
    size_t name_n;

    if (b.n < LOG_FIXED) return false;
    name_n = load_le32(b.p + 80);
    if (name_n > b.n - LOG_FIXED || (uint64_t)load_le32(b.p + 84) * EPOCH_BYTES != b.n - LOG_FIXED - name_n) return false;
    f->log = (struct log_state){.partition = load_le32(b.p + 16), .rescued = b.p[20], .start = (int64_t)load_le64(b.p + 24), .end = (int64_t)load_le64(b.p + 32),
                                .segment_base = (int64_t)load_le64(b.p + 40), .segment_bytes = load_le64(b.p + 48),
                                .offsets_n = load_le32(b.p + 56), .times_n = load_le32(b.p + 60), .snapshot = (int64_t)load_le64(b.p + 64),
                                .cleaned = (int64_t)load_le64(b.p + 72), .closed_n = STATE_CLOSED_UNKNOWN, .name = bytes_str(bytes_sub(b, LOG_FIXED, name_n))};
    f->epochs = bytes_sub(b, LOG_FIXED + name_n, b.n - LOG_FIXED - name_n);
    memcpy(f->log.topic.b, b.p, 16);
    return state_name_ok(f->log.name) && offsets_ok(&f->log);
}

static bool frame_decode(enum state_kind kind, struct bytes b, struct state_frame *f)
{
    *f = (struct state_frame){.kind = kind};
    switch (kind) {
    case STATE_META: f->meta = b; return true;
    case STATE_LOG: return log_decode(b, f);
    case STATE_GONE:
        if (b.n != 20) return false;
        f->log.partition = load_le32(b.p + 16);
        memcpy(f->log.topic.b, b.p, 16);
        return true;
    case STATE_CLOSED:
        if (b.n < CLOSED_BYTES) return false;
        f->log.partition = load_le32(b.p + 16);
        memcpy(f->log.topic.b, b.p, 16);
        f->log.closed_n = (int64_t)load_le64(b.p + 24);
        f->log.closed_bytes = load_le64(b.p + 32);
        return true;
    }
    return false;
}

static bool is_known(uint32_t kind) { return kind == STATE_META || kind == STATE_LOG || kind == STATE_GONE || kind == (uint32_t)STATE_CLOSED; }

static enum rc check_head(struct bytes file, uint32_t *ret_format, struct err *e)
{
    uint16_t from;

    if (file.n < HEAD_BYTES || memcmp(file.p, MAGIC, 8) != 0 || load_le32(file.p + 12) != crc32c(bytes_of(file.p, 12)))
        return err_set(e, RC_CORRUPT, "checkpoint: its head is damaged; nothing was changed");
    *ret_format = load_le16(file.p + 8);
    from = load_le16(file.p + 10) ? load_le16(file.p + 10) : (uint16_t)*ret_format;
    if (from > STATE_FORMAT)
        return err_set(e, RC_UNSUPPORTED, "checkpoint: format %u was written by a newer millrace, this one reads up to %d; nothing was changed", *ret_format, (int)STATE_FORMAT);
    return RC_OK;
}

enum rc state_replay(struct bytes file, state_fn fn, void *ctx, uint32_t *ret_format, struct err *e)
{
    size_t at = HEAD_BYTES;

    if (check_head(file, ret_format, e)) return e->rc;
    while (at < file.n) {
        const uint8_t     *h = file.p + at;
        struct state_frame f;
        uint32_t           kind;
        size_t             n;

        if (file.n - at < FRAME_HEAD || (n = load_le32(h + 8)) > file.n - at - FRAME_HEAD || load_le32(h) != crc32c(bytes_of(h + 4, FRAME_HEAD - 4 + n)))
            return err_set(e, RC_CORRUPT, "checkpoint: damaged at byte %zu of %zu; nothing was changed", at, file.n);
        kind = load_le32(h + 4);
        at += FRAME_HEAD + n;
        if (!is_known(kind) && kind >> 31) continue;
        if (!is_known(kind) || !frame_decode((enum state_kind)kind, bytes_of(h + FRAME_HEAD, n), &f))
            return err_set(e, RC_CORRUPT, "checkpoint: a frame of kind %u before byte %zu makes no sense; nothing was changed", kind, at);
        if (fn(ctx, &f, e)) return e->rc;
    }
    return RC_OK;
}
