#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Consumer groups and committed offsets answer as Apache Kafka 3.8.1 does.

Usage: broker_groups_test.py TOOLS_DIR SCHEMA_DIR BROKER_FRAMES GOLDEN_DIR
"""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from replay import Broker, Replay, Schema  # noqa: E402

EARLY = {   # waits for an answer while that other one is sent
    'JoinGroup v9: B with id, waits for A': 'Heartbeat v4: A in PreparingRebalance',
    'SyncGroup v5: B waits for the leader': 'SyncGroup v5: A gives assignments',
    'JoinGroup v9: leader A rejoins in Stable': "Heartbeat v4: B learns of the leader's rejoin",
    'JoinGroup v9: static i2 joins': 'Heartbeat v4: i1 learns of i2',
    'JoinGroup v9: vote member 1': 'JoinGroup v9: vote member 0 rejoins',
    'JoinGroup v9: vote member 2': 'JoinGroup v9: vote member 0 rejoins',
}
WAIT = {'SyncGroup v5: vote member 1 waits, the leader never syncs': 3000}
HERE = {'node_id': 1, 'host': '127.0.0.1', 'error_code': 0, 'port': 9092}
OURS = {
    # There is always a coordinator here: the topics behind it are made at the start.
    r'^FindCoordinator v[1-3]: key type 1': {**HERE, 'error_message': 'NONE'},
    r'^FindCoordinator v[45]: (key type 1|first one)': {'coordinators[].' + k: v for k, v in HERE.items()},
}

SKIP = ('create gt', 'create gu')                    # what a new topic looks like is another test's business
CLOSES = ('ConsumerGroupHeartbeat v0: new coordinator off', 'ConsumerGroupDescribe v0: new coordinator off')    # not advertised


def main():
    tools, schema, program, golden = sys.argv[1:5]
    broker = Broker(program, ['group.initial.rebalance.delay.ms=0'])
    replay = Replay(Schema(tools, schema), broker, EARLY, WAIT, OURS, SKIP, CLOSES,
                    ids=[('JoinGroup', 'member_id'), ('CreateTopics', 'topics[].topic_id')])
    for name in ('06-groups', '07-group-offsets'):
        replay.run(os.path.join(golden, 'kafka381', name + '.jsonl.gz'))
    status = replay.end()
    return broker.close() or status


if __name__ == '__main__':
    sys.exit(main())
