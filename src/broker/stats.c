/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core.h"

void broker_stats(struct broker *b, struct broker_stats *ret)
{
    *ret = b->stats;
    ret->connections = b->conns_n;
    ret->topics = b->topics_n;
    ret->partitions = b->partitions_n;
    ret->memory_used = b->memory_used;
}
