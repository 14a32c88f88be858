# SPDX-License-Identifier: Apache-2.0
"""The scripted sequences: every API in every version that both serve, as a client would use it, then with what is wrong."""

ZERO = '00' * 16


def ref(name, otherwise, add=None):
    return {'$ref': name, 'or': otherwise} | ({'add': add} if add is not None else {})


def batch(*records, **more):
    return {'$batches': [{'records': [list(r) for r in records] or [['k', 'v']]} | more]}


class Script:
    def __init__(self, name, prefix, ranges, full):
        self.name, self.p, self.ranges, self.full, self.steps = name, prefix, ranges, full, []

    def ask(self, api, v, body, **more):
        lo, hi = self.ranges.get(api, (1, 0))
        if 'asked_version' in more or lo <= v <= hi:
            self.steps.append({'api': api, 'v': v, 'body': body} | more)

    def some(self, *versions):
        """All of them in a full run, else the last: for what costs Kafka a change of its metadata."""
        return versions if self.full else versions[-1:]

    def each(self, api, body, first=0, **more):
        """In every version from `first` on; the body may depend on it."""
        lo, hi = self.ranges.get(api, (1, 0))
        for v in range(max(lo, first), hi + 1):
            self.ask(api, v, body(v) if callable(body) else body, **more)

    def last(self, api, body, **more):
        self.ask(api, self.ranges.get(api, (1, 0))[1], body, **more)

    def create(self, *names, partitions=1, **configs):
        rows = [{'name': k.replace('_', '.'), 'value': str(v)} for k, v in configs.items()]
        self.last('CreateTopics', {'topics': [{'name': n, 'num_partitions': partitions, 'replication_factor': 1, 'configs': rows} for n in names], 'timeout_ms': 30000})

    def produce(self, topic, records, v=9, index=0, acks=-1, txn=None, **more):
        self.ask('Produce', v, {'transactional_id': txn, 'acks': acks, 'timeout_ms': 30000, 'topics': [
            {'name': topic, 'partitions': [{'index': index, 'records': records}]}]}, **more)

    def fetch(self, topic, v=11, offset=0, index=0, bytes_max=1 << 20, isolation=0, **more):
        part = {'partition': index, 'fetch_offset': offset, 'partition_max_bytes': bytes_max} | more.pop('part', {})
        body = {'max_wait_ms': 0, 'min_bytes': 0, 'max_bytes': 1 << 20, 'isolation_level': isolation, 'topics': [
            {'topic': topic, 'topic_id': ref(f'topic.{topic}', ZERO), 'partitions': [part]}]} | more.pop('whole', {})
        self.ask('Fetch', v, body, **more)

    def offsets(self, topic, when, v=7, index=0, isolation=0, **more):
        part = {'partition_index': index, 'timestamp': when} | more.pop('part', {})
        self.ask('ListOffsets', v, {'replica_id': -1, 'isolation_level': isolation, 'topics': [{'name': topic, 'partitions': [part]}]}, **more)

    def sequence(self):
        return {'name': self.name, 'prefix': self.p, 'steps': self.steps}


def api_versions(s):
    s.each('ApiVersions', {'client_software_name': 'apache-kafka-java', 'client_software_version': '3.8.1'})
    s.ask('ApiVersions', 3, {'client_software_name': '', 'client_software_version': '1'}, note='no name')
    s.ask('ApiVersions', 3, {'client_software_name': 'bad name!', 'client_software_version': '1'}, note='a bad name')
    s.ask('ApiVersions', 3, {'client_software_name': 'a', 'client_software_version': '-'}, note='a bad version of the client')
    s.ask('ApiVersions', 0, {}, asked_version=9, note='a version that is not')
    s.each('DescribeCluster', lambda v: {'include_cluster_authorized_operations': v == 1})
    s.ask('DescribeCluster', 1, {'endpoint_type': 2}, note='controllers')
    s.ask('DescribeCluster', 1, {'endpoint_type': 7}, note='an unknown kind')
    s.each('FindCoordinator', lambda v: {'key': 'g', 'key_type': 0, 'coordinator_keys': ['g', 'h', 'g']})
    s.each('FindCoordinator', lambda v: {'key': 't', 'key_type': 1, 'coordinator_keys': ['t']}, 1)
    s.each('FindCoordinator', lambda v: {'key': 't', 'key_type': 5, 'coordinator_keys': ['t']}, 1, note='an unknown kind')
    s.each('FindCoordinator', lambda v: {'key': '', 'key_type': 0, 'coordinator_keys': ['']}, note='an empty key')
    s.each('FindCoordinator', lambda v: {'key': '', 'key_type': 1, 'coordinator_keys': ['']}, 1, note='an empty transactional id')
    s.each('FindCoordinator', {'coordinator_keys': []}, 4, note='no keys')
    s.each('SaslHandshake', {'mechanism': 'PLAIN'}, conn='sasl')
    s.each('SaslAuthenticate', {'auth_bytes': '00'}, conn='sasl')
    s.each('DescribeQuorum', {'topics': [{'topic_name': 'other', 'partitions': [{'partition_index': 0}]}]}, note='another topic')
    s.each('DescribeQuorum', {'topics': []}, note='no topic')
    s.each('GetTelemetrySubscriptions', {'client_instance_id': ZERO}, note='none')
    s.each('ListClientMetricsResources', {})
    s.each('UnregisterBroker', {'broker_id': 77}, note='one that is not')
    s.each('UpdateFeatures', {'feature_updates': []}, note='none')
    s.each('UpdateFeatures', {'feature_updates': [{'feature': 'nosuch', 'max_version_level': 1}]}, note='one that is not')
    s.each('DescribeDelegationToken', {'owners': None})
    s.each('CreateDelegationToken', {'max_lifetime_ms': 1000})
    s.each('RenewDelegationToken', {'hmac': '00', 'renew_period_ms': 1000})
    s.each('ExpireDelegationToken', {'hmac': '00', 'expiry_time_period_ms': 1000})


def topics(s):
    p = s.p
    for v in range(8):
        s.ask('CreateTopics', v, {'topics': [{'name': f'{p}c{v}', 'num_partitions': 2, 'replication_factor': 1, 'configs': [{'name': 'retention.ms', 'value': '60000'}]}],
                                  'timeout_ms': 30000})
        s.ask('CreateTopics', v, {'topics': [{'name': f'{p}c{v}', 'num_partitions': 2, 'replication_factor': 1}], 'timeout_ms': 30000}, note='again')
    s.create(f'{p}a', f'{p}b', partitions=3)
    bad = [('empty name', {'name': ''}), ('bad name', {'name': f'{p}!'}), ('a dot', {'name': '.'}), ('two dots', {'name': '..'}), ('long name', {'name': p + 'n' * 250}),
           ('longest name', {'name': p + 'n' * (249 - len(p))}),
           ('no partitions', {'num_partitions': 0}), ('default partitions', {'num_partitions': -1}), ('-2 partitions', {'num_partitions': -2}),
           ('no replicas', {'replication_factor': 0}), ('default replicas', {'replication_factor': -1}), ('2 replicas', {'replication_factor': 2}),
           ('assigned', {'num_partitions': -1, 'replication_factor': -1, 'assignments': [{'partition_index': 0, 'broker_ids': [1]}, {'partition_index': 1, 'broker_ids': [1]}]}),
           ('assigned and counted', {'assignments': [{'partition_index': 0, 'broker_ids': [1]}]}),
           ('assigned to another', {'num_partitions': -1, 'replication_factor': -1, 'assignments': [{'partition_index': 0, 'broker_ids': [9]}]}),
           ('assigned twice', {'num_partitions': -1, 'replication_factor': -1, 'assignments': [{'partition_index': 0, 'broker_ids': [1, 1]}]}),
           ('assigned to nobody', {'num_partitions': -1, 'replication_factor': -1, 'assignments': [{'partition_index': 0, 'broker_ids': []}]}),
           ('assigned with a gap', {'num_partitions': -1, 'replication_factor': -1, 'assignments': [{'partition_index': 1, 'broker_ids': [1]}]}),
           ('assigned the same partition', {'num_partitions': -1, 'replication_factor': -1, 'assignments': [{'partition_index': 0, 'broker_ids': [1]}, {'partition_index': 0, 'broker_ids': [1]}]}),
           ('unknown config', {'configs': [{'name': 'nosuch', 'value': '1'}]}), ('bad value', {'configs': [{'name': 'retention.ms', 'value': 'x'}]}),
           ('out of range', {'configs': [{'name': 'min.insync.replicas', 'value': '0'}]}), ('null value', {'configs': [{'name': 'retention.ms', 'value': None}]}),
           ('config twice', {'configs': [{'name': 'retention.ms', 'value': '1'}, {'name': 'retention.ms', 'value': '2'}]}),
           ('bad policy', {'configs': [{'name': 'cleanup.policy', 'value': 'x'}]}), ('both policies', {'configs': [{'name': 'cleanup.policy', 'value': 'compact,delete'}]}),
           ('empty policy', {'configs': [{'name': 'cleanup.policy', 'value': ''}]}), ('bad codec', {'configs': [{'name': 'compression.type', 'value': 'x'}]}),
           ('too many bytes in a segment', {'configs': [{'name': 'segment.bytes', 'value': '3000000000'}]}), ('small segment', {'configs': [{'name': 'segment.bytes', 'value': '13'}]})]
    for n, (note, row) in enumerate(bad):
        for v in s.some(1, 7):
            topic = {'name': f'{p}e{n}.{v}', 'num_partitions': 1, 'replication_factor': 1} | row
            if note == 'longest name' and v == 1:
                continue
            s.ask('CreateTopics', v, {'topics': [topic], 'timeout_ms': 30000}, note=note)
    one = {'name': f'{p}d', 'num_partitions': 1, 'replication_factor': 1}
    s.each('CreateTopics', {'topics': [one, one], 'timeout_ms': 30000}, 1, note='twice in one request')
    s.each('CreateTopics', {'topics': [one, {'name': f'{p}w', 'num_partitions': 1, 'replication_factor': 1}, one], 'timeout_ms': 30000, 'validate_only': True}, 1, note='twice, validate only')
    s.each('CreateTopics', {'topics': [], 'timeout_ms': 30000}, note='none')
    s.last('CreateTopics', {'topics': [{'name': f'{p}dot.name', 'num_partitions': 1, 'replication_factor': 1}], 'timeout_ms': 30000})
    s.last('CreateTopics', {'topics': [{'name': f'{p}dot_name', 'num_partitions': 1, 'replication_factor': 1}], 'timeout_ms': 30000}, note='collides')
    s.each('Metadata', {'topics': [{'name': f'{p}a'}, {'name': f'{p}none'}, {'name': 'bad name'}, {'name': f'{p}a'}], 'allow_auto_topic_creation': False,
                        'include_topic_authorized_operations': True, 'include_cluster_authorized_operations': True}, 4)
    s.each('Metadata', {'topics': [{'name': f'{p}a'}, {'name': f'{p}b'}]})
    s.each('Metadata', lambda v: {'topics': None if v else []}, note='all')
    s.each('Metadata', {'topics': []}, 1, note='none')
    s.each('Metadata', {'topics': [{'topic_id': ref(f'topic.{p}a', ZERO), 'name': None}], 'allow_auto_topic_creation': False}, 10, note='by id')
    s.each('Metadata', {'topics': [{'topic_id': '11' * 16, 'name': None}], 'allow_auto_topic_creation': False}, 10, note='by unknown id')
    s.each('Metadata', {'topics': [{'name': f'{p}a', 'topic_id': ref(f'topic.{p}b', ZERO)}], 'allow_auto_topic_creation': False}, 10, note='by both')
    s.each('Metadata', {'topics': [{'name': '', 'topic_id': ZERO}], 'allow_auto_topic_creation': False}, 10, note='by an empty name')
    s.each('DescribeTopicPartitions', {'topics': [{'name': f'{p}a'}, {'name': f'{p}none'}, {'name': 'bad name'}]})
    s.each('DescribeTopicPartitions', {'topics': [{'name': f'{p}a'}, {'name': f'{p}b'}], 'response_partition_limit': 4}, note='four')
    s.each('DescribeTopicPartitions', {'topics': [{'name': f'{p}a'}, {'name': f'{p}b'}], 'response_partition_limit': 4, 'cursor': {'topic_name': f'{p}b', 'partition_index': 1}}, note='from a cursor')
    s.each('DescribeTopicPartitions', {'topics': [{'name': f'{p}a'}], 'response_partition_limit': 0}, note='limit 0')
    s.each('DescribeTopicPartitions', {'topics': [{'name': f'{p}a'}], 'cursor': {'topic_name': f'{p}a', 'partition_index': -1}}, note='a cursor below')
    s.each('DescribeTopicPartitions', {'topics': [{'name': f'{p}a'}], 'cursor': {'topic_name': f'{p}a', 'partition_index': 9}}, note='a cursor beyond')
    s.each('DescribeTopicPartitions', {'topics': [{'name': f'{p}a'}, {'name': f'{p}b'}], 'cursor': {'topic_name': f'{p}none', 'partition_index': 0}}, note='a cursor on another topic')
    for v in s.some(0, 1, 2, 3):
        s.ask('CreatePartitions', v, {'topics': [{'name': f'{p}b', 'count': 4 + v, 'assignments': None}], 'timeout_ms': 30000})
        for note, row in [('the same', {'count': 4 + v}), ('fewer', {'count': 1}), ('none', {'count': 0}), ('below', {'count': -1}), ('unknown', {'name': f'{p}none'}), ('empty name', {'name': ''}),
                          ('assigned', {'count': 9, 'assignments': [{'broker_ids': [1]}]}), ('assigned to another', {'count': 5 + v, 'assignments': [{'broker_ids': [7]}]}),
                          ('assigned twice', {'count': 5 + v, 'assignments': [{'broker_ids': [1, 1]}]}), ('assigned to nobody', {'count': 5 + v, 'assignments': [{'broker_ids': []}]}),
                          ('internal', {'name': '__consumer_offsets', 'count': 90})]:
            s.ask('CreatePartitions', v, {'topics': [{'name': f'{p}b', 'count': 9, 'assignments': None} | row], 'timeout_ms': 30000, 'validate_only': note == 'internal'}, note=note)
        s.ask('CreatePartitions', v, {'topics': [{'name': f'{p}b', 'count': 9, 'assignments': None}] * 2, 'timeout_ms': 30000}, note='twice')
        s.ask('CreatePartitions', v, {'topics': [{'name': f'{p}b', 'count': 20, 'assignments': None}], 'timeout_ms': 30000, 'validate_only': True}, note='validate only')
        s.ask('CreatePartitions', v, {'topics': [], 'timeout_ms': 30000}, note='no topic')
    s.last('Metadata', {'topics': [{'name': f'{p}b'}]}, note='with more partitions')
    s.each('ElectLeaders', {'topic_partitions': [{'topic': f'{p}a', 'partitions': [0, 1, 9]}, {'topic': f'{p}none', 'partitions': [0]}], 'timeout_ms': 30000})
    s.each('ElectLeaders', {'election_type': 1, 'topic_partitions': [{'topic': f'{p}a', 'partitions': [0]}], 'timeout_ms': 30000}, 1, note='unclean')
    s.each('ElectLeaders', {'topic_partitions': [], 'timeout_ms': 30000}, note='none')
    s.each('AlterPartitionReassignments', {'topics': [{'name': f'{p}a', 'partitions': [{'partition_index': 0, 'replicas': [1]}, {'partition_index': 1, 'replicas': None},
                                           {'partition_index': 2, 'replicas': [9]}, {'partition_index': 7, 'replicas': [1]}]}, {'name': f'{p}none', 'partitions': [{'partition_index': 0, 'replicas': [1]}]}]})
    s.each('AlterPartitionReassignments', {'topics': [{'name': f'{p}a', 'partitions': [{'partition_index': 0, 'replicas': []}, {'partition_index': 1, 'replicas': [1, 1]}, {'partition_index': 2, 'replicas': [-1]}]}]}, note='bad replicas')
    s.each('AlterPartitionReassignments', {'topics': []}, note='none')
    s.each('ListPartitionReassignments', {'topics': None}, note='all')
    s.each('ListPartitionReassignments', {'topics': [{'name': f'{p}a', 'partition_indexes': [0, 9]}, {'name': f'{p}none', 'partition_indexes': [0]}]})
    s.each('DescribeLogDirs', {'topics': [{'topic': f'{p}a', 'partitions': [0, 1, 9]}, {'topic': f'{p}none', 'partitions': [0]}]})
    s.each('DescribeLogDirs', {'topics': None}, note='all')
    s.each('DescribeLogDirs', {'topics': []}, note='none')
    s.each('AlterReplicaLogDirs', {'dirs': [{'path': '/nowhere', 'topics': [{'name': f'{p}a', 'partitions': [0]}]}]})
    for v in range(6):
        s.ask('DeleteTopics', v, {'topic_names': [f'{p}c{v}', f'{p}none', f'{p}c{v}' if v == 5 else ''], 'timeout_ms': 30000})
        s.create(f'{p}gone{v}')
        s.ask('DeleteTopics', v, {'topic_names': [f'{p}gone{v}'], 'timeout_ms': 30000}, note='one that is there')
    for v in range(1, 4):
        s.ask('Metadata', v, {'topics': [{'name': 'bad name'}, {'name': ''}]}, note='bad names')
    s.ask('DeleteTopics', 6, {'topics': [{'name': f'{p}c6'}, {'name': None, 'topic_id': ref(f'topic.{p}c7', ZERO)}, {'name': None, 'topic_id': '22' * 16}], 'timeout_ms': 30000})
    s.ask('DeleteTopics', 6, {'topics': [{'name': f'{p}a'}, {'name': None, 'topic_id': ref(f'topic.{p}a', ZERO)}], 'timeout_ms': 30000}, note='by name and id')
    s.ask('DeleteTopics', 6, {'topics': [{'name': None, 'topic_id': ZERO}], 'timeout_ms': 30000}, note='by nothing')
    s.ask('DeleteTopics', 6, {'topics': [{'name': f'{p}b', 'topic_id': ref(f'topic.{p}b', ZERO)}], 'timeout_ms': 30000}, note='by both')
    s.ask('DeleteTopics', 6, {'topics': [{'name': f'{p}b'}, {'name': f'{p}b'}], 'timeout_ms': 30000}, note='the same twice')
    s.ask('DeleteTopics', 6, {'topics': [], 'timeout_ms': 30000}, note='none')
    s.last('Metadata', {'topics': None}, note='all that is left')


