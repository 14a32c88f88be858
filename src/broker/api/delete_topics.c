/* DeleteTopics (key 20), by name or by id. SPDX-License-Identifier: Apache-2.0 */
#include "kafka/msg/delete_topics.h"
#include "broker/api.h"
#include "broker/api/seen.h"

static void refuse(struct request *r, struct delete_topics_response_topic *a, int16_t code,
                   const char *text)
{
    (void)r;
    a->error_code = code;
    a->error_message = str_of(text);
}

static void delete_one(struct request *r, struct topic *t, struct delete_topics_response_topic *a,
                       uint64_t *seq)
{
    struct broker *b = r->broker;
    uint64_t s;
    struct err e;

    a->topic_id = t->id;
    a->name = arena_dup_str(&r->arena, t->name);
    if (!b->config.delete_topics) {
        refuse(r, a,
               request_version(r) >= 3 ? KAFKA_ERR_TOPIC_DELETION_DISABLED
                                       : KAFKA_ERR_INVALID_REQUEST,
               "delete.topic.enable is false");
        return;
    }
    if (!request_may_change(r, t->partitions_n, request_version(r) >= 5)) {
        refuse(r, a, KAFKA_ERR_THROTTLING_QUOTA_EXCEEDED,
               "the client is above its controller_mutation_rate");
        return;
    }
    if (broker_topic_delete(b, a->name, &s, &e))
        refuse(r, a, kafka_error_of(&e), arena_dup_str(&r->arena, str_of(e.text)).p);
    else
        *seq = MAX(*seq, s);
}

static void one(struct request *r, struct str name, const struct uuid *id, bool twice,
                struct delete_topics_response_topic *a, uint64_t *seq)
{
    bool by_id = !uuid_is_zero(id);
    struct topic *t = by_id ? topic_by_id(r->broker, id) : broker_topic(r->broker, name);

    a->name = name;
    a->topic_id = twice && t ? t->id : *id;
    if (name.p && by_id)
        refuse(r, a, KAFKA_ERR_INVALID_REQUEST, "a topic is named or its id is given, not both");
    else if (!name.p && !by_id)
        refuse(r, a, KAFKA_ERR_INVALID_REQUEST, "neither name nor id is given");
    else if (twice)
        refuse(r, a, KAFKA_ERR_INVALID_REQUEST, "the topic is named more than once");
    else if (by_id && t && !request_allows_topic(r, ACL_DESCRIBE, t->name))
        refuse(r, a, KAFKA_ERR_TOPIC_AUTHORIZATION_FAILED, "Authorization failed.");
    else if ((t || !by_id) && !request_allows_topic(r, ACL_DELETE, t ? t->name : name)) {
        if (by_id) a->name = arena_dup_str(&r->arena, t->name);
        refuse(r, a, KAFKA_ERR_TOPIC_AUTHORIZATION_FAILED, "Authorization failed.");
    } else if (!t)
        refuse(r, a, by_id ? KAFKA_ERR_UNKNOWN_TOPIC_ID : KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION,
               "there is no such topic");
    else
        delete_one(r, t, a, seq);
}

void api_delete_topics(struct request *r)
{
    const struct delete_topics_request *q = request_decode(r);
    AUTO(seen_fini) struct seen seen = {0}, named = {0}, told = {0};
    struct delete_topics_response a = {0};
    static const struct uuid none;
    struct topic *t;
    size_t n;
    uint64_t seq = 0;

    if (!q) return;
    n = q->topics_n + q->topic_names_n;
    a.responses = arena_array(&r->arena, struct delete_topics_response_topic, n);
    for (size_t i = 0; i < n; i++) {
        struct str name = i < q->topics_n ? q->topics[i].name : q->topic_names[i - q->topics_n];

        if (name.p) seen_add(&named, name, 0);
        if (!name.p && i < q->topics_n && (t = topic_by_id(r->broker, &q->topics[i].topic_id)))
            name = t->name;
        if (name.p) seen_add(&seen, name, 0);
    }
    for (size_t i = 0; i < n; i++) {
        struct str name = i < q->topics_n ? q->topics[i].name : q->topic_names[i - q->topics_n];
        const struct uuid *id = i < q->topics_n ? &q->topics[i].topic_id : &none;
        struct str known = !name.p && (t = topic_by_id(r->broker, id)) ? t->name : name;
        bool twice = known.p && seen_count(&seen, known, 0) > 1;

        if (twice && seen_add(&told, known, 0) > 1) continue;
        one(r, name, id, twice, &a.responses[a.responses_n], &seq);
        if (twice && seen_count(&named, known, 0) == seen_count(&seen, known, 0))
            a.responses[a.responses_n].topic_id = none;
        a.responses_n++;
    }
    request_answer_when(r, &a, MAX(seq, r->broker->meta_seq));
}
