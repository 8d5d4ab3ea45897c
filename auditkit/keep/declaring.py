"""Declaring what a trail keeps: its policy, and the moment it is measured from.  Both are events of its own."""

from datetime import datetime

from auditkit.retention.policy import Policy, declare_policy
from auditkit.timerange import to_us
from auditkit.trail.handle import Core
from auditkit.trail.snapshot import NOW_RECORDED, POLICY_SET
from auditkit.write.append import append_own


def set_policy(core: Core, retention: str | Policy | None) -> Policy:
    """Declare a policy from the next event on; it is in force once this returns."""
    policy = declare_policy(retention)
    append_own(core, POLICY_SET, {"policy": policy.spec})
    return policy


def record_now(core: Core, now: datetime) -> None:
    """Record a moment as the trail's "now", which moves the horizon of an idle trail.

    A moment ahead of the machine's clock is refused with `ValueError`.
    """
    now_us = to_us(now)
    if now_us > core.clock.now_us():
        raise ValueError(f"now: ahead of the machine's clock (found {now.isoformat()})")
    append_own(core, NOW_RECORDED, {"now_us": now_us})
