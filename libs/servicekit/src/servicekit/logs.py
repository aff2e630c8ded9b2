"""One line of structured log per event, secrets never in it."""

import json
import logging
import sys
import time

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}


class LineFormatter(logging.Formatter):
    """`2026-11-23T10:00:00Z INFO  logger message key=value`; line breaks are escaped, so device text forges no line."""

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        text = f"{at}Z {record.levelname:<7} {record.name}: {_flat(record.getMessage())}"
        for key, value in vars(record).items():
            if key not in _STANDARD and not key.startswith("_"):
                text += f" {key}={json.dumps(value, default=str)}"
        if record.exc_info:
            told = self.formatException(record.exc_info).splitlines()
            text += "".join(f"\n    | {_flat(line)}" for line in told)
        return text


def _flat(text: str) -> str:
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def configure(level: str = "INFO") -> None:
    """Log to standard error in one form; libraries that chat per request are kept to warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in ("httpx", "httpcore", "uvicorn.access", "coap-server", "coap", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
