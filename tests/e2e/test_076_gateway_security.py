"""Certificates and tokens of the inference port, as curl, tritonclient, gRPC and the command line see them."""

import http.server
import json
import os
import pathlib
import random
import re
import socket
import ssl
import subprocess
import threading
import time

import grpc
import numpy
import pytest
import requests
import resources
import security
import tritonclient.grpc
import tritonclient.http
from harness import MILLRACE, ROOT, Millrace, wait_for

TOKENS = {"infer": "infer-token-0123456789", "read": "read-token-0123456789", "admin": "admin-token-0123456789"}
BODY = {"inputs": [resources.fp32([1, 2, 3, 4])]}


def tokens_file(path, *roles):
    """One of them hashed, as the page says it is done."""
    lines = ["# who may call"]
    for role in roles or TOKENS:
        secret = TOKENS[role]
        if role == "read":
            done = subprocess.run("printf %s \"salt$T\" | sha256sum | cut -d' ' -f1", shell=True, env={"T": secret, **os.environ}, capture_output=True, text=True,
                                  check=True)
            secret = f"sha256:salt:{done.stdout.strip()}"
        lines.append(f"{role}\t{role}-caller  {secret}")
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)
    return path


class Secured(Millrace):
    """A millrace whose command line shows who it is."""

    def __init__(self, folder, authority, *options, token="admin", **more):
        folder.mkdir(exist_ok=True)
        self.authority, self.tokens = authority, tokens_file(folder / "tokens")
        crt, key = authority.make("server")
        super().__init__(folder / "data", "--security.gateway.tls.crtPath", crt, "--security.gateway.tls.keyPath", key, "--security.gateway.tokens", self.tokens,
                         "--security.gateway.trustLoopback", "false", *options, **more)
        self.url, self.ready["infer"] = f"https://{self.infer}", f"https://{self.infer}"
        os.environ.update(MILLRACE_TOKEN=TOKENS[token], MILLRACE_CACERT=authority.ca)

    @property
    def address(self):
        return self.url.removeprefix("https://")

    def stop(self, timeout=30):
        for name in ("MILLRACE_TOKEN", "MILLRACE_CACERT"):
            os.environ.pop(name, None)
        return super().stop(timeout)

    def ask(self, path, method="GET", token=None, **more):
        headers = {"authorization": f"Bearer {TOKENS.get(token, token)}"} if token else {}
        return requests.request(method, self.url + path, headers=headers, verify=self.authority.ca, timeout=20, **more)

    def channel(self, token=None):
        credentials = grpc.ssl_channel_credentials(pathlib.Path(self.authority.ca).read_bytes())
        if token:
            credentials = grpc.composite_channel_credentials(credentials, grpc.access_token_call_credentials(TOKENS[token]))
        return grpc.secure_channel(self.address, credentials)


@pytest.fixture(scope="module")
def plane(tmp_path_factory, toy, authority):
    server = Secured(tmp_path_factory.mktemp("secured"), authority, "--security.gateway.tls.clientCaPath", authority.ca, "--security.gateway.tls.clientAuth",
                     "requested")
    server.apply(tmp_path_factory.mktemp("yaml"), "---".join([resources.toys(toy), resources.CHAIN]))
    wait_for(lambda: server.ask("/v2/pipelines/chain/ready", token="infer").status_code == 200, 30, server.errors)
    yield server
    assert server.stop() == 0, server.errors()


def test_rest_over_tls_with_http1_and_http2(plane):
    for version in ("--http1.1", "--http2"):
        done = subprocess.run(["curl", "-sS", version, "-w", "%{http_version}", "--cacert", plane.authority.ca, "-H", f"authorization: Bearer {TOKENS['infer']}",
                               "--json", str(BODY).replace("'", '"'), f"{plane.url}/v2/pipelines/chain/infer"], capture_output=True, text=True, timeout=30)
        assert '"data":[20,30,40,50]' in done.stdout.replace(" ", "").replace(".0", ""), done
        assert done.stdout.endswith("1.1" if version == "--http1.1" else "2")


