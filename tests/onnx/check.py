"""Runs ONNX's checker and shape inference on every file of a folder: check.py FOLDER."""
import pathlib
import sys

import onnx
from onnx import numpy_helper  # noqa: F401  (fails early where numpy is missing)


def shape_of(value):
    return [dim.dim_value for dim in value.type.tensor_type.shape.dim]


def main():
    files = sorted(pathlib.Path(sys.argv[1]).glob("*.onnx"))
    for file in files:
        model = onnx.load(str(file))
        onnx.checker.check_model(model, full_check=True)
        declared = {value.name: (value.type.tensor_type.elem_type, shape_of(value)) for value in model.graph.output}
        del model.graph.output[:]  # so that inference has to find them
        for name in declared:
            model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
        inferred = onnx.shape_inference.infer_shapes(model, check_type=False, strict_mode=True, data_prop=True)
        for value in inferred.graph.output:
            kind, shape = declared[value.name]
            found = value.type.tensor_type
            assert found.elem_type == kind, f"{file.name}: {value.name} is of type {found.elem_type}, said {kind}"
            if found.HasField("shape"):
                same = len(found.shape.dim) == len(shape) and all(
                    not dim.HasField("dim_value") or dim.dim_value == extent
                    for dim, extent in zip(found.shape.dim, shape))
                assert same, f"{file.name}: {value.name} has shape {shape_of(value)}, said {shape}"
    print(f"{len(files)} files")
    assert len(files) >= int(sys.argv[2]), f"expected at least {sys.argv[2]} files"


main()
