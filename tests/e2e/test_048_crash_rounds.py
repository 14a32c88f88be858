"""kill -9 at random moments, again and again, under callers and outside producers: every acknowledged input and every reply has its
outcome in the log. Embedded each run has exactly one outcome record; on a Kafka that two data planes share, a second one carries
another attempt number and is rare. FLOW_KILLS=N chooses how often (100 embedded and 40 on a Kafka in ./dev ci, 300 and 120 in ./dev ci --full), SEED=N when."""

import os
import random
import threading
import time

import confluent_kafka
import requests
import resources
from harness import wait_for
from replicas import FAST, Fleet, Load, attempt, header, identity, outcomes_of


class Outside(threading.Thread):
    """Produces inputs as somebody else would; what was acknowledged is kept by key."""

    def __init__(self, address, topic, value):
        super().__init__(daemon=True)
        self.topic, self.value, self.acknowledged, self.stopping = topic, value, set(), threading.Event()
        self.producer = confluent_kafka.Producer({
            "bootstrap.servers": address, "enable.idempotence": True, "log_level": 0, "reconnect.backoff.ms": 5,
            "reconnect.backoff.max.ms": 50, "retry.backoff.ms": 10, "message.timeout.ms": 60000})
        self.start()

    def delivered(self, error, message):
        assert error is None, error
        self.acknowledged.add(message.key())

    def run(self):
        i = 0
        while not self.stopping.wait(0.01):
            self.producer.produce(self.topic, self.value, f"o{i}", headers=[("pipeline", b"chain")], on_delivery=self.delivered)
            self.producer.poll(0)
            i += 1
        assert self.producer.flush(60) == 0


class Callers(Load):
    """Callers of a pipeline with output, and of one without: 202 says that the input is in the log."""

    def __init__(self, fleet):
        self.accepted = []
        super().__init__(fleet, callers=6, timeout_s=2, pause=0.002)
        self.quiet = threading.Thread(target=self.call_quiet, daemon=True)
        self.quiet.start()

    def call_quiet(self):
        i = 0
        while not self.stopping.wait(0.01):
            i += 1
            try:
                answer = requests.post(f"http://{self.fleet.members[0].infer}/v2/pipelines/quiet/infer", timeout=12,
                                       json={"inputs": [resources.fp32([1] * 4)]}, headers={"x-request-id": f"q{i}"})
                if answer.status_code == 202:
                    self.accepted.append(f"q{i}")
            except requests.RequestException:
                pass


def check(planes, callers, outside, exactly_one):
    """Returns how many inputs there were, and how many of them have a second outcome."""
    inputs = planes.records("pipeline.chain.inputs")
    wanted = {identity(header(r, "millrace-run")): header(r, "x-request-id") for r in inputs if header(r, "millrace-run")}

    def complete(records):
        return not set(wanted) - set(outcomes_of(records)) and outside.acknowledged <= {r.key() for r in records}

    outputs = planes.records("pipeline.chain.outputs", complete, 60)
    found = outcomes_of(outputs)
    for request_id, status in callers.answers.items():
        runs = [run for run, its in wanted.items() if its == request_id]
        if status == 200:
            assert len(runs) == 1 and not header(found[runs[0]][0], "seldon-pipeline-errors"), f"{request_id} was answered 200"
    good = {r.key() for r in outputs if not header(r, "seldon-pipeline-errors")}
    assert outside.acknowledged <= good, f"without an output: {sorted(outside.acknowledged - good)[:5]}"
    repeats = {run: [header(r, "millrace-run") for r in rs] for run, rs in found.items() if len(rs) > 1}
    assert not (exactly_one and repeats), f"more than one outcome: {list(repeats.items())[:3]}"
    unmarked = [ids for ids in repeats.values() if len({attempt(i) for i in ids}) != len(ids)]
    assert not unmarked, f"repeated without a mark: {unmarked[:3]}"
    quiet = {header(r, "x-request-id") for r in planes.records("pipeline.quiet.inputs")}
    assert set(callers.accepted) <= quiet, "accepted, and not in the log"
    return len(found), len(repeats)


def committed_to_the_end(planes, pipeline, partitions):
    consumer = confluent_kafka.Consumer({"bootstrap.servers": planes.bootstrap, "group.id": f"seldon-{planes.namespace}-flow-{pipeline}"})
    topic = f"seldon.{planes.namespace}.pipeline.{pipeline}.inputs"
    try:
        at = consumer.committed([confluent_kafka.TopicPartition(topic, p) for p in range(partitions)], timeout=10)
        return all(tp.offset == consumer.get_watermark_offsets(tp, timeout=10)[1] for tp in at)
    finally:
        consumer.close()


def test_what_was_acknowledged_has_its_outcome_whenever_processes_are_killed(start, bus_kind, kafka_cluster, toy, tmp_path, request):
    seed = int(os.environ.get("SEED", random.randrange(1 << 30)))
    print(f"SEED={seed}")
    rng = random.Random(seed)
    namespace = "t" + str(abs(hash(request.node.nodeid)) % 10**9)
    embedded = kafka_cluster is None
    kills = int(os.environ.get("FLOW_KILLS", "25"))
    rounds = kills if embedded else max(kills * 2 // 5, 1)
    options = ["--kafka.topics.numPartitions", "3", "--gateway.timeoutMs", "2000"]
    planes = Fleet(start, kafka_cluster.address if kafka_cluster else "", namespace, *options)
    if embedded:
        planes.members.append(start("--namespace", namespace, *FAST, *options))
        planes.bootstrap = planes.members[0].kafka
    else:
        planes.add(), planes.add()
    planes.apply(tmp_path, toy, resources.CHAIN, resources.QUIET)
    seeded = requests.post(f"http://{planes.members[0].infer}/v2/pipelines/chain/infer", timeout=20,
                           json={"inputs": [resources.fp32([1, 2, 3, 4])]})
    assert seeded.status_code == 200, seeded.text
    value = planes.records("pipeline.chain.inputs", lambda rs: rs)[0].value()
    callers = Callers(planes)
    outside = Outside(planes.bootstrap, f"seldon.{namespace}.pipeline.chain.inputs", value)
    for _ in range(rounds):
        callers.await_more(1)
        time.sleep(rng.random() * (0.3 if embedded else 1.5))  # the moment of the kill is what is random
        victim = rng.choice(planes.members)
        victim.kill()
        if embedded:
            planes.members[0] = start("--namespace", namespace, *FAST, *options, kafka_listen=victim.kafka, infer_listen=victim.infer)
        else:
            planes.members.remove(victim)
            planes.add()
    callers.await_more(20)
    outside.stopping.set()
    outside.join()
    callers.end()
    callers.quiet.join()
    runs, repeats = check(planes, callers, outside, exactly_one=embedded)
    wait_for(lambda: committed_to_the_end(planes, "chain", 3) and committed_to_the_end(planes, "quiet", 3), 30, "commits stay behind")
    print(f"{rounds} kills, {runs} runs, {len(outside.acknowledged)} from outside, {repeats} outcomes repeated")
    assert runs > rounds and len(outside.acknowledged) > rounds
