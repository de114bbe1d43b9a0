"""What a negative set is, put into a run of MLflow beside the training that used it."""
from __future__ import annotations

import json
import math
import re
import subprocess
from typing import Any

from ._convert import is_path, path_text
from ._errors import ConfigError, InputError, IoError
from ._program import program
from ._sets import NegativeSet, open as open_set

_LONGEST = {"param": 6000, "tag": 5000}  # of MLflow


def log_to_mlflow(run_or_client: Any, version_or_set: Any, *, run_id: str | None = None, audit: Any = None,
                  prefix: str = "quarry.") -> dict[str, Any]:
    """Logs a set's manifest to a run: params, metrics and tags under names that begin with `prefix`.

    run_or_client: an mlflow Run, the id of one, or an MlflowClient (or what has log_param, log_metric and set_tag) with `run_id`.
    version_or_set: a NegativeSet, the folder of a set, or STORE@VERSION.
    audit: what `quarry audit --json` printed (a dict, or the path of the file). None: of a version in a store the newest audit that was
        recorded (`quarry audit --record`), else none.
    prefix: another one keeps two sets of one run apart.

    Params: recipe, k, metric, seed, round, as_of, retriever, num_items, model.
    Metrics: rows, negatives (filled slots), slots, fill (their share), full_rows where an audit counts them, missing.CODE, branch.NAME (picked),
        stratum.NAME (filled), recall.candidates and recall.negatives of approximate searches, audit.METRIC, audit.gates_failed and
        audit.gates_checked, and kpi.NAME, figures of the store's log.
    Tags: set, content_hash, recipe_hash, recipe_text, version, parents, identity, model, audit, state.
    Metric names keep letters, digits and _-. /; other characters become _. Numbers that are not finite are left out.

    Returns {"params", "metrics", "tags"} as they were logged. Logging the same set again changes nothing; another one under the same prefix is
    refused by MLflow, as params do not change. Raises ConfigError, InputError, IoError, ImportError without mlflow where a client must be made."""
    client, run = _client(run_or_client, run_id)
    given = version_or_set if isinstance(version_or_set, NegativeSet) else open_set(version_or_set)
    logged = _facts(given, _log_of(given), _audit(audit))
    out: dict[str, Any] = {}
    for kind, facts in logged.items():
        named = {prefix + re.sub(r"[^A-Za-z0-9_\-. /]", "_", name): value for name, value in facts.items()}
        if kind == "metrics":
            named = {name: float(value) for name, value in named.items() if math.isfinite(value)}
        else:
            named = {name: str(value)[:_LONGEST[kind[:-1]]] for name, value in named.items()}
        out[kind] = named
    # Params first: they alone can be refused.
    for name, value in out["params"].items():
        client.log_param(run, name, value)
    for name, value in out["metrics"].items():
        client.log_metric(run, name, value)
    for name, value in out["tags"].items():
        client.set_tag(run, name, value)
    return out


def _client(run_or_client: Any, run_id: str | None) -> tuple[Any, str]:
    info: Any = getattr(run_or_client, "info", None)
    if isinstance(run_or_client, str) or hasattr(info, "run_id"):
        found = run_or_client if isinstance(run_or_client, str) else info.run_id
        if run_id not in (None, found):
            raise ConfigError(f"run_id: {run_id!r} is another run than the one given, {found!r}")
        try:
            from mlflow import MlflowClient
        except ImportError:
            raise ImportError("logging to a run of MLflow needs it: pip install mlflow-skinny") from None
        return MlflowClient(), found
    missing = [name for name in ("log_param", "log_metric", "set_tag") if not hasattr(run_or_client, name)]
    if missing or isinstance(run_or_client, type(re)):
        raise ConfigError(f"run_or_client: is a {type(run_or_client).__name__}; an mlflow Run (mlflow.active_run()), the id of one, or an "
                          "MlflowClient with run_id is needed")
    if run_id is None:
        raise ConfigError("run_id: a client does not know the run; give its id, or the run in place of the client")
    return run_or_client, run_id


