// Judging sentences: by buttons or by keys, with undo; each judgement is sent once, however often the sending is tried.
(() => {
  const box = document.querySelector("[data-correct]");
  const said = document.getElementById("said"), note = document.getElementById("note");
  if (!box || !said) return;
  const chosen = () => box.querySelector(".sentence.chosen") ?? box.querySelector(".sentence");
  const key = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const send = async (path, body, own) => {
    for (let attempt = 0; ; attempt++) {
      try {
        return await Studio.send(path, body, own);
      } catch (error) {
        if (attempt === 3 || !(error instanceof TypeError)) throw error; // a TypeError is a network that failed
        await new Promise((resume) => setTimeout(resume, 300 * 2 ** attempt));
      }
    }
  };
  const show = (element, verdict) => {
    element.classList.toggle("said-good", verdict === "good");
    element.classList.toggle("said-bad", verdict === "bad");
  };
  const judge = async (element, verdict) => {
    const { response, place } = element.dataset;
    said.textContent = "Saving …";
    try {
      const one = { response: Number(response), place: Number(place), verdict, note: note.value };
      const told = await send("/v1/corrections", { corrections: [one] }, key());
      show(element, verdict);
      note.value = "";
      said.textContent = `Saved: ${verdict}.`;
      const since = document.getElementById("since");
      if (since) since.textContent = told.since_training;
      if (box.dataset.queue !== undefined) location.assign(location.pathname);
    } catch (error) {
      said.textContent = `Not saved: ${error.message}`;
    }
  };
  const undo = async () => {
    said.textContent = "Taking back …";
    try {
      const told = await send("/v1/corrections/undo", {}, key());
      const [one] = told.corrections;
      if (!one) return void (said.textContent = "There is nothing to take back.");
      const element = box.querySelector(`[data-response="${one.response}"][data-place="${one.place}"]`);
      if (!element) return void location.assign(`${location.pathname}?at=${one.response}.${one.place}`);
      show(element, one.verdict);
      said.textContent = "Taken back.";
    } catch (error) {
      said.textContent = `Not taken back: ${error.message}`;
    }
  };
  box.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button?.dataset.verdict) judge(chosen(), button.dataset.verdict);
    else if (button?.dataset.undo !== undefined) undo();
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, textarea, select")) return;
    const verdict = { g: "good", b: "bad", s: "skip" }[event.key];
    if (verdict) judge(chosen(), verdict);
    else if (event.key === "u") undo();
    else return;
    event.preventDefault();
  });
  const first = box.querySelector(".sentence.chosen");
  if (first) {
    first.focus({ preventScroll: true });
    Studio.choose(first);
    first.scrollIntoView({ block: "nearest" });
  }
})();
