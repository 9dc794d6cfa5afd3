"""README and the site: their code runs, their links lead somewhere, their messages are the ones that the code has.

A page's ```python blocks run in order in one namespace and an empty folder. `<!-- not run: why -->` before a block
leaves it out; `<!-- setup ... -->` holds code that the page does not show. Sphinx checks the links inside the site too;
here that needs no build, and README's links are among them.
"""

import ast
import re
import warnings
from pathlib import Path

import pytest
import zoo

zoo.library("timm")

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md")), *sorted(DOCS.glob("reference/*.md"))]
BLOCK = re.compile(
    r"<!-- setup\n(?P<setup>.*?)-->|(?P<skip><!-- not run: .+? -->\n)?^```python\n(?P<code>.*?)^```$", re.S | re.M
)
LINK = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^)\s]+)\)")
PLACEHOLDER = "<...>"


def name(page):
    return str(page.relative_to(ROOT))


def blocks(page):
    return [found["setup"] or found["code"] for found in BLOCK.finditer(page.read_text()) if not found["skip"]]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=name)
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "page"}
    for code in blocks(page):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec(compile(code, name(page), "exec"), namespace)


def anchors(page):
    """Those that MyST gives to headings: lower case, spaces to hyphens, other marks gone."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.S | re.M)
    for included in re.findall(r"```\{include\} (\S+)", page.read_text()):
        if (page.parent / included).exists():  # tables are made by the build
            text += "\n" + (page.parent / included).read_text()
    headings = re.findall(r"^#+ (.+)$", text, flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_links_of_a_page_lead_somewhere(page):
    text = re.sub(r"^```(?!\{).*?^```", "", page.read_text(), flags=re.S | re.M)
    for link in LINK.findall(text):
        if re.match(r"https?:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists() or "generated" in target.parts, f"{name(page)} links to {link}"
        if anchor:
            assert anchor in anchors(target), f"{name(page)} links to {link}; there are {sorted(anchors(target))}"


def test_the_table_of_trainings_in_readme_is_that_of_the_results():
    """`python -m docs.tables` copies it."""
    results = (ROOT / "benchmarks" / "training" / "results" / "README.md").read_text()
    table = results.partition("## All systems\n\n")[2].partition("\n\n")[0]
    assert table.count("\n") > 5
    assert table in (ROOT / "README.md").read_text()


def test_twenty_questions_have_an_answer():
    questions = re.findall(r"^\d+\. .+\?.*$", (DOCS / "questions.md").read_text(), flags=re.M)
    assert len(questions) >= 20
    for question in questions:
        assert LINK.search(question), question


def test_every_public_name_is_in_the_reference():
    import derf

    text = "".join(page.read_text() for page in DOCS.glob("reference/*.md"))
    text = text.replace("py:function:: derf(", "py:function:: derf\n")
    documented = set(re.findall(r"(?:auto\w+|py:function):: (?:derf\.)*(\w+)", text))
    assert set(derf.__all__) - {"__version__"} <= documented


def messages():
    """The fixed parts of all strings of the code, one text; what is computed stands between them as a NUL."""
    parts = []
    for file in [
        *sorted((ROOT / "python").rglob("*.py")),
        *sorted((ROOT / "build_backend").glob("*.py")),
        ROOT / "setup.py",
    ]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts.append("".join(str(v.value) if isinstance(v, ast.Constant) else "\0" for v in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                parts.append(node.value)
    literals = r'"((?:[^"\\\n]|\\.)*)"'
    for file in sorted((ROOT / "csrc").rglob("*")):
        if file.suffix in (".h", ".cpp", ".cuh", ".cu"):
            text = re.sub(r'"\s*,?\s*"', "", file.read_text())  # neighbors are one text
            parts += [literal.replace('\\"', '"') for literal in re.findall(literals, text)]
    return "\0".join(parts)


def test_the_messages_of_the_errors_page_are_those_of_the_code():
    text, checked = messages(), 0
    for block in re.findall(r"^```text\n(.*?)^```", (DOCS / "errors.md").read_text(), flags=re.S | re.M):
        if block.startswith("Unknown builtin op"):  # PyTorch's, which tests/test_export.py sees
            continue
        for part in block.strip().split(PLACEHOLDER):
            part = part.strip(" .,:")
            if len(part) > 5:
                assert part in text, f"no message has {part!r}"
                checked += 1
    assert checked > 40
