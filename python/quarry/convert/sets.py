"""Negative sets as Parquet with a card, a folder that Hugging Face's datasets reads."""
from __future__ import annotations

import json
import os
from typing import Any

import numpy as np

from .. import _sets
from .._convert import ids_of
from .._errors import ConfigError, InputError
from ..arrow import pyarrow
from .id_files import IdFile
from .outputs import target, whole_folder

_NO_TIME, _NO_ITEM, _NO_USER = 2**63 - 1, 2**32 - 1, 2**32 - 1
_MANIFEST = "quarry_manifest.json"
_NAMES = [name + ".list.element" for name in ("branch", "stratum", "missing", "missing_stratum")]  # numbers need no dictionary

#: Column: Arrow type in words, and meaning. The table of the card, and of docs/parquet.md.
SCHEMA = (
    ("row_key", "uint64", "key of the row"),
    ("user", "uint32", "row number of the user; null: it has none"),
    ("time", "timestamp[ms, UTC]", "time of the row; null: it has none"),
    ("positives", "list<uint32>", "row numbers of the positives"),
    ("positive_min", "float", "least exact score of the positives; NaN: there are none"),
    ("item", "list<uint32>", "row numbers of the negatives, in the order of picking: at most k"),
    ("score", "list<float>", "their exact scores"),
    ("gap", "list<float>", "positive_min - score"),
    ("branch", "list<string>", "branches of the recipe that picked them"),
    ("stratum", "list<string>", "strata that they lie in; empty texts without a quota"),
    ("raw_rank", "list<uint32>", "places among the branch's candidates, from 1; 0: not ranked"),
    ("survivor_rank", "list<uint32>", "places among those that the filters let through, from 1; 0: not ranked"),
    ("quantile", "list<float>", "raw_rank / number of items; NaN: not ranked"),
    ("logq", "list<float>", "logQ of a sampled softmax; NaN: a deterministic pick"),
    ("missing", "list<string>", "why slots are empty, one code for each"),
    ("missing_stratum", "list<string>", "strata that lack them"),
    ("kappa", "list<float>", "next sampling key of each branch; NaN: none"),
    ("certified", "bool", "the row's search is proven equal to brute force"),
)


