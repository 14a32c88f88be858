/* cli/verify.c - log verify: the checker of a data folder, and what its files hold.   SPDX-License-Identifier: Apache-2.0 */
#include "app/log_check.h"
#include "cli/command.h"
#include <inttypes.h>
#include <stdio.h>

static void put_finding(const json_t *j)
{
    struct str weight = json_text(j, "weight"), remedy = json_text(j, "remedy");

    printf(STR_FMT ": " STR_FMT ": " STR_FMT, STR_ARG(weight), STR_ARG(json_text(j, "file")),
           STR_ARG(json_text(j, "text")));
    if (json_is_true(json_object_get(j, "repaired")))
        printf(" [repaired: " STR_FMT "]", STR_ARG(remedy));
    else if (str_is(weight, "damage") && remedy.n)
        printf(" [--repair: " STR_FMT "]", STR_ARG(remedy));
    else if (str_is(weight, "damage"))
        printf(" [cannot be repaired]");
    putchar('\n');
}

/* ctx: the array of findings, or NULL: they are printed as they come. */
static void on_found(void *ctx, const json_t *j)
{
    if (ctx)
        json_array_append_new(ctx, json_deep_copy(j));
    else
        put_finding(j);
}

static void put_summary(const json_t *s)
{
    printf("%" PRId64 " logs, %" PRId64 " files, %" PRId64 " batches, %" PRId64 " records, %" PRId64
           " MiB: %" PRId64 " damaged, %" PRId64 " to be made again, %" PRId64 " repaired, %" PRId64
           " notes\n",
           json_number(s, "logs"), json_number(s, "files"), json_number(s, "batches"),
           json_number(s, "records"), json_number(s, "bytes") >> 20, json_number(s, "damages"),
           json_number(s, "rebuildable"), json_number(s, "repaired"), json_number(s, "notes"));
}

static int verify(struct cli *cli, const char *dir)
{
    json_t *findings = cli->output == OUT_TABLE ? NULL : json_array(), *summary;
    bool whole;
    struct err e;

    if (log_check(dir, cli->repair, on_found, findings, &summary, &whole, &e)) {
        json_decref(findings);
        cli_fail("%s", e.text);
        return e.rc == RC_LOCKED        ? CLI_LOCKED
               : e.rc == RC_UNSUPPORTED ? CLI_DAMAGE
                                        : CLI_FAILED;
    }
    if (findings) {
        json_object_set_new(summary, "findings", findings);
        cli_put_json(cli, summary);
    } else {
        put_summary(summary);
    }
    json_decref(summary);
    return whole ? CLI_DONE : CLI_DAMAGE;
}

/* One JSON object a line, whatever --output says: a file may hold millions. */
static void on_piece(void *ctx, const json_t *j)
{
    char *text = json_dumps(j, JSON_COMPACT);

    (void)ctx;
    if (text) puts(text);
    free(text);
}

static int dump(const char *dir, const char *what)
{
    struct err e;

    if (!log_dump(dir, what, on_piece, NULL, &e)) return CLI_DONE;
    fflush(stdout);
    cli_fail("--dump %s: %s", what, e.text);
    return e.rc == RC_CORRUPT ? CLI_DAMAGE : CLI_FAILED;
}

int cmd_log(struct cli *cli)
{
    const char *dir = cli->data ? cli->data : getenv("MILLRACE_DATA");

    if (!dir || !*dir) dir = "./millrace-data";
    if (strcmp(cli->words[0], "verify") != 0) return cli_usage("log: verify is wanted");
    if (cli->dump && cli->repair) return cli_usage("log verify: either --dump or --repair");
    return cli->dump ? dump(dir, cli->dump) : verify(cli, dir);
}
