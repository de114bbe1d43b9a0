"""Texts that people pass to mine_hard_negatives, made into numbered queries and documents with their vectors."""
from __future__ import annotations

import dataclasses
import inspect
from typing import Any, Sequence

import numpy as np

from ._convert import host_array, in_place, is_path, path_text
from ._errors import ConfigError, InputError, IoError


@dataclasses.dataclass
class Pairs:
    """Queries and documents, each text once, in the order of their first appearance; documents of the corpus come first."""

    anchor: str  #: name of the anchors' column
    positive: str
    queries: list[str]
    documents: list[str]
    positives: list[list[int]]  #: of each query, numbers of documents, each once
    query_of_row: list[int]  #: of each row of the dataset
    document_of_entry: list[int]  #: of each text of the corpus as given; without a corpus of each positive as given
    most_positives: int  #: pairs of the commonest query, repeats counted


def columns_of(dataset: Any, anchor: str | None, positive: str | None) -> tuple[str, str, list[Any], list[Any]]:
    """Names and contents of the two columns. Raises ConfigError for a name that is none, InputError for what is no table."""
    if isinstance(dataset, list) and len(dataset) == 2 and all(isinstance(part, tuple) for part in dataset):
        raise InputError("dataset: is a list of two tuples, which may be two rows or two columns; give the columns as two lists: "
                         "([anchors], [positives])")
    if isinstance(dataset, (tuple, list)) and len(dataset) == 2 and not any(isinstance(part, (dict, str)) for part in dataset):
        names, take = ["anchor", "positive"], lambda name: dataset[0] if name == "anchor" else dataset[1]
    elif isinstance(dataset, (tuple, list)):
        wrong = next((row for row, one in enumerate(dataset) if not isinstance(one, dict)), None)
        if wrong is not None:
            raise InputError(f"dataset: entry {wrong} is a {type(dataset[wrong]).__name__}; a list holds a dict for each row, or two columns")
        names = list(dataset[0]) if dataset else []

        def take(name: str) -> list[Any]:
            missing = next((row for row, one in enumerate(dataset) if name not in one), None)
            if missing is not None:
                raise InputError(f"dataset: row {missing} has no {name!r}")
            return [one[name] for one in dataset]
    else:
        found = getattr(dataset, "column_names", None)  # datasets, pyarrow
        if found is None:
            found = getattr(dataset, "columns", None)  # pandas, polars
        if found is None:
            found = list(dataset) if isinstance(dataset, dict) else None
        if found is None or isinstance(found, dict) or not hasattr(dataset, "__getitem__"):
            kind = "a DatasetDict; choose a split of it" if isinstance(found, dict) else f"a {type(dataset).__name__}"
            raise InputError(f"dataset: is {kind}; a datasets.Dataset, a dict of columns, a list of dicts, two lists, or a table of "
                             "pyarrow or pandas is needed")
        own = {str(name): name for name in found}  # pandas numbers columns that nobody named
        names, take = [str(name) for name in found], lambda name: dataset[own[name]]
    if len(names) < 2 and (anchor is None or positive is None):
        raise InputError(f"dataset: has the columns {names}; two are needed, of anchors and of positives")
    for what, name in (("anchor_column_name", anchor), ("positive_column_name", positive)):
        if name is not None and name not in names:
            raise ConfigError(f"{what}: there is no column {name!r}; the dataset has {', '.join(names)}")
    twice = next((name for name in names if names.count(name) > 1 and (name in (anchor, positive) or None in (anchor, positive))), None)
    if twice is not None:
        raise InputError(f"dataset: has the column {twice!r} {names.count(twice)} times; give each a name of its own")
    if anchor is None:
        anchor = next(name for name in names if name != positive)
    if positive is None:
        positive = next(name for name in names if name != anchor)
    if anchor == positive:
        raise ConfigError(f"anchor_column_name and positive_column_name are both {anchor!r}; they are two columns")
    anchors, found_positives = _list(take(anchor)), _list(take(positive))
    if len(anchors) != len(found_positives):
        raise InputError(f"dataset: {len(anchors)} anchors and {len(found_positives)} positives; they are pairs")
    if not anchors:
        raise InputError("dataset: has no rows; one pair or more is needed")
    return anchor, positive, anchors, found_positives


def _list(column: Any) -> list[Any]:
    if hasattr(column, "to_pylist"):
        return column.to_pylist()
    if isinstance(column, (str, bytes)):
        raise InputError(f"dataset: a column is the text {column[:40]!r}; a list of texts is needed")
    return column.tolist() if hasattr(column, "tolist") else list(column)


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise InputError(f"{where} is {value!r:.60}; texts are needed")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{where} is {value!r:.60}, which holds half a surrogate pair at place {error.start} and is no Unicode; mend the text, or "
                         "leave the row out") from None
    return value


def number_texts(dataset: Any, anchor: str | None, positive: str | None, corpus: Any) -> Pairs:
    """Numbers the texts. A positive may be a text or a list of texts. Raises InputError naming column and row."""
    anchor, positive, anchors, given = columns_of(dataset, anchor, positive)
    entries: list[str] = []
    numbers: dict[str, int] = {}
    document_of_entry: list[int] = []
    if corpus is not None:
        if isinstance(corpus, (str, bytes)) or hasattr(corpus, "keys") or hasattr(corpus, "column_names"):
            raise InputError(f"corpus: is a {type(corpus).__name__}; a list of texts is needed, such as one column of a dataset")
        entries = _list(corpus)
        for place, text in enumerate(entries):
            document_of_entry.append(numbers.setdefault(_text(text, f"corpus: entry {place}"), len(numbers)))
    query_numbers: dict[str, int] = {}
    query_of_row: list[int] = []
    positives: list[dict[int, None]] = []
    pairs: list[int] = []
    for row, (query, texts) in enumerate(zip(anchors, given)):
        number = query_numbers.setdefault(_text(query, f"{anchor}: row {row}"), len(query_numbers))
        if number == len(positives):
            positives.append({})
            pairs.append(0)
        query_of_row.append(number)
        some = [texts] if isinstance(texts, str) or not isinstance(texts, (list, tuple, np.ndarray)) else list(texts)
        if not some:
            raise InputError(f"{positive}: row {row} has no positive; leave the row out")
        for text in some:
            document = numbers.setdefault(_text(text, f"{positive}: row {row}"), len(numbers))
            if corpus is None:
                document_of_entry.append(document)
            positives[number][document] = None
        pairs[number] += len(some)
    return Pairs(anchor, positive, list(query_numbers), list(numbers), [list(some) for some in positives], query_of_row,
                 document_of_entry, max(pairs))


