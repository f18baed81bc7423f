"""The reference network in its export form: its first layer is precomputed into fewer matrix products."""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn


class LearnedBins(Protocol):
    """The parameters of bins, each [numbers, bins]: `merit.models.networks.Bins`."""

    @property
    def low(self) -> Tensor:
        """The lower edge of each bin."""

    @property
    def scale(self) -> Tensor:
        """One over the width of each bin."""


class FoldableNetwork(Protocol):
    """The parts of `merit.models.networks.EmbeddingMLP` that are folded, or used unchanged."""

    @property
    def values(self) -> Callable[[Tensor], Tensor]:
        """The embeddings: codes [rows, categories] to [rows, categories, width]."""

    @property
    def bins(self) -> LearnedBins:
        """The bins of the numbers."""

    @property
    def shared(self) -> nn.ModuleList:
        """The linear layers; the first is folded."""

    def apply_members(self, hidden: Tensor) -> Tensor:
        """Return [members, rows, outputs] from the outputs of the first layer."""


class Folded(nn.Module):
    """An `EmbeddingMLP` with its first layer folded: the same outputs from fewer operations.

    A flag (a number that is 0 or 1) fills its bins in one of two ways, so its bins reduce to a shift and one weight.
    The edges of all bins become one matrix, the constant that is subtracted from each bin becomes part of the layer's
    shift, and embeddings and bins are multiplied separately, which avoids concatenating them.

    Args:
        network: the trained network; its later layers are used unchanged.
        flags: indices of the number columns that hold only 0 and 1.
    """

    edges: Tensor
    starts: Tensor
    from_vectors: Tensor
    from_bins: Tensor
    shift: Tensor

    def __init__(self, network: FoldableNetwork, flags: Sequence[int]) -> None:
        super().__init__()
        self.network = network
        # In float64, so that the float32 results don't depend on the order of summation.
        low, scale = network.bins.low.double(), network.bins.scale.double()
        weights = torch.as_tensor(network.shared[0].weight).double().T
        vectors, by_bin = weights.tensor_split([len(weights) - low.numel()])
        by_bin = by_bin.reshape(*low.shape, weights.shape[1])
        is_flag = torch.zeros(len(low), dtype=torch.bool)
        is_flag[list(flags)] = True
        is_number = ~is_flag
        at_0, at_1 = (
            torch.einsum("fb,fbh->fh", ((x - low) * scale).clamp(0, 1)[is_flag], by_bin[is_flag]) for x in (0.0, 1.0)
        )
        identity = torch.eye(len(low))
        folded_buffers = {
            "edges": torch.cat(
                [(identity[:, is_number, None] * scale[is_number]).flatten(1), identity[:, is_flag]], dim=1
            ),
            "starts": torch.cat([-(low * scale)[is_number].flatten(), torch.zeros(len(at_0))]),
            "from_vectors": vectors,
            "from_bins": torch.cat([by_bin[is_number].flatten(0, 1), at_1 - at_0]),
            "shift": at_0.sum(0) - 0.5 * by_bin.sum((0, 1)),
        }
        for name, values in folded_buffers.items():
            self.register_buffer(name, values.float().contiguous())

    def forward(self, codes: Tensor, numbers: Tensor) -> Tensor:
        """Return [members, rows, outputs]."""
        bins = torch.addmm(self.starts, numbers, self.edges).clamp(0, 1)
        shift = self.shift
        if len(self.from_vectors):  # ONNX Runtime refuses empty embeddings
            shift = torch.addmm(shift, self.network.values(codes).flatten(1), self.from_vectors)
        return self.network.apply_members(torch.addmm(shift, bins, self.from_bins))
