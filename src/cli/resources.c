/* cli/resources.c - apply, get, describe, delete. SPDX-License-Identifier: Apache-2.0 */
#include "cli/command.h"
#include "control/resource.h"
#include "sys/fs.h"
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NAMES_SHOWN = 3 };

/* ---- what is applied: files, joined into one text; problems find their file again by line ---- */

struct part {
    char *name;
    size_t line;
}; /* first line in the whole text */
struct parts {
    struct part *list;
    size_t n;
    size_t lines;
    struct buf text;
};

static void parts_fini(struct parts *p)
{
    for (size_t i = 0; i < p->n; i++)
        free(p->list[i].name);
    free(p->list);
    buf_fini(&p->text);
}

static size_t count_lines(struct bytes b)
{
    size_t n = 0;
    for (size_t i = 0; i < b.n; i++)
        n += b.p[i] == '\n';
    return n;
}

/* Byte position of a character position: libyaml counts characters. */
static size_t byte_at(struct str s, size_t character)
{
    size_t i = 0;
    for (size_t seen = 0; i < s.n; i++) {
        if (((unsigned char)s.p[i] & 0xc0) == 0x80) continue;
        if (seen++ == character) break;
    }
    return i;
}

/* A local path in spec.storageUri that is not absolute is meant from where the file lies; the server cannot know. */
static bool is_relative(const struct yaml_node *uri)
{
    return uri && uri->kind == YAML_SCALAR && !yaml_is_null(uri) && uri->text.n &&
           uri->text.p[0] != '/' && !memchr(uri->text.p, ':', uri->text.n);
}

static void put_path(struct buf *b, const char *folder, struct str relative)
{
    buf_append_byte(b, '"');
    for (const char *p = folder; *p; p++) {
        if (*p == '"' || *p == '\\') buf_append_byte(b, '\\');
        buf_append_byte(b, (uint8_t)*p);
    }
    buf_append_byte(b, '/');
    for (size_t i = 0; i < relative.n; i++) {
        if (relative.p[i] == '"' || relative.p[i] == '\\') buf_append_byte(b, '\\');
        buf_append_byte(b, (uint8_t)relative.p[i]);
    }
    buf_append_byte(b, '"');
}

/* Copies the text with relative paths made absolute; what cannot be read is left to the server to refuse. */
static void resolve_paths(struct str text, const char *folder, struct buf *into)
{
    AUTO(arena_fini) struct arena a = {0};
    AUTO(problems_fini) struct problems problems = {0};
    struct yaml_node **docs;
    size_t n = 0, from = 0;

    if (!yaml_parse(text, STR(""), &a, &problems, &docs, &n)) n = 0;
    for (size_t i = 0; i < n; i++) {
        const struct yaml_node *kind = yaml_get(docs[i], "kind"),
                               *uri = yaml_get(yaml_get(docs[i], "spec"), "storageUri");
        if (!kind || !str_is(kind->text, "Model") || !is_relative(uri)) continue;
        size_t start = byte_at(text, uri->start), end = byte_at(text, uri->end);
        if (start < from || memchr(text.p + start, '\n', end - start)) continue;
        buf_append_str(into, (struct str){text.p + from, start - from});
        put_path(into, folder, uri->text);
        from = end;
    }
    buf_append_str(into, (struct str){text.p + from, text.n - from});
}

static int part_add(struct parts *p, const char *name, struct str text, const char *folder)
{
    size_t before;

    if (p->text.n + text.n > YAML_BYTES_MAX)
        return cli_fail("%s: too much at once: at most %d bytes are applied together", name,
                        YAML_BYTES_MAX);
    if (p->n) buf_append_str(&p->text, STR("---\n"));
    p->lines += p->n ? 1 : 0;
    p->list = xrealloc(p->list, p->n + 1, sizeof *p->list);
    p->list[p->n++] = (struct part){xstrdup(name), p->lines + 1};
    before = p->text.n;
    resolve_paths(text, folder, &p->text);
    if (p->text.n && p->text.p[p->text.n - 1] != '\n') buf_append_byte(&p->text, '\n');
    p->lines += count_lines((struct bytes){p->text.p + before, p->text.n - before});
    return CLI_DONE;
}

