"""Command lines that are handed on: what the launcher takes out, and what passes through.

Words that the launcher does not know are never touched, so that every option of Nextflow
and every parameter of the pipeline works without a change here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from .host import USAGE, Failure

# Options that belong before `run` on Nextflow's command line.
GLOBAL_VALUES = ("-log", "-C", "-syslog")
GLOBAL_FLAGS = ("-q", "-quiet")
# Parameters of the plan; the others mean something to Nextflow only.
PLAN_VALUES = ("pipeline", "outdir", "resources", "input", "until", "from", "sweep", "assume_shape",
               "partition", "gpu_partition", "gpu_type", "account", "qos")  # fmt: skip
PLAN_FLAGS = ("verify_inputs",)
# Options of Nextflow that name files which may set parameters too.
SETTINGS = ("-c", "-C", "-config", "-params-file")


@dataclass
class RunLine:
    """The command line of ``run``, sorted."""

    values: dict[str, str] = field(default_factory=dict)  # of the plan, by name
    flags: list[str] = field(default_factory=list)  # of the plan
    nextflow: str | None = None
    dry_run: bool = False
    before: list[str] = field(default_factory=list)  # Nextflow's options before `run`
    words: list[str] = field(default_factory=list)  # everything else, in order

    def give(self, name: str, value: str) -> None:
        """Set a parameter of the plan that the user has not set."""
        if name not in self.values:
            self.values[name] = value
            self.words.append(f"--{name}={value}")

    def gives(self, name: str) -> bool:
        """Whether the user set a parameter that the plan does not know."""
        return any(plain(word) == name for word in self.words)


def plain(word: str) -> str:
    """Name of a parameter as the plan spells it, or nothing for a word that is none."""
    return word[2:].partition("=")[0].replace("-", "_") if word.startswith("--") else ""


def take_value(word: str, rest: list[str]) -> str:
    """Value of an option: after its ``=``, else the next word."""
    if word.startswith("--") and "=" in word:
        return word.partition("=")[2]
    if not rest:
        raise Failure(f"{word} needs a value", USAGE)
    return rest.pop(0)


def read_run(words: list[str]) -> RunLine:
    """Sort the words of a ``run`` command.

    Raises
    ------
    Failure
        When an option that needs a value stands at the end.
    """
    line = RunLine()
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name = plain(word)
        if name == "dry_run":
            line.dry_run = word.partition("=")[2].lower() != "false"
        elif name == "nextflow":
            line.nextflow = take_value(word, rest)
        elif name in PLAN_VALUES:
            line.values[name] = take_value(word, rest)
            line.words.append(f"--{name}={line.values[name]}")
        elif word in GLOBAL_VALUES:
            line.before += [word, take_value(word, rest)]
        elif word in GLOBAL_FLAGS:
            line.before.append(word)
        else:
            line.flags += [name] if name in PLAN_FLAGS else []
            line.words.append(word)
    return line


def in_images(words: list[str]) -> bool:
    """Whether tasks run in images: by -profile apptainer, or slurm without local."""
    named = profiles(words)
    return "apptainer" in named or ("slurm" in named and "local" not in named)


def profiles(words: list[str]) -> set[str]:
    """Profiles of Nextflow that a run is given."""
    given = [words[i + 1] for i, word in enumerate(words[:-1]) if word == "-profile"]
    return {name.strip() for text in given for name in text.split(",")}


def plan_words(line: RunLine) -> list[str]:
    """Options of ``bin/plan_pipeline.py`` from those of a run."""
    # In one word: a value may begin with a dash.
    words = [f"--{name}={value}" for name, value in line.values.items()]
    scheduler = ["--scheduler=slurm"] if "slurm" in profiles(line.words) else []
    return words + [f"--{name}" for name in line.flags] + scheduler


def has_settings(line: RunLine) -> bool:
    """Whether a run names a file of Nextflow's that may set parameters."""
    return any(word in SETTINGS for word in (*line.before, *line.words))


def sort_words(
    words: list[str], flags: Sequence[str], values: Sequence[str], command: str
) -> tuple[list[str], set[str], dict[str, str]]:
    """Names, flags, and options with a value (by name, without dashes) of a command's words.

    Raises
    ------
    Failure
        For an option that the command does not have, or one without its value.
    """
    names, found, given, rest = [], set(), {}, list(words)
    while rest:
        word = rest.pop(0)
        option = word.partition("=")[0]
        if option in values:
            given[option[2:]] = take_value(word, rest)
        elif word in flags:
            found.add(word)
        elif word.startswith("-"):
            raise Failure(f"unknown option {word} ({command} --help)", USAGE)
        else:
            names.append(word)
    return names, found, given
