"""StarDist itself, for tests: a script for the Python of its tool family.

``python stardist_engine.py predict MODEL IMAGE.npy OUT.npz JSON`` writes what
``predict_instances`` gives for an image that csbdeep normalised;
``python stardist_engine.py targets LABELS.npy OUT.npz MARGIN RAYS GRID`` writes the targets of
`train_stardist` for a patch with ``MARGIN`` px around it, and those of StarDist's own training
with its completion of shapes;
``python stardist_engine.py classes MODEL NEW_FOLDER IMAGE.npy`` makes a model with two classes
of a model without. The weights of the new head are not trained: they are the first random ones
with which objects of both classes are found in the image.
"""

import json
import sys
from pathlib import Path

import numpy as np


def load(folder):
    from stardist.models import StarDist2D, StarDist3D

    config = json.loads((folder / "config.json").read_text())
    kind = StarDist3D if config["n_dim"] == 3 else StarDist2D
    return kind(None, name=folder.name, basedir=str(folder.parent))


def predict(folder, source, target, options):
    from csbdeep.utils import normalize

    labels, objects = load(Path(folder)).predict_instances(
        normalize(np.load(source), 1, 99.8), show_tile_progress=False, **json.loads(options)
    )
    np.savez(target, labels=labels, **{k: objects[k] for k in ("prob", "class_id") if k in objects})


def targets(source, target, margin, rays, grid):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bin"))
    from stardist.models.model2d import StarDistData2D
    from train_stardist import targets

    labels, margin, rays, grid = np.load(source), int(margin), int(rays), int(grid)
    edge = labels.shape[0] - margin
    inner = (slice(margin, edge),) * 2
    probability, distances = targets(labels, inner, rays, grid)
    data = StarDistData2D(
        [labels.astype(np.float32)], [labels], 1, rays, 1, patch_size=labels.shape, b=margin,
        grid=(grid, grid), shape_completion=True,
    )  # fmt: skip
    own = [np.asarray(array)[0] for array in data[0][1]]
    np.savez(target, probability=probability, distances=distances, own=own[0], own_distances=own[1])


def classes(folder, target, image):
    from csbdeep.utils import normalize
    from stardist.models import Config2D, StarDist2D

    folder, target = Path(folder), Path(target)
    model = load(folder)
    config = {**json.loads((folder / "config.json").read_text()), "n_classes": 2}
    names = ("n_rays", "grid", "n_classes", "unet_n_depth", "unet_n_filter_base")
    config = Config2D(**{name: config[name] for name in names})
    new = StarDist2D(config, name=target.name, basedir=str(target.parent))
    trained = (layer.get_weights() for layer in model.keras_model.layers if layer.get_weights())
    head = [layer for layer in new.keras_model.layers if "class" in layer.name]
    for layer in new.keras_model.layers:
        if layer not in head and layer.get_weights():
            layer.set_weights(next(trained))
    new.thresholds = model.thresholds._asdict()
    image = normalize(np.load(image), 1, 99.8)
    for seed in range(50):
        rng = np.random.default_rng(seed)
        for layer in head:
            layer.set_weights([rng.normal(0, 0.3, w.shape) for w in layer.get_weights()])
        found = new.predict_instances(image, show_tile_progress=False)[1]["class_id"]
        if len(set(found)) > 1:
            break
    else:
        raise SystemExit("no random head tells two classes apart")
    new.keras_model.save_weights(str(target / "weights_best.h5"))
    (target / "thresholds.json").write_bytes((folder / "thresholds.json").read_bytes())


if __name__ == "__main__":
    {"predict": predict, "targets": targets, "classes": classes}[sys.argv[1]](*sys.argv[2:])
