/* app/config_registry.c - .confluent-schema.yaml, the original's own file: where the schema registry is. Read strictly, as by
 * half of the original. caPath is ours. SPDX-License-Identifier: Apache-2.0 */
#include "app/config_load.h"
#include "sys/fs.h"
#include <string.h>
#include <unistd.h>

enum { FILE_BYTES_MAX = 1 << 20 };

static bool is_http(struct str url)
{
    struct str rest = {0};

    if (str_starts(url, STR("http://"))) rest = (struct str){url.p + 7, url.n - 7};
    if (str_starts(url, STR("https://"))) rest = (struct str){url.p + 8, url.n - 8};
    return rest.n && rest.p[0] != '/' && !memchr(rest.p, ' ', rest.n) && !memchr(rest.p, ',', rest.n) && !memchr(rest.p, '@', rest.n);
}

static struct str beside(struct arena *a, struct str folder, struct str path)
{
    return str_starts(path, STR("/")) ? path : arena_printf(a, STR_FMT "/" STR_FMT, STR_ARG(folder), STR_ARG(path));
}

static void client_read(struct config_loader *l, struct yaml_map *client, struct str folder)
{
    struct yaml_text url = yaml_map_text(client, "URL"), user = yaml_map_text(client, "username");
    struct yaml_text password = yaml_map_text(client, "password"), ca = yaml_map_text(client, "caPath");
    struct config_registry *r = &l->c->registry;

    if (!is_http(url.s))
        yaml_problem(client, url.at ? url.at : client->node, "%s: http://HOST:PORT or https://HOST:PORT is wanted, one of them, without a name and password in it",
                     "schemaRegistry.client.URL");
    if (password.s.n && !user.s.n) yaml_problem(client, password.at, "schemaRegistry.client.password: there is no username beside it");
    r->url = url.s;
    r->username = user.s;
    r->password = password.s;
    if (ca.s.n) r->ca_path = beside(&l->c->arena, folder, ca.s);
    if (ca.s.n && access(r->ca_path.p, R_OK)) yaml_problem(client, ca.at, "schemaRegistry.client.caPath: " STR_FMT " cannot be read", STR_ARG(r->ca_path));
}

static void tree_read(struct config_loader *l, const struct yaml_node *top, struct str file, struct str folder)
{
    struct yaml_map all, registry, client;

    yaml_map_begin(&all, top, file, STR(""), &l->c->arena, l->problems);
    yaml_map_sub(&all, "schemaRegistry", &registry);
    yaml_map_sub(&registry, "client", &client);
    client_read(l, &client, folder);
    yaml_map_end(&client);
    yaml_map_end(&registry);
    yaml_map_end(&all);
}

void config_read_registry(struct config_loader *l)
{
    AUTO(buf_fini) struct buf text = {0};
    AUTO(arena_fini) struct arena tree = {0};
    struct str folder = l->c->security_schema_registry_config_path, file;
    struct config_place at = {.label = STR("security.schemaRegistry.configPath")};
    struct yaml_node **docs;
    struct err e;
    size_t n;

    if (!folder.n) return;
    file = arena_printf(&l->c->arena, STR_FMT "/.confluent-schema.yaml", STR_ARG(folder));
    if (fs_load(&fs_real, file.p, FILE_BYTES_MAX, &text, &e)) {
        config_problem(l, &at, "%s", e.text);
        return;
    }
    if (!yaml_parse(buf_str(&text), file, &tree, l->problems, &docs, &n)) return;
    at.file = file;
    if (n == 1 && docs[0]->kind == YAML_MAP) tree_read(l, docs[0], file, folder);
    else config_problem(l, &at, "one document is wanted: schemaRegistry: {client: {URL, username, password}}");
}
