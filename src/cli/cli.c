/* cli/cli.c - the table of commands, the options, help, the man page. SPDX-License-Identifier: Apache-2.0 */
#include "app/config.h"
#include "base/nearest.h"
#include "cli/command.h"
#include <stdio.h>
#include <unistd.h>

const struct command commands[] = {
    {"serve", "[--config F] [--data DIR] [--KEY VALUE]...", "run the broker and the data plane",
     "Starts everything in one process and prints one line when every listener answers: ready "
     "NAME=HOST:PORT… pid=N. "
     "SIGTERM ends it after running requests have finished.",
     OPT_CONFIG, 0, 0, cmd_serve},
    {"config", "[--config F] [--KEY VALUE]...",
     "print the effective configuration and where each value comes from",
     "Takes the flags of serve, reads the same files and variables, and checks them the same way. "
     "Secrets are masked.",
     OPT_CONFIG | OPT_OUTPUT, 0, 0, cmd_config},
    {"apply", "-f FILE|DIR|-", "create or change resources",
     "Server, Model, Pipeline and Experiment in YAML, several documents in a file, all YAML files of a folder. "
     "Everything is checked first; with any problem "
     "nothing is applied, and every problem is printed with its place. A relative storageUri is "
     "taken from where the file lies.",
     OPT_FILE | OPT_CHECK | OPT_OUTPUT | OPT_SERVER, 0, CLI_WORDS_MAX, cmd_apply},
    {"get", "[KIND [NAME]]", "list resources and whether they are ready",
     "KIND is server, model, pipeline or experiment. Readiness is asked for, not remembered.",
     OPT_OUTPUT | OPT_SERVER, 0, 2, cmd_get},
    {"describe", "KIND NAME", "show everything about one resource",
     "As YAML, unless --output json.", OPT_OUTPUT | OPT_SERVER, 2, 2, cmd_describe},
    {"delete", "KIND NAME | -f FILE", "delete resources",
     "With -f, everything that the file declares, pipelines first. A Model that is a step of a "
     "pipeline, or a Server that models have no place without, is only deleted with --force.",
     OPT_FILE | OPT_FORCE | OPT_OUTPUT | OPT_SERVER, 0, 2, cmd_delete},
    {"infer", "pipeline|model NAME [JSON | -f FILE]", "send one request and print the answer",
     "The request is Open Inference Protocol V2 JSON. By REST, or with --grpc by gRPC.",
     OPT_FILE | OPT_GRPC | OPT_HEADER | OPT_OUTPUT | OPT_SERVER, 2, 3, cmd_infer},
    {"trace", "REQUEST_ID", "every record of one request across all topics, in order",
     "Decoded, with the time since the first one.", OPT_PIPELINE | OPT_OUTPUT | OPT_SERVER, 1, 1,
     cmd_trace},
    {"inspect", "NAME[.STEP[.inputs|outputs[.TENSOR]]]",
     "what flowed through a pipeline or model, decoded",
     "The last records of each topic that belongs to the expression.",
     OPT_LIMIT | OPT_OUTPUT | OPT_SERVER, 1, 1, cmd_inspect},
    {"replay", "PIPELINE --into PIPELINE [--from TIME] [--to TIME]",
     "send recorded requests of a pipeline to another one",
     "In the order they came, one after the other, with their request ids and x- headers. Without --from what the log has, "
     "without --to up to now. Requests that fail are listed, and the exit status is 1.",
     OPT_INTO | OPT_FROM | OPT_TO | OPT_CHECK | OPT_OUTPUT | OPT_SERVER, 1, 1, cmd_replay},
    {"topic", "list | read TOPIC", "topics with their offsets; records of a topic, decoded",
     "Works on the embedded broker and on a Kafka cluster alike.",
     OPT_ALL | OPT_PARTITION | OPT_OFFSET | OPT_LIMIT | OPT_OUTPUT | OPT_SERVER, 1, 2, cmd_topic},
    {"log", "verify [--data DIR] [--repair | --dump WHAT]",
     "check every file of a data folder that nobody uses",
     "One sentence for each finding; exit status 4 when something is damaged and was not repaired. "
     "--repair keeps what it takes out of use in the folder damaged. --dump prints the batches and "
     "records of a segment or of a partition (TOPIC-PARTITION), or the entries of an index or "
     "snapshot, one JSON object a line.",
     OPT_DATA | OPT_REPAIR | OPT_DUMP | OPT_OUTPUT, 1, 1, cmd_log},
    {"doctor", "[--config F] [--KEY VALUE]...", "check everything that pipelines depend on",
     "Takes the flags of serve and looks where they point: clock, disk, certificates, the Kafka cluster as the data plane reaches it "
     "(what it can do, the round trip to it, its topics), the process that serves, and its model servers. Each line says ok, warn or "
     "fail, and what to do. Exit status 1 when something failed.",
     OPT_CONFIG | OPT_OUTPUT | OPT_SERVER, 0, 0, cmd_doctor},
    {"user", "add | list | set-password | delete [NAME]", "users who log in with a name and a password",
     "SCRAM and PLAIN check against them. The password is read from @FILE, from MILLRACE_USER_PASSWORD, or asked "
     "for; it is salted here and travels nowhere. add and set-password make credentials for both hashes, unless "
     "--mechanism names one. Works on the embedded broker and on a Kafka cluster alike.",
     OPT_USER | OPT_KAFKA | OPT_DATA | OPT_OUTPUT | OPT_SERVER, 1, 2, cmd_user},
    {"acl", "add | list | delete [RESOURCE AND PRINCIPAL]", "who may do what",
     "The options are those of kafka-acls. add needs a resource and a principal; list and delete take what "
     "matches. A principal is User:NAME or User:*.",
     OPT_ACL | OPT_KAFKA | OPT_DATA | OPT_FORCE | OPT_OUTPUT | OPT_SERVER, 1, 1, cmd_acl},
    {"version", "", "print the version", "", 0, 0, 0, cmd_version},
    {"help", "[COMMAND | keys]", "print this, or all about one command",
     "keys: every configuration key as a flag, with its default.", 0, 0, 1, cmd_help},
};
const size_t commands_n = countof(commands);

