"""Decisions on 2D classes that an edit makes void.

``bootstrap.classes`` has the numbers of classes of one sorting. After a change that sorts the
particles again, the same numbers are those of other classes.
"""

from livepick.config.schema import WrittenConfig
from livepick.config.yaml_edit import Value

__all__ = ["withdrawn_decisions"]


def withdrawn_decisions(config: WrittenConfig) -> dict[str, Value]:
    """Return the settings that withdraw the decisions of a config; empty if it has none."""
    classes = config.bootstrap.classes
    lists = {"accept": classes.accept, "reject": classes.reject}
    return {f"bootstrap.classes.{name}": [] for name, numbers in lists.items() if numbers}