def test_large_bodies_over_tls(plane):
    tensor = resources.fp32([float(i) for i in range(400000)])
    answer = plane.ask("/v2/models/echo/infer", "POST", "infer", json={"inputs": [tensor]})
    assert answer.status_code == 200, answer.text[:300]
    assert answer.json()["outputs"][0]["data"] == tensor["data"]


def test_tritonclient_over_tls(plane):
    web = tritonclient.http.InferenceServerClient(plane.address, ssl=True, ssl_options={"ca_certs": plane.authority.ca})
    rpc = tritonclient.grpc.InferenceServerClient(plane.address, ssl=True, root_certificates=plane.authority.ca)
    who = {"authorization": f"Bearer {TOKENS['infer']}"}
    for client, kind in ((web, tritonclient.http), (rpc, tritonclient.grpc)):
        assert client.is_server_live() and client.is_server_ready()
        tensor = kind.InferInput("INPUT", [1, 4], "FP32")
        tensor.set_data_from_numpy(numpy.array([[1, 2, 3, 4]], dtype=numpy.float32))
        assert client.infer("raw", [tensor], headers=dict(who)).as_numpy("INPUT").tolist() == [[1, 2, 3, 4]]
        with pytest.raises(Exception, match="who calls"):
            client.infer("mul10", [tensor])
        client.close()


def page_rows():
    """What docs/security.md says: (call, the roles that may)."""
    text = (ROOT / "docs/security.md").read_text().split("### Which role each endpoint needs")[1].split("\n#")[0]
    for line in text.splitlines():
        cells = [c.strip() for c in line.split("|")[1:-1]]
        if len(cells) == 2 and "`" in cells[0]:
            for call in re.findall("`([^`]+)`", cells[0]):
                yield call, set() if cells[1] == "nobody is asked" else set(cells[1].replace(" or ", ", ").split(", ")) | {"admin"}


def rest_verdict(plane, call, token):
    method, path = call.split()
    status = plane.ask(path.replace("NAME", "chain").replace("KIND", "pipelines"), method, token, data=b"{}").status_code
    return {401: "unknown", 403: "denied"}.get(status, "good")


def grpc_verdict(plane, call, token):
    with plane.channel(token) as channel:
        try:
            channel.unary_unary("/" + call)(b"", timeout=20)
        except grpc.RpcError as e:
            return {grpc.StatusCode.UNAUTHENTICATED: "unknown", grpc.StatusCode.PERMISSION_DENIED: "denied"}.get(e.code(), "good")
    return "good"


def test_every_line_of_the_table_of_roles(plane):
    rows = list(page_rows())
    assert len(rows) > 20 and any(not roles for _, roles in rows)
    for call, roles in rows:
        verdict = rest_verdict if " " in call else grpc_verdict
        assert verdict(plane, call, None) == ("unknown" if roles else "good"), call
        for token in TOKENS:
            assert verdict(plane, call, token) == ("good" if not roles or token in roles else "denied"), (call, token)


def test_refusals_say_what_to_do_and_are_counted(plane):
    def refused(why):
        return float(re.search(rf'millrace_gateway_refused_total{{why="{why}"}} (\S+)', plane.ask("/metrics", token="read").text)[1])

    before = refused("unauthenticated"), refused("denied")
    none, wrong, weak = (plane.ask("/metrics", token=t) for t in (None, "not-a-token-of-anybody", "infer"))
    assert (none.status_code, none.headers["www-authenticate"]) == (401, 'Bearer realm="millrace"')
    assert "MILLRACE_TOKEN" in none.json()["error"]
    assert (wrong.status_code, wrong.headers["www-authenticate"]) == (401, 'Bearer realm="millrace", error="invalid_token"')
    assert (weak.status_code, weak.headers["www-authenticate"]) == (403, 'Bearer realm="millrace", error="insufficient_scope"')
    assert "read" in weak.json()["error"]
    basic = requests.get(plane.url + "/v2", auth=("a", "b"), verify=plane.authority.ca, timeout=10)
    assert basic.status_code == 401 and "bearer token" in basic.json()["error"]
    assert (refused("unauthenticated"), refused("denied")) == (before[0] + 3, before[1] + 1)


