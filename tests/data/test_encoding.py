import pytest

from crossfield.data.encoding import EncoderConfig, FeatureEncoding
from crossfield.errors import ConfigError, SchemaError
from crossfield.schema import Feature, FeatureSchema, Kind
from tests.data.tables import categorical, cross, dense

AGE, CITY = dense("age")[0], categorical("city")[0]


def test_features_follow_the_encoder_but_for_their_exceptions() -> None:
    config = EncoderConfig(min_count=5, max_size=100, features={"city": FeatureEncoding(min_count=2)})
    assert config.rule(CITY).min_count == 2
    assert config.rule(CITY).max_size == 100
    assert config.rule(categorical("other")[0]).min_count == 5
    assert config.rule(AGE).transform == "standardize"
    assert config.rule(CITY).transform == "none"


def test_a_feature_that_is_counted_is_not_hashed() -> None:
    config = EncoderConfig(hash_buckets=10, features={"city": FeatureEncoding(max_size=3)})
    assert config.rule(CITY).hash_buckets is None
    assert config.rule(categorical("other")[0]).hash_buckets == 10


def test_buckets_of_numbers_are_not_hashed_by_the_way() -> None:
    assert EncoderConfig(hash_buckets=10, dense="buckets").rule(AGE).hash_buckets is None


def test_boundaries_mean_buckets() -> None:
    config = EncoderConfig(features={"age": FeatureEncoding(boundaries=(18, 65))})
    assert (config.rule(AGE).transform, config.rule(AGE).boundaries) == ("buckets", (18, 65))


def test_numbers_of_quantiles() -> None:
    config = EncoderConfig(dense="buckets", features={"n": FeatureEncoding(transform="quantile")})
    assert (config.rule(AGE).num_quantiles, config.rule(dense("n")[0]).num_quantiles) == (10, 100)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"hash_buckets": 10, "min_count": 2}, "counts nothing"),
        ({"boundaries": [2, 1]}, "must rise"),
        ({"boundaries": []}, "must rise"),
        ({"boundaries": [1], "transform": "log1p"}, "go with transform"),
    ],
)
def test_settings_that_contradict_each_other(values: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        EncoderConfig.of({"features": {"x": values}})


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("ages", {}, "no such feature; did you mean 'age'"),
        ("city", {"transform": "standardize"}, "does not fit a categorical feature"),
        ("tags", {"transform": "buckets"}, "does not fit a multi feature"),
        ("city", {"num_buckets": 3}, "num_buckets goes with"),
    ],
)
def test_exceptions_that_do_not_fit_their_feature(name: str, values: dict[str, object], said: str) -> None:
    schema = FeatureSchema((AGE, CITY, Feature("tags", Kind.MULTI)))
    with pytest.raises(ConfigError, match=said):
        EncoderConfig.of({"features": {name: values}}).check(schema)


@pytest.mark.parametrize(
    ("of", "said"),
    [
        (("city",), "needs two or more"),
        (("city", "age"), "features.age.transform = 'buckets'"),
        (("city", "citi"), "did you mean 'city'"),
        (("city", "city x tags"), "made of the cross"),
    ],
)
def test_crosses_that_cannot_be(of: tuple[str, ...], said: str) -> None:
    tags = Feature("tags", Kind.MULTI)
    schema = FeatureSchema((AGE, CITY, tags, cross("city", "tags"), Feature("bad", Kind.CROSS, of=of)))
    with pytest.raises(SchemaError, match=said):
        EncoderConfig().check(schema)


def test_a_cross_of_buckets_is_fine() -> None:
    EncoderConfig(dense="buckets").check(FeatureSchema((AGE, CITY, cross("city", "age"))))