static const struct option {
    const char *name, *brief, *value;
    unsigned bit;                                /* those of the commands that take it */
    const char *help;
} options[] = {
    {"--output", "-o", "table|json|yaml", OPT_OUTPUT, "How to print results; table is for people."},
    {"--server", NULL, "[https://]HOST:PORT", OPT_SERVER,
     "Where millrace listens for inference. Else MILLRACE_SERVER, else 127.0.0.1:9000."},
    {"--token", NULL, "@FILE", OPT_TOKEN,
     "The token to show, from a file. Else MILLRACE_TOKEN, a token or @FILE."},
    {"--cacert", NULL, "FILE", OPT_CACERT,
     "Whose certificates are trusted (PEM), with https://. Else MILLRACE_CACERT, else the system's."},
    {"--cert", NULL, "FILE", OPT_CERT, "The certificate to show (PEM). Else MILLRACE_CERT."},
    {"--key", NULL, "FILE", OPT_KEY, "Its private key (PEM). Else MILLRACE_KEY."},
    {"--file", "-f", "FILE", OPT_FILE,
     "What to read; - is standard input. May be given several times."},
    {"--check", NULL, NULL, OPT_CHECK,
     "Check everything and say what would be done; store nothing."},
    {"--data", NULL, "DIR", OPT_DATA, "The data folder. Else MILLRACE_DATA, else ./millrace-data."},
    {"--repair", NULL, NULL, OPT_REPAIR, "Put right what can be put right."},
    {"--dump", NULL, "FILE|TOPIC-PARTITION", OPT_DUMP, "Print what a file or partition holds."},
    {"--force", NULL, NULL, OPT_FORCE, "Delete it although others need it; acl: every entry."},
    {"--grpc", NULL, NULL, OPT_GRPC, "Speak gRPC instead of REST."},
    {"--header", NULL, "'NAME: VALUE'", OPT_HEADER,
     "Send this header too. May be given several times."},
    {"--limit", "-n", "N", OPT_LIMIT, "How many records, 10 when not given."},
    {"--partition", NULL, "P", OPT_PARTITION, "Only this partition."},
    {"--offset", NULL, "N|start|end", OPT_OFFSET,
     "Where to begin; end, the default, means the last ones."},
    {"--pipeline", NULL, "NAME", OPT_PIPELINE, "Only records that belong to this pipeline."},
    {"--into", NULL, "PIPELINE", OPT_INTO, "Who gets the requests."},
    {"--from", NULL, "TIME", OPT_FROM,
     "2026-11-23T10:00:00Z, 2026-11-23, -15m (s, m, h, d ago), now, or milliseconds since 1970."},
    {"--to", NULL, "TIME", OPT_TO, "The same; what came at this time or later is not meant."},
    {"--bootstrap", NULL, "HOST:PORT,...", OPT_KAFKA,
     "Speak to this Kafka directly, not through a millrace."},
    {"--offline", NULL, NULL, OPT_KAFKA,
     "Change the data folder (--data DIR) of a broker that does not run: its first users, for one."},
    {"--command-config", NULL, "FILE", OPT_KAFKA,
     "With --bootstrap: properties for the connection, one NAME=VALUE a line (security.protocol, sasl.mechanism, "
     "sasl.username, sasl.password, ssl.ca.location, ...)."},
    {"--password", NULL, "@FILE", OPT_USER, "Where the password is; @- is standard input."},
    {"--mechanism", NULL, "NAME", OPT_USER, "Only SCRAM-SHA-256 or SCRAM-SHA-512."},
    {"--iterations", NULL, "N", OPT_USER, "How often the password is hashed: 4096, when not given, to 16384."},
    {"--allow-principal", NULL, "User:NAME", OPT_ACL, "Who is allowed. May be given several times."},
    {"--deny-principal", NULL, "User:NAME", OPT_ACL, "Who is denied, whatever else allows it."},
    {"--allow-host", NULL, "ADDRESS", OPT_ACL, "From where; every host when not given."},
    {"--deny-host", NULL, "ADDRESS", OPT_ACL, "The same of --deny-principal."},
    {"--principal", NULL, "User:NAME", OPT_ACL, "list and delete: entries of this principal."},
    {"--operation", NULL, "NAME", OPT_ACL,
     "Read, Write, Create, Delete, Alter, Describe, ClusterAction, DescribeConfigs, AlterConfigs, "
     "IdempotentWrite, CreateTokens, DescribeTokens or All. May be given several times."},
    {"--topic", NULL, "NAME", OPT_ACL, "The topic; * is every one."},
    {"--group", NULL, "NAME", OPT_ACL, "The consumer group; * is every one."},
    {"--cluster", NULL, NULL, OPT_ACL, "The cluster itself."},
    {"--transactional-id", NULL, "NAME", OPT_ACL, "The transactional id; * is every one."},
    {"--delegation-token", NULL, "NAME", OPT_ACL, "The delegation token."},
    {"--user-principal", NULL, "User:NAME", OPT_ACL, "The user that tokens are made for."},
    {"--resource-pattern-type", NULL, "TYPE", OPT_ACL,
     "literal, the default, or prefixed: names that begin so. list and delete also: any, or match (all patterns "
     "that apply to the name)."},
    {"--producer", NULL, NULL, OPT_ACL, "What a producer needs of --topic (and --transactional-id)."},
    {"--consumer", NULL, NULL, OPT_ACL, "What a consumer needs of --topic and --group."},
    {"--idempotent", NULL, NULL, OPT_ACL, "With --producer: what an idempotent one needs."},
    {"--all", NULL, NULL, OPT_ALL, "Topics of all namespaces, and foreign ones."},
};

