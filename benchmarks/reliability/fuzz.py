"""Mutated inputs: only Crossfield's own errors may come out, within 5 seconds and a gigabyte.

    python benchmarks/reliability/fuzz.py [--count 20000] [--only recipe schema csv ...] [--seed 0] [--record]

recipe: TOML. schema: the JSON of a schema file. csv: a click log, read, fitted and encoded. run, checkpoint, store: one
of their files, with the checksums made anew, so that what parses it gets it too. Bytes are flipped, cut, doubled and
put in; values of JSON and TOML are swapped for others. With --record a line per kind goes to
benchmarks/results/reliability.jsonl. Exit code 1 where anything else came out; an input is made again from
its seed, kind and number.
"""

import argparse
import json
import random
import resource
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import tomli_w

from crossfield.bundle import Bundle
from crossfield.checkpoint import load_checkpoint, unflatten
from crossfield.data.dataset import load
from crossfield.data.encode import Encoder
from crossfield.data.store import Reader, Store, fit_store
from crossfield.errors import CrossfieldError
from crossfield.files import MANIFEST, append_line, read_json, write_manifest
from crossfield.ranker import Ranker
from crossfield.recipe import Recipe, read_toml
from crossfield.schema import FeatureSchema

RESULTS = Path(__file__).parents[1] / "results" / "reliability.jsonl"
MOST_SECONDS, MOST_BYTES = 5.0, 1 << 30
OPTIONS: dict[str, Any] = {"label": "click", "user": "user", "item": "film", "separators": {"tags": "|"}}
ODD: list[Any] = [None, True, -1, 0, 1 << 63, 1e308, "", "x" * 300, "../../x", "\x00", [], {}, [[]], {"a": 1}, "nan"]
TEXTS = [b"", b",", b"\n", b'"', b"\r\n", b"\x00", b"\xff\xfe", b"1e400", b"-0", b"nan", b"||", b"\xc3\x28", b"=1+1"]


def click_log() -> pl.DataFrame:
    """A few rows with every kind of column."""
    random_ = np.random.default_rng(0)
    ids = random_.integers(0, 9, 60)
    columns = {"user": [f"u{one}" for one in random_.integers(0, 7, 60)], "film": [f"f{one}" for one in ids]}
    more = {"tags": [f"t{one % 3}|o{one}" for one in ids], "age": random_.normal(size=60).round(3), "click": ids % 2}
    return pl.DataFrame({**columns, **more})


def mutated_bytes(content: bytes, dice: random.Random) -> bytes:
    """A few bytes changed, cut, doubled or put in."""
    changed = bytearray(content)
    for _ in range(dice.choice((1, 1, 1, 2, 5, 20))):
        place = dice.randrange(len(changed) + 1)
        kind = dice.randrange(5)
        if kind == 0 and place < len(changed):
            changed[place] ^= 1 << dice.randrange(8)
        elif kind == 1:
            del changed[place : place + dice.randrange(1, 40)]
        elif kind == 2:
            changed[place:place] = changed[place : place + dice.randrange(1, 40)]
        elif kind == 3:
            changed[place:place] = dice.choice(TEXTS)
        else:
            del changed[dice.randrange(len(changed) + 1) :]
    return bytes(changed)


def mutated_value(value: Any, dice: random.Random) -> Any:
    """One value somewhere inside is another one, is gone, or is there under another name."""
    if isinstance(value, dict) and value and dice.random() < 0.9:
        key, changed = dice.choice(list(value)), dict(value)
        kind = dice.randrange(8)
        if kind == 0:
            del changed[key]
        elif kind == 1:
            changed[dice.choice((key + "x", "", "path", "kind"))] = changed.pop(key)
        else:
            changed[key] = mutated_value(value[key], dice)
        return changed
    if isinstance(value, list) and value and dice.random() < 0.9:
        place, several = dice.randrange(len(value)), list(value)
        several[place] = mutated_value(value[place], dice)
        return several if dice.random() < 0.8 else several[:place]
    return dice.choice(ODD)


