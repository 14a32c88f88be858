# SPDX-License-Identifier: Apache-2.0
"""Random sequences: a seed, a kind of work, and requests whose fields are drawn from small pools, so that they meet.

The fields come from the schema: every request is walked, and each field has a pool by its name. What the two brokers made
up (producers, members, topic ids, sessions) is drawn by name.
"""
import pathlib
import random

from msgcodec import Codec
from scripts import ZERO, ref

ROOT = pathlib.Path(__file__).resolve().parents[2]
CODEC = Codec(ROOT / 'schema/kafka')

KINDS = {
    'log': {'Produce': 12, 'Fetch': 8, 'ListOffsets': 5, 'DeleteRecords': 2, 'OffsetForLeaderEpoch': 2, 'InitProducerId': 2, 'DescribeProducers': 2, 'Metadata': 1, 'CreateTopics': 1, 'DeleteTopics': 0.3,
            'CreatePartitions': 0.5},
    'groups': {'JoinGroup': 8, 'SyncGroup': 8, 'Heartbeat': 4, 'LeaveGroup': 2, 'OffsetCommit': 4, 'OffsetFetch': 4, 'DescribeGroups': 3, 'ListGroups': 1, 'DeleteGroups': 1, 'OffsetDelete': 1,
               'FindCoordinator': 0.5},
    'transactions': {'InitProducerId': 3, 'AddPartitionsToTxn': 6, 'AddOffsetsToTxn': 3, 'TxnOffsetCommit': 3, 'EndTxn': 4, 'Produce': 8, 'Fetch': 3, 'ListOffsets': 2, 'DescribeTransactions': 2,
                     'ListTransactions': 1, 'DescribeProducers': 2, 'WriteTxnMarkers': 0.5, 'OffsetFetch': 2, 'OffsetCommit': 0.5, 'DeleteRecords': 0.5},
    'admin': {'CreateTopics': 5, 'DeleteTopics': 2, 'CreatePartitions': 3, 'Metadata': 3, 'DescribeTopicPartitions': 2, 'DescribeConfigs': 4, 'AlterConfigs': 2, 'IncrementalAlterConfigs': 5,
              'DescribeClientQuotas': 2, 'AlterClientQuotas': 3, 'DescribeLogDirs': 1, 'ElectLeaders': 1, 'AlterPartitionReassignments': 1, 'ListPartitionReassignments': 1, 'DescribeCluster': 1,
              'DescribeAcls': 0.5, 'FindCoordinator': 0.5},
}
FIRST = {'Produce': 3, 'Fetch': 4, 'ListOffsets': 1, 'OffsetFetch': 1}   # lower versions are about old record formats and ZooKeeper
CONFIGS = [('retention.ms', ['1000000', '-1', 'x', '-2', '']), ('segment.bytes', ['1000000', '13', '14', '2147483648']), ('max.message.bytes', ['500', '0', '-1', '1048588']),
           ('cleanup.policy', ['delete', 'compact', 'compact,delete', 'nosuch']), ('compression.type', ['producer', 'gzip', 'uncompressed', 'GZIP']),
           ('message.timestamp.type', ['CreateTime', 'LogAppendTime', 'x']), ('min.insync.replicas', ['1', '0', '2']), ('segment.ms', ['70000', '0']), ('nosuch', ['1']),
           ('delete.retention.ms', ['0', '7', '-1']), ('min.cleanable.dirty.ratio', ['0', '0.25', '1.5', '1']), ('unclean.leader.election.enable', ['true', 'FALSE', 'no'])]


