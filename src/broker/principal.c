/* See principal.h. SPDX-License-Identifier: Apache-2.0 */
#include "broker/principal.h"

#include "base/list.h"

#include <ctype.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

enum { MATCH_STEPS_MAX = 100000 };

struct rule {
    struct list link;
    pcre2_code *pattern;    /* NULL: DEFAULT */
    struct str replacement; /* owned */
    char letters;           /* L, U or 0 */
};

struct principal_rules {
    struct list rules;
    pcre2_match_context *limits;
};

/* ---- reading the rules ---- */

/* Up to the next slash that no backslash hides. */
static bool part(struct str *rest, struct str *ret)
{
    for (size_t i = 0; i < rest->n; i++) {
        if (rest->p[i] == '\\') {
            i++;
        } else if (rest->p[i] == '/') {
            *ret = (struct str){rest->p, i};
            *rest = (struct str){rest->p + i + 1, rest->n - i - 1};
            return true;
        }
    }
    return false;
}

static enum rc compile(struct rule *r, struct str text, struct err *e)
{
    unsigned char why[120];
    PCRE2_SIZE at;
    int code;

    r->pattern = pcre2_compile((PCRE2_SPTR)text.p, text.n,
                               PCRE2_UTF | PCRE2_ANCHORED | PCRE2_ENDANCHORED, &code, &at, NULL);
    if (r->pattern) return RC_OK;
    pcre2_get_error_message(code, why, sizeof why);
    return err_set(e, RC_INVALID, "principal mapping rule \"" STR_FMT "\": %s", STR_ARG(text),
                   (const char *)why);
}

/* Behind "RULE:": pattern/replacement/ and perhaps L or U. */
static enum rc rule_read(struct rule *r, struct str *rest, struct err *e)
{
    struct str pattern, replacement;

    if (!part(rest, &pattern) || !part(rest, &replacement))
        return err_set(e, RC_INVALID,
                       "principal mapping rules: RULE:pattern/replacement/ with L or U behind it, "
                       "or DEFAULT, is wanted");
    if (rest->n && (rest->p[0] == 'L' || rest->p[0] == 'U')) {
        r->letters = rest->p[0];
        *rest = (struct str){rest->p + 1, rest->n - 1};
    }
    r->replacement = str_own(replacement);
    return compile(r, pattern, e);
}

static void skip_spaces(struct str *s)
{
    while (s->n && isspace((unsigned char)s->p[0]))
        *s = (struct str){s->p + 1, s->n - 1};
}

static enum rc rules_read(struct principal_rules *all, struct str rest, struct err *e)
{
    for (;;) {
        struct rule *r = xnew(struct rule);

        list_push(&all->rules, &r->link);
        skip_spaces(&rest);
        if (str_starts(rest, STR("DEFAULT"))) {
            rest = (struct str){rest.p + 7, rest.n - 7};
        } else if (str_starts(rest, STR("RULE:"))) {
            rest = (struct str){rest.p + 5, rest.n - 5};
            if (rule_read(r, &rest, e)) return e->rc;
        } else {
            return err_set(e, RC_INVALID,
                           "principal mapping rules: RULE:… or DEFAULT is wanted at \"" STR_FMT
                           "\"",
                           STR_ARG(rest));
        }
        skip_spaces(&rest);
        if (!rest.n) return RC_OK;
        if (rest.p[0] != ',')
            return err_set(e, RC_INVALID,
                           "principal mapping rules: a comma is wanted at \"" STR_FMT "\"",
                           STR_ARG(rest));
        rest = (struct str){rest.p + 1, rest.n - 1};
    }
}

enum rc principal_rules_new(struct str text, struct principal_rules **ret, struct err *e)
{
    struct principal_rules *all = xnew(struct principal_rules);

    list_init(&all->rules);
    all->limits = pcre2_match_context_create(NULL);
    must(all->limits);
    pcre2_set_match_limit(all->limits, MATCH_STEPS_MAX);
    if (rules_read(all, text.n ? text : STR("DEFAULT"), e)) {
        principal_rules_free(all);
        return e->rc;
    }
    *ret = all;
    return RC_OK;
}

struct principal_rules *principal_rules_free(struct principal_rules *all)
{
    if (!all) return NULL;
    while (!list_empty(&all->rules)) {
        struct rule *r = container_of(list_pop(&all->rules), struct rule, link);

        pcre2_code_free(r->pattern);
        str_drop(&r->replacement);
        free(r);
    }
    pcre2_match_context_free(all->limits);
    free(all);
    return NULL;
}

/* ---- applying them ---- */

static void put_replacement(const struct rule *r, struct str subject, const PCRE2_SIZE *at,
                            int groups, struct buf *ret)
{
    for (size_t i = 0; i < r->replacement.n; i++) {
        char c = r->replacement.p[i];

        if (c == '\\' && i + 1 < r->replacement.n) {
            buf_append_byte(ret, (uint8_t)r->replacement.p[++i]);
        } else if (c == '$' && i + 1 < r->replacement.n &&
                   isdigit((unsigned char)r->replacement.p[i + 1])) {
            int g = r->replacement.p[++i] - '0';

            if (g < groups && at[2 * g] != PCRE2_UNSET)
                buf_append_str(ret, (struct str){subject.p + at[2 * g], at[2 * g + 1] - at[2 * g]});
        } else {
            buf_append_byte(ret, (uint8_t)c);
        }
    }
}

static void change_letters(const struct rule *r, uint8_t *p, size_t n)
{
    for (size_t i = 0; r->letters && i < n; i++)
        p[i] = (uint8_t)(r->letters == 'L' ? tolower(p[i]) : toupper(p[i]));
}

static bool rule_applies(const struct principal_rules *all, const struct rule *r,
                         struct str subject, struct buf *ret)
{
    pcre2_match_data *found;
    size_t before = ret->n;
    int groups;

    if (!r->pattern) {
        buf_append_str(ret, subject);
        return true;
    }
    found = pcre2_match_data_create_from_pattern(r->pattern, NULL);
    must(found);
    groups = pcre2_match(r->pattern, (PCRE2_SPTR)subject.p, subject.n, 0, 0, found, all->limits);
    if (groups > 0) {
        put_replacement(r, subject, pcre2_get_ovector_pointer(found), groups, ret);
        change_letters(r, ret->p + before, ret->n - before);
    }
    pcre2_match_data_free(found);
    return groups > 0;
}

bool principal_of_subject(const struct principal_rules *all, struct str subject, struct buf *ret)
{
    list_each(it, &all->rules) if (rule_applies(all, container_of(it, struct rule, link), subject,
                                                ret)) return true;
    return false;
}
