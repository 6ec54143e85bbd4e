from crossfield.models import CATALOGUE
from crossfield.pages.differences import differences, notes

SOURCE = '''
def f():
    """Does it.

    PAPER: the paper says
    nothing of it.

    Raises nothing.
    """
    # PAPER: one thing,
    # over two lines.
    x = 1  # PAPER: beside code
    # Not of the paper.
    # PAPER: first
    # PAPER: second
'''


def test_notes_are_found_in_comments_and_docstrings() -> None:
    assert notes(SOURCE) == [
        "the paper says nothing of it.",
        "one thing, over two lines.",
        "beside code",
        "first",
        "second",
    ]


def test_notes_of_layers_come_with_the_models_that_use_them_only() -> None:
    where = {name: {module for module, _ in differences(CATALOGUE[name])} for name in ("dcn", "gdcn")}
    assert where["dcn"] == {"models/dcn.py"}
    assert "layers/gated_cross.py" in where["gdcn"] and "layers/gated_cross.py" not in where["dcn"]


def test_every_note_of_the_models_is_on_a_page() -> None:
    from pathlib import Path

    import crossfield.models as package

    for path in Path(str(package.__file__)).parent.glob("*.py"):
        in_file = len(notes(path.read_text()))
        assert in_file == path.read_text().count("PAPER:"), path
