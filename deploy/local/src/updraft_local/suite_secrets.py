"""The passwords of a suite: made on its first start, kept beside its data, read again ever after."""

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path


class Unreadable(RuntimeError):
    """What an earlier run left cannot be used; the message says what to do."""


@dataclass(frozen=True)
class Secrets:
    """Made on the first run, kept beside the data, readable by the owner only."""

    postgres: str
    redis: str
    gateway: str
    operator: str

    @classmethod
    def load(cls, folder: Path) -> "Secrets":
        """Read or make them; raises Unreadable."""
        path = folder / "secrets.json"
        if not path.exists():
            if (folder / "postgres" / "data").exists():
                raise Unreadable(
                    f"{path} is gone, and {folder / 'postgres'} cannot be opened without it: put it back, "
                    f"or move {folder} away to begin anew"
                )
            made = {name: secrets.token_urlsafe(18) for name in ("postgres", "redis", "gateway")}
            made["operator"] = "-".join(secrets.token_hex(2) for _ in range(4))
            folder.mkdir(parents=True, exist_ok=True)
            draft = path.with_suffix(".new")
            draft.unlink(missing_ok=True)
            draft.touch(mode=0o600)
            draft.write_text(json.dumps(made))
            os.replace(draft, path)
        try:
            return cls(**json.loads(path.read_text()))
        except (ValueError, TypeError) as error:
            raise Unreadable(f"{path} is damaged: put a good copy back, or move {folder} away to begin anew") from error
