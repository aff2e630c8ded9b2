"""Checked pieces of request bodies: hawkBit's lengths, no NUL anywhere, one object where an array is expected."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, StringConstraints


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("text must not hold NUL")
    return text


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=128), AfterValidator(_no_nul)]
Key = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64), AfterValidator(_no_nul)]
Version = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64), AfterValidator(_no_nul)]
Description = Annotated[str, StringConstraints(max_length=512), AfterValidator(_no_nul)]
Colour = Annotated[str, StringConstraints(max_length=16), AfterValidator(_no_nul)]
ControllerId = Annotated[str, StringConstraints(pattern=r"^[^\s\x00-\x1f\x7f]{1,256}$")]
Address = Annotated[str, StringConstraints(max_length=512), AfterValidator(_no_nul)]
Token = Annotated[str, StringConstraints(min_length=1, max_length=128), AfterValidator(_no_nul)]
AsList = BeforeValidator(_listed)


class Body(BaseModel):
    """Unknown members are ignored, as hawkBit does."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)


class Reference(Body):
    """An entity by id."""

    id: int