def test_a_refusal_is_read_by_a_client_that_is_still_sending(plane, tmp_path):
    """curl 7.88 speaks HTTP/2 where it is offered, and takes a reset for the end of everything."""
    for size in (400, 400, 400, 3_000_000):
        (tmp_path / "body").write_bytes(b"a" * size)
        done = subprocess.run(["curl", "-sS", "--http2", "-w", " %{http_version} %{http_code}", "--cacert", plane.authority.ca, "--data-binary",
                               f"@{tmp_path / 'body'}", f"{plane.url}/v2/pipelines/chain/infer"], capture_output=True, text=True, timeout=30)
        assert done.stdout.endswith(" 2 401") and "who calls" in done.stdout, done


def test_a_certificate_stands_in_for_a_token(plane, authority):
    pair = authority.make("caller")
    assert plane.ask("/v2/pipelines/chain/infer", "POST", json=BODY, cert=pair).status_code == 200
    assert plane.ask("/millrace/v1/pipelines", cert=pair).status_code == 403
    stranger = security.Authority(authority.folder / "stranger").make("mallory")
    with pytest.raises(requests.exceptions.ConnectionError):
        plane.ask("/v2", cert=stranger)


def test_the_command_line_shows_who_it_is(plane, tmp_path):
    secret = tmp_path / "token"
    secret.write_text(TOKENS["infer"] + "\n")

    def run(*args, **env):
        return subprocess.run([MILLRACE, *map(str, args)], capture_output=True, text=True, timeout=60,
                              env={"PATH": os.environ["PATH"], "MILLRACE_SERVER": plane.url, "MILLRACE_CACERT": plane.authority.ca, **env})

    body = str(BODY).replace("'", '"')
    assert "20 30 40 50" in run("infer", "pipeline", "chain", body, "--token", f"@{secret}").stdout
    assert "20 30 40 50" in run("infer", "pipeline", "chain", body, "--grpc", MILLRACE_TOKEN=f"@{secret}").stdout
    assert "chain" in run("get", MILLRACE_TOKEN=TOKENS["read"]).stdout
    none, weak, shown = run("get"), run("get", "--token", f"@{secret}"), run("get", "--token", TOKENS["read"])
    assert none.returncode == 1 and "--token @FILE or MILLRACE_TOKEN" in none.stderr
    assert weak.returncode == 1 and "role that this needs: read" in weak.stderr
    assert shown.returncode == 2 and "everybody on this machine can read a command line" in shown.stderr and TOKENS["read"] not in shown.stderr
    stranger = run("get", MILLRACE_CACERT="")
    assert stranger.returncode == 1 and "--cacert FILE" in stranger.stderr
    assert "say --server https://" in run("get", "--server", plane.address).stderr
    for flags in [[], ["--grpc"]] * 3:
        started, unknown = time.monotonic(), run("infer", "pipeline", "chain", body, *flags)
        assert unknown.returncode == 1 and "--token @FILE or MILLRACE_TOKEN" in unknown.stderr and time.monotonic() - started < 20
    crt, key = security.Authority(tmp_path / "stranger").make("mallory")
    mallory = run("infer", "pipeline", "chain", body, MILLRACE_TOKEN=f"@{secret}", MILLRACE_CERT=crt, MILLRACE_KEY=key)
    assert mallory.returncode == 1 and "--cert and --key" in mallory.stderr
    wait_for(lambda: "the client's certificate CN=mallory" in plane.errors(), 5, plane.errors)


def test_wrong_tokens_are_counted_by_address_and_good_ones_go_on(tmp_path, authority, plane):
    server = Secured(tmp_path / "limit", authority)
    try:
        assert server.ask("/v2", token="infer").status_code == 200
        codes = [server.ask("/v2", token=f"wrong-{i}-wrong-wrong").status_code for i in range(22)]
        assert codes == [401] * 20 + [429] * 2
        assert server.ask("/v2", token="read").status_code == 429, "not seen from here before"
        assert server.ask("/v2", token="infer").status_code == 200, "good before, from here"
        assert server.ask("/v2", token="x" * 20).headers["retry-after"] == "60"
        assert server.errors().count("auth.token_refused") == 2
    finally:
        assert server.stop() == 0
        os.environ.update(MILLRACE_TOKEN=TOKENS["admin"], MILLRACE_CACERT=authority.ca)


