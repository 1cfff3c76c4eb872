"""What is linked into the plugin and the command, for third-party.py and sbom.py."""

import re
import sys

# Licences that ask for no more than their text beside the binary (or not even that).
KNOWN = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0",
    "CDLA-Permissive-2.0", "ISC", "MIT", "MIT-0", "Unicode-3.0", "Unlicense", "Zlib",
}

# What the tools bring along beside the crates: name, licence.
RUST_STD = ("Rust's standard library and what it is made of", "MIT OR Apache-2.0")
LIBUNWIND = ("LLVM's libunwind", "Apache-2.0 WITH LLVM-exception")
COMPILER_RT = ("zig's compiler-rt", "MIT")


def linked(metadata):
    """The packages whose code ends up in the result, by their identifiers: neither build scripts' nor macros'."""
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = metadata["resolve"]["root"]
    seen, waiting = {}, [root]
    while waiting:
        package = waiting.pop()
        if package in seen:
            continue
        # Each with the packages that it needs in its turn.
        seen[package] = [
            dependency["pkg"] for dependency in nodes[package]["deps"]
            if any(kind["kind"] is None for kind in dependency["dep_kinds"])
            and not any("proc-macro" in target["kind"] for target in packages[dependency["pkg"]]["targets"])
        ]
        waiting.extend(seen[package])
    return {name: (packages[name], needed) for name, needed in seen.items()}


def by_name(metadata):
    """The same without the project's own, in order."""
    found = (package for name, (package, _) in linked(metadata).items() if name not in metadata["workspace_members"])
    return sorted(found, key=lambda package: (package["name"], package["version"]))


def expression(package):
    """The package's licence as SPDX writes it; a slash is an old way to say OR."""
    text = re.sub(r"\s*/\s*", " OR ", package["license"] or "")
    for alternative in re.split(r"\s+(?:OR|AND)\s+", text.replace("(", "").replace(")", "")):
        if alternative not in KNOWN:
            sys.exit(f"{package['name']} {package['version']} has the licence {alternative!r}: look at it first")
    return text