def produce(s):
    p = s.p
    s.create(f'{p}a', partitions=2)
    s.create(f'{p}small', max_message_bytes=200)
    s.create(f'{p}compact', cleanup_policy='compact')
    s.create(f'{p}append', message_timestamp_type='LogAppendTime')
    s.create(f'{p}window', message_timestamp_before_max_ms=1000, message_timestamp_after_max_ms=1000)
    s.create(f'{p}gzip', compression_type='gzip')
    s.create(f'{p}plain', compression_type='uncompressed')
    for v in range(3, 12):
        s.produce(f'{p}a', batch(['k', f'v{v}'], [None, None, 5, [['h', 'x'], ['h', None]]]), v)
        s.produce(f'{p}append', batch(['k', f'v{v}']), v)
        s.produce(f'{p}none', batch(), v, note='unknown topic')
        s.produce(f'{p}a', batch(), v, index=7, note='unknown partition')
        s.produce(f'{p}a', batch(), v, index=-1, note='partition -1')
        s.produce(f'{p}a', batch(), v, acks=2, note='acks 2')
        s.produce(f'{p}a', batch(), v, acks=1)
        s.produce(f'{p}a', batch(crc=1), v, note='a bad CRC')
        s.produce(f'{p}window', batch(['k', 'v']), v, note='too old')
        s.produce(f'{p}compact', batch(['k', 'v'], [None, 'v']), v, note='a record without a key')
        for codec in (1, 2, 3, 4):
            s.produce(f'{p}a', batch(['k', 'v' * 100], ['l', 'w', 3], codec=codec), v, note=f'codec {codec}')
            s.produce(f'{p}gzip', batch(['k', 'v' * 100], ['l', 'w', 3], codec=codec), v, note=f'codec {codec} to gzip')
            s.produce(f'{p}plain', batch(['k', 'v' * 100], ['l', 'w', 3], codec=codec), v, note=f'codec {codec} to uncompressed')
    wrong = [('base offset 5', {'base_offset': 5}), ('magic 3', {'magic': 3}), ('magic -1', {'magic': -1}), ('a record more', {'count': 1}), ('a record less', {'count': -1}),
             ('last delta more', {'last_delta': 1}), ('length more', {'length': 1}), ('length less', {'length': -1}), ('length tiny', {'length': -60}), ('cut by one', {'cut': 1}),
             ('cut to its head', {'cut': 12}), ('a control batch', {'control': True}), ('log append time', {'log_append': True}), ('codec 5', {'attributes': 5}), ('codec 7', {'attributes': 7}),
             ('gzip bit, plain bytes', {'attributes': 1}), ('delete horizon', {'attributes': 64}), ('unused bit', {'attributes': 512}), ('leader epoch 3', {'leader_epoch': 3}),
             ('no records', {'records': []}), ('garbage for records', {'raw_records': 'ff' * 20}), ('garbage behind', {'tail': 'ff' * 10}), ('another batch cut', {'tail': '00' * 61}),
             ('transactional without a producer', {'transactional': True}), ('a producer without a sequence', {'pid': 999999, 'epoch': 0}), ('an unknown producer', {'pid': 999999, 'epoch': 0, 'seq': 0}),
             ('an unknown producer, in the middle', {'pid': 999998, 'epoch': 0, 'seq': 5}), ('epoch -1', {'pid': 999997, 'epoch': -1, 'seq': 0}),
             ('time in the future', {'records': [['k', 'v', 10**10]]}), ('negative time', {'records': [['k', 'v', -10**13]]})]
    for note, more in wrong:
        s.produce(f'{p}a', batch(**{'records': [['k', 'v']], **more}) if 'records' not in more else {'$batches': [more]}, 9, index=1, note=note)
        s.produce(f'{p}append', {'$batches': [{'records': [['k', 'v']]} | more]}, 9, note=note + ', append time')
    s.produce(f'{p}a', '', 9, note='no bytes')
    s.produce(f'{p}a', None, 9, note='null records', silent=True)
    s.produce(f'{p}a', {'$batches': [{}, {}]}, 9, note='two batches')
    s.produce(f'{p}small', batch(['k', 'v' * 300]), 9, note='too large')
    s.produce(f'{p}small', batch(['k', 'v' * 300], codec=1), 9, note='small enough when compressed')
    s.produce(f'{p}a', batch(['k', 'v' * 1100000]), 9, note='larger than the broker takes')
    part = [{'index': 0, 'records': batch(['a', 'a'])}]
    s.ask('Produce', 9, {'acks': -1, 'timeout_ms': 1000, 'topics': [{'name': f'{p}a', 'partitions': [{'index': 0, 'records': batch()}, {'index': 9, 'records': batch()}]},
                                                                    {'name': f'{p}none', 'partitions': part}]}, note='good and bad')
    s.ask('Produce', 9, {'acks': -1, 'timeout_ms': 1000, 'topics': []}, note='no topics')
    s.ask('Produce', 9, {'acks': -1, 'timeout_ms': 1000, 'topics': [{'name': f'{p}a', 'partitions': []}]}, note='no partitions')
    s.ask('Produce', 9, {'acks': 0, 'timeout_ms': 1000, 'topics': [{'name': f'{p}a', 'partitions': part}]}, note='acks 0', conn='zero')
    s.ask('Metadata', 9, {'topics': []}, conn='zero')
    s.ask('Produce', 9, {'acks': 0, 'timeout_ms': 1000, 'topics': [{'name': f'{p}none', 'partitions': part}]}, note='acks 0, unknown topic', conn='zero')
    s.ask('Metadata', 9, {'topics': []}, conn='zero')
    for t in ('a', 'append', 'small', 'compact', 'window', 'gzip', 'plain'):
        for v in range(4, 17):
            s.fetch(p + t, v)
    s.fetch(f'{p}a', index=1)
    for i in (0, 1):
        for when in (-1, -2, -3, 0):
            s.offsets(f'{p}a', when, index=i)


