#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the SPDX 2.3 document of a built millrace: every library that it links or loads, with the Debian package, version and licences
that it comes from, and, told apart, the tools that it is tested with.

    tools/sbom.py build/millrace build/millrace.spdx.json

What is linked is asked of the dynamic linker, what is loaded later (librdkafka, libcurl, libxgboost, libsnappy) is found by its name in the binary;
both with all that they need themselves. Licences are those of /usr/share/doc/PACKAGE/copyright, where it is written for machines."""

import collections
import datetime
import hashlib
import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
SPDX = {  # Debian's short names that are not SPDX's
    "expat": "MIT", "mit/x11": "MIT", "mit": "MIT", "x11": "X11", "isc": "ISC", "zlib": "Zlib", "apache-2": "Apache-2.0", "apache-2.0": "Apache-2.0",
    "bsd-2-clause": "BSD-2-Clause", "bsd-3-clause": "BSD-3-Clause", "bsd-3-clauses": "BSD-3-Clause", "bsd-4-clause": "BSD-4-Clause", "gpl-2": "GPL-2.0-only",
    "gpl-2+": "GPL-2.0-or-later", "gpl-3": "GPL-3.0-only", "gpl-3+": "GPL-3.0-or-later", "lgpl-2": "LGPL-2.0-only", "lgpl-2+": "LGPL-2.0-or-later",
    "lgpl-2.1": "LGPL-2.1-only", "lgpl-2.1+": "LGPL-2.1-or-later", "lgpl-3": "LGPL-3.0-only", "lgpl-3+": "LGPL-3.0-or-later", "curl": "curl", "openssl": "OpenSSL",
    "bsl-1.0": "BSL-1.0", "cc0": "CC0-1.0", "cc0-1.0": "CC0-1.0", "mpl-2.0": "MPL-2.0", "openldap-2.8": "OLDAP-2.8", "unicode": "Unicode-DFS-2016",
}


def run(*args):
    return subprocess.run(args, capture_output=True, text=True, check=True).stdout


def linked(path):
    """soname -> file, of everything that is loaded with it."""
    return {m[1]: m[2] for m in re.finditer(r"^\s*(\S+) => (/\S+)", run("ldd", path), re.M)} | {
        pathlib.Path(m[1]).name: m[1] for m in re.finditer(r"^\s*(/\S*ld-linux\S*) \(", run("ldd", path), re.M)}


def needed(path):
    return set(re.findall(r"\(NEEDED\).*\[(\S+)\]", run("readelf", "-d", path)))


def loaded_later(binary, linked_names):
    """Names of libraries in the binary's texts that it is not linked with."""
    cache = dict(re.findall(r"^\s+(\S+) \(libc6,[^)]*\) => (\S+)", run("/sbin/ldconfig", "-p"), re.M))
    names = {n.decode() for n in re.findall(rb"\0(lib[A-Za-z0-9_+-]+\.so\.[0-9.]+)\0", binary.read_bytes())} - linked_names
    missing = sorted(n for n in names if n not in cache)
    assert not missing, f"not installed here, so their licences cannot be told: {missing}"
    return {n: cache[n] for n in names}


def package_of(path):
    for candidate in (str(pathlib.Path(path).resolve()), path, path.removeprefix("/usr"), "/usr" + path):
        done = subprocess.run(["dpkg-query", "-S", candidate], capture_output=True, text=True)
        if done.returncode == 0:
            return done.stdout.split(": ")[0].split(",")[0]
    raise SystemExit(f"sbom: no Debian package owns {path}")


def facts_of(package):
    form = "${Package}\t${Version}\t${Architecture}\t${source:Package}\t${source:Version}\t${Maintainer}\t${Homepage}"
    return dict(zip(("name", "version", "arch", "source", "source_version", "supplier", "homepage"), run("dpkg-query", "-W", "-f", form, package).split("\t")))


def licence_names(name):
    """The short names in a copyright file for machines (DEP-5), in order; none if it is written for people."""
    path = pathlib.Path("/usr/share/doc") / name / "copyright"
    text = path.read_text(errors="replace") if path.exists() else ""
    if not re.search(r"^Format:\s*\S*copyright-format", text, re.M):
        return []
    stanzas = [s for s in re.split(r"\n\s*\n", text) if re.search(r"^Files:(?!\s*debian/\S*\s*$)", s, re.M)]
    found = [m[1].strip() for s in stanzas for m in re.finditer(r"^License:[ \t]*(\S.*)$", s, re.M)]
    words = [w.strip() for f in found for w in re.split(r"\s+(?:and|or)\s+|,\s*", f) if w.strip()]
    return list(collections.OrderedDict.fromkeys(words))


