"""The Secret API of a Kubernetes API server, on loopback with TLS: GET /api/v1/namespaces/NS/secrets/NAME, and a pod's service account.

It checks the bearer token and knows RBAC as a set of names that may be read; its answers have the shape of the real ones.
"""

import base64
import contextlib
import re
import ssl

from stand_in import Handler, serving


class Cluster:
    """Secrets and rights may be changed at any time; `asked` counts requests."""

    def __init__(self, folder, authority, namespace="models"):
        self.secrets, self.readable, self.token, self.namespace = {}, set(), "pod-token-1", namespace
        self.asked, self.broken = 0, 0
        self.authority, self.account = authority, folder / "serviceaccount"
        self.account.mkdir(parents=True)
        (self.account / "ca.crt").write_bytes(open(authority.ca, "rb").read())
        (self.account / "namespace").write_text(namespace)
        self.renew_token("pod-token-1")

    def renew_token(self, token):
        self.token = token
        (self.account / "token").write_text(token + "\n")

    def put(self, name, **data):
        self.secrets[name] = {k: base64.b64encode(v if isinstance(v, bytes) else v.encode()).decode() for k, v in data.items()}
        self.readable.add(name)

    @contextlib.contextmanager
    def serve(self, hosts="IP:127.0.0.1"):
        """The environment of a pod."""
        pair = self.authority.make("apiserver", hosts=hosts)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*pair)
        with serving(self.handler(), context) as url:
            yield {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": url.rsplit(":", 1)[1]}

    def handler(cluster):
        class ApiServer(Handler):
            def status(self, code, reason, message):
                self.answer(code, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason, "code": code})

            def do_GET(self):
                cluster.asked += 1
                path = re.fullmatch(r"/api/v1/namespaces/([^/]+)/secrets/([^/]+)", self.path)
                user = f"system:serviceaccount:{cluster.namespace}:default"
                if cluster.broken:
                    cluster.broken -= 1
                    self.status(503, "ServiceUnavailable", "the server is currently unable to handle the request")
                elif self.headers.get("Authorization") != f"Bearer {cluster.token}":
                    self.status(401, "Unauthorized", "Unauthorized")
                elif not path or path[1] != cluster.namespace or path[2] not in cluster.readable:
                    name = path[2] if path else "?"
                    self.status(403, "Forbidden", f'secrets "{name}" is forbidden: User "{user}" cannot get resource "secrets" in API group "" in the namespace '
                                                  f'"{path[1] if path else "?"}"')
                elif path[2] not in cluster.secrets:
                    self.status(404, "NotFound", f'secrets "{path[2]}" not found')
                else:
                    self.answer(200, {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": path[2], "namespace": path[1], "resourceVersion": "7"},
                                      "data": cluster.secrets[path[2]], "type": "Opaque"})

        return ApiServer
