"""What every notebook of the walkthrough keeps to, so that it reads well, is honest and stays runnable.

Running them is nbval's part (`make test`). Here each rule looks at the stored file and returns what is wrong with it.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import re
import symtable
from collections.abc import Callable
from pathlib import Path
from statistics import median

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))

COMPARED = "nbval-check-output"
LARGEST = 1500 * 1024  # bytes
SHORTEST_CAPTION = 40  # characters
PICTURES = ("image/png", "image/jpeg", "image/gif", "image/svg+xml")
MACHINE_PATH = re.compile(r"(?<![\w/:.])/(?:home|root|Users|work|tmp|var)/[\w.-]+")

Problems = list[str]


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def markdown(notebook: nbformat.NotebookNode) -> str:
    """All prose, without code in backticks."""
    text = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.S)


def title(cell: nbformat.NotebookNode) -> str:
    """The cell's first line, to find it by."""
    return repr(cell.source.partition("\n")[0])


def shows_picture(cell: nbformat.NotebookNode) -> bool:
    return any(
        kind in PICTURES or (kind == "text/html" and re.search("<(img|video|canvas|svg)", "".join(data)))
        for output in cell.outputs
        for kind, data in output.get("data", {}).items()
    )


def printed(cell: nbformat.NotebookNode) -> str:
    """What the cell wrote as text: standard output, errors and results."""
    return "".join(output.get("text", "") or output.get("data", {}).get("text/plain", "") for output in cell.outputs)


# --- the rules: notebook -> problems


def executed_once_in_order(notebook: nbformat.NotebookNode) -> Problems:
    counts = [cell.execution_count for cell in code_cells(notebook)]
    return [] if counts == list(range(1, len(counts) + 1)) else [f"not one clean run from top to bottom: {counts}"]


def compares_some_outputs(notebook: nbformat.NotebookNode) -> Problems:
    compared = [cell for cell in code_cells(notebook) if COMPARED in cell.metadata.get("tags", [])]
    problems = [] if 3 <= len(compared) <= 6 else [f"{len(compared)} cells are tagged {COMPARED}, not 3 to 6"]
    problems += [f"compared, but prints nothing: {title(cell)}" for cell in compared if not printed(cell).strip()]
    problems += [f"compared, but draws: {title(cell)}" for cell in compared if shows_picture(cell)]
    varies = [cell for cell in compared if re.search(r"\b0x[0-9a-f]{6,}", printed(cell))]
    return problems + [f"compares an address in memory: {title(cell)}" for cell in varies]


def outputs_are_clean(notebook: nbformat.NotebookNode) -> Problems:
    problems = []
    for cell in code_cells(notebook):
        problems += [f"stored error: {title(cell)}" for output in cell.outputs if output.output_type == "error"]
        problems += [f"stored warning: {title(cell)}" for _ in re.findall(r"\w*Warning:", printed(cell))]
        problems += [f"path of one machine, {path}: {title(cell)}" for path in MACHINE_PATH.findall(printed(cell))]
    return problems


def figures_have_captions(notebook: nbformat.NotebookNode) -> Problems:
    """A cell that draws is followed by Markdown with a line `*Figure 1. What one sees.*`, also for the blind."""
    problems = []
    for cell, after in zip(notebook.cells, [*notebook.cells[1:], new_markdown_cell()], strict=True):
        if cell.cell_type == "code" and shows_picture(cell):
            captions = re.findall(r"^\*Figure.*(?:\n.+)*", after.source, re.M) if after.cell_type == "markdown" else []
            if not any(len(caption) >= SHORTEST_CAPTION for caption in captions):
                problems.append(f"no caption '*Figure ...' right below {title(cell)}")
    return problems


def images_have_alt_text(notebook: nbformat.NotebookNode) -> Problems:
    prose = markdown(notebook)
    bare = re.findall(r"!\[\s*\]\([^)]*\)", prose)
    return [f"no alt text: {tag}" for tag in bare + re.findall(r"<img(?![^>]*alt=\"[^\"]+\")[^>]*>", prose)]


