# SPDX-License-Identifier: Apache-2.0
"""Debian's kcat, as the old client (librdkafka 2.0)."""

import json
import signal
import subprocess
import time

from scenarios import fresh, main, restart_broker, scenario, wait_for


def kcat(address, *options, stdin=None, check=True):
    done = subprocess.run(["kcat", "-b", address, *options], input=stdin, capture_output=True, timeout=60, check=False)
    assert not check or done.returncode == 0, done.stderr.decode(errors="replace")[-300:]
    return done.stdout if check else done


def read(address, topic, *options):
    lines = kcat(address, "-C", "-t", topic, "-e", "-q", "-J", *options).splitlines()
    return [json.loads(line) for line in lines]


@scenario
def codecs_keys_headers(address):
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        topic = fresh(codec)
        lines = "".join(f"k{n}:v{n} {'x' * 50}\n" for n in range(300))
        kcat(address, "-P", "-t", topic, "-z", codec, "-K", ":", "-H", "h=1", "-H", "h=2", stdin=lines.encode())
        got = read(address, topic)
        assert [(m["key"], m["payload"]) for m in got] == [(f"k{n}", f"v{n} {'x' * 50}") for n in range(300)], f"{codec}: {len(got)} records"
        assert all(m["headers"] == ["h", "1", "h", "2"] for m in got)


@scenario
def idempotent(address):
    topic = fresh("idempotent")
    kcat(address, "-P", "-t", topic, "-X", "enable.idempotence=true", stdin=b"".join(b"%d\n" % n for n in range(2000)))
    assert [int(m["payload"]) for m in read(address, topic)] == list(range(2000))


@scenario
def empty_values_and_tombstones(address):
    topic = fresh("nulls")
    kcat(address, "-P", "-t", topic, "-K", ":", "-Z", stdin=b"k:\n")
    assert [(m["key"], m["payload"]) for m in read(address, topic)] == [("k", None)]


@scenario
def transactions(address):
    topic = fresh("tx")
    kcat(address, "-P", "-t", topic, "-X", f"transactional.id={fresh('id')}", stdin=b"one\ntwo\n")
    assert [m["payload"] for m in read(address, topic, "-X", "isolation.level=read_committed")] == ["one", "two"]


@scenario
def group_rebalance(address):
    topic, group = fresh("group"), fresh("group")
    kcat(address, "-P", "-t", topic, stdin=b"a\nb\n")
    command = ["kcat", "-b", address, "-G", group, "-X", "auto.offset.reset=earliest", "-X", "heartbeat.interval.ms=300", "-u", topic]
    one = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    lines = [one.stdout.readline() for _ in range(2)]
    assert lines == ["a\n", "b\n"], lines
    one.send_signal(signal.SIGINT)
    words = one.communicate(timeout=30)[1]
    assert "assigned: " in words, words
    kcat(address, "-P", "-t", topic, stdin=b"c\n")
    two = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    line = two.stdout.readline()
    two.send_signal(signal.SIGINT)
    two.communicate(timeout=30)
    assert line == "c\n", f"the commits of the first were lost: {line}"


@scenario
def timestamps(address):
    topic = fresh("times")
    kcat(address, "-P", "-t", topic, stdin=b"early\n")
    middle = read(address, topic)[0]["ts"] + 1
    wait_for(lambda: time.time() * 1000 >= middle, "a later millisecond")
    kcat(address, "-P", "-t", topic, stdin=b"late\n")
    assert [m["payload"] for m in read(address, topic, "-o", f"s@{middle}")] == ["late"]
    assert f"{topic} [0] offset 1" in kcat(address, "-Q", "-t", f"{topic}:0:{middle}").decode()
    assert [m["payload"] for m in read(address, topic, "-o", "-1")] == ["late"]


@scenario
def metadata(address):
    topic = fresh("listed")
    kcat(address, "-P", "-t", topic, stdin=b"x\n")
    listed = json.loads(kcat(address, "-L", "-J"))
    assert [t["partitions"][0]["leader"] for t in listed["topics"] if t["topic"] == topic] == [listed["brokers"][0]["id"]]


@scenario
def unknown_topic(address):
    done = kcat(address, "-C", "-t", fresh("nowhere"), "-e", check=False)
    assert done.returncode != 0 and b"nknown topic" in done.stderr, done.stderr[-200:]


@scenario
def restart(address):
    topic = fresh("restart")
    kcat(address, "-P", "-t", topic, stdin=b"before\n")
    restart_broker()
    kcat(address, "-P", "-t", topic, stdin=b"after\n")
    assert [m["payload"] for m in read(address, topic)] == ["before", "after"]


main()
