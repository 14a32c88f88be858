#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The schema says of every message and version what Apache Kafka's classes say: names, types, order, nulls and tags.

Bytes that survive a round trip do not tell two neighbours of one type apart; this does.
Usage: kafka_layout_test.py TOOLS_DIR SCHEMA_DIR layouts.txt.gz...
"""
import glob
import gzip
import sys

sys.path.insert(0, sys.argv[1])
sys.dont_write_bytecode = True
import genmsg  # noqa: E402

OURS = {  # where we chose another name
    ('ProduceRequest', 'topics'): 'topic_data', ('ProduceRequest', 'partitions'): 'partition_data',
    ('ProduceResponse', 'topics'): 'responses', ('ProduceResponse', 'partitions'): 'partition_responses',
    ('FetchResponse', 'topics'): 'responses',
}
LATER = {  # what Kafka 4.1 renamed from version 1 on
    ('ListClientMetricsResourcesResponse', 'client_metrics_resources'): 'config_resources', ('ListClientMetricsResourcesResponse', 'name'): 'resource_name',
}
TYPES = {'bool': 'BOOLEAN', 'i8': 'INT8', 'i16': 'INT16', 'u16': 'UINT16', 'i32': 'INT32', 'u32': 'UINT32', 'i64': 'INT64',
         'f64': 'FLOAT64', 'uuid': 'UUID'}
SIZED = {'str': 'STRING', 'bytes': 'BYTES'}


def type_of(f, message, version, flex):
    null = bool(f.null) and f.null[0] <= version <= f.null[1]
    if f.struct:
        inner = '(' + layout(f.struct, message, version) + ' )'
    elif f.type == 'records':
        inner = 'COMPACT_RECORDS' if flex else 'RECORDS'
    elif f.type in SIZED:
        inner = ('COMPACT_' if flex else '') + ('NULLABLE_' if null and not f.array else '') + SIZED[f.type]
    else:
        inner = TYPES[f.type]
    if not f.array:
        return inner
    return ('?' if null else '') + ('compact' if flex else '') + '[' + inner + ']'


def layout(s, message, version):
    flex = version >= message.flex
    out, tags = '', ''
    java = java_name(message)
    for f in s.fields:
        if not f.lo <= version <= f.hi:
            continue
        name = (LATER if version else OURS).get((java, f.name), OURS.get((java, f.name), f.name))
        if f.tag is None:
            out += f' {name}:{type_of(f, message, version, flex)}'
        else:
            tags += f' {f.tag}={name}:{type_of(f, message, version, True)}'
    return out + (' {' + tags + ' }' if flex else '')


def java_name(m):
    return genmsg.camel(m.name) + {'request': 'Request', 'response': 'Response', 'data': ''}[m.kind]


def main():
    want = {}
    for path in sys.argv[3:]:
        want.update(line.rstrip('\n').split(':', 1) for line in gzip.open(path, 'rt', encoding='utf-8'))
    have = {}
    for path in glob.glob(sys.argv[2] + '/*.msg'):
        for m in genmsg.parse(path):
            for v in range(m.lo, m.hi + 1):
                name = java_name(m).replace('ListClientMetrics', 'ListConfig') if v else java_name(m)
                have[f'{name} {v}'] = layout(m, m, v)
    wrong = 0
    for key in sorted(want.keys() | have.keys()):
        if want.get(key) != have.get(key):
            wrong += 1
            print(f'{key}\n  Kafka {want.get(key)}\n  ours  {have.get(key)}')
    print(f'{len(want)} layouts, {wrong} wrong')
    sys.exit(1 if wrong or not want else 0)


main()
