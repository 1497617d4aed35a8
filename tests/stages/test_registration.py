"""Registration and denoising: known drift brought back, the engines' own numbers, any batch."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import preprocess_chain
import preprocess_denoise
import preprocess_transform
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from skimage import io

from cytoloom import images, layouts, resampling, shifts, tables, transforms
from cytoloom.errors import InputMissing
from cytoloom.pixels import rounded
from cytoloom.regions import cut
from cytoloom.transforms import Affine

PROJECT = Path(__file__).resolve().parents[2]
PIXEL = (1.5, 0.5, 0.5)


def write(folder, movie, batch=None, pixel=PIXEL, channel="a"):
    """Write a movie (t, z, y, x) in batches of frames; return its glob and regions."""
    t, z, y, x = movie.shape
    layout = layouts.Layout(
        movie.shape, movie.dtype, (1, z, y, x), (1, z, y, x), pixel, 60.0, "p", channel, "image"
    )
    regions = list(cut(movie.shape, (batch or t, z, y, x)))
    for index, region in enumerate(regions):
        path = folder / f"p.i.{channel}.image.{index:04d}.zarr"
        images.write_part(path, movie[region.slices], region=region, like=layout)
    return str(folder / f"p.i.{channel}.image.*.zarr"), regions


def blobs(shape, count=60, seed=0):
    """Return a smooth scene of cells of several sizes, float, about 20 to 300 counts."""
    rng = np.random.default_rng(seed)
    out = np.zeros(shape)
    for size in (2.0, 4.0):
        points = np.zeros(shape)
        points[tuple(rng.integers(0, n, count) for n in shape)] = rng.uniform(0.5, 1, count)
        sigma = [size / 2 if len(shape) == 3 and a == 0 else size for a in range(len(shape))]
        one = ndimage.gaussian_filter(points, sigma, mode="wrap")
        out += one / one.max()
    return 20 + 150 * out


def moved(scene, shift, margin):
    """Shift a periodic scene by a fraction of a pixel, exactly, and cut its margin off."""
    spectrum = ndimage.fourier_shift(np.fft.fftn(scene), shift)
    inner = tuple(slice(m, n - m) for m, n in zip(margin, scene.shape, strict=True))
    return np.fft.ifftn(spectrum).real[inner]


def noisy(image, rng, readout=3.0):
    """Return an image with shot and readout noise, uint16."""
    photons = rng.poisson(np.clip(image, 0, None)) + rng.normal(0, readout, image.shape)
    return np.clip(np.rint(photons), 0, 65535).astype(np.uint16)


@pytest.fixture
def register(family_python, tmp_path):
    """Register a movie in the family's environment, batch by batch; return table and layer."""
    python = family_python("ants")

    def call(name, **options):
        words = [f"--{key}={value}" for key, value in options.items()]
        done = subprocess.run(
            [python, PROJECT / "bin" / f"{name}.py", *words],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def run(movie, batch=None, pixel=PIXEL, folder="whole", **options):
        place = tmp_path / folder
        place.mkdir()
        pattern, regions = write(place, movie, batch, pixel)
        align = {k: v for k, v in options.items() if k in ("transform", "stacks", "interpolation")}
        fit = {k: v for k, v in options.items() if k != "interpolation"}
        for i, region in enumerate(regions):
            call("preprocess_register", image=pattern, region=region,
                 **{"out-pairs": place / f"pairs.{i}.npz"}, **fit)  # fmt: skip
        table = place / "transforms.parquet"
        call("preprocess_chain", pairs=place / "pairs.*.npz", **{"out-transforms": table})
        for i, region in enumerate(regions):
            outputs = {"out-image": place / f"out.{i}.zarr", "out-warp": place / f"warp.{i}.npz"}
            call("preprocess_align", image=pattern, transforms=table, region=region, **align,
                 **outputs)  # fmt: skip
        return table, images.open_layer(place / "out.*.zarr").read()

    return run


def error_of(table, drift, shape, pixel=PIXEL):
    """Return the greatest distance of a corner from where it should be found [px]."""
    maps = transforms.read(str(table))
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape[1:]])).reshape(3, -1).T
    points = corners * np.asarray(pixel)
    return max(
        float(np.abs(maps[t](points) / pixel - corners - drift[t]).max()) for t in range(shape[0])
    )


