# SPDX-License-Identifier: Apache-2.0
"""The two brokers of a differential run, and the connections to them."""
import contextlib
import os
import pathlib
import select
import socket
import struct
import subprocess
import sys
import tempfile
import time

import batches
import message_sets

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests/e2e'))
import harness  # noqa: E402

# Both brokers are told these, so that each says that they stand in its file.
SETTINGS = {
    'group.initial.rebalance.delay.ms': 0, 'message.max.bytes': 1048588, 'socket.request.max.bytes': 104857600, 'log.retention.check.interval.ms': 86400000,
    'log.segment.bytes': 1073741824, 'num.partitions': 1, 'log.retention.hours': 168,
}
KAFKA_ONLY = {'log.cleaner.enable': 'false', 'transaction.abort.timed.out.transaction.cleanup.interval.ms': 500, 'log.initial.task.delay.ms': 86400000,
              'offsets.retention.check.interval.ms': 86400000}
QUIET = 0.4                                      # seconds after which a request that neither answers is taken to be parked
SLOW = 4                                         # seconds that one may answer later than the other


class Conn:
    """One connection; answers come in the order of the requests."""

    def __init__(self, address):
        self.address, self.sock, self.data, self.closed = address, None, b'', False
        self.sent = self.got = 0
        self.answers = []

    def send(self, frame):
        if self.sock is None or self.closed:
            self.close()
            host, port = self.address.rsplit(':', 1)
            self.sock = socket.create_connection((host, int(port)), timeout=10)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.data, self.closed, self.answers = b'', False, []
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.sock.sendall(struct.pack('>i', len(frame)) + frame)

    def take(self):
        """Reads what is there. True when an answer is complete or the other side has hung up."""
        try:
            part = self.sock.recv(1 << 20)
        except ConnectionResetError:
            part = b''
        self.closed = self.closed or not part
        self.data += part
        while len(self.data) >= 4:
            n = struct.unpack('>i', self.data[:4])[0]
            if len(self.data) < 4 + n:
                break
            self.answers.append(self.data[:4 + n])
            self.data = self.data[4 + n:]

    def ready(self):
        return self.answers or self.closed

    def pop(self):
        return self.answers.pop(0) if self.answers else None

    def close(self):
        if self.sock:
            self.sock.close()
        self.sock = None


def wait(conns, seconds, enough):
    """Reads until `enough` of the connections have something, or the time is over."""
    deadline = time.monotonic() + seconds
    while sum(bool(c.ready()) for c in conns) < enough:
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        for s in select.select([c.sock for c in conns if not c.closed], [], [], left)[0]:
            next(c for c in conns if c.sock is s).take()
    return True


