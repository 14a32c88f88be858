"""./dev tidy: the layers of src/, headers that compile alone, dead files, lines that say they are unfinished,
counting inside MIN and MAX.

Reads the same order of floors that the build links by; prints every violation and ends with 1 if there is one.
"""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
SRC = ROOT / "src"
# What a folder may include beside itself: everything on lower floors, but pure folders stand on base alone.
FLOORS = [["base"], ["sys"], ["net", "kafka", "oip"], ["cred"], ["broker"], ["bus", "upstream"], ["flow"], ["gateway", "control"],
          ["app"], ["cli", "console"], ["main.c"]]
PURE = {"kafka": {"base"}, "oip": {"base"}}
BROKER_READERS = {"broker", "bus", "app"}  # only the embedded bus and app look into the broker
TWICE = re.compile(r"\b(?:MIN|MAX)\([^;]*(?:\+\+|--)")
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK|not implemented|unimplemented)\b")
FUNCTION_LINES_MAX, FILE_LINES_MAX = 90, 1200


def below(folder):
    if folder in PURE:
        return PURE[folder] | {folder}
    allowed = {folder}
    for floor in FLOORS:
        if folder in floor:
            return allowed
        allowed |= set(floor)
    raise SystemExit(f"tidy: src/{folder} is on no floor: add it to FLOORS in tools/tidy.py")


def check_includes(problems):
    for path in sorted(SRC.rglob("*.[ch]")):
        folder = path.relative_to(SRC).parts[0]
        for number, line in enumerate(path.read_text().splitlines(), 1):
            found = re.match(r'#include "([a-z0-9]+)/', line)
            if not found or not (SRC / found[1]).is_dir():
                continue
            where = f"{path.relative_to(ROOT)}:{number}"
            if found[1] not in below(folder):
                problems.append(f"{where}: {folder} must not include {found[1]}/")
            if found[1] == "broker" and folder not in BROKER_READERS:
                problems.append(f"{where}: only bus and app may look into the broker")


def check_headers(problems, build):
    if not build.exists():
        return
    for path in sorted(SRC.rglob("*.h")):
        done = subprocess.run(
            ["gcc", "-std=c17", "-D_GNU_SOURCE", "-fsyntax-only", f"-I{SRC}", *(f"-I{d}" for d in generated(build)), "-x", "c", "-"],
            input=f'#include "{path.relative_to(SRC)}"\n', capture_output=True, text=True, check=False)
        if done.returncode:
            problems.append(f"{path.relative_to(ROOT)}: does not compile alone: {done.stderr.splitlines()[0]}")


def generated(build):
    return [build / "src", *(p for p in (build / "src").iterdir() if p.is_dir() and not p.name.endswith(".p"))]


def check_files(problems):
    built = "\n".join(p.read_text() for p in [*ROOT.glob("meson.build"), *SRC.rglob("meson.build"), *ROOT.glob("tests/**/meson.build"),
                                               *ROOT.glob("bench/meson.build")])
    for path in sorted(SRC.rglob("*.c")):
        if path.name not in built and path.stem not in built:
            problems.append(f"{path.relative_to(ROOT)}: no meson.build names it")
    for path in sorted([*SRC.rglob("*.[ch]"), *(ROOT / "tools").rglob("*.py")]):
        if path == pathlib.Path(__file__):
            continue
        text = path.read_text()
        for number, line in enumerate(text.splitlines(), 1):
            if UNFINISHED.search(line):
                problems.append(f"{path.relative_to(ROOT)}:{number}: unfinished by its own words")
            if TWICE.search(line):
                problems.append(f"{path.relative_to(ROOT)}:{number}: MIN and MAX evaluate the one they choose twice: it counts twice")
        if text.count("\n") > FILE_LINES_MAX:
            problems.append(f"{path.relative_to(ROOT)}: {text.count(chr(10))} lines: it wants to be a folder")
        if path.suffix in (".c", ".h") and "SPDX-License-Identifier: Apache-2.0" not in text:
            problems.append(f"{path.relative_to(ROOT)}: no SPDX line")


def check_functions(problems):
    for path in sorted(SRC.rglob("*.c")):
        start = None
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if line == "{":
                start = number
            elif line == "}" and start:
                if number - start > FUNCTION_LINES_MAX:
                    problems.append(f"{path.relative_to(ROOT)}:{start}: a function of {number - start} lines")
                start = None


def check_docs(problems, build):
    made, kept = build / "src/app/config.md", ROOT / "docs/config.md"
    if made.exists() and made.read_text() != kept.read_text():
        problems.append("docs/config.md: not what schema/config.tbl makes; copy build/release/src/app/config.md over it")
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")]:
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            if not (page.parent / link).exists():
                problems.append(f"{page.relative_to(ROOT)}: links to {link}, which is not there")


def check_named_tests(problems):
    """Pages that promise a behaviour name the test that shows it: FILE::TEST, an ellipsis for the file named last."""
    for page in (ROOT / "docs/coming-from-seldon.md", ROOT / "docs/compatibility.md"):
        last = None
        for name, test in re.findall(r"`([\w/….-]+)::(\w+)`", page.read_text()):
            last = last if name == "…" else name
            path = ROOT / ("tests/e2e" if last.endswith(".py") else "tests/unit") / last
            if last != "file" and not (path.exists() and re.search(rf"\b{test}\b", path.read_text())):
                problems.append(f"{page.relative_to(ROOT)}: names {last}::{test}, which is not there")
    page = (ROOT / "docs/compatibility.md").read_text()
    for path in (ROOT / "tests/golden/flow_golden_test.c", ROOT / "tests/golden/gateway_golden_test.c"):
        for label in re.findall(r'^    \{"([a-z0-9-]+/[^"]+)"', path.read_text(), re.M):
            if label not in page:
                problems.append(f"docs/compatibility.md: does not list {label}, which {path.name} lets differ")


def main():
    problems = []
    check_docs(problems, ROOT / "build/release")
    check_named_tests(problems)
    check_includes(problems)
    check_files(problems)
    check_functions(problems)
    check_headers(problems, ROOT / "build/release")
    for problem in problems:
        print(problem)
    print(f"tidy: {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
