/* A broker that is spoken to line by line, for tests in other languages:
 *
 *     frame CONN HEX       sends a frame; the answers follow as lines "answer HEX", then "open" or "closed"
 *     wait MS              time passes
 *     read CONN            answers that came meanwhile, as above
 *     hangup CONN          the client goes away
 *     quit
 *
 * Options: NAME=VALUE are broker settings; clock=MS is the wall time to begin with; user=NAME:PASSWORD makes clients authenticate
 * (PLAIN, SCRAM-SHA-256); super=PRINCIPAL puts an authorizer in front of everything, and this one above it. SPDX-License-Identifier: Apache-2.0 */
#include "broker_rig.h"

#include "broker/core.h"

#include <stdio.h>

enum { LINE_MAX_BYTES = 16 << 20, CONNS_MAX = 256 };

struct named {
    char name[64];
    struct rig_conn c;
};

static struct named *conn_of(struct rig *g, struct named *conns, size_t *n, const char *name)
{
    for (size_t i = 0; i < *n; i++)
        if (!strcmp(conns[i].name, name)) return &conns[i];
    must(*n < CONNS_MAX);
    snprintf(conns[*n].name, sizeof conns[*n].name, "%s", name);
    rig_connect(g, &conns[*n].c);
    return &conns[(*n)++];
}

static void from_hex(const char *s, struct buf *into)
{
    unsigned v;

    for (buf_clear(into); sscanf(s, "%2x", &v) == 1; s += 2)
        buf_append_byte(into, (uint8_t)v);
}

static void tell(struct rig_conn *c)
{
    AUTO(buf_fini) struct buf a = {0};

    while (rig_answer(c, &a)) {
        printf("answer ");
        for (size_t i = 0; i < a.n; i++)
            printf("%02x", a.p[i]);
        printf("\n");
    }
    printf("%s\n", c->closed ? "closed" : "open");
}

static void serve(struct rig *g, char *line)
{
    static struct named conns[CONNS_MAX];
    static size_t n;
    AUTO(buf_fini) struct buf frame = {0};
    char *verb = strtok(line, " \n"), *arg = strtok(NULL, " \n"), *hex = strtok(NULL, " \n");
    struct named *c;

    while (verb && !strcmp(verb, "quit") && n)
        rig_hang_up(&conns[--n].c);
    if (!verb || !arg) return;
    if (!strcmp(verb, "wait")) {
        rig_advance(g, strtoull(arg, NULL, 10));
        printf("open\n");
        return;
    }
    c = conn_of(g, conns, &n, arg);
    if (!strcmp(verb, "hangup")) {
        rig_hang_up(&c->c);
        *c = conns[--n];
        must(c == &conns[n]); /* the last one opened; enough for tests */
    } else {
        if (!strcmp(verb, "frame") && hex) {
            from_hex(hex, &frame);
            rig_send(&c->c, buf_view(&frame));
        }
        tell(&c->c);
    }
}

static void user_add(struct rig *g, struct str option)
{
    struct scram_credential c;
    struct str name, password;
    uint64_t seq;
    struct err e;

    must(str_cut(option, ':', &name, &password));
    scram_credential_of_password(SCRAM_SHA_256, bytes_of("salt", 4), SCRAM_ITERATIONS_MIN, password,
                                 &c);
    must(!broker_user_set(g->b, name, &c, &seq, &e));
    g->listener->sasl = SASL_PLAIN | SASL_SCRAM_SHA_256;
}

int main(int argc, char **argv)
{
    static char line[LINE_MAX_BYTES];
    struct broker_setting *settings = xnew_array(struct broker_setting, (size_t)argc);
    struct str users[8], super = {0};
    size_t users_n = 0;
    struct rig g;

    rig_init(&g, 1);
    for (int i = 1; i < argc; i++) {
        struct broker_setting *s = &settings[g.opt.settings_n];

        must(str_cut(str_of(argv[i]), '=', &s->name, &s->value));
        if (str_is(s->name, "clock"))
            must(str_to_i64(s->value, &g.clock.wall_ms));
        else if (str_is(s->name, "user") && users_n < countof(users))
            users[users_n++] = s->value;
        else if (str_is(s->name, "super"))
            super = s->value;
        else
            g.opt.settings_n++;
    }
    g.opt.settings = settings;
    g.opt.refuse_replication = true;
    g.opt.acls = super.n;
    g.opt.super_users = &super;
    g.opt.super_users_n = super.n > 0;
    if (rig_open(&g)) {
        fprintf(stderr, "%s\n", g.err.text);
        return 1;
    }
    for (size_t i = 0; i < users_n; i++)
        user_add(&g, users[i]);
    while (fgets(line, sizeof line, stdin)) {
        bool quit = !strncmp(line, "quit", 4);

        serve(&g, line);
        fflush(stdout);
        if (quit) break;
    }
    rig_close(&g);
    rig_fini(&g);
    free(settings);
    return 0;
}
