"""The command line against a running process: resources, inference, and looking into the log."""

import json
import os
import pathlib
import subprocess

import confluent_kafka.admin
import harness
import pytest
import resources

SAMPLES = harness.ROOT / "samples/tumour"
REQUEST = json.dumps({"inputs": [resources.fp32([1, 2, 3, 4])]})


def run(*args, env=None, stdin=None):
    return subprocess.run([harness.MILLRACE, *map(str, args)], capture_output=True, text=True, timeout=30, input=stdin,
                          env={**os.environ, **(env or {})})


@pytest.fixture
def loaded(start, toy, tmp_path):
    server = start()
    server.apply(tmp_path, "---".join([resources.toys(toy), resources.CHAIN]))
    return server


def test_help_is_made_for_every_command():
    done = run("help")
    assert done.returncode == 0
    for command in ("serve", "config", "apply", "get", "describe", "delete", "infer", "trace", "replay", "inspect", "topic", "version"):
        assert f"  {command}" in done.stdout
        one = run(command, "--help")
        assert one.returncode == 0 and one.stdout.startswith(f"usage: millrace {command}"), one.stderr
    serve = run("serve", "--help").stdout
    assert "--gateway.timeoutMs" in serve and "help keys" in serve and len(serve.splitlines()) < 40
    assert "--gateway.timeoutMs MS  [120000]" in run("help", "keys").stdout