def mixed(s):
    """Batches that are not alike in one request."""
    p = s.p
    s.create(f'{p}a', partitions=3)
    s.ask('InitProducerId', 5, {'transactional_id': None, 'transaction_timeout_ms': 60000}, save='i')
    s.ask('InitProducerId', 5, {'transactional_id': f'{p}x', 'transaction_timeout_ms': 60000}, save='x')
    kinds = {'good': {}, 'magic 3': {'magic': 3}, 'magic -1': {'magic': -1}, 'length tiny': {'length': -60}, 'length less': {'length': -10}, 'CRC': {'crc': 1}, 'cut': {'cut': 3}, 'codec 5': {'attributes': 5},
             'zstd': {'codec': 4}, 'transactional': {'pid': ref('pid.x', 5), 'epoch': ref('epoch.x', 0), 'seq': 0, 'transactional': True}, 'unknown producer': {'pid': 999999, 'epoch': 0, 'seq': 0},
             'transactional, magic 3': {'pid': ref('pid.x', 5), 'epoch': ref('epoch.x', 0), 'seq': 0, 'transactional': True, 'magic': 3}, 'idempotent': {'pid': ref('pid.i', 5), 'epoch': 0, 'seq': 0},
             'transactional without a producer': {'transactional': True}}
    records = {k: {'$batches': [{'records': [['k', 'v']]} | v]} for k, v in kinds.items()} | {'nothing': '', 'twice': {'$batches': [{}, {}]}, 'garbage behind': {'$batches': [{'tail': 'ff' * 20}]}}
    heads = [('a cut batch behind', 100, 2), ('a cut batch with magic 3 behind', 100, 3), ('a cut old batch behind', 100, 1), ('a short length behind', 20, 2), ('a tiny length behind', 13, 2), ('an old batch behind', 26, 1)]
    for kind, length, magic in heads:
        for more in (5, 20) if length > 99 else (length - 5,):
            records[f'{kind}, {more} bytes'] = {'$batches': [{'tail': '00' * 8 + f'{length:08x}ffffffff{magic:02x}' + '00' * more}]}
    for n in (11, 12, 16, 17):
        records[f'{n} zeros behind'] = {'$batches': [{'tail': '00' * n}]}

    def put(note, *rows, v=9, acks=-1, txn=None):
        topics = {}
        for topic, index, kind in rows:
            topics.setdefault(topic, []).append({'index': index, 'records': records[kind]})
        s.ask('Produce', v, {'transactional_id': txn, 'acks': acks, 'timeout_ms': 30000, 'topics': [{'name': t, 'partitions': rows} for t, rows in topics.items()]}, note=note)

    a, none = f'{p}a', f'{p}none'
    for kind in records:
        if kind != 'good':
            put(f'{kind} behind a good one', (a, 0, 'good'), (a, 1, kind))
            put(f'{kind} before a good one', (a, 0, kind), (a, 1, 'good'))
            put(f'{kind} to a partition that is not', (a, 0, 'good'), (a, 7, kind))
            put(f'{kind} to an unknown topic', (none, 0, kind), (a, 0, 'good'))
            put(f'{kind} and a transaction', (a, 0, 'transactional'), (a, 1, kind), txn=f'{p}x')
            put(f'{kind} before a transaction', (a, 0, kind), (a, 1, 'transactional'), txn=f'{p}x')
        for acks in (5, -2):
            put(f'acks {acks}, {kind}', (a, 0, kind), acks=acks)
            put(f'acks {acks}, {kind} and the id', (a, 0, kind), acks=acks, txn=f'{p}x')
            put(f'acks {acks}, {kind} and a good one', (a, 0, 'good'), (a, 1, kind), acks=acks)
        put(f'{kind} to an unknown topic, acks 5', (none, 0, kind), acks=5)
        put(f'{kind} with an empty id', (a, 0, kind), txn='')
        for v in s.some(3, 6, 7, 8, 11):
            rows = [(a, 0, 'good'), (a, 1, kind)]
            put(f'{kind} behind a good one', *rows[kind == 'codec 5' and v < 7:], v=v)       # Kafka refuses all of that with -1
    for index in (0, 1, 2):
        s.fetch(a, index=index)


def fetch(s):
    p = s.p
    s.create(f'{p}a', partitions=2)
    for n in range(6):
        s.produce(f'{p}a', batch(*[[f'k{n}', 'x' * 40, 100 * n + i] for i in range(3)]))
    for v in range(4, 17):
        for offset in (0, 1, 5, 17, 18, 19, -1, 1 << 40):
            s.fetch(f'{p}a', v, offset)
        s.fetch(f'{p}a', v, index=1)
        s.fetch(f'{p}a', v, index=5, note='unknown partition')
        s.fetch(f'{p}a', v, bytes_max=1, note='one byte')
        s.fetch(f'{p}a', v, bytes_max=0, note='no byte')
        s.fetch(f'{p}a', v, bytes_max=400, note='400 bytes')
        s.fetch(f'{p}a', v, isolation=1)
        s.fetch(f'{p}none', v, note='unknown topic')
        s.fetch(f'{p}a', v, part={'current_leader_epoch': 0}, note='epoch 0')
        s.fetch(f'{p}a', v, part={'current_leader_epoch': 1}, note='epoch 1')
        s.fetch(f'{p}a', v, part={'current_leader_epoch': -2}, note='epoch -2')
        s.fetch(f'{p}a', v, part={'last_fetched_epoch': 0, 'current_leader_epoch': 0}, note='last fetched 0')
        s.fetch(f'{p}a', v, offset=3, part={'last_fetched_epoch': 5, 'current_leader_epoch': 0}, note='last fetched 5')
        s.fetch(f'{p}a', v, whole={'max_bytes': 1}, note='at most one byte')
        s.fetch(f'{p}a', v, whole={'max_bytes': 0}, note='at most no byte')
        s.fetch(f'{p}a', v, whole={'topics': []}, note='nothing')
        s.fetch(f'{p}a', v, offset=18, whole={'max_wait_ms': 30, 'min_bytes': 1}, note='waits')
        s.fetch(f'{p}a', v, whole={'max_wait_ms': -1, 'min_bytes': 1}, note='waits -1')
        s.fetch(f'{p}a', v, whole={'session_id': 12345, 'session_epoch': 1}, note='unknown session')
        s.fetch(f'{p}a', v, whole={'session_id': 12345, 'session_epoch': -1}, note='ends an unknown session')
        s.fetch(f'{p}a', v, whole={'session_id': 12345, 'session_epoch': 0}, note='replaces an unknown session')
        s.fetch(f'{p}a', v, whole={'session_id': 0, 'session_epoch': 5}, note='epoch without session')
        c = f'f{v}'
        s.fetch(f'{p}a', v, whole={'session_epoch': 0}, conn=c, note='opens a session')
        if v >= 7:
            sid = ref(f'session.{c}', 0)
            s.fetch(f'{p}a', v, whole={'session_id': sid, 'session_epoch': 1, 'topics': []}, conn=c, note='session goes on')
            s.fetch(f'{p}a', v, index=1, whole={'session_id': sid, 'session_epoch': 2}, conn=c, note='session with another')
            s.fetch(f'{p}a', v, offset=18, whole={'session_id': sid, 'session_epoch': 3}, conn=c, note='session moves')
            s.fetch(f'{p}a', v, whole={'session_id': sid, 'session_epoch': 3, 'topics': []}, conn=c, note='session epoch again')
            s.fetch(f'{p}a', v, whole={'session_id': sid, 'session_epoch': 4, 'topics': [],
                                       'forgotten_topics_data': [{'topic': f'{p}a', 'topic_id': ref(f'topic.{p}a', ZERO), 'partitions': [0]}]}, conn=c, note='session forgets')
            s.fetch(f'{p}a', v, index=9, whole={'session_id': sid, 'session_epoch': 5}, conn=c, note='session with an unknown partition')
            s.fetch(f'{p}a', v, whole={'session_id': sid, 'session_epoch': 6, 'topics': []}, conn=c, note='session again')
            s.fetch(f'{p}a', v, whole={'session_id': sid, 'session_epoch': -1}, conn=c, note='session ends')
            s.fetch(f'{p}a', v, whole={'session_id': sid, 'session_epoch': 1, 'topics': []}, conn=c, note='ended session')
    s.produce(f'{p}a', batch(['m', 'm']), index=1)
    for v in range(4, 17):
        for note, first, second, whole in [('nothing left for the second', 1 << 20, 1 << 20, 1), ('a byte for the second', 1 << 20, 1, 1 << 20), ('no byte for the second', 1 << 20, 0, 1 << 20),
                                           ('no byte at all', 0, 0, 1 << 20), ('less than a batch', 1 << 20, 1 << 20, 70), ('no byte, the end', 1 << 20, 0, 1 << 20)]:
            parts = [{'partition': 0, 'fetch_offset': 0, 'partition_max_bytes': first}, {'partition': 1, 'fetch_offset': 1 if 'the end' in note else 0, 'partition_max_bytes': second}]
            for isolation in (0, 1):
                s.ask('Fetch', v, {'max_wait_ms': 0, 'isolation_level': isolation, 'max_bytes': whole, 'topics': [{'topic': f'{p}a', 'topic_id': ref(f'topic.{p}a', ZERO), 'partitions': parts}]}, note=note)
    for v in range(13, 17):
        part = [{'partition': 0, 'fetch_offset': 0, 'partition_max_bytes': 1000}]
        s.ask('Fetch', v, {'max_wait_ms': 0, 'topics': [{'topic_id': '33' * 16, 'partitions': part}]}, note='an unknown id')
        s.ask('Fetch', v, {'max_wait_ms': 0, 'topics': [{'topic_id': ZERO, 'partitions': part}]}, note='no id')
    for v in range(4, 17):
        part = [{'partition': 0, 'fetch_offset': 0, 'partition_max_bytes': 1000}] * 2
        s.ask('Fetch', v, {'max_wait_ms': 0, 'topics': [{'topic': f'{p}a', 'topic_id': ref(f'topic.{p}a', ZERO), 'partitions': part}]}, note='the same twice')
    for v in range(1, 9):
        for when in (-1, -2, -3, -4, -5, -6, -100, 0, 1 << 60):
            s.offsets(f'{p}a', when, v, note='a time that means nothing' if when < -3 else '')
        s.offsets(f'{p}a', ref('start', 1700000000000), v)
        s.offsets(f'{p}a', -1, v, isolation=1)
        s.offsets(f'{p}a', -1, v, index=1)
        s.offsets(f'{p}a', -3, v, index=1, note='of an empty log')
        s.offsets(f'{p}a', 0, v, index=1, note='of an empty log')
        s.offsets(f'{p}a', -1, v, index=4, note='unknown partition')
        s.offsets(f'{p}none', -1, v, note='unknown topic')
        s.offsets(f'{p}a', -1, v, part={'current_leader_epoch': 0})
        s.offsets(f'{p}a', -1, v, part={'current_leader_epoch': 3}, note='epoch 3')
        s.ask('ListOffsets', v, {'replica_id': -1, 'topics': [{'name': f'{p}a', 'partitions': [{'partition_index': 0, 'timestamp': -1}, {'partition_index': 0, 'timestamp': -2}]}]}, note='the same twice')
        s.ask('ListOffsets', v, {'replica_id': -1, 'topics': []}, note='none')
        s.ask('ListOffsets', v, {'replica_id': 5, 'topics': [{'name': f'{p}a', 'partitions': [{'partition_index': 0, 'timestamp': -1}]}]}, note='as a replica')
        s.ask('ListOffsets', v, {'replica_id': -2, 'topics': [{'name': f'{p}a', 'partitions': [{'partition_index': 0, 'timestamp': -1}]}]}, note='as a debugger')
    for max_num in (0, 1, 5):
        s.offsets(f'{p}a', -1, 0, part={'max_num_offsets': max_num})
        s.offsets(f'{p}a', -2, 0, part={'max_num_offsets': max_num})
        s.offsets(f'{p}a', 1 << 60, 0, part={'max_num_offsets': max_num})
        s.offsets(f'{p}none', 1 << 60, 0, part={'max_num_offsets': max_num})
    for v in range(5):
        for now, epoch in [(-1, 0), (-1, 1), (-1, -1), (0, 0), (2, 0), (-1, -2)]:
            s.ask('OffsetForLeaderEpoch', v, {'replica_id': -1, 'topics': [{'topic': f'{p}a', 'partitions': [
                {'partition': 0, 'current_leader_epoch': now, 'leader_epoch': epoch}, {'partition': 1, 'current_leader_epoch': now, 'leader_epoch': epoch},
                {'partition': 8, 'current_leader_epoch': now, 'leader_epoch': epoch}]}, {'topic': f'{p}none', 'partitions': [{'partition': 0, 'leader_epoch': 0}]}]}, note=f'{now} {epoch}')
        s.ask('OffsetForLeaderEpoch', v, {'replica_id': -1, 'topics': []}, note='none')
    for v in range(3):
        for offset in (2, 4, 1, 0, -1, 18 if v == 2 else 6, 19, -2):
            s.ask('DeleteRecords', v, {'topics': [{'name': f'{p}a', 'partitions': [{'partition_index': 0, 'offset': offset}]}], 'timeout_ms': 10000}, note=str(offset))
            s.offsets(f'{p}a', -2)
            s.fetch(f'{p}a', offset=3)
        s.ask('DeleteRecords', v, {'topics': [{'name': f'{p}a', 'partitions': [{'partition_index': 9, 'offset': 0}, {'partition_index': 1, 'offset': 0}]},
                                              {'name': f'{p}none', 'partitions': [{'partition_index': 0, 'offset': 0}]}], 'timeout_ms': 10000}, note='unknown ones')
        s.ask('DeleteRecords', v, {'topics': [{'name': f'{p}a', 'partitions': [{'partition_index': 0, 'offset': 99}, {'partition_index': 0, 'offset': 0}]},
                                             {'name': f'{p}a', 'partitions': [{'partition_index': 9, 'offset': 0}] * 2}], 'timeout_ms': 10000}, note='twice')
        s.ask('DeleteRecords', v, {'topics': [], 'timeout_ms': 10000}, note='none')
        s.ask('DeleteRecords', v, {'topics': [{'name': '__consumer_offsets', 'partitions': [{'partition_index': 0, 'offset': 0}]}], 'timeout_ms': 10000}, note='internal')