def test_tokens_and_certificates_change_without_a_restart(tmp_path, authority, plane):
    server = Secured(tmp_path / "reload", authority)
    try:
        with requests.Session() as session:
            session.trust_env, session.verify, session.headers["authorization"] = False, authority.ca, f"Bearer {TOKENS['admin']}"
            assert session.get(server.url + "/v2", timeout=10).status_code == 200
            crt, key = server.args[server.args.index("--security.gateway.tls.crtPath") + 1], server.args[server.args.index("--security.gateway.tls.keyPath") + 1]
            old = pathlib.Path(crt).read_bytes()
            authority.make("server", subject="/CN=the second certificate", days=3)
            tokens_file(server.tokens, "admin")
            wait_for(lambda: server.ask("/v2", token="infer").status_code == 401, 10, server.errors)
            assert server.ask("/v2", token="admin").status_code == 200
            server.tokens.write_text("admin nonsense\n")
            wait_for(lambda: server.ask("/v2", token="admin").status_code == 200 and "auth.tokens_kept" in server.errors(), 10, server.errors)
            host, port = server.address.split(":")
            wait_for(lambda: ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate((host, int(port)))) != ssl.PEM_cert_to_DER_cert(old.decode()), 15, server.errors)
            assert session.get(server.url + "/v2", timeout=10).status_code == 200
        text = server.ask("/metrics", token="admin").text
        assert "millrace_http_tls_handshakes_total" in text
        end = ssl.cert_time_to_seconds(subprocess.check_output(["openssl", "x509", "-in", crt, "-noout", "-enddate"], text=True, timeout=60).strip()[9:])
        found = re.findall(r'^millrace_tls_certificate_expiry_seconds\{listener="inference port"\} (\S+)', text, re.M)
        assert [float(one) for one in found] == [end] and time.time() < end < time.time() + 3 * 86400 + 60, text
        assert server.errors().count("tls.certificate_expires") == 1, "three days are left"
    finally:
        assert server.stop() == 0
        os.environ.update(MILLRACE_TOKEN=TOKENS["admin"], MILLRACE_CACERT=authority.ca)


def test_the_variables_of_the_originals_chart_mean_mutual_tls(start, authority):
    crt, key = authority.make("dus")
    pair = authority.make("envoy")
    server = start(env={"ENVOY_SECURITY_PROTOCOL": "SSL", "ENVOY_UPSTREAM_SERVER_TLS_CRT_LOCATION": crt, "ENVOY_UPSTREAM_SERVER_TLS_KEY_LOCATION": key,
                        "ENVOY_UPSTREAM_CLIENT_TLS_CA_LOCATION": authority.ca})
    url = f"https://{server.infer}/v2/health/live"
    assert requests.get(url, verify=authority.ca, cert=pair, timeout=10).status_code == 200
    with pytest.raises(requests.exceptions.ConnectionError):
        requests.get(url, verify=authority.ca, timeout=10)
    wait_for(lambda: "peer did not return a certificate" in server.errors(), 5, server.errors)


