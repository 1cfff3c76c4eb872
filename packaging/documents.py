#!/usr/bin/env python3
"""Puts the documents and examples that a package installs into a folder, with links that work there.

    documents.py REPOSITORY FOLDER

They are what git has of README.md, the other pages beside it, docs/, examples/ and docker/, in the same places to one
another. A link to what is not installed (tests, sources) becomes its text and the path in the source. A link to what is
nowhere ends this with an error.
"""

import re
import subprocess
import sys
from pathlib import Path

INSTALLED = ["README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs", "examples", "docker"]
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")


def main():
    repository, folder = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    tracked = subprocess.run(["git", "-C", repository, "ls-files", "-z", *INSTALLED], check=True, capture_output=True)
    files = sorted(Path(name) for name in tracked.stdout.decode().split("\0") if name)
    there = set(files) | {parent for file in files for parent in file.parents}
    for file in files:
        place = folder / file
        place.parent.mkdir(parents=True, exist_ok=True)
        data = (repository / file).read_bytes()
        if file.suffix == ".md":
            data = with_links(data.decode(), file, there, repository).encode()
        place.write_bytes(data)
        place.chmod(0o644)


def with_links(text, file, there, repository):
    def link(match):
        words, target = match.groups()
        path, _, _ = target.partition("#")
        if not path or re.match(r"[a-z]+:", path):
            return match[0]
        place = (repository / file.parent / path).resolve()
        if not place.exists():
            sys.exit(f"documents: {file}: the link to {target} leads nowhere")
        inside = place.relative_to(repository)
        if inside in there:
            return match[0]
        source = f"`{inside}` in the source"
        return source if words.strip("`") in (str(inside), inside.name, f"{inside}/") else f"{words} ({source})"

    blocks = re.split(r"(?m)^(```.*?^```\s*?$)", text, flags=re.DOTALL)
    # A link may be broken over two lines; in blocks of code there is none.
    return "".join(part if place % 2 else LINK.sub(link, part) for place, part in enumerate(blocks))


main()
