// The list of responses: order, search, filters, pages, keys, links. Text of the data reaches the page as text nodes only.
const Report = (() => {
  const PAGE = 20;
  const NEAR = 0.4; // of the words: a passage that holds fewer is no help, and is said to be none
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const [search, sort, show, aspect, numbers] = ["search", "sort", "show", "aspect", "numbers"].map(byId);
  const [list, found, nothing, page, before, after, beside, tip] =
    ["list", "found", "nothing", "page", "before", "after", "beside", "tip"].map(byId);
  const fields = [...document.querySelectorAll("select.field")];
  Aims.edges.threshold = data.threshold;
  Aims.edges.margin = data.margin;
  const word = (item, score) => Aims.word(item.aim, score, item.middle);
  const stepOf = (item, score) => Aims.step(item.aim, score, item.middle);
  const wholeStep = (item) => Aims.step(item.aim, item.score, item.level);
  const shown = (number) => (number === null || number === undefined ? "–" : number.toFixed(2));
  const signed = (number) => `${number < 0 ? "−" : "+"}${Math.abs(number).toFixed(2)}`;

  // What depends on the edges: how many sentences of a response are flagged, found, better or worse.
  const count = () =>
    data.items.forEach((item) => {
      item.words = item.scores.map((score) => word(item, score));
      item.flags = item.words.filter((said) => said && said !== "worse").length;
      item.worse = item.words.filter((said) => said === "worse").length;
    });
  data.items.forEach((item, place) => {
    item.place = place;
    item.lowest = Math.min(...item.scores);
    item.highest = Math.max(...item.scores);
    item.lead = item.aim === "find" ? 1 - item.highest : item.lowest;
    item.ahead = item.aim === "compare" && item.rivals ? item.score - item.level : 0;
    if (item.aim === "compare") item.lead = -Math.abs(item.ahead);
    item.size = item.pieces.reduce((sum, piece) => sum + piece.length, 0);
    item.unsure = Math.max(0, ...item.spread);
    item.gap = item.label === null ? -1 : Math.abs(item.score - item.label);
    item.searched = null; // lower-case text, made when first searched
  });
  count();

  const ORDERS = {
    worst: (a, b) => a.lead - b.lead || (a.aim === "find" ? b.score - a.score : a.score - b.score),
    low: (a, b) => a.score - b.score,
    high: (a, b) => b.score - a.score,
    gap: (a, b) => b.gap - a.gap,
    unsure: (a, b) => b.unsure - a.unsure,
    long: (a, b) => b.size - a.size,
    short: (a, b) => a.size - b.size,
    id: (a, b) => a.id.localeCompare(b.id, undefined, { numeric: true }),
    file: () => 0,
  };
  const sided = (item, value) => Boolean(word(item, value));
  const KEPT = {
    all: () => true,
    flagged: (item) => item.aim !== "compare" && item.flags > 0,
    clean: (item) => item.aim !== "compare" && item.flags === 0,
    mixed: (item) => item.aim !== "compare" && item.flags > 0 && item.flags < item.scores.length,
    wrong: (item) => item.aim !== "compare" && item.label !== null && sided(item, item.score) !== sided(item, item.label),
    ahead: (item) => item.ahead > 0,
    behind: (item) => item.ahead < 0,
    alone: (item) => item.rivals === 0,
  };
  const state = { order: [], first: 0, needle: "", chosen: null };

  const make = (tag, kind, text) => {
    const element = document.createElement(tag);
    if (kind) element.className = kind;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const matches = (item, needle) => {
    item.searched ??= [item.id, data.queries[item.query], item.pieces.join("")].join("\n").toLowerCase();
    return item.searched.includes(needle);
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
    const element = make("span", `sentence s${stepOf(item, score)} ${item.words[number]}`.trim());
    element.tabIndex = number ? -1 : 0;
    element.dataset.item = item.place;
    element.dataset.number = number;
    element.setAttribute("aria-describedby", "tip");
    write(element, text);
    element.append(make("small", "score", ` ${shown(score)}`));
    return element;
  };
  const counted = (item) => {
    if (item.aim === "compare") return `${item.flags} better, ${item.worse} worse of ${item.scores.length}`;
    return `${item.flags} of ${item.scores.length} ${item.aim === "find" ? "found" : "flagged"}`;
  };
  const rivalry = (item) => {
    if (!item.rivals) return "no rival here";
    const rival = item.rivals === 1 ? "the rival" : `${item.rivals} rivals`;
    return item.ahead ? `${signed(item.ahead)} against ${rival}` : `level with ${rival}`;
  };
  const addressOf = (item) => {
    const parts = data.aspects.length > 1 ? [item.id, data.aspects[item.aspect]] : [item.id];
    try {
      return `#r/${parts.map(encodeURIComponent).join("/")}`;
    } catch {
      return `#r/@${item.place}`; // half a character: its place in the file
    }
  };
  const card = (item) => {
    const element = make("li", "card");
    element.dataset.item = item.place;
    const head = make("div", "head");
    const link = write(make("a", "id"), item.id);
    link.href = addressOf(item);
    const copy = make("button", "copy", "Copy link");
    copy.type = "button";
    head.append(link);
    if (data.aspects.length > 1) head.append(make("span", "chip", data.aspects[item.aspect] || "whole response"));
    head.append(make("span", `chip whole s${wholeStep(item)}`, `score ${shown(item.score)}`));
    if (item.label !== null) head.append(make("span", "chip", `label ${shown(item.label)}`));
    if (item.aim === "compare") head.append(make("span", "chip", rivalry(item)));
    head.append(make("span", "chip quiet", counted(item)), copy);
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
  const telling = (item) => item.scores.indexOf(item.aim === "find" ? item.highest : item.lowest);
  const select = () => {
    state.needle = search.value.trim().toLowerCase();
    const only = aspect && aspect.value !== "" ? Number(aspect.value) : null;
    const keep = KEPT[show.value];
    const wanted = fields.filter((field) => field.value !== "").map((field) => [Number(field.dataset.field), Number(field.value)]);
    state.order = data.items
      .filter((item) => keep(item) && (only === null || item.aspect === only) && wanted.every(([at, value]) => item.fields[at] === value) && (!state.needle || matches(item, state.needle)))
      .sort((a, b) => ORDERS[sort.value](a, b) || a.place - b.place);
    state.first = 0;
    draw();
    if (state.order.length) choose(state.order[0], telling(state.order[0]), false);
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
  const gauge = (item, score, spread) => {
    const element = make("div", `gauge ${item.aim}`);
    const edge = item.aim === "compare" ? item.middle : data.threshold;
    element.style.setProperty("--edge", `${100 * edge}%`);
    const place = (kind, from, to) => {
      const mark = make("i", kind);
      mark.style.left = `${100 * from}%`;
      if (to !== undefined) mark.style.width = `${100 * (to - from)}%`;
      element.append(mark);
    };
    place("edge", edge);
    if (spread) place("spread", Math.max(0, score - spread), Math.min(1, score + spread));
    place("at", score);
    return element;
  };
  const facts = (item, number) => {
    const rows = [["score", shown(item.scores[number])]];
    if (item.spread.length) rows.push(["spread between heads", `± ${shown(item.spread[number])}`]);
    if (item.aim === "compare") {
      rows.push([item.rivals === 1 ? "mean of its rival" : item.rivals ? `mean of its ${item.rivals} rivals` : "mean of all (no rival here)", shown(item.middle)]);
      rows.push(["against it", signed(item.scores[number] - item.middle)]);
    }
    if (item.labels.length) rows.push(["known label", shown(item.labels[number])]);
    if (item.guesses.length) rows.push(["label that agrees with the response's", shown(item.guesses[number])]);
    rows.push(["response score", shown(item.score)]);
    if (item.aim === "compare" && item.rivals) rows.push(["response score of the rivals", shown(item.level)]);
    if (item.label !== null) rows.push(["response label", shown(item.label)]);
    (item.fields || []).forEach((value, at) => rows.push([data.fields[at].name, data.fields[at].values[value]]));
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
    const quoted = make("blockquote", item.words[number], item.pieces[2 * number + 1]);
    beside.replaceChildren(head, quoted, gauge(item, item.scores[number], item.spread[number]), facts(item, number), contextOf(item, number));
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
    if (item.aim === "compare") parts.push(`${signed(item.scores[number] - item.middle)} against ${item.rivals ? "its rivals" : "all"}`);
    if (item.words[number]) parts.push(item.words[number]);
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
  [sort, show, aspect, ...fields].forEach((chosen) => chosen?.addEventListener("change", select));
  let waiting;
  search.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(select, 80);
  });
  search.form.addEventListener("submit", (event) => event.preventDefault());
  // Links to responses: the address names one; filters that hide it are taken off.
  const named = () => {
    const [, id, of] = location.hash.match(/^#r\/([^/]*)(?:\/([^/]*))?$/) || [];
    if (id === undefined) return null;
    if (/^@\d+$/.test(id)) return data.items[Number(id.slice(1))] || null;
    try {
      const [wanted, about] = [decodeURIComponent(id), decodeURIComponent(of || "")];
      return data.items.find((item) => item.id === wanted && (of === undefined || data.aspects[item.aspect] === about)) || null;
    } catch {
      return null;
    }
  };
  const visit = () => {
    const item = named();
    if (!item) return;
    if (!state.order.includes(item)) {
      search.value = "";
      show.value = "all";
      [aspect, ...fields].forEach((chosen) => chosen && (chosen.value = ""));
      select();
    }
    const first = Math.floor(state.order.indexOf(item) / PAGE) * PAGE;
    if (first !== state.first) {
      state.first = first;
      draw();
    }
    const here = list.querySelector(`.card[data-item="${item.place}"]`);
    list.querySelectorAll(".target").forEach((old) => old.classList.remove("target"));
    here.classList.add("target");
    focus(here.querySelector(`[data-number="${telling(item)}"]`));
    here.scrollIntoView({ block: "start", behavior: "instant" });
  };
  const copied = async (button) => {
    const address = new URL(button.closest(".head").querySelector("a").getAttribute("href"), location.href).href;
    try {
      await navigator.clipboard.writeText(address);
    } catch {
      const box = make("textarea", "skip", address); // where the clipboard is closed to pages: as a selection
      document.body.append(box);
      box.select();
      document.execCommand("copy");
      box.remove();
      button.focus();
    }
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy link"), 1500);
  };
  list.addEventListener("click", (event) => event.target.closest(".copy") && copied(event.target.closest(".copy")));
  addEventListener("hashchange", visit);
  // A link to where the page already is changes no address, and still leads there.
  document.addEventListener("click", (event) => event.target.closest?.("a")?.hash === location.hash && setTimeout(visit));

  const moved = () => {
    count();
    const [first, chosen] = [state.first, state.chosen];
    select();
    if (first < state.order.length) {
      state.first = first;
      draw();
    }
    if (chosen) choose(data.items[chosen[0]], chosen[1], beside.classList.contains("asked"));
  };
  select();
  visit();
  return { data, moved };
})();