def links_lead_somewhere(notebook: nbformat.NotebookNode) -> Problems:
    prose = markdown(notebook)
    targets = re.findall(r"\]\(([^)\s]+)[^)]*\)", prose) + re.findall(r"(?:src|href)=\"([^\"]+)\"", prose)
    local = [target.split("#")[0] for target in targets if not re.match(r"https?:|mailto:|attachment:|data:|#", target)]
    return [f"dead link: {target}" for target in local if not (FOLDER / target).exists()]


def imports_exist(notebook: nbformat.NotebookNode) -> Problems:
    python = TransformerManager().transform_cell
    nodes = [node for cell in code_cells(notebook) for node in ast.walk(ast.parse(python(cell.source)))]
    names = [(alias.name, "") for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [(node.module, a.name) for node in nodes if isinstance(node, ast.ImportFrom) for a in node.names]
    own = [(module, name) for module, name in names if module.split(".")[0] == "ranet_edu"]
    return [f"no {module}.{name}".rstrip(".") for module, name in own if not importable(module, name)]


def importable(module: str, name: str) -> bool:
    try:
        loaded = importlib.import_module(module)
        return not name or hasattr(loaded, name) or bool(importlib.import_module(f"{module}.{name}"))
    except ModuleNotFoundError:
        return False


def solutions_find_their_names(notebook: nbformat.NotebookNode) -> Problems:
    """What the code of a folded solution uses is defined in it or in the notebook's cells."""
    python = TransformerManager().transform_cell
    known = {*dir(builtins), *(name for cell in code_cells(notebook) for name in defined(python(cell.source)))}
    prose = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    solutions = re.findall(r"<summary>Solution</summary>(.*?)</details>", prose, re.S)
    snippets = [code for solution in solutions for code in re.findall(r"```python\n(.*?)```", solution, re.S)]
    return [f"a solution uses {name}" for code in snippets for name in sorted(looked_up(code) - defined(code) - known)]


def defined(code: str) -> set[str]:
    """Names that code assigns or imports at its top level."""
    symbols = symtable.symtable(code, "", "exec").get_symbols()
    return {symbol.get_name() for symbol in symbols if symbol.is_assigned() or symbol.is_imported()}


def looked_up(code: str) -> set[str]:
    """Global names that code reads, in its functions too."""
    tables = [symtable.symtable(code, "", "exec")]
    for table in tables:
        tables += table.get_children()
    symbols = (symbol for table in tables for symbol in table.get_symbols())
    return {symbol.get_name() for symbol in symbols if symbol.is_referenced() and symbol.is_global()}


def cells_are_short(notebook: nbformat.NotebookNode) -> Problems:
    lengths = sorted(sum(bool(line.strip()) for line in cell.source.splitlines()) for cell in code_cells(notebook))
    problems = [] if median(lengths) <= 8 else [f"half the code cells have {median(lengths)} lines or more, not 8"]
    long = sum(length > 20 for length in lengths)
    return problems + ([f"{long} of {len(lengths)} code cells pass 20 lines"] if long > len(lengths) / 10 else [])


def opening_prepares_the_reader(notebook: nbformat.NotebookNode) -> Problems:
    first = notebook.cells[0]
    wanted = {
        "a title '# ...'": r"\A# \S",
        "objectives": r"(?i)\bobjectives?\b",
        "how many minutes": r"(?i)\d+ min",
        "prerequisites": r"(?i)\bprerequisites?\b",
    }
    return [f"the first cell lacks {what}" for what, pattern in wanted.items() if not re.search(pattern, first.source)]


def closing_leads_on(notebook: nbformat.NotebookNode) -> Problems:
    last = notebook.cells[-1]
    leads = last.cell_type == "markdown" and re.search(r"(?im)^\W*next\b", last.source)
    return [] if leads else ["the last cell has no line that begins with 'Next'"]


def closing_lets_the_reader_practise(notebook: nbformat.NotebookNode) -> Problems:
    """A summary, 2 to 4 exercises with difficulty, minutes, hint and solution, and a quiz of 2 to 3 questions."""
    parts = dict(re.findall(r"^## (Summary|Exercises|Quiz)\b[^\n]*\n(.*?)(?=^## |\Z)", markdown(notebook), re.M | re.S))
    problems = [f"no part '## {name}'" for name in ("Summary", "Exercises", "Quiz") if name not in parts]
    exercises = re.split(r"^\*\*\d+\. ", parts.get("Exercises", ""), flags=re.M)[1:]
    questions = re.split(r"^\*\*(?:[A-Z]|\d+)\.", parts.get("Quiz", ""), flags=re.M)[1:]
    problems += [] if 2 <= len(exercises) <= 4 else [f"{len(exercises)} exercises '**1. ...**', not 2 to 4"]
    problems += [] if 2 <= len(questions) <= 3 else [f"{len(questions)} questions '**A.** ...', not 2 to 3"]
    wanted = {"difficulty and minutes": r"\((easy|medium|hard), \d+ minutes\)"}
    wanted |= {f"folded {what.lower()}": f"<details><summary>{what}</summary>" for what in ("Hint", "Solution")}
    for number, exercise in enumerate(exercises, start=1):
        problems += [
            f"exercise {number} lacks {what}" for what, pattern in wanted.items() if not re.search(pattern, exercise)
        ]
    answers = sum("<details><summary>Answer</summary>" in question for question in questions)
    return problems + ([] if answers == len(questions) else [f"{len(questions) - answers} questions lack an answer"])


def small_enough(notebook: nbformat.NotebookNode) -> Problems:
    size = len(nbformat.writes(notebook).encode())
    return [] if size <= LARGEST else [f"{size / 1024:.0f} KB, more than {LARGEST // 1024}: draw less"]


def opens_with_the_environment_s_python(notebook: nbformat.NotebookNode) -> Problems:
    kernel = notebook.metadata.get("kernelspec", {}).get("name")
    return [] if kernel == "python3" else [f"its kernel is {kernel}, not python3"]


def stores_no_widget_state(notebook: nbformat.NotebookNode) -> Problems:
    """Without it JupyterLab and GitHub show the picture that an explorer stores; with it, sliders that do nothing."""
    problem = "its metadata hold the state of widgets: execute it with store_widget_state=False"
    return [problem] if "widgets" in notebook.metadata else []


RULES = [
    executed_once_in_order,
    compares_some_outputs,
    outputs_are_clean,
    figures_have_captions,
    images_have_alt_text,
    links_lead_somewhere,
    imports_exist,
    solutions_find_their_names,
    cells_are_short,
    opening_prepares_the_reader,
    closing_leads_on,
    closing_lets_the_reader_practise,
    small_enough,
    opens_with_the_environment_s_python,
    stores_no_widget_state,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_keeps_the_rule(path: Path, rule: Callable[[nbformat.NotebookNode], Problems]) -> None:
    assert rule(nbformat.read(path, as_version=4)) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_valid(path: Path) -> None:
    nbformat.validate(nbformat.read(path, as_version=nbformat.NO_CONVERT))


def links_to(notebook: nbformat.NotebookNode, name: str) -> bool:
    """Whether the paragraph of the last cell that begins with "Next" links to the notebook `name`."""
    after = re.search(r"(?ims)^\W*next\b.*", notebook.cells[-1].source)
    return bool(after) and f"]({name})" in after[0]


@pytest.mark.parametrize(
    ("path", "following"), list(zip(NOTEBOOKS, NOTEBOOKS[1:], strict=False)), ids=lambda path: path.stem
)
def test_a_notebook_links_to_the_next_one(path: Path, following: Path) -> None:
    assert links_to(nbformat.read(path, as_version=4), following.name)


def test_a_missing_link_is_found() -> None:
    notebook = good_notebook()
    assert not links_to(notebook, "04_ranking.ipynb")
    notebook.cells[-1].source = "[back](04_ranking.ipynb)\n\n**Next:** ranking."
    assert not links_to(notebook, "04_ranking.ipynb")
    notebook.cells[-1].source = "**Next:** [04 Ranking](04_ranking.ipynb): which maps\nmatter."
    assert links_to(notebook, "04_ranking.ipynb")


def test_notebooks_are_numbered_in_reading_order() -> None:
    numbers = [re.fullmatch(r"(\d\d)_[a-z0-9_]+", path.stem) for path in NOTEBOOKS]
    assert all(numbers), "notebooks are named 00_lower_case.ipynb"
    assert len({match[1] for match in numbers}) == len(numbers), "two notebooks share a number"


# --- the rules themselves: a good notebook passes all, and each fault is found by the rule meant for it


FOLDED = "\n\n<details><summary>{}</summary>\n\nYes.\n\n</details>\n"
EXERCISES = "".join(
    f"\n**{number}. Look** (easy, 5 minutes). Do.{FOLDED.format('Hint')}{FOLDED.format('Solution')}"
    for number in (1, 2)
)
QUIZ = "".join(f"\n**{letter}.** Why?{FOLDED.format('Answer')}" for letter in "AB")


def good_notebook() -> nbformat.NotebookNode:
    def code(source: str, *outputs: nbformat.NotebookNode, compared: bool = False) -> nbformat.NotebookNode:
        return new_code_cell(source, outputs=list(outputs), metadata={"tags": [COMPARED]} if compared else {})

    text = new_output("stream", name="stdout", text="(15, 27)\n")
    picture = new_output("display_data", data={"image/png": "iVBORw0KGgo=", "text/plain": "<Figure size 640x480>"})
    cells = [
        new_markdown_cell("# 03 Maps\n\n**Objectives** see one. **Time** 20 minutes. **Prerequisites** none."),
        code("%matplotlib inline\nimport ranet_edu", text, compared=True),
        code("print(shape)", text, compared=True),
        code("print(shape)", text, compared=True),
        code("show(maps)", picture),
        new_markdown_cell("*Figure 1. The map of one pixel: bright where\nthe dog's ear is, dark on the lawn.*"),
        new_markdown_cell(
            f"[the test](../tests/notebooks/test_notebooks.py)\n\n## Summary\n\nMaps.\n\n## Exercises\n{EXERCISES}"
        ),
        new_markdown_cell(f"## Quiz\n{QUIZ}\n**Next:** ranking."),
    ]
    for count, cell in enumerate((cell for cell in cells if cell.cell_type == "code"), start=1):
        cell.execution_count = count
    return new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})