class Fuzz:
    """What is mutated, made once in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder, log = folder, click_log()
        self._csv = log.write_csv().encode()
        dataset = load(log, **OPTIONS)
        self._schema = dataset.schema.to_json()
        self._straight = {name: folder / name for name in ("run", "checkpoint", "store")}
        train = {"epochs": 1, "batch_size": 16, "checkpoint_seconds": 0, "precision": "fp32", "compile": "off"}
        ranker = Ranker("deepfm", embedding_dim=2, deep=[4], train=train, data=OPTIONS)
        self._recipe = ranker.recipe.plain()
        _, self._store = fit_store(dataset, self._straight["store"])
        ranker.fit(log, log, out=self._straight["run"], quiet=True)
        self._keep_checkpoint(ranker, log)

    def _keep_checkpoint(self, ranker: Ranker, log: pl.DataFrame) -> None:
        """Checkpoints outlive a fit only where it stops: here on purpose, at its end."""
        home, save, self._stopped = self._folder / "stopped", Bundle.save, ranker.recipe

        def stop(bundle: Bundle, folder: Path) -> None:
            raise CrossfieldError("on purpose")

        Bundle.save = stop  # type: ignore[method-assign]  # for this one fit, put back below
        try:
            Ranker(ranker.recipe).fit(log, log, out=home, quiet=True)
        except CrossfieldError:
            shutil.copytree(home / "work" / "checkpoints", self._straight["checkpoint"])
        finally:
            Bundle.save = save  # type: ignore[method-assign]  # put back

    def recipe(self, dice: random.Random) -> Callable[[], object]:
        """A mutated recipe, as text or by value."""
        path = self._folder / "recipe.toml"
        if dice.random() < 0.3:
            path.write_bytes(mutated_bytes(tomli_w.dumps(self._recipe).encode(), dice))
            return lambda: Recipe.read(path)
        values = mutated_value(self._recipe, dice)
        return lambda: Recipe.of(values) if isinstance(values, dict) else read_toml(path)

    def schema(self, dice: random.Random) -> Callable[[], object]:
        """A mutated schema file, and rows read by it."""
        path, text = self._folder / "schema.json", json.dumps(self._schema).encode()
        changed = mutated_bytes(text, dice) if dice.random() < 0.3 else None
        path.write_bytes(changed or json.dumps(mutated_value(self._schema, dice)).encode())
        return lambda: load(click_log(), schema=FeatureSchema.from_json(read_json(path))).require(labelled=True)

    def csv(self, dice: random.Random) -> Callable[[], object]:
        """A mutated text file: read, fitted, encoded."""
        path = self._folder / "rows.csv"
        path.write_bytes(mutated_bytes(self._csv, dice))

        def read() -> None:
            rows = load(path, **OPTIONS)
            encoder = Encoder.fit(rows)
            for _ in encoder.stream(rows, labelled=True):
                pass

        return read

    def run(self, dice: random.Random) -> Callable[[], object]:
        """A run with one mutated file, sealed anew."""
        home = self._mutate("run", dice)
        return lambda: Bundle.load(home)

    def checkpoint(self, dice: random.Random) -> Callable[[], object]:
        """Checkpoints with one mutated file, sealed anew."""
        home = self._mutate("checkpoint", dice)

        def read() -> None:
            found = load_checkpoint(home)
            if found is not None:
                unflatten(found.tensors, found.scalars)

        return read

    def resume(self, dice: random.Random) -> Callable[[], object]:
        """The same checkpoints, and training that goes on from them."""
        home, log = self._folder / "going-on", click_log()
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(self._folder / "stopped", home)
        shutil.rmtree(home / "work" / "checkpoints")
        shutil.copytree(self._mutate("checkpoint", dice), home / "work" / "checkpoints")
        return lambda: Ranker(self._stopped).fit(log, log, out=home, resume=True, quiet=True)

    def store(self, dice: random.Random) -> Callable[[], object]:
        """Encoded rows with one mutated file, sealed anew."""
        home = self._mutate("store", dice)
        return lambda: list(Reader(Store.open(home), batch_size=16).epoch())

    def _mutate(self, name: str, dice: random.Random) -> Path:
        home = self._folder / f"{name}-mutated"
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(self._straight[name], home)
        manifests = sorted(path.parent for path in home.rglob(MANIFEST))
        sealed = dice.choice(manifests)
        paths = sorted(path for path in sealed.rglob("*") if path.is_file() and path.name != ".lock")
        path = dice.choice(paths)
        content = path.read_bytes()
        if path.suffix == ".json" and path.name != MANIFEST and dice.random() < 0.7:
            path.write_text(json.dumps(mutated_value(json.loads(content), dice)))
        else:
            path.write_bytes(mutated_bytes(content, dice))
        if path.name != MANIFEST:
            _seal(sealed)
        return home


def _seal(folder: Path) -> None:
    """The manifest of a folder made anew, as one who means harm would."""
    manifest = read_json(folder / MANIFEST)
    known = {"kind", "files", "digest"}
    names, about = list(manifest["files"]), {key: one for key, one in manifest.items() if key not in known}
    write_manifest(folder, manifest["kind"], names=names, about=about.get("about", about))


KINDS = ("recipe", "schema", "csv", "run", "checkpoint", "store", "resume")


def attack(fuzz: Fuzz, kind: str, count: int, seed: int) -> dict[str, Any]:
    """So many inputs of one kind: how they came out."""
    refused, accepted, wrong, slowest = 0, 0, [], 0.0
    for number in range(count):
        use = getattr(fuzz, kind)(random.Random(f"{seed} {kind} {number}"))
        started = time.monotonic()
        try:
            use()
            accepted += 1
        except CrossfieldError:
            refused += 1
        except Exception as error:
            wrong.append(f"{number}: {type(error).__name__}: {str(error)[:100]}")
        seconds = time.monotonic() - started
        slowest = max(slowest, seconds)
        if seconds > MOST_SECONDS:
            wrong.append(f"{number}: took {seconds:.0f} s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if peak > MOST_BYTES:
        wrong.append(f"took {peak / 1e6:.0f} MB")
    line = {"what": "fuzz", "kind": kind, "count": count, "refused": refused, "accepted": accepted, "wrong": len(wrong)}
    return {**line, "wrongs": wrong[:20], "slowest_s": round(slowest, 2), "peak_mb": round(peak / 1e6)}


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000, help="inputs of all kinds together")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", action="store_true")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        fuzz = Fuzz(Path(folder))
        for kind in given.only:
            line = attack(fuzz, kind, -(-given.count // len(given.only)), given.seed)
            print(json.dumps(line), flush=True)
            wrong += line["wrong"]
            if given.record:
                append_line(RESULTS, line)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
