/* cli/user.c - user: who may log in with SCRAM or PLAIN. A password becomes a salted one here and nothing else of it leaves.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"
#include "cli/kafka.h"
#include "kafka/msg/alter_user_scram_credentials.h"
#include "kafka/msg/describe_user_scram_credentials.h"
#include "kafka/security.h"
#include "sys/clock.h"
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { SETTLE_MS = 5000, SALT_BYTES = 32, PASSWORD_BYTES_MAX = 4096, HASHES = SCRAM_SHA_512 + 1 };
typedef struct describe_user_scram_credentials_response_result shown;

static const char *const mechanisms[HASHES] = {[SCRAM_SHA_256] = "SCRAM-SHA-256", [SCRAM_SHA_512] = "SCRAM-SHA-512"};

/* ---- the password ---- */

struct password { char text[PASSWORD_BYTES_MAX + 2]; size_t n; };

/* One line; what ends it does not belong to it. */
static int line_read(int fd, const char *from, struct password *ret)
{
    ret->n = 0;
    for (;;) {
        ssize_t n = read(fd, ret->text + ret->n, 1);

        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return cli_fail("%s: %s", from, strerror(errno));
        if (n == 0 || ret->text[ret->n] == '\n') break;
        if (++ret->n > PASSWORD_BYTES_MAX) return cli_fail("%s: a password of more than %d bytes", from, PASSWORD_BYTES_MAX);
    }
    if (ret->n && ret->text[ret->n - 1] == '\r') ret->n--;
    ret->text[ret->n] = 0;
    return ret->n ? CLI_DONE : cli_fail("%s: the password is empty", from);
}

static int prompt(const char *text, struct password *ret)
{
    struct termios kept, silent;
    int tty = open("/dev/tty", O_RDWR | O_CLOEXEC), status;

    if (tty < 0 || tcgetattr(tty, &kept)) {
        if (tty >= 0) close(tty);
        return cli_fail("no terminal to ask for the password; --password @FILE or MILLRACE_USER_PASSWORD gives it");
    }
    silent = kept;
    silent.c_lflag &= ~(tcflag_t)ECHO;
    tcsetattr(tty, TCSAFLUSH, &silent);          /* before it asks: what comes at once is neither shown nor thrown away */
    dprintf(tty, "%s", text);
    status = line_read(tty, "the terminal", ret);
    tcsetattr(tty, TCSAFLUSH, &kept);
    dprintf(tty, "\n");
    close(tty);
    return status;
}

static int asked(struct password *ret)
{
    struct password again = {0};
    int status;

    if (!isatty(STDIN_FILENO)) return line_read(STDIN_FILENO, "standard input", ret);
    status = prompt("Password: ", ret);
    if (!status) status = prompt("Again: ", &again);
    if (!status && strcmp(again.text, ret->text) != 0) status = cli_fail("these are two different passwords");
    OPENSSL_cleanse(&again, sizeof again);
    return status;
}

static int password_get(const struct cli *cli, struct password *ret)
{
    const char *said = cli_given(cli, "--password", 0), *env = getenv("MILLRACE_USER_PASSWORD");
    int fd, status;

    if (said && said[0] != '@') return cli_usage("--password: @FILE is wanted: others can read command lines");
    if (said && !strcmp(said, "@-")) return line_read(STDIN_FILENO, "standard input", ret);
    if (said) {
        fd = open(said + 1, O_RDONLY | O_CLOEXEC);
        if (fd < 0) return cli_fail("--password %s: %s", said, strerror(errno));
        status = line_read(fd, said + 1, ret);
        close(fd);
        return status;
    }
    if (!env) return asked(ret);
    ret->n = strlen(env);
    if (!ret->n || ret->n > PASSWORD_BYTES_MAX) return cli_fail("MILLRACE_USER_PASSWORD: a password of 1 to %d bytes is wanted", PASSWORD_BYTES_MAX);
    memcpy(ret->text, env, ret->n + 1);
    return CLI_DONE;
}

/* ---- what there is ---- */

/* *ret NULL: nobody has that name. */
static int find(struct kafka *k, const char *name, const shown **ret)
{
    struct describe_user_scram_credentials_request_user who = {.name = str_of(name)};
    struct describe_user_scram_credentials_request q = {.users = &who, .users_n = 1};
    struct describe_user_scram_credentials_response *a = arena_new(&k->arena, struct describe_user_scram_credentials_response);
    int status = kafka_ask(k, BUS_ASK_CONTROLLER, KAFKA_DESCRIBE_USER_SCRAM_CREDENTIALS, &q, a);

    *ret = NULL;
    if (status) return status;
    if (a->error_code) return kafka_fail("user", str_of(name), a->error_code, a->error_message);
    if (!a->results_n || a->results[0].error_code == KAFKA_ERR_RESOURCE_NOT_FOUND) return CLI_DONE;
    if (a->results[0].error_code) return kafka_fail("user", str_of(name), a->results[0].error_code, a->results[0].error_message);
    *ret = &a->results[0];
    return CLI_DONE;
}