def join(s, group, member, v=9, conn=None, save=None, **more):
    body = {'group_id': group, 'session_timeout_ms': 30000, 'rebalance_timeout_ms': 30000, 'member_id': member, 'protocol_type': 'consumer',
            'protocols': [{'name': 'range', 'metadata': '0001'}, {'name': 'roundrobin', 'metadata': '0002'}]} | more.pop('body', {})
    s.ask('JoinGroup', v, body, conn=conn or 'a', save=save, **more)


def sync(s, group, member, gen, assignments=(), v=5, conn=None, **more):
    body = {'group_id': group, 'generation_id': gen, 'member_id': member, 'protocol_type': 'consumer', 'protocol_name': 'range',
            'assignments': [{'member_id': m, 'assignment': a} for m, a in assignments]} | more.pop('body', {})
    s.ask('SyncGroup', v, body, conn=conn or 'a', **more)


def groups(s):
    p = s.p
    s.create(f'{p}t', partitions=3)
    for v in range(10):
        g, m = f'{p}g{v}', f'{p}m{v}'
        me, gen = ref(f'member.{m}', ''), ref(f'gen.{g}', 0)
        join(s, g, '', v, save=m, note='first')
        if v >= 4:
            join(s, g, me, v, save=m, note='with its id')
        beat = {'group_id': g, 'generation_id': gen, 'member_id': me}
        s.each('Heartbeat', beat, note=f'before sync, join {v}')
        s.each('DescribeGroups', {'groups': [g, f'{p}none'], 'include_authorized_operations': True}, note=f'before sync, join {v}')
        sync(s, g, me, gen, [(me, '0a0b')], v=min(v, 5))
        sync(s, g, me, gen, [(me, '0c')], v=min(v, 5), note='again')
        s.each('Heartbeat', beat)
        s.each('Heartbeat', beat | {'generation_id': ref(f'gen.{g}', 0, 1)}, note='generation more')
        s.each('Heartbeat', beat | {'generation_id': -1}, note='generation -1')
        s.each('Heartbeat', beat | {'member_id': 'nobody'}, note='unknown member')
        s.each('Heartbeat', beat | {'member_id': ''}, note='no member')
        s.each('Heartbeat', beat | {'group_id': f'{p}none'}, note='unknown group')
        s.each('Heartbeat', beat | {'group_id': ''}, note='no group')
        s.each('Heartbeat', beat | {'group_instance_id': 'inst'}, 3, note='unknown instance')
        sync(s, g, 'nobody', gen, note='unknown member')
        sync(s, g, me, ref(f'gen.{g}', 0, 1), note='generation more')
        sync(s, f'{p}none', me, gen, note='unknown group')
        sync(s, '', me, gen, note='no group')
        sync(s, g, me, gen, body={'protocol_name': 'other'}, note='another protocol')
        sync(s, g, me, gen, body={'protocol_type': 'other'}, note='another type')
        join(s, g, 'nobody', v, note='unknown member')
        join(s, g, me, v, body={'protocol_type': 'other'}, note='another type')
        join(s, g, me, v, body={'protocols': [{'name': 'zzz', 'metadata': ''}]}, save=m, note='another protocol')
        join(s, g, me, v, body={'protocols': []}, note='no protocols')
        join(s, '', me, v, note='no group')
        join(s, g, me, v, body={'session_timeout_ms': 5}, note='short session')
        join(s, g, me, v, body={'session_timeout_ms': 1 << 30}, note='long session')
        commit = {'group_id': g, 'generation_id_or_member_epoch': gen, 'member_id': me, 'topics': [
            {'name': f'{p}t', 'partitions': [{'partition_index': 0, 'committed_offset': 5 + v, 'committed_leader_epoch': 0, 'committed_metadata': 'm'},
                                             {'partition_index': 1, 'committed_offset': -1, 'committed_metadata': ''}, {'partition_index': 2, 'committed_offset': 7, 'committed_metadata': None},
                                             {'partition_index': 9, 'committed_offset': 7, 'committed_metadata': 'x' * 5000}]},
            {'name': f'{p}none', 'partitions': [{'partition_index': 0, 'committed_offset': 1, 'committed_metadata': ''}]}]}
        s.ask('OffsetCommit', v, commit)
        s.each('OffsetFetch', {'group_id': g, 'topics': [{'name': f'{p}t', 'partition_indexes': [0, 1, 2, 9, 0]}, {'name': f'{p}none', 'partition_indexes': [0]}],
                               'groups': [{'group_id': g, 'topics': [{'name': f'{p}t', 'partition_indexes': [0, 1, 2, 9, 0]}]}]}, note=f'after commit {v}')
        s.ask('LeaveGroup', min(v, 5), {'group_id': g, 'member_id': me, 'members': [{'member_id': me}, {'member_id': 'nobody'}]})
        s.each('DescribeGroups', {'groups': [g]}, note='after leaving')
    g, me = f'{p}c', ''
    commit = {'group_id': g, 'topics': [{'name': f'{p}t', 'partitions': [{'partition_index': 0, 'committed_offset': 3, 'committed_metadata': 'm'}]}]}
    s.each('OffsetCommit', commit, note='simple consumer')
    s.each('OffsetCommit', commit | {'retention_time_ms': 5000, 'group_id': f'{p}r'}, 2, note='with a retention')
    s.each('OffsetCommit', commit | {'group_id': ''}, note='no group')
    s.each('OffsetCommit', commit | {'member_id': 'nobody'}, note='unknown member')
    s.each('OffsetCommit', commit | {'member_id': 'nobody', 'generation_id_or_member_epoch': 3}, note='unknown member and generation')
    s.each('OffsetCommit', commit | {'group_instance_id': 'inst', 'generation_id_or_member_epoch': 1}, 7, note='unknown instance')
    s.each('OffsetCommit', commit | {'generation_id_or_member_epoch': 1, 'group_id': f'{p}new'}, 1, note='a generation of a group that is not')
    s.each('OffsetCommit', commit | {'topics': []}, note='nothing')
    s.each('OffsetCommit', commit | {'topics': [{'name': '', 'partitions': [{'partition_index': 0, 'committed_offset': 3, 'committed_metadata': 'm'}]}]}, note='no topic name')
    s.each('OffsetCommit', commit | {'topics': [{'name': f'{p}t', 'partitions': [{'partition_index': 0, 'committed_offset': 3, 'committed_metadata': 'm'},
                                                                               {'partition_index': 0, 'committed_offset': 4, 'committed_metadata': 'n'}]}]}, note='twice')
    for note, rows in [('twice, the last has too much', [(0, 5, 'm'), (0, 6, 'x' * 5000)]), ('twice, the first has too much', [(0, 7, 'x' * 5000), (1, 7, ''), (0, 8, 'm')]),
                       ('twice and unknown', [(9, 1, ''), (0, 9, ''), (9, 1, '')])]:
        parts = [{'partition_index': i, 'committed_offset': o, 'committed_metadata': m} for i, o, m in rows]
        s.last('OffsetCommit', commit | {'topics': [{'name': f'{p}t', 'partitions': parts[:1]}, {'name': f'{p}t', 'partitions': parts[1:]}]}, note=note)
        s.last('OffsetFetch', {'groups': [{'group_id': g, 'topics': None}]}, note=note)
    s.each('OffsetFetch', lambda v: {'group_id': g, 'topics': None if v >= 2 else [], 'groups': [{'group_id': g, 'topics': None}]}, note='all')
    s.each('OffsetFetch', {'group_id': f'{p}none', 'topics': [{'name': f'{p}t', 'partition_indexes': [0]}], 'groups': [{'group_id': f'{p}none', 'topics': None}]}, note='unknown group')
    s.each('OffsetFetch', {'group_id': '', 'topics': [{'name': f'{p}t', 'partition_indexes': [0]}], 'groups': [{'group_id': '', 'topics': None}]}, note='no group')
    s.each('OffsetFetch', {'group_id': g, 'topics': [], 'groups': []}, note='nothing', silent=True)
    s.each('OffsetFetch', {'require_stable': True, 'group_id': g, 'topics': [{'name': f'{p}t', 'partition_indexes': [0]}],
                           'groups': [{'group_id': g, 'topics': []}, {'group_id': f'{p}g5', 'topics': None}]}, 7, note='stable')
    s.each('OffsetFetch', {'groups': [{'group_id': g, 'member_id': 'm', 'member_epoch': 3, 'topics': None}]}, 9, note='with an epoch')
    s.each('OffsetDelete', {'group_id': g, 'topics': [{'name': f'{p}t', 'partitions': [{'partition_index': 0}, {'partition_index': 8}]}, {'name': f'{p}none', 'partitions': [{'partition_index': 0}]}]})
    s.each('OffsetDelete', {'group_id': g, 'topics': [{'name': f'{p}t', 'partitions': [{'partition_index': 0}]}]}, note='again')
    s.each('OffsetCommit', commit | {'group_id': f'{p}od'}, 8, note='to be deleted')
    s.each('OffsetDelete', {'group_id': f'{p}od', 'topics': [{'name': f'{p}t', 'partitions': [{'partition_index': 0}]}]}, note='one that is there')
    s.each('OffsetDelete', {'group_id': f'{p}none', 'topics': [{'name': f'{p}t', 'partitions': [{'partition_index': 0}]}]}, note='unknown group')
    s.each('OffsetDelete', {'group_id': '', 'topics': []}, note='no group')
    s.each('ListGroups', {'states_filter': [], 'types_filter': []})
    for states in (['Empty'], ['stable', 'EMPTY'], ['nosuch'], ['Empty', 'Empty'], ['']):
        s.each('ListGroups', {'states_filter': states}, 4, note=' '.join(states))
    for types in (['classic'], ['Consumer'], ['nosuch'], ['CLASSIC', 'consumer']):
        s.each('ListGroups', {'types_filter': types}, 5, note=' '.join(types))
    s.each('DescribeGroups', {'groups': []}, note='none')
    s.each('DescribeGroups', {'groups': ['', g, g]}, note='empty and twice')
    join(s, f'{p}live', '', 3, save='live')
    for v in range(3):
        s.ask('DeleteGroups', v, {'groups_names': [f'{p}g{v}', f'{p}none', '', f'{p}live', f'{p}g{v}']})
        s.ask('DeleteGroups', v, {'groups_names': []}, note='none')
    static(s)
    two_members(s)


