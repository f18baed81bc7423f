"""Formats the result of a reproduction as lines: each stage, the differences inside outputs, possible causes."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from merit.reproduce.compare import Stage
from merit.reproduce.output_diff import TOLERANCE

SHOWN = 5
WHERE = {
    True: "it was made on another",
    False: "but it was made on the same, where all is to be identical",
    None: "on which it was made was not recorded",
}


@dataclass(frozen=True)
class Outcome:
    """The result of a reproduction.

    Attributes:
        commit: the reproduced commit.
        stages: the differences of each stage; empty if nothing could be computed.
        data: a line about source data that changed since the commit; None if it is the same.
        inside: lines on the differences inside each output that differs, by its path.
        causes: lines on possible causes where the inputs are the same.
        is_near: whether test metrics are within the tolerance; None if they are equal or not comparable.
        other_processor: whether the training ran on another kind of processor; None if that was not recorded.
    """

    commit: str
    stages: list[Stage] = field(default_factory=list)
    data: str | None = None
    inside: dict[str, list[str]] = field(default_factory=dict)
    causes: list[str] = field(default_factory=list)
    is_near: bool | None = None
    other_processor: bool | None = None

    @property
    def is_identical(self) -> bool:
        """Whether every output is bit for bit identical."""
        return self.data is None and not any(stage.outputs for stage in self.stages)

    def lines(self) -> Iterator[str]:
        """Yield the report line by line."""
        width = max((len(stage.name) for stage in self.stages), default=0)
        for stage in self.stages:
            yield f"{stage.name:{width}}  {_of(stage)}"
            for path in stage.outputs:
                yield from (f"{'':{width}}    {path}: {line}" for line in self.inside.get(path, []))
        yield from self._verdict()

    def _verdict(self) -> Iterator[str]:
        short = self.commit[:7]
        if self.data is not None:
            yield f"reproduce: {short} differs in what goes in, so nothing was computed: {self.data}"
            return
        if self.is_identical:
            yield f"reproduce: {short} is identical, all {len(self.stages)} stages bit for bit"
            return
        for stage in self.stages:
            if stage.is_first:
                yield f"reproduce: {short} differs, first in {stage.name}: {_why(stage)}"
        if any(stage.is_first and not stage.inputs for stage in self.stages):
            yield from (f"  {line}" for line in self.causes)
        if self.is_near is not None:
            yield self._tolerance()

    def _tolerance(self) -> str:
        word = "within" if self.is_near else "beyond"
        return (
            f"  the test metrics are {word} the tolerance that holds on another kind of processor "
            f"({TOLERANCE:.0%} of each one's interval); {WHERE[self.other_processor]}"
        )


def _of(stage: Stage) -> str:
    but = f", although {_listed(stage.inputs)}" if stage.inputs else ""
    if not stage.outputs:
        return f"identical{but}"
    after = f", as {', '.join(stage.follows)} does" if stage.follows else ""
    own = f", and {_listed(stage.inputs)}" if stage.inputs else ""
    return f"differs: {', '.join(stage.outputs)}{after}{own}"


def _why(stage: Stage) -> str:
    if stage.inputs:
        return f"{_listed(stage.inputs)}"
    return "the same went in, so it is code that no stage declares, a package, or the machine"


def _listed(lines: list[str]) -> str:
    more = f" and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    return f"{'; '.join(lines[:SHOWN])}{more}"
