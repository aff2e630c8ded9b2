"""Docs: every relative link leads somewhere, every `make` command exists, every decision says what holds it."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)\s#]+)")
COMMAND = re.compile(r"`make ([a-z ]+?)(?: [A-Z]+=[^`]*)?`")


def pages(root: Path = ROOT) -> list[Path]:
    """README and docs, and the READMEs beside the code."""
    found = [*root.glob("*.md"), *root.glob("docs/**/*.md"), *root.glob("*/*/README.md"), *root.glob("*/README.md")]
    return sorted(page for page in set(found) if ".venv" not in page.parts and ".cache" not in page.parts)


def problems(root: Path = ROOT) -> list[str]:
    """One line for each thing that is wrong."""
    targets = set(re.findall(r"^([a-z-]+):", (root / "Makefile").read_text(), re.MULTILINE))
    found = []
    for page in pages(root):
        text, name = page.read_text(encoding="utf-8"), page.relative_to(root)
        found += [
            f"{name}: the link to {link} leads nowhere"
            for link in LINK.findall(text)
            if not (page.parent / link).exists()
        ]
        for words in COMMAND.findall(text):
            found += [f"{name}: there is no `make {word}`" for word in words.split() if word not in targets]
        if name.parts[:2] == ("docs", "decisions") and "**Held by**" not in text:
            found.append(f"{name}: does not say what holds it")
    return found


def main() -> int:
    """Print problems; 1 when there are any."""
    found = problems()
    sys.stdout.write("".join(f"{line}\n" for line in found) or "docs: good\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