class Generator:
    def __init__(self, seed, prefix, ranges):
        self.r, self.p, self.ranges = random.Random(seed), prefix, ranges
        self.old = random.Random(f'old {seed}')
        self.kind = self.r.choice(list(KINDS))
        self.topics = [f'{prefix}{x}' for x in 'ab']
        self.groups = [f'{prefix}{x}' for x in 'gh']
        self.ids = [f'{prefix}{x}' for x in 'xy']
        self.members = ['m1', 'm2', 'm3']
        self.seqs, self.steps, self.cut = {}, [], False   # cut: records have been deleted

    def one(self, *pools):
        """Something of the first pool most of the time, seldom of the others."""
        pool = pools[0] if len(pools) == 1 or self.r.random() < 0.9 else self.r.choice(pools[1:])
        return self.r.choice(pool)

    def topic(self):
        return self.one(self.topics, [f'{self.p}none', '', 'bad name'])

    def config(self):
        name, values = self.r.choice(CONFIGS)
        return name, self.one(values[:1] * 3 + values, [None])

    def pool(self, api, f, v):
        """A value for a field that is not a struct; `field` is its path's last name."""
        name = f.name
        if name in ('topic_id',):
            return self.one([ref(f'topic.{t}', ZERO) for t in self.topics], [ZERO, '44' * 16])
        if name in ('group_id', 'groups_names', 'groups') or api == 'FindCoordinator' and name in ('key', 'coordinator_keys'):
            return self.one(self.groups, [f'{self.p}none', ''])
        if name in ('transactional_id', 'transactional_ids', 'v3_and_below_transactional_id'):
            nobody = api == 'InitProducerId' or api == 'Produce'
            return self.one(self.ids + ([None] if nobody else []), [f'{self.p}none', ''])
        if name in ('partition', 'partition_index', 'partitions', 'partition_indexes', 'index'):
            return self.one([0, 0, 1], [2, 7, -1])
        if name in ('name', 'topic', 'topic_name', 'topic_names', 'topics'):
            return self.topic()
        if name == 'resource_name':
            return self.topic()
        if name in ('timestamp',):
            return self.one([-1, -2, -3], [-4, 0, 1 << 60])
        if name in ('offset', 'fetch_offset', 'committed_offset'):
            return self.one([0, 1, 2, 3, 5], [-1, 100] if name != 'fetch_offset' else [100])
        if name in ('current_leader_epoch', 'leader_epoch', 'last_fetched_epoch', 'committed_leader_epoch'):
            return self.one([-1, -1, 0], [0, 1]) if name != 'leader_epoch' else self.one([0], [1])
        if name in ('isolation_level',):
            return self.r.choice([0, 1])
        return {'replica_id': -1, 'max_wait_ms': 0, 'min_bytes': 0, 'max_bytes': 1 << 20, 'partition_max_bytes': self.one([1 << 20, 1], [0]), 'session_id': 0, 'session_epoch': -1, 'rack_id': '',
                'timeout_ms': 30000, 'acks': self.one([-1, 1], [0, 5]), 'num_partitions': self.one([1, 2], [-1, 0]), 'replication_factor': self.one([1, -1], [0, 3]), 'count': self.one([2, 3, 4], [0, 1, -1]),
                'broker_ids': 1, 'replicas': self.one([1], [1, 5]), 'validate_only': self.r.random() < 0.15, 'allow_auto_topic_creation': False, 'response_partition_limit': self.one([2000, 1, 2], [0]),
                'max_num_offsets': 1, 'committed_metadata': self.one(['m', ''], [None]), 'retention_time_ms': -1, 'commit_timestamp': -1, 'committed': self.r.random() < 0.6,
                'include_topic_authorized_operations': False, 'include_cluster_authorized_operations': self.r.random() < 0.3, 'include_authorized_operations': self.r.random() < 0.3,
                'require_stable': self.r.random() < 0.4, 'transaction_timeout_ms': self.one([60000], [0, -1, 900001]), 'election_type': self.r.choice([0, 0, 1]), 'key_type': self.one([0, 1], [2]),
                'states_filter': self.one(['Stable', 'Empty', 'Dead'], ['nosuch']), 'types_filter': self.one(['classic', 'Consumer'], ['nosuch']), 'state_filters': self.one(['Ongoing', 'Empty', 'CompleteCommit'], ['nosuch']),
                'duration_filter': -1, 'transaction_result': self.r.random() < 0.5, 'coordinator_epoch': 0, 'verify_only': self.r.random() < 0.5,
                'group_instance_id': None, 'reason': None, 'member_epoch': -1, 'strict': self.r.random() < 0.4, 'resource_type': self.one([2], [4, 9]),
                'include_synonyms': self.r.random() < 0.3, 'include_documentation': False, 'endpoint_type': 1}.get(name, 0 if f.type in ('i8', 'i16', 'i32', 'i64') else False if f.type == 'bool' else None if f.null else '')

    def rows(self, n):
        return [[self.one([f'k{i}', 'k', 'l']), self.one(['v' * 20, 'w'], [None]), self.one([i, i * 10], [-5, 5000]), [['h', 'x']] if self.r.random() < 0.1 else []] for i in range(n)]

    def batches(self, transactional):
        if self.r.random() < 0.6 and not transactional:
            d = {'records': self.rows(self.one([1, 2, 3]))}
        else:
            who = self.one([f'p{i}' for i in (1, 2)] if not transactional else [f't{i}' for i in self.ids])
            n = self.one([1, 2])
            at = self.seqs.get(who, 0)
            seq = self.one([at, at, at], [0, max(0, at - 1), at + 1])
            self.seqs[who] = seq + n
            d = {'records': self.rows(n), 'pid': ref(f'pid.{who}', 777777 + sum(who.encode()) % 97), 'epoch': ref(f'epoch.{who}', 0), 'seq': seq}
            if transactional:
                d['transactional'] = True
        if self.r.random() < 0.2:
            d['codec'] = self.r.choice([1, 2, 3, 4])
        if self.r.random() < 0.06:
            d.update(self.r.choice([{'crc': 1}, {'base_offset': 3}, {'magic': 3}, {'count': 1}, {'last_delta': 1}, {'cut': 5}, {'control': True}, {'length': 3}]))
        return {'$batches': [d]}

    def struct(self, api, s, v, depth=0):
        out = {}
        for f in s.fields:
            if not f.lo <= v <= f.hi or f.tag is not None:
                continue
            if f.array:
                nullable = f.null and (f.null is True or f.null[0] <= v <= f.null[1])
                if nullable and self.r.random() < 0.15 and api not in ('DescribeLogDirs', 'ElectLeaders'):
                    out[f.name] = None
                else:
                    n = self.one([1, 1, 2], [0]) if f.name not in ('configs', 'assignments', 'forgotten_topics_data', 'state_filters', 'producer_id_filters', 'states_filter', 'types_filter') else self.one([0, 0, 1])
                    n = max(n, 1) if depth and f.name not in ('configs', 'assignments') else n
                    rows = [self.struct(api, f.struct, v, depth + 1) if f.struct else self.pool(api, f, v) for _ in range(n)]
                    out[f.name] = self.distinct(rows)
            elif f.struct:
                out[f.name] = None if f.null else self.struct(api, f.struct, v, depth + 1)
            else:
                out[f.name] = self.pool(api, f, v)
        return out

    def distinct(self, rows):
        """What is named twice in one request is for the scripts: each broker answers it in its own way."""
        seen, out = set(), []
        for x in rows:
            key = str([x.get(k) for k in ('name', 'topic', 'topic_id', 'partition', 'partition_index', 'index', 'group_id', 'resource_name', 'transactional_id', 'member_id') if k in x and x[k] != ZERO]) if isinstance(x, dict) else str(x)
            if key not in seen:
                seen.add(key)
                out.append(x)
        return out

    def member(self, group):
        return self.one([ref(f'member.{group}{m}', '') for m in self.members], ['nobody', ''])

    def request(self, api):
        lo, hi = self.ranges.get(api, (1, 0))
        lo = max(lo, FIRST.get(api, 0))
        if lo > hi:
            return
        v = self.r.randint(lo, hi)
        m = CODEC.messages['request', CODEC.key_of(api)]
        body, more = self.struct(api, m, v), {'conn': 'a'}
        fix = getattr(self, f'fix_{api}', None)
        if fix:
            fix(body, v, more)
        if api == 'Fetch' and self.old.random() < 0.25:      # of a client from before record batches
            v = self.old.randint(0, 3)
        self.steps.append({'api': api, 'v': v, 'body': body} | more)

    def fix_Produce(self, body, v, more):
        transactional = self.kind == 'transactions' and self.r.random() < 0.8
        if not transactional:
            body['transactional_id'] = None
        elif body.get('transactional_id') is None:
            body['transactional_id'] = self.r.choice(self.ids)
        for t in body['topics']:
            for part in t['partitions']:
                part['records'] = self.batches(transactional)
        if body['acks'] == 0:
            body['acks'] = 1

    def fix_InitProducerId(self, body, v, more):
        name = body['transactional_id']
        more['save'] = f't{name}' if name else self.r.choice(['p1', 'p2'])
        if v >= 3:
            body['producer_id'], body['producer_epoch'] = -1, -1
            if name and self.r.random() < 0.2:
                body['producer_id'], body['producer_epoch'] = ref(f'pid.t{name}', -1), ref(f'epoch.t{name}', -1)
        if name or body.get('producer_id', -1) == -1:
            self.seqs[more['save']] = 0

    def producer(self, body, name, key='producer_id', epoch='producer_epoch'):
        body[key] = self.one([ref(f'pid.t{name}', 5)], [ref('pid.p1', 6)])
        body[epoch] = self.one([ref(f'epoch.t{name}', 0)], [ref(f'epoch.t{name}', 0, 1), -1])

    def fix_AddPartitionsToTxn(self, body, v, more):
        if v < 4:
            self.producer(body, body['v3_and_below_transactional_id'], 'v3_and_below_producer_id', 'v3_and_below_producer_epoch')
        for t in body.get('transactions', []):
            self.producer(t, t['transactional_id'])
        if v >= 4 and not body['transactions']:  # for the scripts: Kafka does not answer
            body['transactions'] = [{'transactional_id': '', 'producer_id': 5, 'producer_epoch': 0, 'verify_only': False, 'topics': []}]

    def fix_ListOffsets(self, body, v, more):
        parts = [part for t in body['topics'] for part in t['partitions']]
        if any(part['timestamp'] < -3 for part in parts):
            more['note'] = 'a time that means nothing'
            body['topics'] = [dict(t, partitions=[dict(part, timestamp=-4) for part in t['partitions']]) for t in body['topics'] if t['partitions']]
            return
        if self.cut and any(part['timestamp'] == -3 for part in parts):
            if len(parts) == 1:
                more['note'] = 'after DeleteRecords'
            for part in parts[1:]:
                part['timestamp'] = -1
            if len(parts) > 1:
                parts[0]['timestamp'] = -2

    def fix_DeleteRecords(self, body, v, more):
        self.cut = True

    def fix_DescribeTopicPartitions(self, body, v, more):
        body['topics'] = body['topics'] or [{'name': self.topic()}]      # all: those of other sequences, too

    def fix_AddOffsetsToTxn(self, body, v, more):
        self.producer(body, body['transactional_id'])

    fix_EndTxn = fix_AddOffsetsToTxn

    def fix_TxnOffsetCommit(self, body, v, more):
        self.producer(body, body['transactional_id'])
        if v >= 3:
            body['generation_id'], body['member_id'] = -1, ''

    def fix_WriteTxnMarkers(self, body, v, more):
        for m in body['markers']:
            m['producer_id'], m['producer_epoch'] = ref(f'pid.t{self.r.choice(self.ids)}', 5), ref(f'epoch.t{self.ids[0]}', 0)
            m['topics'] = [t for t in m['topics'] if t['partition_indexes']]
        body['markers'] = [m for m in body['markers'][:1] if m['topics']]

    def fix_ListTransactions(self, body, v, more):
        body['producer_id_filters'] = []

    def fix_JoinGroup(self, body, v, more):
        g, m = body['group_id'], self.r.choice(self.members)
        more['conn'], more['save'] = m, f'{g}{m}'
        body.update({'session_timeout_ms': 60000, 'protocol_type': 'consumer', 'member_id': self.one([ref(f'member.{g}{m}', '')], ['', 'nobody']),
                     'protocols': [{'name': n, 'metadata': f'0{i}'} for i, n in enumerate(self.r.sample(['range', 'rr', 'sticky'], 2))]})
        if self.r.random() < 0.05:
            body['protocol_type'] = 'connect'
        if v >= 1:
            body['rebalance_timeout_ms'] = 60000
        if v >= 5 and self.r.random() < 0.2:
            body['group_instance_id'] = f'i{m}'

    def fix_SyncGroup(self, body, v, more):
        g, m = body['group_id'], self.r.choice(self.members)
        more['conn'] = m
        body.update({'generation_id': self.generation(g), 'member_id': self.one([ref(f'member.{g}{m}', '')], ['nobody']), 'assignments': [
            {'member_id': ref(f'member.{g}{x}', ''), 'assignment': f'{i}{i}'} for i, x in enumerate(self.members) if self.r.random() < 0.9]})
        if v >= 5:
            body['protocol_type'], body['protocol_name'] = self.one(['consumer', None], ['connect']), None

    def generation(self, g):
        return self.one([ref(f'gen.{g}', 0)], [ref(f'gen.{g}', 0, 1), -1])

    def fix_Heartbeat(self, body, v, more):
        g, m = body['group_id'], self.r.choice(self.members)
        body['generation_id'], body['member_id'] = self.generation(g), self.one([ref(f'member.{g}{m}', '')], ['nobody'])

    def fix_LeaveGroup(self, body, v, more):
        g, m = body['group_id'], self.r.choice(self.members)
        body['member_id'] = ref(f'member.{g}{m}', 'x')
        body['members'] = [{'member_id': self.one([ref(f'member.{g}{m}', 'x')], ['nobody'])}]

    def fix_OffsetCommit(self, body, v, more):
        body['group_id'] = body['group_id'] or f'{self.p}none'           # a group without a name would be there for all sequences
        g, m = body['group_id'], self.r.choice(self.members)
        if v >= 1:
            body['generation_id_or_member_epoch'], body['member_id'] = self.r.choice([(self.generation(g), ref(f'member.{g}{m}', '')), (-1, '')])

    def fix_OffsetFetch(self, body, v, more):
        if v >= 8 and not body['groups']:
            body['groups'] = [{'group_id': self.groups[0], 'topics': None}]
        for g in body.get('groups') or []:
            g.update({'member_id': None, 'member_epoch': -1})

    def config_rows(self, n, operations=False):
        rows = {}
        for _ in range(n):
            name, value = self.config()
            rows[name] = {'name': name, 'value': value} | ({'config_operation': self.one([0, 0, 1], [2, 3])} if operations else {})
        return list(rows.values())

    def fix_CreateTopics(self, body, v, more):
        body['topics'] = body['topics'][:1] or [{'name': self.topics[0], 'num_partitions': 1, 'replication_factor': 1}]
        for t in body['topics']:
            t['name'] = self.one(self.topics + [f'{self.p}c', f'{self.p}d'], ['bad name'])
            t['assignments'], t['configs'] = [], self.config_rows(self.one([0, 0, 1], [2]))
        body['validate_only'] = False

    def fix_Metadata(self, body, v, more):
        for t in body['topics'] or []:
            t['name'] = self.one(self.topics, [f'{self.p}none', 'bad name'])
            t['topic_id'] = ZERO

    def fix_DeleteTopics(self, body, v, more):
        for t in body.get('topics', []):
            t['topic_id'] = ZERO
        body['topic_names'] = [self.topic()]
        body['topics'] = body.get('topics', [])[:1]

    def fix_AlterConfigs(self, body, v, more):
        for x in body['resources']:
            x['configs'] = self.config_rows(self.one([1, 2], [0]))
            self.resource(x)
        body['resources'] = self.distinct(body['resources'])

    def resource(self, x):
        x['resource_type'] = 2
        x['resource_name'] = self.one(self.topics, [f'{self.p}none'])

    def fix_IncrementalAlterConfigs(self, body, v, more):
        for x in body['resources']:
            x['configs'] = self.config_rows(self.one([1, 2], [0]), True)
            self.resource(x)
        body['resources'] = body['resources'][:1]

    def fix_DescribeConfigs(self, body, v, more):
        for x in body['resources']:
            x['configuration_keys'] = sorted({self.config()[0] for _ in range(3)})
            self.resource(x)

    def fix_CreatePartitions(self, body, v, more):
        for t in body['topics']:
            t['assignments'] = None

    def entity(self):
        names = self.r.sample(['user', 'client-id'], self.one([1, 2]))
        return [{'entity_type': n, 'entity_name': self.p + self.r.choice('uv')} for n in names]

    def fix_AlterClientQuotas(self, body, v, more):
        body['entries'] = [{'entity': self.entity(), 'ops': [{'key': self.one(['producer_byte_rate', 'consumer_byte_rate', 'request_percentage'], ['nosuch']), 'value': self.one([1e9, 2e9], [1.5e9, -1.0]),
                                                             'remove': self.r.random() < 0.3}]}]
        body['validate_only'] = self.r.random() < 0.1

    def fix_DescribeClientQuotas(self, body, v, more):
        body['components'] = [{'entity_type': n, 'match_type': self.one([0, 2], [1]), 'match': None} for n in self.r.sample(['user', 'client-id'], self.one([1, 2]))]
        for c in body['components']:
            if c['match_type'] == 0:
                c['match'] = self.p + self.r.choice('uv')

    def fix_DescribeAcls(self, body, v, more):
        body.update({'resource_type_filter': 1, 'pattern_type_filter': 1, 'operation': 1, 'permission_type': 1})

    def rebalance(self):
        """All members join one group and take their parts, as clients do."""
        g, members = self.r.choice(self.groups), self.r.sample(self.members, self.r.randint(1, 3))
        for again in range(2):
            for m in members:
                self.steps.append({'api': 'JoinGroup', 'v': 9, 'conn': m, 'save': f'{g}{m}', 'body': {
                    'group_id': g, 'session_timeout_ms': 60000, 'rebalance_timeout_ms': 60000, 'member_id': ref(f'member.{g}{m}', ''), 'protocol_type': 'consumer',
                    'protocols': [{'name': 'range', 'metadata': '01'}]}})
        for m in members:
            self.steps.append({'api': 'SyncGroup', 'v': 5, 'conn': m, 'body': {
                'group_id': g, 'generation_id': ref(f'gen.{g}', 0), 'member_id': ref(f'member.{g}{m}', ''), 'protocol_type': 'consumer', 'protocol_name': 'range',
                'assignments': [{'member_id': ref(f'member.{g}{x}', ''), 'assignment': 'aa'} for x in members]}})

    def begin(self):
        for n, t in enumerate(self.topics):
            rows = self.config_rows(1) if self.r.random() < 0.3 and self.kind == 'log' else []
            self.steps.append({'api': 'CreateTopics', 'v': 7, 'body': {'topics': [{'name': t, 'num_partitions': 2, 'replication_factor': 1, 'configs': rows}], 'timeout_ms': 30000}})
        if self.kind == 'transactions':
            for name in self.ids:
                self.steps.append({'api': 'InitProducerId', 'v': 5, 'save': f't{name}', 'body': {'transactional_id': name, 'transaction_timeout_ms': 60000, 'producer_epoch': -1}})
        if self.kind == 'log':
            for name in ('p1', 'p2'):
                self.steps.append({'api': 'InitProducerId', 'v': 5, 'save': name, 'body': {'transactional_id': None, 'transaction_timeout_ms': 60000, 'producer_epoch': -1}})

    def end(self):
        """Everything that is there, read."""
        ask = [('Metadata', 12, {'topics': [{'name': t} for t in self.topics], 'allow_auto_topic_creation': False}), ('DescribeTransactions', 0, {'transactional_ids': self.ids}),
               ('DescribeGroups', 5, {'groups': self.groups})]
        ask += [('OffsetFetch', 7, {'group_id': g, 'topics': None}) for g in self.groups]
        for t in self.topics:
            ask.append(('DescribeProducers', 0, {'topics': [{'name': t, 'partition_indexes': [0, 1]}]}))
            for index in (0, 1):
                for isolation in (0, 1):
                    ask.append(('Fetch', 11, {'max_wait_ms': 0, 'max_bytes': 1 << 20, 'isolation_level': isolation, 'topics': [
                        {'topic': t, 'partitions': [{'partition': index, 'fetch_offset': ref(f'first.{t}.{index}', 0), 'partition_max_bytes': 1 << 20}]}]}))
                    for when in (-1, -2, -3):
                        ask.append(('ListOffsets', 7, {'replica_id': -1, 'isolation_level': isolation, 'topics': [{'name': t, 'partitions': [{'partition_index': index, 'timestamp': when}]}]}))
        for api, v, body in ask:
            more = {}
            if api == 'ListOffsets':
                self.fix_ListOffsets(body, v, more)
            self.steps.append({'api': api, 'v': v, 'body': body, 'conn': 'end'} | more)

    def sequence(self):
        self.begin()
        names, weights = zip(*KINDS[self.kind].items())
        for _ in range(self.r.randint(20, 45)):
            if self.kind == 'groups' and self.r.random() < 0.12:
                self.rebalance()
            else:
                self.request(self.r.choices(names, weights)[0])
        self.end()
        return self.steps


def sequence(seed, prefix, ranges):
    g = Generator(seed, prefix, ranges)
    return {'name': f'seed {seed}, {g.kind}', 'prefix': prefix, 'steps': g.sequence()}
