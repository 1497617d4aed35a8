"""Small ONNX networks and bioimage.io packages, made for tests."""

import json
import zipfile

import numpy as np


def mean_filter(path, size=None, width=5, channels=1, dimensions=2):
    """Write a network that gives the mean of its surroundings, and its negative after that."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    edges = [size or axis for axis in "zyx"[-dimensions:]]
    weights = np.ones((channels, 1, *[width] * dimensions), np.float32) / width**dimensions
    weights[1:] *= -1
    graph = helper.make_graph(
        [
            helper.make_node(
                "Conv", ["image", "weights"], ["map"], pads=[width // 2] * (2 * dimensions)
            )
        ],
        "mean",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, *edges])],
        [helper.make_tensor_value_info("map", TensorProto.FLOAT, [1, channels, *edges])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(path))
    return path


def description(before=(), after=(), size=16, step=16, halo=8, form="0.5"):
    """Return the bioimage.io description of such a network."""
    steps = [[{"id": n, "name": n, "kwargs": k} for n, k in items] for items in (before, after)]
    weights = {"onnx": {"source": "weights.onnx"}}
    if form == "0.4":
        shape = {"min": [1, 1, size, size], "step": [0, 0, step, step]}
        return {
            "format_version": "0.4.10",
            "weights": weights,
            "inputs": [{"axes": "bcyx", "shape": shape, "preprocessing": steps[0]}],
            "outputs": [{"axes": "bcyx", "halo": [0, 0, halo, halo], "postprocessing": steps[1]}],
        }
    first = [{"type": "batch"}, {"type": "channel", "channel_names": ["raw"]}]
    given = {"min": size, "step": step} if step else size
    spaces = [{"type": "space", "id": a, "size": given} for a in "yx"]
    outs = [
        {"type": "space", "id": a, "halo": halo, "size": {"tensor_id": "raw", "axis_id": a}}
        for a in "yx"
    ]
    return {
        "format_version": "0.5.4",
        "weights": weights,
        "inputs": [{"id": "raw", "axes": first + spaces, "preprocessing": steps[0]}],
        "outputs": [{"id": "map", "axes": first + outs, "postprocessing": steps[1]}],
    }


def package(folder, network=mean_filter, packed=False, **about):
    """Write a bioimage.io package; return its folder, or its zip file."""
    folder.mkdir(parents=True, exist_ok=True)
    fixed = about.get("size") if about.get("step") == 0 else None
    network(folder / "weights.onnx", fixed)
    (folder / "rdf.yaml").write_text(json.dumps(description(**about)))
    if not packed:
        return folder
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.iterdir():
            archive.write(file, file.name)
    return path
