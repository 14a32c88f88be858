"""AWS credentials and MSK tokens of src/cred: byte for byte the vendor's, and every source of the chain against a small server."""

import base64
import datetime
import json
import os
import random
import socket
import subprocess
import time
import urllib.parse

import aws_stand_in as aws
import botocore.auth
import botocore.credentials
import pytest
from aws_msk_iam_sasl_signer import MSKAuthTokenProvider
from harness import CRED_PROBE
from stand_in import serving

CLEAN = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}


def probe(wish, env=None, folder="/nonexistent"):
    done = subprocess.run([CRED_PROBE], input=json.dumps(wish) + "\n", env={**CLEAN, "HOME": str(folder), "AWS_EC2_METADATA_DISABLED": "true", **(env or {})},
                          capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


# ---- the token ----

class Given(botocore.credentials.CredentialProvider):
    def __init__(self, *keys):
        super().__init__()
        self.keys = keys

    def load(self):
        return botocore.credentials.Credentials(*self.keys)


def vendors_token(monkeypatch, region, keys, now):
    moment = datetime.datetime.fromtimestamp(now, datetime.timezone.utc)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda remove_tzinfo=True: moment.replace(tzinfo=None) if remove_tzinfo else moment)
    return MSKAuthTokenProvider.generate_auth_token_from_credentials_provider(region, Given(*keys))


def cases():
    yield "us-east-1", "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", None, 1795406770
    yield "eu-west-1", "ASIA", "s", "IQoJb3JpZ2luX2VjE//////////wEaCWV1LXdlc3QtMSJHMEUCIQ+/==", 1
    yield "cn-north-1", "A+/=&?%", "sp ace", "~-_.!*'();:@&=+$,/?#[]% \"<>\\^`{|}", 951782400
    yield "us-gov-west-1", "AKID", "x" * 300, "ü€😀", 4102444799
    rng = random.Random(6)
    for _ in range(20):
        session = "".join(chr(rng.randrange(33, 127)) for _ in range(rng.randrange(1, 900)))
        yield "ap-southeast-2", "AKID" + str(rng.randrange(10**12)), "".join(chr(rng.randrange(33, 127)) for _ in range(40)), session, rng.randrange(2**32)


def test_tokens_are_byte_for_byte_the_vendors(monkeypatch):
    for region, id_, secret, session, now in cases():
        wanted, _ = vendors_token(monkeypatch, region, (id_, secret, session), now)
        ours = probe({"do": "sign", "region": region, "id": id_, "secret": secret, "session": session or "", "now": now,
                      "user_agent": MSKAuthTokenProvider.__get_user_agent__()})
        assert ours["token"] == wanted, (region, id_, session)


def opened(token):
    url = urllib.parse.urlsplit(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode())
    return url, dict(urllib.parse.parse_qsl(url.query))


def test_a_made_token_has_the_region_of_the_brokers_and_lives_for_15_minutes():
    got = probe({"do": "msk", "hosts": "b-1.shop.abc.c2.kafka.eu-central-1.amazonaws.com:9098"}, {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "s"})
    url, query = opened(got["token"])
    assert url.netloc == "kafka.eu-central-1.amazonaws.com" and query["Action"] == "kafka-cluster:Connect" and query["User-Agent"] == "millrace"
    assert query["X-Amz-Credential"].endswith("/eu-central-1/kafka-cluster/aws4_request") and got["principal"] == "AKID"
    assert abs(got["expires_ms"] / 1000 - time.time() - 900) < 30


def test_the_region_comes_from_configuration_environment_profile_brokers_instance_in_this_order(tmp_path):
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/config").write_text("[default]\nregion = eu-south-1\n[profile other]\nregion = eu-south-2\n")
    hosts = "b-1.a.c2.kafka.us-west-1.amazonaws.com:9098"
    with serving(aws.instance(region="ap-south-1")) as imds:
        here = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": imds, "AWS_EC2_METADATA_DISABLED": "false"}
        assert probe({"do": "region", "region": "il-central-1", "hosts": hosts}, here, tmp_path) == {"region": "il-central-1"}
        assert probe({"do": "region", "hosts": hosts}, {**here, "AWS_REGION": "us-east-2"}, tmp_path) == {"region": "us-east-2"}
        assert probe({"do": "region", "hosts": hosts}, here, tmp_path) == {"region": "eu-south-1"}
        assert probe({"do": "region", "hosts": hosts}, {**here, "AWS_PROFILE": "other"}, tmp_path) == {"region": "eu-south-2"}
        assert probe({"do": "region", "hosts": hosts}, here) == {"region": "us-west-1"}
        assert probe({"do": "region", "hosts": "kafka:9098"}, here) == {"region": "ap-south-1"}


# ---- the chain ----

WEB = {"AWS_ROLE_ARN": "arn:aws:iam::1:role/kafka", "AWS_REGION": "eu-west-1"}


