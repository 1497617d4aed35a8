"""The documentation is true: pages equal their source, links, commands, files and YAML hold."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from cytoloom.crate.citations import load_citations
from cytoloom.crate.methods import OWN, cited
from cytoloom.plan import entries, grammar, resources
from cytoloom.plan.given import SHEET_COLUMNS
from cytoloom.plan.grammar import load_pipeline
from cytoloom.plan.model import Overrides
from cytoloom.plan.nodes import parse
from cytoloom.plan.problems import Problems
from cytoloom.plan.registry import STAGES, load_registry
from launcher import PROJECT, bundle, commands, images, options

WRITTEN = sorted(
    path
    for path in (*PROJECT.glob("*.md"), *PROJECT.glob("docs/**/*.md"))
    if not path.name.startswith("LICENSE")
)
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
FILES = re.compile(r"(?:assets|bin|conf|containers|docs|modules|tests)/[\w./-]*[\w/]|main\.nf")
NEXTFLOW = ("-resume", "-profile", "-c", "-stub-run", "-with-report")


def by_name(paths):
    return pytest.mark.parametrize(
        "path", paths, ids=lambda path: path.relative_to(PROJECT).as_posix()
    )


def make_pages(*words):
    return subprocess.run(
        [sys.executable, PROJECT / "docs" / "make_pages.py", *words],
        env=os.environ | {"PYTHONPATH": str(PROJECT / "bin"), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def anchors(page):
    """Anchors of a page's headings, as GitHub makes them."""
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def commands_of(path):
    """Every command line of ours in a page, from blocks and from inline code."""
    text = path.read_text(encoding="utf-8")
    lines = [line.strip() for _, block in BLOCK.findall(text) for line in block.splitlines()]
    lines += CODE.findall(BLOCK.sub("", text))
    starts = ("./cytoloom ", "nextflow run ")
    return [line for line in lines if line.startswith(starts)]


def test_pages_are_those_that_the_programs_make():
    done = make_pages("--check")
    assert (done.returncode, done.stdout + done.stderr) == (0, ""), "run ./cytoloom docs"


def test_options_of_the_pages_are_those_of_help():
    pages = "".join(p.read_text() for p in (PROJECT / "docs" / "stages").glob("*.md"))
    for name in ("plan_pipeline", "preprocess_gamma", "analyse_contact"):
        words = [sys.executable, PROJECT / "bin" / f"{name}.py", "--help"]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        section = pages[pages.index(name) :].split("\n## ")[0]
        known = set(re.findall(r"(?<![\w-])--[\w-]+", done.stdout))
        shown = set(re.findall(r"`(--[\w-]+)`", section)) - {"--name"}
        assert shown <= known, name
        arguments = {f"--{word}" for word in re.findall(r"^\| `(\w+)` ", section, re.MULTILINE)}
        missing = known - shown - arguments - {"--help", "--version", "--verbose", "--from_tag"}
        missing -= {option for option in missing if option.startswith("--no_")}
        assert not missing, name


def test_docs_refuses_other_words():
    assert make_pages("--chek").returncode == 2


@by_name(WRITTEN)
def test_links_resolve(path):
    text = BLOCK.sub("", path.read_text(encoding="utf-8"))
    for target in LINK.findall(text):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        page = (path.parent / name).resolve() if name else path
        assert page.exists(), f"{target} in {path.name}"
        assert PROJECT in page.parents, f"{target} leaves the project"
        if anchor:
            assert anchor in anchors(page), f"{target} in {path.name}"


@by_name(WRITTEN)
def test_files_that_are_named_exist(path):
    text = path.read_text(encoding="utf-8")
    words = [word for code in CODE.findall(BLOCK.sub("", text)) for word in code.split()]
    words += [word for line in commands_of(path) for word in line.split()]
    for word in words:
        if FILES.fullmatch(word.rstrip(",;")):
            assert (PROJECT / word).exists(), f"{word} in {path.name}"


@by_name(WRITTEN)
def test_commands_are_known(path):
    for line in commands_of(path):
        program, *words = shlex.split(re.sub(r"[\[\]…]|\.\.\.$", " ", line))
        if program == "./cytoloom":
            assert words[0] in (*commands.COMMANDS, "COMMAND", "--help", "--version"), line
            check_options(words[0], words[1:], line)
        else:
            assert words[:2] == ["run", "main.nf"], line
            check_options("run", words[2:], line)


def check_options(command, words, line):
    """Assert that the options of a command exist."""
    schema = json.loads((PROJECT / "nextflow_schema.json").read_text())
    parameters = {name for group in schema["$defs"].values() for name in group["properties"]}
    run = {f"--{name}" for name in parameters} | {"--nextflow", *NEXTFLOW}
    known = {
        "run": run,
        "demo": run,
        "setup": {"--lock", "--upgrade"},
        "test": {"--fast", "--full"},
        "docs": {"--check"},
        "models": {"--name", "--family", "--licence"},
        "images": {*images.FLAGS, *images.VALUES},
        "bundle": {*bundle.FLAGS, *bundle.VALUES},
        "view": {"--napari", "--position"},
    }
    if command == "models" and words[0] == "train":
        return  # the options are those of bin/train_<engine>.py
    if command == "stage":
        words = words[words[0] == "--image" :]
        assert (PROJECT / "bin" / f"{words[0]}.py").exists() or words[0] == "NAME", line
        return
    for word in words:
        if word.startswith("-"):
            assert word.split("=")[0] in known.get(command, set()) | {"--help"}, line


def blocks(language):
    found = []
    for path in WRITTEN:
        for number, (name, text) in enumerate(BLOCK.findall(path.read_text(encoding="utf-8"))):
            if name == language:
                label = f"{path.relative_to(PROJECT)}:{number}"
                found.append(pytest.param(text, id=label))
    return found


