import json

from crossfield.checks.finding import Finding, worst_first

NOTE = Finding("note", "age", "mostly missing", 0.7, "an indicator tells the model")
ERROR = Finding("error", "price", "tells the label alone", 1.0, "leave it out")
WARNING = Finding("warning", "test", "pairs of training", 0.2, "keep each pair once")


def test_worst_first_and_else_as_they_came() -> None:
    other = Finding("warning", "valid", "rows of training", 0.1, "drop them")
    assert worst_first([NOTE, WARNING, ERROR, other]) == [ERROR, WARNING, other, NOTE]


def test_one_line_and_json() -> None:
    assert str(ERROR) == "price: tells the label alone; leave it out"
    assert Finding(**json.loads(json.dumps(ERROR.to_json()))) == ERROR
