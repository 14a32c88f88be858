"""Readers that take little at a time, ask ahead and hang up in the middle: each gets the bytes of the log, all of them."""

import pathlib
import random
import socket
import struct
import threading
import time

import confluent_kafka

SLICE = 1 << 20
RECORD = bytes(random.Random(1).randbytes(1000))
TOPIC = "slow"


def fetch_request(offset, correlation):
    """Fetch version 4: its records are the last bytes of the answer."""
    name = TOPIC.encode()
    body = struct.pack(">iiiib", -1, 500, 1, 50 << 20, 0) + struct.pack(">ih", 1, len(name)) + name
    body += struct.pack(">iiqi", 1, 0, offset, SLICE)
    head = struct.pack(">hhih", 1, 4, correlation, 1) + b"t"
    return struct.pack(">i", len(head + body)) + head + body


def records_of(frame, correlation):
    at = 4 + 4 + 4 + 2 + len(TOPIC) + 4
    assert struct.unpack_from(">i", frame)[0] == correlation
    partition, error, _, _, _, size = struct.unpack_from(">ihqqii", frame, at)
    records = frame[at + 30:]
    assert (partition, error, size) == (0, 0, len(records))
    return records


def next_offset(records, offset):
    """Behind the last batch; they follow each other without a gap."""
    at = 0
    while at < len(records):
        base, length = struct.unpack_from(">qi", records, at)
        assert base == offset, f"offset {base} where {offset} was to come"
        offset = base + struct.unpack_from(">i", records, at + 23)[0] + 1
        at += 12 + length
    assert at == len(records), "a batch is cut off"
    return offset


class Reader(threading.Thread):
    """Asks twice for each slice. Hangs up in the middle of some answers and comes back."""

    def __init__(self, address, seed, end, deadline):
        super().__init__()
        self.host, port = address.split(":")
        self.port, self.end, self.deadline = int(port), end, deadline
        self.random = random.Random(seed)
        self.got, self.offset, self.hang_ups, self.failure = bytearray(), 0, 0, None
        self.start()

    def connect(self):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << self.random.randrange(11, 17))
        s.settimeout(20)
        s.connect((self.host, self.port))
        return s

    def take(self, s, n):
        frame = bytearray()
        while len(frame) < n:
            part = s.recv(min(n - len(frame), self.random.randrange(1, 200000)))
            assert part, "the broker hung up"
            frame += part
        return frame

    def visit(self):
        with self.connect() as s:
            while self.offset < self.end:
                s.sendall(fetch_request(self.offset, 7) + fetch_request(self.offset, 8))
                size = struct.unpack(">i", self.take(s, 4))[0]
                if self.random.random() < 0.3:
                    self.take(s, self.random.randrange(0, size))
                    self.hang_ups += 1
                    return
                first = records_of(self.take(s, size), 7)
                second = records_of(self.take(s, struct.unpack(">i", self.take(s, 4))[0]), 8)
                assert second.startswith(first) or first.startswith(second), "the same question has two answers"
                self.offset = next_offset(first, self.offset)
                self.got += first

    def run(self):
        try:
            while self.offset < self.end:
                assert time.monotonic() < self.deadline, f"stands at {self.offset} of {self.end}"
                self.visit()
        except (AssertionError, OSError) as e:
            self.failure = f"at offset {self.offset}: {e!r}"


def test_slow_readers_that_come_and_go_get_every_byte_of_the_log(start):
    server = start("--broker-only", "--broker.config.num.partitions", "1")
    producer = confluent_kafka.Producer({"bootstrap.servers": server.kafka, "linger.ms": 5})
    count = 12000
    for i in range(count):
        if i == count // 2:
            assert producer.flush(30) == 0
            readers = [Reader(server.kafka, seed, count, time.monotonic() + 60) for seed in range(8)]
        producer.produce(TOPIC, RECORD, partition=0)
    assert producer.flush(30) == 0
    for r in readers:
        r.join()
    assert [r.failure for r in readers if r.failure] == [], server.errors()
    assert sum(r.hang_ups for r in readers) > 0
    file = (pathlib.Path(server.data) / f"{TOPIC}-0" / ("0" * 20 + ".log")).read_bytes()
    for r in readers:
        assert r.got == file, f"{len(r.got)} bytes of {len(file)}"
