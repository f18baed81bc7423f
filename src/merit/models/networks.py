"""The built-in networks: from codes int64 [rows, categories], numbers float32 [rows, numbers] and arrays to outputs.

A network returns [rows, outputs], or [members, rows, outputs] if it is an ensemble, whose predictions
`merit.models.build.Predictor` averages. The run supplies those of the arguments `cardinalities` (codes per category),
`numbers` (columns of numbers), `shapes` (of each array) and `outputs` (1, or the number of classes) that a network
takes; all others come from conf/model.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from merit.models.folded import Folded


class Codes(nn.Module):
    """Embeddings of all categories in one table: one lookup per row instead of one per column.

    Args:
        cardinalities: codes per category.
        width: length of an embedding.
    """

    offsets: Tensor

    def __init__(self, cardinalities: Sequence[int], width: int) -> None:
        super().__init__()
        starts = torch.tensor([0, *cardinalities]).cumsum(0)
        self.register_buffer("offsets", starts[:-1], persistent=False)
        self.table = nn.Embedding(max(1, int(starts[-1])), width)

    def forward(self, codes: Tensor) -> Tensor:
        """Return the embeddings, [rows, categories, width]."""
        return torch.as_tensor(self.table(codes + self.offsets))


class Dropout(nn.Module):
    """Dropout: zeroes a share of the units in training, and scales the others up to keep the mean.

    It is equivalent to `torch.nn.Dropout` at a quarter of the cost on a CPU: that draws a random number per unit, this
    draws 64 bits for four units.

    Args:
        share: share of the units to zero, rounded to a 65,536th.

    Raises:
        ValueError: the share is not from 0 to less than 1.
    """

    LANES = 4
    """Units per number drawn."""

    def __init__(self, share: float) -> None:
        super().__init__()
        if not 0 <= share < 1:
            raise ValueError(f"a share of {share} can't be left out; give one from 0 to less than 1")
        self.share = share
        self._threshold = min(round(share * 2**16), 2**16 - 1)

    def extra_repr(self) -> str:
        """Return the arguments, for `print`."""
        return str(self.share)

    def forward(self, units: Tensor) -> Tensor:
        """Return the units, of any shape, with a share of them zeroed in training."""
        if not self.training or not self._threshold:
            return units
        if units.device.type != "cpu":
            return functional.dropout(units, self.share)
        random_bits = torch.empty(-(-units.numel() // self.LANES), dtype=torch.int64).random_(-(2**63), None)
        lanes = random_bits.view(torch.int16)[: units.numel()].view(units.shape)
        # Compared directly into the units' type: this line takes six times as long by way of bools.
        mask = torch.ge(lanes, self._threshold - 2**15, out=torch.empty_like(units))
        return units * mask.mul_(2**16 / (2**16 - self._threshold))


class Linear(nn.Module):
    """Linear or logistic regression: a weight per category value, a weight per number.

    Args:
        cardinalities: codes per category.
        numbers: columns of numbers.
        outputs: numbers per row.
    """

    def __init__(self, cardinalities: Sequence[int], numbers: int, outputs: int = 1) -> None:
        super().__init__()
        self.values = Codes(cardinalities, outputs)
        nn.init.zeros_(self.values.table.weight)
        self.numbers = nn.Linear(numbers, outputs)

    def forward(self, codes: Tensor, numbers: Tensor) -> Tensor:
        """Return [rows, outputs]."""
        return torch.as_tensor(self.values(codes).sum(dim=1) + self.numbers(numbers))


class MLP(nn.Module):
    """A multilayer perceptron over one-hot categories and numbers.

    A linear layer over one-hot categories is a sum of rows of its weights, and is computed as that.

    Args:
        cardinalities: codes per category.
        numbers: columns of numbers.
        outputs: numbers per row.
        hidden: widths of the hidden layers, at least one.
        dropout: share of hidden units dropped in training.
    """

    def __init__(
        self, cardinalities: Sequence[int], numbers: int, outputs: int = 1, *, hidden: Sequence[int], dropout: float
    ) -> None:
        super().__init__()
        self.values = Codes(cardinalities, hidden[0])
        nn.init.normal_(self.values.table.weight, std=0.05)
        self.numbers = nn.Linear(numbers, hidden[0])
        self.rest = nn.Sequential(
            nn.ReLU(), Dropout(dropout), build_perceptron(hidden[0], hidden[1:], outputs, dropout)
        )

    def forward(self, codes: Tensor, numbers: Tensor) -> Tensor:
        """Return [rows, outputs]."""
        return torch.as_tensor(self.rest(self.values(codes).sum(dim=1) + self.numbers(numbers)))


class EmbeddingMLP(nn.Module):
    """An ensemble in one network, over embeddings of the categories and learned bins of the numbers.

    Numbers are encoded piecewise-linearly as in Gorishniy et al. (2022), but with learned bin edges. The members share
    all large weights and differ by a factor and a shift per hidden unit, as in TabM (Gorishniy et al. 2024): the gain
    of an ensemble at little more than the cost of one network.

    Args:
        cardinalities: codes per category.
        numbers: columns of numbers, standardised.
        outputs: numbers per row.
        members: networks in the ensemble.
        embedding: length of a category's embedding.
        hidden: widths of the hidden layers.
        dropout: share of hidden units dropped in training.
        input_dropout: share of inputs dropped in training.
    """

    def __init__(
        self,
        cardinalities: Sequence[int],
        numbers: int,
        outputs: int = 1,
        *,
        members: int,
        embedding: int,
        hidden: Sequence[int],
        dropout: float,
        input_dropout: float,
    ) -> None:
        super().__init__()
        self.values = Codes(cardinalities, embedding)
        nn.init.normal_(self.values.table.weight, std=0.1)
        self.bins = Bins(numbers)
        widths = [len(cardinalities) * embedding + numbers * self.bins.count, *hidden]
        self.shared = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in pairwise(widths))
        self.factors = nn.ParameterList(1 + 0.5 * torch.randn(members, 1, width) for width in hidden)
        self.shifts = nn.ParameterList(0.1 * torch.randn(members, 1, width) for width in hidden)
        self.heads = nn.Parameter(torch.zeros(members, widths[-1], outputs))
        self.biases = nn.Parameter(torch.zeros(members, 1, outputs))
        self.input_dropout, self.dropout = Dropout(input_dropout), Dropout(dropout)

    def forward(self, codes: Tensor, numbers: Tensor) -> Tensor:
        """Return [members, rows, outputs]; the loss of each member is computed separately."""
        inputs = torch.cat([self.values(codes).flatten(1), self.bins(numbers)], dim=1)
        return self.apply_members(self.shared[0](self.input_dropout(inputs)[None]))

    def apply_members(self, hidden: Tensor) -> Tensor:
        """Return [members, rows, outputs] from the outputs of the first shared layer, [..., rows, width]."""
        for layer, factor, shift in zip([nn.Identity(), *self.shared[1:]], self.factors, self.shifts, strict=True):
            hidden = self.dropout(torch.relu(layer(hidden) * factor + shift))
        # Transposed, the narrow heads take a sixth of the time.
        return torch.as_tensor((self.heads.mT @ hidden.mT).mT + self.biases)

    def for_inference(self, flags: Sequence[int]) -> nn.Module:
        """Return a network with the same outputs at a lower cost; the packaging stage exports it.

        Args:
            flags: indices of the number columns that hold only 0 and 1.
        """
        return Folded(self, flags)


class Bins(nn.Module):
    """Piecewise-linear encoding of standardised numbers: a number fills its bins from the lowest up, each from 0 to 1.

    Args:
        numbers: columns of numbers.
    """

    EDGES = (-8.0, -3.5, -2.05, -1.28, -0.84, -0.52, -0.25, 0.0, 0.25, 0.52, 0.84, 1.28, 2.05, 3.5, 8.0)
    """Initial edges of the bins: the deciles of a standard normal distribution, and points in its tails."""

    def __init__(self, numbers: int) -> None:
        super().__init__()
        edges = torch.tensor(self.EDGES)
        self.count = len(self.EDGES) - 1
        self.low = nn.Parameter(edges[:-1].repeat(numbers, 1))
        self.scale = nn.Parameter((1 / edges.diff()).repeat(numbers, 1))

    def forward(self, numbers: Tensor) -> Tensor:
        """Return the fill of each bin minus a half, [rows, numbers * bins]."""
        filled = (numbers[:, :, None] - self.low) * self.scale
        # clamp would do, but its gradient takes five times as long.
        return (functional.hardtanh(filled, 0.0, 1.0) - 0.5).flatten(1)


MAX_CHANNELS_LAST = 4
"""Maximum length of a last axis that counts as channels: gray, gray and alpha, RGB, or RGBA."""


class CNN(nn.Module):
    """A small convolutional network over arrays of equal height and width, categories and numbers.

    Each block is two 3x3 convolutions and a 2x2 pooling. Arrays are [height, width] with one channel, [channels,
    height, width], or [height, width, channels] if the last axis has at most four entries and both others have more.

    Args:
        cardinalities: codes per category.
        numbers: columns of numbers.
        shapes: shapes of the arrays.
        outputs: numbers per row.
        channels: channels of each block, at least one block.
        hidden: width of the layer after the blocks.
        embedding: length of a category's embedding.
        dropout: share of hidden units dropped in training.
    """

    def __init__(
        self,
        cardinalities: Sequence[int],
        numbers: int,
        shapes: Sequence[Sequence[int]],
        outputs: int = 1,
        *,
        channels: Sequence[int],
        hidden: int,
        embedding: int = 4,
        dropout: float,
    ) -> None:
        super().__init__()
        self.has_channels_last = [are_channels_last(shape) for shape in shapes]
        sizes = [
            (shape[2], *shape[:2]) if last else shape
            for shape, last in zip(shapes, self.has_channels_last, strict=True)
        ]
        image_sizes = {tuple(size[-2:]) for size in sizes}
        if len(image_sizes) != 1 or any(len(shape) not in {2, 3} for shape in shapes):
            raise ValueError(
                f"it takes arrays of one height and width; found the shapes {[list(each) for each in shapes]}"
            )
        height, width = image_sizes.pop()
        if min(height, width) < 2 ** len(channels):
            raise ValueError(f"{len(channels)} blocks halve {height}x{width} to nothing; give fewer channels")
        input_channels = sum(1 if len(size) == 2 else size[0] for size in sizes)
        self.blocks = nn.Sequential(*(build_block(a, b) for a, b in pairwise([input_channels, *channels])))
        self.values = Codes(cardinalities, embedding)
        image_width = channels[-1] * (height // 2 ** len(channels)) * (width // 2 ** len(channels))
        joined_width = image_width + numbers + len(cardinalities) * embedding
        self.rest = nn.Sequential(Dropout(dropout), build_perceptron(joined_width, [hidden], outputs, dropout))

    def forward(self, codes: Tensor, numbers: Tensor, *arrays: Tensor) -> Tensor:
        """Return [rows, outputs]."""
        channels_first = [
            each.movedim(3, 1) if last else each for each, last in zip(arrays, self.has_channels_last, strict=True)
        ]
        images = torch.cat([each[:, None] if each.dim() == 3 else each for each in channels_first], dim=1)
        image_features = self.blocks(images).flatten(1)
        return torch.as_tensor(self.rest(torch.cat([image_features, numbers, self.values(codes).flatten(1)], dim=1)))


def are_channels_last(shape: Sequence[int]) -> bool:
    """Return whether a shape is [height, width, channels]: at most four in the last axis, more in both others."""
    return len(shape) == 3 and shape[2] <= MAX_CHANNELS_LAST < min(shape[:2])


def build_block(in_channels: int, out_channels: int) -> nn.Sequential:
    """Return two 3x3 convolutions and a 2x2 pooling, from `in_channels` to `out_channels` channels."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(out_channels, out_channels, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )


def build_perceptron(width: int, hidden: Sequence[int], outputs: int, dropout: float) -> nn.Sequential:
    """Return layers from `width` inputs through the hidden ones to the outputs."""
    layers: list[nn.Module] = []
    for next_width in hidden:
        layers += [nn.Linear(width, next_width), nn.ReLU(), Dropout(dropout)]
        width = next_width
    return nn.Sequential(*layers, nn.Linear(width, outputs))
