"""The application's configuration as a compiler sees it: Kconfig fragments in order, and our own Kconfig's defaults.

Enough of Kconfig for fragments (`CONFIG_NAME=value`, values y, n, numbers and quoted strings) and for the options the
application declares itself; dependencies between Zephyr's options are Zephyr's to judge.
"""

import re
from pathlib import Path
from typing import Final

ZEPHYR: Final = Path(__file__).resolve().parent.parent
APPLICATION: Final = ZEPHYR / "application"
NAMES: Final = ZEPHYR / "tests" / "kconfig-names.txt"

_SETTING: Final = re.compile(r"^(SB_)?CONFIG_(\w+)=(y|n|-?\d+|\".*\")$")
_OPTION: Final = re.compile(r"^config (\w+)\n((?:\t.*\n|\n)*)", re.MULTILINE)
_USED: Final = re.compile(r"\b(SB_)?CONFIG_(\w+)")


def settings(path: Path) -> dict[str, str]:
    """Names (SB_ before sysbuild's) and values of a fragment. Raises ValueError for a line that is neither."""
    found = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line and not line.startswith("#"):
            if (match := _SETTING.match(line)) is None:
                raise ValueError(f"{path.name}:{number}: {line!r} is no setting")
            found[(match[1] or "") + match[2]] = match[3]
    return found


def own_defaults() -> dict[str, str]:
    """Options the application declares, with their defaults; one without a default is n."""
    found = {}
    for name, body in _OPTION.findall((APPLICATION / "Kconfig").read_text()):
        default = re.search(r"^\tdefault (.+)$", body, re.MULTILINE)
        found[name] = default[1] if default else "n"
    return found


def used(text: str) -> set[str]:
    """Every name a text mentions as CONFIG_..."""
    return {(prefix or "") + name for prefix, name in _USED.findall(text)}


def listed() -> dict[str, str]:
    """Names of the list with their source. Raises ValueError for a line without one."""
    found = {}
    for line in NAMES.read_text().splitlines():
        if line and not line.startswith("#"):
            name, source, commit = line.split()
            if re.fullmatch(r"[0-9a-f]{12}", commit) is None:
                raise ValueError(f"{name}: {commit!r} is no commit")
            found[name] = f"{source} {commit}"
    return found


def autoconf(*fragments: str, **more: str) -> str:
    """The header Zephyr would make of prj.conf, these fragments and `more`: one #define for each option that is set."""
    values = own_defaults()
    for name in ("prj.conf", *fragments):
        values |= settings(APPLICATION / name)
    values |= {"BOARD": '"a_board"'} | more
    lines = (f"#define CONFIG_{name} {1 if value == 'y' else value}" for name, value in values.items() if value != "n")
    return "\n".join(lines) + "\n"
