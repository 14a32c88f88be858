/* ListGroups: all groups, or those in certain states and of certain types. Where some cannot be known, because their part of
 * __consumer_offsets is damaged, the others are told beside an error. Not one of the coordinator's: clients would ask again
 * for a minute, and the damage stays until somebody repairs it. SPDX-License-Identifier: Apache-2.0 */
#include "kafka/msg/list_groups.h"
#include "broker/api.h"
#include "broker/groups.h"

static bool passes(const struct str *filter, size_t n, struct str what)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq_nocase(filter[i], what)) return true;
    return n == 0;
}

void api_list_groups(struct request *r)
{
    struct groups *gs = r->broker->groups;
    const struct list_groups_request *q = request_decode(r);
    struct list_groups_response a = {0};
    uint64_t seq = groups_gone_seq(r->broker->groups);
    bool all;

    if (!q) return;
    all = request_allows_cluster(r, ACL_DESCRIBE);
    a.groups = arena_array(&r->arena, struct list_groups_response_group, groups_count(gs));
    if (groups_count(gs) && !a.groups) return request_close(r, "list groups: too many groups");
    for (const struct group_entry *ge = groups_next(gs, NULL); ge; ge = groups_next(gs, ge)) {
        struct str state = group_entry_state(ge), type = group_entry_type(ge);

        if (!passes(q->states_filter, q->states_filter_n, state) ||
            !passes(q->types_filter, q->types_filter_n, type))
            continue;
        if (!all && !request_allows_group(r, ACL_DESCRIBE, ge->g.id)) continue;
        a.groups[a.groups_n++] = (struct list_groups_response_group){
            ge->g.id, ge->c ? STR("consumer") : ge->g.protocol_type, state, type};
        seq = MAX(seq, ge->seq);
    }
    if (groups_any_is_lost(gs)) a.error_code = KAFKA_ERR_KAFKA_STORAGE_ERROR;
    request_answer_when(r, &a, seq);
}
