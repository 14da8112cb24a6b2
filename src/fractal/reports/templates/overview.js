// What of the overview follows the threshold (and the margin of relative scores): counts, shares, colours, charts.
(() => {
  const { data, moved } = Report;
  const percent = (part, whole) => `${((100 * part) / Math.max(1, whole)).toFixed(1)}%`;
  const plain = (value) => value.toLocaleString("en-US");

  const tell = (box, items) => {
    const put = (name, text) => box.querySelectorAll(`[data-live="${name}"]`).forEach((element) => (element.textContent = text));
    const sum = (of) => items.reduce((total, item) => total + of(item), 0);
    const sentences = sum((item) => item.scores.length);
    const absolute = items.filter((item) => item.aim !== "compare");
    const flags = absolute.reduce((total, item) => total + item.flags, 0);
    const touched = absolute.filter((item) => item.flags).length;
    const better = sum((item) => (item.aim === "compare" ? item.flags : 0)), worse = sum((item) => item.worse);
    put("share", percent(flags, sentences));
    put("count", plain(flags));
    put("touched-share", percent(touched, items.length));
    put("touched", plain(touched));
    put("better-share", percent(better, sentences));
    put("better", plain(better));
    put("worse-share", percent(worse, sentences));
    put("worse", plain(worse));
    put("edge", `${Aims.edges.threshold}`);
    put("margin", `${Aims.edges.margin}`);
  };
  const paint = (element, step) => element.setAttribute("class", element.getAttribute("class").replace(/\bs\d\b/, `s${step}`));
  const chart = (svg) => {
    const relative = svg.classList.contains("compare");
    const aim = svg.classList.contains("find") ? "find" : "flag";
    svg.querySelectorAll(".bar").forEach((bar) => {
      const at = Number(bar.dataset.at);
      paint(bar, relative ? Aims.ofGap(at - 0.5) : Aims.step(aim, at)); // gaps reach from −½ to ½
    });
    const axis = svg.querySelector(".axis"), [left, right] = ["x1", "x2"].map((name) => Number(axis.getAttribute(name)));
    const edges = relative ? [0.5 - Aims.edges.margin, 0.5 + Aims.edges.margin] : [Aims.edges.threshold];
    svg.querySelectorAll(".threshold").forEach((line, number) => {
      const x = left + edges[number] * (right - left);
      line.setAttribute("x1", x);
      line.setAttribute("x2", x);
    });
  };
  const all = () => {
    document.querySelectorAll(".tiles, tr[data-slice]").forEach((box) => {
      const { aspect, slice } = box.dataset;
      const inside = (item) => (!aspect || item.aspect === Number(aspect)) && (slice === undefined || item.fields[0] === Number(slice));
      tell(box, data.items.filter(inside));
    });
    document.querySelectorAll("svg.live").forEach(chart);
    document.querySelectorAll("[data-score]").forEach((chip) =>
      paint(chip, Aims.step(chip.dataset.aim, Number(chip.dataset.score), Number(chip.dataset.middle))));
  };
  const slider = (id, told, name) => {
    const input = document.getElementById(id), output = document.getElementById(told);
    let waiting = 0;
    input?.addEventListener("input", () => {
      output.textContent = input.value;
      cancelAnimationFrame(waiting);
      waiting = requestAnimationFrame(() => {
        Aims.edges[name] = data[name] = Number(input.value);
        moved();
        all();
      });
    });
  };
  slider("threshold", "edge", "threshold");
  slider("margin", "gap", "margin");
})();
