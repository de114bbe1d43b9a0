#!/usr/bin/env python3
"""Types of the package: mypy over what is installed, and over every block of Python in README and docs, as somebody's own code.

  tests/python_types_test.py [PROGRAM]

Run it with a Python that has the package and mypy (tools/check_python --all makes one); else it ends with 77, which means skipped."""
import ast
import builtins
import glob
import os
import re
import sys

from python_package import SharedFolder, main, or_skip

with or_skip("pip install mypy, or tools/check_python --all"):
    import mypy.api

    import quarry

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CONFIG = """[mypy]
python_executable = %s
warn_unused_ignores = True
check_untyped_defs = True
"""
# Of what is not ours there may be no types, or types that take minutes to read.
OTHERS = ("torch", "pyarrow", "pandas", "polars", "datasets", "mlflow", "ray", "jax", "sentence_transformers", "tokenizers", "faiss")


def names_in(tree, kind):
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, kind)}


def free_names(code):
    """Names that a block takes for granted."""
    bound, free = set(dir(builtins)), set()
    for statement in ast.parse(code).body:
        if isinstance(statement, ast.Assign):  # what it assigns is not there yet
            free |= names_in(statement.value, ast.Load) - bound
        for node in ast.walk(statement):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                bound |= {(one.asname or one.name).partition(".")[0] for one in node.names}
            elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                bound.add(node.name)
            elif isinstance(node, ast.arg):
                bound.add(node.arg)
        bound |= names_in(statement, ast.Store)
        free |= names_in(statement, ast.Load) - bound
    return sorted(free)


def own_code(code):
    """A module of a block: what it takes for granted is imported, a Miner and so on, or anything."""
    known = {"quarry": "import quarry, quarry.torch, quarry.ray", "np": "import numpy as np", "torch": "import torch", "pyarrow": "import pyarrow",
             "miner": "import quarry\nminer: quarry.Miner", "negatives": "import quarry\nnegatives: quarry.Negatives"}
    return "\n".join(["from typing import Any", *(known.get(name, f"{name}: Any") for name in free_names(code)), code])


def blocks_of(path):
    with open(path, encoding="utf-8") as file:
        return re.findall(r"^```python[^\n]*\n(.*?)^```", file.read(), re.M | re.S)


class TypesTest(SharedFolder):
    def check(self, *arguments):
        """Mypy's messages."""
        with open("mypy.ini", "w", encoding="utf-8") as file:
            file.write(CONFIG % sys.executable)
            file.writelines(f"[mypy-{one}.*]\nignore_missing_imports = True\nfollow_imports = skip\nfollow_imports_for_stubs = True\n" for one in OTHERS)
        said, wrong, code = mypy.api.run(["--config-file", "mypy.ini", "--cache-dir", "cache", *arguments])
        self.assertIn(code, (0, 1), said + wrong)
        return [line for line in said.splitlines() if ": error:" in line]

    def test_the_package(self):
        self.assertTrue(os.path.exists(os.path.join(os.path.dirname(quarry.__file__), "py.typed")))
        self.assertEqual(self.check("-p", "quarry"), [])

    def test_blocks_of_the_guides(self):
        pages = [os.path.join(ROOT, "README.md"), *sorted(glob.glob(os.path.join(ROOT, "docs", "*.md")) + glob.glob(os.path.join(ROOT, "docs", "tutorials", "*.md")))]
        files = {}
        for page in pages:
            for number, code in enumerate(blocks_of(page)):
                name = f"{os.path.basename(page)[:-3].lower()}_{os.path.basename(os.path.dirname(page))}_{number}.py".replace("-", "_")
                files[name] = page
                with open(name, "w", encoding="utf-8") as file:
                    file.write(own_code(code))
        self.assertGreater(len(files), 10)
        self.assertGreater(len({page for page in files.values()}), 3)
        self.assertEqual(self.check(*files), [])

    def test_mistakes_in_blocks_are_found(self):
        """Or the tests above would pass for want of types."""
        for code, words in (("negatives = quarry.Miner(items, 'mns').mine(users, positive=positives)", 'Unexpected keyword argument "positive"'),
                            ("miner.mine(users).items", '"Negatives" has no attribute "items"'),
                            ("miner.mine(users, out=3)", 'has incompatible type "int"; expected "str"'),
                            ("quarry.mine_hard_negative(data)", 'has no attribute "mine_hard_negative"'),
                            ("total: str = miner.num_items", "Incompatible types in assignment"),
                            ("with miner.prefetch(batches) as ahead:\n    for batch, negatives, more in ahead:\n        pass", "Need more than 2 values")):
            with open("wrong.py", "w", encoding="utf-8") as file:
                file.write(own_code(code))
            with self.subTest(code=code):
                self.assertIn(words, "\n".join(self.check("wrong.py")))


if __name__ == "__main__":
    main()
