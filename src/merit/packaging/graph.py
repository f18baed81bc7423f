"""One ONNX graph from raw columns to probability: the fitted preprocessing joined to the exported network."""

import logging
import warnings

import onnx
import torch
from onnx import TensorProto, compose, helper
from torch import Tensor, nn
from torch.export import Dim

from merit import artifacts
from merit.errors import MeritError

OUTPUT = "probability"


class _Head(nn.Module):
    """The network with its probability: the sigmoid is part of what ships."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, codes: Tensor, numbers: Tensor) -> Tensor:
        return torch.sigmoid(self.network(codes, numbers))


def join(network: nn.Module, arrays: dict[str, Tensor]) -> onnx.ModelProto:
    """Return the graph of the fitted preprocessing and the network, as one.

    Args:
        network: (codes, numbers) -> logits [rows], in evaluation mode.
        arrays: rows to trace it with.

    Raises:
        MeritError: torch can't export the network.
    """
    transform = onnx.load(artifacts.require(artifacts.TRANSFORM, "features"))
    exported = _exported(network, arrays, transform.opset_import[0].version)
    exported.ir_version = transform.ir_version
    exported = compose.add_prefix(exported, "/network/")
    inputs = [each.name for each in exported.graph.input]
    outputs = [each.name for each in transform.graph.output]
    joined = compose.merge_models(transform, exported, io_map=list(zip(outputs, inputs, strict=True)))
    return _cleaned(joined)


def _exported(network: nn.Module, arrays: dict[str, Tensor], opset: int) -> onnx.ModelProto:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    rows = Dim("rows")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of its own internals here
            program = torch.onnx.export(
                _Head(network).eval(),
                (arrays["codes"][:2], arrays["numbers"][:2]),
                input_names=["codes", "numbers"],
                output_names=[OUTPUT],
                dynamic_shapes=({0: rows}, {0: rows}),
                opset_version=opset,
                dynamo=True,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        reason = str(error).splitlines()[0]
        raise MeritError(f"package: torch can't export the network of conf/model to ONNX: {reason}") from error
    assert program is not None
    return program.model_proto


def _cleaned(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop what the exporter noted for debugging: it holds paths of this machine, and no two machines agree on it."""
    del model.metadata_props[:]
    model.doc_string = ""
    model.producer_name = "merit"
    model.producer_version = ""
    model.graph.name = "model"
    for part in [model.graph, *model.graph.node, *model.graph.value_info, *model.graph.initializer]:
        part.doc_string = ""
        if hasattr(part, "metadata_props"):
            del part.metadata_props[:]
    del model.graph.value_info[:]
    output = model.graph.output[0]
    model.graph.node.append(helper.make_node("Identity", [output.name], [OUTPUT]))
    output.CopyFrom(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["rows"]))
    onnx.checker.check_model(model)
    return model
