"""Versions as devices and images spell them, compared as versions."""

import pytest

from lwm2m_gateway.sessions.versions import same_version


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("1.2.3", "1.2.3+0", True),
        ("1.2.3+4", "1.2.3 build #4", True),
        ("1.2.3.4", "1.2.3+4", True),
        ("v1.2.3", "1.2.3", True),
        ("1.2.3", "1.2.4", False),
        ("nightly", "nightly ", True),
        ("nightly", "1.2.3", False),
        ("", "1.2.3", False),
    ],
)
def test_versions_are_compared_as_versions(one: str, other: str, same: bool) -> None:
    assert same_version(one, other) is same
