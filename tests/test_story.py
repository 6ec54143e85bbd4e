from dataclasses import replace

import numpy as np

from crossfield.charts import Reliability
from crossfield.landmarks import LINEAR, MLP, PAIR, PRODUCTS
from crossfield.report import Board, Entry, Run, in_bands
from crossfield.story import Findings, Limits, caveats, listed, page, verdict

LIMITS = Limits((0.64, 0.72, 0.83), 0.70, 0.49)


def entry(name: str, family: int, auc: float, slopes: tuple[float, ...] = (), num_seeds: int = 3) -> Entry:
    runs = tuple(Run(seed, auc, 0.5, 0.9, 2.0, (auc - 0.05, auc), slopes) for seed in range(num_seeds))
    return Entry(name, f"What {name} adds.", family, 99, runs, np.zeros(5), Reliability(name, family, (0.4,), (0.5,)))


def board(title: str, *entries: Entry) -> Board:
    return Board(title, in_bands(entries), 0.63, 0.83)


LR = entry("logistic_regression", LINEAR, 0.63, (0.7, 0.0, 0.0))
FM = entry("fm", PRODUCTS, 0.70, (0.77, 0.65, 0.001))
DNN = entry("dnn", MLP, 0.78, (0.9, 0.75, 0.66))
NAMED = entry("named triples", LINEAR, 0.80, (0.8, 0.6, 0.64))
MF = entry("mf", PAIR, 0.66, (0.6, 0.37, 0.0))
PLANTED = Findings(
    "the cinema",
    (board("All columns", LR, FM, DNN), board("User and item", MF)),
    board("No MLP", LR, FM, NAMED),
    limits=LIMITS,
    method=("Data: rows.",),
    num_seeds=3,
    seconds=100.0,
)
PLAIN = replace(PLANTED, boards=(board("All columns", entry("fm", PRODUCTS, 0.7)),), ladder=None, limits=None)


def test_the_verdict_tells_what_the_numbers_bear_out() -> None:
    text = "\n".join(verdict(PLANTED))
    assert "All columns: logistic_regression < fm < dnn, beyond the noise (3 seeds" in text
    assert "b3 is under .05 for fm and logistic_regression, and all stay under the order-2 line of .7200" in text
    assert "b3 is .66 for dnn" in text
    assert "named triples has AUC .8000 with 99 parameters" in text
    assert "nothing above AUC .7000 exists, and mf reaches .6600" in text
    assert "Nobody reaches the truth, AUC .8300 and log loss .4900" in text


def test_one_more_layer_turns_the_third_order_on_and_the_form_finds_it_sooner() -> None:
    one, two = (f"dhen, {layers}, without its MLP" for layers in ("1 layer", "2 layers"))
    ladder = board(
        "No MLP", LR, entry(one, PRODUCTS, 0.70, (0.8, 0.6, 0.0)), entry(two, PRODUCTS, 0.80, (0.9, 0.8, 0.9))
    )
    dhen = entry("dhen", MLP, 0.80, (0.9, 0.8, 0.84))
    found = replace(PLANTED, ladder=ladder, boards=(board("All columns", LR, FM, DNN, dhen),))
    text = "\n".join(verdict(found))
    assert "b3 is under .05 for dhen, 1 layer, without its MLP and logistic_regression, and all stay under" in text
    assert "b3 goes from .00 to .90 for dhen." in text
    assert "b3 is .66 for dnn, whatever stands beside it" in text
    assert "after two epochs validation AUC is .800 for dhen, whose forms reach the third order" in text
    assert "and .780 for the other models with an MLP. On test rows, at the end, above each of those: dhen." in text
    assert f"no better than the bare form: dhen has AUC .8000, {two} .8000." in text
    behind = replace(found, boards=(board("All columns", DNN, replace(dhen, runs=DNN.runs)),))
    assert "above each of those: none." in "\n".join(verdict(behind))
    ahead = replace(found, boards=(board("All columns", DNN, entry("dhen", MLP, 0.81, (0.9, 0.8, 0.9))),))
    assert "bare form" not in "\n".join(verdict(ahead))


def test_a_named_cross_is_called_the_cheapest_only_where_it_is() -> None:
    assert "A cross that can be named is the cheapest" in "\n".join(verdict(PLANTED))
    smaller = replace(
        PLANTED, ladder=board("No MLP", NAMED, replace(NAMED, name="small", family=PRODUCTS, parameters=9))
    )
    text = "\n".join(verdict(smaller))
    assert "named triples has AUC .8000" in text and "is the cheapest" not in text


