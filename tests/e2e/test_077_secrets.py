"""Secrets are planted everywhere a user puts them; then everything that the process shows is searched for them."""

import base64
import json
import os
import pathlib
import re
import resource
import signal
import subprocess

import confluent_kafka
import pytest
import requests
import resources
import security
from harness import MILLRACE, Process, wait_for

PLANTED = {name: f"planted-{name}-5ecr3t-7f19" for name in
           "token wrongtoken cookie apikey registry property sasl wrongpassword bearer query".split()}


def forms(secret):
    """As it could turn up: as it is, in base64, in hex."""
    raw = secret.encode()
    return [raw, base64.b64encode(raw).rstrip(b"="), raw.hex().encode()]


def found_in(data, secrets):
    return [name for name, variants in secrets.items() if any(v in data for v in variants)]


def key_forms(path):
    """The PEM's lines, and the number itself in either order of its bytes."""
    text = pathlib.Path(path).read_text()
    lines = [line for line in text.splitlines() if "-----" not in line]
    shown = subprocess.run(["openssl", "ec", "-in", path, "-noout", "-text"], capture_output=True, text=True, check=True).stdout
    number = bytes.fromhex(re.search(r"priv:\s*((?:[0-9a-f]{2}[:\s]*)+)", shown)[1].replace(":", "").replace("\n", "").replace(" ", "")).lstrip(b"\0")
    return [lines[1].encode(), number, number[::-1], number.hex().encode()]


@pytest.fixture
def authority(tmp_path):
    return security.Authority(tmp_path / "authority")


def write_files(tmp_path, authority):
    """The configuration, and every file that it names."""
    crt, key = authority.make("server")
    (tmp_path / "tokens").write_text(f"admin planter {PLANTED['token']}\n")
    (tmp_path / "tokens").chmod(0o600)
    (tmp_path / "registry").mkdir()
    (tmp_path / "registry/.confluent-schema.yaml").write_text(json.dumps(
        {"schemaRegistry": {"client": {"URL": "http://127.0.0.1:9", "username": "someone", "password": PLANTED["registry"]}}}))
    config = tmp_path / "millrace.yaml"
    config.write_text(json.dumps({
        "data": str(tmp_path / "data"),
        "telemetry": {"log": {"level": "debug"}},
        "kafka": {"consumer": {"properties": {"some.token": PLANTED["property"], "some.secret": PLANTED["property"]}}},
        "security": {"gateway": {"tls": {"crtPath": crt, "keyPath": key}, "tokens": str(tmp_path / "tokens"), "trustLoopback": False},
                     "schemaRegistry": {"configPath": str(tmp_path / "registry")}},
        "gateway": {"listeners": [{"name": "infer", "listen": "127.0.0.1:0"}]},
        "broker": {"oauth": {"jwks": str(tmp_path / "none.json")},
                   "listeners": [security.listener("kafka"), security.listener("saslssl", "SASL_SSL", sasl=["PLAIN", "SCRAM-SHA-512", "OAUTHBEARER"],
                                                                               **security.tls((crt, key)))]},
    }))
    return config, key


def start(tmp_path, config, name, *options):
    """In a folder of its own, where a core dump would land; the limits allow one."""
    folder = tmp_path / name
    folder.mkdir()
    limits = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (limits[1], limits[1]))
    try:
        return folder, Process(["env", "-C", folder, MILLRACE, "serve", "--config", config, *options], tmp_path / f"{name}.log")
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, limits)


def login(server, authority, mechanism, user, password):
    conf = security.sasl_conf(server.ready["saslssl"], mechanism, user, password, authority.ca) | {"log_level": 0}
    if mechanism == "OAUTHBEARER":
        conf = {k: v for k, v in conf.items() if k not in ("sasl.username", "sasl.password")} | {"oauth_cb": lambda _: (password, 4e9)}
    try:
        return bool(confluent_kafka.Producer(conf).list_topics(timeout=2 if "wrong" in password or mechanism == "OAUTHBEARER" else 15))
    except confluent_kafka.KafkaException:
        return False


def use_all(server, authority, toy):
    """Everybody shows what they have, right and wrong. Returns the answers."""
    url, answers = f"https://{server.ready['infer']}", []

    def ask(path, method="GET", token="token", **more):
        headers = {"authorization": f"Bearer {PLANTED[token]}", "cookie": PLANTED["cookie"], "x-api-key": PLANTED["apikey"], "x-request-id": "planted"}
        answer = requests.request(method, url + path, headers=headers, verify=authority.ca, timeout=20, **more)
        answers.append(f"{answer.status_code} {answer.headers} {answer.text}")
        return answer

    done = subprocess.run([MILLRACE, "apply", "-f", "-"], input="---".join([resources.toys(toy), resources.CHAIN]), capture_output=True, text=True,
                          env={"MILLRACE_SERVER": url, "MILLRACE_CACERT": authority.ca, "MILLRACE_TOKEN": PLANTED["token"]}, timeout=60)
    assert done.returncode == 0, done.stderr
    wait_for(lambda: ask("/v2/pipelines/chain/ready").status_code == 200, 30, server.errors)
    assert ask("/v2/pipelines/chain/infer", "POST", json={"inputs": [resources.fp32([1, 2, 3, 4])]}).status_code == 200
    assert ask("/v2/pipelines/chain/infer", "POST", "wrongtoken", json={}).status_code == 401
    ask("/v2/none?token=" + PLANTED["query"])
    for path in ("info", "resources", "topics?all=true", "pipelines/chain", "trace/planted", "inspect/chain", "inspect/chain.mul10.inputs", "inspect/errors"):
        ask("/millrace/v1/" + path)
    ask("/metrics")
    return "\n".join(answers).encode(), done.stdout.encode()


