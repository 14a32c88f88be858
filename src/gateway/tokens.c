/* See tokens.h. SPDX-License-Identifier: Apache-2.0 */
#include "gateway/tokens.h"

#include "base/buf.h"
#include "base/rng.h"
#include "sys/fs.h"
#include <openssl/crypto.h>
#include <openssl/sha.h>

enum { FILE_BYTES_MAX = 1 << 20, TOKENS_MAX = 1000, SALT_BYTES_MAX = 64, NAME_BYTES_MAX = 64 };

struct entry {
    unsigned roles;
    struct str name; /* owned */
    uint8_t salt[SALT_BYTES_MAX];
    size_t salt_n;
    uint8_t hash[SHA256_DIGEST_LENGTH];
};

struct tokens {
    size_t n;
    struct entry list[];
};

static void hash_of(const struct entry *one, struct str token, uint8_t ret[SHA256_DIGEST_LENGTH])
{
    uint8_t text[SALT_BYTES_MAX + TOKEN_BYTES_MAX];

    memcpy(text, one->salt, one->salt_n);
    memcpy(text + one->salt_n, token.p, token.n);
    SHA256(text, one->salt_n + token.n, ret);
    OPENSSL_cleanse(text, one->salt_n + token.n);
}

bool roles_parse(struct str text, unsigned *ret)
{
    static const char *const names[] = {"infer", "read", "admin"};
    unsigned roles = 0;
    bool more = true;

    while (more) {
        struct str one;
        unsigned before = roles;

        more = str_cut(text, ',', &one, &text);
        for (size_t i = 0; i < countof(names); i++)
            if (str_is(one, names[i])) roles |= 1u << i;
        if (roles == before) return false;
    }
    *ret = roles;
    return true;
}

/* The next word of a line; .n 0: none. */
static struct str word(struct str *line)
{
    struct str one = {line->p, 0};

    while (line->n && (line->p[0] == ' ' || line->p[0] == '\t')) *line = (struct str){line->p + 1, line->n - 1};
    one.p = line->p;
    while (line->n && line->p[0] != ' ' && line->p[0] != '\t') {
        one.n++;
        *line = (struct str){line->p + 1, line->n - 1};
    }
    return one;
}

static bool printable(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] > '~') return false;
    return true;
}

static bool hex_read(struct str hex, uint8_t ret[SHA256_DIGEST_LENGTH])
{
    if (hex.n != (size_t)2 * SHA256_DIGEST_LENGTH) return false;
    for (size_t i = 0; i < hex.n; i++) {
        char c = hex.p[i];
        int v = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;

        if (v < 0) return false;
        ret[i / 2] = (uint8_t)(i % 2 ? ret[i / 2] | v : v << 4);
    }
    return true;
}

/* What is wrong with the token of a line; NULL: it is in *one. It never shows the token. */
static const char *secret_read_in(struct str text, struct entry *one)
{
    struct str kind, salt, hex;

    if (str_starts(text, STR("sha256:"))) {
        str_cut(text, ':', &kind, &salt);
        if (!str_cut(salt, ':', &salt, &hex) || !salt.n || salt.n > SALT_BYTES_MAX || !hex_read(hex, one->hash))
            return "a hash is sha256:SALT:HEX, with 1 to 64 characters of salt and 64 digits";
        memcpy(one->salt, salt.p, salt.n);
        one->salt_n = salt.n;
        return NULL;
    }
    if (text.n < TOKEN_BYTES_MIN) return "a token of fewer than 16 characters can be guessed: openssl rand -hex 32 makes a good one";
    if (text.n > TOKEN_BYTES_MAX || !printable(text)) return "a token is at most 512 printable characters without spaces";
    one->salt_n = 16;
    random_bytes(one->salt, one->salt_n);
    hash_of(one, text, one->hash);
    return NULL;
}

static const char *line_read(struct str line, struct entry *one)
{
    struct str roles = word(&line), name = word(&line), secret = word(&line);
    const char *wrong;

    if (!secret.n || word(&line).n) return "ROLES NAME TOKEN is wanted, with spaces between them";
    if (!roles_parse(roles, &one->roles)) return "the roles are infer, read and admin, with commas between them";
    if (name.n > NAME_BYTES_MAX || !printable(name)) return "a name is at most 64 printable characters";
    if ((wrong = secret_read_in(secret, one))) return wrong;
    one->name = str_own(name);
    return NULL;
}

enum rc tokens_parse(struct str text, const char *path, struct tokens **ret, struct err *e)
{
    struct tokens *t = xcalloc(1, sizeof *t + TOKENS_MAX * sizeof t->list[0]);
    unsigned number = 0;
    bool more = true;

    while (more) {
        struct str line;
        const char *wrong = NULL;

        more = str_cut(text, '\n', &line, &text);
        line = str_trim(line);
        number++;
        if (!line.n || line.p[0] == '#') continue;
        if (t->n == TOKENS_MAX)
            wrong = "more than 1000 tokens; with that many callers let an issuer sign them (security.gateway.jwt)";
        else
            wrong = line_read(line, &t->list[t->n]);
        if (wrong) {
            tokens_free(t);
            return err_set(e, RC_INVALID, "%s:%u: %s", path, number, wrong);
        }
        t->n++;
    }
    *ret = t;
    return RC_OK;
}

enum rc tokens_load(const char *path, struct tokens **ret, struct err *e)
{
    AUTO(buf_wipe) struct buf text = {0};
    enum rc rc = fs_load(&fs_real, path, FILE_BYTES_MAX, &text, e);

    if (!rc) rc = tokens_parse(buf_str(&text), path, ret, e);
    return rc;
}

struct tokens *tokens_free(struct tokens *t)
{
    if (!t) return NULL;
    for (size_t i = 0; i < t->n; i++) str_drop(&t->list[i].name);
    OPENSSL_cleanse(t->list, t->n * sizeof t->list[0]);
    free(t);
    return NULL;
}

size_t tokens_count(const struct tokens *t)
{
    return t->n;
}

bool tokens_find(const struct tokens *t, struct str token, unsigned *ret_roles, struct str *ret_name)
{
    const struct entry *found = NULL;

    if (token.n > TOKEN_BYTES_MAX) return false;
    for (size_t i = 0; i < t->n; i++) {
        uint8_t hash[SHA256_DIGEST_LENGTH];

        hash_of(&t->list[i], token, hash);
        if (!CRYPTO_memcmp(hash, t->list[i].hash, sizeof hash)) found = &t->list[i];
    }
    if (!found) return false;
    *ret_roles = found->roles;
    *ret_name = found->name;
    return true;
}
