"""Preprocessor: the contract of a user's function, and what is said when it is broken."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import preprocess_user
import pytest
from phases import write_image

from cytoloom import images
from cytoloom.errors import BadData, InputMissing

BIN = Path(preprocess_user.__file__).parent


@pytest.fixture
def stack(tmp_path):
    data = np.random.default_rng(1).integers(0, 4000, (3, 2, 40, 50)).astype(np.uint16)
    pattern, _ = write_image(tmp_path, data)
    return data, pattern


def process(tmp_path, pattern, code, **more):
    file = tmp_path / "mine.py"
    file.write_text(code)
    out = tmp_path / f"out{len(more)}.zarr"
    preprocess_user.main(pattern, out, file, **more)
    return images.open_layer(out)


def test_a_function(tmp_path, stack):
    data, pattern = stack
    layer = process(tmp_path, pattern, "def process(image):\n    return image // 2 + 1\n")
    assert layer.dtype == np.uint16
    np.testing.assert_array_equal(layer.read(), data // 2 + 1)


def test_a_class_as_pyama_has_it(tmp_path, stack):
    data, pattern = stack
    code = (
        "class Mine:\n    def process(self, image):\n        image[:] = 7\n        return image\n"
    )
    assert (process(tmp_path, pattern, code).read() == 7).all()
    np.testing.assert_array_equal(images.open_layer(pattern).read(), data)


def test_the_context(tmp_path, stack):
    _, pattern = stack
    code = (
        "import numpy as np\n"
        "def process(image, about):\n"
        "    assert set(about) == {'position', 'channel', 'frame', 'plane', 'pixel_size',\n"
        "                          'frame_interval'}\n"
        "    return np.full(image.shape, about['frame'] * 10 + about['plane'])\n"
    )
    read = process(tmp_path, pattern, code).read()
    assert read[:, :, 0, 0].tolist() == [[0, 1], [10, 11], [20, 21]]


def test_types(tmp_path, stack):
    data, pattern = stack
    half = "def process(image):\n    return image * 1.5 - 3000\n"
    layer = process(tmp_path, pattern, half)
    np.testing.assert_array_equal(layer.read(), np.clip(np.rint(data * 1.5 - 3000), 0, 65535))
    layer = process(tmp_path, pattern, half, dtype=preprocess_user.Kind.float32)
    assert layer.dtype == np.float32
    np.testing.assert_allclose(layer.read(), data * 1.5 - 3000)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def process(image):\n    x = 1\n    return y\n", r"line 3: NameError: .*\(frame 0\)"),
        ("def process(image):\n    raise SystemExit(3)\n", "line 2: SystemExit: 3"),
        ("def process(image:\n    pass\n", "line 1: SyntaxError"),
        ("import nothing_like_this\n", "line 1: ModuleNotFoundError"),
        ("def process(image):\n    return image[1:]\n", r"gave shape \(39, 50\) for frame 0"),
        ("def process(image):\n    pass\n", "gave NoneType for frame 0, not an array"),
        ("def process(image):\n    return image.astype(complex)\n", "gave complex128"),
        ("def process(image):\n    return image * float('inf')\n", "gave NaN or infinity"),
        ("def other(image):\n    return image\n", "no function and no class with process"),
        ("def process(a, b, c):\n    return a\n", r"process\(\) takes 3 arguments"),
        ("class A:\n  process = len\nclass B(A):\n  pass\n", "2 classes with process"),
        ("class A:\n  def __init__(self, x): pass\n  def process(self, i): 0\n", "TypeError"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line(tmp_path, stack, code, said):
    with pytest.raises(BadData, match=said) as error:
        process(tmp_path, stack[1], code)
    assert "mine.py" in str(error.value)
    assert not (tmp_path / "out0.zarr").exists()


def test_a_missing_file(tmp_path, stack):
    with pytest.raises(InputMissing, match=r"gone\.py: no such file"):
        preprocess_user.main(stack[1], tmp_path / "out.zarr", tmp_path / "gone.py")


def test_one_line_and_the_exit_code(tmp_path, stack):
    file = tmp_path / "mine.py"
    file.write_text("def process(image):\n    return 1 / 0\n")
    done = subprocess.run(
        [sys.executable, BIN / "preprocess_user.py", "--image", stack[1], "--file", file,
         "--out-image", tmp_path / "out.zarr"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 65
    assert done.stderr.count("\n") == 1
    assert f"{file}, line 2: ZeroDivisionError: division by zero (frame 0)" in done.stderr
