"""The broker beside Apache Kafka 3.8.1."""

import contextlib
import shutil
import socket
import struct
import threading
import time

import requests
from common import (SCALE, Ours, Theirs, admin, cpu_seconds, create, delete, fresh, harness, load, median, peak_mib, report,
                    rss_mib, warm_memory)

FLUSHED = "log.flush.interval.messages=1\n"  # Kafka acknowledges after a sync, as millrace always does


def both(measure):
    """The same measurement on both systems, each alone on the machine: [(ours, theirs), …] of what measure() returns."""
    results = []
    for make in (Ours, Theirs):
        system = make()
        try:
            results.append(measure(system))
        finally:
            system.stop()
    return results


def ratio(ours, theirs, form=".0f", less=False):
    better = theirs / max(ours, 1e-9) if less else ours / max(theirs, 1e-9)
    return f"{ours:{form}} / {theirs:{form}} ({better:.2f}x{' less' if less else ''})"


# ---- start ----

def first_answer_of_serve():
    data, ready, answered, idle = fresh("start"), [], [], []
    for _ in range(11):
        begun = time.monotonic()
        server = harness.Millrace(data)
        ready.append((time.monotonic() - begun) * 1000)
        assert requests.get(f"http://{server.infer}/v2/health/live", timeout=5).status_code == 200
        answered.append((time.monotonic() - begun) * 1000)
        idle.append(rss_mib(server.pid))
        assert server.stop() == 0
    return f"{median(ready):.1f} ms, first answer over HTTP {median(answered):.1f} ms", f"{median(idle):.1f} MiB idle"


def starts_of(make):
    """Milliseconds: empty, with 1,000 topics, the same after kill -9, with much log after kill -9."""
    starts = []
    for _ in range(5 if make is Ours else 1):
        system = make()
        starts.append(system.start_ms)
        system.stop()
    rows = [median(starts)]
    system = make()
    names = [f"topic-{i}" for i in range(1000)]
    create(system, *names)
    produce_to_each(system, names)
    system.stop()
    for end in ("stop", "kill"):
        system = system.again()
        if end == "stop":
            rows.append(system.start_ms)
            produce_to_each(system, names)
            system.kill()
        else:
            rows.append(system.start_ms)
            system.stop()
    system = make()
    create(system, "much", partitions=4)
    load("produce", system.address, "much", int(100_000 * SCALE), 102_400, "1")
    system.kill()
    system = system.again()
    rows.append(system.start_ms)
    system.stop()
    shutil.rmtree(system.data, ignore_errors=True)
    return rows


def produce_to_each(system, names):
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": system.address, "linger.ms": 50})
    for name in names:
        producer.produce(name, b"x" * 100)
    assert producer.flush(120) == 0


def bench_start():
    ours, theirs = starts_of(Ours), starts_of(Theirs)
    rows = [("serve, empty (median of 11)", *first_answer_of_serve(), "-")]
    for what, a, b in zip(("--broker-only, empty", "1,000 topics", "1,000 topics, after kill -9",
                           f"{10 * SCALE:g} GB of log, after kill -9"), ours, theirs):
        rows.append((what, f"{a:.1f} ms", f"{b:.0f} ms", f"{b / a:.0f}x"))
    report("From exec to the first answered request", "./dev bench start", rows, ["what", "millrace", "Apache Kafka 3.8.1", "ratio"])


# ---- throughput ----

LOADS = [(100, 10_000_000), (1024, 3_000_000), (102_400, 30_000)]


def throughput_of(system, size, count, acks, partitions):
    topic = f"t-{size}-{acks}-{partitions}"
    create(system, topic, partitions=partitions)
    cpu = cpu_seconds(system.pid)
    produced = load("produce", system.address, topic, count, size, acks)
    produce_cpu = cpu_seconds(system.pid) - cpu
    load("consume", system.address, topic, count)  # the first reading finds the page cache as the writing left it
    cpu = cpu_seconds(system.pid)
    consumed = load("consume", system.address, topic, count)
    consume_cpu = cpu_seconds(system.pid) - cpu
    delete(system, topic)
    gigabytes = size * count / 1e9
    return produced["mb_s"], produce_cpu / gigabytes, consumed["mb_s"], consume_cpu / gigabytes