static unsigned options_of(const struct command *c)
{
    return c->options | (c->options & OPT_SERVER ? OPT_WHO : 0);
}

/* ---- help ---- */

static void put_options(unsigned wanted, struct buf *b)
{
    for (size_t i = 0; i < countof(options); i++) {
        const struct option *o = &options[i];
        if (!(o->bit & wanted)) continue;
        buf_printf(b, "  %s%s%s%s%s\n        %s\n", o->brief ? o->brief : "", o->brief ? ", " : "",
                   o->name, o->value ? " " : "", o->value ? o->value : "", o->help);
    }
}

static void help_all(struct buf *b)
{
    buf_append_str(b, STR("usage: millrace COMMAND [ARGUMENTS]\n\nA Kafka-compatible broker and "
                          "inference pipelines in one process.\n\n"));
    for (size_t i = 0; i < commands_n; i++)
        buf_printf(b, "  %-9s %s\n", commands[i].name, commands[i].summary);
    buf_append_str(b, STR("\nmillrace help COMMAND tells more. Exit status: 0 done, 1 failed, 2 "
                          "usage or configuration, 3 data folder in use, 4 damage.\n"));
}

/* What most people give, in groups; every other key stands in `millrace help keys`. */
static const struct {
    const char *group, *flag, *value, *help;
} flags[] = {
    {"where", "--data", "DIR", "Folder for everything durable, ./millrace-data when not given."},
    {NULL, "--config", "F", "Read this YAML file."},
    {NULL, "--kafka-listen", "HOST:PORT",
     "Where Kafka clients connect, 127.0.0.1:9092; port 0 takes a free one."},
    {NULL, "--kafka-advertise", "HOST:PORT",
     "What Kafka clients are told; the host's name when every address is listened on."},
    {NULL, "--infer-listen", "HOST:PORT", "Where REST and gRPC come in, 127.0.0.1:9000."},
    {NULL, "--allow-unauthenticated", "",
     "Let the inference port be public without authentication."},
    {NULL, "--security.gateway.tokens", "F", "Who may call: one token a line (docs/security.md)."},
    {NULL, "--security.gateway.tls.crtPath", "F", "Its certificate; with --security.gateway.tls.keyPath its key."},
    {"what", "--broker-only", "", "Nothing but the broker."},
    {NULL, "--no-broker", "", "No broker of its own: the data plane on another Kafka."},
    {NULL, "--bootstrap", "HOST:PORT,...", "That other Kafka."},
    {NULL, "--kafka-config-path", "F", "Read this kafka.json; everything else wins over it."},
    {NULL, "--namespace", "NAME", "Part of every topic's name, default when not given."},
    {"how", "--gateway.timeoutMs", "MS", "Deadline of a request whose caller names none, 120000."},
    {NULL, "--gateway.drainMs", "MS", "How long running requests may take to finish at the end."},
    {NULL, "--flow.durability", "disk|cache", "What a reply waits for."},
    {NULL, "--kafka.topics.numPartitions", "N",
     "Partitions of topics that pipelines and models get."},
    {NULL, "--kafka.topics.replicationFactor", "N", "Their replicas, on another Kafka."},
    {NULL, "--broker.config.log.retention.ms", "MS",
     "How long records are kept, a week when not given."},
    {NULL, "--telemetry.log.level", "LEVEL",
     "error, warn, info or debug; per module: info,broker=debug."},
};

