"""What happens to data planes that share a Kafka: one is stopped for longer than its session and wakes up, the broker goes away and
comes back, connections are cut, another version is at work. On a millrace broker, and on a real Apache Kafka 3.8.1."""

import json
import os
import random
import signal
import socket
import threading
import time

import confluent_kafka
import harness
import pytest
import requests
import resources
from harness import wait_for
from replicas import Fleet, Load, check_log, good_runs, header, infer_with_key, outcomes_of


def infer(member, name, timeout_s=None, request_id=None):
    headers = {"x-request-timeout": str(timeout_s)} if timeout_s else {}
    if request_id:
        headers["x-request-id"] = request_id
    return requests.post(f"http://{member.infer}/v2/pipelines/{name}/infer", headers=headers, timeout=40,
                         json={"inputs": [resources.fp32([1, 2, 3, 4])]})


@pytest.fixture
def silenced(tmp_path):
    """A model server of the test's own, to be stopped and continued."""
    server = harness.Process([harness.TOY_SERVER], tmp_path / "toy.log")
    yield server
    os.kill(server.pid, signal.SIGCONT)
    assert server.stop() == 0, server.errors()


def test_what_a_killed_process_had_taken_is_ended_by_the_owner_when_its_time_is_over(fleet, silenced, tmp_path):
    planes = fleet(2)
    planes.apply(tmp_path, silenced.ready["infer"], resources.SLOW)
    planes.await_owners(planes.members)
    os.kill(silenced.pid, signal.SIGSTOP)  # so that nothing is answered before the kill, however busy the machine
    victim = planes.members.pop()
    threads = [threading.Thread(target=lambda i=i: pytest.raises(requests.RequestException, infer, victim, "slowly", 8, f"lost{i}"))
               for i in range(8)]
    for t in threads:
        t.start()
    planes.records("pipeline.slowly.inputs", lambda rs: len(rs) == 8)
    victim.kill()
    for t in threads:
        t.join()
    found = outcomes_of(planes.records("pipeline.slowly.outputs", lambda rs: len(rs) >= 8, 50))
    assert len(found) == 8 and all(len(rs) == 1 for rs in found.values())
    late = [rs[0] for rs in found.values() if header(rs[0], "seldon-pipeline-errors")]
    assert len(late) == 8 and all(b"has ended, or lost touch" in r.value() for r in late)


def test_a_process_that_sleeps_longer_than_its_session_leaves_its_work_to_others_and_wakes_up_as_one_of_many(fleet, toy, tmp_path):
    planes = fleet(2, "--kafka.topics.numPartitions", "2")
    planes.apply(tmp_path, toy, resources.CHAIN)
    planes.await_owners(planes.members)
    sleeper = planes.members.pop()
    load = Load(planes)
    asleep = Load(type("One", (), {"members": [sleeper]})(), prefix="s")
    asleep.await_more(20)
    os.kill(sleeper.pid, signal.SIGSTOP)
    try:
        wait_for(lambda: planes.owned(planes.members[0]) == 64, 30, planes.members[0].errors)
        load.await_more(50)
    finally:
        os.kill(sleeper.pid, signal.SIGCONT)
    asleep.await_more(20)
    planes.await_owners([*planes.members, sleeper])
    answers = {**load.end(), **asleep.end()}
    assert set(answers.values()) <= {200, 504}, {k: v for k, v in answers.items() if v != 200}
    check_log(planes, answers)


class Cutter(threading.Thread):
    """A TCP proxy in front of a Kafka that listens on one address; cut() ends every connection."""

    def __init__(self, target):
        super().__init__(daemon=True)
        self.target, self.pairs, self.lock = target, [], threading.Lock()
        self.server = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.server.getsockname()[1]
        self.start()

    def run(self):
        while True:
            try:
                mine = self.server.accept()[0]
            except OSError:
                return
            host, port = self.target.rsplit(":", 1)
            try:
                theirs = socket.create_connection((host, int(port)))
            except OSError:
                mine.close()
                continue
            with self.lock:
                self.pairs.append((mine, theirs))
            for a, b in ((mine, theirs), (theirs, mine)):
                threading.Thread(target=self.pump, args=(a, b), daemon=True).start()

    @staticmethod
    def pump(a, b):
        try:
            while data := a.recv(65536):
                b.sendall(data)
        except OSError:
            pass
        for s in (a, b):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        with self.lock:
            pairs, self.pairs = self.pairs, []
        for pair in pairs:
            for s in pair:
                try:
                    s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
        return len(pairs)

    def close(self):
        self.server.close()
        self.cut()


@pytest.fixture
def behind_a_proxy(start, bus_kind, tmp_path):
    """The address of a proxy, and the proxy, of a Kafka of this test that tells its clients the proxy's address."""
    made = []

    def make():
        proxy = Cutter("")
        made.append(proxy)
        if bus_kind == "embedded":
            broker = start("--broker-only", "--kafka-advertise", proxy.address, "--broker.config.group.initial.rebalance.delay.ms", "0",
                           data="proxied")
            proxy.target = broker.kafka
        else:
            kafka = harness.Kafka381(tmp_path / "kafka", bus_kind,
                                     f"advertised.listeners=PLAINTEXT://{proxy.address}\n")
            made.append(kafka)
            proxy.target = kafka.address
        return proxy

    yield make
    for thing in reversed(made):
        thing.stop() if hasattr(thing, "stop") else thing.close()


