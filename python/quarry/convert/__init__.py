"""Parquet, Arrow and Feather into what the program reads, and vectors and negative sets into Parquet. docs/parquet.md is the guide; needs pyarrow.

`python -m quarry convert` is the same by command line. Whatever stops a conversion, what stands under its name is whole or not there."""
from .sets import negatives
from .tables import catalogue, events, pairs, rows
from .vectors import embeddings, embeddings_to_parquet

__all__ = ["catalogue", "embeddings", "embeddings_to_parquet", "events", "negatives", "pairs", "rows"]
