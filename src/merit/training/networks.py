"""Networks: codes int64 [rows, categories] and numbers float32 [rows, numbers] in, a logit [rows] out.

The run supplies `cardinalities` (codes per category) and `numbers` (columns of numbers); the rest is conf/model.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Codes(nn.Module):
    """One table of vectors for all categories: a lookup per row instead of one per column.

    Args:
        cardinalities: codes per category.
        width: the length of each vector.

    """

    offsets: Tensor

    def __init__(self, cardinalities: Sequence[int], width: int) -> None:
        super().__init__()
        starts = torch.tensor([0, *cardinalities]).cumsum(0)
        self.register_buffer("offsets", starts[:-1], persistent=False)
        self.table = nn.Embedding(max(1, int(starts[-1])), width)

    def forward(self, codes: Tensor) -> Tensor:
        """Return the vectors, [rows, categories, width]."""
        return torch.as_tensor(self.table(codes + self.offsets))


class Linear(nn.Module):
    """Logistic regression: a weight per category value, a weight per number.

    Args:
        cardinalities: codes per category.
        numbers: columns of numbers.

    """

    def __init__(self, cardinalities: Sequence[int], numbers: int) -> None:
        super().__init__()
        self.values = Codes(cardinalities, 1)
        nn.init.zeros_(self.values.table.weight)
        self.numbers = nn.Linear(numbers, 1)

    def forward(self, codes: Tensor, numbers: Tensor) -> Tensor:
        """Return the logits, [rows]."""
        return torch.as_tensor(self.values(codes).sum(dim=(1, 2)) + self.numbers(numbers).squeeze(1))


class MLP(nn.Module):
    """A perceptron over one-hot categories and numbers.

    The first layer over one-hot categories is a sum of rows of its weights, so that is how it is computed.

    Args:
        cardinalities: codes per category.
        numbers: columns of numbers.
        hidden: widths of the hidden layers, at least one.
        dropout: share of hidden units left out in training.

    """

    def __init__(self, cardinalities: Sequence[int], numbers: int, *, hidden: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.values = Codes(cardinalities, hidden[0])
        nn.init.normal_(self.values.table.weight, std=0.05)
        self.numbers = nn.Linear(numbers, hidden[0])
        self.rest = nn.Sequential(nn.ReLU(), nn.Dropout(dropout), perceptron(hidden[0], hidden[1:], dropout))

    def forward(self, codes: Tensor, numbers: Tensor) -> Tensor:
        """Return the logits, [rows]."""
        return torch.as_tensor(self.rest(self.values(codes).sum(dim=1) + self.numbers(numbers)).squeeze(1))


class EmbeddingMLP(nn.Module):
    """A perceptron over learned vectors of the categories, beside the numbers (Guo and Berkhahn 2016).

    Args:
        cardinalities: codes per category.
        numbers: columns of numbers.
        embedding: the length of a category's vector.
        hidden: widths of the hidden layers.
        dropout: share of hidden units left out in training.

    """

    def __init__(
        self,
        cardinalities: Sequence[int],
        numbers: int,
        *,
        embedding: int,
        hidden: Sequence[int],
        dropout: float,
    ) -> None:
        super().__init__()
        self.values = Codes(cardinalities, embedding)
        nn.init.normal_(self.values.table.weight, std=0.1)
        self.layers = perceptron(len(cardinalities) * embedding + numbers, hidden, dropout)

    def forward(self, codes: Tensor, numbers: Tensor) -> Tensor:
        """Return the logits, [rows]."""
        inputs = torch.cat([self.values(codes).flatten(1), numbers], dim=1)
        return torch.as_tensor(self.layers(inputs).squeeze(1))


def perceptron(width: int, hidden: Sequence[int], dropout: float) -> nn.Sequential:
    """Return layers from `width` inputs through the hidden ones to one output."""
    layers: list[nn.Module] = []
    for next_width in hidden:
        layers += [nn.Linear(width, next_width), nn.ReLU(), nn.Dropout(dropout)]
        width = next_width
    return nn.Sequential(*layers, nn.Linear(width, 1))
