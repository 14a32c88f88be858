"""The broker beside Apache Kafka 3.8.1."""

import contextlib
import shutil
import socket
import struct
import threading
import time

import requests
from common import (SCALE, Ours, Theirs, admin, cpu_seconds, create, delete, device_sync_us, fresh, harness, load, median, peak_mib, properties_of,
                    report, rss_mib, target, warm_memory)

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
    better = theirs / max(ours, 0.01) if less else ours / max(theirs, 1e-9)
    return f"{ours:{form}} / {theirs:{form}} ({better:.2f}x{' less' if less else ''})"


# ---- start ----

def first_answer_of_serve():
    data, answered, idle = fresh("start"), [], []
    for _ in range(11):
        begun = time.monotonic()
        server = harness.Millrace(data)
        assert requests.get(f"http://{server.infer}/v2/health/live", timeout=5).status_code == 200
        answered.append((time.monotonic() - begun) * 1000)
        idle.append(rss_mib(server.pid))
        assert server.stop() == 0
    return median(answered), median(idle)


STARTS = (("empty (--broker-only)", 10), ("1,000 topics", 100), ("1,000 topics, after kill -9", 200), (f"{10 * SCALE:g} GB of log, after kill -9", 1000))


def starts_of(make):
    """Milliseconds: empty, with 1,000 topics, the same after kill -9, with much log after kill -9. Ours: medians of several."""
    rounds = 5 if make is Ours else 1
    starts = []
    for _ in range(rounds):
        system = make()
        starts.append(system.start_ms)
        system.stop()
    rows = [starts]
    system = make()
    names = [f"topic-{i}" for i in range(1000)]
    create(system, *names)
    produce_to_each(system, names)
    system.stop()
    after_stop, after_kill = [], []
    for _ in range(rounds):
        system = system.again()
        after_stop.append(system.start_ms)
        produce_to_each(system, names)
        system.kill()
        system = system.again()
        after_kill.append(system.start_ms)
        system.stop()
    rows += [after_stop, after_kill]
    system = make()
    create(system, "much", partitions=4)
    load("produce", system.address, "much", int(100_000 * SCALE), 102_400, "1")
    system.kill()
    system = system.again()
    rows.append([system.start_ms])
    system.stop()
    shutil.rmtree(system.data, ignore_errors=True)
    return rows


def produce_to_each(system, names):
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": system.address, "linger.ms": 50, "log_level": 2})
    for name in names:
        producer.produce(name, b"x" * 100)
    assert producer.flush(120) == 0


def bench_start():
    ours, theirs = starts_of(Ours), starts_of(Theirs)
    answered, idle = first_answer_of_serve()
    rows = [("serve, empty (median of 11)", f"{answered:.1f} ms", "-", "-")]
    for (what, most), a, b in zip(STARTS, ours, theirs):
        rows.append((what, f"{median(a):.1f} ms" + (f" (slowest of {len(a)}: {max(a):.1f})" if len(a) > 1 else ""), f"{median(b):.0f} ms", f"{median(b) / median(a):.0f}x"))
        target("broker", f"start to first answered request: {what}", f"{median(b):.0f} ms", f"{median(a):.1f} ms", f"{most} ms", median(a) <= most)
    target("broker", "start to first answered request: serve, empty", "-", f"{answered:.1f} ms", "20 ms", answered <= 20)
    target("broker", "memory: serve, idle", "-", f"{idle:.1f} MiB", "16 MiB", idle <= 16)
    report("From exec to the first answered request", "./dev bench start", rows, ["what", "millrace", "Apache Kafka 3.8.1", "ratio"])


# ---- throughput ----

LOADS = [(100, 5_000_000), (1024, 2_000_000), (102_400, 20_000)]


def throughput_of(system, size, count, acks, partitions):
    topic, how = f"t-{size}-{acks}-{partitions}", properties_of(system)
    create(system, topic, partitions=partitions)
    cpu = cpu_seconds(system.pid)
    produced = load(*how, "produce", system.address, topic, count, size, acks)
    produce_cpu = cpu_seconds(system.pid) - cpu
    load(*how, "consume", system.address, topic, count)  # the first reading finds the page cache as the writing left it
    cpu = cpu_seconds(system.pid)
    consumed = load(*how, "consume", system.address, topic, count)
    consume_cpu = cpu_seconds(system.pid) - cpu
    delete(system, topic)
    gigabytes = size * count / 1e9
    return produced["mb_s"], produce_cpu / gigabytes, consumed["mb_s"], consume_cpu / gigabytes


