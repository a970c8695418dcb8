"""The repository as a whole: what is declared, what may import what, and what the documents point at."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import ranet_edu

REPOSITORY = Path(__file__).resolve().parents[1]
MODULES = sorted((REPOSITORY / "ranet_edu").rglob("*.py"))

CONDA_NAMES = {"pytorch": "torch", "matplotlib-base": "matplotlib"}
CONDA_ONLY = {"python", "pip"}

# What each part of the package may import, lowest first (DESIGN: show, training, evaluation, course -> video -> model;
# datasets stands beside video and may use its masks and frames; nothing imports cli or show).
# RANet.lite() loads its weights, and weights.py builds the network that a file describes.
NETWORK = {"model", "weights"}
PARTS_BELOW = {
    "model": NETWORK,
    "weights": NETWORK,
    "video": NETWORK,
    "datasets": {"video.masks", "video.frames"},
    "evaluation": {*NETWORK, "video", "datasets"},
    "training": {*NETWORK, "video", "datasets", "evaluation"},
    "course": {*NETWORK, "video", "datasets", "evaluation", "training"},
    "show": {*NETWORK, "video", "datasets", "evaluation", "training"},
    "cli": {*NETWORK, "video", "datasets", "evaluation", "training", "course", "show"},
}


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


def identifier(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def ranges(requirements: list[str]) -> dict[str, str]:
    """Canonical name -> version range."""
    parsed = [Requirement(text) for text in requirements]
    return {CONDA_NAMES.get(name := canonicalize_name(r.name), name): str(r.specifier) for r in parsed}


def declared(project: dict) -> dict[str, str]:
    extras = project["optional-dependencies"].values()
    return ranges(project["dependencies"] + [text for extra in extras for text in extra])


def executed(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node of the tree but those under `if TYPE_CHECKING:`."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")):
            yield node
            yield from executed(node)


def imported_modules(path: Path) -> Iterator[str]:
    """Dotted names of all that a file imports, inside functions too; relative imports made absolute.

    `from a import b` gives `a.b`: b may be a module. What only a type checker sees doesn't count.
    """
    package = path.relative_to(REPOSITORY).parent.parts
    for node in executed(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


# --- what is declared


def test_environment_yml_and_pyproject_ask_for_the_same(project: dict) -> None:
    environment = yaml.safe_load((REPOSITORY / "environment.yml").read_text())
    conda = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert "-e ." in pip, "environment.yml does not install the package itself"
    listed = ranges(conda) | ranges([entry for entry in pip if entry != "-e ."])
    assert {name: spec for name, spec in listed.items() if name not in CONDA_ONLY} == declared(project)
    assert SpecifierSet(listed["python"]) == SpecifierSet(project["requires-python"])


def test_one_range_of_python_is_named_everywhere(project: dict) -> None:
    first, after = map(int, re.fullmatch(r">=3\.(\d+),<3\.(\d+)", project["requires-python"]).groups())
    makefile = (REPOSITORY / "Makefile").read_text()
    assert f"(3, {first}) <= sys.version_info < (3, {after})" in makefile
    tried = re.search(r"for python in (.*) python3;", makefile)[1].split()
    assert tried == [f"python3.{minor}" for minor in reversed(range(first, after))]
    for path in ("README.md", "ranet_edu/course/build.py"):
        named = set(re.findall(r"Python (3\.\d+-3\.\d+)", (REPOSITORY / path).read_text(encoding="utf-8")))
        assert named == {f"3.{first}-3.{after - 1}"}, path


def test_no_dependency_is_pinned(project: dict) -> None:
    exact = [name for name, specifier in declared(project).items() if "==" in specifier or "~=" in specifier]
    assert exact == []


def test_every_import_is_declared(project: dict) -> None:
    distributions = packages_distributions()  # top-level module -> distributions
    known_modules = {
        module
        for module, names in distributions.items()
        if declared(project).keys() & {canonicalize_name(name) for name in names}
    }
    tests = sorted((REPOSITORY / "tests").rglob("*.py"))
    known_modules |= sys.stdlib_module_names | {"ranet_edu"} | {path.stem for path in tests}
    undeclared = {
        f"{identifier(path)}: {module}"
        for path in [*MODULES, *tests]
        for module in {name.split(".")[0] for name in imported_modules(path)} - known_modules
    }
    assert undeclared == set()


def test_citation_names_this_version_and_the_paper() -> None:
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()  # what the format requires
    assert citation["version"] == ranet_edu.__version__
    assert citation["license"] == "Apache-2.0"
    assert citation["preferred-citation"]["doi"] == "10.1109/ICCV.2019.00408"


def test_licence_is_the_whole_apache_licence(project: dict) -> None:
    text = (REPOSITORY / "LICENSE").read_text()
    assert project["license"] == "Apache-2.0"
    assert "Version 2.0, January 2004" in text and "END OF TERMS AND CONDITIONS" in text
    assert re.findall(r"^\s+(\d)\. [A-Z]", text, re.M) == list("123456789")


# --- what may import what


def test_importing_the_package_loads_none_of_its_parts() -> None:
    code = "import sys, ranet_edu; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    heavy = {"torch", "torchvision", "timm", "cv2", "numpy", "scipy", "av", "matplotlib", "gradio", "pooch", "IPython"}
    assert heavy & set(loaded.stdout.split()) == set()


@pytest.mark.parametrize("path", MODULES, ids=identifier)
def test_module_says_what_it_is(path: Path) -> None:
    if path.name == "__init__.py" and not path.read_text().strip():
        return  # an empty package file has nothing to say
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def forbidden_imports(part: str, imported: list[str]) -> list[str]:
    """Those imports of the package's own modules that go against the arrows."""
    allowed = {part, "__version__", *PARTS_BELOW[part]}
    own = [name.removeprefix("ranet_edu.") for name in imported if name.startswith("ranet_edu.")]
    return [name for name in own if not any(f"{name}.".startswith(f"{above}.") for above in allowed)]


