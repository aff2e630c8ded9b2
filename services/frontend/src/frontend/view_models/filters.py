"""Device filters (RSQL, as hawkBit writes it): made from words and links, and shown with the place of an error."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from frontend.view_models.reading import maybe_number, text


@dataclass(frozen=True, slots=True)
class FilterError:
    """`before` and `rest` are the filter cut at the wrong place; `caret` stands under that place in a fixed font."""

    message: str
    hint: str
    query: str
    caret: str
    column: int | None


def filter_error(query: str, message: str, info: Mapping[str, Any]) -> FilterError:
    """From the update manager's refusal of `query`; `info.column` is 1-based."""
    column = maybe_number(info, "column")
    line = query.replace("\n", " ").replace("\t", " ")
    if column is not None:
        column = min(max(column, 1), len(line) + 1)
    return FilterError(message, text(info, "hint"), line, "" if column is None else " " * (column - 1) + "^", column)


def looks_for(words: str) -> str:
    """The filter for what someone types into a search box: part of an id or a name; a filter is passed through."""
    words = words.strip()
    if not words or any(character in words for character in "=<>!;,()"):
        return words
    part = quoted(f"*{words}*")
    return f"controllerId=={part},name=={part}"


def quoted(value: str) -> str:
    """`value` as an RSQL argument; plain words stay plain."""
    if value and all(character.isalnum() or character in "-._*" for character in value):
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def by_status(key: str) -> str:
    """Link to the devices with this update status."""
    return devices_path(f"updatestatus=={key}")


def by_presence(key: str) -> str:
    """Link to the devices with this presence."""
    return devices_path(f"presence=={key}")


def by_version(product_key: str, version: str) -> str:
    """Link to the devices of a product that run a version."""
    of_kind = [f"targettype.key=={quoted(product_key)}"] if product_key else []
    # What a device reports counts; one that reports nothing (a DDI client) counts by what was installed.
    reported, installed = f"attribute.firmware.version=={quoted(version)}", f"installedds.version=={quoted(version)}"
    of_version = [f"({reported},{installed})"] if version else []
    return devices_path(";".join(of_version + of_kind))


def of_product(key: str) -> str:
    """The filter for all devices of a product."""
    return f"targettype.key=={quoted(key)}"


def devices_path(query: str) -> str:
    """Link to the device list with this filter."""
    return "/devices?" + urlencode({"q": query}, quote_via=quote) if query else "/devices"
