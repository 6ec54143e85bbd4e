"""The tour's cinema: made-up clicks whose probability holds planted first- to third-order effects."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from crossfield.errors import ConfigError

Floats = NDArray[np.float64]
Ids = dict[str, NDArray[np.int64]]

LABEL = "click"
STRENGTHS = (0.7, 0.9, 1.2)
"""Standard deviation of the first-, second- and third-order part of the log odds."""
INTERCEPT = -0.6
PAIRS = (("age", "genre"), ("age", "director"), ("daytime", "device"))
"""The crosses that carry the second-order part, the users' own tastes left out."""
TRIPLES = (("age", "director", "company"), ("age", "genre", "daytime"), ("actor", "daytime", "company"))
"""The crosses that carry the third-order part, one column per independent side: two attributes of the film in
one triple would make it a pair (age x director x actor is age x film)."""
FIRST_ORDER = {
    "user": 1.0,
    "film": 1.0,
    "director": 0.4,
    "actor": 0.4,
    "genre": 0.5,
    "daytime": 0.3,
    "company": 0.3,
    "device": 0.4,
}
"""Relative strength of each column's own effect."""

NUM_USERS, NUM_FILMS, NUM_DIRECTORS, NUM_ACTORS, NUM_GENRES = 1000, 400, 60, 80, 12
CONTEXT = {
    "daytime": ("morning", "afternoon", "evening", "night"),
    "company": ("alone", "partner", "family", "friends"),
    "device": ("phone", "tablet", "television"),
}
_AGES = ("under 18", "18-24", "25-34", "35-44", "45-54", "55-64", "65-74", "75 and over")
_GENRES = "action adventure animation comedy crime documentary drama fantasy horror romance mystery western"
_ADJECTIVES = (
    "Amber Borrowed Broken Crooked Distant Drowned Electric Fading Forgotten Frozen Gentle Hollow "
    "Hungry Last Midnight Paper Quiet Restless Scarlet Velvet"
)
_NOUNS = (
    "Archive Bicycle Carnival Cathedral Compass Garden Ferry Harbour Kingdom Lantern Letter Lighthouse "
    "Mirror Orchard Parade Promise Railway Summer Telegram Window"
)
_FIRST_NAMES = "Adira Benno Calla Dorin Elowen Fenno Galia Hesper Ilse Jorun Kasimir Liora"
_LAST_NAMES = (
    "Ashgrove Brackwater Cindervale Dunmarrow Eddlestone Fallowmere Grimsdotter Hartenfels Ivorsen "
    "Juniperfield Kestrelow Larkenau Mossbridge Nightingate"
)


@dataclass(frozen=True)
class _Product:
    """``sum_r prod_c factors[c][ids[c], r]``: a product of one number per column, factors [values, R]."""

    factors: Mapping[str, Floats]
    weight: float = 1.0

    def __call__(self, ids: Ids) -> Floats:
        (first, table), *rest = self.factors.items()
        terms = table[ids[first]]
        for column, other in rest:
            terms = terms * other[ids[column]]
        return np.asarray(self.weight * terms.sum(1))

    def scaled(self, ids: Ids) -> Self:
        """The same effect with standard deviation 1 over the given rows."""
        return type(self)(self.factors, self.weight / float(self(ids).std()))


@dataclass(frozen=True)
class _Part:
    """All effects of one order, with mean 0 and a given standard deviation over the rows made."""

    products: tuple[_Product, ...]
    mean: float
    scale: float

    @classmethod
    def of(cls, products: Iterable[_Product], ids: Ids, strength: float) -> Self:
        total = (raw := cls(tuple(products), 0.0, 1.0))(ids)
        return cls(raw.products, float(total.mean()), strength / float(total.std()))

    def __call__(self, ids: Ids) -> Floats:
        total = np.zeros(len(ids["user"]))
        for one in self.products:
            total += one(ids)
        return (total - self.mean) * self.scale