static void put_flags(struct buf *b)
{
    for (size_t i = 0; i < countof(flags); i++) {
        AUTO(buf_fini) struct buf flag = {0};
        buf_printf(&flag, "%s%s%s", flags[i].flag, *flags[i].value ? " " : "", flags[i].value);
        if (flags[i].group) buf_printf(b, "\n%s\n", flags[i].group);
        buf_printf(b, "  %-38s %s\n", buf_cstr(&flag), flags[i].help);
    }
    buf_append_str(b,
                   STR("\nEvery configuration key is a flag. `millrace help keys` lists them all; "
                       "docs/config.md says the same on a page.\n"));
}

static void help_one(const struct command *c, struct buf *b)
{
    buf_printf(b, "usage: millrace %s%s%s\n\n%s.%s%s\n", c->name, *c->args ? " " : "", c->args,
               c->summary, *c->help ? "\n\n" : "", c->help);
    if (c->options & ~(unsigned)OPT_CONFIG) {
        buf_append_str(b, STR("\noptions:\n"));
        put_options(options_of(c), b);
    }
    if (c->options & OPT_CONFIG) {
        put_flags(b);
    }
}

static int command_unknown(const char *name)
{
    struct nearest meant;

    nearest_begin(&meant, str_of(name));
    for (size_t i = 0; i < commands_n; i++)
        nearest_offer(&meant, str_of(commands[i].name));
    if (meant.best.n)
        return cli_usage("there is no command \"%s\"; did you mean " STR_FMT
                         "? millrace help lists them",
                         name, STR_ARG(meant.best));
    return cli_usage("there is no command \"%s\"; millrace help lists them", name);
}

