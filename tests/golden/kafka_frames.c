/* SPDX-License-Identifier: Apache-2.0 */
#include "kafka_frames.h"
#include "kafka/compress.h"
#include <ctype.h>
#include <glob.h>
#include <stdio.h>

void frames_fini(struct frames *f)
{
    arena_fini(&f->keep);
    free(f->v);
    *f = (struct frames){0};
}

static void add(struct frames *f, struct frame one)
{
    if (f->n == f->cap) f->v = xrealloc(f->v, f->cap = f->cap * 2 + 64, sizeof *f->v);
    f->v[f->n++] = one;
}

/* The whole of a gzip file, kept with the frames. */
static struct bytes load(struct frames *f, const char *path)
{
    AUTO(codecs_freep) struct codecs *c = codecs_new();
    AUTO(buf_fini) struct buf         packed = {0}, plain = {0};
    FILE                             *in = fopen(path, "rb");
    struct err                        e;
    size_t                            n;

    if (!in) fprintf(stderr, "cannot open %s\n", path);
    must(in != NULL);
    do {
        buf_reserve(&packed, 65536);
        n = fread(packed.p + packed.n, 1, packed.cap - packed.n, in);
        packed.n += n;
    } while (n);
    fclose(in);
    must(kafka_decompress(c, KAFKA_CODEC_GZIP, buf_view(&packed), 64 << 20, &plain, &e) == RC_OK);
    return arena_dup(&f->keep, buf_view(&plain));
}

static void load_java(struct frames *f, const char *dir, const char *name)
{
    char      path[4096];
    struct rd r;

    snprintf(path, sizeof path, "%s/kafka-java/%s", dir, name);
    rd_init(&r, load(f, path));
    while (rd_left(&r)) {
        struct frame one = {.kind = (enum kafka_message_kind)rd_i8(&r), .key = rd_i16(&r)};

        one.name = bytes_str(rd_take(&r, (uint8_t)rd_i8(&r)));
        one.version = rd_i16(&r);
        one.bytes = rd_take(&r, rd_u32(&r));
        must(r.why == RD_OK);
        add(f, one);
    }
}

void frames_load_java(struct frames *f, const char *dir)
{
    load_java(f, dir, "frames.bin.gz");
    load_java(f, dir, "frames4.bin.gz");
}

/* Our recordings have a fixed shape: "name":"…" and "key":"hex" or null, no escapes in what is looked for. */
static struct str value_of(struct str line, const char *key)
{
    char        want[32];
    const char *p;
    struct str  v = {0};

    snprintf(want, sizeof want, "\"%s\":\"", key);
    p = memmem(line.p, line.n, want, strlen(want));
    if (!p) return v;
    v.p = p + strlen(want);
    while (v.p + v.n < line.p + line.n && v.p[v.n] != '"') v.n++;
    return v;
}

static unsigned digit(char c)
{
    return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
}

static struct bytes unhex(struct arena *a, struct str hex)
{
    uint8_t *p = arena_alloc(a, hex.n / 2 + 1);

    for (size_t i = 0; i < hex.n / 2; i++) p[i] = (uint8_t)(digit(hex.p[2 * i]) << 4 | digit(hex.p[2 * i + 1]));
    return bytes_of(p, hex.n / 2);
}

static void add_exchange(struct frames *f, struct str line)
{
    struct bytes q = unhex(&f->keep, value_of(line, "q")), a = unhex(&f->keep, value_of(line, "a"));
    struct frame one = {.name = value_of(line, "name")};

    if (q.n < 4 + 8 || load_be32(q.p) != q.n - 4) return;               /* not a request: raw bytes on purpose */
    one.kind = KAFKA_MESSAGE_REQUEST;
    one.key = (int16_t)load_be16(q.p + 4);
    one.version = (int16_t)load_be16(q.p + 6);
    one.bytes = bytes_sub(q, 4, q.n - 4);
    add(f, one);
    if (a.n < 4 + 4) return;
    must(load_be32(a.p) == a.n - 4);
    one.kind = KAFKA_MESSAGE_RESPONSE;
    one.bytes = bytes_sub(a, 4, a.n - 4);
    add(f, one);
}

void frames_load_recorded(struct frames *f, const char *dir)
{
    char   pattern[4096];
    glob_t found;

    snprintf(pattern, sizeof pattern, "%s/kafka381/*.jsonl.gz", dir);
    must(glob(pattern, 0, NULL, &found) == 0 && found.gl_pathc == 11);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        struct str line, rest = bytes_str(load(f, found.gl_pathv[i]));

        while (rest.n) {
            str_cut(rest, '\n', &line, &rest);
            add_exchange(f, line);
        }
    }
    globfree(&found);
}

/* "OffsetCommitKey" is "offset commit key" here. */
static bool same_name(struct str java, const char *ours)
{
    size_t i = 0;

    for (; *ours; ours++)
        if (*ours != ' ' && (i == java.n || tolower((unsigned char)java.p[i++]) != *ours)) return false;
    return i == java.n;
}

static const struct kafka_message *message_of(const struct frame *f)
{
    if (f->kind != KAFKA_MESSAGE_DATA) return kafka_message_of(f->kind, f->key);
    for (size_t i = 0; i < kafka_messages_n; i++)
        if (kafka_messages[i]->kind == KAFKA_MESSAGE_DATA && same_name(f->name, kafka_messages[i]->name)) return kafka_messages[i];
    return NULL;
}

/* Reads the header, and writes it again if `w` is given. */
static bool header(const struct frame *f, struct rd *r, struct wr *w)
{
    struct kafka_request_header h;
    int32_t                     id;

    if (f->kind == KAFKA_MESSAGE_REQUEST) {
        if (!kafka_request_header_decode(r, &h)) return false;
        if (w) kafka_request_header_encode(w, &h);
    } else if (f->kind == KAFKA_MESSAGE_RESPONSE) {
        if (!kafka_response_header_decode(r, kafka_api_of(f->key), f->version, &id)) return false;
        if (w) kafka_response_header_encode(w, kafka_api_of(f->key), f->version, id);
    }
    return true;
}

const struct kafka_message *frame_open(const struct frame *f, struct bytes bytes, struct rd *r)
{
    const struct kafka_message *m = message_of(f);

    rd_init(r, bytes);
    if (!m || f->version < m->min || f->version > m->max) return NULL;
    header(f, r, NULL);
    return m;
}

bool frame_rewrite(const struct frame *f, struct bytes bytes, struct arena *a, struct rd *r, struct buf *out)
{
    const struct kafka_message *m = message_of(f);
    AUTO(wr_fini) struct wr     w;
    void                       *body = xcalloc(1, m->size);
    size_t                      before = out->n;
    bool                        ok;

    wr_init(&w, out);
    rd_init(r, bytes);
    ok = header(f, r, &w) && m->decode(r, f->version, a, body);
    if (ok) must(m->encode(&w, f->version, body));
    else out->n = before;
    free(body);
    return ok;
}
