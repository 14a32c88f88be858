"""The schema registry client beside parts of other people: franz-go's registry (srfake), confluent-kafka's serializer and deserializer."""

import base64
import os
import pathlib
import subprocess

import confluent_kafka
import pytest
import resources
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer, ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from harness import Process, go, wait_for
from test_040_pipelines import infer, read_topic

HERE = pathlib.Path(__file__).parent / "registry"
USER = "reg:s3cret"


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    program = tmp_path_factory.mktemp("registry") / "srfake"
    subprocess.run([go(), "build", "-o", program, "."], cwd=HERE, check=True, timeout=300, env={**os.environ, "GOTOOLCHAIN": "local"})
    server = Process([program, "Basic " + base64.b64encode(USER.encode()).decode()], program.with_suffix(".log"))
    yield "http://" + server.ready["registry"]
    server.kill()


@pytest.fixture
def connect(registry):
    """A client remembers a schema in the form in which it first asked for it: texts and descriptors want one each."""
    return lambda: SchemaRegistryClient({"url": registry, "basic.auth.user.info": USER})


@pytest.fixture
def client(connect):
    return connect()


@pytest.fixture
def plane(registry, start, toy, tmp_path):
    user, password = USER.split(":")
    (tmp_path / ".confluent-schema.yaml").write_text(
        f"schemaRegistry:\n  client:\n    URL: {registry}\n    username: {user}\n    password: {password}\n")
    plane = start(env={"SCHEMA_REGISTRY_CONFIG_PATH": str(tmp_path)})
    plane.bootstrap, plane.namespace = plane.kafka, "default"
    plane.apply(tmp_path, resources.toys(toy) + "---" + resources.CHAIN)
    return plane


def message_class(client, topic, tmp_path):
    """The first message of what is registered for the topic, compiled by protoc: what a stranger would do."""
    text = client.get_latest_version(f"{topic}-value").schema.schema_str
    (tmp_path / "schema.proto").write_text(text)
    subprocess.run(["protoc", f"-I{tmp_path}", f"--descriptor_set_out={tmp_path / 'out.pb'}", "schema.proto"], check=True, timeout=60)
    files = descriptor_pb2.FileDescriptorSet.FromString((tmp_path / "out.pb").read_bytes())
    pool = descriptor_pool.DescriptorPool()
    pool.Add(files.file[0])
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"inferenceSchema.{files.file[0].message_type[0].name}"))


def test_confluents_deserializer_reads_what_is_written(plane, client, connect, tmp_path):
    assert infer(plane, "chain", [resources.fp32([1, 2])], {"x-request-id": "r1"}).status_code == 200
    for topic, kind, name, data in [("pipeline.chain.inputs", "Request", "INPUT", [1, 2]), ("model.mul10.inputs", "Request", "INPUT", [1, 2]),
                                    ("model.mul10.outputs", "Response", "OUTPUT", [10, 20]), ("pipeline.chain.outputs", "Response", "OUTPUT", [20, 30])]:
        full = f"seldon.default.{topic}"
        made = message_class(client, full, tmp_path)
        assert made.DESCRIPTOR.name == "ModelInfer" + kind
        read = ProtobufDeserializer(made, {"use.deprecated.format": False}, connect())
        (record,) = read_topic(plane, topic)
        message = read(record.value(), SerializationContext(full, MessageField.VALUE))
        (tensor,) = message.inputs if kind == "Request" else message.outputs
        assert (tensor.name, list(tensor.contents.fp32_contents), list(tensor.shape)) == (name, data, [1, 2]), topic


def test_what_confluents_serializer_writes_is_run(plane, client, connect, tmp_path):
    topic, outputs = "seldon.default.pipeline.chain.inputs", "seldon.default.pipeline.chain.outputs"
    wait_for(lambda: f"{topic}-value" in client.get_subjects(), 30, plane.errors)
    made = message_class(client, topic, tmp_path)
    message = made()
    tensor = message.inputs.add(name="INPUT", datatype="FP32", shape=[1, 1])
    tensor.contents.fp32_contents.append(7)
    producer = confluent_kafka.Producer({"bootstrap.servers": plane.kafka})
    write = ProtobufSerializer(made, connect(), {"auto.register.schemas": False, "use.latest.version": True, "use.deprecated.format": False})
    producer.produce(topic, write(message, SerializationContext(topic, MessageField.VALUE)), "0.chain.theirs")
    assert producer.flush(30) == 0
    (record,) = read_topic(plane, "pipeline.chain.outputs")
    read = ProtobufDeserializer(message_class(client, outputs, tmp_path), {"use.deprecated.format": False}, connect())
    answer = read(record.value(), SerializationContext(outputs, MessageField.VALUE))
    assert list(answer.outputs[0].contents.fp32_contents) == [80]


def test_topics_of_one_kind_share_a_schema_and_a_restart_registers_nothing_new(plane, client, start, tmp_path):
    subjects = [s for s in client.get_subjects() if s.startswith("seldon.default.")]
    ids = {s: client.get_latest_version(s).schema_id for s in subjects}
    assert {s.split(".")[-1]: i for s, i in ids.items()} == {s.rsplit(".", 1)[1]: i for s, i in sorted(ids.items(), reverse=True)}
    assert plane.stop() == 0
    again = start(env={"SCHEMA_REGISTRY_CONFIG_PATH": str(tmp_path)})
    again.bootstrap, again.namespace = again.kafka, "default"
    assert infer(again, "chain", [resources.fp32([1])]).status_code == 200
    assert ids == {s: client.get_latest_version(s).schema_id for s in subjects}
    assert all(client.get_versions(s) == [1] for s in subjects)