static bool has(const shown *u, int hash)
{
    for (size_t i = 0; u && i < u->credential_infos_n; i++)
        if (u->credential_infos[i].mechanism == hash) return true;
    return false;
}

static int by_name(const void *a, const void *b)
{
    return str_cmp(((const shown *)a)->user, ((const shown *)b)->user);
}

static void put_user(const shown *u, json_t *list, struct table *t)
{
    json_t *credentials = list ? json_array() : NULL;
    AUTO(buf_fini) struct buf text = {0};

    for (size_t i = 0; i < u->credential_infos_n; i++) {
        int hash = u->credential_infos[i].mechanism;
        const char *name = hash > 0 && hash < HASHES ? mechanisms[hash] : "unknown";

        buf_printf(&text, "%s%s (%d)", i ? ", " : "", name, u->credential_infos[i].iterations);
        if (list) json_array_append_new(credentials, json_pack("{s:s,s:i}", "mechanism", name, "iterations", (int)u->credential_infos[i].iterations));
    }
    if (list) {
        json_array_append_new(list, json_pack("{s:s%,s:o}", "name", u->user.p ? u->user.p : "", u->user.n, "credentials", credentials));
        return;
    }
    table_add(t, u->user);
    table_add(t, buf_str(&text));
}

static int list(struct kafka *k)
{
    static const char *const titles[] = {"NAME", "CREDENTIALS (ITERATIONS)"};
    struct describe_user_scram_credentials_request q = {0};
    struct describe_user_scram_credentials_response a;
    json_t *users = k->cli->output == OUT_TABLE ? NULL : json_array();
    struct table t;
    int status = kafka_ask(k, BUS_ASK_CONTROLLER, KAFKA_DESCRIBE_USER_SCRAM_CREDENTIALS, &q, &a);

    if (!status && a.error_code) status = kafka_fail("users", STR(""), a.error_code, a.error_message);
    if (status) {
        json_decref(users);
        return status;
    }
    if (a.results_n) qsort(a.results, a.results_n, sizeof *a.results, by_name);
    table_begin(&t, titles, countof(titles));
    for (size_t i = 0; i < a.results_n; i++) put_user(&a.results[i], users, &t);
    if (!users) {
        table_end(&t);
        return CLI_DONE;
    }
    table_drop(&t);
    json_t *all = json_pack("{s:o}", "users", users);
    cli_put_json(k->cli, all);
    json_decref(all);
    return CLI_DONE;
}

/* ---- changes ---- */

/* One credential a request: Apache Kafka takes no user twice (DUPLICATE_RESOURCE), whatever the mechanism. */
static int alter(struct kafka *k, const char *name, const struct alter_user_scram_credentials_request *q)
{
    struct alter_user_scram_credentials_response a;
    int status = kafka_ask(k, BUS_ASK_CONTROLLER, KAFKA_ALTER_USER_SCRAM_CREDENTIALS, q, &a);

    for (size_t i = 0; !status && i < a.results_n; i++)
        if (a.results[i].error_code) status = kafka_fail("user", str_of(name), a.results[i].error_code, a.results[i].error_message);
    return status;
}

static int32_t iterations_of(const shown *u, int hash)
{
    for (size_t i = 0; u && i < u->credential_infos_n; i++)
        if (u->credential_infos[i].mechanism == hash) return u->credential_infos[i].iterations;
    return 0;
}

/* A cluster's brokers learn of a change a little later than its controller: done is what they tell (iterations 0: none). */
static int settle(struct kafka *k, const char *name, int hash, int64_t iterations)
{
    uint64_t until = clock_mono_ms(&clock_real) + SETTLE_MS;
    const shown *there;
    int status;

    while (!(status = find(k, name, &there)) && iterations_of(there, hash) != iterations && clock_mono_ms(&clock_real) < until)
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    return status;
}

static int salt(struct arena *arena, int hash, const struct password *password, int64_t iterations, struct alter_user_scram_credentials_request_upsertion *ret)
{
    size_t n = hash == SCRAM_SHA_256 ? 32 : 64;
    uint8_t *salted = arena_alloc(arena, n), *random = arena_alloc(arena, SALT_BYTES);
    const EVP_MD *md = hash == SCRAM_SHA_256 ? EVP_sha256() : EVP_sha512();

    random_bytes(random, SALT_BYTES);
    if (PKCS5_PBKDF2_HMAC(password->text, (int)password->n, random, SALT_BYTES, (int)iterations, md, (int)n, salted) != 1)
        return cli_fail("OpenSSL does not have %s", mechanisms[hash]);
    ret->mechanism = (int8_t)hash;
    ret->iterations = (int32_t)iterations;
    ret->salt = bytes_of(random, SALT_BYTES);
    ret->salted_password = bytes_of(salted, n);
    return CLI_DONE;
}

