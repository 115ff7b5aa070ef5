"""Reading a table of 1,000,000 x 20 from CSV and Parquet, against pyarrow's own readers.

`data.read` hands over a checked float32 matrix of rows and class labels; pyarrow stops at a table of float64 columns.
"pyarrow, then rows" goes on to the same matrix in the plainest way, without any check.
"""

import pathlib
import tempfile

ROWS, FEATURES, REPEATS = 1_000_000, 19, 10


def main() -> None:
    """Write the two files, see that all readers agree, time them in turn, and write the JSON."""
    import jax
    import numpy as np
    import pyarrow as pa
    from pyarrow import csv, parquet

    from benchmarks._race import describe, race, ratios, save
    from jaxnn import data

    rng = np.random.default_rng(0)
    columns = {f"feature_{j}": rng.normal(size=ROWS) for j in range(FEATURES)}
    table = pa.table({**columns, "label": np.array(["ham", "spam"])[rng.integers(0, 2, ROWS)]})
    results = {}

    def write_csv(table, path):
        """Write words without quotes, as pandas and spreadsheets do."""
        csv.write_csv(table, path, csv.WriteOptions(quoting_style="none"))

    with tempfile.TemporaryDirectory() as folder:
        for kind, write, peer in (
            ("csv", write_csv, csv.read_csv),
            ("parquet", parquet.write_table, parquet.read_table),
        ):
            path = pathlib.Path(folder, f"table.{kind}")
            write(table, path)

            def ours(path=path):
                return jax.block_until_ready(data.read(path, label="label").batch)

            def own(path=path, peer=peer):
                return peer(path)

            def rows(path=path, peer=peer):
                read = peer(path)
                x = np.stack([read.column(j).to_numpy() for j in range(FEATURES)], axis=1, dtype=np.float32)
                return jax.block_until_ready(jax.device_put(x)), read.column("label").dictionary_encode()

            batch, (x, labels) = ours(), rows()
            np.testing.assert_array_equal(batch.x, x)
            np.testing.assert_array_equal(np.array(["ham", "spam"])[np.asarray(batch.y)], labels.to_pylist())
            del batch, x, labels

            seconds = race({"jaxnn": ours, "pyarrow": own, "pyarrow, then rows": rows}, REPEATS)
            results[kind] = {
                "megabytes": path.stat().st_size / 1e6,
                "seconds": seconds,
                "ratios": ratios(seconds, "jaxnn"),
            }
            for name, ratio in results[kind]["ratios"].items():
                print(f"{kind}, {ROWS:,} x {FEATURES + 1}: jaxnn / {name}: {describe(ratio)}")
    save("readers", {"rows": ROWS, "columns": FEATURES + 1, "repeats": REPEATS, **results}, ("pyarrow",))


if __name__ == "__main__":
    main()
