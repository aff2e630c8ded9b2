"""Products (hawkBit: target types) and the keys whose signatures their devices accept."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from frontend.view_models.reading import Json, children, maybe_number, text
from frontend.view_models.releases import Choice

_KEY: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A public key; the fingerprint is what the bootloader compares."""

    name: str
    fingerprint: str
    algorithm: str
    created_at: int | None


@dataclass(frozen=True, slots=True)
class Product:
    """A kind of device."""

    id: str
    key: str
    name: str
    description: str
    keys: tuple[SigningKey, ...]


@dataclass(frozen=True, slots=True)
class ProductForm:
    """What was typed to add a product, and what is wrong with it: field -> sentence."""

    name: str = ""
    key: str = ""
    description: str = ""
    key_name: str = ""
    public_key: str = ""
    errors: Mapping[str, str] = field(default_factory=dict)


def product(source: Json, keys: Any) -> Product:
    """From a target type and the list of its signing keys."""
    return Product(
        id=text(source, "id"),
        key=text(source, "key"),
        name=text(source, "name") or text(source, "key"),
        description=text(source, "description"),
        keys=tuple(
            SigningKey(
                text(item, "name"), text(item, "fingerprint"), text(item, "algorithm"), maybe_number(item, "createdAt")
            )
            for item in children(keys)
        ),
    )


def product_form(given: Mapping[str, str]) -> ProductForm:
    """From the posted fields, with the errors that need no server to see."""
    values = {name: given.get(name, "").strip() for name in ("name", "key", "description", "key_name", "public_key")}
    errors: dict[str, str] = {}
    if not values["name"]:
        errors["name"] = "Give the product a name."
    if not _KEY.fullmatch(values["key"]):
        errors["key"] = "Lower-case letters, digits, dots, dashes; it must start with a letter or digit."
    return ProductForm(**values, errors=errors | key_errors(values["public_key"]))


def key_errors(public_key: str) -> dict[str, str]:
    """What is wrong with a pasted key, before the update manager reads it."""
    if "PRIVATE KEY" in public_key:
        return {"public_key": "This is a private key. Keep it secret; paste the public one (imgtool getpub -e pem)."}
    if public_key and "BEGIN PUBLIC KEY" not in public_key:
        return {"public_key": "Paste the whole PEM text, with its BEGIN PUBLIC KEY line (imgtool getpub -e pem)."}
    return {}


def choices(products: Iterable[Json]) -> tuple[Choice, ...]:
    """The products one may upload for, by id."""
    return tuple(Choice(text(one, "id"), text(one, "name") or text(one, "key")) for one in products)