@pytest.mark.slow
def test_a_noisy_movie_with_drift_over_windows_comes_back(register):
    rng = np.random.default_rng(4)
    steps = rng.normal((0.9, -0.6), 0.8, (8, 2))
    drift = np.cumsum(steps, axis=0) - steps[0]
    scene = blobs((256, 256), 200)
    movie = np.stack([noisy(moved(scene, d, (32, 32)), rng) for d in drift])[:, None]
    full = np.column_stack([np.zeros(8), drift])
    table, whole = register(movie, stacks=4)
    assert error_of(table, full, movie.shape) < 0.1
    again, parts = register(movie, 3, folder="parts", stacks=4)
    np.testing.assert_array_equal(parts, whole)
    assert tables.read_table(again).equals(tables.read_table(table))
    inner = np.s_[:, 0, 12:-12, 12:-12]
    clean = moved(scene, drift[0], (32, 32))[12:-12, 12:-12]
    before, after = (np.abs(m[inner].mean(0) - clean).mean() for m in (movie, whole))
    assert after < 0.4 * before
    found = tables.read_table(table)
    np.testing.assert_allclose(found["drift_y_um"], found["drift_y"] * PIXEL[1])
    np.testing.assert_allclose(found["drift_y"], drift[:, 0], atol=0.1)
    np.testing.assert_allclose(found["drift_x"], drift[:, 1], atol=0.1)


@pytest.mark.slow
def test_a_real_movie_shifted_on_purpose(shared, register):
    """What is found in a shifted movie, less what is found in the movie itself, is the shift."""
    path = shared / "segmentation" / "stardist" / "img2d.tif"
    if not path.is_file():
        pytest.skip(f"no image at {path}")
    scene = io.imread(path).astype(float)
    rng = np.random.default_rng(0)
    drift = np.array([[0, 0], [0.37, -0.81], [14.6, 9.25], [40.3, -31.7]])
    movie = np.stack([noisy(moved(scene, d, (140, 140)), rng) for d in drift])[:, None]
    table, _ = register(movie, stacks=12)
    assert error_of(table, np.column_stack([np.zeros(4), drift]), movie.shape) < 0.1


@pytest.mark.slow
def test_rotation(register):
    scene, angle = blobs((220, 220), 160), np.radians(2.0)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.array([109.5, 109.5])
    turned = ndimage.affine_transform(scene, turn, middle - turn @ middle, order=5, mode="wrap")
    rng = np.random.default_rng(1)
    movie = np.stack([noisy(f[30:-30, 30:-30], rng) for f in (scene, turned)])[:, None]
    table, _ = register(movie, stacks=2)
    found = tables.read_table(table)
    assert abs(abs(found["rotation_deg"][1]) - 2.0) < 0.05
    assert found["drift_um"][1] < 0.1 * PIXEL[1]


@pytest.mark.slow
def test_anisotropic_volumes(register):
    rng = np.random.default_rng(2)
    scene = blobs((32, 96, 96), 150)
    drift = np.array([[0, 0, 0], [0.6, -2.3, 1.7]])
    movie = np.stack([noisy(moved(scene, d, (4, 16, 16)), rng) for d in drift])
    table, _ = register(movie, stacks=2, transform="translation", pixel=(2.0, 0.5, 0.5))
    assert error_of(table, drift, movie.shape, (2.0, 0.5, 0.5)) < 0.1


@pytest.mark.slow
def test_deformable_and_its_fields_on_another_channel(register, tmp_path):
    scene, rng = blobs((160, 160), 120), np.random.default_rng(3)
    y, x = np.mgrid[:160, :160].astype(float)
    bent = ndimage.map_coordinates(scene, (y + 2 * np.sin(x / 25), x), order=3, mode="wrap")
    frames = [scene, scene, bent]
    movie = np.stack([noisy(f[16:-16, 16:-16], rng) for f in frames])[:, None]
    _, rigid = register(movie, folder="rigid", stacks=2)
    table, found = register(movie, transform="deformable", stacks=2)
    clean = scene[16:-16, 16:-16]
    left = [np.abs(m[2, 0, 8:-8, 8:-8] - clean[8:-8, 8:-8]).mean() for m in (rigid, found)]
    assert left[1] < 0.8 * left[0]
    pattern, _ = write(tmp_path, movie, channel="b")
    out = tmp_path / "b.zarr"
    preprocess_transform.main(pattern, str(table), out, warp=str(tmp_path / "whole" / "warp.*.npz"))
    np.testing.assert_array_equal(images.open_layer(out).read(), found)


@pytest.mark.slow
def test_constant_frames_and_a_single_frame(register):
    scene = blobs((96, 96))
    movie = np.stack([scene, np.full_like(scene, 7), scene]).astype(np.uint16)[:, None]
    table, found = register(movie, stacks=3)
    np.testing.assert_allclose(tables.read_table(table)["drift_um"], 0, atol=0.02)
    assert np.isnan(tables.read_table(table)["correlation"][1])
    assert (found[1] == 7).all()
    table, found = register(movie[:1], folder="single")
    np.testing.assert_array_equal(found, movie[:1])