@pytest.mark.parametrize("path", [path for path in MODULES if path.parent.name != "ranet_edu"], ids=identifier)
def test_imports_follow_the_arrows(path: Path) -> None:
    part = path.relative_to(REPOSITORY / "ranet_edu").parts[0]
    assert forbidden_imports(part, list(imported_modules(path))) == []


@pytest.mark.parametrize("path", sorted((REPOSITORY / "ranet_edu").glob("[a-z]*.py")), ids=identifier)
def test_imports_of_single_files_follow_the_arrows(path: Path) -> None:
    assert forbidden_imports(path.stem, list(imported_modules(path))) == []


def test_the_layout_has_the_parts_that_the_arrows_name() -> None:
    parts = {path.relative_to(REPOSITORY / "ranet_edu").with_suffix("").parts[0] for path in MODULES}
    assert parts - PARTS_BELOW.keys() <= {"__init__", "__main__"}


def test_the_arrows_run_one_way_and_forbid_what_they_should() -> None:
    order = list(PARTS_BELOW)
    for position, part in enumerate(order):
        assert {below.split(".")[0] for below in PARTS_BELOW[part]} <= {*order[:position], *NETWORK}, part
    assert all({"cli", "show"}.isdisjoint(PARTS_BELOW[part]) for part in order if part != "cli")
    assert forbidden_imports("model", ["ranet_edu.video.masks", "torch"]) == ["video.masks"]
    assert forbidden_imports("datasets", ["ranet_edu.video.segmenter.VideoSegmenter"])
    assert forbidden_imports("datasets", ["ranet_edu.video.masks.read_mask", "ranet_edu.datasets.davis"]) == []
    assert forbidden_imports("course", ["ranet_edu.show.figures"]) == ["show.figures"]


# --- what the documents point at


def targets(markdown: str) -> list[str]:
    """Where the links and images of a Markdown text lead; code blocks are left out."""
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", markdown, flags=re.S)
    return re.findall(r"\]\(([^)\s]+)[^)]*\)", prose) + re.findall(r"(?:src|href)=[\"']([^\"']+)", prose)


def test_targets_are_found() -> None:
    text = "[a](x.md) ![b](y.png 'title') <img src=\"z.png\"> `[no](code)`\n```\n[no](code)\n```"
    assert targets(text) == ["x.md", "y.png", "z.png"]


def test_readme_points_at_files_that_exist() -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    local = [target.split("#")[0] for target in targets(readme) if not re.match(r"https?:|mailto:|#", target)]
    assert local, "a README without a link to anything in the repository"
    assert [target for target in local if not (REPOSITORY / target).exists()] == []


def test_readme_describes_its_pictures() -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert "![](" not in readme
    assert [tag for tag in re.findall(r"<img[^>]*>", readme) if not re.search(r'alt="[^"]+"', tag)] == []
