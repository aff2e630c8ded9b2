"""The committed vectors are what the tool makes, and have something of every verdict."""

import json

from delta_vectors import FOLDER, GOOD, INTEGRITY, UNSUPPORTED, files


def test_files_are_what_the_tool_makes() -> None:
    assert {path.name: path.read_text() for path in FOLDER.glob("*.json")} == files()


def test_every_verdict_is_among_them_and_names_are_unique() -> None:
    cases = [case for content in files().values() for case in json.loads(content)]
    assert {case["result"] for case in cases} == {GOOD, INTEGRITY, UNSUPPORTED}
    assert len({case["name"] for case in cases}) == len(cases)