static const struct command *command_find(const char *name)
{
    for (size_t i = 0; i < commands_n; i++)
        if (!strcmp(commands[i].name, name)) return &commands[i];
    return NULL;
}

/* roff: a dot or a quote at the beginning of a line, and backslashes and hyphens, mean something. */
static void put_roff(struct buf *b, const char *text)
{
    if (*text == '.' || *text == '\'') buf_append_str(b, STR("\\&"));
    for (const char *p = text; *p; p++) {
        if (*p == '\\')
            buf_append_str(b, STR("\\e"));
        else if (*p == '-')
            buf_append_str(b, STR("\\-"));
        else if (!strncmp(p, "…", 3)) {
            buf_append_str(b, STR("..."));
            p += 2;
        } else
            buf_append_byte(b, (uint8_t)*p);
    }
}

static void man_page(struct buf *b)
{
    buf_append_str(b,
                   STR(".\\\" Made from the table of commands by `millrace help --man`.\n.TH "
                       "MILLRACE 1 \"\" \"millrace " MILLRACE_VERSION "\" \"User Commands\"\n"
                       ".SH NAME\nmillrace \\- a Kafka\\-compatible broker and inference pipelines "
                       "in one process\n"
                       ".SH SYNOPSIS\n.B millrace\n.I COMMAND\n.RI [ ARGUMENTS ]\n.SH COMMANDS\n"));
    for (size_t i = 0; i < commands_n; i++) {
        const struct command *c = &commands[i];
        buf_printf(b, ".TP\n.B %s\n", c->name);
        if (*c->args) {
            put_roff(b, c->args);
            buf_append_str(b, STR("\n.br\n"));
        }
        put_roff(b, c->summary);
        buf_append_str(b, STR(".\n"));
        if (*c->help) {
            buf_append_str(b, STR(".br\n"));
            put_roff(b, c->help);
            buf_append_byte(b, '\n');
        }
    }
    buf_append_str(b, STR(".SH OPTIONS\n"));
    for (size_t i = 0; i < countof(options); i++) {
        buf_append_str(b, STR(".TP\n.B "));
        if (options[i].brief) {
            put_roff(b, options[i].brief);
            buf_append_str(b, STR(", "));
        }
        put_roff(b, options[i].name);
        if (options[i].value) {
            buf_append_byte(b, ' ');
            put_roff(b, options[i].value);
        }
        buf_append_byte(b, '\n');
        put_roff(b, options[i].help);
        buf_append_byte(b, '\n');
    }
    buf_append_str(b, STR(".SH FLAGS OF SERVE AND CONFIG\n"));
    for (size_t i = 0; i < countof(flags); i++) {
        buf_append_str(b, STR(".TP\n.B "));
        put_roff(b, flags[i].flag);
        if (*flags[i].value) buf_append_byte(b, ' ');
        put_roff(b, flags[i].value);
        buf_append_byte(b, '\n');
        put_roff(b, flags[i].help);
        buf_append_byte(b, '\n');
    }
    buf_append_str(b,
                   STR(".PP\nEvery configuration key is a flag; millrace help keys lists "
                       "them.\n.SH EXIT STATUS\n0 done, 1 failed, 2 usage or configuration, 3 data "
                       "folder in use, 4 damage found.\n"
                       ".SH ENVIRONMENT\n.TP\n.B MILLRACE_SERVER\nHOST:PORT of the inference "
                       "port, for every command but serve and config.\n"
                       ".TP\n.B MILLRACE_TOKEN, MILLRACE_CACERT, MILLRACE_CERT, MILLRACE_KEY\n"
                       "Who they are: a token or @FILE, and files of certificates.\n"
                       ".PP\nThe variables that serve reads are listed in docs/config.md.\n"));
}

int cmd_help(struct cli *cli)
{
    AUTO(buf_fini) struct buf b = {0};
    const struct command *c = cli->words_n ? command_find(cli->words[0]) : NULL;

    if (cli->words_n && !c && strcmp(cli->words[0], "keys")) return command_unknown(cli->words[0]);
    if (cli->words_n && !c)
        config_print_flags(&b);
    else if (c)
        help_one(c, &b);
    else
        help_all(&b);
    cli_put(buf_str(&b));
    return CLI_DONE;
}

