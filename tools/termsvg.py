"""termsvg.py < text-with-ANSI > picture.svg: what a terminal showed, as a picture for the README.

Understands bold (1), dim (2) and reset (0); lines longer than COLUMNS are cut.
"""

import html
import re
import sys

COLUMNS, LINE_HEIGHT, CHARACTER, MARGIN = 132, 17, 7.83, 14
STYLES = {"1": "font-weight:bold;fill:#ffffff", "2": "fill:#8b98a5"}


def spans(line):
    """(text, style) of a line, escapes taken out."""
    style, out, used = "", [], 0
    for part in re.split(r"(\x1b\[[0-9;]*m)", line):
        if part.startswith("\x1b["):
            codes = part[2:-1].split(";")
            style = "" if codes[-1] in ("", "0") else STYLES.get(codes[-1], style)
        elif part:
            part = part[: max(0, COLUMNS - used)]
            used += len(part)
            out.append((part, style))
    return out


def main():
    lines = sys.stdin.read().expandtabs().rstrip("\n").split("\n")
    width, height = round(COLUMNS * CHARACTER + 2 * MARGIN), len(lines) * LINE_HEIGHT + 2 * MARGIN
    print(f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="DejaVu Sans Mono,Menlo,Consolas,monospace" '
          'font-size="13" xml:space="preserve">')
    print(f'<rect width="{width}" height="{height}" rx="8" fill="#16202a"/>')
    for number, line in enumerate(lines):
        y = MARGIN + LINE_HEIGHT * (number + 0.8)
        text = "".join(f'<tspan style="{s}">{html.escape(t)}</tspan>' if s else f"<tspan>{html.escape(t)}</tspan>" for t, s in spans(line))
        if text:
            print(f'<text x="{MARGIN}" y="{y:.0f}" fill="#d7dee4" style="white-space:pre">{text}</text>')
    print("</svg>")


if __name__ == "__main__":
    main()
