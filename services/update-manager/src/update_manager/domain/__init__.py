"""Pure decisions: filters, rollout planning, action states, image verdicts."""
