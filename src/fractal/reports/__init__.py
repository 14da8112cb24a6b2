"""What a person looks at: the HTML report, the fragment for notebooks, the terminal's view, and plots for papers."""

from fractal.evaluation.tables import Evaluation
from fractal.records import ScoredResponse
from fractal.reports.html import card_fragment, evaluation_fragment, fragment, fragments, render_report, write_report
from fractal.reports.terminal import show

__all__ = ["card_fragment", "evaluation_fragment", "fragment", "fragments", "render_report", "show", "write_report"]

ScoredResponse._repr_html_ = fragment  # type: ignore[attr-defined]  # what a notebook shows, once pages are loaded
Evaluation._repr_html_ = evaluation_fragment  # type: ignore[attr-defined]  # a comparison shows itself as Markdown