def static(s):
    p, g = s.p, f'{s.p}static'
    me, gen, inst = ref(f'member.{p}s1', ''), ref(f'gen.{g}', 0), {'group_instance_id': 'i1'}
    for v in range(5, 10):
        join(s, g, '', v, save=f'{p}s1', body=inst, note='static')
        sync(s, g, me, gen, [(me, '01')], body=inst, note='static')
        join(s, g, '', v, save=f'{p}s1', body=inst, note='static again')
        sync(s, g, me, gen, [(me, '01')], body=inst, note='static')
        s.last('Heartbeat', {'group_id': g, 'generation_id': gen, 'member_id': me} | inst, note='static')
        s.last('Heartbeat', {'group_id': g, 'generation_id': gen, 'member_id': 'other'} | inst, note='static, fenced')
        s.last('Heartbeat', {'group_id': g, 'generation_id': gen, 'member_id': me, 'group_instance_id': 'i2'}, note='static, unknown')
        join(s, g, 'other', v, body=inst, note='static, fenced')
        sync(s, g, 'other', gen, body=inst, note='static, fenced')
        s.last('OffsetCommit', {'group_id': g, 'generation_id_or_member_epoch': gen, 'member_id': 'other', 'topics': [
            {'name': f'{p}t', 'partitions': [{'partition_index': 0, 'committed_offset': 3, 'committed_metadata': 'm'}]}]} | inst, note='static, fenced')
        s.last('OffsetCommit', {'group_id': g, 'generation_id_or_member_epoch': gen, 'member_id': me, 'topics': [
            {'name': f'{p}t', 'partitions': [{'partition_index': 0, 'committed_offset': 3, 'committed_metadata': 'm'}]}]} | inst, note='static')
        s.each('DescribeGroups', {'groups': [g]}, note='static')
        s.ask('LeaveGroup', 5, {'group_id': g, 'members': [{'member_id': '', 'group_instance_id': 'i2', 'reason': 'r'}, {'member_id': 'other', 'group_instance_id': 'i1'}]}, note='static, wrong')
        s.ask('LeaveGroup', 3 + v % 3, {'group_id': g, 'members': [{'member_id': '', 'group_instance_id': 'i1'}]}, note='static')
    s.each('SyncGroup', {'group_id': f'{p}none', 'generation_id': 1, 'member_id': 'x', 'protocol_type': 'consumer', 'protocol_name': 'range', 'assignments': []}, note='unknown group')
    s.each('SyncGroup', {'group_id': '', 'generation_id': 1, 'member_id': 'x', 'protocol_type': 'consumer', 'protocol_name': 'range', 'assignments': []}, note='no group')
    s.each('LeaveGroup', {'group_id': f'{p}none', 'member_id': 'x', 'members': [{'member_id': 'x'}]}, note='unknown group')
    s.each('LeaveGroup', {'group_id': '', 'member_id': 'x', 'members': [{'member_id': 'x'}]}, note='no group')
    s.each('LeaveGroup', {'group_id': g, 'member_id': 'x', 'members': []}, note='nobody')
    s.each('LeaveGroup', {'group_id': g, 'member_id': '', 'members': [{'member_id': ''}]}, note='no id')


def two_members(s):
    for v in (0, 3, 5, 9):
        g = f'{s.p}two{v}'
        a, b, gen = ref(f'member.{g}a', ''), ref(f'member.{g}b', ''), ref(f'gen.{g}', 0)
        join(s, g, '', v, save=f'{g}a', conn='a')
        if v >= 4:
            join(s, g, a, v, save=f'{g}a', conn='a')
        sync(s, g, a, gen, [(a, '01')], conn='a')
        join(s, g, '', v, save=f'{g}b', conn='b')
        if v >= 4:
            join(s, g, b, v, save=f'{g}b', conn='b')
        s.last('Heartbeat', {'group_id': g, 'generation_id': gen, 'member_id': a}, conn='a', note='in a rebalance')
        s.last('OffsetCommit', {'group_id': g, 'generation_id_or_member_epoch': gen, 'member_id': a, 'topics': [
            {'name': f'{s.p}t', 'partitions': [{'partition_index': 0, 'committed_offset': 3, 'committed_metadata': 'm'}]}]}, conn='a', note='in a rebalance')
        sync(s, g, a, gen, conn='a', note='in a rebalance')
        s.last('DescribeGroups', {'groups': [g]}, conn='c', note='in a rebalance')
        s.last('ListGroups', {}, conn='c', note='in a rebalance')
        join(s, g, a, v, save=f'{g}a', conn='a', note='rejoins')
        s.last('DescribeGroups', {'groups': [g]}, conn='c', note='completing')
        s.last('Heartbeat', {'group_id': g, 'generation_id': gen, 'member_id': b}, conn='b', note='completing')
        s.last('OffsetCommit', {'group_id': g, 'generation_id_or_member_epoch': gen, 'member_id': b, 'topics': [
            {'name': f'{s.p}t', 'partitions': [{'partition_index': 0, 'committed_offset': 3, 'committed_metadata': 'm'}]}]}, conn='b', note='completing')
        sync(s, g, b, gen, conn='b', note='waits')
        sync(s, g, a, gen, [(a, 'aa'), (b, 'bb'), ('nobody', 'cc')], conn='a', note='leader')
        s.last('DescribeGroups', {'groups': [g]}, conn='c', note='stable')
        s.last('LeaveGroup', {'group_id': g, 'members': [{'member_id': a}]}, conn='a')
        s.last('Heartbeat', {'group_id': g, 'generation_id': gen, 'member_id': b}, conn='b', note='after the leader left')
        join(s, g, b, v, save=f'{g}b', conn='b', note='alone')
        s.last('DescribeGroups', {'groups': [g]}, conn='c', note='alone')
        s.last('LeaveGroup', {'group_id': g, 'members': [{'member_id': b}, {'member_id': b}]}, conn='b', note='twice')


def transactions(s):
    p = s.p
    s.create(f'{p}t', partitions=2)
    for v in range(6):
        s.ask('InitProducerId', v, {'transactional_id': None, 'transaction_timeout_ms': 60000}, save=f'i{v}', note='idempotent')
        s.ask('InitProducerId', v, {'transactional_id': '', 'transaction_timeout_ms': 60000}, note='empty id')
        s.ask('InitProducerId', v, {'transactional_id': f'{p}x{v}', 'transaction_timeout_ms': 0}, note='timeout 0')
        s.ask('InitProducerId', v, {'transactional_id': f'{p}x{v}', 'transaction_timeout_ms': -1}, note='timeout -1')
        s.ask('InitProducerId', v, {'transactional_id': f'{p}x{v}', 'transaction_timeout_ms': 900001}, note='timeout too long')
        s.ask('InitProducerId', v, {'transactional_id': f'{p}x{v}', 'transaction_timeout_ms': 60000}, save=f'x{v}')
        s.ask('InitProducerId', v, {'transactional_id': f'{p}x{v}', 'transaction_timeout_ms': 60000}, save=f'x{v}', note='again')
        s.ask('InitProducerId', v, {'transactional_id': f'{p}x{v}', 'transaction_timeout_ms': 60000, 'producer_id': ref(f'pid.x{v}', 0), 'producer_epoch': ref(f'epoch.x{v}', 0)}, save=f'x{v}', note='with its epoch')
        s.ask('InitProducerId', v, {'transactional_id': f'{p}x{v}', 'transaction_timeout_ms': 60000, 'producer_id': ref(f'pid.x{v}', 0), 'producer_epoch': 99}, note='a wrong epoch')
        s.ask('InitProducerId', v, {'transactional_id': f'{p}x{v}', 'transaction_timeout_ms': 60000, 'producer_id': 5555555, 'producer_epoch': 0}, note='a wrong producer')
        s.ask('InitProducerId', v, {'transactional_id': None, 'transaction_timeout_ms': 60000, 'producer_id': 5555555, 'producer_epoch': 4}, note='idempotent with an id')
        s.ask('InitProducerId', v, {'transactional_id': f'{p}x{v}', 'transaction_timeout_ms': 60000, 'producer_id': 5, 'producer_epoch': -1}, note='half an id')
    pid, epoch = ref('pid.i5', 0), ref('epoch.i5', 0)
    for seq, note in [(0, ''), (0, 'again'), (1, ''), (5, 'a gap'), (2, ''), (1, 'an older one again'), (3, ''), (4, ''), (5, ''), (6, ''), (0, 'long ago')]:
        s.produce(f'{p}t', batch(['i', str(seq)], pid=pid, epoch=epoch, seq=seq), note=f'sequence {seq} {note}')
    s.produce(f'{p}t', batch(['i', '0'], pid=pid, epoch=ref('epoch.i5', 0, 1), seq=3), note='the next epoch in the middle')
    s.produce(f'{p}t', batch(['i', '0'], pid=pid, epoch=ref('epoch.i5', 0, 1), seq=0), note='the next epoch')
    s.produce(f'{p}t', batch(['i', '7'], pid=pid, epoch=epoch, seq=7), note='an old epoch')
    s.ask('DescribeProducers', 0, {'topics': [{'name': f'{p}t', 'partition_indexes': [0, 1, 9]}, {'name': f'{p}none', 'partition_indexes': [0]}]})
    for v in range(6):
        t, n = f'{p}tx{v}', f'tx{v}'
        s.ask('InitProducerId', v, {'transactional_id': t, 'transaction_timeout_ms': 60000}, save=n)
        me = {'transactional_id': t, 'producer_id': ref(f'pid.{n}', 0), 'producer_epoch': ref(f'epoch.{n}', 0)}
        for commit in (True, False):
            transaction(s, t, n, me, v, commit)
    me = {'transactional_id': f'{p}tx4', 'producer_id': ref('pid.tx4', 0), 'producer_epoch': ref('epoch.tx4', 0)}
    s.each('EndTxn', me | {'committed': True}, note='nothing to end')
    again(s)
    refused_first(s)
    for note, row in [('unknown id', {'transactional_id': f'{p}none'}), ('empty id', {'transactional_id': ''}), ('another producer', {'producer_id': 12345678}), ('an older epoch', {'producer_epoch': -1}),
                      ('a newer epoch', {'producer_epoch': 77})]:
        s.each('EndTxn', me | row | {'committed': True}, note=note)
        s.each('AddOffsetsToTxn', me | row | {'group_id': f'{p}g'}, note=note)
        who = me | row
        add = {'v3_and_below_transactional_id': who['transactional_id'], 'v3_and_below_producer_id': who['producer_id'], 'v3_and_below_producer_epoch': who['producer_epoch'],
               'v3_and_below_topics': [{'name': f'{p}t', 'partitions': [0]}], 'transactions': [who | {'verify_only': False, 'topics': [{'name': f'{p}t', 'partitions': [0]}]}]}
        s.each('AddPartitionsToTxn', add, note=note)
        topics = [{'name': f'{p}t', 'partitions': [0]}, {'name': f'{p}none', 'partitions': [0]}]
        s.each('AddPartitionsToTxn', add | {'v3_and_below_topics': topics, 'transactions': [who | {'verify_only': False, 'topics': topics}]}, note=note + ', an unknown topic')
        s.each('AddPartitionsToTxn', {'transactions': [who | {'verify_only': True, 'topics': topics}]}, 4, note=note + ', verify, an unknown topic')
        s.each('AddPartitionsToTxn', {'transactions': [who | {'verify_only': True, 'topics': [{'name': f'{p}t', 'partitions': [0, 1]}]}]}, 4, note=note + ', verify')
        s.each('TxnOffsetCommit', who | {'group_id': f'{p}g', 'topics': [{'name': f'{p}t', 'partitions': [{'partition_index': 0, 'committed_offset': 1, 'committed_metadata': ''}]}]}, note=note)
    s.each('AddOffsetsToTxn', me | {'group_id': ''}, note='no group')
    s.each('AddPartitionsToTxn', {'transactions': []}, 4, note='nothing', silent=True)
    s.produce(f'{p}t', batch(['u', 'u'], pid=me['producer_id'], epoch=me['producer_epoch'], seq=0, transactional=True), txn=f'{p}tx4', note='not in the transaction')
    s.produce(f'{p}t', batch(['u', 'u'], pid=me['producer_id'], epoch=me['producer_epoch'], seq=0, transactional=True), note='no transactional id')
    s.each('DescribeTransactions', {'transactional_ids': [f'{p}tx4', f'{p}none', '', f'{p}tx4']})
    s.each('DescribeTransactions', {'transactional_ids': []}, note='none')
    for states in ([], ['Ongoing'], ['CompleteCommit', 'Empty'], ['nosuch'], ['']):
        s.each('ListTransactions', {'state_filters': states}, note=' '.join(states))
    s.each('ListTransactions', {'producer_id_filters': [ref('pid.tx4', 0), 999999]}, note='by producer')
    s.each('ListTransactions', {'duration_filter': 3600000}, 1, note='by age')
    s.each('ListTransactions', {'duration_filter': 0}, 1, note='by age 0')
    for v in (0, 1):
        marker = {'producer_id': 7654321 + v, 'producer_epoch': 0, 'transaction_result': True, 'coordinator_epoch': 0}
        for note, rows in [('unknown topic', [{'name': f'{p}none', 'partition_indexes': [0]}]), ('to an idle partition', [{'name': f'{p}t', 'partition_indexes': [1, 9]}]), ('nothing', [])]:
            s.ask('WriteTxnMarkers', v, {'markers': [marker | {'topics': rows}]}, note=note)
        s.ask('WriteTxnMarkers', v, {'markers': []}, note='no marker')
        s.ask('WriteTxnMarkers', v, {'markers': [marker | {'coordinator_epoch': -1, 'topics': [{'name': f'{p}t', 'partition_indexes': [1]}]}]}, note='an old coordinator')
        s.ask('WriteTxnMarkers', v, {'markers': [marker | {'producer_epoch': -1, 'topics': [{'name': f'{p}t', 'partition_indexes': [1]}]}]}, note='epoch -1')
    for index in (0, 1):
        for isolation in (0, 1):
            s.fetch(f'{p}t', 11, index=index, isolation=isolation)
            s.offsets(f'{p}t', -1, index=index, isolation=isolation)
    s.ask('DescribeProducers', 0, {'topics': [{'name': f'{p}t', 'partition_indexes': [0, 1]}]}, note='at the end')