def throughputs(system):
    create(system, "warm")
    load("produce", system.address, "warm", 300_000, 1024, "1")
    load("consume", system.address, "warm", 300_000)
    figures = {(size, acks, partitions): throughput_of(system, size, int(count * SCALE), acks, partitions)
               for size, count in LOADS for acks in ("1", "all") for partitions in (1,)}
    return figures, rss_mib(system.pid)


def bench_throughput():
    warm_memory(12 * min(SCALE, 1))
    (ours, our_rss), (theirs, their_rss) = both(throughputs)
    rows = [(*key, ratio(a[0], theirs[key][0]), ratio(a[1], theirs[key][1], ".2f", less=True), ratio(a[2], theirs[key][2]),
             ratio(a[3], theirs[key][3], ".2f", less=True)) for key, a in ours.items()]
    rows.append(("RSS after the load", "", "", f"{our_rss:.0f} / {their_rss:.0f} MiB", "", "", ""))
    report("Throughput and CPU beside Apache Kafka 3.8.1 (ours / Kafka's)", "./dev bench throughput", rows,
           ["bytes", "acks", "partitions", "produce MB/s", "server CPU s/GB produced", "consume MB/s", "server CPU s/GB consumed"])
    for (size, acks, _), a in ours.items():
        b, what = theirs[size, acks, 1], f"{size:,} B, acks={acks}"
        target("broker", f"produce {what}, MB/s", f"{b[0]:.0f}", f"{a[0]:.0f}", "at least as much", a[0] >= b[0])
        target("broker", f"produce {what}, CPU s per GB", f"{b[1]:.2f}", f"{a[1]:.2f}", "a third", a[1] <= b[1] / 3)
        target("broker", f"consume {what}, MB/s", f"{b[2]:.0f}", f"{a[2]:.0f}", "at least as much", a[2] >= b[2])
        target("broker", f"consume {what}, CPU s per GB", f"{b[3]:.2f}", f"{a[3]:.2f}", "0.3", a[3] <= 0.3)
    target("broker", "memory: --broker-only, after this load", f"{their_rss:.0f} MiB", f"{our_rss:.1f} MiB", "64 MiB", our_rss <= 64)


# ---- latency ----

def three(figures):
    return " / ".join(f"{figures[p] / 1000:.2f}" for p in ("p50_us", "p99_us", "p999_us"))


def latencies(system):
    results = {}
    create(system, "warm")
    load("produce", system.address, "warm", 100_000, 1024, "1")
    for acks in ("1", "all"):
        for rate in (1000, 10_000):
            topic = f"l-{acks}-{rate}"
            create(system, topic)
            results[acks, rate] = load("latency", system.address, topic, rate, max(2, int(10 * SCALE)), 1024, acks)
    return results


def bench_latency():
    ours, theirs = both(latencies)
    report("Produce-ack and end-to-end latency of single records, open loop, 1 KiB, librdkafka (ms)", "./dev bench latency",
           [(name, *key, three(r["ack"]), three(r["end_to_end"])) for name, results in ((Ours.name, ours), (Theirs.name, theirs)) for key, r in results.items()],
           ["system", "acks", "messages/s", "ack p50 / p99 / p99.9", "end to end p50 / p99 / p99.9"])
    for what, kind in (("ack", "ack"), ("end to end", "end_to_end")):
        for p, share in (("p50", 1), ("p99", 2)):
            a, b = (r["1", 1000][kind][f"{p}_us"] for r in (ours, theirs))
            target("broker", f"single records, acks=1, 1,000/s: {what} {p}", f"{b} µs", f"{a} µs", "half" if share == 2 else "not above", a <= b / share)
    a, b = (r["1", 10_000]["ack"]["p99_us"] for r in (ours, theirs))
    target("broker", "single records, acks=1, 10,000/s: ack p99", f"{b / 1000:.1f} ms", f"{a / 1000:.1f} ms", "5 ms", a <= 5000)


# ---- single-record requests, durable ----

def singles(system):
    create(system, "one")
    create(system, "hundred", partitions=100)
    seconds = max(2, int(6 * SCALE))
    results = {}
    for what, connections, topic, partitions, rate, size in (
            ("16 connections, closed loop", 16, "one", 1, 0, 1024), ("16 connections, 1,000/s", 16, "one", 1, 1000, 1024),
            ("16 connections, 10,000/s", 16, "one", 1, 10_000, 1024), ("1 connection, 1 partition a request", 1, "hundred", 1, 0, 1024),
            ("1 connection, 10 partitions a request", 1, "hundred", 10, 0, 1024), ("1 connection, 100 partitions a request", 1, "hundred", 100, 0, 1024),
            ("1 connection, 100 partitions a request, 100 B each", 1, "hundred", 100, 0, 100)):
        result = load(system.address, topic, connections, partitions, rate, seconds, size, program="wire_load")
        result["late"] = f", {result['unanswered']} unanswered after 10 s" if result["unanswered"] else ""
        results[what] = result
    return results