def test_certificates_come_from_a_mounted_secret_and_change_with_it(start, tmp_path, authority):
    """A name without a / is read through the API server in the same way (tests/e2e/test_111_secrets.py)."""
    def mount(version):
        crt, key = authority.make(version)
        folder = tmp_path / "mounted" / f"..{version}"
        folder.mkdir(parents=True)
        for name, path in (("tls.crt", crt), ("tls.key", key), ("ca.crt", authority.ca)):
            (folder / name).write_bytes(pathlib.Path(path).read_bytes())
            if not (tmp_path / "mounted" / name).is_symlink():
                (tmp_path / "mounted" / name).symlink_to(f"..data/{name}")
        fresh = tmp_path / "mounted" / "..data_tmp"
        fresh.symlink_to(folder.name)
        fresh.rename(tmp_path / "mounted" / "..data")  # as the kubelet does it
        return ssl.PEM_cert_to_DER_cert(pathlib.Path(crt).read_text())

    first, pair = mount("first"), authority.make("envoy")
    env = {"ENVOY_SECURITY_PROTOCOL": "SSL", "ENVOY_UPSTREAM_SERVER_TLS_SECRET_NAME": f"{tmp_path}/mounted", "ENVOY_UPSTREAM_CLIENT_TLS_SECRET_NAME":
           f"{tmp_path}/mounted", "ENVOY_UPSTREAM_SERVER_TLS_CRT_LOCATION": "/tmp/certs/dus/tls.crt", "ENVOY_UPSTREAM_SERVER_TLS_KEY_LOCATION": "tls.key"}
    server = start("--security.gateway.tls.clientRole", "read", env=env)
    host, port = server.infer.split(":")
    context = ssl.create_default_context(cafile=authority.ca)
    context.load_cert_chain(*pair)

    def shown():
        with socket.create_connection((host, int(port)), timeout=10) as s, context.wrap_socket(s, server_hostname="localhost") as t:
            return t.getpeercert(True)

    assert shown() == first
    doctor = subprocess.run([MILLRACE, "doctor", "--data", tmp_path / "doctor", "--infer-listen", f"localhost:{port}", "--cacert", authority.ca, "--cert", pair[0], "--key", pair[1],
                             "--output", "json"], env=os.environ | env, capture_output=True, text=True, timeout=60)
    checks = {c["check"]: c for c in json.loads(doctor.stdout)["checks"]}
    assert checks["process"]["verdict"] == "ok" and f"https://localhost:{port}" in checks["process"]["text"], doctor
    assert "certificate" not in checks, doctor     # crtPath names a key, and no file
    second = mount("second")
    wait_for(lambda: shown() == second, 20, server.errors)
    with pytest.raises(requests.exceptions.ConnectionError):
        requests.get(f"https://{server.infer}/v2", verify=authority.ca, timeout=10)
    missing = subprocess.run([MILLRACE, "serve", "--data", tmp_path / "other", "--infer-listen", "127.0.0.1:0", "--kafka-listen", "127.0.0.1:0", "--security.gateway.tls.secret",
                              "inference-tls"], capture_output=True, text=True, timeout=20)
    assert missing.returncode == 1 and "security.gateway.tls.secret" in missing.stderr and "service account" in missing.stderr, missing


def test_a_public_address_wants_somebody_to_be_asked(start, tmp_path):
    def refusal(*options):
        done = subprocess.run([MILLRACE, "serve", "--data", tmp_path / "data", "--infer-listen", "0.0.0.0:0", "--kafka-listen", "127.0.0.1:0", *options],
                              capture_output=True, text=True, timeout=20)
        return done.returncode, done.stderr

    code, text = refusal()
    assert code == 2 and "asks nobody who they are: ask for tokens (security.gateway.tokens, security.gateway.jwt)" in text
    bad = tmp_path / "bad"
    bad.write_text("admin me short\n")
    code, text = refusal("--security.gateway.tokens", bad)
    assert code == 1 and "bad:1: a token of fewer than 16 characters can be guessed" in text and "short" not in text
    server = start("--security.gateway.tokens", tokens_file(tmp_path / "tokens"), infer_listen="0.0.0.0:0")
    url = f"http://127.0.0.1:{server.infer.split(':')[1]}"
    assert requests.post(url + "/v2/models/a/infer", json=BODY, timeout=10).status_code == 401
    assert requests.get(url + "/millrace/v1/info", timeout=10).status_code == 200, "this machine manages without a token"
    assert requests.get(url + "/millrace/v1/info", headers={"x-forwarded-for": "192.0.2.1"}, timeout=10).status_code == 401
    assert requests.get(url + "/millrace/v1/info", headers={"authorization": "Bearer " + "x" * 20}, timeout=10).status_code == 401
    assert "tokens travel in the clear" in server.errors()


def hello(host):
    """A real ClientHello."""
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2"])
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(into, out, server_hostname=host).do_handshake()
    return out.read()


