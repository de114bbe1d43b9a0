"""Parquet, Arrow and Feather into what the program reads, and tables, vectors and negative sets into Parquet. docs/parquet.md is the guide; needs pyarrow.

`python -m quarry convert` is the same by command line. Whatever stops a conversion, what stands under its name is whole or not there."""
from .sets import negatives
from .tables import catalogue, events, pairs, rows
from .to_parquet import catalogue_to_parquet, events_to_parquet, pairs_to_parquet, rows_to_parquet
from .vectors import embeddings, embeddings_to_parquet

__all__ = ["catalogue", "catalogue_to_parquet", "embeddings", "embeddings_to_parquet", "events", "events_to_parquet", "negatives", "pairs",
           "pairs_to_parquet", "rows", "rows_to_parquet"]