def bench_singles():
    sync = device_sync_us()
    ours, theirs = singles_of(Ours()), singles_of(Theirs(FLUSHED))
    rows = [(name, what, f"{r['requests_s']:.0f}{r['late']}", three(r)) for name, results in ((Ours.name, ours), (Theirs.name, theirs)) for what, r in results.items()]
    report("Requests of one record to each partition, 1 KiB, acks=all, on disk before the answer (ms)", "./dev bench singles", rows,
           ["system", "load", "requests/s", "ack p50 / p99 / p99.9"])


    rate, kafka_rate = (r["16 connections, closed loop"]["requests_s"] for r in (ours, theirs))
    target("broker", "single-record requests, durable each, 16 connections", f"{kafka_rate:.0f}/s", f"{rate:.0f}/s", "20,000/s", rate >= 20_000)
    a, b = (r["16 connections, 1,000/s"] for r in (ours, theirs))
    target("broker", "the same at 1,000/s, p50", f"{b['p50_us']} µs", f"{a['p50_us']} µs", f"the device's sync ({sync:.0f}) + 100 µs", a["p50_us"] <= sync + 100)
    target("broker", "the same at 1,000/s, p99", f"{b['p99_us']} µs", f"{a['p99_us']} µs", "a quarter", a["p99_us"] <= b["p99_us"] / 4)
    one = ours["1 connection, 1 partition a request"]["p50_us"]
    for n, more in ((10, ""), (100, ", 100 B each"), (100, "")):
        many, kafka = (r[f"1 connection, {n} partitions a request{more}"]["p50_us"] for r in (ours, theirs))
        target("broker", f"durable ack to {n} partitions at once{more}, p50", f"{kafka} µs", f"{many} µs, {many / one:.2f} times that of 1 ({one} µs)", "1.5 times", many <= 1.5 * one)


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
    with one_connection(system) as s:
        for i in range(100):
            ask(s, create_request(f"one-by-one-{i}"))
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


def one_connection(system):
    host, port = system.address.split(":")
    return socket.create_connection((host, int(port)))


def ask(s, request):
    s.sendall(request)
    answer = b""
    while len(answer) < 4 or len(answer) < 4 + struct.unpack(">i", answer[:4])[0]:
        answer += s.recv(65536)
    return answer


def create_request(topic):
    """CreateTopics v0: one partition."""
    body = struct.pack(">ih", 1, len(topic)) + topic.encode() + struct.pack(">ihiii", 1, 1, 0, 0, 30_000)
    header = struct.pack(">hhi", 19, 0, 1) + struct.pack(">h", 5) + b"bench"
    return struct.pack(">i", len(header + body)) + header + body


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
    for what, unit, most in (("idle", " MiB", 8), ("1,100 topics", " MiB", 16), ("10,000 topics", " MiB", 64), ("1,000 idle connections more", " MiB", 32),
                             ("create 100 topics, one after the other", " ms", 50), ("create 1,000 topics in batches of 100 until the last is usable", " ms", 200),
                             ("CPU of 1,000 idle consumers, % of a core", " %", 4)):
        target("broker", what if unit != " MiB" else f"memory: --broker-only, {what}", f"{theirs[what]:.1f}{unit}" if what in theirs else "-", f"{ours[what]:.1f}{unit}",
               f"{most}{unit}", ours[what] <= most)


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
    peak = peak_mib(system.pid)
    rows = [(size, f"{produced:.1f} s", f"{time.monotonic() - begun:.1f} s", f"{peak:.0f} MiB")]
    target("broker", f"one message of {size:,} bytes through and back", "-", f"peak {peak:.0f} MiB", "1,300 MiB", peak < 1300)
    consumer.close()
    system.stop()
    report("One large message through and back", "./dev bench gigabyte", rows, ["bytes", "produce, acknowledged", "consume", "peak RSS of millrace"])


BENCHES = {"start": bench_start, "throughput": bench_throughput, "latency": bench_latency, "singles": bench_singles,
           "memory": bench_memory, "gigabyte": bench_gigabyte}
