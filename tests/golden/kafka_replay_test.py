#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Our broker is asked what a running Apache Kafka 3.8.1 was asked, and its answers are compared field by field.

Every line of a recording is one exchange (see kafka381/README.md). Our broker runs without sockets and real time
(tests/support/broker_frames.c); topic ids and session ids are translated to ours. What may differ is in
kafka381-differences.txt, each line with its reason; a line there that no longer makes a difference is a failure too.
Usage: kafka_replay_test.py BROKER_FRAMES TOOLS_DIR SCHEMA_DIR GOLDEN_DIR [FILE…] [-v]
"""
import fnmatch
import gzip
import json
import re
import struct
import subprocess
import sys

PROGRAM, TOOLS, SCHEMA, GOLDEN = sys.argv[1:5]
FILES = [a for a in sys.argv[5:] if not a.startswith('-')]
VERBOSE = '-v' in sys.argv
sys.path.insert(0, TOOLS)
sys.dont_write_bytecode = True
from msgcodec import Codec, Short, crc32c  # noqa: E402

# The settings of the recorded broker that are not ours by default.
SETTINGS = ['group.initial.rebalance.delay.ms=0', 'message.max.bytes=1048588', 'socket.request.max.bytes=104857600',
            'log.retention.check.interval.ms=86400000', 'log.segment.bytes=1073741824', 'log.retention.hours=168', 'clock=1795368904830']
GROUPS = [['01-apiversions', '02-topics', '03-produce', '04-fetch', '05-offsets'], ['06-groups', '07-group-offsets', '08-transactions'], ['09-admin', '10-unsupported'], ['11-security']]
SECURITY = ['super=User:admin', 'user=admin:admin-secret', 'user=alice:alice-secret', 'user=scramu:pencil']
# Time that passed before a line, in milliseconds, and what was asked before a file in exchanges that were not recorded: the id
# that was asked for until the first block of producer ids was there.
WAITS = {'DescribeTransactions v0: txt': 11000}
BEFORE = {'08-transactions': '00000014' + '0016' + '0000' + '00000001' + 'ffff' + '0004' + b'warm'.hex() + '0000ea60'}
EARLY = {   # recorded where it was answered, but sent before that other one, for which it waited
    'JoinGroup v9: B with id, waits for A': 'Heartbeat v4: A in PreparingRebalance',
    'SyncGroup v5: B waits for the leader': 'SyncGroup v5: A gives assignments',
    'JoinGroup v9: leader A rejoins in Stable': "Heartbeat v4: B learns of the leader's rejoin",
    'JoinGroup v9: static i2 joins': 'Heartbeat v4: i1 learns of i2',
    'JoinGroup v9: vote member 1': 'JoinGroup v9: vote member 0 rejoins',
    'JoinGroup v9: vote member 2': 'JoinGroup v9: vote member 0 rejoins',
}
TEXTS = {'error_message', 'batch_index_error_message', 'documentation', 'port', 'cluster_id', 'finalized_features_epoch', 'log_dir',
         'total_bytes', 'usable_bytes'}
KEYS = ('name', 'topic', 'topic_id', 'index', 'partition_index', 'partition', 'partition_id', 'api_key', 'resource_name', 'producer_id')


# Requests of one name were recorded as the last of them. These came before it, told from the state of later lines: the
# time of their first record after 1700000000000, the second is 100 ms later.
EARLIER_FILLS = {'o': [1000, 5000]}


def at_time(batch, ms):
    """The batch with other times; its records keep their distances."""
    data = bytearray.fromhex(batch)
    span = struct.unpack('>q', data[35:43])[0] - struct.unpack('>q', data[27:35])[0]
    data[27:43] = struct.pack('>qq', ms, ms + span)
    data[17:21] = struct.pack('>I', crc32c(data[21:]))
    return data.hex()


class Broker:
    def __init__(self, options=()):
        self.child = subprocess.Popen([PROGRAM, *SETTINGS, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def ask(self, line):
        self.child.stdin.write(line + '\n')
        self.child.stdin.flush()
        answers = []
        while True:
            words = self.child.stdout.readline().split()
            if not words:
                raise SystemExit(f'the broker ended at: {line[:200]}')
            if words[0] != 'answer':
                return answers, words[0] == 'closed'
            answers.append(words[1])

    def end(self):
        self.child.stdin.write('quit\n')
        self.child.stdin.close()
        if self.child.wait():
            raise SystemExit('the broker did not end well')


def sort_key(x):
    if not isinstance(x, dict):
        return json.dumps(x)
    return json.dumps([x[k] for k in KEYS if k in x]) if any(k in x for k in KEYS) else json.dumps(x, sort_keys=True)


def merged(rows):
    """A topic that was asked for in two places is answered in one or in two."""
    out = {}
    for n, x in enumerate(rows):
        name = isinstance(x, dict) and 'partitions' in x and x.get('name', x.get('topic'))
        if name and name in out:
            out[name] = dict(out[name], partitions=out[name]['partitions'] + x['partitions'])
        else:
            out[name or n] = x
    return list(out.values())


def canonical(x, field=''):
    """Order of elements, texts and what names a run are not compared."""
    if isinstance(x, dict):
        return {k: canonical(v, k) for k, v in x.items() if k not in TEXTS}
    if isinstance(x, list):
        x = merged(x)
        return sorted((canonical(v, field) for v in x), key=sort_key)
    if field == 'topic_id' and x.strip('0'):
        return 'some id'
    if field == 'session_id' and x:
        return 'some session'
    return x


def label_of(key):
    return re.sub(r'[\[\]"]', '', key)[:60]


def differences(want, have, path=''):
    if isinstance(want, dict) and isinstance(have, dict):
        for k in sorted(want.keys() | have.keys()):
            yield from differences(want.get(k, 'absent'), have.get(k, 'absent'), f'{path}.{k}' if path else k)
    elif isinstance(want, list) and isinstance(have, list) and len(want) == len(have) == 1:
        yield from differences(want[0], have[0], f'{path}[{label_of(sort_key(want[0]))}]')
    elif isinstance(want, list) and isinstance(have, list):
        pairs = {sort_key(x): [x, 'absent'] for x in want}
        for x in have:
            pairs.setdefault(sort_key(x), ['absent', None])[1] = x
        for k, (w, h) in pairs.items():
            yield from differences(w, h, f'{path}[{label_of(k) if isinstance(w, dict) or isinstance(h, dict) else ""}]')
    elif want != have:
        yield path, want, have


class Replay:
    def __init__(self, codec, allowed):
        self.codec, self.allowed, self.used = codec, allowed, set()
        self.same = self.wrong = 0

    def is_allowed(self, file, name, path):
        for n, (f, pattern, field, _) in enumerate(self.allowed):
            if fnmatch.fnmatchcase(file, f) and fnmatch.fnmatchcase(name, pattern) and fnmatch.fnmatchcase(path.replace('[', '(').replace(']', ')'), field):
                self.used.add(n)
                return True
        return False

    def is_skipped(self, file, name):
        """Kafka refused it and we do not, or the other way round: what comes after is about the state without it."""
        for n, (f, pattern, field, _) in enumerate(self.allowed):
            if field == 'not asked' and fnmatch.fnmatchcase(file, f) and fnmatch.fnmatchcase(name, pattern):
                self.used.add(n)
                return True
        return False

    def tell(self, file, line, path, want, have):
        if self.is_allowed(file, line['name'], path):
            return
        self.wrong += 1
        print(f'{file}: {line["name"]}: {path}: Kafka {json.dumps(want)[:160]}, ours {json.dumps(have)[:160]}')

    def learn(self, want, have):
        """Kafka's ids and sessions on the left, ours on the right."""
        if isinstance(want, dict) and isinstance(have, dict):
            member, ours = (x.get('member_id') or '' for x in (want, have))
            if member != ours and len(member) == len(ours) and 'generation_id' in want:      # JoinGroup makes them up
                self.ids[member.encode().hex()] = ours.encode().hex()
            if want.get('session_id') and have.get('session_id'):
                self.ids[struct.pack('>i', want['session_id']).hex()] = struct.pack('>i', have['session_id']).hex()
            if want.get('topic_id', '0').strip('0') and have.get('topic_id', '0').strip('0'):
                self.ids[want['topic_id']] = have['topic_id']
            for k in want.keys() & have.keys():
                self.learn(want[k], have[k])
        elif isinstance(want, list) and isinstance(have, list):
            ours = {sort_key({k: v for k, v in x.items() if k != 'topic_id'}) if isinstance(x, dict) else x: x for x in have if isinstance(x, dict)}
            for x in want:
                if isinstance(x, dict):
                    self.learn(x, ours.get(sort_key({k: v for k, v in x.items() if k != 'topic_id'})))

    def compare(self, file, line, answers, closed):
        if line['a'] is None:
            if answers:
                self.tell(file, line, 'answered', False, True)
            elif closed != (line['end'] == 'closed'):
                self.tell(file, line, 'closed', line['end'] == 'closed', closed)
            return
        if not answers:
            self.tell(file, line, 'answered', True, False)
            return
        if line['api'] == '-':                           # a token without Kafka's headers
            if answers[0] != line['a']:
                self.tell(file, line, 'bytes', line['a'], answers[0])
            self.same += answers[0] == line['a']
            return
        key = self.codec.key_of(line['api'])
        try:
            want = self.codec.answer(key, line['v'], bytes.fromhex(line['a']))
            have = self.codec.answer(key, line['v'], bytes.fromhex(answers[0]))
        except Short:
            self.tell(file, line, 'decodes', True, False)
            return
        self.learn(want, have)
        want = self.codec.answer(key, line['v'], bytes.fromhex(self.frame(line['a'])))
        vary = {re.sub(r'(?<!^)(?=[A-Z])', '_', v.split('.')[-1].replace('[]', '')).lower() for v in line.get('vary', [])} - {'topic_id', 'session_id'}
        before = self.wrong
        for path, w, h in differences(canonical(want), canonical(have)):
            if path.split('.')[-1].split('[')[0] not in vary:
                self.tell(file, line, path, w, h)
        self.same += self.wrong == before

    def frame(self, q):
        for theirs, ours in self.ids.items():
            q = q.replace(theirs, ours)
        return q

    def fill(self, broker, conn, line, rest):
        """Several requests of one name were recorded as the last of them: the others' batches stand in a later fetch."""
        want = self.codec.answer(0, line['v'], bytes.fromhex(line['a']))['topics'][0]
        topic, row = want['name'], want['partitions'][0]
        for ms in EARLIER_FILLS.get(topic, []):
            at = line['q'].index('ffffffff02') - 24
            batch = line['q'][at:at + 24 + 2 * int(line['q'][at + 16:at + 24], 16)]
            broker.ask(f'frame {conn} {line["q"].replace(batch, at_time(batch, 1700000000000 + ms))}')
        for other in rest:
            if other['api'] != 'Fetch' or other['v'] != 4 or not other['a']:
                continue
            a = self.codec.answer(1, 4, bytes.fromhex(other['a']))['topics'][0]
            if a['topic'] == topic and a['partitions'][0]['partition_index'] == row['index'] and a['partitions'][0]['records']:
                break
        else:
            return
        data, batches = a['partitions'][0]['records'], []
        while data:
            n = 24 + 2 * int(data[16:24], 16)
            batches.append('0' * 16 + data[16:24] + 'f' * 8 + data[32:n])
            data = data[n:]
        last = batches[-1]
        for batch in batches[:-1]:
            if last in line['q'] and len(batch) == len(last):
                broker.ask(f'frame {conn} {line["q"].replace(last, batch)}')

    def conn_of(self, file, line, opened):
        return f'{file}/{line["conn"]}/{opened.setdefault((file, line["conn"]), 0)}'.replace(' ', '_')

    def later(self, broker, conn):
        for _ in range(32):
            broker.ask('wait 1000')
            answers, closed = broker.ask(f'read {conn}')
            if answers or closed:
                return answers, closed
        return [], False

    def run(self, files):
        gone = set()                                     # closed with their last answer
        broker, self.ids, opened, waiting = Broker(SECURITY if files == ['11-security'] else ()), {}, {}, []
        for file in files:
            lines = [json.loads(text) for text in gzip.open(f'{GOLDEN}/kafka381/{file}.jsonl.gz', 'rt', encoding='utf-8')]
            if file in BEFORE:
                broker.ask(f'frame before {BEFORE[file]}')
            for n, line in enumerate(lines):
                if line['name'] in WAITS:
                    broker.ask(f'wait {WAITS[line["name"]]}')
                if self.is_skipped(file, line['name']):
                    continue
                early = [other for other in lines if EARLY.get(other['name']) == line['name']]
                for other in early:
                    waiting.append((file, self.conn_of(file, other, opened), other))
                    if broker.ask(f'frame {waiting[-1][1]} {self.frame(other["q"])}')[0]:
                        self.tell(file, other, 'waits', True, False)
                conn = self.conn_of(file, line, opened)
                if conn in gone and line['a'] is None and line['end'] == 'closed':
                    self.same += 1
                    opened[file, line['conn']] += 1
                    continue
                if conn in gone or line['api'] == 'SaslHandshake':
                    opened[file, line['conn']] += 1
                    conn = self.conn_of(file, line, opened)
                if line['name'] in EARLY:
                    mine = [w for w in waiting if w[2] is line]
                    for w in mine:
                        waiting.remove(w)
                        self.compare(file, line, *self.later(broker, conn))
                    continue
                if ': fill ' in line['name']:
                    self.fill(broker, conn, line, lines[n:])
                answers, closed = broker.ask(f'frame {conn} {self.frame(line["q"])}')
                for w in list(waiting):                  # who was parked may have been woken by this
                    late = broker.ask(f'read {w[1]}')
                    if late[0] or late[1]:
                        self.compare(w[0], w[2], *late)
                        waiting.remove(w)
                if not answers and not closed and line['a'] and 'woken' in line['name']:
                    waiting.append((file, conn, line))
                    continue
                if not answers and not closed and line['a']:
                    answers, closed = self.later(broker, conn)
                self.compare(file, line, answers, closed)
                if VERBOSE:
                    print(file, line['name'], answers[:1], closed)
                if closed and answers:
                    gone.add(conn)
                elif closed or line.get('end') == 'closed':
                    opened[file, line['conn']] += 1
        for w in waiting:
            self.compare(w[0], w[2], *self.later(broker, w[1]))
        broker.end()


def allowed_differences():
    rows = []
    for line in open(f'{GOLDEN}/kafka381-differences.txt', encoding='utf-8'):
        line = line.split('#')[0].strip()
        if line:
            rows.append([w.strip() for w in line.split('|')])
    return rows


def main():
    replay = Replay(Codec(SCHEMA), allowed_differences())
    for group in GROUPS:
        files = [f for f in group if not FILES or f in FILES]
        if files:
            replay.run(files)
    for n, row in enumerate(replay.allowed):
        if n not in replay.used and not FILES:
            replay.wrong += 1
            print('no longer a difference:', ' | '.join(row))
    print(f'{replay.same} answers as Kafka gives them, {replay.wrong} not')
    return 1 if replay.wrong else 0


sys.exit(main())
