"""What every service needs and no domain knows: logs, settings, health."""

from servicekit.health import Answer, Handler, json_answer, serve
from servicekit.logs import configure
from servicekit.settings import load, variable

__all__ = ["Answer", "Handler", "configure", "json_answer", "load", "serve", "variable"]
