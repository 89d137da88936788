"""What a sweep found: reads results.h5 with plain h5py and ranks the points with pandas.

Run it with ``python configs/digits_best.py runs/latest``.
"""

import sys
from pathlib import Path

import h5py
import pandas as pd


def read_run(run_dir: Path) -> pd.DataFrame:
    """Parameters and results of the tasks that succeeded, one row a task."""
    with h5py.File(run_dir / "results.h5") as file:
        columns = {
            name: dataset[:]
            for group in ("parameters", "results")
            for name, dataset in file[group].items()
            if isinstance(dataset, h5py.Dataset)
        }
        succeeded = file["tasks/state"].asstr()[:] == "succeeded"
    return pd.DataFrame(columns)[succeeded]


def rank_points(table: pd.DataFrame) -> pd.DataFrame:
    """The mean over the splits of the images; best accuracy first, then the smaller machine."""
    means = table.groupby(["C", "gamma", "components"]).mean().drop(columns="split_seed")
    return means.sort_values(["accuracy", "support"], ascending=[False, True]).reset_index()


if __name__ == "__main__":
    points = rank_points(read_run(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/latest")))
    print("best by cross-validated accuracy:")
    print(points.head(8).to_string(float_format="{:.4g}".format))
    print("\nbest for each number of components:")
    best = points.groupby("components").head(1).sort_values("components")
    print(best.to_string(float_format="{:.4g}".format, index=False))