int cmd_version(struct cli *cli)
{
    (void)cli;
    puts("millrace " MILLRACE_VERSION);
    return CLI_DONE;
}

/* ---- options ---- */

static int number(const char *option, const char *text, int64_t low, int64_t high, int64_t *ret)
{
    if (str_to_i64(str_of(text), ret) && *ret >= low && *ret <= high) return CLI_DONE;
    return cli_usage("%s: a whole number from %lld to %lld is wanted, not \"%s\"", option,
                     (long long)low, (long long)high, text);
}

int cli_output_set(struct cli *cli, const char *text)
{
    if (!strcmp(text, "table"))
        cli->output = OUT_TABLE;
    else if (!strcmp(text, "json"))
        cli->output = OUT_JSON;
    else if (!strcmp(text, "yaml"))
        cli->output = OUT_YAML;
    else
        return cli_usage("--output: table, json or yaml is wanted, not \"%s\"", text);
    return CLI_DONE;
}

const char *cli_given(const struct cli *cli, const char *name, size_t n)
{
    for (size_t i = 0; i < cli->given_n; i++)
        if (!strcmp(cli->given[i].name, name) && n-- == 0) return cli->given[i].value;
    return NULL;
}

static int option_set(struct cli *cli, const struct option *o, const char *value)
{
    switch (o->bit) {
    case OPT_OUTPUT: return cli_output_set(cli, value);
    case OPT_SERVER:
        cli->server = value;
        cli->server_given = true;
        break;
    case OPT_TOKEN:
        cli->who.token = value;
        cli->who.token_given = true;
        break;
    case OPT_CACERT: cli->who.cacert = value; break;
    case OPT_CERT: cli->who.cert = value; break;
    case OPT_KEY: cli->who.key = value; break;
    case OPT_GRPC: cli->grpc = true; break;
    case OPT_ALL: cli->all = true; break;
    case OPT_CHECK: cli->check = true; break;
    case OPT_FORCE: cli->force = true; break;
    case OPT_REPAIR: cli->repair = true; break;
    case OPT_DATA: cli->data = value; break;
    case OPT_DUMP: cli->dump = value; break;
    case OPT_PIPELINE: cli->pipeline = value; break;
    case OPT_OFFSET: cli->offset = value; break;
    case OPT_FROM: cli->from = value; break;
    case OPT_TO: cli->to = value; break;
    case OPT_INTO: cli->into = value; break;
    case OPT_LIMIT: return number("--limit", value, 1, 10000, &cli->limit);
    case OPT_PARTITION: return number("--partition", value, 0, INT32_MAX, &cli->partition);
    case OPT_FILE:
        if (cli->files_n == CLI_FILES_MAX) return cli_usage("more than %d files", CLI_FILES_MAX);
        cli->files[cli->files_n++] = value;
        break;
    case OPT_HEADER:
        if (cli->headers_n == CLI_HEADERS_MAX)
            return cli_usage("more than %d headers", CLI_HEADERS_MAX);
        if (!strchr(value, ':') || strpbrk(value, "\r\n"))
            return cli_usage("--header: 'NAME: VALUE' is wanted, not \"%s\"", value);
        cli->headers[cli->headers_n++] = value;
        break;
    default:
        if (cli->given_n == CLI_GIVEN_MAX) return cli_usage("more than %d options", CLI_GIVEN_MAX);
        cli->given[cli->given_n].name = o->name;
        cli->given[cli->given_n++].value = value ? value : "";
    }
    return CLI_DONE;
}

static const struct option *option_find(struct str name, const struct command *c)
{
    for (size_t i = 0; i < countof(options); i++)
        if ((options[i].bit & options_of(c)) &&
            (str_is(name, options[i].name) || (options[i].brief && str_is(name, options[i].brief))))
            return &options[i];
    return NULL;
}

static int option_unknown(struct str name, const struct command *c)
{
    struct nearest meant;

    nearest_begin(&meant, name);
    for (size_t i = 0; i < countof(options); i++)
        if (options[i].bit & options_of(c)) nearest_offer(&meant, str_of(options[i].name));
    if (meant.best.n)
        return cli_usage("%s: unknown option " STR_FMT "; did you mean " STR_FMT
                         "? millrace help %s",
                         c->name, STR_ARG(name), STR_ARG(meant.best), c->name);
    return cli_usage("%s: unknown option " STR_FMT "; millrace help %s", c->name, STR_ARG(name),
                     c->name);
}

