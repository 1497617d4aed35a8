"""Files as users of pyCyto have them, one pair for each way to write them: all pass a dry run."""

from __future__ import annotations

from pathlib import Path

import pytest
from planned import command

FILES = Path(__file__).parents[1] / "data" / "pycyto"

# Job -> options of sbatch that the resource file asks for.
ASKED = {
    "lightsheet": {
        "ingest": "--partition=short --cpus-per-task=3 --mem=1G",
        "RegisterDenoise.denoise": "--time=04:00:00 --dependency=singleton",
        "Normalize": "--dependency=afterok:RegisterDenoise:Merge:Gamma",
        "Cellpose_TCell": "--partition=gpu_short,gpu_long --gres=gpu:2 --array=0-8",
        "LabelToSparse": "--mem=32G --dependency=afterok:StarDist_Cancer:Cellpose_TCell",
        "LabelToSparse.merge": "--mem=128G --dependency=afterok:LabelToSparse.core",
        "Ultrack_cancer.database": "--partition=long --cpus-per-task=16 --time=10-00:00:00",
        "Ultrack_cancer.segment": "--mem=4G --dependency=afterok:Ultrack_cancer.database",
        "Ultrack_cancer.solve": "--mem=32G --cpus-per-task=4 --time=10-00:00:00",
        "Ultrack_cancer.export": "--mem=16G --dependency=afterok:Ultrack_cancer.solve",
        "trackpy_TCell": "--time=1-12:00:00",
        "ContactTCellCancer": "--cpus-per-task=14 --mem=90G",
    },
    "vesicles": {
        "CP": "--gres=gpu:1 --cpus-per-task=4 --mem=16000M --time=01:30:00 --array=0-3",
        "LabelToSparse": "--cpus-per-task=4 --mem=16G",
        "TM": "--time=04:00:00 --dependency=afterok:CP",
        "KDE": "--dependency=afterok:TM,afterany:Large",
        "Tri": "--partition=short,long --mem=1536M --time=06:30:00 --dependency=afterany:KDE",
    },
    "untagged": {
        "PercentileNormalization": "--mem=8G --dependency=singleton",
        "CrossChannelCorrelation": "--dependency=afterok:PercentileNormalization",
        "StarDist": "--partition=gpu_short --gres=gpu:1 --mem=32G",
        "CrossCellContactMeasures": "--cpus-per-task=14 --time=2-00:00:00",
        "CrossTableOperation": "--dependency=afterok:CrossCellContactMeasures",
    },
    "tcell": {
        "RD.denoise": "--account=imaging --qos=high --time=04:00:00",
        "G": "--time=00:20:00 --dependency=afterok:RD",
        "CP_cpsam": "--gres=gpu:a100-pcie-40gb:1 --dependency=afterok:RD:G --array=0-7",
        "LabelToSparse.merge": "--mem=128G --dependency=afterok:LabelToSparse.core",
        "U.database": "--partition=long --mem=64G --dependency=afterok:LabelToSparse",
        "U.export": "--partition=short --mem=16G --cpus-per-task=2",
    },
    "container": {
        "Normalize": "--mem=8G",
        "StarDist": "--gres=gpu:1 --mem=32G --dependency=afterok:Normalize",
        "Track": "--mem=16G --dependency=afterok:StarDist",
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ASKED)
def test_files_of_pycyto_pass_the_dry_run(name: str) -> None:
    resources = FILES / f"{name}.resources.yaml"  # of container: beside it, by pyCyto's name
    given = ["--resources", resources] if resources.exists() else []
    shape = ["--assume_shape", "t=100,y=2400,x=2400"]
    done = command(
        "plan_pipeline", "--pipeline", FILES / f"{name}.yaml", *given, "--dry_run", *shape
    )
    assert done.code == 0, done.err
    lines = [line.split() for line in done.out.splitlines() if line.startswith("sbatch ")]
    found = {words[1].removeprefix("--job-name="): set(words) for words in lines}
    for job, options in ASKED[name].items():
        assert set(options.split()) <= found[job], job
