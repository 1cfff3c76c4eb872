#!/usr/bin/env python3
"""Writes the licences of everything that is linked into the plugin and the command.

    third-party.py METADATA ROOT ZIG OUT

METADATA is what `cargo metadata` says inside the root file system ROOT, ZIG is the linker's folder. The texts are the
crates' own, each printed once. A crate whose licence nobody has looked at, or that brings no text where its licence
wants one, ends this with an error. The last line on standard output is one SPDX expression for all of it.
"""

import json
import re
import sys
import textwrap
from collections import defaultdict
from pathlib import Path

from linked import COMPILER_RT, LIBUNWIND, RUST_STD, by_name, expression

TEXTS = re.compile(r"^(licen[cs]e|copying|notice|unlicense|copyright)", re.IGNORECASE)
LINE = "=" * 100


def texts(folder):
    """The licence files of a crate: beside its manifest, or in a folder of that name."""
    files = [path for path in folder.iterdir() if TEXTS.match(path.name)]
    files = [file for path in files for file in (path.rglob("*") if path.is_dir() else [path])]
    found = (path for path in sorted(files) if path.is_file() and path.suffix not in {".rs", ".toml", ".py"})
    return [path.read_text(encoding="utf-8", errors="replace").strip() for path in found]


def main():
    metadata, root, zig, out = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4])
    holders, listed, expressions = defaultdict(list), [], {own_licence(metadata)}

    def add(name, licence, found):
        listed.append(f"{name}  ({licence})")
        expressions.add(licence)
        for text in found:
            # The same text with other line ends or spacing is the same text.
            holders[" ".join(text.split())].append((name, text))

    apache = Path(__file__).resolve().parent.parent / "LICENSE-APACHE"
    add(*RUST_STD, [apache.read_text().strip()])
    add(*LIBUNWIND, texts(zig / "lib/libunwind"))
    add(*COMPILER_RT, texts(zig))
    missing = []
    for package in by_name(metadata):
        found = texts(root / Path(package["manifest_path"]).parent.relative_to("/"))
        name = f"{package['name']} {package['version']}"
        add(name, expression(package), found)
        if not found:
            missing.append(f"{name}, by {', '.join(package['authors']) or package['repository']}")
    parts = [
        "mosquitto-http-auth is linked with the following, under the licences that their authors chose:",
        "\n".join(listed),
    ]
    if missing:
        parts.append("These bring no text of their licence; it is the one below that has its name:\n\n" + "\n".join(missing))
    for entries in holders.values():
        names = sorted({name for name, _ in entries})
        parts.append(f"{LINE}\n{textwrap.fill(', '.join(names), 100)}\n{LINE}\n\n{entries[0][1]}")
    out.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    print(f"third-party: {len(listed)} parts, {len(holders)} texts", file=sys.stderr)
    print(" AND ".join(simplest(expressions)))


def own_licence(metadata):
    root = metadata["resolve"]["root"]
    return next(package["license"] for package in metadata["packages"] if package["id"] == root)


def simplest(expressions):
    """All that holds at once, each part in brackets where it offers a choice, and one that says the same left out."""
    parts = {}
    for text in sorted(expressions):
        for part in re.split(r"\s+AND\s+", text):
            part = part.removeprefix("(").removesuffix(")")
            if "(" in part or ")" in part:
                sys.exit(f"third-party: the licence {text!r} is nested: look at it first")
            parts.setdefault(frozenset(part.split(" OR ")), part)
    return sorted(f"({part})" if " OR " in part else part for part in parts.values())



main()
