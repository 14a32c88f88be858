"""Certificates, listeners and users for the tests of security: made anew for each run by the openssl command."""

import base64
import json
import subprocess

import confluent_kafka.admin as ck


def openssl(*args, cwd):
    done = subprocess.run(["openssl", *map(str, args)], cwd=cwd, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


class Authority:
    """A certificate authority in a folder. `make(name)` writes name.pem and name.key, signed by it."""

    def __init__(self, folder, name="test authority"):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "ca.key",
                "-out", "ca.pem", "-subj", f"/CN={name}", "-days", "30", cwd=folder)

    @property
    def ca(self):
        return str(self.folder / "ca.pem")

    def make(self, name, subject=None, hosts="DNS:localhost,IP:127.0.0.1", days=30, kind=("ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")):
        openssl("req", "-newkey", *kind, "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", subject or f"/CN={name}",
                cwd=self.folder)
        (self.folder / "ext").write_text(f"subjectAltName={hosts}")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", f"{name}.pem",
                "-days", str(days), "-extfile", "ext", cwd=self.folder)
        return str(self.folder / f"{name}.pem"), str(self.folder / f"{name}.key")


def listener(name, protocol="PLAINTEXT", **more):
    return {"name": name, "listen": "127.0.0.1:0", "protocol": protocol, **more}


def tls(pair, client_ca=""):
    return {"tls": {"crtPath": pair[0], "keyPath": pair[1], "clientCaPath": client_ca}}


def write_config(path, listeners, **broker):
    path.write_text(json.dumps({"broker": {"listeners": listeners, **broker}}))
    return path


def ssl_conf(address, ca, pair=None):
    more = {"ssl.certificate.location": pair[0], "ssl.key.location": pair[1]} if pair else {}
    return {"bootstrap.servers": address, "security.protocol": "SSL", "ssl.ca.location": ca, **more}


def sasl_conf(address, mechanism, user, password, ca=None):
    more = {"ssl.ca.location": ca} if ca else {}
    return {"bootstrap.servers": address, "security.protocol": "SASL_SSL" if ca else "SASL_PLAINTEXT", "sasl.mechanism": mechanism,
            "sasl.username": user, "sasl.password": password, **more}


def add_user(address, name, password, conf=None):
    admin = ck.AdminClient(conf or {"bootstrap.servers": address})
    for m in (ck.ScramMechanism.SCRAM_SHA_256, ck.ScramMechanism.SCRAM_SHA_512):  # Apache Kafka takes one a request
        for done in admin.alter_user_scram_credentials([ck.UserScramCredentialUpsertion(name, ck.ScramCredentialInfo(m, 4096), password.encode())]).values():
            done.result(20)


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Issuer:
    """Signs bearer tokens with RSA keys, and tells the public ones as a JWK set."""

    def __init__(self, folder):
        self.folder, self.kids = folder, []
        folder.mkdir(parents=True, exist_ok=True)

    def add_key(self, kid):
        openssl("genrsa", "-out", f"{kid}.rsa", "2048", cwd=self.folder)
        self.kids.append(kid)

    def jwks(self, *kids):
        keys = []
        for kid in kids or self.kids:
            text = subprocess.run(["openssl", "rsa", "-in", f"{kid}.rsa", "-noout", "-modulus"], cwd=self.folder, capture_output=True, text=True, check=True)
            n = bytes.fromhex(text.stdout.strip().split("=")[1])
            keys.append({"kty": "RSA", "kid": kid, "use": "sig", "alg": "RS256", "n": base64url(n), "e": "AQAB"})
        return json.dumps({"keys": keys})

    def token(self, kid, alg="RS256", **claims):
        head = base64url(json.dumps({"alg": alg, "kid": kid, "typ": "JWT"}).encode())
        body = base64url(json.dumps(claims).encode())
        if alg == "none":
            return f"{head}.{body}."
        done = subprocess.run(["openssl", "dgst", "-sha256", "-sign", f"{kid}.rsa"], cwd=self.folder, input=f"{head}.{body}".encode(), capture_output=True,
                              check=True)
        return f"{head}.{body}.{base64url(done.stdout)}"
