"""The data plane on a real Apache Kafka 3.8.1 that wants to know who it is, and what happens when credentials change under load."""

import pytest
import secured
from harness import wait_for
from secured import PASSWORD, USER, Turning, answers_on, login, plane_config, put, says, tls_files
from security import add_user

REAL_KAFKA_ONLY = True  # for our own broker test_073_remote_security.py does it


@pytest.fixture(scope="module")
def kafka(bus_kind, tmp_path_factory, authority, pairs):
    made = secured.Apache(tmp_path_factory.mktemp("kafka"), authority, pairs)
    try:
        add_user(made.at["open"], USER, PASSWORD)
        yield made
    finally:
        made.stop()


@pytest.mark.parametrize("setting", ["mutual", "saslssl-PLAIN", "saslssl", "sasl-SCRAM-SHA-256"])
def test_a_pipeline_answers_on_a_secured_kafka(start, tmp_path, toy, kafka, authority, pairs, setting):
    answers_on(start, tmp_path, toy, kafka, authority, pairs, setting)


def test_a_changed_password_is_used_without_losing_a_request(start, tmp_path, toy, kafka, authority):
    add_user(kafka.at["open"], "turner", "first")
    sasl = login(tmp_path, "SCRAM-SHA-512", "first")
    sasl["client"]["username"] = "turner"
    config = plane_config(tmp_path / "plane.yaml", kafka.at["saslssl"], protocol="SASL_SSL", sasl=sasl, ssl=tls_files(authority))
    plane = start("--no-broker", "--config", config, "--namespace", "t-password")
    turning = Turning(plane, tmp_path, toy, kafka.at["open"], "t-password")
    add_user(kafka.at["open"], "turner", "second")
    put(tmp_path / "password", "second\n")
    says(plane, 'changed="the SASL password"')
    turned = turning.load.count()
    wait_for(lambda: turning.load.count() > turned + 200, 40, lambda: plane.errors())
    turning.end()


def test_a_changed_certificate_is_used_without_losing_a_request(start, tmp_path, toy, kafka, authority, pairs):
    crt, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    second = authority.make("second", "/CN=second/OU=Tests")
    put(crt, open(pairs["client"][0]).read())
    put(key, open(pairs["client"][1]).read())
    config = plane_config(tmp_path / "plane.yaml", kafka.at["mutual"], protocol="SSL", ssl=tls_files(authority, (str(crt), str(key))))
    plane = start("--no-broker", "--config", config, "--namespace", "t-certificate")
    turning = Turning(plane, tmp_path, toy, kafka.at["open"], "t-certificate")
    put(crt, open(second[0]).read())
    says(plane, 'kept="the certificates in use"')  # a key that is not this certificate's
    put(key, open(second[1]).read())
    says(plane, "clients with the new certificates take over")
    turning.end()
