/* base/nearest.c - edit distance, two neighbours that changed places counting once. SPDX-License-Identifier: Apache-2.0 */
#include "base/nearest.h"
#include <ctype.h>

enum { WORD_MAX = 80, CHANGES_MAX = 3 };

static bool same(char a, char b)
{
    return tolower((unsigned char)a) == tolower((unsigned char)b);
}

/* Three rows of the usual table are enough: the last two, and the one that is being made. */
static size_t distance(struct str a, struct str b)
{
    size_t rows[3][WORD_MAX + 1], *before = rows[0], *last = rows[1], *row = rows[2];

    for (size_t k = 0; k <= b.n; k++)
        last[k] = k;
    for (size_t i = 1; i <= a.n; i++) {
        row[0] = i;
        for (size_t k = 1; k <= b.n; k++) {
            size_t change = last[k - 1] + !same(a.p[i - 1], b.p[k - 1]);
            row[k] = MIN(MIN(last[k] + 1, row[k - 1] + 1), change);
            if (i > 1 && k > 1 && same(a.p[i - 1], b.p[k - 2]) && same(a.p[i - 2], b.p[k - 1]))
                row[k] = MIN(row[k], before[k - 2] + 1);
        }
        size_t *free_row = before;
        before = last;
        last = row;
        row = free_row;
    }
    return last[b.n];
}

void nearest_begin(struct nearest *n, struct str wanted)
{
    *n = (struct nearest){.wanted = wanted,
                          .distance = MIN(MAX(wanted.n / 3, (size_t)1), (size_t)CHANGES_MAX) + 1};
}

void nearest_offer(struct nearest *n, struct str known)
{
    if (!n->wanted.n || n->wanted.n > WORD_MAX || known.n > WORD_MAX) return;
    size_t d = distance(n->wanted, known);
    if (d >= n->distance) return;
    n->distance = d;
    n->best = known;
}