def test_the_man_page_is_made_from_the_table_and_installed(tmp_path):
    page = run("help", "--man").stdout
    assert page.isascii()
    for command in ("serve", "apply", "trace"):
        assert f"\n.B {command}\n" in page
    for device in ("ascii", "ps"):
        done = subprocess.run(["groff", "-man", "-ww", "-T" + device], input=page, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0 and done.stderr == "", done.stderr
    build = pathlib.Path(harness.MILLRACE).resolve().parent
    done = subprocess.run(["meson", "install", "-C", build, "--no-rebuild", "--destdir", tmp_path], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    installed = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert {p.name for p in installed} >= {"millrace", "millrace.1"}, installed
    assert next(p for p in installed if p.name == "millrace.1").read_text() == page


def test_a_listener_on_every_address_tells_clients_the_hosts_name(start):
    import socket

    from confluent_kafka.admin import AdminClient

    def told(server):
        port = server.kafka.rsplit(":", 1)[1]
        broker = AdminClient({"bootstrap.servers": f"127.0.0.1:{port}"}).list_topics(timeout=10).brokers[1]
        return broker.host, str(broker.port) == port

    for wildcard in ("0.0.0.0:0", "*:0", "[::]:0"):
        server = start(kafka_listen=wildcard, data=f"data{len(wildcard)}{wildcard[1:2].encode().hex()}")
        assert told(server) == (socket.gethostname(), True)
        assert "asks nobody who they are" in server.errors()
    assert told(start("--kafka-advertise", "kafka.example:0", kafka_listen="0.0.0.0:0", data="named")) == ("kafka.example", True)
    loopback = start(data="local")
    assert told(loopback) == ("127.0.0.1", True) and "asks nobody" not in loopback.errors()
    refused = run("serve", "--kafka-advertise", "0.0.0.0:9092")
    assert refused.returncode == 2 and "clients cannot connect" in refused.stderr


def test_a_taken_port_says_what_to_change(start, tmp_path):
    server = start()
    for flag, taken, key in (("--kafka-listen", server.kafka, "broker.listeners"), ("--infer-listen", server.infer, "gateway.listeners")):
        other = "--infer-listen" if flag == "--kafka-listen" else "--kafka-listen"
        done = run("serve", "--data", tmp_path / "other", flag, taken, other, "127.0.0.1:0")
        assert done.returncode == 1 and taken in done.stderr and flag in done.stderr and key in done.stderr, done


def test_the_log_says_what_happens(start, toy, tmp_path):
    loaded = start()
    loaded.apply(tmp_path, "---".join([resources.server(toy), resources.model("mul10"), resources.model("add10"), resources.CHAIN]))
    log = loaded.errors()
    started = next(line for line in log.splitlines() if "serve.started" in line)
    assert f"data={loaded.data}" in started and f"kafka={loaded.kafka} infer={loaded.infer}" in started and "version=" in started
    assert "event=control.applied resource=Pipeline/chain version=1" in log
    loaded.cli("infer", "pipeline", "chain", REQUEST)
    assert "event=flow.ready kind=pipeline name=chain" in loaded.errors()
    loaded.cli("delete", "pipeline", "chain")
    assert "event=control.deleted resource=Pipeline/chain" in loaded.errors()
    assert "\x1b" not in loaded.errors()


def test_dev_names_the_unknown_command_and_keeps_colours_from_files():
    done = subprocess.run([harness.ROOT / "dev", "bogus"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 2 and 'unknown command "bogus"' in done.stderr and "usage: ./dev" in done.stderr
    said = subprocess.run(["bash", "-c", ". tools/dev/lib.sh; say hello"], cwd=harness.ROOT, capture_output=True, text=True, timeout=30)
    assert said.stderr == "hello\n"


def test_the_demonstration_can_be_repeated(start):
    server = start()
    ids = set()
    for _ in range(2):
        done = subprocess.run([harness.ROOT / "samples/demo.sh", harness.MILLRACE, server.infer, server.kafka, str(server.pid)],
                              capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert "\x1b" not in done.stdout + done.stderr and f"kill -9 {server.pid}" in done.stdout
        trace = done.stdout[done.stdout.index("One request's way"):done.stdout.index("What to try next")]
        assert trace.count("pipeline.tumour.inputs") == 1 and trace.count("pipeline.tumour.outputs") == 1
        ids.add(trace.splitlines()[1])
    assert len(ids) == 2


def test_wrong_usage_ends_with_2_and_a_sentence():
    for args, words in ((["frobnicate"], "no command"), (["get", "a", "b", "c"], "one argument too many"), (["trace"], "usage:"),
                        (["get", "--nope"], "unknown option"), (["get", "--output", "xml"], "table, json or yaml"),
                        (["inspect", "p", "--limit", "many"], "whole number"), (["infer", "thing", "x", "{}"], "pipeline or model"),
                        (["apply"], "which files"), (["topic", "describe"], "list, or read"), (["infer", "model", "x"], "once")):
        done = run(*args)
        assert done.returncode == 2 and words in done.stderr, (args, done)
        assert done.stdout == ""
    assert run().returncode == 2


def test_nobody_there_is_said():
    for args in (["get"], ["apply", "-f", SAMPLES], ["infer", "model", "x", "{}"], ["infer", "model", "x", '{"inputs":[]}', "--grpc"]):
        done = run(*args, "--server", "127.0.0.1:9")
        assert done.returncode == 1 and "127.0.0.1:9" in done.stderr and "MILLRACE_SERVER" in done.stderr, done


def test_resources_come_and_go(loaded, tmp_path):
    listed = loaded.cli("get").stdout.splitlines()
    assert listed[0].split() == ["KIND", "NAME", "VERSION", "READY", "STATUS"]
    assert ["Pipeline", "chain", "1", "yes"] in [line.split() for line in listed]
    assert [r["name"] for r in json.loads(loaded.cli("get", "server", "--output", "json").stdout)["resources"]] == ["toy"]
    assert "name: chain" in loaded.cli("get", "pipelines", "-o", "yaml").stdout
    described = json.loads(loaded.cli("describe", "pipeline", "chain", "--output=json").stdout)
    assert described["steps"][1]["inputs"] == ["mul10.outputs"] and described["resource"]["spec"]["steps"][1]["inputs"] == ["mul10"]
    assert "add10.outputs" in loaded.cli("describe", "pipeline", "chain").stdout
    assert "unchanged" in loaded.apply(tmp_path, resources.CHAIN).stdout
    changed = resources.CHAIN.replace("output:", "allowCycles: true\n  output:")
    assert "Pipeline chain updated, version 2 (checked only)" in loaded.cli("apply", "--check", "-f", "-", stdin=changed).stdout
    assert "Pipeline chain updated, version 2\n" in loaded.cli("apply", "-f", "-", stdin=changed).stdout
    refused = loaded.cli("delete", "model", "add10", check=False)
    assert refused.returncode == 1 and "step of chain" in refused.stderr and "--force" in refused.stderr
    refused = loaded.cli("delete", "server", "toy", check=False)
    assert refused.returncode == 1 and "serves add10" in refused.stderr
    deleted = loaded.cli("delete", "model", "add10", "--force")
    assert "Model add10 deleted" in deleted.stdout and "it is a step of chain" in deleted.stderr
    assert loaded.cli("delete", "model", "add10", check=False).returncode == 1
    loaded.cli("delete", "-f", "-", stdin=changed)
    gone = loaded.cli("get", "pipeline", "chain", check=False)
    assert gone.returncode == 1 and "chain does not exist" in gone.stderr


def test_unknown_words_are_answered_with_the_nearest_known_one():
    for args, words in ((["describe", "pipline", "x"], "did you mean pipeline?"), (["get", "modles"], "did you mean models?"),
                        (["delete", "thing", "x"], "the kinds are server, model, pipeline and experiment"), (["aply"], "did you mean apply?"),
                        (["help", "inferr"], "did you mean infer?"), (["get", "--ouput", "json"], "did you mean --output?"),
                        (["serve", "--gateway.timeoutMss", "1"], "did you mean --gateway.timeoutMs?")):
        done = run(*args)
        assert done.returncode == 2 and words in done.stderr and done.stdout == "", (args, done)


def test_the_server_is_named_in_short_forms():
    for said, called in (("127.0.0.1", "127.0.0.1:9000"), (":9", "127.0.0.1:9"), ("http://127.0.0.1:9/", "127.0.0.1:9"), ("[::1]", "[::1]:9000")):
        done = run("topic", "read", "nosuch-topic-anywhere", env={"MILLRACE_SERVER": said})
        assert done.returncode == 1 and (called in done.stderr or "nosuch" in done.stderr), (said, done)
    for said in ("a:b:c", "https://h:1/x", "ftp://h:1", "h:1/x", "h:0", "h:99999"):
        done = run("get", "--server", said)
        assert done.returncode == 2 and "--server" in done.stderr and "HOST:PORT" in done.stderr, (said, done)


def test_a_server_and_its_models_say_whether_they_can_be_reached(start, toy, tmp_path):
    server = start()
    server.apply(tmp_path, "---".join([resources.server(toy), resources.model("mul10"), resources.model("nobody")]))
    rows = {line.split()[1]: line.split(maxsplit=4) for line in server.cli("get").stdout.splitlines()[1:]}
    assert rows["toy"][3:] == ["yes", toy] and rows["mul10"][3] == "yes"
    assert rows["nobody"][3] == "no" and rows["nobody"][4].endswith("the model is not ready") and "step" not in rows["nobody"][4]
    server.apply(tmp_path, resources.server("127.0.0.1:9"))
    rows = {line.split()[1]: line.split(maxsplit=4) for line in server.cli("get").stdout.splitlines()[1:]}
    assert rows["toy"][3] == "no" and "refused" in rows["toy"][4] and "step" not in rows["mul10"][4]


def test_numbers_are_printed_in_their_shortest_form(loaded):
    request = json.dumps({"inputs": [resources.fp32([0.1, 0.25, 3e-5, 16777216])]})
    for output in ("json", "yaml"):
        text = loaded.cli("infer", "model", "echo", request, "-o", output).stdout
        assert "0.1," in text and "0.10000000" not in text, text
        for shown in (loaded.cli("topic", "read", "seldon.default.model.echo.inputs", "-o", output).stdout,
                      loaded.cli("inspect", "echo", "-o", output).stdout):
            assert "[0.1, 0.25, 0.00003, 16777216" in shown, shown
    assert json.loads(loaded.cli("inspect", "echo", "-o", "json").stdout)["topics"][0]["records"][0]["value"]["inputs"][0]["data"][0] == 0.1


def test_a_request_says_its_id_and_a_pipeline_without_output_answers_in_json(loaded, tmp_path):
    for protocol in ([], ["--grpc"]):
        done = loaded.cli("infer", "pipeline", "chain", REQUEST, *protocol)
        name = done.stderr.split()[1].rstrip(";")
        assert len(loaded.cli("trace", name).stdout.splitlines()) == 7
    failed = loaded.cli("infer", "model", "error", REQUEST, "--header", "x-request-id: bad-1", check=False)
    assert "millrace trace bad-1" in failed.stderr
    loaded.apply(tmp_path, resources.QUIET)
    assert "no output" in loaded.cli("infer", "pipeline", "quiet", REQUEST).stdout
    assert isinstance(json.loads(loaded.cli("infer", "pipeline", "quiet", REQUEST, "-o", "json").stdout), dict)


def test_nothing_to_apply_names_the_file(start, tmp_path):
    server = start()
    path = tmp_path / "empty.yaml"
    path.write_text("# nothing\n")
    done = server.cli("apply", "-f", path, check=False)
    assert done.returncode == 1 and done.stderr.startswith(f"{path}: "), done.stderr


def test_deleting_a_folder_takes_what_depends_on_others_first(start, toy, tmp_path):
    server = start()
    folder = tmp_path / "many"
    folder.mkdir()
    (folder / "a.yaml").write_text(resources.CHAIN)
    (folder / "b.yaml").write_text("---".join([resources.model("mul10"), resources.model("add10"), resources.server(toy)]))
    server.cli("apply", "-f", folder)
    deleted = server.cli("delete", "-f", folder)
    assert deleted.stderr == "" and [line.split()[0] for line in deleted.stdout.splitlines()] == ["Pipeline", "Model", "Model", "Server"]


def test_problems_of_several_files_name_the_file(start, tmp_path):
    server = start()
    folder = tmp_path / "many"
    folder.mkdir()
    (folder / "a.yaml").write_text(resources.model("good").strip())
    (folder / "b.yaml").write_text("kind: Model\nmetadata: {name: BAD}\nspec: {}\n")
    (folder / "c.yml").write_text("kind: Pipeline\nmetadata: {name: p}\nspec:\n  steps:\n  - name: x\n    inputs: [gone]\n")
    (folder / "ignored.txt").write_text("nothing")
    done = server.cli("apply", "-f", folder, check=False)
    assert done.returncode == 1
    assert f"{folder}/b.yaml:2:18: metadata.name" in done.stderr and f"{folder}/c.yml:6:14: step x" in done.stderr, done.stderr
    assert server.cli("get").stdout.splitlines()[1:] == []


def test_what_was_applied_is_there_after_kill_9(start, toy, tmp_path):
    first = start(data="kept")
    first.apply(tmp_path, "---".join([resources.toys(toy), resources.CHAIN]))
    before = json.loads(first.cli("get", "--output", "json").stdout)
    first.kill()
    second = start(data="kept")
    after = json.loads(second.cli("get", "--output", "json").stdout)
    assert after == before


def test_resources_can_be_kept_in_a_file(start, toy, tmp_path):
    first = start("--control.store", "file", data="kept")
    first.apply(tmp_path, "---".join([resources.toys(toy), resources.CHAIN]))
    first.kill()
    assert (tmp_path / "kept/control/resources.json").exists()
    second = start("--control.store=file", data="kept")
    assert "chain" in second.cli("get", "pipelines").stdout
    assert second.cli("infer", "pipeline", "chain", REQUEST).returncode == 0


@pytest.mark.parametrize("protocol", [[], ["--grpc"]])
def test_infer_prints_tensors(loaded, protocol):
    table = loaded.cli("infer", "pipeline", "chain", REQUEST, *protocol).stdout.splitlines()
    assert table[0].split() == ["TENSOR", "DATATYPE", "SHAPE", "DATA"] and table[1].split()[:2] == ["OUTPUT", "FP32"]
    answer = json.loads(loaded.cli("infer", "model", "mul10", "-f", "-", "-o", "json", *protocol, stdin=REQUEST).stdout)
    assert answer["outputs"][0]["data"] == [10, 20, 30, 40]
    unknown = loaded.cli("infer", "pipeline", "nobody", REQUEST, *protocol, check=False)
    assert unknown.returncode == 1 and "nobody" in unknown.stderr
    broken = loaded.cli("infer", "pipeline", "chain", '{"inputs": [', *protocol, check=False)
    assert broken.returncode == 1 and "JSON" in broken.stderr
    failing = loaded.cli("infer", "model", "error", REQUEST, *protocol, check=False)
    assert failing.returncode == 1 and "error :" in failing.stderr


def test_one_requests_way_is_shown_in_order(loaded):
    loaded.cli("infer", "pipeline", "chain", REQUEST, "--header", "x-request-id: way-1")
    loaded.cli("infer", "pipeline", "chain", REQUEST, "--header", "x-request-id: way-2")
    lines = loaded.cli("trace", "way-1").stdout.splitlines()[1:]
    topics = [next(w for w in line.split() if w.startswith("seldon.")) for line in lines]
    assert topics == [f"seldon.default.{t}" for t in ("pipeline.chain.inputs", "model.mul10.inputs", "model.mul10.outputs",
                                                      "model.add10.inputs", "model.add10.outputs", "pipeline.chain.outputs")]
    trace = json.loads(loaded.cli("trace", "way-1", "-o", "json").stdout)
    assert trace["complete"] and trace["records"][2]["value"]["outputs"][0]["data"] == [10, 20, 30, 40]
    nobody = loaded.cli("trace", "nobody", check=False)
    assert nobody.returncode == 1 and "nobody" in nobody.stderr
    shown = loaded.cli("inspect", "chain.mul10.outputs.OUTPUT", "-n", "1").stdout
    assert "way-2" in shown and "way-1" not in shown and "10 20 30 40" in shown
    assert loaded.cli("inspect", "chain.nostep", check=False).returncode == 1


def test_a_record_that_could_not_be_written_is_named(loaded):
    admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": loaded.kafka})
    small = confluent_kafka.admin.ConfigResource("topic", "seldon.default.model.mul10.outputs", set_config={"max.message.bytes": "100"})
    for done in admin.alter_configs([small]).values():
        done.result(20)
    loaded.cli("infer", "pipeline", "chain", REQUEST, "--header", "x-request-id: lost-1")
    lines = loaded.cli("trace", "lost-1").stdout.splitlines()[1:]
    named = [line for line in lines if "seldon.default.errors.errors" in line]
    assert len(lines) == 6 and len(named) == 1 and " lost " in named[0] and "seldon.default.model.mul10.outputs" in named[0], lines


def test_topics_are_listed_and_read(loaded):
    loaded.cli("infer", "pipeline", "chain", REQUEST)
    listed = [line.split() for line in loaded.cli("topic", "list").stdout.splitlines()]
    assert ["seldon.default.pipeline.chain.inputs", "0", "0", "1"] in listed
    assert any(row[0] == "seldon.default.control.resources" for row in listed)
    assert "1 2 3 4" in loaded.cli("topic", "read", "seldon.default.pipeline.chain.inputs", "--offset", "start").stdout
    record = json.loads(loaded.cli("topic", "read", "seldon.default.pipeline.chain.inputs", "-o", "json").stdout)["records"][0]
    assert record["kind"] == "request" and {"key": "pipeline", "value": "chain"} in record["headers"]
    assert loaded.cli("topic", "read", "nosuch", check=False).returncode == 1


def test_the_sample_finds_its_models_from_any_folder(start, tmp_path):
    server = start()
    done = subprocess.run([harness.MILLRACE, "apply", "-f", SAMPLES, "--server", server.infer], capture_output=True, text=True,
                          cwd=tmp_path, timeout=30)
    assert done.returncode == 0 and done.stderr == "", done
    assert [line.split()[3] for line in server.cli("get", "models").stdout.splitlines()[1:]] == ["yes"] * 3


def test_the_routing_sample_goes_the_way_the_model_says(start, tmp_path):
    checks = harness.Process(["python3", harness.ROOT / "samples/routing/server.py", "0"], tmp_path / "checks.log")
    try:
        server = start()
        server.apply(tmp_path, (harness.ROOT / "samples/routing/pipeline.yaml").read_text().replace("127.0.0.1:8085", checks.ready["rest"]))
        assert {line.split()[3] for line in server.cli("get").stdout.splitlines()[1:]} == {"yes"}
        for amount, step, other, risk in ((250, "quick-check", "full-check", "0.025"), (25000, "full-check", "quick-check", "0.75")):
            request = json.dumps({"inputs": [{"name": "AMOUNT", "datatype": "FP32", "shape": [1], "data": [amount]}]})
            done = server.cli("infer", "pipeline", "payment", request, "--header", f"x-request-id: payment-{amount}")
            assert done.stdout.splitlines()[1].split() == ["RISK", "FP32", "[1]", risk]
            trace = server.cli("trace", f"payment-{amount}").stdout
            assert f"model.{step}.outputs" in trace and other not in trace and len(trace.splitlines()) == 7
        nothing = server.cli("infer", "pipeline", "payment", '{"inputs": []}', check=False)
        assert nothing.returncode == 1 and "nothing selected" in nothing.stderr
    finally:
        checks.kill()


def test_config_prints_what_config_reads_again(tmp_path):
    first = run("config", "--output", "yaml", "--kafka.topics.config.retention.ms", "5", "--broker.config.log.roll.ms=7000")
    assert first.returncode == 0, first.stderr
    path = tmp_path / "again.yaml"
    path.write_text(first.stdout)
    second = run("config", "--config", path, "-o", "json")
    assert second.returncode == 0, second.stderr
    values = json.loads(second.stdout)
    assert values["kafka.topics.config"]["value"] == {"retention.ms": "5"}
    assert values["broker.config"]["value"] == {"log.roll.ms": "7000"}
