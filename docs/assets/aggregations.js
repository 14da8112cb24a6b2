// How sentence scores make the score of a response: the figure of understand.md, by the formulas of fractal.mil.aggregations.
"use strict";

const product = (scores) => scores.reduce((all, score) => all * score, 1);
const RULES = {
  min: { good: (scores) => Math.min(...scores), direction: "min" },
  product: { good: product, direction: "min" },
  mean: { good: (scores) => scores.reduce((sum, score) => sum + score, 0) / scores.length, direction: "mean" },
  noisy_or: { good: (scores) => 1 - product(scores.map((score) => 1 - score)), direction: "max" },
  max: { good: (scores) => Math.max(...scores), direction: "max" },
};

// P(sentence is good | label) for independent sentences under the hard rule: all good, any good, or a share of them.
function posterior(direction, scores, label) {
  if (direction === "max") return posterior("min", scores.map((score) => 1 - score), 1 - label).map((bad) => 1 - bad);
  if (direction === "mean" || label === 1) return scores.map(() => label);
  const all = product(scores);
  return scores.map((score) => (score - all) / (1 - all));
}

function draw(figure) {
  const scores = [...figure.querySelectorAll("input[type=range]")].map((slider) => Number(slider.value) / 100);
  const label = Number(figure.querySelector("input[name=label]:checked").value);
  figure.querySelectorAll("output").forEach((shown, place) => { shown.value = scores[place].toFixed(2); });
  figure.querySelectorAll("tbody tr").forEach((row) => {
    const rule = RULES[row.dataset.rule];
    const good = rule.good(scores);
    const likelihood = label ? good : 1 - good;
    row.querySelector(".good").textContent = good.toFixed(3);
    row.querySelector(".likelihood").textContent = likelihood.toFixed(3);
    row.querySelector(".bar").style.width = `${100 * likelihood}%`;
    posterior(rule.direction, scores, label).forEach((belief, place) => {
      row.querySelectorAll(".belief")[place].textContent = belief.toFixed(2);
    });
  });
}

document.querySelectorAll(".aggregations").forEach((figure) => {
  figure.addEventListener("input", () => draw(figure));
  draw(figure);
});
