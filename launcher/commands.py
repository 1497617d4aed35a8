"""The commands: demo, run, stage, setup; and the way to doctor and test."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from cytoloom.environments import families

from . import PROJECT, apptainer, bundle, checks, images, install, models, nextflow, view
from .host import FAILED, INPUT_MISSING, USAGE, Failure, cache, clean_environment, say
from .options import RunLine, has_settings, in_images, plan_words, read_run
from .words import nearest

USAGE_TEXT = """\
usage: ./cytoloom COMMAND [options]

  demo                    analyse the bundled time-lapse; sets up all that is missing
  run --pipeline P.yaml   run a pipeline (run --help)
  stage NAME [options]    run one stage alone, in its own environment; without NAME: list them
                          stage --image NAME: in its image
  setup [FAMILY...]       make environments ahead of time (setup --help)
  images [NAME...]        build, check and list Apptainer images (images --help)
  bundle OUT              all that a cluster without a network needs (bundle --help)
  models list|add|fetch|verify|train   the networks that steps use (models --help)
  view RESULTS [--napari] the report in the browser, or cells to flag in napari (view --help)
  doctor                  what is installed, what is missing, how to mend it
  test [--fast|--full]    run the tests (test --help)
  docs [--check]          make the pages of docs/ that come from the code

All that is installed lies in $CYTOLOOM_CACHE, else ~/.cache/cytoloom.
"""
RUN_TEXT = """\
usage: ./cytoloom run --pipeline P.yaml [--outdir FOLDER] [options of Nextflow]

  --pipeline FILE    pipeline YAML
  --outdir FOLDER    results (default: output_dir of the pipeline)
  --resources FILE   resource YAML (default: pipeline-resources.P.yaml beside P.yaml; none: without)
  --until TAG        stop after this step        --from TAG   begin with this step
  --sweep FILE       run over a grid of arguments and rank them (docs/sweep.md)
  --dry_run          print every task, submit nothing
  --nextflow PATH    a Nextflow of your own (or set CYTOLOOM_NEXTFLOW)
  -profile NAME      local (default), apptainer, slurm (docs/slurm.md)
  -resume            go on with an earlier run
  --cleanup          delete the work folders after success: results stay, -resume is gone

Everything else goes to Nextflow as it stands.
"""
SETUP_TEXT = """\
usage: ./cytoloom setup [FAMILY...]
       ./cytoloom setup --lock [--upgrade] [FAMILY...]

Makes the environments of tool families, Java and Nextflow. Without a name: those that need
no more than the shipped models (core, stardist); others come when a pipeline names them.
--lock resolves containers/<family>/requirements.in into requirements.lock anew;
--upgrade takes the newest versions.
"""
DEMO_PIPELINE = PROJECT / "assets" / "pipelines" / "cytotoxicity.yaml"
DEMO_OUTDIR = "cytoloom-demo"


def wants_help(words: Sequence[str]) -> bool:
    """Whether the user asks for help and nothing else."""
    return any(word in ("-h", "--help", "-help") for word in words)


def execute(command: Sequence[str | Path], env: dict[str, str]) -> int:
    """Become the command."""
    sys.stdout.flush()
    sys.stderr.flush()
    words = [str(word) for word in command]
    try:
        os.execvpe(words[0], words, env)
    except OSError as error:
        raise Failure(f"cannot start {words[0]} ({error.strerror})") from error


def in_environment(folder: Path) -> dict[str, str]:
    """Environment variables under which a family's programs are found first."""
    env = clean_environment()
    env["PATH"] = f"{folder / 'bin'}{os.pathsep}{env.get('PATH', os.defpath)}"
    return env


