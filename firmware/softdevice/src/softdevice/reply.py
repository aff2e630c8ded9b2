"""An answer to a request: code, payload, options; message id and token are the endpoint's business."""

from dataclasses import dataclass

from coap_wire import Options


@dataclass(frozen=True, slots=True)
class Reply:
    """How a request is answered."""

    code: int
    payload: bytes = b""
    options: Options = ()