def test_the_verdict_drops_what_the_numbers_do_not_bear_out() -> None:
    seeing = entry("fm", PRODUCTS, 0.73, (0.8, 0.7, 0.2))
    blind_mlp = entry("dnn", MLP, 0.69, (0.8, 0.6, 0.01))
    ladder = board("No MLP", seeing, replace(seeing, name="other"))
    changed = replace(PLANTED, boards=(board("All columns", seeing, blind_mlp),), ladder=ladder)
    text = "\n".join(verdict(changed))
    assert "Without an MLP" not in text
    assert "An MLP is not bound" not in text
    assert "see daytime" not in text


def test_a_model_above_the_order_2_line_is_not_said_to_stay_under_it() -> None:
    above = entry("fm", PRODUCTS, 0.75, (0.8, 0.7, 0.0))
    text = "\n".join(verdict(replace(PLANTED, ladder=board("No MLP", above))))
    assert "b3 is under .05 for fm. " in text


def test_one_seed_is_said_to_rank_nothing() -> None:
    found = board("All columns", entry("fm", PRODUCTS, 0.7, num_seeds=1), entry("dnn", MLP, 0.8, num_seeds=1))
    sentence = verdict(replace(PLAIN, boards=(found,), num_seeds=1))[0]
    assert "not ranked" in sentence and "<" not in sentence


def test_braces_are_explained_where_there_are_any() -> None:
    tied = board("All columns", entry("deepfm", MLP, 0.78), entry("dnn", MLP, 0.78), entry("fm", PRODUCTS, 0.7))
    assert "fm < {deepfm, dnn}" in verdict(replace(PLAIN, boards=(tied,)))[0]
    assert "brace" in verdict(replace(PLAIN, boards=(tied,)))[0]
    assert "brace" not in verdict(PLANTED)[0]


def test_models_of_the_last_brace_that_are_above_others_of_it_are_named() -> None:
    noisy = replace(
        entry("deepfm", MLP, 0.78), runs=tuple(Run(seed, 0.75 + 0.03 * seed, 0.5, 0.9, 2.0) for seed in range(3))
    )
    tied = board("All columns", noisy, entry("dnn", MLP, 0.78), entry("dcn_v2", MLP, 0.80), entry("fm", PRODUCTS, 0.5))
    sentence = verdict(replace(PLAIN, boards=(tied,)))[0]
    assert "fm < {dcn_v2, deepfm, dnn}" in sentence
    assert "Inside the last brace, as far beyond the noise: dcn_v2 above dnn; nothing more is claimed" in sentence


def test_one_band_is_a_tie() -> None:
    tied = board("All columns", entry("deepfm", MLP, 0.78), entry("dnn", MLP, 0.78))
    sentence = verdict(replace(PLAIN, boards=(tied,)))[0]
    assert "no order is beyond the noise" in sentence and "all 2 are tied" in sentence


def test_planted_data_are_called_built_for_the_story() -> None:
    assert any("built for this story" in sentence for sentence in caveats(PLANTED))
    assert not any("built for this story" in sentence for sentence in caveats(PLAIN))


def test_the_page_of_planted_data_has_limit_lines_slopes_curves_and_calibration() -> None:
    text = page(PLANTED, footer="Made here.")
    assert text.count('<svg class="chart"') == 6
    for words in ("order 2", "b3: third order", "AUC, validation", "Calibration", "Data: rows.", "Made here."):
        assert words in text
    assert '<th scope="row">dnn</th><td>.7300</td><td>.7800</td>' in text
    assert '<th scope="row">fm</th><td>.1000</td><td>.1000</td>' in text


def test_the_page_of_other_data_has_no_limits_and_no_slopes() -> None:
    text = page(replace(PLAIN, name="my <clicks>"), footer="f").split("</style>")[1]
    assert "order 2" not in text and "b3" not in text
    assert "my &lt;clicks&gt;" in text and text.count('<svg class="chart"') == 3


def test_models_that_are_not_trained_have_no_curve() -> None:
    solved = replace(DNN, runs=(Run(0, 0.6, 0.5, 0.9, 0.1),))
    text = page(replace(PLAIN, boards=(board("All columns", solved),)), footer="f")
    assert "How soon" not in text


def test_lists_read_as_phrases() -> None:
    assert [listed(names) for names in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a and b", "a, b and c"]
