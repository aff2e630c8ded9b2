"""CoAP on the wire, pure: header, options and Block arithmetic (RFC 7252, RFC 7959). No sockets, no clocks."""

from coap_wire.block import MAX_NUM, MAX_SZX, Block, decode_block, encode_block, szx_for
from coap_wire.codes import Code, Type, dotted, is_request, is_response, is_success
from coap_wire.errors import DecodeError, EncodeError
from coap_wire.message import MAX_TOKEN_BYTES, Message, Options, decode, encode, encode_options
from coap_wire.options import decode_uint, encode_uint, is_critical, is_no_cache_key, is_unsafe
from coap_wire.transmission import DEFAULT_TRANSMISSION, Transmission

__all__ = [
    "DEFAULT_TRANSMISSION",
    "MAX_NUM",
    "MAX_SZX",
    "MAX_TOKEN_BYTES",
    "Block",
    "Code",
    "DecodeError",
    "EncodeError",
    "Message",
    "Options",
    "Transmission",
    "Type",
    "decode",
    "decode_block",
    "decode_uint",
    "dotted",
    "encode",
    "encode_block",
    "encode_options",
    "encode_uint",
    "is_critical",
    "is_no_cache_key",
    "is_request",
    "is_response",
    "is_success",
    "is_unsafe",
    "szx_for",
]