static int read_stdin(struct parts *p)
{
    AUTO(buf_fini) struct buf text = {0};
    char chunk[65536], folder[4096];
    ssize_t n;

    while ((n = read(STDIN_FILENO, chunk, sizeof chunk)) > 0)
        buf_append(&text, bytes_of(chunk, (size_t)n));
    if (n < 0) return cli_fail("standard input: %s", strerror(errno));
    return part_add(p, "standard input", buf_str(&text), getcwd(folder, sizeof folder) ? folder : ".");
}

static int read_file(struct parts *p, const char *path)
{
    AUTO(buf_fini) struct buf text = {0};
    struct err e = {0};
    char *full, *slash;
    int status;

    if (fs_load(&fs_real, path, YAML_BYTES_MAX, &text, &e)) return cli_fail("%s", e.text);
    full = realpath(path, NULL);
    if (!full) return cli_fail("%s: %s", path, strerror(errno));
    slash = strrchr(full, '/');
    *slash = 0;
    status = part_add(p, path, buf_str(&text), full);
    free(full);
    return status;
}

static int is_resource_file(const struct dirent *d)
{
    struct str name = str_of(d->d_name);
    return name.n && name.p[0] != '.' &&
           (str_ends(name, STR(".yaml")) || str_ends(name, STR(".yml")));
}

/* The YAML files of a folder, by name; no folders in it. */
static int read_folder(struct parts *p, const char *path)
{
    struct dirent **list = NULL;
    int n = scandir(path, &list, is_resource_file, alphasort), status = CLI_DONE;

    if (n < 0) return cli_fail("%s: %s", path, strerror(errno));
    for (int i = 0; i < n; i++) {
        AUTO(buf_fini) struct buf full = {0};
        buf_printf(&full, "%s%s%s", path, str_ends(str_of(path), STR("/")) ? "" : "/",
                   list[i]->d_name);
        if (status == CLI_DONE) status = read_file(p, buf_cstr(&full));
        free(list[i]);
    }
    free(list);
    if (n == 0) return cli_fail("%s: no .yaml or .yml file in this folder", path);
    return status;
}

static int read_any(struct parts *p, const char *path)
{
    struct stat st;

    if (!strcmp(path, "-")) return read_stdin(p);
    if (stat(path, &st)) return cli_fail("%s: %s", path, strerror(errno));
    return S_ISDIR(st.st_mode) ? read_folder(p, path) : read_file(p, path);
}

/* "file:line:column: text", with the file the line lies in. */
/* What has no line belongs to all that was read. */
static void print_names(const struct parts *p, FILE *to)
{
    for (size_t i = 0; i < p->n && i < NAMES_SHOWN; i++)
        fprintf(to, "%s%s", i ? ", " : "", p->list[i].name);
    if (p->n > NAMES_SHOWN) fprintf(to, " and %zu more", p->n - NAMES_SHOWN);
    if (p->n) fputs(": ", to);
}

static void print_problems(const struct parts *p, const json_t *list, const char *before, FILE *to)
{
    const json_t *one;
    size_t i;

    json_array_foreach(list, i, one)
    {
        size_t line = (size_t)json_number(one, "line"), k = p->n;
        struct str text = json_text(one, "message");
        while (k > 1 && p->list[k - 1].line > line)
            k--;
        if (line && k)
            fprintf(to, "%s:%zu:%" PRId64 ": ", p->list[k - 1].name, line - p->list[k - 1].line + 1,
                    json_number(one, "column"));
        else if (!*before)
            print_names(p, to);
        fprintf(to, "%s" STR_FMT "\n", before, STR_ARG(text));
    }
}

