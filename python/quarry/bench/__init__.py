"""How mining in shards scales over workers: `python -m quarry bench --ray`, `--array` and `--processes`. docs/cluster.md is the guide, and
says what the JSON holds."""