def plan(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run ``bin/plan_pipeline.py`` in the core environment."""
    python = install.ensure("core") / "bin" / "python"
    command = [str(python), str(PROJECT / "bin" / "plan_pipeline.py"), *words]
    sys.stdout.flush()
    return subprocess.run(command, text=True, check=False, env=clean_environment())


def prepare_run(line: RunLine) -> tuple[list[str], dict[str, str]] | int:
    """Make what a pipeline needs; return Nextflow's command, or the plan's exit code."""
    pipeline = Path(line.values["pipeline"])
    if not pipeline.is_file():
        raise Failure(f"no pipeline at {pipeline}", INPUT_MISSING)
    if line.dry_run:  # the parameters may stand in files that only Nextflow reads
        install.ensure("core")
        return nextflow_command(line, ["--dry_run"])
    target = plan_file(line)
    made = plan([*plan_words(line), "--out", str(target)])
    if made.returncode:
        return made.returncode
    with_images = in_images(line.words)
    for family in planned_families(target):
        if family == "core" or not with_images:
            install.ensure(family)
        if with_images and not line.gives("images"):
            images.ensure(family)
    # Nextflow's own records go into the output folder too.
    folder = [] if "outdir" in line.values else ["--outdir", planned_folder(target)]
    return nextflow_command(line, [*folder, "--plan", str(target)])


def nextflow_command(line: RunLine, more: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Nextflow's command for a run, and its environment variables."""
    start, env = nextflow.start_command(line.nextflow)
    if not sys.stdout.isatty():
        env.setdefault("NXF_ANSI_LOG", "false")
    command = [*start, *line.before, "run", str(PROJECT / "main.nf"), *line.words]
    for name in ("envs", "images") if in_images(line.words) else ("envs",):
        if not line.gives(name):
            command += [f"--{name}", str(cache() / name)]
    return [*command, *more], env


def planned_folder(path: Path) -> str:
    """Output folder of a plan."""
    return str(json.loads(path.read_text(encoding="utf-8"))["outdir"])


def plan_file(line: RunLine) -> Path:
    """Where the plan goes: in Nextflow's work folder, by the same name for the same run."""
    words = [*line.words, ""]
    given = [words[i + 1] for i, word in enumerate(words) if word in ("-w", "-work-dir")]
    run = "|".join(line.values.get(name, "") for name in ("pipeline", "outdir", "sweep"))
    name = hashlib.sha256(run.encode()).hexdigest()[:12]
    return Path(given[-1] if given else "work").absolute() / f"plan-{name}.json"


def planned_families(path: Path) -> list[str]:
    """Tool families of the jobs of a plan, core first."""
    steps = json.loads(path.read_text(encoding="utf-8"))["steps"]
    jobs = [job for step in steps for phase in step["phases"].values() for job in phase]
    return ["core", *sorted({job["family"] for job in jobs} - {"core"})]


def run(words: list[str]) -> int:
    """``./cytoloom run``."""
    if wants_help(words):
        print(RUN_TEXT, end="")
        return 0
    line = read_run(words)
    if "pipeline" not in line.values:
        given = next((word for word in line.words if word.endswith((".yaml", ".yml"))), "FILE.yaml")
        raise Failure(f"no pipeline given: add --pipeline {given} (run --help)", USAGE)
    if line.dry_run and not has_settings(line):
        return plan(["--dry_run", *plan_words(line)]).returncode
    prepared = prepare_run(line)
    return prepared if isinstance(prepared, int) else run_nextflow(*prepared)


def run_nextflow(command: Sequence[str], env: dict[str, str]) -> int:
    """Run Nextflow to its end; return the exit status of the task that failed, where one did.

    Nextflow itself ends with 0 where positions failed and others did not.
    """
    with tempfile.TemporaryDirectory(prefix="cytoloom-") as folder:
        status = Path(folder) / "exit"
        code = wait_for(command, {**env, "CYTOLOOM_EXIT_FILE": str(status)})
        said = status.read_text().strip() if status.is_file() else ""
        return int(said) if said.isdecimal() and 0 < int(said) < 256 else code


def without_report(lines: Iterable[str]) -> Iterator[str]:
    """Leave out Nextflow's report of a failed task: main.nf says the same in two lines."""
    inside = False
    for line in lines:
        if line.startswith("ERROR ~ Error executing process"):
            inside = True
        elif inside and line.startswith((" -- Check", "Execution cancelled", "[", "WARN")):
            inside = False
        if not inside:
            yield line


def wait_for(command: Sequence[str], env: dict[str, str]) -> int:
    """Run a command to its end; Ctrl-C and SIGTERM are its own affair."""
    plain = not sys.stdout.isatty()  # on a terminal Nextflow redraws its lines: hands off
    child = subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE if plain else None, text=True, errors="replace"
    )
    earlier = {
        number: signal.signal(number, lambda which, _frame: child.send_signal(which))
        for number in (signal.SIGTERM, signal.SIGHUP)
    }
    earlier[signal.SIGINT] = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        for line in without_report(child.stdout or ()):
            print(line, end="", flush=True)
        code = child.wait()
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
    return 128 - code if code < 0 else code


def describe(summary: dict[str, object]) -> str:
    """``1,234 cells, 56 tracks`` from the numbers of a summary."""
    return ", ".join(
        f"{value:,} {name.removesuffix('s') if value == 1 else name}".replace("_", " ")
        for name, value in summary.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    )


def demo(words: list[str]) -> int:
    """``./cytoloom demo``."""
    if wants_help(words):
        print(f"usage: ./cytoloom demo [--outdir {DEMO_OUTDIR}] [options of run]")
        return 0
    start = time.monotonic()
    line = read_run(words)
    line.give("pipeline", str(DEMO_PIPELINE))
    line.give("outdir", DEMO_OUTDIR)
    if line.dry_run and not has_settings(line):
        return plan(["--dry_run", *plan_words(line)]).returncode
    prepared = prepare_run(line)
    if isinstance(prepared, int):
        return prepared
    ready = time.monotonic()
    code = run_nextflow(*prepared)
    if code:
        return code
    outdir = Path(line.values["outdir"])
    summary = outdir / "summary.json"
    if not summary.is_file():
        raise Failure(f"the run left no {summary}")
    print(f"\nfound: {describe(json.loads(summary.read_text()))}")
    print(f"report: {(outdir / 'report.html').absolute()}")
    print(f"time: {time.monotonic() - ready:.0f} s, setting up {ready - start:.0f} s")
    return 0


