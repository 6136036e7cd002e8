"use strict";
(() => {
  const test = JSON.parse(document.body.dataset.test);
  const pairs = Array.from(document.querySelectorAll(".pair"));
  const find = (id) => document.getElementById(id);
  const slot = "frostline blind " + test.page;
  const words = { A: "A", B: "B", same: "no difference" };
  let choices = pairs.map(() => null);
  let at = 0;

  // Some browsers keep nothing for a local file: then choices last as long as the page.
  try {
    const kept = JSON.parse(localStorage.getItem(slot));
    if (Array.isArray(kept) && kept.length === pairs.length && kept.every((one) => one === null || one in words)) {
      choices = kept;
    }
  } catch { /* as if nothing were kept */ }
  const keep = () => {
    try { localStorage.setItem(slot, JSON.stringify(choices)); } catch { /* it lasts as long as the page */ }
  };

  // Two-sided exact sign test: twice the smaller tail of a fair coin.
  const signTest = (one, two) => {
    const n = one + two;
    let term = -n * Math.LN2, tail = 0;
    for (let i = 0; i <= Math.min(one, two); i++) {
      tail += Math.exp(term);
      term += Math.log((n - i) / (i + 1));
    }
    return one === two ? 1 : Math.min(1, 2 * tail);
  };

  const tell = () => {
    const [first, second, key] = JSON.parse(atob(test.hidden));
    const arms = pairs.map((_, i) => (key[i] === "1" ? { A: first, B: second } : { A: second, B: first }));
    const counts = { [first]: 0, [second]: 0 };
    let same = 0;
    const rows = choices.map((choice, i) => {
      if (choice === "same") same += 1; else counts[arms[i][choice]] += 1;
      const row = document.createElement("tr");
      const told = choice === "same" ? words.same : choice + " (" + arms[i][choice] + ")";
      for (const text of [String(i + 1), arms[i].A, arms[i].B, told]) {
        row.appendChild(document.createElement("td")).textContent = text;
      }
      return row;
    });
    const p = signTest(counts[first], counts[second]);
    const chosen = counts[first] + counts[second];
    find("result").textContent = "You chose " + first + " " + counts[first] + " times and " + second + " "
      + counts[second] + " times, and saw no difference in " + same + "."
      + (chosen ? " If you liked both alike, counts as far apart would come up with p " + (p < 0.001 ? "< 0.001" : "= " + p.toFixed(3))
        + " (exact sign test)" + (p < 0.05 ? "." : ": chance could have done it.") : "");
    find("told").replaceChildren(...rows);
  };

  const show = () => {
    const done = choices.filter((one) => one !== null).length;
    const over = done === pairs.length && at >= pairs.length;
    pairs.forEach((pair, i) => { pair.hidden = over || i !== at; });
    find("choose").hidden = over;
    find("end").hidden = !over;
    find("place").textContent = done + " of " + pairs.length + " chosen";
    find("progress").value = done;
    for (const button of document.querySelectorAll("[data-choice]")) {
      button.setAttribute("aria-pressed", String(choices[at] === button.dataset.choice));
    }
    find("back").disabled = at === 0;
    if (over) tell();
  };

  // The next pair that nothing was said of; the end where there is none.
  const go = (to) => { at = Math.max(0, Math.min(pairs.length, to)); if (at === pairs.length) open(); show(); };
  const open = () => {
    const left = choices.indexOf(null);
    at = left < 0 ? pairs.length : left;
  };
  const choose = (choice) => {
    if (at >= pairs.length) return;
    choices[at] = choice;
    keep();
    go(at + 1);
  };

  for (const button of document.querySelectorAll("[data-choice]")) {
    button.addEventListener("click", () => choose(button.dataset.choice));
  }
  find("back").addEventListener("click", () => go(at - 1));
  find("next").addEventListener("click", () => go(at + 1));
  find("anew").addEventListener("click", () => { choices = pairs.map(() => null); keep(); go(0); });
  find("save").addEventListener("click", () => {
    const saved = { format: 1, page: test.page, arms: test.arms, drawing: test.drawing, choices };
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(saved) + "\n"], { type: "application/json" }));
    link.download = "choices.json";
    link.click();
    URL.revokeObjectURL(link.href);
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const key = { a: "A", b: "B", n: "same" }[event.key.toLowerCase()];
    if (key) choose(key);
    if (event.key === "ArrowLeft") go(at - 1);
    if (event.key === "ArrowRight") go(at + 1);
  });
  open();
  show();
})();
