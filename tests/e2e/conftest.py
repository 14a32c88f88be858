"""Fixtures of the end-to-end tests. `bus` runs a test on the embedded broker, and on a real Apache Kafka 3.8.1 when it is
assembled (./dev ci does that; --kafka=zk runs it in ZooKeeper mode too)."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import harness  # noqa: E402
import replicas  # noqa: E402
import security  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--kafka", default="", help="Apache Kafka modes beside embedded: kraft, zk (comma list)")


def kafka_modes(config):
    return [m for m in config.getoption("--kafka").split(",") if m]


def pytest_ignore_collect(collection_path, config):
    """What is only about a real Apache Kafka, or takes minutes beside it, is not collected without one."""
    with_kafka = ("test_045_bus.py", "test_047_replica_faults.py", "test_048_crash_rounds.py", "test_051_two_versions.py",
                  "test_074_remote_security_kafka.py")
    return True if collection_path.name in with_kafka and not kafka_modes(config) else None


def pytest_generate_tests(metafunc):
    if "bus_kind" in metafunc.fixturenames:
        ours = [] if getattr(metafunc.module, "REAL_KAFKA_ONLY", False) else ["embedded"]
        metafunc.parametrize("bus_kind", [*ours, *kafka_modes(metafunc.config)], scope="session")


@pytest.fixture(scope="session")
def kafka_cluster(bus_kind, tmp_path_factory):
    """None for embedded; else a running Apache Kafka shared by the session's tests."""
    if bus_kind == "embedded":
        yield None
        return
    kafka = harness.Kafka381(tmp_path_factory.mktemp("kafka") / bus_kind, bus_kind)
    yield kafka
    kafka.stop()


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    server = harness.Process([harness.TOY_SERVER], tmp_path_factory.mktemp("toy") / "toy.log")
    yield server.ready["infer"]
    assert server.stop() == 0, server.errors()


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return security.Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def pairs(authority):
    """Certificates of a server and of a data plane."""
    return {"server": authority.make("server"), "client": authority.make("client", "/CN=plane/OU=Tests")}


@pytest.fixture
def start(tmp_path):
    """start(*options): a millrace on a data folder of this test; ended with it. Its exit status must be 0, unless the test
    killed it: one that crashed in the middle is found here at the latest."""
    running = []

    def run(*options, data="data", **more):
        server = harness.Millrace(tmp_path / data, *options, **more)
        running.append(server)
        return server

    yield run
    replicas.Load.stop_all()
    for server in reversed(running):  # a broker goes after those that use it
        if not server.killed:
            assert server.stop() == 0, server.errors()


@pytest.fixture
def broker(start):
    return start("--broker-only")


@pytest.fixture
def plane(start, bus_kind, kafka_cluster, request):
    """A data plane on either bus, in a namespace of this test; plane.bootstrap is where its topics are."""
    namespace = "t" + str(abs(hash(request.node.nodeid)) % 10**9)
    if kafka_cluster is None:
        server = start("--namespace", namespace)
        server.bootstrap = server.kafka
    else:
        server = start("--no-broker", "--bootstrap", kafka_cluster.address, "--namespace", namespace)
        server.bootstrap = kafka_cluster.address
    server.namespace = namespace
    return server


@pytest.fixture
def fleet(start, bus_kind, kafka_cluster, request):
    """fleet(n, *options): so many data planes of one namespace, on one Kafka (replicas.py)."""
    address = kafka_cluster.address if kafka_cluster else \
        start("--broker-only", "--broker.config.group.initial.rebalance.delay.ms", "0", data="broker").kafka

    def make(n, *options, bootstrap=None):
        made = replicas.Fleet(start, bootstrap or address, "t" + str(abs(hash(request.node.nodeid)) % 10**9), *options)
        for _ in range(n):
            made.add()
        return made

    make.address = address
    return make