static void print_results(const struct cli *cli, const json_t *j)
{
    const json_t *one;
    size_t i;

    if (cli->output != OUT_TABLE) {
        cli_put_json(cli, j);
        return;
    }
    json_array_foreach(json_object_get(j, "results"), i, one)
    {
        struct str kind = json_text(one, "kind"), name = json_text(one, "name"),
                   action = json_text(one, "action");
        printf(STR_FMT " " STR_FMT " " STR_FMT, STR_ARG(kind), STR_ARG(name), STR_ARG(action));
        if (json_number(one, "version")) printf(", version %" PRId64, json_number(one, "version"));
        puts(cli->check ? " (checked only)" : "");
    }
}

int cmd_apply(struct cli *cli)
{
    AUTO(parts_fini) struct parts parts = {0};
    json_t *j = NULL;
    int status = CLI_DONE;

    if (!cli->files_n && !cli->words_n)
        return cli_usage("apply: which files? -f FILE, a folder, or - for standard input");
    for (size_t i = 0; i < cli->files_n && !status; i++)
        status = read_any(&parts, cli->files[i]);
    for (size_t i = 0; i < cli->words_n && !status; i++)
        status = read_any(&parts, cli->words[i]);
    if (status) return status;
    status = cli_manage(cli, "POST", cli->check ? STR("apply?check=true") : STR("apply"),
                        buf_view(&parts.text), &j);
    if (!j) return status;
    if (status) {
        print_problems(&parts, json_object_get(j, "problems"), "", stderr);
        cli_fail(STR_FMT, STR_ARG(json_text(j, "error")));
    } else {
        print_results(cli, j);
        print_problems(&parts, json_object_get(j, "warnings"), "warning: ", stderr);
    }
    json_decref(j);
    return status;
}

/* ---- get, describe, delete ---- */

static void put_path_part(struct buf *b, const char *text)
{
    if (b->n) buf_append_byte(b, '/');
    http_escape(str_of(text), b);
}

static void row(struct table *t, const json_t *r)
{
    const json_t *ready = json_object_get(r, "ready");
    struct str kind = json_text(r, "kind"), status = json_text(r, "status"),
               problem = json_text(r, "problem");

    table_add(t, kind);
    table_add(t, json_text(r, "name"));
    table_addf(t, "%" PRId64, json_number(r, "version"));
    table_add(t, !ready                 ? STR("-")
                 : json_is_true(ready)  ? STR("yes")
                 : json_is_false(ready) ? STR("no")
                                        : STR("?"));
    if (problem.n)
        table_add(t, problem);
    else if (str_is(kind, "Server") && json_is_true(ready)) {
        struct str address = json_text(r, "address");
        table_add(t, address.n ? address : json_text(r, "restAddress"));
    } else {
        table_add(t, json_is_true(ready) ? json_text(r, "warning") : status);
    }
}

/* The server would know as well, but it may be of another version, or not there. */
static int kind_check(const struct cli *cli)
{
    AUTO(buf_fini) struct buf why = {0};
    enum resource_kind kind;

    if (!cli->words_n || resource_kind_of(str_of(cli->words[0]), &kind)) return CLI_DONE;
    resource_kind_unknown(str_of(cli->words[0]), &why);
    return cli_usage(STR_FMT, STR_ARG(buf_str(&why)));
}

int cmd_get(struct cli *cli)
{
    static const char *const titles[] = {"KIND", "NAME", "VERSION", "READY", "STATUS"};
    AUTO(buf_fini) struct buf path = {0};
    struct table t;
    json_t *j = NULL;
    const json_t *one;
    size_t i;
    int status;

    if ((status = kind_check(cli))) return status;
    for (size_t k = 0; k < cli->words_n; k++)
        put_path_part(&path, cli->words[k]);
    if (!path.n) buf_append_str(&path, STR("resources"));
    status = cli_manage(cli, "GET", buf_str(&path), (struct bytes){0}, &j);
    if (status) return status;
    if (cli->output != OUT_TABLE) {
        cli_put_json(cli, j);
    } else {
        const json_t *list = json_object_get(j, "resources");
        table_begin(&t, titles, countof(titles));
        if (!list) row(&t, j);
        json_array_foreach(list, i, one) row(&t, one);
        table_end(&t);
    }
    json_decref(j);
    return CLI_DONE;
}

