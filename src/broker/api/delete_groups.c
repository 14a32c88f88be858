/* DeleteGroups: groups without members, with all their offsets. SPDX-License-Identifier: Apache-2.0 */
#include "kafka/msg/delete_groups.h"
#include "broker/api.h"
#include "broker/api/seen.h"
#include "broker/groups.h"

void api_delete_groups(struct request *r)
{
    const struct delete_groups_request *q = request_decode(r);
    AUTO(seen_fini) struct seen seen = {0};
    struct delete_groups_response a = {0};
    uint64_t seq = groups_gone_seq(r->broker->groups);

    if (!q) return;
    a.results = arena_array(&r->arena, struct delete_groups_response_result, q->groups_names_n);
    if (q->groups_names_n && !a.results) return request_close(r, "delete groups: too many groups");
    for (size_t i = 0; i < q->groups_names_n; i++) {
        if (seen_add(&seen, q->groups_names[i], 0) > 1) continue; /* named again: one answer, as Kafka gives */
        struct delete_groups_response_result *to = &a.results[a.results_n++];
        struct group_entry *ge = groups_find(r->broker->groups, q->groups_names[i]);
        uint64_t gone_seq = 0;

        to->group_id = q->groups_names[i];
        to->error_code = !request_allows_group(r, ACL_DELETE, q->groups_names[i])
                             ? KAFKA_ERR_GROUP_AUTHORIZATION_FAILED
                         : groups_is_lost(r->broker->groups, q->groups_names[i])
                             ? KAFKA_ERR_COORDINATOR_NOT_AVAILABLE
                         : ge ? groups_remove(&ge, &gone_seq)
                              : KAFKA_ERR_GROUP_ID_NOT_FOUND;
        seq = MAX(seq, ge ? ge->seq : gone_seq);
    }
    request_answer_when(r, &a, seq);
}