class Peer:
    """A broker, its connections, and the names of what it made up: producer ids, member ids, topic ids, sessions."""

    def __init__(self, codec, address, settles):
        self.codec, self.address, self.settles = codec, address, settles
        self.own = Conn(address)
        self.begin(0)

    def begin(self, start_ms):
        for c in getattr(self, 'conns', {}).values():
            c.close()
        self.conns, self.names, self.ids, self.start_ms, self.correlation = {}, {}, {}, start_ms, 0

    def conn(self, name):
        if name not in self.conns:
            self.conns[name] = Conn(self.address)
        return self.conns[name]

    def learn(self, name, value):
        self.names[name] = value
        self.ids.setdefault((name.split('.')[0], value), name)

    def resolve(self, x):
        """A request's body with this broker's ids in the places of their names, and batches built."""
        if isinstance(x, list):
            return [self.resolve(e) for e in x]
        if not isinstance(x, dict):
            return x
        if '$ref' in x:
            value = self.names.get(x['$ref'], x.get('or'))
            return value + x['add'] if 'add' in x and value is not None else value
        if '$batches' in x:
            return b''.join(batches.build(self.resolve(b), self.start_ms) for b in x['$batches'])
        if '$sets' in x:
            return b''.join(message_sets.build(s, self.start_ms) for s in x['$sets'])
        return {k: self.resolve(v) for k, v in x.items()}

    def frame(self, step):
        self.correlation += 1
        key = self.codec.key_of(step['api'])
        if 'hex' in step:
            return bytes.fromhex(step['hex'])
        data = self.codec.request(key, step['v'], self.resolve(step['body']), self.correlation, step.get('client', 'client'))
        if 'asked_version' in step:
            data = data[:2] + struct.pack('>h', step['asked_version']) + data[4:]
        if 'cut' in step:
            data = data[:max(8, len(data) - step['cut'])]
        return data + bytes.fromhex(step.get('tail', ''))

    def ask(self, api, version, body):
        """The runner's own request, beside those that are compared."""
        key = self.codec.key_of(api)
        self.own.send(self.codec.request(key, version, body, 7, 'runner'))
        if not wait([self.own], 30, 1) or self.own.closed:
            raise SystemExit(f'{self.address} does not answer {api}')
        return self.codec.answer(key, version, self.own.pop())

    def settle(self):
        """Kafka answers before its broker has read what its controller wrote. What is asked after this, finds it read: a
        change of a setting is visible only after all that came before it; the second one, when the first is in effect."""
        if not self.settles:
            return
        for _ in range(2):
            self.settles += 1
            row = {'name': 'retention.ms', 'config_operation': 0, 'value': str(10**9 + self.settles)}
            self.ask('IncrementalAlterConfigs', 1, {'resources': [{'resource_type': 2, 'resource_name': 'barrier', 'configs': [row]}]})
            until = time.monotonic() + 30
            while time.monotonic() < until:
                a = self.ask('DescribeConfigs', 4, {'resources': [{'resource_type': 2, 'resource_name': 'barrier', 'configuration_keys': ['retention.ms']}]})
                if a['results'][0]['configs'] and a['results'][0]['configs'][0]['value'] == row['value']:
                    break

    def warm_up(self):
        """Internal topics and the first block of producer ids come with the first use."""
        self.ask('CreateTopics', 7, {'topics': [{'name': 'barrier', 'num_partitions': 1, 'replication_factor': 1}]})
        until = time.monotonic() + 60
        for api, body, good in [('FindCoordinator', {'key_type': 0, 'coordinator_keys': ['warm']}, lambda a: a['coordinators'][0]['error_code'] == 0),
                                ('FindCoordinator', {'key_type': 1, 'coordinator_keys': ['warm']}, lambda a: a['coordinators'][0]['error_code'] == 0),
                                ('InitProducerId', {'transactional_id': 'warm', 'transaction_timeout_ms': 60000}, lambda a: a['error_code'] == 0),
                                ('OffsetFetch', {'groups': [{'group_id': 'warm'}]}, lambda a: a['groups'][0]['error_code'] == 0)]:
            while not good(self.ask(api, 4 if api != 'OffsetFetch' else 8, body)):
                if time.monotonic() > until:
                    raise SystemExit(f'{self.address}: {api} does not get ready')
                time.sleep(0.05)


@contextlib.contextmanager
def both(codec):
    """Starts the two. $DIFF_KAFKA and $DIFF_MILLRACE name brokers that already run."""
    with tempfile.TemporaryDirectory(prefix='millrace-diff-') as folder, contextlib.ExitStack() as stack:
        kafka = os.environ.get('DIFF_KAFKA')
        if not kafka:
            lines = ''.join(f'{k}={v}\n' for k, v in (SETTINGS | KAFKA_ONLY).items())
            broker = harness.Kafka381(f'{folder}/kafka', properties=lines)
            stack.callback(broker.stop)
            kafka = broker.address
        ours = os.environ.get('DIFF_MILLRACE')
        if not ours:
            options = [w for k, v in SETTINGS.items() for w in (f'--broker.config.{k}', str(v))]
            server = harness.Millrace(f'{folder}/millrace', '--broker-only', '--broker.replication', 'refuse', *options)
            stack.callback(lambda: server.child.poll() is None and server.stop())
            ours = server.kafka
        peers = Peer(codec, kafka, 1), Peer(codec, ours, 0)
        for p in peers:
            p.warm_up()
        yield peers
