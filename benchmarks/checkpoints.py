"""What checkpoints cost: saving and loading 100 MB against the disk, and a run that is saved against one that is not.

Rates: `checkpoint.save` against the same bytes written and flushed, `checkpoint.load` against the same bytes read, with
the file in the cache of the system and without it. Both hash every byte.

The share of training: a network whose state (parameters, the best, Adam's averages) has about 100 MB, once saved every
second and once not at all, in turn. One save in a second costs ten times what one in ten seconds does, so the share at
ten seconds is a tenth of what is measured: small shares drown in the noise of a shared machine. The save at the end of
a run and the digests at its start, which a long run has once, are counted as well.
"""

MEGABYTES, REPEATS = 100, 15
SIZES, EXAMPLES, BATCH, EPOCHS, ROUNDS = (784, 2048, 2048, 10), 2048, 128, 8, 8
EVERY, USUAL = 1.0, 10.0  # seconds between saves: in the race, and by default


def main() -> None:
    """Race against the disk, then train with and without checkpoints, and write the JSON."""
    import os
    import shutil
    import tempfile
    from pathlib import Path

    import jax
    import numpy as np
    import optax

    import jaxnn
    from benchmarks._race import race, save

    folder = Path(tempfile.mkdtemp(dir=Path.cwd(), prefix=".checkpoints-"))
    try:
        rng = np.random.default_rng(0)
        tree = {str(i): jax.numpy.asarray(rng.random((MEGABYTES // 4, 250_000 // 4), np.float32)) for i in range(16)}
        size = sum(leaf.nbytes for leaf in tree.values())
        plain, ours = folder / "plain", folder / "ours"
        content = b"".join(np.asarray(leaf).tobytes() for leaf in tree.values())

        def write_plain():
            handle = os.open(plain, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.write(handle, content)
            os.fsync(handle)
            os.close(handle)

        def forget(path):
            handle = os.open(path, os.O_RDONLY)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)

        def load(path):
            return jax.block_until_ready(jaxnn.checkpoint.load(path, like=tree))

        write_plain()
        jaxnn.checkpoint.save(ours, tree)
        back = load(ours)
        assert all(np.array_equal(back[name], leaf) for name, leaf in tree.items())
        del back
        seconds = race(
            {
                "plain write": write_plain,
                "save": lambda: jaxnn.checkpoint.save(ours, tree),
                "plain read": lambda: plain.read_bytes(),
                "load": lambda: load(ours),
                "plain read from the disk": lambda: (forget(plain), plain.read_bytes()),
                "load from the disk": lambda: (forget(ours), load(ours)),
            },
            REPEATS,
        )
        rates = {}
        for ours_is, peer in (
            ("save", "plain write"),
            ("load", "plain read"),
            ("load from the disk", "plain read from the disk"),
        ):
            mine, its = (np.array(seconds[name]["all"]) for name in (ours_is, peer))
            rates[ours_is] = {
                "MB/s": size / 1e6 / float(np.median(mine)),
                "plain MB/s": size / 1e6 / float(np.median(its)),
                "of the plain rate": float(np.median(its / mine)),
            }
            print(f"{ours_is}: {rates[ours_is]}")

        x, y = rng.random((EXAMPLES, SIZES[0]), np.float32), rng.integers(0, SIZES[-1], EXAMPLES)
        train = jaxnn.data.dataset(x, y, num_classes=SIZES[-1])
        objective = jaxnn.LogLikelihood(jaxnn.Mlp(SIZES, jaxnn.relu), jaxnn.categorical)
        params = objective.model.init(0)

        def fit(checkpoint):
            return jaxnn.fit(
                objective,
                optax.adam,
                params,
                train,
                plan=jaxnn.MiniBatch(BATCH),
                max_epochs=EPOCHS,
                learning_rate=1e-4,
                checkpoint=checkpoint,
            )

        saved_run = folder / "run"

        def fit_saved():
            shutil.rmtree(saved_run, ignore_errors=True)
            return fit(jaxnn.checkpoint.Checkpoints(saved_run, every=EVERY))

        results = fit(None), fit_saved()
        assert all(np.array_equal(a, b) for a, b in zip(*(jax.tree.leaves(r.params) for r in results), strict=True))
        megabytes = jaxnn.checkpoint.Checkpoints(saved_run).paths()[-1].stat().st_size / 1e6
        runs = race({"not saved": lambda: fit(None), "saved every second": fit_saved}, ROUNDS)
        without, with_ = (np.array(runs[name]["all"]) for name in ("not saved", "saved every second"))
        share = float(np.median(with_ / without)) - 1
        training = {
            "state in MB": megabytes,
            "seconds without": float(np.median(without)),
            "seconds saved every second": float(np.median(with_)),
            "share, a save a second": share,
            "share, a save in ten seconds": share * EVERY / USUAL,
        }
        print(training)
        save("checkpoints", {"rates": rates, "training": training, "seconds": seconds | runs})
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
