"""The page of columns names every column of every kind, with its unit."""

from cytoloom import columns
from cytoloom.schemas import SCHEMAS


def test_every_column_is_on_the_page():
    page = columns.render()
    for kind, schema in SCHEMAS.items():
        assert f"## {kind}\n" in page
        for field in schema:
            assert field.metadata[b"description"], field.name
            assert f"| `{field.name}` | {field.type}" in page
