"""Bugs planted in copies of the firmware core, from firmware/core/tests/bugs.txt: the tests must catch each one."""

from dataclasses import dataclass


class UnplantableError(ValueError):
    """A bug that no longer fits its file: the source has changed, so must the list."""


@dataclass(frozen=True, slots=True)
class Bug:
    """One bug: `name` says what the device would do, `wrong` stands in the place of `right` in `file`."""

    name: str
    file: str
    right: str
    wrong: str

    def planted(self, source: str) -> str:
        """The source with the bug; raises UnplantableError unless `right` is there exactly once."""
        if source.count(self.right) != 1:
            raise UnplantableError(f"{self.name}: {self.file} has {self.right!r} {source.count(self.right)} times")
        return source.replace(self.right, self.wrong)


def read_bugs(text: str) -> list[Bug]:
    """The bugs of a list: blocks with a blank line between them."""
    blocks = [block.splitlines() for block in text.strip().split("\n\n")]
    return [
        Bug(
            block[0],
            block[1].strip(),
            "\n".join(line[2:] for line in block[2:] if line.startswith("- ")),
            "\n".join(line[2:] for line in block[2:] if line.startswith("+ ")),
        )
        for block in blocks
        if not block[0].startswith("#")
    ]
