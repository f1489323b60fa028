"""Section of the configuration about class averages of the newest picks."""

from pydantic import Field

from livepick.config.setting import LIVE, Section, advised

__all__ = ["ClassAverages"]


class ClassAverages(Section):
    """2D class averages of the newest picks, made now and then while the session runs."""

    enabled: bool = Field(default=True, json_schema_extra=LIVE)
    """True to make them. They need the packages of the trainer, and are made by a process of low
    priority; on a machine with two cores or fewer, never while a training runs."""

    every_minutes: float = Field(
        default=10,
        gt=0,
        le=1440,
        examples=["10 costs a core about a twentieth of its time"],
        json_schema_extra=LIVE
        | advised(5, 240, "each takes half a minute of one core, and particles change slowly"),
    )
    """Shortest time between two of them, once there are 4,000 picks. Before, they are made again
    whenever the number of picks has doubled. Without enough new picks, nothing is made."""
