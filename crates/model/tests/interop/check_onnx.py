"""ONNX files that Ibex wrote, checked by onnx and run by onnxruntime beside Ibex's own predictions.

python check_onnx.py FOLDER, where FOLDER holds what `onnx_models FOLDER` wrote. Needs a Python with numpy, onnx and onnxruntime."""
import collections
import json
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime

TYPES = {"f32": np.float32, "i32": np.int32, "bool": np.bool_}


def array(a):
    # JSON has no NaN: there it is null.
    data = [np.nan if v is None else v for v in a["data"]]
    return np.array(data, np.float64).astype(TYPES[a["dtype"]]).reshape(a["shape"])


def difference(got, want):
    """The largest |got - want| / (1 + |want|)."""
    if got.shape != want.shape or got.dtype != want.dtype:
        return f"is {got.dtype} {got.shape}, Ibex gives {want.dtype} {want.shape}"
    got, want = got.astype(np.float64), want.astype(np.float64)
    same = (got == want) | (np.isnan(got) & np.isnan(want))
    with np.errstate(invalid="ignore"):
        return float(np.max(np.where(same, 0, np.abs(got - want) / (1 + np.abs(want))), initial=0))


def check(path, kinds):
    said = json.loads(path.with_suffix(".json").read_text())
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    kinds.update(node.op_type for node in model.graph.node)
    assert (model.ir_version, model.opset_import[0].version) == (8, 18)
    names = lambda values: [v.name for v in values]
    assert names(model.graph.input) == said["inputs"], names(model.graph.input)
    assert len(names(model.graph.output)) == len(said["outputs"])
    if len(said["batches"]) > 1:
        assert all(v.type.tensor_type.shape.dim[0].dim_param == "batch" for v in model.graph.input)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    worst = 0
    for batch in said["batches"]:
        got = session.run(None, dict(zip(said["inputs"], map(array, batch["inputs"]))))
        for output, want in zip(got, map(array, batch["outputs"])):
            distance = difference(output, want)
            assert isinstance(distance, float), distance
            worst = max(worst, distance)
    assert worst <= said["tolerance"], f"differs by {worst:.1e}"
    return worst, len(model.graph.node)


def main():
    paths = sorted(pathlib.Path(sys.argv[1]).glob("*.onnx"))
    assert paths, f"no models in {sys.argv[1]}"
    failed, differences, kinds = [], {}, collections.Counter()
    for path in paths:
        try:
            worst, nodes = check(path, kinds)
            differences[path.stem] = worst
            if len(sys.argv) > 2:
                print(f"{path.stem}: {worst:.1e}, {nodes} nodes, {path.stat().st_size} bytes")
        except Exception as error:
            failed.append(path.stem)
            print(f"{path.stem}: {type(error).__name__}: {error}")
    worst = max(differences, key=differences.get, default=None)
    print(f"{len(paths)} models, {len(kinds)} kinds of operations; the largest difference is",
          f"{differences[worst]:.1e} ({worst})" if worst else "unknown")
    sys.exit(f"{len(failed)} fail: {', '.join(failed)}" if failed else 0)


main()
