"""What an image must see of this machine: paths of commands, and what links point to."""

from pathlib import Path

from cytoloom.plan.mounts import MOST, folders_of


def test_files_globs_and_folders_that_commands_name(tmp_path):
    for name in ("a b/x.tif", "store.zarr/zarr.json", "many/1.tif"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = folders_of([
        f"ingest_image.py --source '{tmp_path}/a b/x.tif' --out-image out/x --unit 1/2",
        f"ingest_image.py --source={tmp_path}/store.zarr 'name={tmp_path}/many/*.tif'",
        f"ingest_image.py --source {tmp_path}/store.zarr/zarr.json --text /",
    ])  # fmt: skip
    assert found == [f"{tmp_path}/{name}" for name in ("a b", "many", "store.zarr")]


def test_targets_of_links_are_seen_too(tmp_path):
    (tmp_path / "far" / "deep").mkdir(parents=True)
    (tmp_path / "far" / "deep" / "1.tif").touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "2.tif").touch()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "1.tif").symlink_to("../far/deep/1.tif")
    (tmp_path / "in" / "2.tif").symlink_to(tmp_path / "other" / "2.tif")
    (tmp_path / "in" / "gone.tif").symlink_to(tmp_path / "gone" / "3.tif")
    wanted = [f"{tmp_path}/{name}" for name in ("far/deep", "in", "other")]
    assert folders_of([f"x {tmp_path}/in"]) == wanted
    assert folders_of([f"x '{tmp_path}/in/*.tif'"]) == wanted
    assert folders_of([f"x {tmp_path}/in/1.tif"]) == wanted[:2]


def test_folders_of_the_system_are_left_to_the_image():
    assert folders_of(["x /proc/version"]) == ["/proc/version"]
    assert folders_of(["x /no-such-folder-at-all/x.tif /"]) == []


def test_extra_folders_only_where_they_are(tmp_path):
    assert folders_of([], [tmp_path, tmp_path / "none", Path("/none")]) == [str(tmp_path)]


def test_many_folders_are_bound_by_what_holds_them(tmp_path):
    for i in range(MOST + 5):
        (tmp_path / "plate" / f"w{i}").mkdir(parents=True)
        (tmp_path / "plate" / f"w{i}" / "1.tif").touch()
    commands = [f"x {tmp_path}/plate/w{i}/1.tif" for i in range(MOST + 5)]
    assert folders_of(commands) == [f"{tmp_path}/plate"]