def again(s):
    """A producer that starts again, over and over: what is told of its last transaction."""
    t, p = f'{s.p}again', s.p
    me = {'transactional_id': t, 'producer_id': ref('pid.again', 0), 'producer_epoch': ref('epoch.again', 0)}
    add = {'v3_and_below_transactional_id': t, 'v3_and_below_producer_id': me['producer_id'], 'v3_and_below_producer_epoch': me['producer_epoch'], 'v3_and_below_topics': [{'name': f'{p}t', 'partitions': [0]}]}

    def start(note):
        s.ask('InitProducerId', 5, {'transactional_id': t, 'transaction_timeout_ms': 60000}, save='again', note=note)
        s.ask('DescribeTransactions', 0, {'transactional_ids': [t]}, note=note)

    start('new')
    start('after nothing')
    for commit in (True, False):
        s.ask('AddPartitionsToTxn', 3, add)
        s.ask('EndTxn', 4, me | {'committed': commit})
        s.ask('DescribeTransactions', 0, {'transactional_ids': [t]}, note=f'ended {commit}')
        start(f'after {commit}')
        start(f'again after {commit}')
    s.ask('AddPartitionsToTxn', 3, add)
    start('in a transaction')
    start('in a transaction, again')
    s.last('ListTransactions', {'duration_filter': 0, 'producer_id_filters': [ref('pid.again', 0)]}, note='of one that has nothing open')


def refused_first(s):
    """A batch is refused because its partition is not in the transaction; then come others of the same producer."""
    p = s.p
    s.create(f'{p}r', partitions=8)
    for index, seqs in enumerate([(0, 1), (1, 0), (1, 1), (2, 1), (0, 0), (1, 2, 1), (-1, 1)]):
        t, n = f'{p}r{index}', f'r{index}'
        me = {'pid': ref(f'pid.{n}', 0), 'epoch': ref(f'epoch.{n}', 0), 'transactional': True}
        s.ask('InitProducerId', 5, {'transactional_id': t, 'transaction_timeout_ms': 60000}, save=n)
        for v in (9, 11):
            s.produce(f'{p}r', batch(seq=seqs[0], **me), v, index=index, txn=t, note=f'refused: {seqs}')
        s.ask('AddPartitionsToTxn', 3, {'v3_and_below_transactional_id': t, 'v3_and_below_producer_id': me['pid'], 'v3_and_below_producer_epoch': me['epoch'],
                                        'v3_and_below_topics': [{'name': f'{p}r', 'partitions': [index]}]})
        for seq in seqs[1:]:
            s.produce(f'{p}r', batch(seq=seq, **me), 9, index=index, txn=t, note=f'then: {seqs}')
        s.produce(f'{p}r', batch(seq=7, **me | {'epoch': ref(f'epoch.{n}', 0, 1)}), 9, index=index, txn=t, note=f'the next epoch: {seqs}')
        s.ask('EndTxn', 4, {'transactional_id': t, 'producer_id': me['pid'], 'producer_epoch': me['epoch'], 'committed': True})
        s.produce(f'{p}r', batch(pid=me['pid'], epoch=me['epoch'], seq=seqs[-1] + 1), 9, index=index, note=f'not transactional: {seqs}')
        s.fetch(f'{p}r', index=index)


def transaction(s, t, n, me, v, commit):
    p, g = s.p, f'{s.p}g{v}'
    topics = [{'name': f'{p}t', 'partitions': [0, 1]}]
    old = {'v3_and_below_transactional_id': t, 'v3_and_below_producer_id': me['producer_id'], 'v3_and_below_producer_epoch': me['producer_epoch'], 'v3_and_below_topics': topics}
    s.ask('AddPartitionsToTxn', v, old | {'transactions': [me | {'topics': topics}]})
    s.ask('AddPartitionsToTxn', v, old | {'transactions': [me | {'topics': topics}]}, note='again')
    s.ask('AddPartitionsToTxn', v, old | {'v3_and_below_topics': topics + [{'name': f'{p}none', 'partitions': [0]}],
                                          'transactions': [me | {'topics': topics + [{'name': f'{p}none', 'partitions': [0]}]}]}, note='and an unknown one')
    if v >= 4:
        s.ask('AddPartitionsToTxn', v, {'transactions': [me | {'verify_only': True, 'topics': topics + [{'name': f'{p}other', 'partitions': [0]}]}]}, note='verify')
    seq = 0 if commit else 2
    s.produce(f'{p}t', batch(['t', f'{v}{commit}'], ['u', 'u', 1], pid=me['producer_id'], epoch=me['producer_epoch'], seq=seq, transactional=True), v=9, txn=t)
    s.produce(f'{p}t', batch(['t', f'{v}{commit}'], ['u', 'u', 1], pid=me['producer_id'], epoch=me['producer_epoch'], seq=seq), v=9, index=1, note='not transactional, in a transaction')
    s.produce(f'{p}t', batch(['t', f'{v}{commit}'], ['u', 'u', 1], pid=me['producer_id'], epoch=me['producer_epoch'], seq=0, transactional=True), v=9, index=1, txn=f'{p}tx', note='another id')
    s.ask('AddOffsetsToTxn', min(v, 4), me | {'group_id': g})
    row = {'name': f'{p}t', 'partitions': [{'partition_index': 0, 'committed_offset': 10 + v, 'committed_leader_epoch': 0, 'committed_metadata': 'm'},
                                           {'partition_index': 7, 'committed_offset': 10 + v, 'committed_metadata': None}]}
    s.ask('TxnOffsetCommit', min(v, 4), me | {'group_id': g, 'topics': [row]})
    s.ask('TxnOffsetCommit', min(v, 4), me | {'group_id': g, 'topics': [row | {'partitions': [{'partition_index': 0, 'committed_offset': o, 'committed_metadata': ''} for o in (8, 9)]}]}, note='twice')
    s.ask('TxnOffsetCommit', min(v, 4), me | {'group_id': g, 'topics': [row], 'generation_id': 4, 'member_id': 'nobody'}, note='a member that is not')
    s.ask('TxnOffsetCommit', min(v, 4), me | {'group_id': '', 'topics': [row]}, note='no group')
    s.ask('TxnOffsetCommit', min(v, 4), me | {'group_id': g, 'topics': []}, note='nothing')
    for stable in (False, True):
        s.ask('OffsetFetch', 7, {'group_id': g, 'topics': None, 'require_stable': stable}, note='pending')
        s.ask('OffsetFetch', 7, {'group_id': g, 'topics': [{'name': f'{p}t', 'partition_indexes': [0, 1]}], 'require_stable': stable}, note='pending')
    s.ask('DescribeTransactions', 0, {'transactional_ids': [t]}, note='ongoing')
    s.ask('ListTransactions', 1, {}, note='ongoing')
    s.ask('DescribeProducers', 0, {'topics': [{'name': f'{p}t', 'partition_indexes': [0, 1]}]}, note='ongoing')
    s.ask('DescribeGroups', 5, {'groups': [g]}, note='pending')
    s.ask('DeleteGroups', 2, {'groups_names': [g]}, note='pending') if v == 9 else None
    for isolation in (0, 1):
        s.fetch(f'{p}t', 11, isolation=isolation, note='ongoing')
        s.offsets(f'{p}t', -1, isolation=isolation, note='ongoing')
        s.offsets(f'{p}t', -3, isolation=isolation, note='ongoing')
    s.ask('EndTxn', min(v, 4), me | {'committed': commit})
    s.ask('EndTxn', min(v, 4), me | {'committed': commit}, note='again')
    s.ask('EndTxn', min(v, 4), me | {'committed': not commit}, note='the other way')
    s.ask('OffsetFetch', 7, {'group_id': g, 'topics': None, 'require_stable': True}, note='ended')
    s.ask('DescribeTransactions', 0, {'transactional_ids': [t]}, note='ended')


def twice(s):
    """A partition or a topic that one request names more than once, where that is not asked elsewhere."""
    p = s.p
    s.create(f'{p}t', f'{p}u', partitions=2)
    t, u, none = f'{p}t', f'{p}u', f'{p}none'
    lists = {'a partition': [(t, [0, 0])], 'a partition, others between': [(t, [1, 0, 1, 9, 0, 9])], 'a topic': [(t, [0]), (t, [1])], 'a topic and a partition': [(t, [0, 1]), (u, [0]), (t, [1, 0])],
             'an unknown topic': [(none, [0, 0]), (t, [0]), (none, [0])], 'an unknown partition': [(t, [7, 7])], 'a topic without partitions': [(t, []), (t, [])], 'a topic with and without partitions': [(t, [0]), (t, [])]}
    for note, rows in lists.items():
        s.each('DescribeLogDirs', {'topics': [{'topic': name, 'partitions': parts} for name, parts in rows]}, note=f'twice: {note}')
        g = f'{p}{note.replace(" ", "").replace(",", "")}'
        s.last('OffsetCommit', {'group_id': g, 'generation_id_or_member_epoch': -1, 'member_id': '', 'topics': [
            {'name': name, 'partitions': [{'partition_index': i, 'committed_offset': 3, 'committed_metadata': ''} for i in (0, 1)]} for name in (t, u)]})
        s.last('OffsetDelete', {'group_id': g, 'topics': [{'name': name, 'partitions': [{'partition_index': i} for i in parts]} for name, parts in rows]}, note=f'twice: {note}')
        s.last('OffsetFetch', {'groups': [{'group_id': g, 'topics': None}]}, note=f'after: {note}')
        topics = [{'name': name, 'partitions': parts} for name, parts in rows]
        s.last('InitProducerId', {'transactional_id': g, 'transaction_timeout_ms': 60000}, save=g)
        who = {'transactional_id': g, 'producer_id': ref(f'pid.{g}', 0), 'producer_epoch': ref(f'epoch.{g}', 0)}
        s.each('AddPartitionsToTxn', {'v3_and_below_transactional_id': g, 'v3_and_below_producer_id': who['producer_id'], 'v3_and_below_producer_epoch': who['producer_epoch'],
                                      'v3_and_below_topics': topics, 'transactions': [who | {'verify_only': False, 'topics': topics}]}, note=f'twice: {note}')
        s.last('AddPartitionsToTxn', {'transactions': [who | {'verify_only': True, 'topics': topics}]}, note=f'twice, verify: {note}')
        s.last('DescribeTransactions', {'transactional_ids': [g]}, note=f'after: {note}')
        s.last('EndTxn', who | {'committed': False})
        for why, other in [('another epoch', who | {'producer_epoch': 77}), ('no id', who | {'transactional_id': ''})]:
            for v in (3, 5):
                s.ask('AddPartitionsToTxn', v, {'v3_and_below_transactional_id': other['transactional_id'], 'v3_and_below_producer_id': other['producer_id'], 'v3_and_below_producer_epoch': other['producer_epoch'],
                                                'v3_and_below_topics': topics, 'transactions': [other | {'verify_only': False, 'topics': topics}]}, note=f'twice, {why}: {note}')


