"""The reference network as it ships: what training learns bit by bit is worked out once, before the export."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from merit.models.networks import EmbeddingMLP


class Folded(nn.Module):
    """An `EmbeddingMLP` with its first layer folded: the same sums, of fewer terms.

    A number that is 0 or 1 has the bins of a 0 or those of a 1, so all of them come to a shift and one bin of a weight.
    The edges of all bins are one matrix, what is taken from each bin is part of the layer's shift, and vectors and bins
    have a product each, which spares writing them side by side.

    Args:
        network: whose answers to give; its later layers are used as they are.
        flags: the columns of numbers that are 0 or 1.
    """

    edges: Tensor
    starts: Tensor
    from_vectors: Tensor
    from_bins: Tensor
    shift: Tensor

    def __init__(self, network: "EmbeddingMLP", flags: Sequence[int]) -> None:
        super().__init__()
        self.network = network
        # In float64, so that the same weights make the same bits whatever sums them up.
        low, scale = network.bins.low.double(), network.bins.scale.double()
        weights = torch.as_tensor(network.shared[0].weight).double().T
        vectors, by_bin = weights.tensor_split([len(weights) - low.numel()])
        by_bin = by_bin.reshape(*low.shape, weights.shape[1])
        is_flag = torch.zeros(len(low), dtype=torch.bool)
        is_flag[list(flags)] = True
        many = ~is_flag
        at_0, at_1 = (
            torch.einsum("fb,fbh->fh", ((x - low) * scale).clamp(0, 1)[is_flag], by_bin[is_flag]) for x in (0.0, 1.0)
        )
        own = torch.eye(len(low))
        made = {
            "edges": torch.cat([(own[:, many, None] * scale[many]).flatten(1), own[:, is_flag]], dim=1),
            "starts": torch.cat([-(low * scale)[many].flatten(), torch.zeros(len(at_0))]),
            "from_vectors": vectors,
            "from_bins": torch.cat([by_bin[many].flatten(0, 1), at_1 - at_0]),
            "shift": at_0.sum(0) - 0.5 * by_bin.sum((0, 1)),
        }
        for name, values in made.items():
            self.register_buffer(name, values.float().contiguous())

    def forward(self, codes: Tensor, numbers: Tensor) -> Tensor:
        """Return [members, rows, outputs]."""
        bins = torch.addmm(self.starts, numbers, self.edges).clamp(0, 1)
        shift = self.shift
        if len(self.from_vectors):  # ONNX Runtime refuses vectors of nothing
            shift = torch.addmm(shift, self.network.values(codes).flatten(1), self.from_vectors)
        return self.network.members(torch.addmm(shift, bins, self.from_bins))
