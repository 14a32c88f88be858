"""Several data planes on one Kafka: starting them, load on them, and what their log must look like afterwards."""

import collections
import random
import threading

import confluent_kafka
import requests
import resources
from harness import wait_for

FAST = ["--flow.recoverGraceMs", "500", "--kafka.consumer.sessionTimeoutMs", "6000", "--gateway.drainMs", "2000"]


class Fleet:
    """Data planes of one namespace. Members come and go; `at` is who may be asked now."""

    def __init__(self, start, address, namespace, *options):
        self.start, self.bootstrap, self.namespace, self.options = start, address, namespace, options
        self.members, self.n = [], 0

    def add(self, *more, bootstrap=None, asked=True, binary=None):
        """One more; asked=False: not yet among those that Load asks. binary: another millrace."""
        self.n += 1
        member = self.start("--no-broker", "--bootstrap", bootstrap or self.bootstrap, "--namespace", self.namespace,
                            *FAST, *self.options, *more, data=f"replica{self.n}", binary=binary)
        if asked:
            self.members.append(member)
        return member

    def apply(self, tmp_path, toy, *texts):
        self.members[0].apply(tmp_path, "---".join([resources.toys(toy), *texts]))
        for text in texts:
            name = text.split("{name: ")[1].split("}")[0]
            for member in self.members:
                self.await_ready(member, name)

    def await_ready(self, member, name):
        wait_for(lambda: requests.get(f"http://{member.infer}/v2/pipelines/{name}/ready", timeout=10).status_code == 200,
                 40, lambda: f"pipeline {name} never got ready: {member.errors()}")

    def owned(self, member):
        """How many numbers it owns, from its log."""
        said = [line for line in member.log.read_text(errors="replace").splitlines() if "flow.owners" in line and "owned=" in line]
        return int(said[-1].split("owned=")[1].split()[0]) if said else 0

    def await_owners(self, members, total=64):
        wait_for(lambda: sum(map(self.owned, members)) == total and all(map(self.owned, members)), 40,
                 lambda: f"numbers are not shared: {[self.owned(m) for m in members]}")

    def records(self, topic, until=None, seconds=30):
        """Everything in a topic; with until, polled until until(records) holds."""
        name = f"seldon.{self.namespace}.{topic}"
        consumer = confluent_kafka.Consumer({"bootstrap.servers": self.bootstrap, "group.id": "none", "enable.auto.commit": False,
                                             "enable.partition.eof": True})
        partitions = wait_for(lambda: consumer.list_topics(name, timeout=10).topics[name].partitions, seconds, f"there is no {name}")
        consumer.assign([confluent_kafka.TopicPartition(name, p, confluent_kafka.OFFSET_BEGINNING) for p in partitions])
        got, ended = [], set()

        def more():
            for m in consumer.consume(500, 0.1):
                if m.error() is None:
                    got.append(m)
                    ended.discard(m.partition())
                else:
                    ended.add(m.partition())
            return len(ended) == len(partitions) and (until is None or until(got))

        try:
            wait_for(more, seconds, lambda: f"{name}: {len(got)} records: {until(got) if until else ''}")
        finally:
            consumer.close()
        return got


class Load(threading.Thread):
    """Callers, one after another in each of `callers` threads; every answer, or the lack of one, is kept. What a test that failed
    left at work is stopped by stop_all() (conftest.py)."""

    begun = []

    def __init__(self, fleet, name="chain", callers=4, timeout_s=3, pause=0.01, prefix="r"):
        super().__init__(daemon=True)
        self.fleet, self.name_, self.timeout_s, self.pause, self.prefix = fleet, name, timeout_s, pause, prefix
        self.answers, self.stopping, self.next, self.lock = {}, threading.Event(), 0, threading.Lock()
        self.doubled, self.hung = [], []
        Load.begun.append(self)
        self.threads = [threading.Thread(target=self.call, args=(i,), daemon=True) for i in range(callers)]
        for t in self.threads:
            t.start()

    @classmethod
    def stop_all(cls):
        while cls.begun:
            cls.begun.pop().stopping.set()

    def call(self, i):
        rng = random.Random(i)
        while not self.stopping.is_set():
            with self.lock:
                self.next += 1
                request_id = f"{self.prefix}{self.next}"
                members = list(self.fleet.members)
            member = rng.choice(members)
            value = float(self.next % 1000)
            try:
                answer = requests.post(
                    f"http://{member.infer}/v2/pipelines/{self.name_}/infer", json={"inputs": [resources.fp32([value] * 4)]},
                    headers={"x-request-id": request_id, "x-request-timeout": str(self.timeout_s)}, timeout=self.timeout_s + 10)
                self.answers[request_id] = answer.status_code
                if answer.status_code == 200 and answer.json()["outputs"][0]["data"][0] != value * 10 + 10:
                    self.doubled.append(request_id)
            except requests.Timeout:
                self.hung.append(request_id)
            except requests.RequestException:
                self.answers[request_id] = None  # its process went away
            if self.pause:
                self.stopping.wait(self.pause)

    def count(self, status=200):
        return sum(1 for s in list(self.answers.values()) if s == status)

    def await_more(self, n, seconds=40):
        """So many more good answers."""
        goal = self.count() + n
        wait_for(lambda: self.count() >= goal, seconds, lambda: f"no progress: {collections.Counter(self.answers.values())}")

    def end(self):
        self.stopping.set()
        for t in self.threads:
            t.join()
        assert not self.hung, f"callers were left without an answer: {self.hung[:5]}"
        assert not self.doubled, f"answers of other requests: {self.doubled[:5]}"
        return self.answers