@pytest.mark.parametrize("xml", [False, True], ids=["json", "xml"])
def test_web_identity_takes_on_the_role_at_sts(tmp_path, xml):
    token = tmp_path / "token"
    token.write_text("the.web.token\n")
    handler = aws.sts(xml=xml)
    with serving(handler) as url:
        env = {**WEB, "AWS_WEB_IDENTITY_TOKEN_FILE": str(token), "AWS_ENDPOINT_URL_STS": url, "AWS_ROLE_SESSION_NAME": "me@here"}
        got = probe({"do": "keys"}, env)
        assert (got["id"], got["secret"], got["session"]) == ("ASIAROLE", "role&secret", "role/session+token==")
        assert abs(got["expires_ms"] / 1000 - time.time() - 3600) < 30
        assert handler.asked[0]["RoleArn"] == WEB["AWS_ROLE_ARN"] and handler.asked[0]["RoleSessionName"] == "me@here"
        token.write_text("another")
        refused = probe({"do": "keys"}, env)
    assert refused["rc"] == "auth" and "InvalidIdentityToken" in refused["text"] and "trust policy" in refused["text"]
    assert "another" not in refused["text"]


@pytest.mark.parametrize("session", [None, "base/session+token="], ids=["lasting", "temporary"])
def test_a_role_is_taken_on_with_a_request_whose_signature_the_vendors_code_accepts(tmp_path, session):
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/credentials").write_text("[base]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = s/e+c=ret\n" + (f"aws_session_token = {session}\n" if session else ""))
    (tmp_path / ".aws/config").write_text("[profile kafka]\nrole_arn = arn:aws:iam::1:role/from profile\nsource_profile = base\nexternal_id = x/y\nregion = eu-west-1\n")
    handler = aws.sts(signer=("AKIDEXAMPLE", "s/e+c=ret", session))
    with serving(handler) as url:
        assert probe({"do": "keys", "profile": "kafka"}, {"AWS_ENDPOINT_URL_STS": url}, tmp_path)["id"] == "ASIAROLE"
        assert handler.asked[0]["ExternalId"] == "x/y"
        given = probe({"do": "keys", "profile": "base", "role_arn": "arn:aws:iam::1:role/given", "region": "eu-west-1"}, {"AWS_ENDPOINT_URL_STS": url}, tmp_path)
        assert given["id"] == "ASIAROLE" and handler.asked[1]["RoleArn"].endswith("/given")
        (tmp_path / ".aws/credentials").write_text("[base]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = WRONGSECRET\n")
        refused = probe({"do": "keys", "profile": "kafka"}, {"AWS_ENDPOINT_URL_STS": url}, tmp_path)
    assert refused["rc"] == "auth" and "SignatureDoesNotMatch" in refused["text"] and "WRONGSECRET" not in refused["text"]


def test_a_containers_agent_is_asked_with_its_authorization_token(tmp_path):
    token = tmp_path / "token"
    token.write_text("pod-token\n")
    with serving(aws.agent("pod-token")) as url:
        full = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{url}/v1/credentials"}
        assert probe({"do": "keys"}, {**full, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(token)})["id"] == "ASIAPOD"
        assert probe({"do": "keys"}, {**full, "AWS_CONTAINER_AUTHORIZATION_TOKEN": "pod-token"})["session"] == "pod-session"
        relative = {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/credentials/x", "AWS_CONTAINER_AUTHORIZATION_TOKEN": "pod-token"}
        assert probe({"do": "keys", "container_base": url}, relative)["id"] == "ASIAPOD"
        refused = probe({"do": "keys"}, {**full, "AWS_CONTAINER_AUTHORIZATION_TOKEN": "PLANTED"})
        assert refused["rc"] == "auth" and "no such token" in refused["text"] and "PLANTED" not in refused["text"]
        assert probe({"do": "keys"}, {**full, "AWS_CONTAINER_AUTHORIZATION_TOKEN": "a\nX-Injected: b"})["rc"] == "invalid"
    far = probe({"do": "keys"}, {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://192.0.2.1/x"})
    assert far["rc"] == "invalid" and "not asked for there" in far["text"]


def test_an_instance_is_asked_last_and_only_with_a_token_of_its_metadata_service():
    with serving(aws.instance()) as url:
        env = {"AWS_EC2_METADATA_DISABLED": "false", "AWS_EC2_METADATA_SERVICE_ENDPOINT": url}
        got = probe({"do": "keys"}, env)
        assert (got["id"], got["session"], got["from"]) == ("ASIAEC2", "ec2-session", "the instance's metadata")
        assert probe({"do": "keys"}, {**env, "AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "s"})["id"] == "A"
        assert probe({"do": "keys"}, {**env, "AWS_EC2_METADATA_DISABLED": "true"})["rc"] == "not_found"
    with serving(aws.instance(role=None)) as url:
        none = probe({"do": "keys"}, {**env, "AWS_EC2_METADATA_SERVICE_ENDPOINT": url})
    assert none["rc"] == "not_found" and "attach an instance profile" in none["text"]


def test_a_metadata_service_that_never_answers_costs_little():
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        begun = time.monotonic()
        got = probe({"do": "keys"}, {"AWS_EC2_METADATA_DISABLED": "false", "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{deaf.getsockname()[1]}"})
        assert got["rc"] == "not_found" and "there are no AWS credentials" in got["text"] and time.monotonic() - begun < 5
