"""The examples run as a user would run them, and do what they say."""

import ast
import io
import re
import subprocess
import sys
import tokenize
from pathlib import Path

from command_line import ENVIRONMENT

EXAMPLE = Path(__file__).parent.parent / "examples" / "otl_in_60_lines.py"


def code_lines(source):
    """Lines with code on them: without blank lines, comments and docstrings."""
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    lines = {
        line
        for token in tokens
        if token.type not in silent and token.string
        for line in range(token.start[0], token.end[0] + 1)
    }
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.FunctionDef) and ast.get_docstring(node):
            lines -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return len(lines)


def test_the_whole_method_fits_in_60_lines_and_learns():
    source = EXAMPLE.read_text()
    assert code_lines(source) <= 60
    imported = set(re.findall(r"^(?:import|from) (\w+)", source, re.M))
    assert imported == {"math", "timm", "torch", "rs_otl"}
    done = subprocess.run(
        [sys.executable, EXAMPLE],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=300,
        check=True,
    )
    before, after = map(float, re.findall(r"kNN ([\d.]+)%", done.stdout))
    assert after > before + 20
    assert set(re.findall(r"→ ([\d.]+)", done.stdout)) == {"0.0"}