@pytest.mark.slow
def test_a_fit_is_antspys_own(family_python, tmp_path):
    script = tmp_path / "fit.py"
    script.write_text(f"""\
import sys
sys.path[:0] = [{str(PROJECT / "bin")!r}, {str(PROJECT / "tests" / "stages")!r}]
import numpy as np
from scipy import ndimage
from cytoloom import ants_fits
ants = ants_fits.load()
rng = np.random.default_rng(0)
one = ndimage.gaussian_filter(rng.random((128, 128)), 3).astype(np.float32) * 1000
two = ndimage.rotate(one, 2.0, reshape=False, order=3, mode="nearest").astype(np.float32)
two = ndimage.shift(two, (0.4, -0.3), order=3, mode="nearest")
found = ants_fits.fit(one, two, "rigid", (0.5, 0.5), smoothing=0)
start = ants_fits.shifts.find(*(ants_fits.shifts.smooth(i) for i in (one, two))) * 0.5
a = ants.from_numpy(one, spacing=(0.5, 0.5))
b = ants.from_numpy(two, spacing=(0.5, 0.5), origin=tuple(-start))
own = ants.registration(a, b, "Rigid", initial_transform="Identity", random_seed=1)
point = ants.read_transform(own["fwdtransforms"][0]).apply_to_point((20.0, 30.0))
mine = found.map(np.array([0, 20.0, 30.0]))[1:]
np.testing.assert_allclose(mine, np.array(point) + start, atol=1e-4)
from cytoloom import resampling
from cytoloom.transforms import Affine
turn = np.eye(3)
turn[1:, 1:] = [[np.cos(0.05), -np.sin(0.05)], [np.sin(0.05), np.cos(0.05)]]
map_ = Affine(turn, np.array([0, 1.2, -2.1]))
tx = ants.create_ants_transform(
    transform_type="AffineTransform", precision="float", dimension=2,
    matrix=turn[1:, 1:], translation=map_.offset[1:])
for ours, theirs in (("linear", "linear"), ("cubic", "bspline"), ("nearest", "nearestneighbor")):
    mine = resampling.resample(one[None], map_, (1, 0.5, 0.5), interpolation=ours, fill=0.0)[0]
    its = tx.apply_to_image(a, reference=a, interpolation=theirs).numpy()
    differ = (np.abs(mine - its) > 1e-2) & (mine != 0)  # ITK goes half a pixel beyond the edge
    assert differ.mean() < (0.002 if ours == "nearest" else 1e-4), (ours, differ.mean())
""")
    done = subprocess.run(
        [family_python("ants"), script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


vectors = st.lists(st.floats(-50, 50), min_size=3, max_size=3)


@given(vectors, st.floats(-3, 3))
def test_maps_and_their_inverses(offset, angle):
    turn = np.eye(3)
    turn[1:, 1:] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    map_ = Affine(turn, np.array(offset))
    points = np.random.default_rng(0).uniform(-100, 100, (5, 3))
    np.testing.assert_allclose(map_.inverse()(map_(points)), points, atol=1e-9)
    np.testing.assert_allclose(map_.after(map_)(points), map_(map_(points)), atol=1e-9)
    np.testing.assert_allclose(
        np.angle(np.exp(1j * (np.radians(transforms.rotation(map_)) - angle))), 0, atol=1e-9
    )


@given(st.integers(1, 5), st.integers(0, 99))
def test_the_chain_gives_the_drift_from_frame_0(stacks, seed):
    """Windows whose references lie anywhere: what is between them cancels."""
    rng = np.random.default_rng(seed)
    drift, places = rng.normal(0, 5, (11, 3)), rng.normal(0, 5, (11, 3))
    frames = {t: Affine.translation(drift[t] - places[t // stacks]) for t in range(11)}
    windows = {k: Affine.translation(places[k] - places[k - 1]) for k in range(1, 10 // stacks + 1)}
    found = preprocess_chain.chain(frames, windows, stacks)
    for t in range(11):
        np.testing.assert_allclose(found[t].offset, drift[t] - drift[0], atol=1e-9)


@pytest.mark.parametrize("shift", [(0, 0), (11, -23), (-40, 7)])
def test_rough_shifts(shift):
    rng = np.random.default_rng(0)
    scene = blobs((200, 200), 150)
    one, two = (noisy(moved(scene, s, (30, 30)), rng).astype(np.float32) for s in ((0, 0), shift))
    found = shifts.find(shifts.smooth(one), shifts.smooth(two))
    np.testing.assert_allclose(found, shift, atol=0.5)


def test_pixels_from_outside_and_whole_steps():
    image = np.arange(20, dtype=np.uint16).reshape(1, 4, 5) * 100
    step = Affine.translation((0, 0.5, -0.5))
    found = resampling.resample(image, step, PIXEL, fill=9)
    np.testing.assert_array_equal(found[0, :3, 1:], image[0, 1:, :-1])
    assert (found[0, 3] == 9).all()
    assert (found[0, :, 0] == 9).all()
    median = resampling.resample(image, step, PIXEL)[0, 3, 0]
    assert median == np.median(image)
    assert transforms.valid_share(step, image.shape, PIXEL) == pytest.approx(12 / 20)


def test_a_frame_without_transform_is_named(tmp_path):
    movie = np.zeros((3, 1, 16, 16), np.uint8)
    about = {"position": "p", "channel": "a", "pixel_size": PIXEL, "frame_interval": None}
    transforms.write(
        tmp_path / "t.parquet", {0: Affine.identity()}, kind="rigid", shape=(1, 16, 16),
        about=about, correlation={},
    )  # fmt: skip
    pattern, _ = write(tmp_path, movie)
    with pytest.raises(InputMissing, match="no transform of frame 1"):
        preprocess_transform.main(pattern, str(tmp_path / "t.parquet"), tmp_path / "o.zarr")


# ---- denoising


def psnr(clean, image):
    return 10 * np.log10((clean.max() - clean.min()) ** 2 / np.mean((clean - image) ** 2))


def denoise(python, folder, movie, batch, **options):
    pattern, regions = write(folder, movie, batch)
    words = [f"--{key}={value}" for key, value in options.items()]
    for i, region in enumerate(regions):
        done = subprocess.run(
            [python, PROJECT / "bin" / "preprocess_denoise.py", "--image", pattern,
             "--region", str(region), "--out-image", folder / f"out.{i}.zarr",
             "--out-statistics", folder / f"out.{i}.parquet", *words],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    return images.open_layer(folder / "out.*.zarr").read()


SCRIPT = """\
import sys
import numpy as np
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle, denoise_wavelet
from skimage.restoration import estimate_sigma
method, source, target = sys.argv[1:]
plane = np.load(source).astype(float)
sigma = estimate_sigma(plane)
if method == "nlm":
    out = denoise_nl_means(plane, patch_size=5, patch_distance=6, h=0.8 * sigma, sigma=sigma)
elif method == "tv":
    out = denoise_tv_chambolle(plane, weight=sigma)
elif method == "wavelet":
    out = denoise_wavelet(plane, sigma=sigma, rescale_sigma=True)
else:
    import bm3d
    low, span = plane.min(), np.ptp(plane)
    out = bm3d.bm3d((plane - low) / span, sigma / span) * span + low
np.save(target, out)
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["nlm", "wavelet", "tv", "bm3d"])
def test_denoising_is_the_engines_own(family_python, tmp_path, method):
    python = family_python("bm3d" if method == "bm3d" else "ants")
    size, frames = (64, 1) if method == "bm3d" else (128, 3)
    clean = blobs((size, size), size // 2)
    rng = np.random.default_rng(5)
    movie = np.stack([noisy(clean, rng, 8.0) for _ in range(frames)])[:, None]
    (tmp_path / "whole").mkdir()
    found = denoise(python, tmp_path / "whole", movie, None, method=method)
    np.save(tmp_path / "in.npy", movie[0, 0])
    script, alone = tmp_path / "engine.py", tmp_path / "alone.npy"
    script.write_text(SCRIPT)
    subprocess.run([python, script, method, tmp_path / "in.npy", alone], check=True)
    engine = np.load(alone)
    differ = np.abs(found[0, 0].astype(int) - rounded(engine, movie.dtype).astype(int))
    assert differ.max() <= (method == "bm3d")  # BM3D's own threads change its last digits
    assert differ.mean() < 1e-3
    gain = psnr(clean, found[0, 0]) - psnr(clean, movie[0, 0])
    assert gain > 3
    assert gain > psnr(clean, engine) - psnr(clean, movie[0, 0]) - 0.02  # rounding to counts
    if frames > 1:
        (tmp_path / "parts").mkdir()
        parts = denoise(python, tmp_path / "parts", movie, 1, method=method)
        np.testing.assert_array_equal(parts, found)


def test_constant_and_tiny_planes_stay(tmp_path):
    assert preprocess_denoise.noise_of(np.full((2, 5, 5), 3.0)) == 0
    plane = np.full((32, 32), 3.0)
    assert preprocess_denoise.denoise(plane, 2.0, "nlm") is plane


def test_bm3d_that_is_not_installed_says_so_in_one_line(tmp_path):
    movie = noisy(blobs((32, 32), 5), np.random.default_rng(0))[None, None]
    pattern, _ = write(tmp_path, movie)
    done = subprocess.run(
        [sys.executable, PROJECT / "bin" / "preprocess_denoise.py", "--image", pattern,
         "--out-image", tmp_path / "o.zarr", "--method", "bm3d", "--sigma", "4"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 66
    assert "./cytoloom setup bm3d" in done.stderr.strip().splitlines()[-1]