def set_source(position: int, source: str) -> Callable[[nbformat.NotebookNode], None]:
    return lambda notebook: notebook.cells[position].update(source=source)


def replace_in(position: int, old: str, new: str) -> Callable[[nbformat.NotebookNode], None]:
    def spoil(notebook: nbformat.NotebookNode) -> None:
        cell = notebook.cells[position]
        assert old in cell.source
        cell.source = cell.source.replace(old, new)

    return spoil


def set_output(position: int, output: nbformat.NotebookNode) -> Callable[[nbformat.NotebookNode], None]:
    return lambda notebook: notebook.cells[position].update(outputs=[output])


def stream(text: str) -> nbformat.NotebookNode:
    return new_output("stream", name="stderr", text=text)


FAULTS = [
    (executed_once_in_order, lambda notebook: notebook.cells[2].update(execution_count=9)),
    (executed_once_in_order, lambda notebook: notebook.cells[4].update(execution_count=None)),
    (compares_some_outputs, lambda notebook: notebook.cells[1].metadata.update(tags=[])),
    (compares_some_outputs, set_output(1, stream("\n"))),
    (compares_some_outputs, set_output(1, stream("<object at 0x7f3a5c10>"))),
    (compares_some_outputs, lambda notebook: notebook.cells[4].metadata.update(tags=[COMPARED])),
    (outputs_are_clean, set_output(4, new_output("error", ename="ValueError", evalue="", traceback=[]))),
    (outputs_are_clean, set_output(2, stream("FutureWarning: soon\n"))),
    (outputs_are_clean, set_output(2, stream("saved in /home/me/out.mp4\n"))),
    (figures_have_captions, set_source(5, "A figure.")),
    (figures_have_captions, set_source(5, "*Figure 1.*")),
    (figures_have_captions, lambda notebook: notebook.cells.pop(5)),
    (images_have_alt_text, set_source(5, "*Figure 1. The map of one pixel, bright at the ear.* ![](x.png)")),
    (images_have_alt_text, set_source(7, '<img src="https://example.org/x.png"> \n\nNext')),
    (links_lead_somewhere, set_source(7, "[lost](99_nowhere.ipynb#part)\n\nNext")),
    (imports_exist, set_source(2, "from ranet_edu import nothing_of_this_name")),
    (imports_exist, set_source(2, "import ranet_edu.nothing_of_this_name")),
    (solutions_find_their_names, replace_in(6, "Yes.", "```python\ndef root(x):\n    return math.sqrt(x)\n```")),
    (cells_are_short, set_source(2, "x\n" * 21)),
    (cells_are_short, lambda notebook: [cell.update(source="x\n" * 9) for cell in code_cells(notebook)]),
    (opening_prepares_the_reader, set_source(0, "# 03 Maps\n\nObjectives, prerequisites: none.")),
    (closing_leads_on, set_source(7, "The end. What next?")),
    (closing_lets_the_reader_practise, lambda notebook: notebook.cells.pop(6)),
    (closing_lets_the_reader_practise, replace_in(6, "## Summary", "## In short")),
    (closing_lets_the_reader_practise, replace_in(6, "**2. Look**", "Look")),
    (closing_lets_the_reader_practise, replace_in(6, "(easy, 5 minutes)", "(easy)")),
    (closing_lets_the_reader_practise, replace_in(6, "<details><summary>Hint</summary>", "Hint")),
    (closing_lets_the_reader_practise, replace_in(6, "<details><summary>Solution</summary>", "Solution")),
    (closing_lets_the_reader_practise, replace_in(7, "**B.**", "B")),
    (closing_lets_the_reader_practise, replace_in(7, "<summary>Answer</summary>", "<summary>See</summary>")),
    (small_enough, lambda notebook: notebook.cells[4].outputs[0].data.update({"image/png": "A" * LARGEST})),
    (opens_with_the_environment_s_python, lambda notebook: notebook.metadata.kernelspec.update(name="my-env")),
    (stores_no_widget_state, lambda notebook: notebook.metadata.update(widgets={})),
]


def test_a_good_notebook_passes() -> None:
    assert [problem for rule in RULES for problem in rule(good_notebook())] == []


@pytest.mark.parametrize(("rule", "spoil"), FAULTS, ids=[f"{i}-{rule.__name__}" for i, (rule, _) in enumerate(FAULTS)])
def test_a_fault_is_found_by_its_rule(
    rule: Callable[[nbformat.NotebookNode], Problems], spoil: Callable[[nbformat.NotebookNode], object]
) -> None:
    notebook = good_notebook()
    spoil(notebook)
    assert {found.__name__ for found in RULES if found(notebook)} >= {rule.__name__}


def test_every_rule_has_a_fault() -> None:
    assert {rule.__name__ for rule, _ in FAULTS} == {rule.__name__ for rule in RULES}