def throughputs(system):
    create(system, "warm")
    load("produce", system.address, "warm", 300_000, 1024, "1")
    load("consume", system.address, "warm", 300_000)
    figures = {(size, acks, partitions): throughput_of(system, size, int(count * SCALE), acks, partitions)
               for size, count in LOADS for acks in ("1", "all") for partitions in (1, 4)}
    return figures, rss_mib(system.pid)


def bench_throughput():
    warm_memory(12 * min(SCALE, 1))
    (ours, our_rss), (theirs, their_rss) = both(throughputs)
    rows = [(*key, ratio(a[0], theirs[key][0]), ratio(a[1], theirs[key][1], ".2f", less=True), ratio(a[2], theirs[key][2]),
             ratio(a[3], theirs[key][3], ".2f", less=True)) for key, a in ours.items()]
    rows.append(("RSS after the load", "", "", f"{our_rss:.0f} / {their_rss:.0f} MiB", "", "", ""))
    report("Throughput and CPU beside Apache Kafka 3.8.1 (ours / Kafka's)", "./dev bench throughput", rows,
           ["bytes", "acks", "partitions", "produce MB/s", "server CPU s/GB produced", "consume MB/s", "server CPU s/GB consumed"])


# ---- latency ----

def three(figures):
    return " / ".join(f"{figures[p] / 1000:.2f}" for p in ("p50_us", "p99_us", "p999_us"))


def latencies(system):
    rows = []
    create(system, "warm")
    load("produce", system.address, "warm", 100_000, 1024, "1")
    for acks in ("1", "all"):
        for rate in (1000, 10_000):
            topic = f"l-{acks}-{rate}"
            create(system, topic)
            result = load("latency", system.address, topic, rate, max(2, int(15 * SCALE)), 1024, acks)
            rows.append((system.name, acks, rate, three(result["ack"]), three(result["end_to_end"])))
    return rows


def bench_latency():
    report("Produce-ack and end-to-end latency of single records, open loop, 1 KiB, librdkafka (ms)", "./dev bench latency",
           sum(both(latencies), []), ["system", "acks", "messages/s", "ack p50 / p99 / p99.9", "end to end p50 / p99 / p99.9"])


# ---- single-record requests, durable ----

def singles(system):
    create(system, "one")
    create(system, "hundred", partitions=100)
    seconds = max(2, int(10 * SCALE))
    rows = []
    for what, connections, topic, partitions, rate in (
            ("16 connections, closed loop", 16, "one", 1, 0), ("16 connections, 1,000/s", 16, "one", 1, 1000),
            ("16 connections, 10,000/s", 16, "one", 1, 10_000), ("1 connection, 1 partition a request", 1, "hundred", 1, 0),
            ("1 connection, 10 partitions a request", 1, "hundred", 10, 0), ("1 connection, 100 partitions a request", 1, "hundred", 100, 0)):
        result = load(system.address, topic, connections, partitions, rate, seconds, 1024, program="wire_load")
        late = f", {result['unanswered']} unanswered after 10 s" if result["unanswered"] else ""
        rows.append((system.name, what, f"{result['requests_s']:.0f}{late}", three(result)))
    return rows


def bench_singles():
    rows = singles_of(Ours()) + singles_of(Theirs(FLUSHED))
    report("Requests of one record to each partition, 1 KiB, acks=all, on disk before the answer (ms)", "./dev bench singles", rows,
           ["system", "load", "requests/s", "ack p50 / p99 / p99.9"])


def singles_of(system):
    try:
        return singles(system)
    finally:
        system.stop()


# ---- memory and many of everything ----

def connections(system, n):
    host, port = system.address.split(":")
    return [socket.create_connection((host, int(port))) for _ in range(n)]


