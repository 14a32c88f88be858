# SPDX-License-Identifier: Apache-2.0
"""Answers of two brokers made comparable: what a run makes up gets a name, what has no order is sorted."""
import fnmatch
import json
import pathlib
import re
import time

import batches
import message_sets

TEXTS = {'error_message', 'batch_index_error_message', 'documentation'}
PLACES = {'host', 'port', 'cluster_id', 'log_dir', 'total_bytes', 'usable_bytes', 'finalized_features_epoch'}
TIMES = {'timestamp', 'log_append_time_ms', 'last_timestamp', 'transaction_start_time_ms', 'first_timestamp', 'max_timestamp', 'last_fetch_timestamp',
         'last_caught_up_timestamp'}
IDS = {'producer_id': 'pid', 'member_id': 'member', 'leader': 'member', 'topic_id': 'topic', 'session_id': 'session'}
KEYS = ('name', 'topic', 'topic_id', 'index', 'partition_index', 'partition', 'partition_id', 'api_key', 'resource_name', 'producer_id', 'group_id', 'transactional_id',
        'member_id', 'base_offset')
NAMES = ('name', 'topic', 'topic_name', 'group_id', 'transactional_id', 'resource_name', 'entity_name', 'user')
INTERNAL = {'__consumer_offsets', '__transaction_state', '__cluster_metadata', 'barrier', 'warm'}
OTHERS = re.compile(r's\d+x')


class View:
    """One broker's answers as they are compared. `prefix` begins every name of the sequence that runs; names of other
    sequences and internal ones are left out where the sequence does not ask for them."""

    def __init__(self, peer, sequence):
        self.peer, self.prefix = peer, sequence['prefix']
        self.asked = json.dumps(sequence['steps'])

    def foreign(self, x):
        if not isinstance(x, dict):
            return False
        for k in NAMES:
            name = x.get(k)
            if isinstance(name, str) and (OTHERS.match(name) and not name.startswith(self.prefix) or name in INTERNAL and f'"{name}"' not in self.asked):
                return True
        if 'entity' in x:
            return any(self.foreign(e) for e in x['entity'])
        return False

    def canonical(self, x, field='', holder=None):
        if isinstance(x, dict):
            return {k: self.canonical(v, k, x) for k, v in x.items() if k not in TEXTS}
        if isinstance(x, list):
            return sorted((self.canonical(v, field, holder) for v in merged(x) if not self.foreign(v)), key=lambda v: json.dumps([sort_key(v), v], sort_keys=True))
        if x is None:
            return None
        if field in PLACES:
            return '*' if x not in (-1, '') else x
        if field in TIMES:
            return self.time(x)
        if field in IDS and not (field == 'leader' and isinstance(x, int)):
            kind = IDS[field]
            if x in (-1, '', 0) and field != 'producer_id' or x == -1 or isinstance(x, str) and not x.strip('0'):
                return x
            return self.peer.ids.get((kind, x), f'some {kind}')
        if field == 'records':
            return self.records(bytes.fromhex(x))
        return x

    def time(self, ms):
        if 0 <= ms - self.peer.start_ms < 1800000:
            return f'start+{ms - self.peer.start_ms}'
        return 'now' if abs(ms - time.time() * 1000) < 600000 else ms

    def records(self, data):
        if message_sets.is_set(data) or 0 < len(data) < 17:
            return self.canonical(message_sets.read(data))
        rows = batches.read(data)
        out = [self.canonical(row) for row in rows]
        for row in out:
            if row['attributes'] & 32:           # a marker: its times, and so its bytes but for the key and the epoch at the end
                row['base_sequence'] = row['first_timestamp'] = row['max_timestamp'] = 'marker'
                row['body'] = row['body'][-24:-2]
        return out


def merged(rows):
    """A topic that comes in several places of an answer, as one: clients do not care about the order of partitions."""
    out = {}
    for row in rows:
        if not (isinstance(row, dict) and isinstance(row.get('partitions'), list) and row['partitions'] and isinstance(row['partitions'][0], dict)):
            return rows
        out.setdefault(json.dumps({k: v for k, v in row.items() if k != 'partitions'}), []).append(row)
    return [dict(same[0], partitions=[p for row in same for p in row['partitions']]) for same in out.values()]


def sort_key(x):
    return json.dumps([x[k] for k in KEYS if k in x]) if isinstance(x, dict) else json.dumps(x)


def label(x):
    return re.sub(r'[\[\]"]', '', sort_key(x))[:80]


def differences(want, have, path=''):
    """(path, Kafka's value, ours) where two canonical answers differ; elements of arrays are written name(key)."""
    if isinstance(want, dict) and isinstance(have, dict):
        for k in sorted(want.keys() | have.keys()):
            yield from differences(want.get(k, 'absent'), have.get(k, 'absent'), f'{path}.{k}' if path else k)
    elif isinstance(want, list) and isinstance(have, list):
        left = list(have)
        unpaired = []
        for w in want:
            if w in left:
                left.remove(w)
            else:
                unpaired.append(w)
        for w in unpaired:
            mate = next((h for h in left if sort_key(h) == sort_key(w)), None) if isinstance(w, dict) else None
            if mate is None and len(unpaired) == len(left) == 1 and not isinstance(w, dict):
                mate = left[0]
            if mate is None:
                yield f'{path}({label(w)})', w, 'absent'
            else:
                left.remove(mate)
                yield from differences(w, mate, f'{path}({label(w)})')
        for h in left:
            yield f'{path}({label(h)})', 'absent', h
    elif want != have or type(want) is not type(have):
        yield path, want, have


class Allowed:
    """differences.txt: request | field | Kafka's | ours | reason."""

    def __init__(self):
        self.rows = []
        for line in (pathlib.Path(__file__).parent / 'differences.txt').read_text(encoding='utf-8').splitlines():
            if line.strip() and not line.startswith('#'):
                self.rows.append([w.strip() for w in line.split('|', 4)])
        self.used = set()

    def reason(self, request, path, want, have):
        texts = [request, path.replace('[', '(').replace(']', ')'), json.dumps(want), json.dumps(have)]
        for n, row in enumerate(self.rows):
            if all(fnmatch.fnmatchcase(t, p.replace('[', '[[]') if i > 1 else p) for i, (t, p) in enumerate(zip(texts, row))):
                self.used.add(n)
                return row[4]
        return None