def loaded(vectors: Any, name: str) -> np.ndarray:
    """float32 or float16 [rows, dim] of an array or a .npy file, in place. Raises InputError."""
    if is_path(vectors):
        try:
            array = np.load(path_text(vectors, name), mmap_mode="r", allow_pickle=False)
        except ValueError as error:
            raise InputError(f"{name}: {path_text(vectors, name)}: {error}; a .npy file is needed") from None
        except OSError as error:
            raise IoError(f"{name}: {error}") from None
    else:
        try:
            array = host_array(in_place(vectors, name), name)
        except (BufferError, RuntimeError) as error:  # DLPack's, of types that NumPy lacks
            raise InputError(f"{name}: is {getattr(vectors, 'dtype', type(vectors).__name__)}, which NumPy cannot read ({error}); float32 or "
                             f"float16 is needed: {name}.float() makes a copy") from None
    if array.ndim != 2:
        raise InputError(f"{name}: has shape {array.shape}; [rows, dim] is needed")
    if array.dtype not in (np.float32, np.float16):
        raise InputError(f"{name}: is {array.dtype}; float32 or float16 is needed: {name}.astype('float32') makes a copy")
    return array


def rows_of_texts(array: np.ndarray, name: str, of_entry: Sequence[int], texts: int, entries: str) -> np.ndarray:
    """A row for each different text, of which the first entry's counts. `array`: a row for each entry, or each different text; in place
    where no text repeats."""
    if len(array) == len(of_entry):
        if len(of_entry) == texts:
            return np.ascontiguousarray(array)
        first = np.empty(texts, np.int64)
        first[np.asarray(of_entry, np.int64)[::-1]] = np.arange(len(of_entry))[::-1]  # of equal texts the first is written last
        return array[first]
    if len(array) == texts:
        return np.ascontiguousarray(array)
    raise InputError(f"{name}: has {len(array)} rows; {len(of_entry)} are needed, one for {entries}, or {texts}, one for each different text "
                     "in the order of first appearance")


def encode(model: Any, texts: list[str], *, documents: bool, prompt_name: str | None, prompt: str | None, batch_size: int,
           normalize: bool, verbose: bool, pool: Any) -> np.ndarray:
    """float32 [texts, dim] of a model that has encode_document or encode_query, else encode. It is told what its signature takes."""
    if model is None:
        raise ConfigError(f"model: there is none, and {len(texts)} {'documents' if documents else 'queries'} have no vectors (the first is "
                          f"{texts[0]!r:.60}); give a model, or {'corpus' if documents else 'query'}_embeddings of all")
    call = getattr(model, "encode_document" if documents else "encode_query", None) or getattr(model, "encode", None)
    if call is None:
        raise ConfigError(f"model: a {type(model).__name__} has neither encode_query and encode_document nor encode")
    options = {"pool": pool, "batch_size": batch_size, "normalize_embeddings": normalize, "convert_to_numpy": True,
               "show_progress_bar": verbose, "prompt_name": prompt_name, "prompt": prompt}
    try:
        known = inspect.signature(call).parameters.values()
        takes_all = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in known)
        takes = {one.name for one in known}
    except (TypeError, ValueError):
        takes_all, takes = False, set()
    if not takes_all:
        if prompt is not None and "prompt" not in takes:
            texts = [prompt + text for text in texts]
        elif prompt_name is not None and prompt is None and "prompt_name" not in takes:
            raise ConfigError(f"{'corpus' if documents else 'query'}_prompt_name: the model's {call.__name__} takes no prompt_name; give "
                              f"{'corpus' if documents else 'query'}_prompt, the text itself")
        options = {name: value for name, value in options.items() if name in takes}
    found = call(texts, **options)
    if hasattr(found, "detach"):
        found = found.detach().cpu().float().numpy()
    array = np.ascontiguousarray(np.asarray(found), np.float32)
    if array.ndim != 2 or len(array) != len(texts):
        raise InputError(f"model: gave an array of shape {array.shape} for {len(texts)} texts; [texts, dim] is needed")
    return array


def check_vectors(vectors: np.ndarray, name: str, texts: list[str], cosine: bool) -> None:
    """Raises InputError for the first row that cannot be scored: NaN or infinity; under cosine zero."""
    for begin in range(0, len(vectors), 65536):
        block = np.asarray(vectors[begin:begin + 65536], np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            norms = np.einsum("ij,ij->i", block, block)
        wrong = ~np.isfinite(norms)
        if cosine:
            wrong |= norms == 0
        if wrong.any():
            row = begin + int(np.argmax(wrong))
            raise InputError(f"{name}: the vector of {texts[row]!r:.60} (number {row} of the different texts) "
                             f"{'is zero' if norms[row - begin] == 0 else 'holds NaN or infinity, or its squared norm overflows'}; it cannot be "
                             "scored. Leave the text out, or mend its vector")
