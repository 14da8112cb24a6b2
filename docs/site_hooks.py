"""What the site adds to docs/: the tables of benchmarks/results, and links that leave docs/ as words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
OUTSIDE = re.compile(r"\[([^\]]*)\]\((?:\.\./)+(?!benchmarks/results/\w+\.(?:md|png))[^)]*\)")
RESULTS = re.compile(r"\]\(((?:\.\./)+)benchmarks/results/")


def on_files(files: Any, config: Any) -> Any:
    """Add the tables and pictures of the benchmarks."""
    for path in sorted((ROOT / "benchmarks" / "results").glob("*.*")):
        if path.suffix in (".md", ".png"):
            name = f"benchmarks/results/{path.name}"
            files.append(File(name, str(ROOT), config["site_dir"], config["use_directory_urls"]))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point at the tables where they stand in the site; what stands in the repository alone is named, not linked."""
    within = page.file.src_uri.startswith("benchmarks/")
    if within:
        return re.sub(r"\[([^\]]*)\]\((?!\w+\.(?:md|png))[^)]*\)", r"\1", markdown)
    markdown = RESULTS.sub(lambda match: f"]({match[1].removeprefix('../')}benchmarks/results/", markdown)
    return OUTSIDE.sub(lambda m: m[0] if "benchmarks/results/" in m[0] else m[1], markdown)