def negatives(source: Any, out: Any, *, item_ids: Any = None, user_ids: Any = None, verify: bool = False, overwrite: bool = False) -> int:
    """A negative set, or STORE@VERSION, into a new folder: data/negatives-*.parquet, README.md (a card with the schema, which
    `datasets.load_dataset(folder)` understands) and quarry_manifest.json. Returns the rows.

    item_ids, user_ids: FILE, FILE:COLUMN or the ids in order, for the columns user_id, positive_ids and item_ids beside the row numbers.
    verify: every byte of the set is checked first. overwrite: a folder that a conversion made is replaced; no other is.
    A file holds 65,536 rows or 2^24 negatives at most; memory is that of one. Modes are 0700 and 0600: a set tells what persons did.
    Raises InputError, ConfigError, IoError, ImportError without pyarrow."""
    pa = pyarrow()
    import pyarrow.parquet as pq
    given = _sets.open(source, verify=verify)
    path = target(out, overwrite)
    if os.path.lexists(path) and not os.path.isfile(os.path.join(path, _MANIFEST)):
        raise ConfigError(f"out: {path} is there and was not made by a conversion of a set, so it is not replaced; give another name")
    items, users = _texts(item_ids, "item_ids"), _texts(user_ids, "user_ids")
    if items is not None and len(items) != given.manifest["num_items"]:
        raise InputError(f"item_ids: has {len(items)} ids; the set was mined over {given.manifest['num_items']} items")
    schema = _schema(pa, items is not None, users is not None)
    step = max(1, min(65_536, (1 << 24) // given.k))
    files = max(1, -(-len(given) // step))
    with whole_folder(path) as folder:
        os.mkdir(os.path.join(folder, "data"), 0o700)
        for number in range(files):
            part = given[number * step:(number + 1) * step]
            name = os.path.join(folder, "data", f"negatives-{number:05d}-of-{files:05d}.parquet")
            table = _table(pa, given, part, items, users, schema) if len(given) else schema.empty_table()
            pq.write_table(table, name, use_dictionary=_NAMES, compression="zstd", write_statistics=["row_key", "user", "time"])
        with open(os.path.join(folder, _MANIFEST), "w", encoding="utf-8") as file:
            json.dump(given.manifest, file, indent=1, ensure_ascii=False)
        with open(os.path.join(folder, "README.md"), "w", encoding="utf-8") as file:
            file.write(_card(given, schema))
    return len(given)


def _schema(pa: Any, items: bool, users: bool) -> Any:
    types = {"uint64": pa.uint64(), "uint32": pa.uint32(), "float": pa.float32(), "bool": pa.bool_(), "string": pa.string(),
             "timestamp[ms, UTC]": pa.timestamp("ms", "UTC")}

    def of(words: str) -> Any:
        return pa.list_(pa.field("element", of(words[5:-1]), nullable=False)) if words.startswith("list<") else types[words]

    fields = [pa.field(name, of(words), nullable=name in ("user", "time")) for name, words, _ in SCHEMA]
    if users:
        fields.append(pa.field("user_id", pa.string()))
    if items:
        fields += [pa.field(name, of("list<string>"), nullable=False) for name in ("positive_ids", "item_ids")]
    return pa.schema(fields)


def _table(pa: Any, given: Any, rows: Any, items: Any, users: Any, schema: Any) -> Any:
    count = rows["count"].astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(count)]).astype(np.int32)
    filled = np.arange(given.k)[None, :] < count[:, None]
    holes = np.concatenate([[0], np.cumsum(given.k - count)]).astype(np.int32)

    def lists(values: Any, bounds: np.ndarray, name: str) -> Any:
        return pa.ListArray.from_arrays(pa.array(bounds, pa.int32()), values, type=schema.field(name).type)

    def names(codes: np.ndarray, words: list[str]) -> Any:
        return pa.array(words, pa.string()).take(pa.array(codes.astype(np.int64)))

    if int(rows["positive_offset"][-1]) > 2**31 - 1:
        raise InputError(f"a stretch of {len(count)} rows has {int(rows['positive_offset'][-1])} positives; 2147483647 are the most")
    positive_bounds = rows["positive_offset"].astype(np.int32)
    user, time = rows["user"], rows["time"]
    columns: dict[str, Any] = {
        "row_key": pa.array(np.ascontiguousarray(rows["row_key"])), "user": pa.array(np.ascontiguousarray(user), mask=user == _NO_USER),
        "time": pa.array(np.where(time == _NO_TIME, 0, time) * 1000, pa.int64(), mask=time == _NO_TIME).cast(schema.field("time").type),
        "positives": lists(pa.array(np.ascontiguousarray(rows["positive"])), positive_bounds, "positives"),
        "positive_min": pa.array(np.ascontiguousarray(rows["positive_min"])),
        "certified": pa.array(rows["certified"] != 0),
        "kappa": lists(pa.array(np.ascontiguousarray(rows["kappa"]).reshape(-1)),
                       np.arange(len(count) + 1, dtype=np.int32) * rows["kappa"].shape[1], "kappa"),
        "missing": lists(names(rows["fill"][~filled], given.fill_codes), holes, "missing")}
    for name in ("item", "score", "gap", "raw_rank", "survivor_rank", "quantile", "logq"):
        columns[name] = lists(pa.array(rows[name][filled]), offsets, name)
    columns["branch"] = lists(names(rows["branch"][filled], given.branches), offsets, "branch")
    columns["stratum"] = lists(names(rows["stratum"][filled], given.strata or [""]), offsets, "stratum")
    columns["missing_stratum"] = lists(names(rows["stratum"][~filled], given.strata or [""]), holes, "missing_stratum")
    if users is not None:
        _within(user[user != _NO_USER], users, "user_ids", "user")
        columns["user_id"] = users.take(columns["user"])
    if items is not None:
        columns["positive_ids"] = lists(items.take(columns["positives"].values), positive_bounds, "positive_ids")
        columns["item_ids"] = lists(items.take(columns["item"].values), offsets, "item_ids")
    return pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema)


def _within(numbers: np.ndarray, texts: Any, name: str, what: str) -> None:
    if numbers.size and int(numbers.max()) >= len(texts):
        raise InputError(f"{name}: has {len(texts)} ids, and the set has {what} {int(numbers.max())}")


def _texts(ids: Any, name: str) -> Any:
    """Ids as an Arrow array; None: none are given."""
    if ids is None:
        return None
    pa = pyarrow()
    path, column, given = ids_of(ids, name)
    if not path:
        return pa.array(given, pa.string())
    source, parts = IdFile(path if not column else f"{path}:{column}"), [pa.array([], pa.string())]
    while (batch := source.next_batch()) is not None:
        parts.append(batch.column(0))
    return pa.concat_arrays(parts)


def _card(given: Any, schema: Any) -> str:
    manifest = given.manifest
    run = manifest.get("run", {})
    recipe = run.get("recipe", {})
    text = recipe.get("text", "") if isinstance(recipe, dict) else str(recipe)
    meanings = {column: meaning for column, _, meaning in SCHEMA}
    meanings.update({"user_id": "id of the user", "positive_ids": "ids of the positives", "item_ids": "ids of the negatives"})
    words = {column: kind for column, kind, _ in SCHEMA}
    words.update({"user_id": "string", "positive_ids": "list<string>", "item_ids": "list<string>"})
    table = "\n".join(f"| `{one}` | `{words[one]}` | {meanings[one]} |" for one in schema.names)
    facts = {"rows": f"{len(given):,}", "negatives per row": given.k, "items": f"{manifest['num_items']:,}", "content hash": given.content_hash,
             "version": manifest.get("version"), "seed": run.get("seed"), "round": run.get("round")}
    listed = "\n".join(f"| {key} | {value} |" for key, value in facts.items() if value is not None)
    return f"""---
pretty_name: Hard negatives
tags:
- hard-negatives
- quarry
configs:
- config_name: default
  data_files:
  - split: train
    path: data/negatives-*.parquet
---
# Hard negatives
Mined with Quarry. Rows are training rows; `user`, `positives` and `item` are row numbers of the embeddings that were mined
(`quarry_manifest.json` names them, and holds the inputs' hashes, counters and warnings).

| | |
|---|---|
{listed}

```python
from datasets import load_dataset
rows = load_dataset("FOLDER", split="train")  # this folder
```

| column | type | |
|---|---|---|
{table}

## Recipe
```toml
{text.rstrip()}
```
"""


def check_to(to: str) -> None:
    """Raises ConfigError for a form of sets that is none."""
    if to != "parquet":
        raise ConfigError(f"to: {to!r} is not one of parquet; quarry export writes the other forms of sets")
