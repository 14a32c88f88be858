/* cli/config.c - serve and config: the two commands that read the configuration. SPDX-License-Identifier: Apache-2.0 */
#include "app/config.h"
#include "cli/command.h"
#include <stdio.h>
#include <unistd.h>

/* Takes --output out of the flags of `config`: all others are configuration keys. */
static int output_take(struct cli *cli, char **kept, size_t *ret_n)
{
    size_t n = 0;
    int status = CLI_DONE;

    for (int i = 0; i < cli->args_n && !status; i++) {
        const char *arg = cli->args[i];
        if (!strncmp(arg, "--output=", 9))
            status = cli_output_set(cli, arg + 9);
        else if (!strcmp(arg, "--output") || !strcmp(arg, "-o"))
            status = cli_output_set(cli, i + 1 < cli->args_n ? cli->args[++i] : "");
        else
            kept[n++] = cli->args[i];
    }
    *ret_n = n;
    return status;
}

int cli_config_load(char *const *args, size_t n, struct config **ret)
{
    AUTO(problems_fini) struct problems problems = {0};
    AUTO(buf_fini) struct buf b = {0};
    struct config_sources src = {.args = args, .args_n = n, .environ = environ};

    if (!config_load(&src, ret, &problems)) return CLI_DONE;
    problems_print(&problems, &b);
    fwrite(b.p, 1, b.n, stderr);
    return cli_usage("the configuration has %zu problem%s", problems.n + problems.left_out,
                     problems.n + problems.left_out == 1 ? "" : "s");
}

int cmd_serve(struct cli *cli)
{
    struct config *c;
    int status = cli_config_load(cli->args, (size_t)cli->args_n, &c);

    if (status) return status;
    status = cli->serve(c);
    config_free(c);
    return status;
}

int cmd_config(struct cli *cli)
{
    AUTO(buf_fini) struct buf b = {0};
    char **kept = xnew_array(char *, (size_t)cli->args_n + 1);
    size_t n = 0;
    struct config *c;
    int status = output_take(cli, kept, &n);

    if (!status) status = cli_config_load(kept, n, &c);
    free(kept);
    if (status) return status;
    config_print(c,
                 cli->output == OUT_JSON   ? CONFIG_AS_JSON
                 : cli->output == OUT_YAML ? CONFIG_AS_YAML
                                           : CONFIG_AS_TABLE,
                 &b);
    for (size_t i = 0; i < c->notes.n; i++)
        fprintf(stderr, "note: " STR_FMT "\n", STR_ARG(c->notes.list[i]));
    cli_put(buf_str(&b));
    config_free(c);
    return CLI_DONE;
}
