/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/pattern.h"
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>

enum {
    STEPS_MAX = 100000, /* of one match; topic names are short */
    HEAP_KIB_MAX = 4096,
    COMPILED_MAX = 4096, /* bytes of PCRE2's program: bounds the states of one match, */
    WORKSPACE = 8192,    /* which find room in so many ints */
};

struct pattern {
    pcre2_code *code;
    pcre2_match_data *data;
    pcre2_match_context *limits;
    int *workspace;
};

/* What stands behind "(?" are flags, and not all of them RE2's: x would make the rest mean something else. */
static bool other_flags(struct str s)
{
    bool other = false;

    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];

        if (c == ')' || c == ':') return other;
        if ((c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '^') return false;
        other |= !memchr("imsU-", c, 5);
    }
    return false;
}

/* What RE2 does not have. PCRE2 would take it, or say so only when it matches. */
static const char *foreign(struct str text)
{
    bool in_class = false;

    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i], next = i + 1 < text.n ? text.p[i + 1] : 0;
        char third = i + 2 < text.n ? text.p[i + 2] : 0,
             fourth = i + 3 < text.n ? text.p[i + 3] : 0;

        if (c == '\\') {
            if (!in_class && ((next >= '1' && next <= '9') || next == 'k' || next == 'g'))
                return "references to groups";
            if (next == 'Q') /* quoted up to \E */
                while (i + 2 < text.n && !(text.p[i + 1] == '\\' && text.p[i + 2] == 'E'))
                    i++;
            else
                i++;
        } else if (in_class) {
            in_class = c != ']';
        } else if (c == '[') {
            in_class = true;
            if (next == '^') i++;
            if (i + 1 < text.n && text.p[i + 1] == ']') i++; /* the first one is a member */
        } else if (c == '(' && next == '*') {
            return "verbs";
        } else if (c == '(' && next == '?' &&
                   other_flags((struct str){text.p + i + 2, text.n - i - 2})) {
            return "flags other than i, m, s and U";
        } else if (c == '(' && next == '?') {
            if (third == '=' || third == '!' || (third == '<' && (fourth == '=' || fourth == '!')))
                return "looking ahead or behind";
            if (third == '>' || third == '(' || third == '|' || third == 'R' || third == '&' ||
                third == '#' || third == '+' || (third >= '0' && third <= '9') ||
                (third == 'P' && (fourth == '>' || fourth == '=')))
                return "atomic groups, conditions, recursion and comments";
        } else if ((c == '*' || c == '+' || c == '?' || c == '}') && next == '+') {
            return "possessive repetitions";
        }
    }
    return NULL;
}

static enum rc compile(struct pattern *p, struct str text, struct err *e)
{
    PCRE2_UCHAR8 why[160];
    size_t at, size = 0;
    int error;
    const char *other = foreign(text);

    if (text.n > PATTERN_BYTES_MAX)
        return err_set(e, RC_INVALID, "a regular expression may have %d bytes, this has %zu",
                       PATTERN_BYTES_MAX, text.n);
    if (other) return err_set(e, RC_INVALID, "%s are not part of the language", other);
    p->code =
        pcre2_compile((PCRE2_SPTR8)text.p, text.n,
                      PCRE2_ANCHORED | PCRE2_UTF | PCRE2_NEVER_BACKSLASH_C, &error, &at, NULL);
    if (!p->code) {
        pcre2_get_error_message(error, why, sizeof why);
        return err_set(e, RC_INVALID, "%s (at character %zu)", (const char *)why, at);
    }
    must(pcre2_pattern_info(p->code, PCRE2_INFO_SIZE, &size) == 0);
    if (size > COMPILED_MAX)
        return err_set(e, RC_INVALID, "it is too large when it is written out");
    p->workspace = xnew_array(int, WORKSPACE);
    p->data = pcre2_match_data_create(1, NULL);
    p->limits = pcre2_match_context_create(NULL);
    must(p->data && p->limits);
    pcre2_set_match_limit(p->limits, STEPS_MAX);
    pcre2_set_depth_limit(p->limits, STEPS_MAX);
    pcre2_set_heap_limit(p->limits, HEAP_KIB_MAX);
    return RC_OK;
}

enum rc pattern_new(struct str text, struct pattern **ret, struct err *e)
{
    struct pattern *p = xnew(struct pattern);

    if (compile(p, text, e)) {
        pattern_free(p);
        return e->rc;
    }
    *ret = p;
    return RC_OK;
}

struct pattern *pattern_free(struct pattern *p)
{
    if (!p) return NULL;
    pcre2_code_free(p->code);
    pcre2_match_data_free(p->data);
    pcre2_match_context_free(p->limits);
    free(p->workspace);
    free(p);
    return NULL;
}

/* Of several matches the longest is told first. (PCRE2_ENDANCHORED would say it shorter, but 10.42 forgets about it.) */
bool pattern_matches(const struct pattern *p, struct str name)
{
    return pcre2_dfa_match(p->code, (PCRE2_SPTR8)name.p, name.n, 0, 0, p->data, p->limits,
                           p->workspace, WORKSPACE) >= 0 &&
           pcre2_get_ovector_pointer(p->data)[1] == name.n;
}

bool pattern_is_simple(struct str text)
{
    enum { BYTES_MAX = 256, REPETITIONS_MAX = 3 };
    unsigned repetitions = 0;

    if (text.n > BYTES_MAX) return false;
    for (size_t i = 0; i < text.n; i++) {
        if (memchr("(|{", text.p[i], 3)) return false;
        repetitions += memchr("*+?", text.p[i], 3) != NULL;
    }
    return repetitions <= REPETITIONS_MAX;
}