def _log_of(given: NegativeSet) -> dict[str, Any]:
    """What the store's log says of the version; nothing for a set that is none."""
    if given.manifest.get("version") is None:
        return {}
    store = given._name.rpartition("@")[0]
    done = subprocess.run([program(), "log", store, "--json"], capture_output=True, text=True)
    if done.returncode != 0:
        raise IoError(f"{store}: its log cannot be read: {done.stderr.strip()}")
    log = json.loads(done.stdout)
    found: dict[str, Any] = next((one for one in log["versions"] if one["version"] == given.manifest["version"]), {})
    audits = [one for one in log["events"] if one["event"] == "audit" and one["version"] == given.manifest["version"]]
    return {"version": found, "audit": audits[-1] if audits else None}


def _audit(audit: Any) -> dict[str, Any] | None:
    """Verdict, gates and metrics, as the log has them."""
    if audit is None:
        return None
    if is_path(audit):
        path = path_text(audit, "audit")
        try:
            with open(path, encoding="utf-8") as file:
                audit = json.load(file)
        except OSError as error:
            raise IoError(f"{path}: {error.strerror or error}") from None
        except ValueError as error:
            raise InputError(f"{path}: is no JSON: {error}") from None
    if not isinstance(audit, dict) or audit.get("format") != "quarry.audit":
        raise InputError("audit: is not what quarry audit --json prints")
    metrics = {one["id"]: one["value"] for section in audit["sections"] for one in section["metrics"]}
    return {"verdict": audit["verdict"], "content_hash": audit["set"]["content_hash"], "metrics": metrics,
            "gates": {one["id"]: one["status"] for one in audit["gates"] if one["status"] in ("pass", "warn", "fail")}}


def _facts(given: NegativeSet, log: dict[str, Any], audit: dict[str, Any] | None) -> dict[str, dict[str, Any]]:
    manifest = given.manifest
    run, store, version = manifest.get("run", {}), manifest.get("store", {}), log.get("version", {})
    recipe, fill = run.get("recipe", {}), run.get("fill", {})
    if audit is not None and audit["content_hash"] != given.content_hash:
        raise InputError(f"audit: is of the set {audit['content_hash']}; this one is {given.content_hash}")
    audit = audit or log.get("audit")
    metric = re.search(r'^\s*metric\s*=\s*"(\w+)"', recipe.get("text", ""), re.MULTILINE)
    params = {"recipe": recipe.get("name"), "k": given.k, "metric": metric.group(1) if metric else "ip", "seed": run.get("seed"),
              "round": run.get("round"), "as_of": run.get("as_of"), "retriever": run.get("search", {}).get("retriever"),
              "num_items": manifest["num_items"], "model": store.get("model") or None}
    metrics = {"rows": len(given), "negatives": fill.get("emitted"), "slots": fill.get("requested"),
               "fill": fill["emitted"] / fill["requested"] if fill.get("requested") else None}
    metrics.update({f"missing.{code}": count for code, count in fill.get("missing", {}).items()})
    metrics.update({f"branch.{one['name']}": one.get("picked") for one in run.get("branches", [])})
    metrics.update({f"stratum.{one['name']}": one.get("emitted") for one in run.get("strata", []) if one["name"]})
    for part in ("candidates", "negatives"):
        metrics[f"recall.{part}"] = ((run.get("recall") or {}).get(part) or {}).get("share")
    if audit is not None:
        metrics.update({f"audit.{name}": value for name, value in audit.get("metrics", {}).items()})
        statuses = list(audit["gates"].values())
        metrics.update({"audit.gates_failed": statuses.count("fail"), "audit.gates_checked": len(statuses)})
    metrics.update({f"kpi.{name}": value for name, value in (version.get("kpis") or {}).items()})
    tags = {"set": given._name, "content_hash": given.content_hash, "recipe_hash": recipe.get("hash"), "recipe_text": recipe.get("text"),
            "version": manifest.get("version"), "parents": ",".join(str(one) for one in store.get("parents", [])) or None,
            "identity": store.get("identity"), "model": store.get("model") or None, "audit": audit["verdict"] if audit else None,
            "state": version.get("state")}
    return {kind: {name: value for name, value in facts.items() if value is not None}
            for kind, facts in (("params", params), ("metrics", metrics), ("tags", tags))}
