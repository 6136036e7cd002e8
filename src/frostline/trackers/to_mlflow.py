"""MLflow: a database in a folder, or the server that the user's MLFLOW_TRACKING_URI names.

A call keeps all of its points or none, and `told_step` is one of them: how far the run has been told.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from frostline.trackers.tracker import NOTHING, Row, Status, TrackedRun

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

DATABASE = "mlflow.db"
KEY = "frostline.key"
STATUS = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
MOST_METRICS = 1000
"""In one call."""
LONGEST_PARAMETER = 500


class MlflowRun:
    """One run of MLflow's."""

    def __init__(self, client: MlflowClient, run_id: str, run: TrackedRun, told_until: int) -> None:
        self._client, self._id, self._began = client, run_id, run.began
        self.told_until = told_until

    def tell(self, rows: Sequence[Row]) -> None:
        from mlflow.entities import Metric

        batch: list[Metric] = []
        for row in rows:
            for name, text in row.texts.items():
                self._client.log_text(self._id, text, f"{name}.md")
            for name, table in row.tables.items():
                lines = {"columns": list(table.columns), "data": [list(cells) for cells in table.rows]}
                self._client.log_dict(self._id, lines, f"{name}.json")
            if len(batch) + len(row.values) + 1 > MOST_METRICS:
                self._log(batch)
                batch = []
            time = int(1000 * (self._began + row.seconds))
            # That a row was told is its last point, whatever there is in it.
            values = {**row.values, "told_step": float(row.step)}
            batch.extend(Metric(name, value, time, row.step) for name, value in values.items())
            self.told_until = row.step
        self._log(batch)

    def end(self, status: Status) -> None:
        self._client.set_terminated(self._id, STATUS[status])

    def _log(self, batch: list[Metric]) -> None:
        if batch:
            self._client.log_batch(self._id, metrics=batch)


class Mlflow:
    """Where MLflow keeps its runs."""

    def __init__(self, client: MlflowClient, artifacts: str | None) -> None:
        self._client, self._artifacts = client, artifacts

    def open(self, run: TrackedRun) -> MlflowRun:
        from mlflow.entities import Param

        experiment = self._client.get_experiment_by_name(run.project)
        number = (
            experiment.experiment_id
            if experiment is not None
            else self._client.create_experiment(run.project, artifact_location=self._artifacts)
        )
        earlier = self._client.search_runs([number], f"tags.`{KEY}` = '{run.key}'", max_results=1)
        if earlier:
            begun, told = earlier[0].info.run_id, int(earlier[0].data.metrics.get("told_step", NOTHING))
            self._client.update_run(begun, status="RUNNING")
        else:
            tags = {KEY: run.key, "group": run.group}
            begun, told = self._client.create_run(number, int(1000 * run.began), tags, run.name).info.run_id, NOTHING
        parameters = [Param(name, str(value)[:LONGEST_PARAMETER]) for name, value in run.config.items()]
        self._client.log_batch(begun, params=parameters)  # again: an earlier process may have been killed before it
        return MlflowRun(self._client, begun, run, told)


def opened(folder: Path) -> Mlflow:
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    for name, value in (("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2"), ("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")):
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    address = os.environ.get("MLFLOW_TRACKING_URI")
    if address:
        return Mlflow(MlflowClient(tracking_uri=address), None)
    folder.mkdir(parents=True, exist_ok=True)
    artifacts = (folder.absolute() / "artifacts").as_uri()
    return Mlflow(MlflowClient(tracking_uri=f"sqlite:///{folder.absolute()}/{DATABASE}"), artifacts)