def log_in(server, authority):
    security.add_user(server.ready["kafka"], "planter", PLANTED["sasl"])
    for mechanism, name, good in (("PLAIN", "sasl", True), ("SCRAM-SHA-512", "sasl", True), ("PLAIN", "wrongpassword", False), ("OAUTHBEARER", "bearer", False)):
        assert login(server, authority, mechanism, "planter", PLANTED[name]) == good, mechanism


def records_of(server):
    """Everything in every topic, headers too."""
    consumer = confluent_kafka.Consumer({"bootstrap.servers": server.ready["kafka"], "group.id": "search", "auto.offset.reset": "earliest", "enable.auto.commit": False,
                                         "enable.partition.eof": True})
    parts = [confluent_kafka.TopicPartition(t.topic, p, 0) for t in consumer.list_topics(timeout=10).topics.values() for p in t.partitions]
    consumer.assign(parts)
    got, ended = [], set()

    def more():
        for m in consumer.consume(500, 0.2):
            if m.error():
                ended.add((m.topic(), m.partition()))
            else:
                got.append(repr((m.key(), m.value(), m.headers())).encode())
        return len(ended) == len(parts)

    wait_for(more, 30, lambda: f"{len(ended)} of {len(parts)}")
    consumer.close()
    assert any(b"mul10" in g for g in got)
    return b"\n".join(got)


def core_of(folder, server):
    """What is left of it when it is aborted; empty: nothing."""
    server.killed = True
    os.kill(server.pid, signal.SIGABRT)
    assert server.child.wait(60) == -signal.SIGABRT
    return b"".join(p.read_bytes() for p in folder.iterdir())


def core_lands_beside():
    return "/" not in pathlib.Path("/proc/sys/kernel/core_pattern").read_text() and resource.getrlimit(resource.RLIMIT_CORE)[1] == resource.RLIM_INFINITY


def test_planted_secrets_are_found_nowhere(tmp_path, authority, toy):
    config, key = write_files(tmp_path, authority)
    secrets = {name: forms(text) for name, text in PLANTED.items()} | {"key": key_forms(key)}
    assert found_in(pathlib.Path(key).read_bytes() + (tmp_path / "tokens").read_bytes(), secrets) == ["token", "key"]  # the search finds
    folder, server = start(tmp_path, config, "first")
    log_in(server, authority)
    answers, printed = use_all(server, authority, toy)
    places = {"answers": answers, "command": printed, "records": records_of(server),
              "cmdline": pathlib.Path(f"/proc/{server.pid}/cmdline").read_bytes(), "environ": pathlib.Path(f"/proc/{server.pid}/environ").read_bytes()}
    for form in ("table", "json", "yaml"):
        done = subprocess.run([MILLRACE, "config", "--config", config, "--output", form], capture_output=True, timeout=20)
        assert done.returncode == 0 and b"***" in done.stdout
        places["config " + form] = done.stdout + done.stderr
    assert pathlib.Path(f"/proc/{server.pid}/coredump_filter").read_text().strip("0\n") == ""
    places["core"] = core_of(folder, server)
    assert not places["core"]
    places["log"] = server.log.read_bytes()
    assert b"sasl.authentication_failed" in places["log"] and b"level=debug" in places["log"]
    assert {where: found for where, data in places.items() if (found := found_in(data, secrets))} == {}
    files = [p for p in (tmp_path / "data").rglob("*") if p.is_file()]
    assert {str(p) for p in files if found_in(p.read_bytes(), secrets)} == set() and len(files) > 5
    assert {oct(p.stat().st_mode & 0o777) for p in files} == {"0o600"} and (tmp_path / "data").stat().st_mode & 0o777 == 0o700


def test_a_core_dump_with_memory_has_them_so_the_search_works(tmp_path, authority, toy):
    config, key = write_files(tmp_path, authority)
    folder, server = start(tmp_path, config, "second", "--security.coreDumps", "true")
    use_all(server, authority, toy)
    assert pathlib.Path(f"/proc/{server.pid}/coredump_filter").read_text().strip("0\n") != ""
    sanitized = "libasan" in pathlib.Path(f"/proc/{server.pid}/maps").read_text()  # its runtime allows no core dumps
    core = core_of(folder, server)
    assert sanitized or not core_lands_beside() or found_in(core, {"key": key_forms(key), "token": forms(PLANTED["token"])})


def test_what_others_can_read_is_said_and_rights_are_dropped(tmp_path, authority):
    config, key = write_files(tmp_path, authority)
    os.chmod(key, 0o644)
    (tmp_path / "tokens").chmod(0o640)
    (tmp_path / "data").mkdir(mode=0o755)
    _, server = start(tmp_path, config, "third")
    try:
        wait_for(lambda: server.log.read_text().count("event=harden.mode") == 3, 10, server.errors)  # the folder, and the key of two listeners
        log = server.log.read_text()
        assert "chmod 700" in log and "chmod 600" in log
        assert "event=auth.file_mode" in log
        status = dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{server.pid}/status").read_text().splitlines())
        assert status["NoNewPrivs"] == "1"
        for tasks in pathlib.Path(f"/proc/{server.pid}/task").iterdir():
            text = (tasks / "status").read_text()
            assert int(re.search(r"CapEff:\s*(\w+)", text)[1], 16) & ~0x40F == 0, "chown, dac_override, dac_read_search, fowner, net_bind_service"
    finally:
        assert server.stop() == 0