def test_garbage_in_the_handshake_harms_nobody(plane):
    rng, good, host = random.Random(7), hello("localhost"), tuple(plane.address.rsplit(":", 1))
    rounds = 300

    def strike(seed):
        mine = random.Random(seed)
        data = bytearray(good if seed % 3 else mine.randbytes(mine.randrange(1, 400)))
        for _ in range(mine.randrange(0, 8)):
            data[mine.randrange(len(data))] = mine.randrange(256)
        with socket.create_connection((host[0], int(host[1])), timeout=10) as s:
            try:
                s.sendall(data[: mine.randrange(1, len(data) + 1)])
                if seed % 2:
                    s.shutdown(socket.SHUT_WR)
                    while s.recv(4096):
                        pass
            except ConnectionError:
                pass

    threads = [threading.Thread(target=lambda part=part: [strike(i) for i in part]) for part in ([*range(i, rounds, 4)] for i in range(4))]
    rng.shuffle(threads)
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
        assert not t.is_alive()
    assert plane.ask("/v2/pipelines/chain/infer", "POST", "infer", json=BODY).status_code == 200
    assert plane.errors().count("http.tls_failed") < 10, "told of once a minute for each address and loop"


def test_a_slow_handshaker_does_not_hold_up_others(plane):
    host, port = plane.address.rsplit(":", 1)
    slow = [socket.create_connection((host, int(port)), timeout=10) for _ in range(200)]
    begun = time.monotonic()
    for s in slow:
        s.sendall(b"\x16\x03\x01\x02\x00\x01")
    assert plane.ask("/v2/pipelines/chain/infer", "POST", "infer", json=BODY).status_code == 200
    assert time.monotonic() - begun < 5
    for s in slow:
        s.close()


@pytest.mark.parametrize("where", ["file", "address"])
def test_signed_tokens_carry_roles_in_a_claim(start, tmp_path, where):
    issuer = security.Issuer(tmp_path / "issuer")
    issuer.add_key("k1")
    jwks, now = tmp_path / "jwks.json", int(time.time())
    jwks.write_text(issuer.jwks())

    class Keys(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(jwks.read_bytes())

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Keys) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        at = str(jwks) if where == "file" else f"http://127.0.0.1:{web.server_port}/keys"
        server = start("--security.gateway.jwt.jwks", at, "--security.gateway.jwt.issuer", "me", "--security.gateway.jwt.audience", "millrace",
                       "--security.gateway.jwt.rolesClaim", "realm_access.roles", "--security.gateway.trustLoopback", "false")

        def ask(path, **claims):
            token = issuer.token("k1", **{"iss": "me", "aud": ["millrace"], "sub": "somebody", "exp": now + 600, **claims})
            return requests.get(f"http://{server.infer}{path}", headers={"authorization": f"Bearer {token}"}, timeout=10)

        read = {"realm_access": {"roles": ["admin", "millrace:read", "offline"]}}
        wait_for(lambda: ask("/metrics", **read).status_code != 503, 10, server.errors)
        assert ask("/metrics", **read).status_code == 200
        assert ask("/millrace/v1/info", **read).status_code == 200
        assert requests.post(f"http://{server.infer}/millrace/v1/apply", headers=ask("/v2", **read).request.headers, timeout=10).status_code == 403, "their admin is not ours"
        assert ask("/metrics", realm_access={"roles": "millrace:infer millrace:read"}).status_code == 200
        assert ask("/metrics").status_code == 403
        assert requests.get(f"http://{server.infer}/metrics", timeout=10).status_code == 401
        for wrong, said in (({"iss": "you"}, "another issuer than security.gateway.jwt.issuer"), ({"aud": "else"}, "another audience"), ({"exp": now - 100}, "has expired"),
                            ({"exp": None}, "no exp"), ({"alg": "none"}, "signed with none")):
            answer = ask("/metrics", **{**read, **wrong})
            assert answer.status_code == 401 and said in answer.json()["error"], answer.text
        issuer.add_key("k2")
        other = issuer.token("k2", iss="me", aud="millrace", sub="x", exp=now + 600, **read)
        known = requests.get(f"http://{server.infer}/metrics", headers={"authorization": f"Bearer {other}"}, timeout=10)
        assert known.status_code == 401 and "not among those of security.gateway.jwt.jwks" in known.text
        if where == "file":
            jwks.write_text(issuer.jwks("k1", "k2"))
            assert requests.get(f"http://{server.infer}/metrics", headers={"authorization": f"Bearer {other}"}, timeout=10).status_code == 200
        web.shutdown()