static int iterations_get(const struct cli *cli, int64_t *ret)
{
    const char *said = cli_given(cli, "--iterations", 0);

    *ret = SCRAM_ITERATIONS_MIN;
    if (!said || (str_to_i64(str_of(said), ret) && *ret >= SCRAM_ITERATIONS_MIN && *ret <= SCRAM_ITERATIONS_MAX)) return CLI_DONE;
    return cli_usage("--iterations: a whole number from %d to %d is wanted, not \"%s\"", SCRAM_ITERATIONS_MIN, SCRAM_ITERATIONS_MAX, said);
}

/* wanted: by hash, what --mechanism says, or both. */
static int mechanisms_get(const struct cli *cli, bool wanted[HASHES])
{
    const char *said;
    bool any = false;

    for (size_t n = 0; (said = cli_given(cli, "--mechanism", n)); n++) {
        any = false;
        for (int h = SCRAM_SHA_256; h < HASHES; h++)
            if (str_eq_nocase(str_of(said), str_of(mechanisms[h]))) wanted[h] = any = true;
        if (!any) return cli_usage("--mechanism: SCRAM-SHA-256 or SCRAM-SHA-512 is wanted, not \"%s\"", said);
    }
    if (!any) wanted[SCRAM_SHA_256] = wanted[SCRAM_SHA_512] = true;
    return CLI_DONE;
}

/* add: none of the credentials is there yet. Otherwise the user is there, and who names no mechanism means those that he has: a
 * password is not left behind in the other one. */
static int set(struct kafka *k, const char *name, bool add)
{
    bool wanted[HASHES] = {0}, named = cli_given(k->cli, "--mechanism", 0);
    struct password password = {0};
    const shown *there;
    int64_t iterations;
    int status;

    if ((status = iterations_get(k->cli, &iterations)) || (status = mechanisms_get(k->cli, wanted)) || (status = find(k, name, &there))) return status;
    if (!add && !there) return cli_fail("user %s does not exist; millrace user add %s makes it", name, name);
    for (int h = SCRAM_SHA_256; h < HASHES; h++) {
        if (add && wanted[h] && (has(there, h) || (there && !named)))
            return cli_fail("user %s exists already; millrace user set-password %s changes the password", name, name);
        if (!add && !named) wanted[h] = has(there, h);
    }
    status = password_get(k->cli, &password);
    for (int h = SCRAM_SHA_256; !status && h < HASHES; h++)
        if (wanted[h]) {
            struct alter_user_scram_credentials_request_upsertion one = {.name = str_of(name)};

            status = salt(&k->arena, h, &password, iterations, &one);
            if (!status) status = alter(k, name, &(struct alter_user_scram_credentials_request){.upsertions = &one, .upsertions_n = 1});
            if (!status) status = settle(k, name, h, iterations);
        }
    OPENSSL_cleanse(&password, sizeof password);
    return status;
}

static int delete(struct kafka *k, const char *name)
{
    bool wanted[HASHES] = {0}, any = false;
    const shown *there;
    int status;

    if ((status = mechanisms_get(k->cli, wanted)) || (status = find(k, name, &there))) return status;
    for (int h = SCRAM_SHA_256; !status && h < HASHES; h++)
        if (wanted[h] && has(there, h)) {
            struct alter_user_scram_credentials_request_deletion one = {.name = str_of(name), .mechanism = (int8_t)h};

            any = true;
            status = alter(k, name, &(struct alter_user_scram_credentials_request){.deletions = &one, .deletions_n = 1});
            if (!status) status = settle(k, name, h, 0);
        }
    return any ? status : cli_fail("user %s %s", name, there ? "has no such credential" : "does not exist");
}

int cmd_user(struct cli *cli)
{
    struct kafka k = {.cli = cli};
    const char *what = cli->words[0], *name = cli->words_n > 1 ? cli->words[1] : NULL;
    int status;

    if (!strcmp(what, "list")) status = name ? cli_usage("user list takes no name") : list(&k);
    else if (strcmp(what, "add") != 0 && strcmp(what, "set-password") != 0 && strcmp(what, "delete") != 0)
        status = cli_usage("user: add, list, set-password or delete is wanted, not \"%s\"", what);
    else if (!name) status = cli_usage("usage: millrace user %s NAME", what);
    else if (!strcmp(what, "delete")) status = delete (&k, name);
    else status = set(&k, name, !strcmp(what, "add"));
    kafka_end(&k);
    return status;
}