/* One argument; *i moves behind what was read. */
static int argument(struct cli *cli, const struct command *c, char *const *args, int n, int *i,
                    bool *only_words)
{
    const char *arg = args[(*i)++];
    struct str name, value;
    bool has_value;

    if (!*only_words && !strcmp(arg, "--")) {
        *only_words = true;
        return CLI_DONE;
    }
    if (*only_words || arg[0] != '-' || !arg[1]) {
        if (cli->words_n == c->words_max)
            return cli_usage("%s: \"%s\" is one argument too many; millrace help %s", c->name, arg,
                             c->name);
        if (!*arg) return cli_usage("%s: an argument is empty; millrace help %s", c->name, c->name);
        cli->words[cli->words_n++] = arg;
        return CLI_DONE;
    }
    has_value = str_starts(str_of(arg), STR("--")) && str_cut(str_of(arg), '=', &name, &value);
    const struct option *o = option_find(has_value ? name : str_of(arg), c);
    if (!o) return option_unknown(has_value ? name : str_of(arg), c);
    if (!o->value && has_value) return cli_usage("%s takes no value", o->name);
    if (o->value && !has_value && *i == n) return cli_usage("%s: %s is wanted", o->name, o->value);
    return option_set(cli, o, !o->value ? NULL : has_value ? value.p : args[(*i)++]);
}

static bool asks_help(char *const *args, int n)
{
    for (int i = 0; i < n && strcmp(args[i], "--"); i++)
        if (!strcmp(args[i], "--help") || !strcmp(args[i], "-h")) return true;
    return false;
}

static int run(const struct command *c, struct cli *cli, char *const *args, int n)
{
    AUTO(buf_fini) struct buf server = {0};
    struct err e = {0};
    bool only_words = false;
    int status = CLI_DONE;

    if (asks_help(args, n)) {
        cli->words[0] = c->name;
        cli->words_n = 1;
        return cmd_help(cli);
    }
    cli->args = args;
    cli->args_n = n;
    if (c->options & OPT_CONFIG) return c->run(cli);
    for (int i = 0; i < n && !status;)
        status = argument(cli, c, args, n, &i, &only_words);
    if (status) return status;
    if (cli->words_n < c->words_min) return cli_usage("usage: millrace %s %s", c->name, c->args);
    if (http_server_name(str_of(cli->server), &server, &e))
        return cli_usage("%s: %s", cli->server_given ? "--server" : "MILLRACE_SERVER", e.text);
    cli->server = buf_cstr(&server);
    if (c->options & OPT_SERVER && http_identify(&cli->who, &e)) return cli_usage("%s", e.text);
    return c->run(cli);
}

int cli_main(int argc, char **argv, int (*serve)(const struct config *c))
{
    AUTO(buf_fini) struct buf b = {0};
    const char *server = getenv("MILLRACE_SERVER"), *name = argc > 1 ? argv[1] : "help";
    struct cli cli = {.serve = serve,
                      .server = server && *server ? server : "127.0.0.1:9000",
                      .limit = -1,
                      .partition = -1,
                      .who = {getenv("MILLRACE_TOKEN"), false, getenv("MILLRACE_CACERT"), getenv("MILLRACE_CERT"), getenv("MILLRACE_KEY")}};
    const struct command *c;
    int status;

    if (!strcmp(name, "--version") || !strcmp(name, "-V")) name = "version";
    if (!strcmp(name, "--help") || !strcmp(name, "-h")) name = "help";
    if (!strcmp(name, "help") && argc > 2 && !strcmp(argv[2], "--man")) {
        man_page(&b);
        cli_put(buf_str(&b));
        return CLI_DONE;
    }
    c = command_find(name);
    if (!c) return command_unknown(name);
    status = run(c, &cli, argv + (argc > 1 ? 2 : 1), argc > 1 ? argc - 2 : 0);
    if (fflush(stdout) && status == CLI_DONE)
        return cli_fail("standard output: the results could not be written");
    return argc > 1 ? status : CLI_USAGE;
}
