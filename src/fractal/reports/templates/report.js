// The list of responses: order, search, pages, keys. Text of the data reaches the page as text nodes only.
(() => {
  const PAGE = 20, STEPS = 8, MIDDLE = 4;
  const NEAR = 0.4; // of the words: a passage that holds fewer is no help, and is said to be none
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const [search, sort, show, aspect, numbers] = ["search", "sort", "show", "aspect", "numbers"].map(byId);
  const [list, found, nothing, page, before, after, beside, tip] =
    ["list", "found", "nothing", "page", "before", "after", "beside", "tip"].map(byId);
  // What a reader looks for: a bad sentence, or under a maximum ("finds") the one that makes the response good.
  const marked = (item, score) => (item.finds ? score >= data.threshold : score < data.threshold);
  const word = (item) => (item.finds ? "found" : "flagged");
  const shown = (number) => (number === null || number === undefined ? "–" : number.toFixed(2));

  data.items.forEach((item, place) => {
    item.place = place;
    item.lowest = Math.min(...item.scores);
    item.highest = Math.max(...item.scores);
    item.lead = item.finds ? 1 - item.highest : item.lowest;
    item.flags = item.scores.filter((score) => marked(item, score)).length;
    item.size = item.pieces.reduce((sum, piece) => sum + piece.length, 0);
    item.unsure = Math.max(0, ...item.spread);
    item.gap = item.label === null ? -1 : Math.abs(item.score - item.label);
    item.words = null; // lower-case text, made when first searched
  });

  const ORDERS = {
    worst: (a, b) => a.lead - b.lead || (a.finds ? b.score - a.score : a.score - b.score),
    low: (a, b) => a.score - b.score,
    high: (a, b) => b.score - a.score,
    gap: (a, b) => b.gap - a.gap,
    unsure: (a, b) => b.unsure - a.unsure,
    long: (a, b) => b.size - a.size,
    short: (a, b) => a.size - b.size,
    id: (a, b) => a.id.localeCompare(b.id, undefined, { numeric: true }),
    file: () => 0,
  };
  const KEPT = {
    all: () => true,
    flagged: (item) => item.flags > 0,
    clean: (item) => item.flags === 0,
    mixed: (item) => item.flags > 0 && item.flags < item.scores.length,
    wrong: (item) => item.label !== null && marked(item, item.score) !== marked(item, item.label),
  };
  const state = { order: [], first: 0, needle: "", chosen: null };

  const make = (tag, kind, text) => {
    const element = document.createElement(tag);
    if (kind) element.className = kind;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const stepOf = (item, score) => {
    const edge = data.threshold;
    if (item.finds && score < edge) return MIDDLE;
    if (item.finds) return MIDDLE + Math.max(1, Math.round((MIDDLE * (score - edge)) / (1 - edge)));
    if (score < edge) return Math.min(MIDDLE - 1, Math.round((MIDDLE * score) / edge));
    return MIDDLE + Math.min(STEPS - MIDDLE, Math.round((MIDDLE * (score - edge)) / (1 - edge)));
  };
  const matches = (item, needle) => {
    item.words ??= [item.id, data.queries[item.query], item.pieces.join("")].join("\n").toLowerCase();
    return item.words.includes(needle);
  };
  // The text with what was searched for marked.
  const write = (element, text) => {
    const lower = text.toLowerCase();
    let at = 0;
    // Lower case may be longer than the text; then places do not agree and nothing is marked.
    if (state.needle && lower.length === text.length) {
      for (let hit; (hit = lower.indexOf(state.needle, at)) >= 0; at = hit + state.needle.length) {
        element.append(text.slice(at, hit), make("mark", "", text.slice(hit, hit + state.needle.length)));
      }
    }
    element.append(text.slice(at));
    return element;
  };

  const sentence = (item, number) => {
    const score = item.scores[number], text = item.pieces[2 * number + 1];
    const element = make("span", `sentence s${stepOf(item, score)}${marked(item, score) ? ` ${word(item)}` : ""}`);
    element.tabIndex = number ? -1 : 0;
    element.dataset.item = item.place;
    element.dataset.number = number;
    element.setAttribute("aria-describedby", "tip");
    write(element, text);
    element.append(make("small", "score", ` ${shown(score)}`));
    return element;
  };
  const card = (item) => {
    const element = make("li", "card");
    const head = make("div", "head");
    head.append(write(make("span", "id"), item.id));
    if (data.aspects.length > 1) head.append(make("span", "chip", data.aspects[item.aspect] || "whole response"));
    head.append(make("span", `chip whole s${stepOf(item, item.score)}`, `score ${shown(item.score)}`));
    if (item.label !== null) head.append(make("span", "chip", `label ${shown(item.label)}`));
    head.append(make("span", "chip quiet", `${item.flags} of ${item.scores.length} ${word(item)}`));
    element.append(head);
    if (data.queries[item.query]) element.append(write(make("p", "query"), data.queries[item.query]));
    const text = make("p", "text");
    item.pieces.forEach((piece, at) => text.append(at % 2 ? sentence(item, (at - 1) / 2) : piece));
    element.append(text);
    return element;
  };

  const draw = () => {
    list.replaceChildren(...state.order.slice(state.first, state.first + PAGE).map(card));
    const total = data.items.length, kept = state.order.length;
    found.textContent = kept === total ? `${total.toLocaleString()} responses` : `${kept.toLocaleString()} of ${total.toLocaleString()} responses`;
    nothing.hidden = kept > 0;
    const pages = Math.max(1, Math.ceil(kept / PAGE));
    page.textContent = `Page ${state.first / PAGE + 1} of ${pages}`;
    before.disabled = state.first === 0;
    after.disabled = state.first + PAGE >= kept;
    tip.hidden = true;
  };
  const select = () => {
    state.needle = search.value.trim().toLowerCase();
    const only = aspect && aspect.value !== "" ? Number(aspect.value) : null;
    const keep = KEPT[show.value];
    state.order = data.items
      .filter((item) => keep(item) && (only === null || item.aspect === only) && (!state.needle || matches(item, state.needle)))
      .sort((a, b) => ORDERS[sort.value](a, b) || a.place - b.place);
    state.first = 0;
    draw();
    if (state.order.length) choose(state.order[0], state.order[0].scores.indexOf(state.order[0].finds ? state.order[0].highest : state.order[0].lowest), false);
    else beside.replaceChildren();
  };
  const turn = (pages) => {
    const first = state.first + pages * PAGE;
    if (first < 0 || first >= state.order.length) return false;
    state.first = first;
    draw();
    return true;
  };

  // The gauge: the score as a dot, the spread as a bar around it, the threshold as a line.
  const gauge = (score, spread) => {
    const element = make("div", "gauge");
    const place = (kind, from, to) => {
      const mark = make("i", kind);
      mark.style.left = `${100 * from}%`;
      if (to !== undefined) mark.style.width = `${100 * (to - from)}%`;
      element.append(mark);
    };
    place("edge", data.threshold);
    if (spread) place("spread", Math.max(0, score - spread), Math.min(1, score + spread));
    place("at", score);
    return element;
  };
  const facts = (item, number) => {
    const rows = [["score", shown(item.scores[number])]];
    if (item.spread.length) rows.push(["spread between heads", `± ${shown(item.spread[number])}`]);
    if (item.labels.length) rows.push(["known label", shown(item.labels[number])]);
    if (item.guesses.length) rows.push(["label that agrees with the response's", shown(item.guesses[number])]);
    rows.push(["response score", shown(item.score)]);
    if (item.label !== null) rows.push(["response label", shown(item.label)]);
    const element = make("dl", "facts");
    rows.forEach(([name, value]) => {
      const row = make("div");
      row.append(make("dt", "", name), make("dd", "", value));
      element.append(row);
    });
    return element;
  };
  const contextOf = (item, number) => {
    const texts = data.contexts[item.context];
    const element = make("div", "context");
    element.append(make("h3", "", "Context"));
    if (!texts.length) {
      element.append(make("p", "quiet", "This response has no context."));
      return element;
    }
    const index = (data.indices ??= new Map()).get(item.context) || Passages.index(texts);
    data.indices.set(item.context, index);
    const best = Passages.best(index, item.pieces[2 * number + 1]);
    const held = `${Math.round(100 * best.share)}% of the sentence's words, rare words counting more.`;
    const near = best.place < 0 ? "No passage shares a word with this sentence." : best.share < NEAR ? `No passage is near: the nearest holds ${held}` : `The marked passage holds ${held}`;
    element.append(make("p", "quiet", near));
    const source = make("div", "source");
    element.append(source);
    let part = -1, block;
    index.passages.forEach((passage, place) => {
      if (passage.part !== part) {
        part = passage.part;
        source.append((block = make("p", "passages")));
      }
      if (place !== best.place || best.share < NEAR) return block.append(passage.text);
      const mark = make("mark", "best");
      passage.text.split(/([\p{L}\p{N}]+)/u).forEach((piece) => mark.append(best.shared.has(piece.toLowerCase()) ? make("b", "", piece) : piece));
      block.append(mark);
    });
    return element;
  };
  const choose = (item, number, asked = true) => {
    state.chosen = [item.place, number];
    list.querySelectorAll(".chosen").forEach((old) => old.classList.remove("chosen"));
    const element = list.querySelector(`[data-item="${item.place}"][data-number="${number}"]`);
    if (element) element.classList.add("chosen");
    const close = make("button", "close", "Close");
    close.type = "button";
    const head = make("div", "head");
    head.append(make("h3", "", `Sentence ${number + 1} of ${item.scores.length}`), make("span", "id", item.id), close);
    const quoted = make("blockquote", marked(item, item.scores[number]) ? word(item) : "", item.pieces[2 * number + 1]);
    beside.replaceChildren(head, quoted, gauge(item.scores[number], item.spread[number]), facts(item, number), contextOf(item, number));
    beside.classList.toggle("asked", asked);
    const mark = beside.querySelector(".best");
    beside.scrollTop = 0;
    const below = (box) => mark.getBoundingClientRect().bottom + 32 - box.getBoundingClientRect().bottom;
    if (mark) [beside.querySelector(".source"), beside].forEach((box) => (box.scrollTop += Math.max(0, below(box))));
  };

  const tell = (element) => {
    const item = data.items[element.dataset.item], number = Number(element.dataset.number);
    const parts = [`score ${shown(item.scores[number])}`];
    if (item.spread.length) parts[0] += ` ± ${shown(item.spread[number])}`;
    if (marked(item, item.scores[number])) parts.push(word(item));
    if (item.labels.length) parts.push(`label ${shown(item.labels[number])}`);
    tip.textContent = parts.join(" · ");
    tip.hidden = false;
    const box = element.getClientRects()[0];
    tip.style.left = `${Math.max(8, Math.min(box.left, innerWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${box.top > tip.offsetHeight + 12 ? box.top - tip.offsetHeight - 6 : box.bottom + 6}px`;
  };
  const sentenceOf = (event) => event.target.closest?.(".sentence");
  const focused = () => (document.activeElement.matches(".sentence") ? document.activeElement : null);
  const untell = () => (focused() ? tell(focused()) : (tip.hidden = true));
  const focus = (element) => element && element.focus({ preventScroll: true });
  const move = (element, key) => {
    const cards = [...list.children], here = element.closest(".card");
    const inside = [...here.querySelectorAll(".sentence")], at = inside.indexOf(element);
    const beyond = (by) => cards[cards.indexOf(here) + by]?.querySelector(".sentence");
    const sentences = [...list.querySelectorAll(".sentence")];
    const target = {
      ArrowRight: () => sentences[sentences.indexOf(element) + 1],
      ArrowLeft: () => sentences[sentences.indexOf(element) - 1],
      ArrowDown: () => beyond(1) || (turn(1) ? list.querySelector(".sentence") : null),
      ArrowUp: () => beyond(-1) || (turn(-1) ? list.lastElementChild.querySelector(".sentence") : null),
      Home: () => inside[0],
      End: () => inside[inside.length - 1],
    }[key];
    if (!target || (key === "Home" && at === 0)) return false;
    focus(target());
    return true;
  };

  list.addEventListener("focusin", (event) => {
    const element = sentenceOf(event);
    if (!element) return;
    choose(data.items[element.dataset.item], Number(element.dataset.number));
    element.scrollIntoView({ block: "nearest", behavior: "instant" });
    tell(element);
  });
  list.addEventListener("focusout", () => (tip.hidden = true));
  list.addEventListener("click", (event) => sentenceOf(event)?.focus());
  list.addEventListener("pointerover", (event) => sentenceOf(event) && tell(sentenceOf(event)));
  list.addEventListener("pointerout", untell);
  addEventListener("scroll", untell, { passive: true });
  beside.addEventListener("click", (event) => event.target.closest(".close") && beside.classList.remove("asked"));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.matches("input, select");
    const element = sentenceOf(event);
    let done = false;
    if (event.key === "/" && !typing) done = search.focus() === undefined;
    else if (event.key === "Escape") {
      done = !tip.hidden;
      tip.hidden = true;
      beside.classList.remove("asked");
    } else if (element && event.key.startsWith("Page")) {
      done = turn(event.key === "PageDown" ? 1 : -1);
      if (done) focus(list.querySelector(".sentence"));
    } else if (element) done = move(element, event.key);
    if (done) event.preventDefault();
  });
  const leaf = (pages) => turn(pages) && byId("responses").scrollIntoView();
  before.addEventListener("click", () => leaf(-1));
  after.addEventListener("click", () => leaf(1));
  numbers.addEventListener("change", () => list.classList.toggle("numbers", numbers.checked));
  [sort, show, aspect].forEach((chosen) => chosen?.addEventListener("change", select));
  let waiting;
  search.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(select, 80);
  });
  search.form.addEventListener("submit", (event) => event.preventDefault());
  select();
})();
