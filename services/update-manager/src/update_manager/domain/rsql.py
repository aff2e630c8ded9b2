"""RSQL / FIQL filters as hawkBit takes them: text in, a tree of comparisons out, errors with their column.

query      := and-part ("," and-part)*          also "or"
and-part   := term (";" term)*                  also "and"; binds tighter than or
term       := "(" query ")" | field operator value
operator   := == != =lt= =le= =gt= =ge= =in= =out= =li= and < <= > >=, =is= =eq= =ne= =not=
value      := word | 'quoted' | "quoted" | "(" word ("," word)* ")" for =in= and =out=
"""

from dataclasses import dataclass
from typing import Final

from update_manager.errors import RsqlSyntaxError

MAX_LENGTH: Final = 4096
MAX_DEPTH: Final = 40
MAX_COMPARISONS: Final = 100

_OPERATORS: Final = {
    "==": "==",
    "=eq=": "==",
    "=is=": "is",
    "!=": "!=",
    "=ne=": "!=",
    "=not=": "not",
    "=lt=": "<",
    "<": "<",
    "=le=": "<=",
    "<=": "<=",
    "=gt=": ">",
    ">": ">",
    "=ge=": ">=",
    ">=": ">=",
    "=in=": "in",
    "=out=": "out",
    "=li=": "==",
}
_RESERVED: Final = "\"'();,=!<> \t"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One test; `values` has one item but for `in` and `out`; `column` is 1-based, of the field."""

    field: str
    operator: str
    values: tuple[str, ...]
    column: int


@dataclass(frozen=True, slots=True)
class Both:
    """All parts hold."""

    parts: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Either:
    """At least one part holds."""

    parts: "tuple[Node, ...]"


Node = Comparison | Both | Either


def parse(query: str) -> Node:
    """Parse a filter; raises RsqlSyntaxError with `column` and a hint."""
    if len(query) > MAX_LENGTH:
        raise RsqlSyntaxError(f"a filter has at most {MAX_LENGTH} characters", column=MAX_LENGTH + 1)
    parser = _Parser(query)
    parser.blank()
    node = parser.either(0)
    if parser.at < len(query):
        raise parser.error("expected ; (and), , (or) or the end")
    return node


class _Parser:
    def __init__(self, text: str) -> None:
        self.text, self.at, self.comparisons = text, 0, 0

    def error(self, message: str, hint: str = "") -> RsqlSyntaxError:
        column = self.at + 1
        found = f"{self.text[self.at]!r}" if self.at < len(self.text) else "the end"
        return RsqlSyntaxError(
            f"{message}, found {found} at column {column}",
            column=column,
            hint=hint or "example: controllerid==dev-*;attribute.model==X1",
        )

    def blank(self) -> None:
        while self.at < len(self.text) and self.text[self.at] in " \t":
            self.at += 1

    def word(self, name: str) -> bool:
        end = self.at + len(name)
        if self.text[self.at : end].lower() == name and (end == len(self.text) or self.text[end] in " \t("):
            self.at = end
            self.blank()
            return True
        return False

    def take(self, character: str) -> bool:
        if self.text[self.at : self.at + 1] == character:
            self.at += 1
            self.blank()
            return True
        return False

    def either(self, depth: int) -> Node:
        parts = [self.both(depth)]
        while self.take(",") or self.word("or"):
            parts.append(self.both(depth))
        return parts[0] if len(parts) == 1 else Either(tuple(parts))

    def both(self, depth: int) -> Node:
        parts = [self.term(depth)]
        while self.take(";") or self.word("and"):
            parts.append(self.term(depth))
        return parts[0] if len(parts) == 1 else Both(tuple(parts))

    def term(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise self.error(f"parentheses nested deeper than {MAX_DEPTH}")
        if self.take("("):
            node = self.either(depth + 1)
            if not self.take(")"):
                raise self.error("expected )")
            return node
        return self.comparison()

    def comparison(self) -> Comparison:
        self.comparisons += 1
        if self.comparisons > MAX_COMPARISONS:
            raise self.error(f"more than {MAX_COMPARISONS} comparisons")
        column = self.at + 1
        field = self.run()
        if not field:
            raise self.error("expected a field name")
        self.blank()
        operator = self.operator()
        self.blank()
        values = self.values() if operator in ("in", "out") else (self.value(),)
        self.blank()
        return Comparison(field, operator, values, column)

    def operator(self) -> str:
        if self.text[self.at : self.at + 1] == "=":
            end = self.text.find("=", self.at + 1)
            symbol = self.text[self.at : end + 1] if end > 0 else ""
        else:
            symbol = next((one for one in ("!=", "<=", ">=", "<", ">") if self.text.startswith(one, self.at)), "")
        if symbol.lower() not in _OPERATORS:
            raise self.error("expected an operator", "operators: == != =lt= =le= =gt= =ge= =in= =out=")
        self.at += len(symbol)
        return _OPERATORS[symbol.lower()]

    def values(self) -> tuple[str, ...]:
        if not self.take("("):
            raise self.error("expected ( after =in= or =out=")
        found = [self.value()]
        self.blank()
        while self.take(","):
            found.append(self.value())
            self.blank()
        if not self.take(")"):
            raise self.error("expected ) or , in a list")
        return tuple(found)

    def value(self) -> str:
        quote = self.text[self.at : self.at + 1]
        if quote in ("'", '"'):
            return self.quoted(quote)
        text = self.run()
        if not text:
            raise self.error("expected a value", "put values with spaces or reserved characters in quotes")
        return text

    def run(self) -> str:
        start = self.at
        while self.at < len(self.text) and self.text[self.at] not in _RESERVED:
            self.at += 1
        return self.text[start : self.at]

    def quoted(self, quote: str) -> str:
        opened = self.at
        self.at += 1
        out = []
        while self.at < len(self.text):
            character = self.text[self.at]
            if character == "\\" and self.text[self.at + 1 : self.at + 2] in (quote, "\\"):
                out.append(self.text[self.at + 1])
                self.at += 2
            elif character == quote:
                self.at += 1
                return "".join(out)
            else:
                out.append(character)
                self.at += 1
        self.at = opened
        raise self.error("a quoted value that never ends")