FAMILY_OF_STAGE = """
import sys
from ruamel.yaml import YAML
from cytoloom import models
from cytoloom.errors import CytoloomError
rows = YAML(typ="safe").load(open(sys.argv[1], encoding="utf-8")) or {}
executable, words = sys.argv[2], sys.argv[3:]
for row in (row for row in rows.values() if isinstance(row, dict)):
    for phase in (row, *(row.get("before") or {}).values()):
        if phase.get("executable") == executable:
            family = phase.get("family") or row.get("family", "core")
            option = "--" + row.get("model", "")
            if row.get("model_families") and option in words[:-1]:
                name = words[words.index(option) + 1]
                try:
                    family = models.family_of(name, row["model_families"])
                except CytoloomError:  # the stage says so
                    pass
            print(family)
            raise SystemExit
"""


def family_of(executable: str, words: Sequence[str] = ()) -> str:
    """Tool family of an executable by the registry; core for those that are not in it.

    Where a model decides on the family, it is looked for in the executable's options.
    """
    python = install.ensure("core") / "bin" / "python"
    registry = PROJECT / "assets" / "steps.yaml"
    reply = subprocess.run(
        [python, "-c", FAMILY_OF_STAGE, registry, executable, *words],
        capture_output=True,
        text=True,
        check=False,
        env=clean_environment() | {"PYTHONPATH": str(PROJECT / "bin")},
    )
    if reply.returncode:
        last = (reply.stderr.strip().splitlines() or ["no message"])[-1]
        raise Failure(f"cannot read {registry.relative_to(PROJECT)}: {last}")
    return reply.stdout.strip() or "core"


def stage(words: list[str]) -> int:
    """``./cytoloom stage``."""
    known = sorted(path.stem for path in (PROJECT / "bin").glob("*.py"))
    if not words or words[0] in ("-h", "--help"):
        print("usage: ./cytoloom stage [--image] NAME [options]\n\n" + "\n".join(known))
        return 0 if words else USAGE
    if with_image := words[0] == "--image":
        words = words[1:]
    name = words[0].removesuffix(".py") if words else ""
    if name not in known:
        raise Failure(f"no stage {name!r}{nearest(name, known)}; `./cytoloom stage` lists them", 2)
    family, program = family_of(name, words[1:]), PROJECT / "bin" / f"{name}.py"
    if with_image:
        command = ["python", str(program), *words[1:]]
        return execute(apptainer.inside(images.ensure(family), command), apptainer.environment())
    folder = install.ensure(family)
    return execute([folder / "bin" / "python", program, *words[1:]], in_environment(folder))


def setup(words: list[str]) -> int:
    """``./cytoloom setup``."""
    if wants_help(words):
        print(SETUP_TEXT, end="")
        return 0
    flags = [word for word in words if word.startswith("-")]
    names = [word for word in words if not word.startswith("-")]
    for flag in flags:
        if flag not in ("--lock", "--upgrade"):
            raise Failure(f"unknown option {flag} (setup --help)", USAGE)
    if "--upgrade" in flags and "--lock" not in flags:
        raise Failure("--upgrade goes with --lock", USAGE)
    for name in names:
        install.check_family(name)
    if "--lock" in flags:
        install.remake_locks(names or families(PROJECT), "--upgrade" in flags)
        return 0
    for name in names or install.USUAL_FAMILIES:
        say(f"{name}: {install.ensure(name)}")
    say(f"nextflow: {nextflow.ensure()}")
    say(f"java: {nextflow.ensure_java()}")
    return 0


def docs(words: list[str]) -> int:
    """``./cytoloom docs``."""
    if wants_help(words):
        print("usage: ./cytoloom docs [--check]")
        return 0
    python = install.ensure("core") / "bin" / "python"
    env = clean_environment() | {"PYTHONPATH": str(PROJECT / "bin"), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [str(python), str(PROJECT / "docs" / "make_pages.py"), *words]
    return subprocess.run(command, check=False, env=env).returncode


COMMANDS = {
    "demo": demo,
    "run": run,
    "stage": stage,
    "setup": setup,
    "doctor": checks.doctor,
    "test": checks.test,
    "docs": docs,
    "images": images.main,
    "bundle": bundle.main,
    "models": models.main,
    "view": view.main,
}


def main(words: list[str]) -> int:
    """Run one command; a failure is one line on stderr."""
    if not words or words[0] in ("-h", "--help", "help"):
        print(USAGE_TEXT, end="")
        return 0 if words else USAGE
    name, *rest = words
    try:
        if name == "--version":
            from cytoloom import __version__

            print(f"cytoloom {__version__}")
            return 0
        if name not in COMMANDS:
            raise Failure(f"unknown command {name!r}{nearest(name, COMMANDS)} (--help)", USAGE)
        return COMMANDS[name](rest)
    except Failure as failure:
        say(f"cytoloom: {failure}")
        return failure.code
    except KeyboardInterrupt:
        say("cytoloom: stopped")
        return 130
    except OSError as error:
        say(f"cytoloom: {error}")
        return FAILED