def times(s):
    """Times below zero, where the batch has to be written anew and where not."""
    p = s.p
    kinds = {'plain': {}, 'gzip': {'compression_type': 'gzip'}, 'uncompressed': {'compression_type': 'uncompressed'}, 'gzipappend': {'compression_type': 'gzip', 'message_timestamp_type': 'LogAppendTime'}}
    for kind, configs in kinds.items():
        s.create(p + kind, **configs)
    for kind in kinds:
        for at in (-1, -2, -(1 << 40), -(1 << 62)):
            for codec in (0, 1, 3):
                s.produce(p + kind, {'$batches': [{'records': [['k', 'v' * 100, 0], ['l', 'w' * 100, 1]], 'epoch_ms': at, 'codec': codec}]}, note=f'{at} in {codec} to {kind}')
            s.produce(p + kind, {'$batches': [{'records': [['k', 'v' * 100, 10], ['l', 'w' * 100, 0]], 'epoch_ms': at, 'codec': 0}]}, note=f'{at} last to {kind}')
        s.fetch(p + kind)


def admin(s):
    p = s.p
    s.create(f'{p}t', retention_ms=60000, cleanup_policy='compact,delete')
    topic = {'resource_type': 2, 'resource_name': f'{p}t'}
    s.each('DescribeConfigs', {'resources': [topic | {'configuration_keys': None}], 'include_synonyms': True, 'include_documentation': True}, note='topic')
    s.each('DescribeConfigs', {'resources': [topic | {'configuration_keys': ['retention.ms', 'nosuch', 'segment.bytes', 'retention.ms']}]}, note='keys')
    s.each('DescribeConfigs', {'resources': [topic | {'configuration_keys': []}]}, note='no keys')
    for note, r in [('unknown topic', {'resource_type': 2, 'resource_name': f'{p}none'}), ('no name', {'resource_type': 2, 'resource_name': ''}), ('bad name', {'resource_type': 2, 'resource_name': 'a b'}),
                    ('all brokers', {'resource_type': 4, 'resource_name': ''}), ('unknown broker', {'resource_type': 4, 'resource_name': '77'}), ('no number', {'resource_type': 4, 'resource_name': 'x'}),
                    ('loggers', {'resource_type': 8, 'resource_name': '77'}), ('unknown type', {'resource_type': 99, 'resource_name': 'x'}), ('type 0', {'resource_type': 0, 'resource_name': ''}),
                    ('metrics', {'resource_type': 16, 'resource_name': f'{p}m'}), ('metrics without a name', {'resource_type': 16, 'resource_name': ''})]:
        s.each('DescribeConfigs', {'resources': [r | {'configuration_keys': None}]}, note=note)
        s.each('AlterConfigs', {'resources': [r | {'configs': []}], 'validate_only': True}, note=note)
        s.each('IncrementalAlterConfigs', {'resources': [r | {'configs': []}], 'validate_only': True}, note=note)
    s.each('DescribeConfigs', {'resources': [topic | {'configuration_keys': ['retention.ms']}, topic | {'configuration_keys': ['segment.ms']}]}, note='twice')
    s.each('DescribeConfigs', {'resources': []}, note='none')
    keys = ['message.max.bytes', 'num.partitions', 'log.retention.ms', 'log.retention.hours', 'auto.create.topics.enable', 'log.segment.bytes', 'compression.type', 'log.cleanup.policy', 'node.id',
            'group.initial.rebalance.delay.ms', 'ssl.keystore.password', 'nosuch']
    s.each('DescribeConfigs', {'resources': [{'resource_type': 4, 'resource_name': '1', 'configuration_keys': keys}], 'include_synonyms': True}, note='broker')
    show = {'resources': [topic | {'configuration_keys': ['retention.ms', 'segment.bytes', 'cleanup.policy', 'max.message.bytes', 'compression.type']}], 'include_synonyms': True}
    plain = {'resources': [topic | {'configs': [{'name': 'retention.ms', 'value': '90000'}, {'name': 'cleanup.policy', 'value': 'delete'}]}]}
    for v in s.some(0, 1, 2):
        for rows in ([['segment.bytes', '5000000']], [['retention.ms', '-1'], ['cleanup.policy', 'delete']], []):
            s.ask('AlterConfigs', v, {'resources': [topic | {'configs': [{'name': k, 'value': x} for k, x in rows]}]})
            s.last('DescribeConfigs', show, note='after AlterConfigs')
        for note, rows in [('unknown', [['nosuch', '1']]), ('bad value', [['retention.ms', 'x']]), ('null', [['retention.ms', None]]), ('out of range', [['segment.bytes', '1']]), ('empty', [['retention.ms', '']]),
                           ('no key', [['', '1']]), ('twice', [['retention.ms', '1'], ['retention.ms', '2']]), ('spaces', [['retention.ms', ' 5 ']]), ('a fraction', [['retention.ms', '5.0']])]:
            s.ask('AlterConfigs', v, {'resources': [topic | {'configs': [{'name': k, 'value': x} for k, x in rows]}]}, note=note)
            s.last('DescribeConfigs', show, note=f'after {note}')
            s.last('AlterConfigs', plain)
        s.ask('AlterConfigs', v, {'resources': [topic | {'configs': []}, topic | {'configs': []}]}, note='the same resource twice', silent=True)
    for v in s.some(0, 1):
        for note, rows in [('set', [['segment.bytes', 0, '5000000']]), ('delete', [['segment.bytes', 1, None]]), ('delete what is not set', [['segment.ms', 1, None]]), ('append', [['cleanup.policy', 2, 'compact']]),
                           ('append again', [['cleanup.policy', 2, 'compact']]), ('subtract', [['cleanup.policy', 3, 'delete']]), ('append to a number', [['retention.ms', 2, '5']]),
                           ('subtract what is not there', [['cleanup.policy', 3, 'nosuch']]), ('operation 7', [['retention.ms', 7, '5']]), ('set null', [['retention.ms', 0, None]]), ('append null', [['cleanup.policy', 2, None]]),
                           ('unknown', [['nosuch', 0, '5']]), ('delete unknown', [['nosuch', 1, None]]), ('twice', [['retention.ms', 0, '5'], ['retention.ms', 0, '6']]), ('set and delete', [['retention.ms', 0, '5'], ['retention.ms', 1, None]]),
                           ('bad value', [['retention.ms', 0, 'x']]), ('good and bad', [['segment.ms', 0, '70000'], ['retention.ms', 0, 'x']]), ('all of the policy away', [['cleanup.policy', 3, 'compact,delete']]),
                           ('no key', [['', 0, 'x']]), ('replicas', [['leader.replication.throttled.replicas', 2, '0:1']]), ('replicas wrong', [['leader.replication.throttled.replicas', 2, 'x']])]:
            s.ask('IncrementalAlterConfigs', v, {'resources': [topic | {'configs': [{'name': k, 'config_operation': o, 'value': x} for k, o, x in rows]}]}, note=note)
            s.last('DescribeConfigs', show, note=f'after {note}')
            s.last('AlterConfigs', plain)
        s.ask('IncrementalAlterConfigs', v, {'resources': [topic | {'configs': []}, topic | {'configs': []}]}, note='the same resource twice', silent=True)
        s.ask('IncrementalAlterConfigs', v, {'resources': [topic | {'configs': [{'name': 'retention.ms', 'config_operation': 0, 'value': '77'}]}], 'validate_only': True}, note='validate only')
        s.ask('IncrementalAlterConfigs', v, {'resources': []}, note='none')
        for where in (f'{p}none', '', 'a b'):
            for k, o, x in [['retention.ms', 0, None], ['nosuch', 0, '1'], ['nosuch', 1, None], ['nosuch', 2, '1'], ['retention.ms', 0, 'x'], ['retention.ms', 0, '5'], ['retention.ms', 2, '5'], ['cleanup.policy', 2, 'compact'],
                            ['cleanup.policy', 2, None], ['cleanup.policy', 2, 'bad']]:
                s.ask('IncrementalAlterConfigs', v, {'resources': [{'resource_type': 2, 'resource_name': where, 'configs': [{'name': k, 'config_operation': o, 'value': x}]}]}, note='what is wrong first')
            for rows in ([['retention.ms', None]], [['nosuch', '1']], [['retention.ms', 'x']], [['retention.ms', '5']], [['retention.ms', '5'], ['retention.ms', '6']], [['cleanup.policy', '']]):
                s.ask('AlterConfigs', v, {'resources': [{'resource_type': 2, 'resource_name': where, 'configs': [{'name': k, 'value': x} for k, x in rows]}]}, note='what is wrong first')
        s.last('DescribeConfigs', show, note='at the end')
        for note, name, value in [('dynamic', 'message.max.bytes', '2000000'), ('read only', 'log.dirs', '/x'), ('unknown', 'nosuch', '1'), ('bad', 'message.max.bytes', 'x'), ('static', 'node.id', '4')]:
            s.ask('IncrementalAlterConfigs', v, {'resources': [{'resource_type': 4, 'resource_name': '1', 'configs': [{'name': name, 'config_operation': 0, 'value': value}]}], 'validate_only': True}, note=f'broker, {note}')
    s.each('DescribeProducers', {'topics': [{'name': n, 'partition_indexes': [0, -1, 9]} for n in (f'{p}t', f'{p}none', '', 'a b', '.')]})
    quota(s)
    acls(s)


def quota(s):
    p = s.p
    user, client = {'entity_type': 'user', 'entity_name': f'{p}u'}, {'entity_type': 'client-id', 'entity_name': f'{p}c'}
    everyone = {'components': [], 'strict': False}
    for v in s.some(0, 1):
        for note, entity, ops in [('user', [user], [['producer_byte_rate', 1e9, False]]), ('client', [client], [['consumer_byte_rate', 2.5e9, False], ['request_percentage', 200.0, False]]),
                                  ('both', [user, client], [['producer_byte_rate', 3e9, False]]), ('removes', [user], [['producer_byte_rate', 0.0, True]]), ('removes what is not there', [user], [['request_percentage', 0.0, True]]),
                                  ('unknown key', [user], [['nosuch', 1.0, False]]), ('zero', [user], [['producer_byte_rate', 0.0, False]]), ('negative', [user], [['producer_byte_rate', -1.0, False]]),
                                  ('a fraction', [user], [['producer_byte_rate', 1.5, False]]), ('unknown entity', [{'entity_type': 'x', 'entity_name': 'y'}], [['producer_byte_rate', 1.0, False]]),
                                  ('empty name', [{'entity_type': 'user', 'entity_name': ''}], [['producer_byte_rate', 1.0, False]]), ('no entity', [], [['producer_byte_rate', 1.0, False]]),
                                  ('twice the type', [user, user], [['producer_byte_rate', 1.0, False]]), ('the same key twice', [user], [['producer_byte_rate', 1e9, False], ['producer_byte_rate', 2e9, False]]),
                                  ('ip', [{'entity_type': 'ip', 'entity_name': '10.9.8.7'}], [['connection_creation_rate', 1000.0, False]]), ('bad ip', [{'entity_type': 'ip', 'entity_name': 'x y'}], [['connection_creation_rate', 10.0, False]]),
                                  ('ip and user', [user, {'entity_type': 'ip', 'entity_name': '1.2.3.4'}], [['connection_creation_rate', 10.0, False]]), ('no ops', [user], []),
                                  ('ip with another key', [{'entity_type': 'ip', 'entity_name': '1.2.3.4'}], [['producer_byte_rate', 10.0, False]])]:
            s.ask('AlterClientQuotas', v, {'entries': [{'entity': entity, 'ops': [{'key': k, 'value': x, 'remove': r} for k, x, r in ops]}]}, note=note)
        for note, parts, strict in [('all', [], False), ('users', [['user', 2, None]], False), ('only users', [['user', 2, None]], True), ('one user', [['user', 0, f'{p}u']], False), ('one user only', [['user', 0, f'{p}u']], True),
                                    ('default user', [['user', 1, None]], False), ('both', [['user', 2, None], ['client-id', 0, f'{p}c']], True), ('unknown type', [['x', 2, None]], False), ('match 9', [['user', 9, None]], False),
                                    ('exact null', [['user', 0, None]], False), ('any with a name', [['user', 2, 'n']], False), ('twice', [['user', 2, None], ['user', 2, None]], False), ('ip', [['ip', 2, None]], False),
                                    ('ip and user', [['ip', 2, None], ['user', 2, None]], False), ('none, strict', [], True), ('empty type', [['', 2, None]], False)]:
            s.ask('DescribeClientQuotas', v, {'components': [{'entity_type': k, 'match_type': m, 'match': n} for k, m, n in parts], 'strict': strict}, note=note)
        s.ask('AlterClientQuotas', v, {'entries': []}, note='none')
        s.ask('AlterClientQuotas', v, {'entries': [{'entity': [user], 'ops': [{'key': 'producer_byte_rate', 'value': 5e9}]}], 'validate_only': True}, note='validate only')
        s.ask('AlterClientQuotas', v, {'entries': [{'entity': [user], 'ops': [{'key': 'producer_byte_rate', 'value': 5e9}]}] * 2}, note='the same entity twice')
        s.ask('DescribeClientQuotas', v, everyone, note='at the end')
        for e in ([user], [client], [user, client], [{'entity_type': 'ip', 'entity_name': '10.9.8.7'}]):
            s.ask('AlterClientQuotas', v, {'entries': [{'entity': e, 'ops': [{'key': k, 'remove': True} for k in ('producer_byte_rate', 'consumer_byte_rate', 'request_percentage')]}]}, note='away')
        s.ask('AlterClientQuotas', v, {'entries': [{'entity': [{'entity_type': 'ip', 'entity_name': '10.9.8.7'}], 'ops': [{'key': 'connection_creation_rate', 'remove': True}]}]}, note='away')


