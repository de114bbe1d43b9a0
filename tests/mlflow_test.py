#!/usr/bin/env python3
"""log_to_mlflow: params, metrics and tags of a set and of a version, by a client that only writes down, and by MLflow where it is installed.

  tests/mlflow_test.py

Run it with a Python that has the package (tools/check_python makes one); else it ends with 77, which means skipped."""
import json
import os
import subprocess
import sys
import unittest

from python_package import SharedFolder, main, or_skip

with or_skip():
    import numpy as np

    import quarry
try:
    import mlflow
except ImportError:
    mlflow = None


class Client:
    """Writes down what is logged."""

    def __init__(self):
        self.params, self.metrics, self.tags = {}, {}, {}

    def log_param(self, run_id, key, value):
        self.params[run_id, key] = value

    def log_metric(self, run_id, key, value):
        self.metrics[run_id, key] = value

    def set_tag(self, run_id, key, value):
        self.tags[run_id, key] = value


def program(*arguments):
    done = subprocess.run([quarry.program(), *arguments], capture_output=True, text=True)
    if done.returncode not in (0, 8):  # 8: a gate failed
        raise AssertionError(f"{arguments}: {done.stderr}")
    return done.stdout


class MlflowTest(SharedFolder):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        program("synth", "--users", "60", "--items", "150", "--dim", "8", "--out", "data")
        inputs = ["--items", "data/items.npy", "--users", "data/users.npy", "--events", "data/events.csv", "--catalogue", "data/catalogue.csv"]
        program("mine", *inputs, "--recipe", "balanced", "--set", "k=140", "--set", "branch.hard.source.pool=140",
                "--seed", "4", "--out", "negatives")
        program("mine", *inputs, "--recipe", "random", "--store", "store", "--model", "towers-3")
        program("mine", *inputs, "--recipe", "random", "--seed", "1", "--store", "store", "--parent", "1")
        program("audit", "store@1", "--record")
        program("log", "store", "kpi", "v1", "recall@20=0.25")
        cls.audit = program("audit", "negatives", "--json")
        with open("audit.json", "w") as file:
            file.write(cls.audit)

    def test_a_set(self):
        client, given = Client(), quarry.open("negatives")
        logged = quarry.log_to_mlflow(client, given, run_id="r", audit="audit.json")
        self.assertEqual(client.params, {("r", name): value for name, value in logged["params"].items()})
        self.assertEqual(client.metrics, {("r", name): value for name, value in logged["metrics"].items()})
        self.assertEqual(client.tags, {("r", name): value for name, value in logged["tags"].items()})
        params, metrics, tags = logged["params"], logged["metrics"], logged["tags"]
        self.assertEqual((params["quarry.recipe"], params["quarry.k"], params["quarry.seed"], params["quarry.num_items"], params["quarry.metric"]),
                         ("balanced", "140", "4", "150", "cosine"))
        fill, branch, stratum = given.column("fill"), given.column("branch"), given.column("stratum")
        self.assertEqual((metrics["quarry.rows"], metrics["quarry.slots"], metrics["quarry.negatives"]), (len(given), fill.size, (fill == 0).sum()))
        self.assertEqual(metrics["quarry.fill"], (fill == 0).mean())
        self.assertGreater((fill != 0).sum(), 0)
        for number, name in enumerate(given.fill_codes[1:], 1):
            self.assertEqual(metrics[f"quarry.missing.{name}"], (fill == number).sum())
        for number, name in enumerate(given.branches):
            self.assertEqual(metrics[f"quarry.branch.{name}"], (branch == number).sum())
        for number, name in enumerate(given.strata):
            self.assertEqual(metrics[f"quarry.stratum.{name}"], ((stratum == number) & (fill == 0)).sum())
        self.assertEqual((tags["quarry.content_hash"], tags["quarry.audit"]), (given.content_hash, json.loads(self.audit)["verdict"]))
        self.assertEqual(tags["quarry.recipe_hash"], given.manifest["run"]["recipe"]["hash"])
        self.assertNotIn("quarry.version", tags)
        self.assertEqual(metrics["quarry.audit.fill.slots"], np.float64((fill == 0).mean()))
        gates = [one["status"] for one in json.loads(self.audit)["gates"]]
        self.assertEqual(metrics["quarry.audit.gates_failed"], gates.count("fail"))
        self.assertEqual(metrics["quarry.audit.gates_checked"], sum(one in ("pass", "warn", "fail") for one in gates))
        self.assertNotIn("quarry.audit.gates_failed", quarry.log_to_mlflow(client, "negatives", run_id="r")["metrics"])

    def test_a_version(self):
        client = Client()
        logged = quarry.log_to_mlflow(client, "store@1", run_id="r", prefix="a/")
        self.assertEqual((logged["tags"]["a/version"], logged["tags"]["a/model"], logged["tags"]["a/audit"], logged["tags"]["a/state"]),
                         ("1", "towers-3", "pass", "pending"))
        self.assertEqual(logged["metrics"]["a/kpi.recall_20"], 0.25)
        self.assertEqual(logged["metrics"]["a/audit.leak.positives"], 0.0)
        self.assertTrue(logged["tags"]["a/set"].endswith("store@1"))
        with open("store/versions/v00000000000000000001.json") as file:
            self.assertEqual(logged["tags"]["a/identity"], json.load(file)["store"]["identity"])
        second = quarry.log_to_mlflow(client, "store", run_id="r2")
        self.assertEqual((second["tags"]["quarry.version"], second["tags"]["quarry.parents"]), ("2", "1"))
        self.assertNotIn("quarry.audit", second["tags"])

    def test_what_is_refused(self):
        for kind, words, arguments, more in (
                (quarry.ConfigError, "run_id", (Client(), "negatives"), {}), (quarry.ConfigError, "is a int", (7, "negatives"), {"run_id": "r"}),
                (quarry.InputError, "is of the set", (Client(), "store@1"), {"run_id": "r", "audit": "audit.json"}),
                (quarry.InputError, "quarry audit --json", (Client(), "negatives"), {"run_id": "r", "audit": {}}),
                (quarry.InputError, "no JSON", (Client(), "negatives"), {"run_id": "r", "audit": "data/events.csv"}),
                (quarry.IoError, "gone.json", (Client(), "negatives"), {"run_id": "r", "audit": "gone.json"})):
            with self.subTest(words), self.assertRaisesRegex(kind, words):
                quarry.log_to_mlflow(*arguments, **more)

    def test_without_mlflow(self):
        code = "import sys; sys.modules['mlflow'] = None; import quarry\n" \
            "try:\n    quarry.log_to_mlflow('id', 'negatives')\nexcept ImportError as error:\n    print(error)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        self.assertIn("pip install mlflow-skinny", done.stdout, done.stderr)

    @unittest.skipIf(mlflow is None, "mlflow is not installed: pip install mlflow-skinny")
    def test_by_mlflow(self):
        os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
        mlflow.set_tracking_uri("file://" + os.path.abspath("mlruns"))
        with mlflow.start_run() as run:
            logged = quarry.log_to_mlflow(run, "store@1")
            self.assertEqual(quarry.log_to_mlflow(run.info.run_id, "store@1"), logged)  # again changes nothing
        found = mlflow.MlflowClient().get_run(run.info.run_id).data
        self.assertEqual({name: value for name, value in found.params.items() if name.startswith("quarry.")}, logged["params"])
        self.assertEqual(found.metrics, logged["metrics"])
        self.assertEqual({name: value for name, value in found.tags.items() if name.startswith("quarry.")}, logged["tags"])
        with self.assertRaises(mlflow.exceptions.MlflowException):
            quarry.log_to_mlflow(run, "negatives")
        quarry.log_to_mlflow(mlflow.MlflowClient(), "negatives", run_id=run.info.run_id, prefix="second.")


if __name__ == "__main__":
    main()
