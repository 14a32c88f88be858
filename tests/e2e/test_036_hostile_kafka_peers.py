"""Peers of the Kafka port that mean no good: floods, stalls, garbage, bombs, crowds. The broker stays within its memory, and a client
that behaves goes on meanwhile."""

import contextlib
import gzip
import random
import resource
import socket
import struct
import threading
import time

import confluent_kafka
import harness
from kafka.record.util import calc_crc32c

MEMORY = 32 << 20
# Beside what peers make it hold: the program itself, buffers of the kernel's sockets are not in it.
BASE = 48 << 20
TOPIC = "good"


def peak(server):
    """The most memory it ever had. A sanitizer's own is not its: there the limits hold without being measured."""
    if "libasan" in open(f"/proc/{server.pid}/maps").read():
        return 0
    return next(int(line.split()[1]) << 10 for line in open(f"/proc/{server.pid}/status") if line.startswith("VmHWM"))


def serve(start, *options):
    return start("--broker-only", "--broker.memoryMax", str(MEMORY), "--broker.config.num.partitions", "1", *options)


def connect(server, receive=0):
    host, port = server.kafka.split(":")
    s = socket.socket()
    if receive:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    s.settimeout(30)
    s.connect((host, int(port)))
    return s


def frame(key, version, body, correlation=1):
    head = struct.pack(">hhih", key, version, correlation, 1) + b"x"
    return struct.pack(">i", len(head + body)) + head + body


def answer(s):
    def take(n):
        got = b""
        while len(got) < n:
            part = s.recv(n - len(got))
            if not part:
                raise ConnectionError("the broker hung up")
            got += part
        return got

    return take(struct.unpack(">i", take(4))[0])


def is_hung_up(s):
    """Reads until the end; a reset is one, too."""
    try:
        while s.recv(1 << 16):
            pass
        return True
    except ConnectionError:
        return True
    except TimeoutError:
        return False


class Good(threading.Thread):
    """Produces and reads what it produced, all the time. `slowest` is how long one round took."""

    def __init__(self, server):
        super().__init__()
        self.server, self.rounds, self.slowest, self.failure = server, 0, 0.0, None
        self.stopping = threading.Event()
        self.start()

    def round(self, producer, consumer):
        begun, value = time.monotonic(), str(self.rounds).encode()
        producer.produce(TOPIC, value)
        assert producer.flush(30) == 0, "not acknowledged"
        message = None
        while message is None:
            assert time.monotonic() < begun + 30, "not read"
            message = consumer.poll(1)
        assert message.error() is None and message.value() == value, (message.error(), message.value(), value)
        self.rounds += 1
        self.slowest = max(self.slowest, time.monotonic() - begun)

    def run(self):
        try:
            producer = confluent_kafka.Producer({"bootstrap.servers": self.server.kafka, "linger.ms": 0, "log_level": 0})
            consumer = confluent_kafka.Consumer({"bootstrap.servers": self.server.kafka, "group.id": "good", "log_level": 0})
            producer.produce(TOPIC, b"first")
            assert producer.flush(30) == 0
            consumer.assign([confluent_kafka.TopicPartition(TOPIC, 0, 1)])
            while not self.stopping.is_set():
                self.round(producer, consumer)
            consumer.close()
        except (AssertionError, confluent_kafka.KafkaException) as e:
            self.failure = repr(e)

    def end(self):
        self.stopping.set()
        self.join()
        return self.failure


@contextlib.contextmanager
def a_good_client(server):
    """Goes on during what is inside, and for some rounds after it."""
    good = Good(server)
    try:
        harness.wait_for(lambda: good.rounds > 2 or good.failure, 30, "no good client")
        before = good.rounds
        yield good
        harness.wait_for(lambda: good.rounds > before + 3 or good.failure, 30, "the good client stands still")
    finally:
        failure = good.end()
    assert failure is None, failure
    assert good.slowest < 20, f"one round took {good.slowest} s"


def assert_within_memory(server):
    assert peak(server) < MEMORY + BASE, f"{peak(server) >> 20} MiB at the peak"
    assert server.child.poll() is None, server.errors()


# ---- requests ----


def fetch_all(correlation):
    """Fetch version 4 of everything there is, in one answer."""
    name = b"big"
    body = struct.pack(">iiiib", -1, 100, 1, 1 << 30, 0) + struct.pack(">ih", 1, len(name)) + name
    body += struct.pack(">iiqi", 1, 0, 0, 1 << 30)
    return frame(1, 4, body, correlation)


