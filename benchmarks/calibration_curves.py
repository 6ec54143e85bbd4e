"""How much log loss a calibration leaves on fresh rows, against the rows it was fitted to.

    python benchmarks/calibration_curves.py [--seeds 0 1 2] [--record]

True logits are N(-3.5, 1.2²), one row in twenty is a positive. The model's logits are these (right), 1.8 times these
plus 0.5 (stretched), or sinh(these / 1.5) + 0.3 (bent). ``excess`` is the log loss on 200,000 fresh rows above that of
the true logits, in nats: of the model's own logits (none), of ``Platt``, of ``Isotonic``, and of its knots not joined
(steps), where every row has the value of the nearest knot, and most rows tie. ``calibration`` is predicted over actual
on these rows. Prints one JSON line per fit; with --record they are also appended to
benchmarks/results/calibration-curves.jsonl.
"""

import argparse
import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np

from crossfield.calibration import Isotonic, Platt
from crossfield.files import append_line
from crossfield.metrics import Vector, calibration_ratio, log_loss, probability

RESULTS = Path(__file__).parent / "results" / "calibration-curves.jsonl"
ROWS, FRESH_ROWS = (200, 1_000, 5_000, 20_000, 100_000), 200_000
DISTORTIONS: dict[str, Callable[[Vector], Vector]] = {
    "right": lambda truth: truth,
    "stretched": lambda truth: 1.8 * truth + 0.5,
    "bent": lambda truth: np.sinh(truth / 1.5) + 0.3,
}


def steps(curve: Isotonic, logits: Vector) -> Vector:
    """The value of the nearest knot."""
    knots, values = np.array(curve.knots), np.array(curve.values)
    return values[np.searchsorted((knots[1:] + knots[:-1]) / 2, logits)]


def measure(distortion: str, num_rows: int, seed: int) -> dict[str, object]:
    """Fit both methods to so many rows and judge them on fresh ones."""
    random = np.random.default_rng([seed, num_rows])
    truth = random.normal(-3.5, 1.2, num_rows + FRESH_ROWS)
    labels = (random.random(len(truth)) < probability(truth)).astype(np.float64)
    logits = DISTORTIONS[distortion](truth)
    fitted, fresh = slice(0, num_rows), slice(num_rows, None)
    given = labels[fitted], logits[fitted], np.ones(num_rows)
    platt, isotonic = Platt.fit(*given), Isotonic.fit(*given)
    found = {
        "none": logits[fresh],
        "platt": platt(logits[fresh]),
        "isotonic": isotonic(logits[fresh]),
        "steps": steps(isotonic, logits[fresh]),
    }
    least = log_loss(labels[fresh], truth[fresh])
    return {
        "lib": "crossfield",
        "what": "excess log loss of calibrated logits",
        "distortion": distortion,
        "rows": num_rows,
        "positives": int(labels[fitted].sum()),
        "seed": seed,
        "excess": {name: round(log_loss(labels[fresh], one) - least, 7) for name, one in found.items()},
        "calibration": {name: round(calibration_ratio(labels[fresh], one), 4) for name, one in found.items()},
        "knots": len(isotonic.knots),
        "versions": {package: version(package) for package in ("crossfield", "numpy")},
    }


def main() -> None:
    """Measure every distortion with every number of rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--record", action="store_true", help=f"append to {RESULTS.name}")
    given = parser.parse_args()
    for distortion in DISTORTIONS:
        for num_rows in ROWS:
            for seed in given.seeds:
                line = measure(distortion, num_rows, seed)
                print(json.dumps(line), flush=True)
                if given.record:
                    append_line(RESULTS, line)


if __name__ == "__main__":
    main()