int cmd_describe(struct cli *cli)
{
    AUTO(buf_fini) struct buf path = {0};
    json_t *j = NULL;
    int status = kind_check(cli);

    if (status) return status;
    for (size_t k = 0; k < cli->words_n; k++)
        put_path_part(&path, cli->words[k]);
    status = cli_manage(cli, "GET", buf_str(&path), (struct bytes){0}, &j);
    if (status) return status;
    if (cli->output == OUT_TABLE) cli->output = OUT_YAML; /* nested things read best so */
    cli_put_json(cli, j);
    json_decref(j);
    return CLI_DONE;
}

static int delete_one(struct cli *cli, const char *kind, const char *name)
{
    AUTO(buf_fini) struct buf path = {0};
    struct parts none = {0};
    json_t *j = NULL;
    int status;

    put_path_part(&path, kind);
    put_path_part(&path, name);
    if (cli->force) buf_append_str(&path, STR("?force=true"));
    status = cli_manage(cli, "DELETE", buf_str(&path), (struct bytes){0}, &j);
    if (status) return status;
    print_results(cli, j);
    print_problems(&none, json_object_get(j, "warnings"), "warning: ", stderr);
    json_decref(j);
    return CLI_DONE;
}

static int delete_document(struct cli *cli, const struct yaml_node *doc)
{
    const struct yaml_node *kind = yaml_get(doc, "kind"),
                           *name = yaml_get(yaml_get(doc, "metadata"), "name");

    if (!kind || !name || kind->kind != YAML_SCALAR || name->kind != YAML_SCALAR)
        return cli_fail("line %" PRIu32 ": a document without kind and metadata.name", doc->line);
    return delete_one(cli, kind->text.p, name->text.p);
}

static bool is_of_kind(const struct yaml_node *doc, enum resource_kind wanted)
{
    const struct yaml_node *node = yaml_get(doc, "kind");
    enum resource_kind kind = RESOURCE_SERVER; /* what is none is refused with the last */

    if (node && node->kind == YAML_SCALAR && !resource_kind_of(node->text, &kind))
        kind = RESOURCE_SERVER;
    return kind == wanted;
}

/* The documents of files: what depends on others goes before them. */
static int delete_files(struct cli *cli)
{
    AUTO(parts_fini) struct parts parts = {0};
    AUTO(arena_fini) struct arena a = {0};
    AUTO(problems_fini) struct problems problems = {0};
    AUTO(buf_fini) struct buf why = {0};
    struct yaml_node **docs;
    size_t n;
    int status = CLI_DONE;

    for (size_t i = 0; i < cli->files_n && !status; i++)
        status = read_any(&parts, cli->files[i]);
    if (status) return status;
    if (!yaml_parse(buf_str(&parts.text), STR(""), &a, &problems, &docs, &n)) {
        problems_print(&problems, &why);
        return cli_fail(STR_FMT, STR_ARG(buf_str(&why)));
    }
    for (int kind = RESOURCE_KINDS - 1; kind >= 0; kind--)
        for (size_t i = 0; i < n; i++) {
            int one = is_of_kind(docs[i], (enum resource_kind)kind) ? delete_document(cli, docs[i])
                                                                    : CLI_DONE;
            if (one) status = one;
        }
    return status;
}

int cmd_delete(struct cli *cli)
{
    if (cli->files_n && cli->words_n) return cli_usage("delete: either -f FILE or KIND NAME");
    if (cli->files_n) return delete_files(cli);
    if (cli->words_n != 2) return cli_usage("delete: KIND NAME is wanted, or -f FILE");
    int status = kind_check(cli);
    return status ? status : delete_one(cli, cli->words[0], cli->words[1]);
}