@dataclass(frozen=True, eq=False)
class Cinema:
    """Visits to a made-up cinema programme, and the truth about them.

    columns: nine readable columns [n] and the label ``click`` (0 or 1). effects [n, 3] float64: the planted
    first-, second- and third-order parts f1, f2, f3 of each row's log odds. probabilities [n] float64: the
    true chance of a click, sigmoid(INTERCEPT + f1 + f2 + f3).
    """

    columns: dict[str, NDArray[Any]]
    effects: Floats
    probabilities: Floats
    _ids: Ids = field(repr=False)
    _parts: tuple[_Part, ...] = field(repr=False)

    @property
    def num_rows(self) -> int:
        """Number of visits."""
        return len(self.probabilities)

    @property
    def labels(self) -> Floats:
        """Clicks [n], 0.0 or 1.0."""
        return self.columns[LABEL].astype(np.float64)

    def order_logits(self, order: int) -> Floats:
        """The best score [n] that knows the effects up to an order: INTERCEPT + f1 + ... + f_order."""
        return INTERCEPT + np.asarray(self.effects[:, :order].sum(1))

    def rows(self, start: int, stop: int) -> "Cinema":
        """The visits start, ..., stop - 1 with their truth."""
        part = slice(start, stop)
        columns = {name: values[part] for name, values in self.columns.items()}
        ids = {name: values[part] for name, values in self._ids.items()}
        return Cinema(columns, self.effects[part], self.probabilities[part], ids, self._parts)

    def pair_probabilities(self) -> Floats:
        """True chance of a click [n] for one who knows user and film but not daytime, company and device.

        The three are uniform and independent of all else: this is the plain mean over their combinations.
        """
        combinations = list(product(*(range(len(values)) for values in CONTEXT.values())))
        total = np.zeros(self.num_rows)
        for combination in combinations:
            fixed = {name: np.full(self.num_rows, at) for name, at in zip(CONTEXT, combination, strict=True)}
            ids = self._ids | fixed
            total += _sigmoid(np.sum([part(ids) for part in self._parts], 0) + INTERCEPT)
        return total / len(combinations)


def make_cinema(num_rows: int = 270_000, *, seed: int = 0) -> Cinema:
    """Draw independent visits of 1000 users to 400 films, a pure function of both arguments.

    Users and films follow a power law; age belongs to the user; director, actor and genre to the film;
    daytime, company and device are uniform. About 40 % of the visits are clicks.

    Raises ConfigError where there are fewer than 100 rows, too few to scale the effects on.
    """
    if num_rows < 100:
        raise ConfigError(f"num_rows = {num_rows}: a cinema needs at least 100 rows")
    rng = np.random.default_rng(seed)
    names = _names(rng)
    members = _members(rng)
    weights = _weights(members)
    ids = _visits(rng, num_rows, members, weights)
    makers = (_first_order, _second_order, _third_order)
    orders = [maker(rng, members, weights) for maker in makers]
    orders[2] = [one.scaled(ids) for one in orders[2]]
    parts = tuple(_Part.of(order, ids, strength) for order, strength in zip(orders, STRENGTHS, strict=True))
    effects = np.stack([part(ids) for part in parts], 1)
    probabilities = _sigmoid(INTERCEPT + effects.sum(1))
    columns: dict[str, NDArray[Any]] = {name: np.array(names[name])[ids[name]] for name in names}
    columns[LABEL] = (rng.random(num_rows) < probabilities).astype(np.int8)
    return Cinema(columns, effects, probabilities, ids, parts)


def column_sizes() -> dict[str, int]:
    """How many values each column has, in the order of the columns."""
    return {name: len(values) for name, values in _names(np.random.default_rng(0)).items()}


def _sigmoid(logits: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-logits)))


def _names(rng: np.random.Generator) -> dict[str, Sequence[str]]:
    titles = [f"The {adjective} {noun}" for adjective, noun in product(_ADJECTIVES.split(), _NOUNS.split())]
    people = [f"{first} {last}" for first, last in product(_FIRST_NAMES.split(), _LAST_NAMES.split())]
    titles, people = list(rng.permutation(titles)), list(rng.permutation(people))
    return {
        "user": [f"u{number:04d}" for number in range(1, NUM_USERS + 1)],
        "age": _AGES,
        "film": titles[:NUM_FILMS],
        "director": people[:NUM_DIRECTORS],
        "actor": people[NUM_DIRECTORS : NUM_DIRECTORS + NUM_ACTORS],
        "genre": _GENRES.split(),
        **CONTEXT,
    }


