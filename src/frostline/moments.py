"""When did it happen? Moments as records have them, which tell a run from others of its name, and as people read them.

Two runs of a script, or of a cluster, begin within one second; within one microsecond they do not.
"""

from __future__ import annotations

from datetime import UTC, datetime


def moment_now() -> str:
    """ISO 8601 in UTC, to the microsecond."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def moment_for_people(moment: str) -> str:
    """Date and time of a moment of a record, to the second; as it stands where it is none."""
    try:
        own = datetime.fromisoformat(moment)
    except ValueError:
        return moment
    return f"{own.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
