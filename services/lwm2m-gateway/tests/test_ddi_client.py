"""Which image of a deployment a device gets, and which deployments are refused instead of waited for."""

from typing import Any

import pytest

from lwm2m_gateway.adapters.ddi_client import Deployment, Unusable, chosen


def artifact(name: str, *, sha256: str = "ab" * 32, link: str = "download-http") -> dict[str, Any]:
    return {
        "filename": name,
        "hashes": {"sha256": sha256, "sha1": "", "md5": ""},
        "size": 1000,
        "_links": {link: {"href": f"http://x/{name}"}},
    }


def chunk(part: str, *artifacts: dict[str, Any]) -> dict[str, Any]:
    return {"part": part, "version": f"1.0.0-{part}", "name": part, "artifacts": list(artifacts)}


def body(*chunks: dict[str, Any], **more: str) -> dict[str, Any]:
    return {"id": "7", "deployment": {"download": "forced", "update": "forced", "chunks": list(chunks), **more}}


A, B = artifact("a.bin"), artifact("b.bin")


@pytest.mark.parametrize(
    ("chunks", "name", "part"),
    [
        ((chunk("firmware", A),), "a.bin", "firmware"),
        ((chunk("os", A), chunk("firmware", B)), "b.bin", "firmware"),
        ((chunk("jvm", A), chunk("bApp", B)), "b.bin", "bApp"),
        ((chunk("bApp", A), chunk("os", B)), "b.bin", "os"),
        ((chunk("os", A, B), chunk("bApp", B)), "b.bin", "bApp"),
        ((chunk("firmware"), chunk("os", A)), "a.bin", "os"),
        ((chunk("firmware", artifact("no-digest", sha256=""), B),), "b.bin", "firmware"),
        ((chunk("firmware", artifact("a.bin", link="download")),), "a.bin", "firmware"),
    ],
)
def test_the_firmware_is_taken_wherever_it_stands_in_the_set(
    chunks: tuple[dict[str, Any], ...], name: str, part: str
) -> None:
    found = chosen(body(*chunks))
    assert isinstance(found, Deployment)
    assert (found.action_id, found.filename, found.url) == (7, name, f"http://x/{name}")
    assert found.version == f"1.0.0-{part}"


@pytest.mark.parametrize(
    ("chunks", "words"),
    [
        ((), "no module at all"),
        ((chunk("firmware"),), "firmware with 0"),
        ((chunk("os", A, B),), "os with 2"),
        ((chunk("jvm", A),), "jvm with 1"),
        ((chunk("firmware", artifact("a.bin", sha256="")),), "firmware with 0"),
        ((chunk("firmware", artifact("a.bin", link="md5sum")),), "firmware with 0"),
    ],
)
def test_a_set_without_an_image_for_the_device_is_refused_in_words(
    chunks: tuple[dict[str, Any], ...], words: str
) -> None:
    refused = chosen(body(*chunks))
    assert isinstance(refused, Unusable)
    assert refused.action_id == 7
    assert words in refused.text


def test_download_only_is_refused_and_a_shut_maintenance_window_is_waited_for() -> None:
    refused = chosen(body(chunk("firmware", A), update="skip"))
    assert isinstance(refused, Unusable)
    assert "download only" in refused.text
    assert chosen(body(chunk("firmware", A), update="skip", maintenanceWindow="unavailable")) is None
    assert isinstance(chosen(body(chunk("firmware", A), maintenanceWindow="available")), Deployment)