def _members(rng: np.random.Generator) -> Ids:
    """Attribute of every user (age) and of every film (director, actor, genre)."""

    def shared(num_values: int, num_owners: int) -> NDArray[np.int64]:
        """Every value belongs to as many owners as any other, give or take one."""
        return rng.permutation(np.arange(num_owners) % num_values)

    return {
        "age": shared(len(_AGES), NUM_USERS),
        "director": shared(NUM_DIRECTORS, NUM_FILMS),
        "actor": shared(NUM_ACTORS, NUM_FILMS),
        "genre": shared(NUM_GENRES, NUM_FILMS),
    }


def _weights(members: Ids) -> dict[str, Floats]:
    """How often each value of each column is met; sums to 1 per column."""

    def power_law(count: int, exponent: float) -> Floats:
        raw = np.arange(1, count + 1) ** -exponent
        return np.asarray(raw / raw.sum())

    user, film = power_law(NUM_USERS, 0.6), power_law(NUM_FILMS, 0.8)
    return {
        "user": user,
        "film": film,
        "age": np.bincount(members["age"], user, len(_AGES)),
        "director": np.bincount(members["director"], film, NUM_DIRECTORS),
        "actor": np.bincount(members["actor"], film, NUM_ACTORS),
        "genre": np.bincount(members["genre"], film, NUM_GENRES),
        **{name: np.full(len(values), 1 / len(values)) for name, values in CONTEXT.items()},
    }


def _visits(rng: np.random.Generator, num_rows: int, members: Ids, weights: Mapping[str, Floats]) -> Ids:
    independent = ("user", "film", *CONTEXT)
    ids: Ids = {name: rng.choice(len(weights[name]), num_rows, p=weights[name]) for name in independent}
    owners = {"age": "user", "director": "film", "actor": "film", "genre": "film"}
    return ids | {name: members[name][ids[owner]] for name, owner in owners.items()}


def _centred(raw: Floats, weights: Floats) -> Floats:
    """Columns of ``raw`` [values, R] with mean 0 and standard deviation 1 under the weights [values]."""
    moved = raw - weights @ raw
    return np.asarray(moved / np.sqrt(weights @ moved**2))


def _first_order(rng: np.random.Generator, members: Ids, weights: Mapping[str, Floats]) -> list[_Product]:
    def effect(name: str, strength: float) -> _Product:
        normal = rng.standard_normal((len(weights[name]), 1))
        return _Product({name: _centred(normal, weights[name])}, strength)

    return [effect(name, strength) for name, strength in FIRST_ORDER.items()]


def _second_order(rng: np.random.Generator, members: Ids, weights: Mapping[str, Floats]) -> list[_Product]:
    rank = 3

    def taste() -> Floats:
        """What the users like: three quarters of its variance is their age group's, the rest their own."""
        shared = rng.standard_normal((len(_AGES), rank))[members["age"]]
        own = rng.standard_normal((NUM_USERS, rank))
        return _centred(np.sqrt(0.75) * shared + 0.5 * own, weights["user"])

    def kind(name: str) -> Floats:
        return _centred(rng.standard_normal((len(weights[name]), rank)), weights[name])

    of_genres = _Product({"user": taste(), "genre": kind("genre")})
    of_directors = _Product({"user": taste(), "director": kind("director")})
    raw = rng.standard_normal((len(CONTEXT["daytime"]), len(CONTEXT["device"])))
    table = raw - raw.mean(0) - raw.mean(1, keepdims=True) + raw.mean()
    of_hours = _Product({"daytime": np.eye(len(table)), "device": (table / table.std()).T}, 1.2)
    return [of_genres, of_directors, of_hours]


def _third_order(rng: np.random.Generator, members: Ids, weights: Mapping[str, Floats]) -> list[_Product]:
    rank = 2

    def factor(name: str) -> Floats:
        return _centred(rng.standard_normal((len(weights[name]), rank)), weights[name])

    return [_Product({name: factor(name) for name in triple}) for triple in TRIPLES]