def test_connections_that_are_cut_again_and_again_cost_no_request_its_answer(fleet, behind_a_proxy, toy, tmp_path):
    proxy = behind_a_proxy()
    planes = fleet(2, bootstrap=proxy.address)
    planes.apply(tmp_path, toy, resources.CHAIN)
    load = Load(planes, timeout_s=8)
    rng = random.Random(1)
    for _ in range(6):
        load.await_more(rng.randrange(5, 40))
        assert proxy.cut() > 0
    load.await_more(50)
    answers = load.end()
    assert set(answers.values()) <= {200, 503, 504}, answers
    check_log(planes, answers, repeats_allowed=len(answers))


class OwnBroker:
    """A millrace broker as something that can be killed and started again at its address."""

    def __init__(self, start):
        self.begin = start
        self.address = None
        self.start()

    def start(self):
        self.server = self.begin("--broker-only", "--broker.config.group.initial.rebalance.delay.ms", "0", data="alone",
                                 kafka_listen=self.address or "127.0.0.1:0")
        self.address = self.server.kafka

    def kill(self):
        self.server.kill()


@pytest.fixture
def killable(start, bus_kind, tmp_path):
    kafka = OwnBroker(start) if bus_kind == "embedded" else harness.Kafka381(tmp_path / "kafka", bus_kind)
    yield kafka
    if bus_kind != "embedded":
        kafka.stop()


def test_a_broker_that_is_away_for_a_while_delays_and_loses_nothing(start, killable, toy, tmp_path):
    planes = Fleet(start, killable.address, "away")
    planes.add(), planes.add()
    planes.apply(tmp_path, toy, resources.CHAIN)
    load = Load(planes, timeout_s=15)
    for _ in range(2):
        load.await_more(30)
        killable.kill()
        killable.start()
    load.await_more(50, 60)
    answers = load.end()
    assert set(answers.values()) <= {200, 503, 504}, answers
    check_log(planes, answers, seconds=60, repeats_allowed=len(answers))
    killable.kill()
    begun = time.monotonic()
    for member in planes.members:  # they end in time, though nobody answers them
        member.child.send_signal(signal.SIGTERM)
    for member in planes.members:
        assert member.child.wait(50) == 0, member.errors()
    assert time.monotonic() - begun < 45


def test_a_record_of_a_newer_version_is_left_alone_and_said(fleet, toy, tmp_path):
    planes = fleet(1)
    planes.apply(tmp_path, toy, resources.CHAIN)
    topic = f"seldon.{planes.namespace}.control.resources"
    old = next(r for r in planes.records("control.resources") if r.key() == b"Pipeline/chain")
    value = json.loads(old.value())
    newer = {**value, "format": value["format"] + 1}
    producer = confluent_kafka.Producer({"bootstrap.servers": planes.bootstrap})
    producer.produce(topic, json.dumps(newer), b"Pipeline/chain2", partition=0)
    assert producer.flush(30) == 0
    planes.add()
    for member in planes.members:
        wait_for(lambda m=member: "chain2" in m.errors(), 20, member.errors)
        assert infer(member, "chain").status_code == 200
        assert infer(member, "chain2").status_code == 404
    kept = [r for r in planes.records("control.resources") if r.key() == b"Pipeline/chain2"]
    assert json.loads(kept[0].value()) == newer


class Retrying(threading.Thread):
    """Sends a key to one replica after another until it has its answer, as clients do that must have something done once."""

    def __init__(self, planes, key, value):
        super().__init__(daemon=True)
        self.planes, self.key, self.value, self.answer, self.seen = planes, key, value, None, []
        self.start()

    def run(self):
        for turn in range(60):
            members = list(self.planes.members)
            try:
                answer = infer_with_key(members[turn % len(members)], "chain", self.key, self.value, 4)
            except requests.RequestException as e:
                self.seen.append(type(e).__name__)
                continue
            self.seen.append(answer.status_code)
            if answer.status_code == 200:
                self.answer = answer
                return


def test_keys_that_are_sent_until_they_are_answered_are_answered_once_while_replicas_are_killed(fleet, toy, tmp_path):
    planes = fleet(2, "--kafka.topics.numPartitions", "3")
    planes.apply(tmp_path, toy, resources.CHAIN)
    planes.await_owners(planes.members)
    callers = []
    for turn in range(3):
        callers += [Retrying(planes, f"key{turn}.{i}", turn * 100 + i) for i in range(12) for _ in range(2)]
        victim = planes.members[turn % 2]
        wait_for(lambda n=len(callers): sum(c.answer is not None for c in callers) > n - 18, 60, lambda: [c.seen for c in callers])
        victim.kill()
        planes.members.remove(victim)
        planes.add()
    for caller in callers:
        caller.join()
        assert caller.answer is not None, caller.seen
        assert caller.answer.json()["outputs"][0]["data"][0] == caller.value * 10 + 10
    runs = good_runs(planes, "chain")
    assert len(runs) == 36 and all(len(of_key) == 1 for of_key in runs.values()), {k: r for k, r in runs.items() if len(r) != 1}
