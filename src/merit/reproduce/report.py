"""Formats the result of a reproduction as lines: each stage, the differences inside outputs, possible causes."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from merit.reproduce.compare import StageDifference
from merit.reproduce.output_diff import TOLERANCE_SHARE

MAX_DISPLAYED = 5
PROCESSOR_NOTES = {
    True: "it was made on another",
    False: "but it was made on the same, where all is to be identical",
    None: "on which it was made was not recorded",
}


@dataclass(frozen=True)
class ReproductionResult:
    """The result of a reproduction.

    Attributes:
        commit: the reproduced commit.
        stages: the differences of each stage; empty if nothing could be computed.
        data_change: a line about source data that changed since the commit; None if it is the same.
        content_differences: lines on the differences inside each output that differs, by its path.
        causes: lines on possible causes where the inputs are the same.
        is_within_tolerance: whether test metrics are within the tolerance; None if they are equal or not comparable.
        is_other_processor: whether the training ran on another kind of processor; None if that was not recorded.
    """

    commit: str
    stages: list[StageDifference] = field(default_factory=list)
    data_change: str | None = None
    content_differences: dict[str, list[str]] = field(default_factory=dict)
    causes: list[str] = field(default_factory=list)
    is_within_tolerance: bool | None = None
    is_other_processor: bool | None = None

    @property
    def is_identical(self) -> bool:
        """Whether every output is bit for bit identical."""
        return self.data_change is None and not any(stage.changed_outputs for stage in self.stages)

    def as_json(self) -> dict[str, Any]:
        """Return the result for JSON: `identical`, and the attributes."""
        return {"identical": self.is_identical, **asdict(self)}

    def format_lines(self) -> Iterator[str]:
        """Yield the report line by line."""
        width = max((len(stage.name) for stage in self.stages), default=0)
        for stage in self.stages:
            yield f"{stage.name:{width}}  {_format_stage(stage)}"
            for path in stage.changed_outputs:
                yield from (f"{'':{width}}    {path}: {line}" for line in self.content_differences.get(path, []))
        yield from self._format_verdict()

    def _format_verdict(self) -> Iterator[str]:
        short = self.commit[:7]
        if self.data_change is not None:
            yield f"reproduce: {short} differs in what goes in, so nothing was computed: {self.data_change}"
            return
        if self.is_identical:
            yield f"reproduce: {short} is identical, all {len(self.stages)} stages bit for bit"
            return
        for stage in self.stages:
            if stage.is_first_difference:
                yield f"reproduce: {short} differs, first in {stage.name}: {_explain_stage(stage)}"
        if any(stage.is_first_difference and not stage.changed_inputs for stage in self.stages):
            yield from (f"  {line}" for line in self.causes)
        if self.is_within_tolerance is not None:
            yield self._format_tolerance()

    def _format_tolerance(self) -> str:
        word = "within" if self.is_within_tolerance else "beyond"
        return (
            f"  the test metrics are {word} the tolerance that holds on another kind of processor "
            f"({TOLERANCE_SHARE:.0%} of each one's interval); {PROCESSOR_NOTES[self.is_other_processor]}"
        )


def _format_stage(stage: StageDifference) -> str:
    despite = f", although {_join_lines(stage.changed_inputs)}" if stage.changed_inputs else ""
    if not stage.changed_outputs:
        return f"identical{despite}"
    reason = f", as {', '.join(stage.changed_upstream)} does" if stage.changed_upstream else ""
    own_inputs = f", and {_join_lines(stage.changed_inputs)}" if stage.changed_inputs else ""
    return f"differs: {', '.join(stage.changed_outputs)}{reason}{own_inputs}"


def _explain_stage(stage: StageDifference) -> str:
    if stage.changed_inputs:
        return f"{_join_lines(stage.changed_inputs)}"
    return "the same went in, so it is code that no stage declares, a package, or the machine"


def _join_lines(lines: list[str]) -> str:
    more = f" and {len(lines) - MAX_DISPLAYED} more" if len(lines) > MAX_DISPLAYED else ""
    return f"{'; '.join(lines[:MAX_DISPLAYED])}{more}"