@pytest.mark.parametrize("text", blocks("yaml"))
def test_yaml_is_valid(text, tmp_path):
    problems = Problems("block")
    root = parse(text, problems)
    assert root is not None, problems.found
    if not {"pipeline", "output_dir"} <= set(root.fields):
        return
    path = tmp_path / "p.yaml"
    path.write_text(text)
    pipeline = load_pipeline(path, Overrides(dry_run=True, launch_dir=tmp_path))
    assert pipeline.steps
    assert not [line for line in pipeline.warnings if "no such file" not in line
                and "no file matches" not in line]  # fmt: skip


def test_steps_of_the_stage_pages_are_valid(tmp_path):
    """The example of each step fits behind steps that make what it reads."""
    before = (
        "channels: {TCell: a.tif, Cancer: b.tif, Dead: c.tif}\noutput_dir: r\npipeline:\n"
        "  preprocessing: [{name: Register, channels: [TCell, Cancer], tag: Still}]\n"
        "  segmentation: [{name: Threshold, channels: [TCell, Cancer, Dead], tag: Before}]\n"
        "  label_to_sparse:\n"
        "    image_label_pair: [[TCell, TCell], [Cancer, Cancer], [Dead, Cancer]]\n"
        "  tracking: [{name: LapTrack, channels: [TCell, Cancer], tag: Tracks}]\n"
        "  postprocessing:\n    - {name: CrossCellContactMeasures, tag: Touch,\n"
        "       channels: [[TCell, Cancer]], output_channel_name: [Touching]}\n"
        "    - {name: Extraction, channels: [[TCell, Dead], [Cancer, Dead]], tag: Traced}\n"
        "    - {name: MergeSamples, channels: [TCell, Cancer], tag: Joined}\n"
    )
    stages = {line[2:].split(":")[0] for line in before.splitlines() if line.startswith("  ")}
    count = 0
    for page in sorted((PROJECT / "docs" / "stages").glob("*.md")):
        for language, text in BLOCK.findall(page.read_text(encoding="utf-8")):
            if language != "yaml":
                continue
            stage, steps = text.split("\n", 1)
            stage = stage.rstrip(":")
            lines = before.splitlines(keepends=True)
            if stage == "label_to_sparse":
                continue
            own = [i for i, line in enumerate(lines) if line.startswith(f"  {stage}:")]
            if stage in stages and "[" in lines[own[0]]:
                lines[own[0]] = (
                    f"  {stage}:\n    - {lines[own[0]].split('[', 1)[1].rstrip()[:-1]}\n"
                )
            added = "".join(f"  {line}\n" for line in steps.splitlines())
            if stage == "postprocessing":
                lines.append(added)
            elif own:
                lines[own[0]] += added
            else:
                lines.insert(3, f"  {stage}:\n{added}")
            path = tmp_path / "p.yaml"
            path.write_text("".join(lines))
            load_pipeline(path, Overrides(dry_run=True, launch_dir=tmp_path))
            count += 1
    assert count > 10


def test_run_help_and_readme_agree_on_options():
    text = commands.RUN_TEXT
    plan = {f"--{name}" for name in options.PLAN_VALUES if name != "from_tag"}
    for option in re.findall(r"--[\w]+", text):
        assert option in plan | {"--from", "--dry_run", "--nextflow", "--cleanup"}, option


def test_every_kind_of_table_has_a_line():
    page = (PROJECT / "docs" / "columns.md").read_text()
    empty = re.findall(r"^## (\w+)\n\n Key", page, re.MULTILINE)
    assert not empty, "add them to KINDS in docs/make_pages.py"


def test_messages_that_are_explained_exist():
    files = [*PROJECT.glob("bin/**/*.py"), *PROJECT.glob("modules/**/*.nf")]
    source = "".join(path.read_text() for path in files)
    page = (PROJECT / "docs" / "faq.md").read_text()
    messages = re.findall(r"^### `([^`]+)`$", page, re.MULTILINE)
    assert len(messages) > 8
    assert not [message for message in messages if message not in source]


def test_every_key_of_the_grammar_is_described():
    page = (PROJECT / "docs" / "pipeline.md").read_text()
    keys = (*grammar.KEYS, *grammar.WITHOUT_EFFECT, *entries.STEP_KEYS, *resources.KEYS, *STAGES)
    assert not [key for key in keys if f"`{key}`" not in page]
    sheet = (PROJECT / "docs" / "input.md").read_text()
    assert not [name for name in SHEET_COLUMNS if f"| `{name}` |" not in sheet]
    parameters = json.loads((PROJECT / "nextflow_schema.json").read_text())["$defs"]["run"]
    assert not [name for name in parameters["properties"] if f"`--{name}" not in page]


def test_every_step_says_what_a_paper_says_of_it():
    """In its row: `methods`, and references that are known, or `cite: own`."""
    known = load_citations()
    for row in load_registry():
        if row.available:
            keys = cited(row.methods, row.cite)
            assert row.methods, f"{row.name}: add methods (see the head of assets/steps.yaml)"
            assert keys, f"{row.name}: cite something with [@key], or say cite: own"
            unknown = set(keys) - set(known) - {OWN}
            assert not unknown, f"{row.name}: {unknown} is not in assets/citations.yaml"


def test_every_page_can_be_found():
    """Each page is linked from another one."""
    linked = set()
    for path in WRITTEN:
        for target in LINK.findall(path.read_text(encoding="utf-8")):
            if "://" not in target and target.split("#")[0]:
                linked.add((path.parent / target.split("#")[0]).resolve())
    pages = {path for path in WRITTEN if Path("docs") in path.relative_to(PROJECT).parents}
    assert not pages - linked - {PROJECT / "docs" / "README.md"}
