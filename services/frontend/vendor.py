"""Fetches the third-party files of the console, checks them against vendor.lock.json, and lays them in their folders.

python services/frontend/vendor.py            fetch with npm, verify, write
python services/frontend/vendor.py --check    offline: are the committed files those of the lock?
python services/frontend/vendor.py --lock     fetch and record new hashes after a version was changed here
"""

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
VENDOR: Final = "src/frontend/static/vendor"
TESTS: Final = "tests/vendor"
LOCK: Final = HERE / "vendor.lock.json"

# package -> (version, licence, {file in the package: file here})
PACKAGES: Final[dict[str, tuple[str, str, dict[str, str]]]] = {
    "htmx.org": (
        "4.0.1",
        "0BSD",
        {
            "dist/htmx.min.js": f"{VENDOR}/htmx.min.js",
            "dist/ext/hx-sse.min.js": f"{VENDOR}/hx-sse.min.js",
            "LICENSE": f"{VENDOR}/licences/htmx.txt",
        },
    ),
    "@fontsource-variable/inter": (
        "5.3.0",
        "OFL-1.1",
        {"files/inter-latin-wght-normal.woff2": f"{VENDOR}/inter.woff2", "LICENSE": f"{VENDOR}/licences/inter.txt"},
    ),
    "@fontsource/ibm-plex-mono": (
        "5.3.0",
        "OFL-1.1",
        {
            "files/ibm-plex-mono-latin-400-normal.woff2": f"{VENDOR}/plex-mono.woff2",
            "LICENSE": f"{VENDOR}/licences/ibm-plex-mono.txt",
        },
    ),
    "axe-core": ("4.14.1", "MPL-2.0", {"axe.min.js": f"{TESTS}/axe.min.js", "LICENSE": f"{TESTS}/axe-licence.txt"}),
    "lucide-static": ("1.62.0", "ISC", {"LICENSE": f"{VENDOR}/licences/lucide.txt"}),
}

ICONS: Final = (
    "arrow-down", "arrow-right", "arrow-up", "check", "chevron-left",
    "chevron-right", "circle-alert", "circle-check", "cpu", "info", "key-round", "layout-dashboard",
    "list-filter", "log-out", "moon", "package", "pause", "play", "plus", "rocket", "search", "shield-check",
    "shield-x", "circle-stop", "sun", "sun-moon", "triangle-alert", "upload", "x",
)  # fmt: skip


class WrongContent(Exception):
    """A fetched or committed file differs from the lock."""


def sha512(content: bytes) -> str:
    """Hex digest, as the lock holds it."""
    return hashlib.sha512(content).hexdigest()


def sprite(icons: dict[str, str]) -> bytes:
    """One SVG of `<symbol>`s from name -> lucide SVG text; `.icon` in base.css gives the strokes."""
    symbols = []
    for name, svg in sorted(icons.items()):
        body = re.sub(r"\s+", " ", svg[svg.index(">", svg.index("<svg")) + 1 : svg.rindex("</svg>")]).strip()
        symbols.append(f'<symbol id="{name}" viewBox="0 0 24 24">{body}</symbol>')
    return ('<svg xmlns="http://www.w3.org/2000/svg">\n' + "\n".join(symbols) + "\n</svg>\n").encode()


def fetch(name: str, version: str, directory: Path) -> bytes:
    """The package's tarball, through the ordinary npm client."""
    packed = subprocess.run(
        ["npm", "pack", "--silent", f"{name}@{version}"], cwd=directory, check=True, capture_output=True, timeout=300
    )
    return (directory / packed.stdout.decode().split()[-1]).read_bytes()


def unpack(tarball: bytes, names: list[str], directory: Path) -> dict[str, bytes]:
    """`names` inside the tarball's `package/` folder -> content."""
    path = directory / "package.tgz"
    path.write_bytes(tarball)
    with tarfile.open(path) as archive:
        found = {}
        for name in names:
            member = archive.extractfile(f"package/{name}")
            assert member is not None, f"{name} is no file"
            found[name] = member.read()
    return found


def collect(locked: dict[str, str] | None) -> tuple[dict[str, str], dict[str, bytes]]:
    """Fetch everything: ({package: SHA-512 of its tarball}, {vendored name: content}).

    Raises WrongContent when `locked` is given and a tarball differs.
    """
    tarballs: dict[str, str] = {}
    files: dict[str, bytes] = {}
    for name, (version, _, wanted) in PACKAGES.items():
        with tempfile.TemporaryDirectory() as temporary:
            directory = Path(temporary)
            tarball = fetch(name, version, directory)
            tarballs[name] = sha512(tarball)
            if locked is not None and locked.get(name) != tarballs[name]:
                raise WrongContent(f"{name} {version} is not the package of {LOCK.name}; nothing was written")
            icons = [f"icons/{icon}.svg" for icon in ICONS] if name == "lucide-static" else []
            contents = unpack(tarball, [*wanted, *icons], directory)
            files |= {target: contents[source] for source, target in wanted.items()}
            if icons:
                files[f"{VENDOR}/icons.svg"] = sprite({Path(icon).stem: contents[icon].decode() for icon in icons})
    return tarballs, files


def check() -> None:
    """Raises WrongContent when a committed file is missing, changed or unknown to the lock."""
    locked: dict[str, str] = json.loads(LOCK.read_text())["files"]
    present = {
        str(path.relative_to(HERE)): path
        for folder in (VENDOR, TESTS)
        for path in (HERE / folder).rglob("*")
        if path.is_file()
    }
    if odd := sorted(locked.keys() ^ present.keys()):
        raise WrongContent(f"files and lock disagree about: {', '.join(odd)}")
    for name, path in present.items():
        if sha512(path.read_bytes()) != locked[name]:
            raise WrongContent(f"{name} is not the file of {LOCK.name}")


def main() -> int:
    """Exit status 0, or 1 with one line on standard error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="verify the committed files; no network")
    parser.add_argument("--lock", action="store_true", help="record the hashes of what npm gives now")
    arguments = parser.parse_args()
    try:
        if not arguments.check:
            tarballs, files = collect(None if arguments.lock else json.loads(LOCK.read_text())["tarballs"])
            for name, content in files.items():
                path = HERE / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            if arguments.lock:
                packages = {name: {"version": v, "licence": licence} for name, (v, licence, _) in PACKAGES.items()}
                hashes = {name: sha512(content) for name, content in sorted(files.items())}
                LOCK.write_text(
                    json.dumps({"packages": packages, "tarballs": tarballs, "files": hashes}, indent=2) + "\n"
                )
        check()
    except WrongContent as error:
        sys.stderr.write(f"vendor: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