def acls(s):
    s.each('DescribeAcls', {'resource_type_filter': 1, 'pattern_type_filter': 1, 'operation': 1, 'permission_type': 1, 'resource_name_filter': None, 'principal_filter': None, 'host_filter': None})
    s.each('CreateAcls', {'creations': [{'resource_type': 2, 'resource_name': 'x', 'resource_pattern_type': 3, 'principal': 'User:a', 'host': '*', 'operation': 3, 'permission_type': 3}]})
    s.each('DeleteAcls', {'filters': [{'resource_type_filter': 2, 'pattern_type_filter': 3, 'operation': 3, 'permission_type': 3, 'resource_name_filter': 'x', 'principal_filter': None, 'host_filter': None}]})
    s.each('CreateAcls', {'creations': []}, note='none')
    s.each('DeleteAcls', {'filters': []}, note='none')
    s.each('DescribeUserScramCredentials', {'users': [{'name': f'{s.p}u'}]}, note='an unknown user')
    s.each('DescribeUserScramCredentials', {'users': None}, note='all')
    user = f'{s.p}u'
    put = {'name': user, 'mechanism': 1, 'iterations': 4096, 'salt': '0102030405060708', 'salted_password': 'ab' * 32}
    s.each('AlterUserScramCredentials', {'upsertions': [put]})
    s.each('DescribeUserScramCredentials', {'users': [{'name': user}]}, note='one that is there')
    for note, body in [('few iterations', {'upsertions': [put | {'iterations': 10}]}), ('many iterations', {'upsertions': [put | {'iterations': 20000}]}), ('an unknown mechanism', {'upsertions': [put | {'mechanism': 9}]}),
                       ('no name', {'upsertions': [put | {'name': ''}]}), ('deletes what is not there', {'deletions': [{'name': user, 'mechanism': 2}]}), ('deletes and sets', {'deletions': [{'name': user, 'mechanism': 1}], 'upsertions': [put]}),
                       ('two mechanisms', {'upsertions': [put, put | {'mechanism': 2, 'salted_password': 'ab' * 64}]}), ('deletes', {'deletions': [{'name': user, 'mechanism': 1}]}), ('nothing', {})]:
        s.each('AlterUserScramCredentials', {'deletions': [], 'upsertions': []} | body, note=note)
        s.each('DescribeUserScramCredentials', {'users': None}, note=f'after: {note}')


def frames(s):
    """What is not a request of the protocol, or not a whole one."""
    p = s.p
    s.create(f'{p}t')
    whole = {'Metadata': {'topics': [{'name': f'{p}t'}]}, 'ListOffsets': {'replica_id': -1, 'topics': [{'name': f'{p}t', 'partitions': [{'partition_index': 0, 'timestamp': -1}]}]},
             'FindCoordinator': {'key': 'g', 'coordinator_keys': ['g']}, 'Heartbeat': {'group_id': f'{p}g', 'member_id': 'm'}, 'OffsetFetch': {'group_id': f'{p}g', 'groups': [{'group_id': f'{p}g'}]},
             'DescribeConfigs': {'resources': [{'resource_type': 2, 'resource_name': f'{p}t', 'configuration_keys': ['retention.ms']}]}, 'DescribeGroups': {'groups': [f'{p}g']},
             'InitProducerId': {'transactional_id': f'{p}x', 'transaction_timeout_ms': 1000}, 'ApiVersions': {'client_software_name': 'a', 'client_software_version': 'b'},
             'DeleteTopics': {'topic_names': [f'{p}none'], 'topics': [{'name': f'{p}none'}], 'timeout_ms': 9999}, 'Fetch': {'max_wait_ms': 0, 'topics': []}, 'EndTxn': {'transactional_id': f'{p}x'},
             'Produce': {'acks': -1, 'topics': [{'name': f'{p}t', 'partitions': [{'index': 0, 'records': batch()}]}]}}
    for api, body in whole.items():
        lo, hi = s.ranges[api]
        for v in {hi, max(lo, 4 if api == 'Fetch' else 3 if api == 'Produce' else lo)}:
            for cut in (1, 3, 9):
                s.ask(api, v, body, cut=cut, note=f'{cut} bytes cut', conn=f'{api}{v}')
            s.ask(api, v, body, tail='00', note='a byte more', conn=f'{api}{v}')
            s.ask(api, v, body, tail='ff' * 9, note='nine bytes more', conn=f'{api}{v}')
        s.ask(api, hi, body, asked_version=hi + 30, note='a version too high', conn=f'{api}v')
        s.ask(api, hi, body, asked_version=-1, note='version -1', conn=f'{api}v')
    for note, text in [('no api', '03e8000000000001ffff'), ('api -1', 'ffff000000000001ffff'), ('a short header', '000300'), ('nothing', ''), ('no client id', '0003000100000001ffff00000000'),
                       ('a client id too long', '000300010000000100ff61'), ('client id -2', '0003000100000001fffe00000000'), ('LeaderAndIsr', '0004000100000001ffff'), ('Vote', '0034000000000001ffff00')]:
        s.steps.append({'api': 'Metadata', 'v': 1, 'body': None, 'hex': text, 'note': note, 'conn': 'hex'})


def message_set(magic, *rows, **more):
    return {'$sets': [{'magic': magic, 'messages': [list(r) for r in rows]} | more]}


def old_formats(s):
    """Clients from before 0.11: message sets, converted on their way in and on their way out."""
    p = s.p
    rows = [['k', 'v' * 50, 3], [None, 'w' * 50, 1], ['k', None, 7], ['', '', 7], ['l', 'x' * 50, 2]]
    for t in ('plain', 'mixed', 'ends', 'txn', 'markers', 'last', 'in0', 'in1', 'in2', 'in3', 'in4'):
        s.create(p + t)
    s.create(f'{p}append', f'{p}packed', message_timestamp_type='LogAppendTime')
    s.create(f'{p}off', message_downconversion_enable='false')
    s.create(f'{p}zstd', compression_type='zstd')
    s.create(f'{p}gzip', compression_type='gzip')
    packed = [['k', 'value ' * 40, n] for n in range(6)]
    for codec in range(5):
        s.create(f'{p}c{codec}')
        for n in range(3):
            s.produce(f'{p}c{codec}', batch(*packed, ['h', 'h', 9, [['header', 'x'], ['header', None]]], codec=codec))
    for n in range(4):
        s.produce(f'{p}plain', batch(*rows))
    for codec in (0, 1, 0, 3, 2, 0):
        s.produce(f'{p}mixed', batch(*packed[:3], codec=codec))
    for codec in (0, 0, 4, 0):
        s.produce(f'{p}ends', batch(*packed[:3], codec=codec))
    s.produce(f'{p}append', batch(*rows))
    s.produce(f'{p}packed', batch(*rows, codec=1))
    for t in ('off', 'zstd', 'gzip'):
        s.produce(p + t, batch(*packed))
    for n, (magic, v) in enumerate(((0, 0), (0, 1), (0, 2), (1, 2), (1, 1))):
        for codec in range(4):
            s.produce(f'{p}in{n}', message_set(magic, *packed, codec=codec), v, note=f'magic {magic}, codec {codec}')
        s.produce(f'{p}none', message_set(magic, *rows), v, note='unknown topic')
        s.produce(f'{p}append', message_set(magic, *rows), v, note=f'append time, magic {magic}')
    old_transactions(s)
    ends = {'plain': 20, 'mixed': 18, 'ends': 12, 'txn': 9, 'markers': 4, 'last': 2, 'append': 30, 'packed': 5, 'off': 6, 'zstd': 6, 'gzip': 6} | {f'c{n}': 21 for n in range(5)} | {f'in{n}': 24 for n in range(5)}
    for t, end in ends.items():
        for v in range(5):
            for offset in sorted({0, 1, 3, 5, 7, 8, 9, end - 1, end, end + 1, -1}):
                if v < 4 or t.startswith('in'):
                    s.fetch(p + t, v, offset, whole={'max_wait_ms': 0}, note=f'{t} from {offset}')
    for t in ('plain', 'c0', 'c1', 'markers'):
        for v in range(4):
            for limit in (0, 1, 12, 17, 60, 80, 100, 150, 1000):
                s.fetch(p + t, v, 0, bytes_max=limit, note=f'{t}, at most {limit} bytes')
            s.fetch(p + t, v, whole={'max_bytes': 1}, note=f'{t}, at most one byte of all')
    for v in range(4):
        s.fetch(f'{p}plain', v, 20, whole={'max_wait_ms': 30, 'min_bytes': 1}, note='waits at the end')
        s.fetch(f'{p}none', v, note='unknown topic')
        s.fetch(f'{p}plain', v, index=4, note='unknown partition')
        s.fetch(f'{p}plain', v, whole={'topics': []}, note='nothing')
        parts = [{'topic': p + t, 'partitions': [{'partition': i, 'fetch_offset': 0, 'partition_max_bytes': 1 << 20}]} for t in ('plain', 'c1', 'none', 'zstd', 'c4', 'off') for i in (0, 1)]
        s.ask('Fetch', v, {'max_wait_ms': 0, 'max_bytes': 1 << 20, 'topics': parts}, note='many at once')


def old_transactions(s):
    p = s.p
    me = {'transactional_id': f'{p}o', 'producer_id': ref('pid.o', 0), 'producer_epoch': ref('epoch.o', 0)}
    s.ask('InitProducerId', 5, {'transactional_id': f'{p}o', 'transaction_timeout_ms': 60000}, save='o')
    seqs = {'txn': 0, 'markers': 0, 'last': 0}
    for topic, committed, records in [('txn', True, 2), ('txn', False, 2), ('markers', True, 1), ('markers', True, 0), ('txn', True, 1), ('last', True, 1)]:
        s.ask('AddPartitionsToTxn', 3, {'v3_and_below_transactional_id': f'{p}o', 'v3_and_below_producer_id': me['producer_id'], 'v3_and_below_producer_epoch': me['producer_epoch'],
                                        'v3_and_below_topics': [{'name': p + topic, 'partitions': [0]}]})
        if records:
            s.produce(p + topic, batch(*[['t', str(n)] for n in range(records)], pid=me['producer_id'], epoch=me['producer_epoch'], seq=seqs[topic], transactional=True), txn=f'{p}o')
            seqs[topic] += records
        s.ask('EndTxn', 3, me | {'committed': committed})
    s.produce(f'{p}txn', batch(['a', 'plain one']))
    s.produce(f'{p}markers', batch(['a', 'plain one']), index=0)


ALL = [api_versions, topics, produce, mixed, fetch, old_formats, groups, transactions, twice, times, admin, frames]
