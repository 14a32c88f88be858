# SPDX-License-Identifier: Apache-2.0
"""Replays recordings of Apache Kafka (tests/golden/kafka381) against our broker and compares the answers field by field.

The broker is the program broker_frames: frames in, frames out, time under our control. What differs from run to run in
Kafka too (the recording's `vary`, ids that were made up, the order of elements) is not compared; every other difference
must be listed by the caller, with its reason and our value.
"""
import gzip
import json
import os
import re
import struct
import subprocess
import sys

sys.dont_write_bytecode = True

NUMBERS = {'bool': '>?', 'i8': '>b', 'i16': '>h', 'u16': '>H', 'i32': '>i', 'u32': '>I', 'i64': '>q', 'f64': '>d'}


class Schema:
    def __init__(self, tools, folder):
        sys.path.insert(0, tools)
        import genmsg
        self.messages = {}
        for name in sorted(os.listdir(folder)):
            for m in genmsg.parse(os.path.join(folder, name)):
                if m.kind != 'data':
                    self.messages[genmsg.camel(m.name), m.kind] = m


class Reader:
    def __init__(self, data, flex=False):
        self.data, self.at, self.flex = data, 0, flex

    def take(self, n):
        if n < 0 or self.at + n > len(self.data):
            raise ValueError(f'{n} bytes wanted at {self.at} of {len(self.data)}')
        self.at += n
        return self.data[self.at - n:self.at]

    def number(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def uvarint(self):
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7

    def length(self, form):
        return self.uvarint() - 1 if self.flex else self.number(form)

    def scalar(self, kind):
        if kind in NUMBERS:
            return self.number(NUMBERS[kind])
        if kind == 'uuid':
            return self.take(16).hex()
        n = self.length('>h' if kind == 'str' else '>i')
        if n < 0:
            return None
        raw = self.take(n)
        return raw.decode('utf-8', 'backslashreplace') if kind == 'str' else raw.hex()

    def field(self, f, version):
        def one():
            return self.struct(f.struct, version) if f.struct else self.scalar(f.type)

        if f.array:
            n = self.length('>i')
            return None if n < 0 else [one() for _ in range(n)]
        if f.struct and f.null and f.null[0] <= version <= f.null[1] and self.number('>b') < 0:
            return None
        return one()

    def struct(self, s, version):
        out = {f.name: self.field(f, version) for f in s.fields if f.lo <= version <= f.hi and f.tag is None}
        if self.flex:
            for _ in range(self.uvarint()):
                tag, size = self.uvarint(), self.uvarint()
                inner = Reader(self.take(size), True)
                f = next((f for f in s.fields if f.tag == tag and f.lo <= version <= f.hi), None)
                out[f.name if f else f'tag {tag}'] = inner.field(f, version) if f else inner.data.hex()
        return out


def decode(schema, api, version, frame):
    """An answer as (correlation id, fields)."""
    m = schema.messages[api, 'response']
    flex = version >= m.flex
    r = Reader(frame[4:])
    correlation = r.number('>i')
    r.flex = flex
    if flex and api != 'ApiVersions':
        for _ in range(r.uvarint()):
            r.uvarint(), r.take(r.uvarint())
    fields = r.struct(m, version)
    if r.at != len(r.data):
        raise ValueError(f'{len(r.data) - r.at} bytes are left')
    return correlation, fields


def snake(path):
    return re.sub(r'(?<=[a-z0-9])(?=[A-Z])', '_', path).lower()


def same_order(value):
    """Arrays of structs are sets here: Kafka keeps hash tables."""
    if isinstance(value, list):
        return sorted((same_order(v) for v in value), key=lambda v: json.dumps(v, sort_keys=True))
    if isinstance(value, dict):
        return {k: same_order(v) for k, v in value.items()}
    return value


def differences(want, got, path=''):
    """(path, wanted, got) of all leaves that differ."""
    if isinstance(want, dict) and isinstance(got, dict):
        for key in sorted(want.keys() | got.keys()):
            yield from differences(want.get(key, '(absent)'), got.get(key, '(absent)'), f'{path}.{key}' if path else key)
    elif isinstance(want, list) and isinstance(got, list) and len(want) == len(got):
        for w, g in zip(want, got):
            yield from differences(w, g, path + '[]')
    elif want != got:
        yield path, want, got


class Broker:
    def __init__(self, program, settings):
        self.p = subprocess.Popen([program, *settings], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def say(self, line):
        self.p.stdin.write(line + '\n')
        self.p.stdin.flush()
        answers = []
        while True:
            back = self.p.stdout.readline().split()
            if not back:
                raise SystemExit(f'the broker ended at: {line[:200]} (status {self.p.wait()})')
            if back[0] != 'answer':
                return answers, back[0]
            answers.append(bytes.fromhex(back[1]))

    def close(self):
        self.p.stdin.write('quit\n')
        self.p.stdin.close()
        return self.p.wait()


class Replay:
    """`early`: {name: sent before which other name}, for requests that wait while others are sent: the recording lists them
    where they were answered. `wait`: {name: milliseconds that pass before it is answered}. `closes`: names of what we do not
    serve and say so by closing, as Kafka does with what it does not know. `ours`: {regular expression on the name: {path: our value}}. `skip`: names whose answers are not compared. `ids`: fields
    of answers whose values we make up, with the API: they are carried over into later requests."""

    def __init__(self, schema, broker, early=None, wait=None, ours=None, skip=(), closes=(), ids=(), free_text=('error_message',)):
        self.schema, self.broker = schema, broker
        self.early, self.wait, self.ours, self.skip, self.closes = early or {}, wait or {}, ours or {}, skip, closes
        self.ids, self.free_text = ids, free_text
        self.map, self.stash, self.sent, self.waiting = {}, {}, set(), []
        self.used = set()
        self.passed = self.failed = 0

    def translate(self, raw):
        for theirs, own in self.map.items():
            raw = raw.replace(theirs, own)
        return raw

    def learn(self, entry, answer):
        """Ids that were made up: theirs are known by ours from here on."""
        if not entry['a'] or entry['api'] == '-':
            return
        _, want = decode(self.schema, entry['api'], entry['v'], bytes.fromhex(entry['a']))
        _, got = decode(self.schema, entry['api'], entry['v'], answer)
        for api, path in self.ids:
            if api == entry['api']:
                for theirs, own in zip(pick(want, path), pick(got, path)):
                    if theirs and own and theirs != own:
                        a, b = as_bytes(theirs), as_bytes(own)
                        if len(a) == len(b):
                            self.map[a] = b

    def send(self, entry):
        raw = self.translate(bytes.fromhex(entry['q']))
        answers, state = self.broker.say(f'frame {entry["conn"]} {raw.hex()}')
        self.sent.add(id(entry))
        for other in list(self.waiting):
            late, _ = self.broker.say(f'read {other["conn"]}')
            if late:
                self.waiting.remove(other)
                self.stash[id(other)] = late, 'open'
                self.learn(other, late[0])
        return answers, state

    def fail(self, entry, text):
        self.failed += 1
        print(f'FAILED {entry["name"]} ({entry["api"]} v{entry["v"]}): {text}')

    def expected(self, entry):
        out = {}
        for pattern, values in self.ours.items():
            if re.search(pattern, entry['name']):
                self.used.add(pattern)
                out.update(values)
        return out

    def compare(self, entry, answers, state):
        if entry['a'] is None or entry['name'] in self.closes:
            if answers:
                return self.fail(entry, 'was answered, and should not be')
            if (entry['name'] in self.closes or entry.get('end') == 'closed') and state != 'closed':
                return self.fail(entry, 'the connection should have been closed')
            self.passed += 1
            return None
        if len(answers) != 1:
            return self.fail(entry, f'{len(answers)} answers, connection {state}')
        self.learn(entry, answers[0])
        want = decode(self.schema, entry['api'], entry['v'], self.translate(bytes.fromhex(entry['a'])))
        try:
            got = decode(self.schema, entry['api'], entry['v'], answers[0])
        except ValueError as e:
            return self.fail(entry, f'cannot be read: {e}')
        vary = {snake(v) for v in entry.get('vary', ())}
        ours = self.expected(entry)
        wrong = [] if want[0] == got[0] else [('correlation id', want[0], got[0])]
        for path, w, g in differences(same_order(want[1]), same_order(got[1])):
            text = path.split('.')[-1] in self.free_text and isinstance(w, str) and isinstance(g, str) and bool(w) == bool(g)
            if path in ours and ours[path] == g:
                continue
            if not text and path not in vary:
                wrong.append((path, w, g))
        if wrong:
            return self.fail(entry, '; '.join(f'{p}: wanted {w!r}, got {g!r}' for p, w, g in wrong[:4]))
        self.passed += 1
        return None

    def run(self, path):
        with gzip.open(path, 'rt', encoding='utf-8') as lines:
            entries = [json.loads(line) for line in lines]
        names = {e['name'] for e in entries}
        for entry in entries:
            for name, before in self.early.items():
                if before == entry['name']:
                    for other in entries:
                        if other['name'] == name and id(other) not in self.sent:
                            answers, _ = self.send(other)
                            if answers:
                                self.fail(other, 'was answered too early')
                            self.waiting.append(other)
                            break
            if id(entry) not in self.sent:
                answers, state = self.send(entry)
            elif id(entry) in self.stash:
                answers, state = self.stash[id(entry)]
            else:
                answers, state = self.broker.say(f'read {entry["conn"]}')
                if entry in self.waiting:
                    self.waiting.remove(entry)
            if not answers and entry['name'] in self.wait:
                self.broker.say(f'wait {self.wait[entry["name"]]}')
                answers, state = self.broker.say(f'read {entry["conn"]}')
            if entry['name'] not in self.skip:
                self.compare(entry, answers, state)
        for name in (*self.early, *self.early.values(), *self.wait, *self.skip, *self.closes):
            self.used |= {name} & names
        self.keep = getattr(self, 'keep', []) + entries      # ids of objects stay theirs

    def end(self):
        for name in (*self.early, *self.wait, *self.ours, *self.skip, *self.closes):
            if name not in self.used:
                self.failed += 1
                print(f'FAILED nothing is called "{name}" any more')
        print(f'{self.passed} passed, {self.failed} failed')
        return 1 if self.failed or not self.passed else 0


def pick(value, path):
    """All values at a path such as topics[].topic_id."""
    head, _, rest = path.partition('.')
    inner = value.get(head.removesuffix('[]')) if isinstance(value, dict) else None
    items = (inner or []) if head.endswith('[]') else [inner]
    return [x for item in items for x in (pick(item, rest) if rest else [item])]


def as_bytes(text):
    return bytes.fromhex(text) if re.fullmatch('[0-9a-f]{32}', text) else text.encode()
