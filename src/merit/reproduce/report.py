"""What a reproduction came to, in lines: each stage, what differs inside, why."""

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
    """What a reproduction came to.

    Attributes:
        commit: what was reproduced.
        stages: what each stage came to; none where nothing could be computed.
        data: the line on data that is no longer there, if so.
        inside: lines on what differs inside each output that does.
        causes: lines on what may be the reason where the inputs are the same.
        is_near: whether the test metrics are within the tolerance; None if they are the same or that can't be told.
        other_processor: whether the training ran on another kind of processor; None if nobody recorded it.
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
        """Say whether all came out bit for bit."""
        return self.data is None and not any(stage.outputs for stage in self.stages)

    def lines(self) -> Iterator[str]:
        """Yield what a person reads."""
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
