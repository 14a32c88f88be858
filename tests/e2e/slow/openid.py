"""A certified OpenID provider (oidc-provider of npm) on loopback."""

import pathlib
import shutil
import subprocess
import threading

import harness
import requests

HERE = pathlib.Path(__file__).parent / "oidc"
FOLDER = harness.ROOT / "build/oidc-provider"
CLIENT, SECRET = "stranger", "unescaped"  # with nothing to escape: clients differ in how they do that


def installed():
    """The provider with its modules, from npm once."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    lock = FOLDER / "package-lock.json"
    if not lock.exists() or lock.read_bytes() != (HERE / lock.name).read_bytes() or not (FOLDER / "installed").exists():
        shutil.rmtree(FOLDER / "node_modules", ignore_errors=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, FOLDER / name)
        done = subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=FOLDER, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        (FOLDER / "installed").touch()
    shutil.copy(HERE / "provider.js", FOLDER / "provider.js")  # where Node looks for modules
    return FOLDER


class Provider(harness.Process):
    def __init__(self, authority, log, token_seconds):
        pair = authority.make("provider")
        super().__init__(["node", installed() / "provider.js", pair[1], pair[0], token_seconds], log)
        self.given = 0
        threading.Thread(target=self.count, daemon=True).start()

    def count(self):
        for line in self.child.stdout:
            self.given += line.startswith("token ")

    @property
    def url(self):
        return f"https://{self.ready['https']}"

    @property
    def token_url(self):
        """Without TLS, for clients that need not trust the authority."""
        return f"http://{self.ready['http']}/token"

    def token(self):
        answer = requests.post(self.token_url, {"grant_type": "client_credentials", "scope": "kafka"}, auth=(CLIENT, SECRET), timeout=20)
        assert answer.status_code == 200, answer.text
        return answer.json()["access_token"]

    def end(self):
        self.child.terminate()
        self.child.wait(20)
        self.stderr.close()