def header(record, name):
    return next((value.decode() for key, value in record.headers() or [] if key == name), None)


def identity(run):
    """A run whatever the attempt: docs/compatibility.md."""
    parts = run.split("/")
    return "/".join(parts[:4] if len(parts) == 6 else parts[:3])


def attempt(run):
    parts = run.split("/")
    return int(parts[4] if len(parts) == 6 else parts[3])


def outcomes_of(records):
    """identity -> its outcome records, by offset."""
    found = collections.defaultdict(list)
    for r in sorted(records, key=lambda r: (r.partition(), r.offset())):
        run = header(r, "millrace-run")
        if run:
            found[identity(run)].append(r)
    return found


def check_log(fleet, answers, name="chain", seconds=30, repeats_allowed=0):
    """Every input has its outcome, every 200 has an output; a second outcome is of a later attempt, or one that was cut off."""
    inputs = [r for r in fleet.records(f"pipeline.{name}.inputs") if header(r, "millrace-run")]
    wanted = {identity(header(r, "millrace-run")): header(r, "x-request-id") for r in inputs}

    def missing(records):
        return set(wanted) - set(outcomes_of(records))

    found = outcomes_of(fleet.records(f"pipeline.{name}.outputs", lambda records: not missing(records), seconds))
    by_request = {}
    for run, request_id in wanted.items():
        by_request.setdefault(request_id, []).append(found[run][0])
    for request_id, status in answers.items():
        if status == 200:
            good = [r for r in by_request.get(request_id, []) if not header(r, "seldon-pipeline-errors")]
            assert len(good) == 1, f"{request_id} was answered 200, and the log has {len(good)} outputs of it"
    repeats = {run: [header(r, "millrace-run") for r in rs] for run, rs in found.items() if len(rs) > 1}
    assert len(repeats) <= repeats_allowed, f"outcomes repeated: {list(repeats.items())[:3]}"
    unmarked = {run: ids for run, ids in repeats.items() if len({attempt(i) for i in ids}) != len(ids)}
    assert not unmarked, f"repeated without a mark: {list(unmarked.items())[:3]}"
    return len(wanted), len(repeats)


def infer_with_key(member, name, key, value=1.0, timeout_s=10):
    return requests.post(f"http://{member.infer}/v2/pipelines/{name}/infer", json={"inputs": [resources.fp32([value] * 4)]},
                         headers={"Idempotency-Key": key, "x-request-timeout": str(timeout_s)}, timeout=timeout_s + 10)


def claims(planes, name):
    """hash of the key -> its inputs in the log."""
    found = collections.defaultdict(list)
    for record in planes.records(f"pipeline.{name}.inputs"):
        if header(record, "millrace-idempotency"):
            found[header(record, "millrace-idempotency").split("/")[0]].append(record)
    return found


def good_runs(planes, name):
    """hash of the key -> runs that ended with an output."""
    outcomes = outcomes_of(planes.records(f"pipeline.{name}.outputs"))
    return {key: [run for run in {identity(header(r, "millrace-run")) for r in records}
                  if run in outcomes and not header(outcomes[run][0], "seldon-pipeline-errors")]
            for key, records in claims(planes, name).items()}
