/* control/problems.c - a bounded list of what is wrong. SPDX-License-Identifier: Apache-2.0 */
#include "control/problems.h"
#include "oip/json.h"
#include <inttypes.h>

void problems_fini(struct problems *p)
{
    free(p->list);
    arena_fini(&p->arena);
    *p = (struct problems){0};
}

void problem_add(struct problems *p, struct str file, uint32_t line, uint32_t column,
                 const char *fmt, ...)
{
    AUTO(buf_fini) struct buf text = {0};
    va_list ap;

    if (p->n == PROBLEMS_MAX) {
        p->left_out++;
        return;
    }
    if (!p->list) p->list = xnew_array(struct problem, PROBLEMS_MAX);
    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    p->list[p->n++] = (struct problem){.file = arena_dup_str(&p->arena, file),
                                       .line = line,
                                       .column = column,
                                       .text = arena_dup_str(&p->arena, buf_str(&text))};
}

static bool after(const struct problem *a, const struct problem *b)
{
    return a->line != b->line ? a->line > b->line : a->column > b->column;
}

void problems_sort(struct problems *p, size_t from)
{
    for (size_t i = from + 1; i < p->n; i++) { /* there are few, and they are nearly in order */
        struct problem one = p->list[i];
        size_t k = i;
        for (; k > from && after(&p->list[k - 1], &one); k--)
            p->list[k] = p->list[k - 1];
        p->list[k] = one;
    }
}

void problems_print(const struct problems *p, struct buf *b)
{
    for (size_t i = 0; i < p->n; i++) {
        const struct problem *it = &p->list[i];
        if (it->file.n)
            buf_printf(b, STR_FMT ":", STR_ARG(it->file));
        else if (it->line)
            buf_append_str(b, STR("line "));
        if (it->line) buf_printf(b, "%" PRIu32 ":%" PRIu32 ":", it->line, it->column);
        if (it->file.n || it->line) buf_append_byte(b, ' ');
        buf_append_str(b, it->text);
        buf_append_byte(b, '\n');
    }
    if (p->left_out) buf_printf(b, "… and %zu more\n", p->left_out);
}

void problems_json(const struct problems *p, struct buf *b)
{
    buf_append_byte(b, '[');
    for (size_t i = 0; i < p->n; i++) {
        const struct problem *it = &p->list[i];
        buf_append_str(b, i ? STR(",{") : STR("{"));
        if (it->file.n) {
            buf_append_str(b, STR("\"file\":"));
            json_put_str(b, it->file);
            buf_append_byte(b, ',');
        }
        if (it->line)
            buf_printf(b, "\"line\":%" PRIu32 ",\"column\":%" PRIu32 ",", it->line, it->column);
        buf_append_str(b, STR("\"message\":"));
        json_put_str(b, it->text);
        buf_append_byte(b, '}');
    }
    buf_append_byte(b, ']');
}
