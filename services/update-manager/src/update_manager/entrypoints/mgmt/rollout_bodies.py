"""What a client may ask of a rollout, and how that becomes a plan; hawkBit's body, thresholds in percent as text."""

from datetime import UTC, datetime
from typing import Annotated, Final, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from update_manager.application import rollouts
from update_manager.entrypoints.mgmt.fields import ActionType, Body, Description, Name, Query, refuse_unsupported
from update_manager.errors import ConstraintViolation, NotSupportedYet

# hawkBit's clients say "never start by yourself" with the largest number there is.
NEVER: Final = 2**63 - 1
LATEST: Final = 4102444800000  # the year 2100

Percent = Annotated[str, StringConstraints(pattern=r"^(100|[0-9]{1,2})$")]


class Condition(Body):
    """hawkBit's condition: a threshold in percent, as text."""

    condition: Literal["THRESHOLD"] = "THRESHOLD"
    expression: Percent = "50"


class GroupAction(Body):
    """What follows when a condition holds."""

    action: Literal["NEXTGROUP", "PAUSE"] = "NEXTGROUP"


class GroupBody(Body):
    """A group."""

    name: Name | None = None
    description: Description | None = None
    group_filter: str | None = Field(None, alias="targetFilterQuery")
    confirmation_required: bool = Field(False, alias="confirmationRequired")
    target_percentage: float | None = Field(None, alias="targetPercentage", gt=0, le=100)
    success_condition: Condition | None = Field(None, alias="successCondition")
    success_action: GroupAction | None = Field(None, alias="successAction")
    error_condition: Condition | None = Field(None, alias="errorCondition")
    error_action: GroupAction | None = Field(None, alias="errorAction")


class AskedGroup(GroupBody):
    """A group of a rollout to create."""

    @model_validator(mode="after")
    def _supported(self) -> Self:
        if self.group_filter:
            raise NotSupportedYet("groups with their own filter are not supported yet; others would get the update")
        refuse_unsupported("forced", confirmation=self.confirmation_required)
        return self


class RolloutBody(GroupBody):
    """A rollout to create; its conditions are the defaults of its groups."""

    name: Name
    filter: Query = Field(alias="targetFilterQuery")
    group_filter: None = Field(None, exclude=True)
    set_id: int = Field(alias="distributionSetId")
    amount_groups: int | None = Field(None, alias="amountGroups", ge=1, le=rollouts.MAX_GROUPS)
    groups: list[AskedGroup] | None = Field(None, max_length=rollouts.MAX_GROUPS)
    dynamic: bool = False
    type: ActionType = "forced"
    start_at: int | None = Field(None, alias="startAt", ge=0)
    weight: int | None = Field(None, ge=0, le=1000)

    @model_validator(mode="after")
    def _supported(self) -> Self:
        if self.groups and self.amount_groups is not None:
            raise ConstraintViolation("give either groups or amountGroups")
        if self.dynamic:
            raise NotSupportedYet("dynamic rollouts are not supported yet; devices that come later would be left out")
        refuse_unsupported(self.type, confirmation=self.confirmation_required)
        return self

    def plan(self) -> rollouts.RolloutPlan:
        """As the use case wants it."""
        asked: list[GroupBody] = [*(self.groups or ())] or [GroupBody() for _ in range(self.amount_groups or 1)]
        start = None
        if self.start_at is not None and self.start_at != NEVER:
            start = datetime.fromtimestamp(min(self.start_at, LATEST) / 1000, UTC)
        groups = tuple(self._group(group, number) for number, group in enumerate(asked, 1))
        return rollouts.RolloutPlan(
            self.name, self.description, self.filter, self.set_id, groups, self.type, start, self.weight
        )

    def _group(self, group: GroupBody, number: int) -> rollouts.GroupPlan:
        success = group.success_condition or self.success_condition or Condition()
        # hawkBit's default is 50 for both; a rollout that shall never pause says 100.
        error = group.error_condition or self.error_condition or Condition()
        success_action = group.success_action or self.success_action or GroupAction()
        error_action = group.error_action or self.error_action or GroupAction(action="PAUSE")
        return rollouts.GroupPlan(
            group.name or f"group-{number}",
            int(success.expression),
            int(error.expression),
            group.target_percentage,
            success_action.action,
            error_action.action,
        )


class ChangeBody(Body):
    """What can be changed later."""

    name: Name | None = None
    description: Description | None = None
