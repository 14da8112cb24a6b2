// What every page needs: jobs watched, a file dropped, a sentence beside its context, an answer tried.
// Texts of the data reach the page as text nodes only.
const Studio = (() => {
  const NEAR = 0.4;
  const meta = (name) => document.querySelector(`meta[name=${name}]`)?.content ?? "";
  const project = meta("project");
  const make = (tag, kind, text) => {
    const element = document.createElement(tag);
    if (kind) element.className = kind;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const send = async (path, body, key) => {
    const headers = { "content-type": "application/json", "x-csrf-token": meta("csrf") };
    if (key) headers["idempotency-key"] = key;
    const answer = await fetch(`${path}?project=${encodeURIComponent(project)}`, { method: "POST", headers, body: JSON.stringify(body) });
    const told = await answer.json();
    if (!answer.ok) throw new Error(told.detail ?? `the studio answered ${answer.status}`);
    return told;
  };

  // The context beside a sentence, the nearest passage marked.
  const contextOf = (texts, sentence) => {
    const element = make("div", "context");
    element.append(make("h2", "", "Context"));
    if (!texts.length) {
      element.append(make("p", "quiet", "This response has no context."));
      return element;
    }
    const index = Passages.index(texts);
    const best = Passages.best(index, sentence);
    const share = `${Math.round(100 * best.share)}% of the sentence's words, rare words counting more.`;
    element.append(make("p", "quiet", best.place < 0 ? "No passage shares a word with this sentence." : best.share < NEAR ? `No passage is near: the nearest holds ${share}` : `The marked passage holds ${share}`));
    let part = -1, block;
    index.passages.forEach((passage, place) => {
      if (passage.part !== part) {
        part = passage.part;
        element.append((block = make("p", "passages")));
      }
      if (place !== best.place || best.share < NEAR) return block.append(passage.text);
      const mark = make("mark", "best");
      passage.text.split(/([\p{L}\p{N}]+)/u).forEach((piece) => mark.append(best.shared.has(piece.toLowerCase()) ? make("b", "", piece) : piece));
      block.append(mark);
    });
    return element;
  };
  const choose = (element) => {
    document.querySelectorAll(".sentence.chosen").forEach((old) => old.classList.remove("chosen"));
    element.classList.add("chosen");
    const beside = document.getElementById("beside");
    if (!beside) return;
    const context = JSON.parse(element.closest("[data-context]")?.dataset.context ?? "[]");
    const score = element.dataset.score;
    beside.replaceChildren(make("h2", "", `Sentence ${Number(element.dataset.place) + 1}`), make("blockquote", "", element.textContent));
    if (score) beside.append(make("p", "", `Score ${Number(score).toFixed(2)}`));
    beside.append(contextOf(context, element.textContent));
  };
  const sentenceOf = (event) => event.target.closest?.(".sentence");
  const move = (element, key) => {
    const all = [...document.querySelectorAll(".sentence")], here = all.indexOf(element);
    const cards = [...document.querySelectorAll(".card")], card = cards.indexOf(element.closest(".card"));
    const target = {
      ArrowRight: () => all[here + 1], ArrowLeft: () => all[here - 1],
      ArrowDown: () => cards[card + 1]?.querySelector(".sentence"), ArrowUp: () => cards[card - 1]?.querySelector(".sentence"),
    }[key]?.();
    target?.focus();
    return Boolean(target);
  };
  document.addEventListener("focusin", (event) => sentenceOf(event) && choose(sentenceOf(event)));
  document.addEventListener("click", (event) => sentenceOf(event) && (sentenceOf(event).focus(), choose(sentenceOf(event))));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const element = sentenceOf(event);
    if (element && move(element, event.key)) event.preventDefault();
    if (element && event.key === "Enter") choose(element);
  });

  // A job that is watched: its events come from the server, and the page is loaded anew when it ends.
  document.querySelectorAll(".job").forEach((box) => {
    const events = new EventSource(`/v1/jobs/${box.dataset.job}/events?project=${encodeURIComponent(project)}`);
    const stage = box.querySelector("[role=status]"), bar = box.querySelector("progress"), detail = box.querySelector(".detail");
    events.addEventListener("progress", (event) => {
      const told = JSON.parse(event.data);
      stage.textContent = told.stage ?? "Working …";
      if (bar && told.share !== undefined) bar.value = told.share;
      if (!detail) return;
      const parts = [];
      if (told.total) parts.push(`${told.done} of ${told.total}`);
      if (told.epoch) parts.push(`epoch ${told.epoch} of ${told.epochs}`);
      if (told.auc) parts.push(`held-out AUC ${told.auc.toFixed(3)}`);
      detail.textContent = parts.join(" · ");
    });
    events.addEventListener("end", () => {
      events.close();
      location.reload();
    });
  });

  // A file that is dropped anywhere on the form's field.
  const drop = document.getElementById("drop");
  if (drop) {
    const field = drop.querySelector("input[type=file]");
    ["dragover", "dragenter"].forEach((name) => drop.addEventListener(name, (event) => (event.preventDefault(), drop.classList.add("over"))));
    ["dragleave", "drop"].forEach((name) => drop.addEventListener(name, () => drop.classList.remove("over")));
    drop.addEventListener("drop", (event) => {
      event.preventDefault();
      field.files = event.dataTransfer.files;
    });
  }

  // An answer that is tried.
  const form = document.getElementById("try");
  const shown = document.getElementById("tried");
  const stepOf = (score, edge) => (score < edge ? Math.min(3, Math.round((4 * score) / edge)) : 4 + Math.min(4, Math.round((4 * (score - edge)) / (1 - edge))));
  form?.addEventListener("submit", async (event) => {
    event.preventDefault();
    const fields = Object.fromEntries(new FormData(form));
    const context = fields.context.trim() ? [fields.context] : [];
    shown.replaceChildren(make("p", "quiet", "Scoring …"));
    try {
      const told = await send("/v1/score", { responses: [{ query: fields.query, context, text: fields.text }] });
      const result = told.results[0], edge = Number(shown.dataset.threshold), found = shown.dataset.found === "1";
      const card = make("article", "card");
      card.dataset.context = JSON.stringify(context);
      const head = make("div", "head");
      head.append(make("span", "id", `scorer ${told.scorer}`), make("span", `chip whole s${stepOf(result.response_score, edge)}`, `score ${result.response_score.toFixed(2)}`));
      const text = make("p", "text");
      let end = 0;
      const characters = [...fields.text.replace(/\r\n?/g, "\n")]; // the server counts characters, not UTF-16 units
      result.sentences.forEach((sentence, place) => {
        text.append(characters.slice(end, sentence.start).join(""));
        const mark = found ? (sentence.score >= edge ? " found" : "") : sentence.score < edge ? " flagged" : "";
        const span = make("span", `sentence s${stepOf(sentence.score, edge)}${mark}`, sentence.text);
        Object.assign(span.dataset, { place, score: sentence.score });
        span.tabIndex = 0;
        span.setAttribute("role", "button");
        span.title = `score ${sentence.score.toFixed(2)}`;
        text.append(span);
        end = sentence.end;
      });
      card.append(head, text);
      shown.replaceChildren(card);
    } catch (error) {
      shown.replaceChildren(make("p", "message bad", error.message));
    }
  });
  return { send, make, choose };
})();
