"""Whether a target can be reached, in SQL: one truth for the overview, the preview and the filter field `presence`."""

from typing import Final

from sqlalchemy import ColumnElement, case, func

from update_manager.adapters.db.tables import Target

PRESENCES: Final = ("online", "late", "offline", "never")
# A gateway tells online or offline; a target that polls over DDI has no gateway, and was online when it was heard of.
PRESENCE: Final[ColumnElement[str]] = case(
    (Target.presence_state.is_(None) & Target.last_controller_request_at.is_(None), "never"),
    ((Target.presence_state == "online") & (Target.expected_by < func.now()), "late"),
    (Target.presence_state == "offline", "offline"),
    else_="online",
)
