"""What docs/kafka/*.md tells people to write is read by the program, and does what the page says."""

import os
import re
import signal
import subprocess

import harness
import pytest
import secured
import security
from harness import wait_for
from security import listener, tls

PAGES = sorted((harness.ROOT / "docs/kafka").glob("*.md"))
BLOCKS = [(page.stem, kind, n, text) for page in PAGES for n, (kind, text) in enumerate(re.findall(r"```(yaml|env)\n(.*?)```", page.read_text(), re.S))]
CLEAN = {k: v for k, v in os.environ.items() if not k.startswith(("KAFKA_", "SELDON_", "POD_"))}


def config_of(path=None, env=None, *more):
    given = ["--config", path] if path else []
    done = subprocess.run([harness.MILLRACE, "config", *map(str, [*given, *more])], capture_output=True, text=True, timeout=20, env={**CLEAN, **(env or {})})
    assert done.returncode == 0, done.stderr
    return dict(line.split(None, 1) for line in done.stdout.splitlines())


def test_every_kind_of_kafka_has_a_page():
    assert [page.stem for page in PAGES] == ["confluent-cloud", "event-hubs", "msk", "self-hosted", "strimzi"]
    assert len(BLOCKS) >= 12


@pytest.mark.parametrize("page,kind,n,text", BLOCKS, ids=[f"{p}-{n}" for p, _, n, _ in BLOCKS])
def test_what_a_page_says_is_a_configuration(tmp_path, page, kind, n, text):
    if kind == "yaml":
        (tmp_path / "c.yaml").write_text(text)
        shown = config_of(tmp_path / "c.yaml")
    else:
        shown = config_of(None, dict(line.split("=", 1) for line in text.split()), "--bootstrap", "k:9092")
    assert not shown["security.kafka.protocol"].startswith("PLAINTEXT")
    assert shown["roles"].startswith("gateway")


def test_event_hubs_are_known_by_their_name_and_the_log_says_what_follows(tmp_path):
    text = next(text for page, kind, _, text in BLOCKS if page == "event-hubs")
    (tmp_path / "pw").write_text("Endpoint=sb://models.servicebus.windows.net/;SharedAccessKey=not-for-the-log")
    (tmp_path / "c.yaml").write_text(text.replace("/run/millrace/connection-string", str(tmp_path / "pw")))
    shown = config_of(tmp_path / "c.yaml")
    assert shown["security.kafka.sasl.mechanism"].startswith("PLAIN ") and shown["security.kafka.sasl.client.username"].startswith("$ConnectionString ")
    with open(tmp_path / "log", "wb") as log:
        child = subprocess.Popen([harness.MILLRACE, "serve", "--config", tmp_path / "c.yaml", "--infer-listen", "127.0.0.1:0", "--data", tmp_path / "d"],
                                 stdout=subprocess.DEVNULL, stderr=log)
    try:
        said = wait_for(lambda: (tmp_path / "log").read_text() if "kafka.access" in (tmp_path / "log").read_text() else None, 20, "it says nothing")
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(20)
    for name in ("connections.max.idle.ms=180000", "metadata.max.age.ms=180000", "socket.timeout.ms=60000", "message.max.bytes=1030144"):
        assert f'for="Azure Event Hubs" {name}' in said, said
    assert "not-for-the-log" not in (tmp_path / "log").read_text()


def test_the_secrets_of_strimzi_are_used_as_they_are_and_its_two_acls_are_enough(start, tmp_path, toy):
    """Folders as the kubelet mounts them, and the rights that the page of one's own cluster gives."""
    clients, brokers = security.Authority(tmp_path / "clients", "clients-ca"), security.Authority(tmp_path / "brokers", "cluster-ca")
    crt, key = clients.make("user", "/CN=millrace")
    user, cluster = tmp_path / "millrace", tmp_path / "cluster-ca"
    for folder, files in ((user, {"user.crt": crt, "user.key": key, "ca.crt": clients.ca}), (cluster, {"ca.crt": brokers.ca})):
        (folder / "..2026").mkdir(parents=True)
        (folder / "..data").symlink_to("..2026")
        for name, source in files.items():
            (folder / "..2026" / name).write_text(open(source).read())
            (folder / name).symlink_to(f"..data/{name}")
    config = security.write_config(tmp_path / "broker.yaml", [
        listener("kafka"), listener("mutual", "SSL", clientAuth="required", principalMappingRules="RULE:^CN=(.*)$/$1/,DEFAULT", **tls(brokers.make("broker"), clients.ca))],
        authorizer="acl", superUsers=["User:ANONYMOUS"])
    broker = start("--broker-only", "--config", config, data="broker")
    rights = re.findall(r"kafka-acls.sh --add (--allow-principal .*)", (harness.ROOT / "docs/kafka/self-hosted.md").read_text())
    assert len(rights) == 2
    secured.allow(broker.kafka, rights)
    text = next(text for page, kind, n, text in BLOCKS if page == "strimzi" and kind == "yaml")
    text = text.replace("my-cluster-kafka-bootstrap.kafka:9093", broker.ready["mutual"]).replace("secret: millrace", f"secret: {user}/")
    (tmp_path / "c.yaml").write_text(text.replace("brokerValidationSecret: my-cluster-cluster-ca-cert", f"brokerValidationSecret: {cluster}/"))
    plane = start("--no-broker", "--config", tmp_path / "c.yaml")
    secured.infers(plane, tmp_path, toy)
    wait_for(lambda: "event=kafka.capabilities" in plane.log.read_text(), 20, "no table")
    assert "settings=" in plane.log.read_text()  # not told: it may not ask, and the log says so
