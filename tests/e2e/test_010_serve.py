"""Starting, the ready line, ending, and refusing to start."""

import os
import socket
import subprocess

import harness
import requests


def run(*args, **more):
    return subprocess.run([harness.MILLRACE, *map(str, args)], capture_output=True, text=True, timeout=30, **more)


def test_the_ready_line_names_every_open_listener_and_none_that_is_closed(start):
    both = start(data="both")
    assert set(both.ready) == {"kafka", "infer", "pid"}
    assert int(both.ready["pid"]) == both.pid
    broker = start("--broker-only", data="broker")
    assert set(broker.ready) == {"kafka", "pid"}


def test_sigterm_ends_it_cleanly_and_the_data_folder_can_be_used_again(start):
    first = start()
    assert first.stop() == 0
    second = start()
    assert requests.get(f"http://{second.infer}/v2/health/live", timeout=5).status_code == 200
    assert second.stop() == 0


def test_a_second_process_on_the_same_data_folder_is_refused(start, tmp_path):
    server = start()
    second = run("serve", "--data", server.data, "--kafka-listen", "127.0.0.1:0", "--infer-listen", "127.0.0.1:0")
    assert second.returncode == 3, second.stderr
    assert str(server.data) in second.stderr and "in use" in second.stderr
    assert second.stdout == ""


def test_a_port_already_bound_is_named(start, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for flag, other in (("--kafka-listen", "--infer-listen"), ("--infer-listen", "--kafka-listen")):
            done = run("serve", "--data", tmp_path / "d", flag, f"127.0.0.1:{port}", other, "127.0.0.1:0")
            assert done.returncode == 1, done.stderr
            assert f"127.0.0.1:{port}" in done.stderr and "ready" not in done.stdout


def test_an_unreadable_config_is_refused_with_its_place(tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text("gateway:\n  timeoutMs: soon\nkafka:\n  bootstrp: x\n")
    done = run("serve", "--config", config, "--data", tmp_path / "d")
    assert done.returncode == 2
    assert "c.yaml:2" in done.stderr and "c.yaml:4" in done.stderr, done.stderr
    missing = run("serve", "--config", tmp_path / "nowhere.yaml", "--data", tmp_path / "d")
    assert missing.returncode == 2 and "nowhere.yaml" in missing.stderr
    unknown = run("serve", "--no-such-flag")
    assert unknown.returncode == 2 and "no-such-flag" in unknown.stderr


def test_config_prints_values_with_their_origin(tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text("kafka:\n  topicPrefix: fromfile\n")
    done = run("config", "--config", config, "--gateway.timeoutMs", "5000",
               env={**os.environ, "KAFKA_DEFAULT_NUM_PARTITIONS": "3"})
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line for line in done.stdout.splitlines() if line.strip()}
    assert "5000" in rows["gateway.timeoutMs"] and "flag" in rows["gateway.timeoutMs"]
    assert "fromfile" in rows["kafka.topicPrefix"] and "c.yaml" in rows["kafka.topicPrefix"]
    assert "3" in rows["kafka.topics.numPartitions"] and "KAFKA_DEFAULT_NUM_PARTITIONS" in rows["kafka.topics.numPartitions"]


def test_an_unwritable_data_folder_is_refused_with_a_reason(tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("not a folder")
    done = run("serve", "--data", blocker / "d", "--kafka-listen", "127.0.0.1:0", "--infer-listen", "127.0.0.1:0")
    assert done.returncode == 1 and str(blocker) in done.stderr, done.stderr