def memory(system):
    figures = {"idle": rss_mib(system.pid)}
    client = admin(system)
    create(system, "first", client=client)
    begun = time.monotonic()
    for i in range(100):
        create(system, f"one-by-one-{i}", client=client)
    figures["create 100 topics, one after the other"] = (time.monotonic() - begun) * 1000
    begun = time.monotonic()
    create(system, *(f"batched-{i}" for i in range(1000)))
    usable(system, "batched-999")
    figures["create 1,000 topics in batches of 100 until the last is usable"] = (time.monotonic() - begun) * 1000
    figures["1,100 topics"] = rss_mib(system.pid)
    if isinstance(system, Ours):
        create(system, *(f"many-{i}" for i in range(8900)))
        figures["10,000 topics"] = rss_mib(system.pid)
    with contextlib.ExitStack() as stack:
        open_now = [stack.enter_context(c) for c in connections(system, 1000)]
        figures["1,000 idle connections more"] = rss_mib(system.pid)
        figures["CPU of 1,000 idle consumers, % of a core"] = idle_consumers(system, open_now)
    return figures


def usable(system, topic):
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": system.address})
    producer.produce(topic, b"x")
    assert producer.flush(60) == 0


def fetch_request(topic, offset):
    name = struct.pack(">h", len(topic)) + topic.encode()
    body = struct.pack(">iiiib", -1, 500, 1, 1 << 20, 0) + struct.pack(">i", 1) + name + struct.pack(">iiqi", 1, 0, offset, 1 << 20)
    header = struct.pack(">hhi", 1, 4, 1) + struct.pack(">h", 5) + b"bench"
    return struct.pack(">i", len(header + body)) + header + body


def idle_consumers(system, sockets):
    """Each long-polls an empty partition for 0.5 s, again and again, as an idle consumer does."""
    seconds, request = max(4, int(10 * SCALE)), fetch_request("one-by-one-0", 0)
    until = time.monotonic() + seconds

    def poll_all():
        import selectors

        selector = selectors.DefaultSelector()
        for s in sockets:
            s.setblocking(False)
            selector.register(s, selectors.EVENT_READ)
            s.send(request)
        while time.monotonic() < until:
            for key, _ in selector.select(0.1):
                if len(key.fileobj.recv(4096)) < 4:
                    raise AssertionError("an answer came in pieces")
                key.fileobj.send(request)

    thread = threading.Thread(target=poll_all)
    thread.start()
    cpu = cpu_seconds(system.pid)
    thread.join()
    return (cpu_seconds(system.pid) - cpu) / seconds * 100


def bench_memory():
    ours, theirs = both(memory)
    rows = []
    for what, value in ours.items():
        unit = "" if "%" in what else " (ms)" if what.startswith("create") else " (MiB)"
        rows.append((f"--broker-only, {what}{unit}", f"{value:.1f}", f"{theirs[what]:.1f}" if what in theirs else "-"))
    report("Memory, and many of everything", "./dev bench memory", rows, ["what", "millrace", "Apache Kafka 3.8.1"])


# ---- one message of a gigabyte ----

def bench_gigabyte():
    from confluent_kafka import Consumer, Producer

    size = int(990_000_000 * min(SCALE, 1))
    system = Ours()
    create(system, "large")
    limits = {"bootstrap.servers": system.address, "message.max.bytes": 1_000_000_000, "message.timeout.ms": 120_000, "socket.timeout.ms": 60_000}
    begun = time.monotonic()
    producer = Producer({**limits, "queue.buffering.max.kbytes": 2_000_000})
    producer.produce("large", bytes(size))
    assert producer.flush(180) == 0
    produced = time.monotonic() - begun
    begun = time.monotonic()
    consumer = Consumer({"bootstrap.servers": system.address, "group.id": "large", "auto.offset.reset": "earliest", "enable.auto.commit": False,
                         "fetch.message.max.bytes": 1_000_000_000, "fetch.max.bytes": 1_100_000_000, "receive.message.max.bytes": 1_200_000_000})
    consumer.subscribe(["large"])
    message = consumer.poll(120)
    assert message and not message.error() and len(message.value()) == size, message and message.error()
    rows = [(size, f"{produced:.1f} s", f"{time.monotonic() - begun:.1f} s", f"{peak_mib(system.pid):.0f} MiB")]
    consumer.close()
    system.stop()
    report("One large message through and back", "./dev bench gigabyte", rows, ["bytes", "produce, acknowledged", "consume", "peak RSS of millrace"])


BENCHES = {"start": bench_start, "throughput": bench_throughput, "latency": bench_latency, "singles": bench_singles,
           "memory": bench_memory, "gigabyte": bench_gigabyte}
