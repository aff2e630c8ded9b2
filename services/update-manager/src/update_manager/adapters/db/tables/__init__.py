"""Every table of the update manager, in hawkBit's words."""

from update_manager.adapters.db.tables.base import Base, Tenant
from update_manager.adapters.db.tables.deltas import Delta
from update_manager.adapters.db.tables.identity import ApiToken, AuditEntry, User
from update_manager.adapters.db.tables.rollouts import (
    Action,
    ActionStatus,
    Rollout,
    RolloutGroup,
    RolloutTally,
    RolloutTarget,
)
from update_manager.adapters.db.tables.software import (
    Artifact,
    DistributionSet,
    DistributionSetType,
    SoftwareModule,
    SoftwareModuleType,
    distribution_set_module,
    distribution_set_type_module_type,
)
from update_manager.adapters.db.tables.targets import (
    SigningKey,
    Target,
    TargetAttribute,
    TargetEvent,
    TargetFilter,
    TargetMetadata,
    TargetTag,
    TargetType,
    target_tag_assignment,
    target_type_distribution_set_type,
)

__all__ = [
    "Action",
    "ActionStatus",
    "ApiToken",
    "Artifact",
    "AuditEntry",
    "Base",
    "Delta",
    "DistributionSet",
    "DistributionSetType",
    "Rollout",
    "RolloutGroup",
    "RolloutTally",
    "RolloutTarget",
    "SigningKey",
    "SoftwareModule",
    "SoftwareModuleType",
    "Target",
    "TargetAttribute",
    "TargetEvent",
    "TargetFilter",
    "TargetMetadata",
    "TargetTag",
    "TargetType",
    "Tenant",
    "User",
    "distribution_set_module",
    "distribution_set_type_module_type",
    "target_tag_assignment",
    "target_type_distribution_set_type",
]
