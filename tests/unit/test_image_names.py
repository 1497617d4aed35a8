"""Names of images: they change with what an image is built from, and with nothing else."""

import pytest

from cytoloom import environments
from launcher import PROJECT, apptainer, bundle, host, images, install, options


@pytest.fixture
def houses(tmp_path):
    """A project with a base and two families."""
    for name, file in (("base", "install"), ("a", "requirements.lock"), ("b", "requirements.lock")):
        folder = tmp_path / "containers" / name
        folder.mkdir(parents=True)
        (folder / "Apptainer.def").write_text(f"Bootstrap: {name}\n")
        (folder / file).write_text(name)
    (tmp_path / "containers" / "test").mkdir()
    (tmp_path / "containers" / "test" / "requirements.lock").write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("changed", "renamed"),
    [
        ("a/requirements.lock", {"a"}),
        ("a/Apptainer.def", {"a"}),
        ("base/Apptainer.def", {"base", "a", "b"}),
        ("base/install", {"base", "a", "b"}),
        ("a/README", set()),
    ],
)
def test_only_what_changed_gets_another_name(houses, changed, renamed):
    def names():
        return {name: environments.image_name(name, houses) for name in ("base", "a", "b")}

    before = names()
    with open(houses / "containers" / changed, "a") as file:
        file.write("more")
    after = names()
    assert {name for name in before if before[name] != after[name]} == renamed


def test_a_family_without_a_definition_has_no_image(houses):
    assert environments.imaged_families(houses) == ["a", "b"]
    with pytest.raises(FileNotFoundError):
        environments.image_name("test", houses)


def test_every_family_that_a_step_can_name_has_an_image():
    assert set(environments.imaged_families(PROJECT)) == set(environments.families(PROJECT)) - {
        "napari", "test"
    }  # fmt: skip


@pytest.mark.parametrize("name", [*environments.imaged_families(PROJECT), "base"])
def test_a_definition_is_whole_and_names_no_address(name):
    text = environments.definition_file(name, PROJECT).read_text()
    for part in ("Bootstrap: ", "%post", "%test", "%labels"):
        assert part in text
    assert "://" not in text


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        (["-profile", "apptainer"], True),
        (["-profile", "test,apptainer"], True),
        (["-profile", "slurm"], True),
        (["-profile", "slurm,local"], False),
        (["-profile", "local"], False),
        ([], False),
    ],
)
def test_profiles_with_images(profile, expected):
    assert options.in_images(["--pipeline", "p", *profile]) is expected


def test_the_mirror_is_that_of_apt():
    sources = ["https://x.test/apt", "http://m.test/debian-security", "http://m.test/debian/"]
    assert apptainer.mirror(sources) == "http://m.test/debian/"
    with pytest.raises(host.Failure, match="--mirror"):
        apptainer.mirror(sources[:2])


@pytest.fixture
def built(tmp_path, monkeypatch):
    """An empty cache, and builds that only write down what is asked for."""
    monkeypatch.setenv("CYTOLOOM_CACHE", str(tmp_path / "cache"))
    asked = []

    def build(target, family, *_):
        asked.append(family)
        target.write_text("image")

    monkeypatch.setattr(apptainer, "find", lambda: "apptainer")
    monkeypatch.setattr(apptainer, "build_base", lambda target, *_: build(target, "base"))
    monkeypatch.setattr(apptainer, "build_family", build)
    return asked


def test_an_image_is_built_once_on_one_base(built):
    assert images.main(["trackmate", "ants"]) == 0
    assert images.main(["trackmate"]) == 0
    assert built == ["base", "trackmate", "ants"]
    assert images.main(["trackmate", "--rebuild"]) == 0
    assert built == ["base", "trackmate", "ants", "trackmate"]


def test_without_names_what_the_shipped_models_need(built):
    assert images.main([]) == 0
    assert built == ["base", *install.USUAL_FAMILIES]


def test_all_leaves_out_what_its_licence_restricts(built):
    assert images.main(["--all"]) == 0
    assert set(built) == {"base", *environments.imaged_families(PROJECT)} - {"bm3d"}


def test_a_failed_build_leaves_no_half_image(built, monkeypatch, tmp_path):
    def fail(target, *_):
        target.write_text("half")
        raise host.Failure("no")

    monkeypatch.setattr(apptainer, "build_family", fail)
    with pytest.raises(host.Failure, match="no"):
        images.ensure("core")
    assert [path.name.split("-")[0] for path in (tmp_path / "cache/images").iterdir()] == ["base"]


def test_the_list_names_what_is_missing_and_what_is_old(built, capsys, tmp_path):
    images.ensure("core")
    (tmp_path / "cache" / "images" / "core-000000000000.sif").write_text("x")
    assert images.main(["--list"]) == 0
    said = capsys.readouterr().out
    assert f"rm {tmp_path}/cache/images/core-000000000000.sif" in said
    assert "./cytoloom images stardist" in said


@pytest.mark.parametrize(
    ("main", "words", "message"),
    [
        (images.main, ["stardits"], "did you mean 'stardist'"),
        (images.main, ["--al"], "unknown option --al"),
        (images.main, ["core", "--mirror"], "needs a value"),
        (bundle.main, [], "where the bundle goes"),
        (bundle.main, ["out.tar", "bm3d"], "licence"),
        (bundle.main, ["out.tar", "--odd"], "unknown option"),
        (bundle.main, ["--install", "none"], "another Cytoloom"),
    ],
)
def test_mistakes_in_one_line(main, words, message):
    with pytest.raises(host.Failure, match=message) as failure:
        main(words)
    assert "\n" not in str(failure.value)


def test_without_apptainer_the_way_to_get_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("CYTOLOOM_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(host.Failure, match=r"core is missing.*Apptainer is not installed"):
        images.ensure("core")


def test_a_damaged_file_of_a_bundle_is_named(tmp_path):
    (tmp_path / "a").write_text("1")
    (tmp_path / bundle.SUMS).write_text(f"{bundle.digest(tmp_path / 'a')}  a\n")
    bundle.check(tmp_path)
    (tmp_path / "a").write_text("2")
    with pytest.raises(host.Failure, match="a: damaged") as failure:
        bundle.check(tmp_path)
    assert failure.value.code == host.BAD_DATA
