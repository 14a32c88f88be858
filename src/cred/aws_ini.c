/* [section], key = value; comments begin with # or ; at the start of a line or after a space. A line that begins with a space belongs to
 * the value above (settings of single services): nothing here asks for those. SPDX-License-Identifier: Apache-2.0 */
#include "cred/aws_core.h"

static struct str unquoted(struct str s)
{
    s = str_trim(s);
    if (s.n >= 2 && (s.p[0] == '"' || s.p[0] == '\'') && s.p[s.n - 1] == s.p[0]) return (struct str){s.p + 1, s.n - 2};
    return s;
}

/* "profile  \"a b\"" is the section "profile a b". */
static bool section_is(struct str line, struct str wanted)
{
    static const struct str profile = {"profile ", 8};
    struct str name, rest;

    if (!str_cut((struct str){line.p + 1, line.n - 1}, ']', &name, &rest)) return false;
    name = unquoted(name);
    if (!str_starts(wanted, profile)) return str_eq(name, wanted);
    if (!str_starts(name, STR("profile")) || name.n < 8 || (name.p[7] != ' ' && name.p[7] != '\t')) return false;
    return str_eq(unquoted((struct str){name.p + 8, name.n - 8}), (struct str){wanted.p + 8, wanted.n - 8});
}

static struct str without_comment(struct str s)
{
    for (size_t i = 1; i < s.n; i++)
        if ((s.p[i] == '#' || s.p[i] == ';') && (s.p[i - 1] == ' ' || s.p[i - 1] == '\t')) return str_trim((struct str){s.p, i});
    return str_trim(s);
}

static bool line_get(struct str line, struct str key, struct str *ret)
{
    struct str name, value;

    if (!str_cut(line, '=', &name, &value) || !str_eq_nocase(str_trim(name), key)) return false;
    *ret = without_comment(value);
    return true;
}

static bool walk(struct str text, struct str section, const struct str *key, struct str *ret)
{
    bool inside = false, found = false;
    struct str line;

    while (text.n) {
        str_cut(text, '\n', &line, &text);
        if (!line.n || strchr("#; \t\r", line.p[0])) continue;
        if (line.p[0] == '[') {
            inside = section_is(line, section);
            if (inside && !key) return true;
        } else if (inside && key && line_get(line, *key, ret)) {
            found = true;
        }
    }
    return found;
}

bool aws_ini_get(struct str text, struct str section, struct str key, struct str *ret)
{
    return walk(text, section, &key, ret);
}

bool aws_ini_has(struct str text, struct str section)
{
    struct str none;

    return walk(text, section, NULL, &none);
}
