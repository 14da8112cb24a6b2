// What a reader looks for in scores: what is bad ("flag"), what makes the response good ("find"), or, where scores are
// relative, what is better or worse than its rivals ("compare"). The edges may be moved.
const Aims = (() => {
  const STEPS = 8, MIDDLE = 4, WIDTH = 0.1; // as in palette.py
  const edges = { threshold: 0.5, margin: 0.1 };

  const ofGap = (gap) => {
    if (Math.abs(gap) < edges.margin) return MIDDLE;
    const size = 1 + Math.min(MIDDLE - 1, Math.trunc((Math.abs(gap) - edges.margin) / WIDTH + 1e-9));
    return gap > 0 ? MIDDLE + size : MIDDLE - size;
  };
  const step = (aim, score, middle) => {
    const edge = edges.threshold;
    if (aim === "compare") return ofGap(score - middle);
    if (aim === "find" && score < edge) return MIDDLE;
    if (aim === "find") return MIDDLE + Math.max(1, Math.round((MIDDLE * (score - edge)) / (1 - edge)));
    if (score < edge) return Math.min(MIDDLE - 1, Math.round((MIDDLE * score) / edge));
    return MIDDLE + Math.min(STEPS - MIDDLE, Math.round((MIDDLE * (score - edge)) / (1 - edge)));
  };
  // The word for a score, "" where there is nothing to say of it.
  const word = (aim, score, middle) => {
    if (aim === "find") return score >= edges.threshold ? "found" : "";
    if (aim === "flag") return score < edges.threshold ? "flagged" : "";
    const gap = score - middle;
    return gap >= edges.margin ? "better" : gap <= -edges.margin ? "worse" : "";
  };
  return { edges, step, ofGap, word };
})();
