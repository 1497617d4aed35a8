"""PyAMA's lists of positions: every row of its grammar, and its errors."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cytoloom.positions import parse_fovs, read_samples, samples_of

ROWS = {
    "0-2, 4, 6-7": [0, 1, 2, 4, 6, 7],
    "1,3,5": [1, 3, 5],
    "0-5": [0, 1, 2, 3, 4, 5],
    "10-12, 15": [10, 11, 12, 15],
    " 7 ": [7],
    "3,,1,": [1, 3],
    "2,2,1-2": [1, 2],
    "1 0": [10],
    "4-4": [4],
}
ERRORS = {
    "": "FOV specification cannot be empty",
    "  ": "FOV specification cannot be empty",
    "0;1": "Use commas to separate FOVs; semicolons are not supported",
    "3-": "Invalid range '3-': missing start or end value",
    "-3": "Invalid range '-3': missing start or end value",
    "a": "Invalid FOV 'a': must be an integer",
    "1.5": "Invalid FOV '1.5': must be an integer",
    "1-b": "Invalid range '1-b': values must be integers",
    "1-2-3": "Invalid range '1-2-3': values must be integers",
    "5-3": "Invalid range '5-3': start must be <= end",
}


@pytest.mark.parametrize(("text", "wanted"), ROWS.items())
def test_rows_of_the_grammar(text, wanted):
    assert parse_fovs(text) == wanted


@pytest.mark.parametrize(("text", "message"), ERRORS.items())
def test_errors_of_the_grammar(text, message):
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        parse_fovs(text)


def test_lists():
    assert parse_fovs([3, 1, 3, 0]) == [0, 1, 3]
    assert parse_fovs([]) == []
    for value, message in (
        ([-1], "FOV value '-1' must be >= 0"),
        (["a"], "FOV value 'a' is not a valid integer"),
        ([1.5], "FOV value '1.5' is not a valid integer"),
        ([True], "FOV value 'True' is not a valid integer"),
        (3, "FOV specification must be a list of integers or a comma-separated string"),
        (None, "FOV specification must be a list of integers or a comma-separated string"),
        ({0: 1}, "FOV specification must be a list of integers or a comma-separated string"),
    ):
        with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
            parse_fovs(value)


spans = st.tuples(st.integers(0, 2000), st.integers(0, 30)).map(lambda s: (s[0], s[0] + s[1]))


@given(st.lists(spans, min_size=1, max_size=8), st.data())
def test_what_is_written_is_read(ranges, data):
    """Any comma list of numbers and ranges gives its set, whatever the spaces and empty items."""
    blank = st.sampled_from(["", " ", "  "])
    words = []
    for low, high in ranges:
        one = low == high and data.draw(st.booleans())
        word = str(low) if one else f"{low}{data.draw(blank)}-{data.draw(blank)}{high}"
        words.append(data.draw(blank) + word + data.draw(blank))
    text = data.draw(st.sampled_from([",", ",,", " , "])).join(words)
    wanted = sorted({n for low, high in ranges for n in range(low, high + 1)})
    assert parse_fovs(text) == wanted
    assert parse_fovs(wanted) == wanted
    assert parse_fovs(",".join(map(str, wanted))) == wanted


@given(st.text(alphabet="0123456789-,; ab.", max_size=12))
def test_any_text_is_read_or_refused(text):
    try:
        found = parse_fovs(text)
    except ValueError:
        return
    assert found == sorted(set(found))
    assert all(n >= 0 for n in found)


def test_samples(tmp_path):
    file = tmp_path / "samples.yaml"
    file.write_text(
        'samples:\n  - {name: control, fovs: "0-2, 4"}\n  - {name: drug, fovs: [5, 3]}\n'
    )
    assert read_samples(file) == {"control": [0, 1, 2, 4], "drug": [3, 5]}
    for text, message in (
        ("- 1\n", "Samples YAML must contain a mapping at the top level"),
        ("samples: {a: 1}\n", "Samples YAML must include a 'samples' list"),
        ("", "Samples YAML must include a 'samples' list"),
        ('samples: [{name: a, fovs: "3-"}]', "sample 'a': Invalid range '3-': missing start"),
        ("samples: [{name: a}]", "sample 'a': fovs is missing"),
        ("samples: [{fovs: [1]}]", "sample 1: a mapping with name and fovs is needed"),
        ("samples: [{name: a, fovs: [1]}, {name: a, fovs: [2]}]", "sample 'a' is there twice"),
        ("samples: [", "not YAML"),
    ):
        file.write_text(text)
        with pytest.raises(ValueError, match=r"samples\.yaml: ") as error:
            read_samples(file)
        assert message in str(error.value)
    assert samples_of({"samples": [{"name": "one", "fovs": 7}]}) == {"one": [7]}
