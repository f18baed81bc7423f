"""Builds one ONNX graph from raw columns to prediction: the fitted preprocessing joined to the exported network."""

import logging
import warnings
from collections.abc import Sequence

import onnx
import torch
from onnx import TensorProto, compose, helper
from torch.export import Dim

from merit import artifacts
from merit.config.schema.base import OUTPUT_NAME
from merit.errors import MeritError
from merit.models.build import Examples, Predictor


def join_graphs(predictor: Predictor, rows: Examples, flags: Sequence[int] = ()) -> onnx.ModelProto:
    """Return one graph of the fitted preprocessing and the network.

    If the network has a method `for_inference(flags)`, the network that it returns is exported instead: one with the
    same predictions that is cheaper to run.

    Args:
        predictor: the network and the conversion of its outputs to predictions, in evaluation mode.
        rows: example rows to trace the network with.
        flags: the indices of the number columns that are 0 or 1.

    Raises:
        MeritError: `for_inference` fails, or torch can't export the network.
    """
    transform = onnx.load(artifacts.require_path(artifacts.TRANSFORM, "features"))
    exported = _export_network(_prepare_inference(predictor, flags), rows, transform.opset_import[0].version)
    exported.ir_version = transform.ir_version
    exported = compose.add_prefix(exported, "/network/")
    inputs = [each.name for each in exported.graph.input]
    outputs = [each.name for each in transform.graph.output]
    joined = compose.merge_models(transform, exported, io_map=list(zip(outputs, inputs, strict=True)))
    return _strip_metadata(joined)


def _prepare_inference(predictor: Predictor, flags: Sequence[int]) -> Predictor:
    """Return the predictor with the network's inference version, if it has one."""
    network = predictor.network
    label = f"package: {type(network).__name__}.for_inference"
    prepare = getattr(network, "for_inference", None)
    if not callable(prepare):
        return predictor
    try:
        with torch.inference_mode():
            prepared = prepare(flags)
    except Exception as error:  # a network of the project's own can raise anything
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise MeritError(f"{label} failed: {reason}") from error
    if not isinstance(prepared, torch.nn.Module):
        raise MeritError(f"{label} gave {type(prepared).__name__}; it must return a torch.nn.Module")
    return Predictor(prepared, predictor.task, mean=predictor.mean, deviation=predictor.deviation).eval()


def _export_network(predictor: Predictor, rows: Examples, opset: int) -> onnx.ModelProto:
    """Return the predictor as an ONNX graph with a variable number of rows."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    codes, numbers, *arrays = rows.select(slice(0, 2)).inputs
    names = ["codes", "numbers", *(f"array{index}" for index in range(len(arrays)))]
    size = {0: Dim("rows")}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about its own internals here
            program = torch.onnx.export(
                predictor,
                (codes, numbers, *arrays),
                input_names=names,
                output_names=[OUTPUT_NAME],
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


def _strip_metadata(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove the exporter's debugging metadata, which holds paths of this machine and so differs between machines."""
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
    model.graph.node.append(helper.make_node("Identity", [output.name], [OUTPUT_NAME]))
    output.CopyFrom(helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, ["rows", *_read_other_sizes(output)]))
    onnx.checker.check_model(model)
    return model


def _read_other_sizes(output: onnx.ValueInfoProto) -> list[int]:
    """Return the sizes of an output's dimensions after the rows."""
    return [size.dim_value for size in output.type.tensor_type.shape.dim[1:]]