def batch_of(records, count):
    """One batch in format 2 whose records are compressed with gzip."""
    body = struct.pack(">hiqqqhii", 1, count - 1, 0, 0, -1, -1, -1, count) + records
    return struct.pack(">qiib", 0, 4 + 1 + 4 + len(body), -1, 2) + struct.pack(">I", calc_crc32c(body)) + body


def produce(records, correlation=1):
    name = TOPIC.encode()
    body = struct.pack(">hhi", -1, 1, 10000) + struct.pack(">ih", 1, len(name)) + name
    return frame(0, 3, body + struct.pack(">iii", 1, 0, len(records)) + records, correlation)


# ---- tests ----


def test_readers_that_ask_for_everything_at_once_and_read_nothing(start):
    server = serve(start)
    producer = confluent_kafka.Producer({"bootstrap.servers": server.kafka, "linger.ms": 5})
    for _ in range(80):
        producer.produce("big", b"x" * 500000, partition=0)
        producer.poll(0)
    assert producer.flush(30) == 0
    with a_good_client(server), contextlib.ExitStack() as stack:
        readers = [stack.enter_context(connect(server, 4096)) for _ in range(100)]
        for s in readers:
            s.sendall(b"".join(fetch_all(i) for i in range(20)))
        assert len(readers[0].recv(1 << 16)) > 0
    assert_within_memory(server)


def test_floods_of_requests_whose_answers_nobody_reads(start):
    server = serve(start)
    metadata = b"".join(frame(3, 1, struct.pack(">i", -1), i) for i in range(2000))
    with a_good_client(server), contextlib.ExitStack() as stack:
        floods = [stack.enter_context(connect(server, 4096)) for _ in range(40)]
        until = time.monotonic() + 2
        for s in floods:
            s.setblocking(False)
        while time.monotonic() < until:
            for s in floods:
                with contextlib.suppress(BlockingIOError, ConnectionError):
                    s.send(metadata)
    assert_within_memory(server)


def test_large_frames_that_never_come_to_their_end(start):
    server = serve(start)
    with a_good_client(server), contextlib.ExitStack() as stack:
        begun = struct.pack(">ihhih", 90 << 20, 0, 3, 1, 1) + b"x"
        for _ in range(200):
            s = stack.enter_context(connect(server))
            s.setblocking(False)
            with contextlib.suppress(BlockingIOError, ConnectionError):
                s.send(begun + bytes(1 << 20))
    assert_within_memory(server)


def test_garbage_and_impossible_sizes_end_their_connection_and_nothing_else(start):
    server = serve(start)
    rng = random.Random(7)
    garbage = [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", struct.pack(">i", -1), struct.pack(">i", 0),
               struct.pack(">i", 2**31 - 1), struct.pack(">ihh", 8, 999, 0) + b"abcd", frame(0, 3, b"\xff" * 40), frame(3, 9, b"\x80" * 30),
               frame(1, 4, struct.pack(">iiiibi", -1, 0, 0, 0, 0, 2**31 - 1)), frame(19, 7, b"\xff\xff\xff\xff\x0f")]
    garbage += [struct.pack(">i", 64) + rng.randbytes(64) for _ in range(100)]
    with a_good_client(server):
        for g in garbage:
            with connect(server) as s:
                s.sendall(g)
                s.shutdown(socket.SHUT_WR)
                assert is_hung_up(s), g
    assert_within_memory(server)


def test_a_batch_that_unpacks_to_a_gigabyte_is_refused(start):
    server = serve(start)
    bomb = gzip.compress(bytes(1 << 30), 1)
    with a_good_client(server), connect(server) as s:
        for i in range(3):
            s.sendall(produce(batch_of(bomb, 1), i))
            reply = answer(s)
            error = struct.unpack_from(">h", reply, 4 + 4 + 2 + len(TOPIC) + 4 + 4)[0]
            assert error != 0, "the bomb was taken"
    assert_within_memory(server)


def test_ten_thousand_idle_connections(start):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = min(10000, hard - 500)
    server = serve(start)
    before = peak(server)
    crowd = []
    try:
        with a_good_client(server):
            for _ in range(count):
                crowd.append(connect(server))
            for s in random.Random(1).sample(crowd, 100):
                s.sendall(frame(18, 0, b""))
                assert answer(s)
        assert peak(server) < before + count * 2048 + (16 << 20), f"{(peak(server) - before) >> 10} KiB for {count} connections"
    finally:
        for s in crowd:
            s.close()
    assert_within_memory(server)


def test_connections_that_come_and_go_without_a_word(start):
    server = serve(start)
    with a_good_client(server):
        for i in range(3000):
            with connect(server) as s:
                if i % 3 == 0:
                    s.sendall(fetch_all(1)[: i % 40])
                if i % 2 == 0:
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert_within_memory(server)
