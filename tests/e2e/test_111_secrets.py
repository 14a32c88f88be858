"""Secrets of src/cred through the Kubernetes API (a stand-in with TLS and rights), and tokens from an OAuth endpoint (a stand-in with moods)."""

import base64
import json
import os
import subprocess
import threading
import urllib.parse

import kube_stand_in
import pytest
from harness import CRED_PROBE, wait_for
from security import Authority
from stand_in import Handler, serving

CLEAN = {k: v for k, v in os.environ.items() if not k.startswith(("KUBERNETES_", "POD_NAMESPACE", "SELDON_"))}


def probe(wish, env=None):
    done = subprocess.run([CRED_PROBE], input=json.dumps(wish) + "\n", env={**CLEAN, **(env or {})}, capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


class Going:
    """A probe that goes on: the lines it has said."""

    def __init__(self, wish, env=None):
        self.child = subprocess.Popen([CRED_PROBE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**CLEAN, **(env or {})}, text=True)
        self.child.stdin.write(json.dumps(wish) + "\n")
        self.child.stdin.flush()
        self.lines = []
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.child.stdout:
            self.lines.append(json.loads(line))

    def wait(self, n, what):
        wait_for(lambda: len(self.lines) >= n, 20, f"{what}: {self.lines}")
        return self.lines[n - 1]

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.child.stdin.close()
        assert self.child.wait(20) == 0
        self.reader.join(10)
        self.child.stdout.close()


# ---- Kubernetes ----

@pytest.fixture
def cluster(tmp_path):
    made = kube_stand_in.Cluster(tmp_path, Authority(tmp_path / "ca"))
    made.put("kafka-secret", password="s3cret\n", **{"tls.crt": "-----BEGIN"})
    return made


def wish_of(cluster, name="kafka-secret", items=("/run/kafka/password",), **more):
    return {"do": "secret", "what": "the SASL password", "name": name, "items": list(items), "account_dir": str(cluster.account), **more}


def test_a_secret_is_read_with_the_pods_service_account_and_without_its_line_end(cluster):
    with cluster.serve() as pod:
        assert probe(wish_of(cluster, items=["/run/kafka/password", "tls.crt"]), pod) == {"password": "s3cret", "tls.crt": "-----BEGIN"}
        assert probe(wish_of(cluster), {**pod, "POD_NAMESPACE": "models"}) == {"password": "s3cret"}


def test_every_refusal_names_the_secret_the_key_and_the_remedy(cluster):
    with cluster.serve() as pod:
        key = probe(wish_of(cluster, items=["sasl.password"]), pod)
        assert key["rc"] == "not_found" and "kafka-secret has no key sasl.password; it has password, tls.crt" in key["text"]
        cluster.readable.add("gone")
        gone = probe(wish_of(cluster, "gone"), pod)
        assert gone["rc"] == "not_found" and "no Kubernetes Secret gone in namespace models" in gone["text"]
        denied = probe(wish_of(cluster, "other"), pod)
        assert denied["rc"] == "denied" and 'User "system:serviceaccount:models:default"' in denied["text"]
        assert "Role in namespace models" in denied["text"] and "resourceNames [other], verbs [get]" in denied["text"]
        elsewhere = probe(wish_of(cluster), {**pod, "POD_NAMESPACE": "elsewhere"})
        assert elsewhere["rc"] == "denied" and "Role in namespace elsewhere" in elsewhere["text"]
        (cluster.account / "token").write_text("PLANTED")
        stale = probe(wish_of(cluster), pod)
        assert stale["rc"] == "auth" and "does not take the token" in stale["text"] and "PLANTED" not in stale["text"]
        (cluster.account / "token").unlink()
        none = probe(wish_of(cluster), pod)
        assert none["rc"] == "not_found" and "automountServiceAccountToken" in none["text"]
    cluster.renew_token("pod-token-2")
    down = probe(wish_of(cluster), pod)
    assert down["rc"] == "unavailable" and "Kubernetes API server" in down["text"]
    outside = probe(wish_of(cluster))
    assert outside["rc"] == "unavailable" and "give files" in outside["text"]


def test_a_server_that_is_not_the_clusters_gets_no_token(cluster, tmp_path):
    mine, cluster.authority = cluster.authority, Authority(tmp_path / "other")
    with cluster.serve() as pod:
        got = probe(wish_of(cluster), pod)
        assert got["rc"] == "denied" and "SSL handshake failed" in got["text"] and cluster.asked == 0
    cluster.authority = mine
    with cluster.serve(hosts="DNS:kubernetes.default.svc") as pod:
        assert probe(wish_of(cluster), pod)["rc"] == "denied" and cluster.asked == 0


def test_a_server_that_is_busy_is_asked_again(cluster):
    with cluster.serve() as pod:
        cluster.broken = 2
        assert probe(wish_of(cluster), pod) == {"password": "s3cret"}
        assert cluster.asked == 3


def test_a_changed_secret_and_a_renewed_token_are_noticed_and_an_outage_is_said_once(cluster):
    with cluster.serve() as pod, Going(wish_of(cluster, do="watch", every_ms=50), pod) as going:
        assert going.wait(1, "nothing was read") == {"password": "s3cret"}
        cluster.renew_token("pod-token-2")
        cluster.put("kafka-secret", password="second")
        assert going.wait(2, "the change was not noticed") == {"password": "second"}
        cluster.readable.clear()
        assert going.wait(3, "the failure was not told")["rc"] == "denied"
        seen = cluster.asked
        wait_for(lambda: cluster.asked >= seen + 3, 20, "it is not asked any more")
        cluster.put("kafka-secret", password="third")
        assert going.wait(4, "it did not come back") == {"password": "third"}


# ---- OAuth ----

class Endpoint:
    """A token endpoint: client "me", secret "s+e%c ret"; `only` is how the client may show itself."""

    def __init__(self, only="basic"):
        self.only, self.secret, self.forms, self.life, self.broken = only, "s+e%c ret", [], 3600, 0

    def handler(endpoint):
        class Token(Handler):
            def do_POST(self):
                form = dict(urllib.parse.parse_qsl(self.body().decode()))
                endpoint.forms.append(form)
                if endpoint.broken:
                    endpoint.broken -= 1
                    self.answer(503, "<html>busy</html>", "text/html")
                elif self.client(form) != ["me", endpoint.secret]:
                    self.answer(401, {"error": "invalid_client", "error_description": "client authentication failed"})
                elif form.get("scope") == "wrong":
                    self.answer(400, {"error": "invalid_scope", "error_description": "no such scope"})
                else:
                    self.answer(200, {"access_token": f"token-{len(endpoint.forms)}", "token_type": "Bearer", "expires_in": endpoint.life})

            def client(self, form):
                if endpoint.only == "body":
                    return [form.get("client_id"), form.get("client_secret")]
                head = self.headers.get("Authorization", "")
                return [urllib.parse.unquote(part) for part in base64.b64decode(head.removeprefix("Basic ")).decode().split(":")] if head else None

        return Token


def oauth(url, **more):
    return {"do": "oidc", "client_id": "me", "client_secret": "s+e%c ret", "scope": "kafka all", "token_endpoint_url": f"{url}/token", **more}


@pytest.mark.parametrize("only", ["basic", "body"])
def test_a_client_with_special_characters_shows_itself_either_way(only):
    endpoint = Endpoint(only)
    with serving(endpoint.handler()) as url:
        got = probe(oauth(url, extensions="logicalCluster=lkc-1,identityPoolId=pool-2"))
    assert got["token"].startswith("token-") and got["principal"] == "me"
    assert got["extensions"] == ["logicalCluster", "lkc-1", "identityPoolId", "pool-2"]
    assert endpoint.forms[-1]["grant_type"] == "client_credentials" and endpoint.forms[-1]["scope"] == "kafka all"


def test_refusals_say_what_the_endpoint_said_and_never_the_secret():
    endpoint = Endpoint()
    with serving(endpoint.handler()) as url:
        client = probe(oauth(url, client_secret="PLANTED"))
        assert client["rc"] == "auth" and "invalid_client, client authentication failed; check client_id and client_secret" in client["text"]
        asked = len(endpoint.forms)
        scope = probe(oauth(url, scope="wrong"))
        assert scope["rc"] == "auth" and "invalid_scope, no such scope; check scope" in scope["text"] and len(endpoint.forms) == asked + 1
        assert "PLANTED" not in json.dumps([client, scope])
        endpoint.broken = 2
        assert probe(oauth(url))["token"]
        lost = probe(oauth(f"{url}/elsewhere", token_endpoint_url=url.replace("http://", "https://")))
        assert lost["rc"] in ("denied", "unavailable")
    down = probe(oauth(url))
    assert down["rc"] == "unavailable" and down["retry"]


def test_the_oauth_secret_may_be_a_folder_a_file_or_in_kubernetes(cluster, tmp_path):
    endpoint = Endpoint()
    with serving(endpoint.handler()) as url, cluster.serve() as pod:
        values = {"method": "OIDC", "client_id": "me", "client_secret": "s+e%c ret\n", "scope": "", "token_endpoint_url": f"{url}/token", "extensions": "logicalCluster=lkc-9"}
        mounted = tmp_path / "mounted"
        mounted.mkdir()
        for name, value in values.items():
            (mounted / name).write_text(value)
        cluster.put("oauth", **values)
        for name in (str(mounted), "oauth"):
            got = probe({"do": "oidc", "name": name, "account_dir": str(cluster.account)}, pod)
            assert got["token"].startswith("token-") and got["extensions"] == ["logicalCluster", "lkc-9"], got
            assert "scope" not in endpoint.forms[-1]
        one = probe(oauth(url, client_secret="", client_secret_path=str(mounted / "client_secret")))
        assert one["token"]
        (mounted / "client_id").unlink()
        missing = probe({"do": "oidc", "name": str(mounted)})
        assert missing["rc"] == "invalid" and "there is no client_id" in missing["text"]


def test_a_kept_token_is_fetched_anew_before_it_ends_with_the_secret_of_then(tmp_path):
    endpoint = Endpoint()
    endpoint.life = 2
    path = tmp_path / "client_secret"
    path.write_text(endpoint.secret)
    with serving(endpoint.handler()) as url, Going(oauth(url, do="keep", client_secret="", client_secret_path=str(path))) as going:
        assert going.wait(1, "no token")["token"] == "token-1"
        endpoint.secret = "another"
        path.write_text("another")
        assert going.wait(2, "no second token")["token"] == "token-2"
        endpoint.secret = "changed again"
        assert going.wait(3, "no failure was told")["rc"] == "auth"
        path.write_text("changed again")
        wait_for(lambda: any("token" in line for line in going.lines[3:]), 20, f"it did not recover: {going.lines}")
