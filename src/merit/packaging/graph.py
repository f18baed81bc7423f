"""One ONNX graph from raw columns to probability: the fitted preprocessing joined to the exported network."""

import logging
import warnings
from collections.abc import Sequence

import onnx
import torch
from onnx import TensorProto, compose, helper
from torch.export import Dim

from merit import artifacts
from merit.config.schema.base import OUTPUT
from merit.errors import MeritError
from merit.models.build import Predictor, Rows


def join(predictor: Predictor, rows: Rows, flags: Sequence[int] = ()) -> onnx.ModelProto:
    """Return the graph of the fitted preprocessing and the network, as one.

    A network with a method `for_inference(flags)` is shipped as what that returns: another network of the same answers,
    cheaper to run.

    Args:
        predictor: the network with what makes predictions of its outputs, in evaluation mode.
        rows: to trace it with.
        flags: the columns of numbers that are 0 or 1.

    Raises:
        MeritError: the network can't be made ready for inference, or torch can't export it.
    """
    transform = onnx.load(artifacts.require(artifacts.TRANSFORM, "features"))
    exported = _exported(_for_inference(predictor, flags), rows, transform.opset_import[0].version)
    exported.ir_version = transform.ir_version
    exported = compose.add_prefix(exported, "/network/")
    inputs = [each.name for each in exported.graph.input]
    outputs = [each.name for each in transform.graph.output]
    joined = compose.merge_models(transform, exported, io_map=list(zip(outputs, inputs, strict=True)))
    return _cleaned(joined)


def _for_inference(predictor: Predictor, flags: Sequence[int]) -> Predictor:
    network = predictor.network
    told = f"package: {type(network).__name__}.for_inference"
    ready = getattr(network, "for_inference", None)
    if not callable(ready):
        return predictor
    try:
        with torch.inference_mode():
            made = ready(flags)
    except Exception as error:  # a network of the project's own can raise anything
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise MeritError(f"{told} failed: {reason}") from error
    if not isinstance(made, torch.nn.Module):
        raise MeritError(f"{told} gave {type(made).__name__}; it must return a torch.nn.Module")
    return Predictor(made, predictor.task, mean=predictor.mean, deviation=predictor.deviation).eval()


def _exported(predictor: Predictor, rows: Rows, opset: int) -> onnx.ModelProto:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    codes, numbers, *arrays = rows.at(slice(0, 2)).inputs
    names = ["codes", "numbers", *(f"array{place}" for place in range(len(arrays)))]
    size = {0: Dim("rows")}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of its own internals here
            program = torch.onnx.export(
                predictor,
                (codes, numbers, *arrays),
                input_names=names,
                output_names=[OUTPUT],
                dynamic_shapes=(size, size, *([(size,) * len(arrays)] if arrays else [])),
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
    output.CopyFrom(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["rows", *_others(output)]))
    onnx.checker.check_model(model)
    return model


def _others(output: onnx.ValueInfoProto) -> list[int]:
    """Return the sizes of an output beside its rows."""
    return [size.dim_value for size in output.type.tensor_type.shape.dim[1:]]