class Document:
    def __init__(self):
        self.packages, self.relations, self.extracted = {}, [], {}

    def licence(self, package):
        parts = []
        for word in licence_names(package):
            spdx = SPDX.get(word.lower().split(" with ")[0])
            if not spdx:
                spdx = "LicenseRef-Debian-" + re.sub(r"[^A-Za-z0-9.-]", "-", word.replace("+", "-or-later"))
                self.extracted[spdx] = f'What the copyright file of a Debian package calls "{word}"; its text stands there.'
            if spdx not in parts:
                parts.append(spdx)
        return " AND ".join(parts) or "NOASSERTION"

    def debian(self, package):
        facts = facts_of(package)
        key = "SPDXRef-deb-" + re.sub(r"[^A-Za-z0-9.-]", "-", facts["name"])
        if key not in self.packages:
            self.packages[key] = {
                "SPDXID": key, "name": facts["name"], "versionInfo": facts["version"], "downloadLocation": "NOASSERTION", "filesAnalyzed": False,
                "licenseConcluded": "NOASSERTION", "licenseDeclared": self.licence(facts["name"]), "copyrightText": "NOASSERTION",
                "supplier": "Organization: Debian", "sourceInfo": f'built from the Debian source package {facts["source"]} {facts["source_version"]}',
                "externalRefs": [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl",
                                  "referenceLocator": f'pkg:deb/debian/{facts["name"]}@{facts["version"].replace("+", "%2B").replace(":", "%3A")}?arch={facts["arch"]}&distro=debian-12'}],
            } | ({"homepage": facts["homepage"]} if facts["homepage"].startswith("http") else {})
        return key

    def pypi(self, name, version):
        key = "SPDXRef-pypi-" + re.sub(r"[^A-Za-z0-9.-]", "-", name)
        self.packages[key] = {
            "SPDXID": key, "name": name, "versionInfo": version, "downloadLocation": "NOASSERTION", "filesAnalyzed": False, "licenseConcluded": "NOASSERTION",
            "licenseDeclared": "NOASSERTION", "copyrightText": "NOASSERTION",
            "externalRefs": [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": f"pkg:pypi/{name.lower()}@{version}"}]}
        return key

    def relate(self, a, kind, b, comment=None):
        one = {"spdxElementId": a, "relationshipType": kind, "relatedSpdxElement": b} | ({"comment": comment} if comment else {})
        if one not in self.relations:
            self.relations.append(one)


def libraries(doc, binary, ours):
    direct, now = needed(str(binary)), linked(str(binary))
    later = loaded_later(binary, set(now))
    for name, path in sorted(now.items()):
        doc.relate(ours, "DYNAMIC_LINK" if name in direct else "DEPENDS_ON", doc.debian(package_of(path)))
    for name, path in sorted(later.items()):
        key = doc.debian(package_of(path))
        doc.relate(ours, "DEPENDS_ON", key, f"{name} is loaded on first use; without it only what needs it is not to be had")
        for other in sorted(linked(path).values()):
            doc.relate(key, "DEPENDS_ON", doc.debian(package_of(other)))


def test_tools(doc, ours):
    """What `./dev test` and `./dev ci` add; nothing of it is in the program."""
    text = (ROOT / "tools/dev/lib.sh").read_text()
    groups = dict(re.findall(r'^(PKGS_\w+)="([^"]*)"', text, re.M))
    named = set(" ".join(groups.values()).split()) - {w for w in " ".join(groups.values()).split() if w.startswith("$")}
    present = [p for p in sorted(named) if not subprocess.run(["dpkg-query", "-W", p], capture_output=True).returncode]
    for package in present:
        key = doc.debian(package)
        if not any(r["relatedSpdxElement"] == key for r in doc.relations):
            doc.relate(key, "BUILD_TOOL_OF" if package in groups["PKGS_BUILD"].split() else "TEST_TOOL_OF", ours)
    for path in sorted((ROOT / "tests").rglob("requirements*.txt")):
        for name, version in re.findall(r"^([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?==(\S+)", path.read_text(), re.M):
            doc.relate(doc.pypi(name, version), "TEST_TOOL_OF", ours)


def main(binary, out):
    binary = pathlib.Path(binary).resolve()
    version = run(str(binary), "version").split()[1]
    digest = hashlib.sha256(binary.read_bytes()).hexdigest()
    doc, ours = Document(), "SPDXRef-millrace"
    doc.packages[ours] = {
        "SPDXID": ours, "name": "millrace", "versionInfo": version, "downloadLocation": "NOASSERTION", "filesAnalyzed": False, "licenseConcluded": "Apache-2.0",
        "licenseDeclared": "Apache-2.0", "copyrightText": "NOASSERTION", "primaryPackagePurpose": "APPLICATION",
        "checksums": [{"algorithm": "SHA256", "checksumValue": digest}]}
    doc.relate("SPDXRef-DOCUMENT", "DESCRIBES", ours)
    libraries(doc, binary, ours)
    test_tools(doc, ours)
    whole = {
        "spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": f"millrace-{version}",
        "documentNamespace": f"https://spdx.org/spdxdocs/millrace-{version}-{digest[:32]}",
        "creationInfo": {"created": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"), "creators": ["Tool: millrace-sbom"]},
        "packages": list(doc.packages.values()), "relationships": doc.relations,
        "hasExtractedLicensingInfos": [{"licenseId": k, "name": k.removeprefix("LicenseRef-Debian-"), "extractedText": v} for k, v in sorted(doc.extracted.items())]}
    pathlib.Path(out).write_text(json.dumps(whole, indent=1) + "\n")
    linked_n = sum(r["relationshipType"] in ("DYNAMIC_LINK", "DEPENDS_ON") for r in doc.relations)
    print(f"{out}: {len(doc.packages)} packages, {linked_n} links between them")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: tools/sbom.py BINARY FILE")
    main(*sys.argv[1:])
