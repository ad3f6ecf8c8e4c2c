// The review page. Every text of an event is written as a text node; nothing here builds HTML.
// Answers wait in an outbox until the server has them: each has an id, so that sending one again changes nothing.
"use strict";

const settings = JSON.parse(document.body.dataset.settings);
const reviewer = document.body.dataset.reviewer;
const $ = (id) => document.getElementById(id);
const AHEAD = 2;            // items leased: the one shown and the next
const FOLD = 1500;          // characters of a text before "show all"
const TIMEOUT_MS = 15000;
const KEPT = "driftline-outbox";

const state = {
  queue: [],                // items of ours, the first is shown
  outbox: [],               // answers the server may not have yet, in their order
  verdict: null,            // chosen while questions are open
  sending: false,
  undoing: false,
  failures: 0,
  active: performance.now(),
  views: [], view: 0, zoom: 1, turn: 0, size: null,
  pictures: new Map(),      // address -> image, loaded ahead
};

// ---- small parts

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children.filter((child) => child !== null));
  return made;
}

function requestId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
}

function notice(text, kind = "") {
  $("notice-text").textContent = text;
  $("notice").className = "notice " + kind;
  $("notice").hidden = !text;
}

function say(text) { $("spoken").textContent = text; }

const plain = (value, digits = 2) => value.toLocaleString("en", { maximumFractionDigits: digits });
const percent = (value) => plain(100 * value, 1) + " %";

function folded(shown, className = "text") {
  const text = element("p", { className, dir: "auto" });
  const rest = shown.length - shown.text.length;
  const more = rest > 0 && shown.length > 20000 ? element("p", { className: "soft", textContent: `${plain(rest)} more characters are not shown.` }) : null;
  if (shown.text.length <= FOLD + 200) { text.textContent = shown.text; return element("div", {}, text, more); }
  text.textContent = shown.text.slice(0, FOLD) + " …";
  if (more) more.hidden = true;
  const button = element("button", { type: "button", textContent: `Show all (${plain(shown.text.length)} characters)` });
  button.addEventListener("click", () => { text.textContent = shown.text; if (more) more.hidden = false; button.remove(); });
  return element("div", {}, text, button, more);
}

// ---- asking the server

class Problem extends Error {
  constructor(status, message, why) { super(message); this.status = status; this.why = why; }
  get passing() { return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500; }
  get loggedOut() { return this.status === 401 || this.status === 403; }
}

async function ask(path, body) {
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), TIMEOUT_MS);
  try {
    const options = { signal: stop.signal, cache: "no-store", credentials: "same-origin" };
    if (body) Object.assign(options, { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json", "x-csrf-token": settings.csrf } });
    const answer = await fetch("/api/review/" + path, options);
    const found = await answer.json();
    if (answer.ok) return found;
    throw new Problem(answer.status, found.error || "no reason was given", found.why);
  } catch (error) {
    throw error instanceof Problem ? error : new Problem(0, "driftline cannot be reached", null);
  } finally { clearTimeout(timer); }
}

function keep() {
  try { sessionStorage.setItem(KEPT, JSON.stringify({ reviewer, outbox: state.outbox })); } catch { /* then only this page has it */ }
}

function restore() {
  try {
    const kept = JSON.parse(sessionStorage.getItem(KEPT) || "null");
    if (kept && kept.reviewer === reviewer) state.outbox = kept.outbox;
  } catch { /* nothing was kept */ }
}

async function flush() {
  if (state.sending) return;
  state.sending = true;
  try {
    while (state.outbox.length) {
      const task = state.outbox[0];
      let found;
      try { found = await ask(task.path, task.body); } catch (error) {
        if (error.passing) { later(error); return; }
        if (error.loggedOut) { notice(`${error.message}. Your answers are kept in this tab: log in again at /login in another tab, then reload this one.`, "bad"); return; }
        state.outbox.shift(); keep();
        declined(task, error);
        continue;
      }
      state.outbox.shift(); keep();
      if (state.failures) { state.failures = 0; notice("Connected again. Everything was sent.", "good"); }
      if (task.path === "undo") undone(found); else answered(task, found);
    }
  } finally { state.sending = false; }
  if (!state.queue.length) await take();
  progressSoon();
}

function later(error) {
  state.failures += 1;
  const seconds = Math.min(15, 2 ** (state.failures - 1));
  const waiting = state.outbox.length;
  notice(`${error.message}. ${waiting === 1 ? "1 answer waits" : waiting + " answers wait"} in this tab and will be sent again by itself.`, "bad");
  setTimeout(flush, 1000 * seconds);
}

function declined(task, error) {
  if (task.path === "undo") { state.undoing = false; notice(error.message, "bad"); render(); return; }
  const note = task.body.note ? ` Your note was: ${task.body.note}` : "";
  const said = task.body.verdict ? `“${task.body.verdict}”` : "the skip";
  notice(error.why === "not_leased" || error.why === "done"
    ? `Your lease had run out and another reviewer took that item, so ${said} was not recorded and nothing is lost. Here is the next one.${note}`
    : `${said} was not recorded: ${error.message}.${note}`, "bad");
}

function answered(task, found) {
  merge(found.items);
  showLast(task, found.revealed);
  if (!state.queue.length && !state.outbox.length) showEmpty(found.empty);
}

function undone(found) {
  state.undoing = false;
  state.verdict = null;
  $("last").hidden = true;
  if (found.leased) {
    state.queue = state.queue.filter((item) => item.id !== found.item.id);
    state.queue.unshift(stamped(found.item));
    notice(`Your ${found.kind} of this item is taken back. Answer it again.`, "good");
  } else {
    notice(`Your ${found.kind} is taken back. Another reviewer has the item by now.`, "good");
  }
  render();
}

async function take() {
  try {
    const found = await ask("next", { filter: settings.filter, count: AHEAD });
    merge(found.items);
    if (state.queue.length) render(); else showEmpty(found.empty);
  } catch (error) {
    showEmpty(error.message + ".", error.loggedOut ? "Log in again" : "Cannot load");
    if (error.passing) setTimeout(() => { if (!state.queue.length) take(); }, 3000);
  }
}

function stamped(item) { item.until = performance.now() + settings.lease_ms; return item; }

function merge(items) {
  const answeredIds = new Set(state.outbox.map((task) => task.body.item_id));
  for (const item of items) {
    const known = state.queue.find((other) => other.id === item.id);
    if (known) { stamped(known); continue; }
    if (answeredIds.has(item.id)) continue;
    const wasEmpty = !state.queue.length;
    state.queue.push(stamped(item));
    for (const input of item.inputs) for (const address of Object.values(input.pictures)) picture(address);
    if (wasEmpty) render();
  }
}

function picture(address) {
  let image = state.pictures.get(address);
  if (!image) {
    image = element("img", { alt: "The input", src: address, draggable: false });
    image.decode().catch(() => { image.dataset.failed = "1"; }).finally(() => { if (image.isConnected || image.wanted) place(); });
    state.pictures.set(address, image);
    if (state.pictures.size > 12) state.pictures.delete(state.pictures.keys().next().value);
  }
  return image;
}

let progressTimer = 0;
function progressSoon() {
  clearTimeout(progressTimer);
  progressTimer = setTimeout(async () => {
    try {
      const found = await ask("progress?" + new URLSearchParams(settings.filter));
      for (const name of ["labelled", "unsure", "left"]) $(name).textContent = plain(found[name]);
    } catch { /* shown again after the next answer */ }
  }, 250);
}

// ---- answering

function questionsFor(item, verdict) { return item.questions.filter((q) => q.when === null || q.when === verdict); }

function choose(verdict) {
  const item = state.queue[0];
  if (!item || state.undoing) return;
  if (!questionsFor(item, verdict).length) { state.verdict = verdict; send(); return; }
  state.verdict = verdict;
  showQuestions(item);
  say(`${verdict}. Answer the questions; Enter sends.`);
}

function send() {
  const item = state.queue[0];
  if (!item || !state.verdict || state.undoing) return;
  const answers = {};
  for (const question of questionsFor(item, state.verdict)) {
    const fields = [...$("questions").querySelectorAll("input")].filter((input) => input.name === "q-" + question.name);
    if (question.kind === "text") { if (fields[0] && fields[0].value.trim()) answers[question.name] = fields[0].value.trim(); continue; }
    const chosen = fields.filter((input) => input.checked).map((input) => input.value);
    if (chosen.length) answers[question.name] = question.kind === "choice" ? chosen[0] : chosen;
  }
  advance("label", { item_id: item.id, verdict: state.verdict, answers, note: $("note").value.trim(), request_id: requestId() }, state.verdict);
}

function skip(reason) {
  $("skip").close();
  const item = state.queue[0];
  if (item && !state.undoing) advance("skip", { item_id: item.id, reason, request_id: requestId() }, "skipped");
}

function advance(path, body, word) {
  state.outbox.push({ path, body: { ...body, filter: settings.filter, count: AHEAD } });
  keep();
  const left = state.queue.shift();
  for (const input of left.inputs) for (const address of Object.values(input.pictures)) state.pictures.delete(address);
  state.verdict = null;
  $("note").value = "";
  $("last").hidden = true;
  if (!state.failures) notice("");
  render();
  say(`${word}. ${state.queue.length ? "Next item." : ""}`);
  flush();
}

function undo() {
  if (state.undoing) return;
  state.undoing = true;
  state.outbox.push({ path: "undo", body: { request_id: requestId() } });
  keep();
  flush();
}

async function renew() {
  const now = performance.now();
  const idle = document.hidden || now - state.active > settings.lease_ms;
  for (const item of [...state.queue]) {
    if (item.until - now > settings.lease_ms / 2) continue;
    if (idle) {
      if (item === state.queue[0] && item.until < now) notice("Your lease on this item ran out. You can still answer it, unless somebody else took it.");
      continue;
    }
    try { await ask("renew", { item_id: item.id }); stamped(item); } catch (error) {
      if (error.passing || error.loggedOut) return;
      const shown = item === state.queue[0];
      state.queue = state.queue.filter((other) => other !== item);
      if (shown) { notice("Your lease ran out and another reviewer took the item you were at. Nothing is lost; here is the next one.", "bad"); state.verdict = null; render(); }
      if (!state.queue.length) take();
    }
  }
}

// ---- showing an item

function render() {
  const item = state.queue[0];
  $("work").hidden = !item;
  $("empty").hidden = Boolean(item);
  showQuestions(item);
  for (const button of document.querySelectorAll("[data-verdict], #skip-open")) button.disabled = !item;
  if (!item) { showEmpty(""); return; }
  $("prompt").replaceChildren(...item.inputs.filter((i) => i.text).map((i) => folded(i.text)));
  if (!$("prompt").children.length) $("prompt").append(element("p", { className: "soft", textContent: item.missing || "The event carries no text." }));
  showOutput(item);
  showCitations(item);
  showFacts(item);
  state.views = item.inputs.filter((i) => !i.text).flatMap((i) => {
    const pages = Object.keys(i.pictures).map(Number).sort((a, b) => a - b);
    return pages.length ? pages.map((page) => ({ input: i, page, address: i.pictures[page] })) : [{ input: i, page: 1, address: null }];
  });
  $("looked-at").hidden = !state.views.length;
  $("work").classList.toggle("words", !state.views.length);
  $("beside").scrollTop = 0;
  if (document.activeElement && document.activeElement.closest("#questions")) $("work").focus({ preventScroll: true });
  look(Math.max(0, state.views.findIndex((view) => view.address)));
}

function showEmpty(text, title = "") {
  if (state.queue.length) return;
  $("work").hidden = true; $("empty").hidden = false;
  $("empty-title").textContent = title || (text ? "Nothing to review" : "Loading…");
  $("empty-text").textContent = text;
  $("again").hidden = !text;
  if (text) say(text);
}

function showOutput(item) {
  const parts = item.output.map((part) => folded(part.text, part.json ? "text code" : "text"));
  if (item.schema_valid === false) parts.unshift(element("p", { className: "tag bad", textContent: "✕ Does not satisfy its schema" }));
  if (item.schema_valid === true) parts.push(element("p", { className: "tag good", textContent: "✓ Satisfies its schema" }));
  if (!item.output.length) parts.push(element("p", { className: "soft", textContent: item.missing || "There is no output." }));
  $("output").replaceChildren(...parts);
}

function showCitations(item) {
  $("cited").hidden = !item.citations.length;
  $("citations").replaceChildren(...item.citations.map((citation) => {
    const row = element("li", {}, folded(citation.quote, "text quote"));
    const words = { true: ["good", "✓ In the source"], false: ["bad", "✕ Not found in the source"] }[citation.found];
    const told = citation.said === null ? "" : citation.said ? " The producer says that it is there." : " The producer says that it is not there.";
    row.append(words ? element("p", { className: "tag " + words[0], textContent: words[1] })
      : element("p", { className: "tag open", textContent: "? No source text to look in." + told }));
    if (citation.before || citation.match || citation.after) row.append(element("p", { className: "text source", dir: "auto" },
      citation.before, citation.match ? element("mark", { textContent: citation.match }) : null, citation.after));
    const where = [citation.source, citation.region ? "region marked" : ""].filter(Boolean).join(" · ");
    const view = state.queue[0] === item && citation.region ? () => state.views.findIndex((v) => v.input.part === citation.part && v.page === citation.page && v.address) : null;
    if (where) row.append(element("p", { className: "soft text", textContent: where }));
    if (view) {
      const button = element("button", { type: "button", textContent: "Show the region" });
      button.addEventListener("click", () => { const at = view(); if (at < 0) notice("No pixels of that page are stored."); else { look(at); $("stage").focus(); } });
      row.append(button);
    }
    return row;
  }));
}

function showFacts(item) {
  const rows = [
    ["Segment", item.segment], ["Route", item.route !== item.segment ? item.route : ""], ["Model", item.model],
    ["Prompt version", item.prompt], ["Language", item.language], ["Time", item.time.slice(0, 19).replace("T", " ") + " UTC"],
    ["Latency", item.latency_ms === null ? "" : `${plain(item.latency_ms / 1000)} s`],
    ["Cost", item.cost === null ? "" : `${plain(item.cost, 6)} ${item.currency}`],
    ["Outcome", item.outcome === "ok" ? "" : [item.outcome, item.error_type].filter(Boolean).join(": ")],
    ["Event", item.event_id], ...(item.revealed ? told(item.revealed) : []),
  ];
  if (item.left_out) rows.push(["Not shown", `${item.left_out} more parts or citations`]);
  $("facts").replaceChildren(...rows.filter((row) => row[1]).map(([name, value]) =>
    element("div", {}, element("dt", { textContent: name }), element("dd", { textContent: value, dir: "auto" }))));
}

function told(revealed) {
  return [
    ["Confidence", revealed.confidence === null ? "" : percent(revealed.confidence)],
    ["Cross-check", { true: "disagreed", false: "agreed" }[revealed.disagreement] || ""],
    ["Verification", { true: "failed", false: "passed" }[revealed.verification_failed] || ""],
    ["Predicted error", percent(revealed.predicted_error)], ["Chosen for", revealed.reasons.join(", ")],
  ];
}

function showLast(task, revealed) {
  const said = task.body.verdict ? `Last: ${task.body.verdict}` : "Last: skipped";
  const words = revealed ? told(revealed).filter((row) => row[1]).map(([name, value]) => `${name.toLowerCase()} ${value}`) : [];
  $("last").textContent = [said, ...words].join(" · ");
  $("last").hidden = false;
}

function showQuestions(item) {
  const asked = item && state.verdict ? questionsFor(item, state.verdict) : [];
  for (const button of document.querySelectorAll("[data-verdict]")) button.setAttribute("aria-pressed", String(Boolean(asked.length) && button.dataset.verdict === state.verdict));
  $("questions").hidden = $("send").hidden = !asked.length;
  $("questions").replaceChildren(...asked.map((question) => {
    const set = element("fieldset", {}, element("legend", { textContent: question.text }));
    const name = "q-" + question.name;
    if (question.kind === "text") {
      const input = element("input", { type: "text", name, maxLength: 1000 });
      input.setAttribute("aria-label", question.text);
      set.append(input);
      return set;
    }
    const values = question.kind === "choice" ? question.choices : item.fields;
    if (!values.length) set.append(element("p", { className: "soft", textContent: "The output has no fields." }));
    const options = values.map((value, at) => element("label", { className: "check" },
      element("input", { type: question.kind === "choice" ? "radio" : "checkbox", name, value }),
      at < 9 ? element("kbd", { textContent: String(at + 1), ariaHidden: "true" }) : null, element("span", { textContent: value, dir: "auto" })));
    set.append(element("div", { className: "options" }, ...options));
    return set;
  }));
  const first = $("questions").querySelector("input");
  if (first) first.focus();
}

// ---- the picture

function look(at) {
  state.view = at; state.zoom = 1; state.turn = 0; state.size = null;
  const view = state.views[at];
  if (!view) return;
  const { input, page, address } = view;
  const several = state.views.length > 1;
  $("view-at").textContent = several ? `${at + 1} of ${state.views.length}` : "";
  $("caption").textContent = [input.kind, input.caption, input.pages > 1 ? `page ${page}${Object.keys(input.pictures).length < input.pages ? ", the others are not stored" : ""}` : ""].filter(Boolean).join(" · ");
  for (const name of ["previous", "following"]) document.querySelector(`[data-do=${name}]`).closest(".group").hidden = !several;
  $("turned").replaceChildren();
  $("frame").hidden = !address;
  $("no-picture").hidden = Boolean(address);
  $("no-picture").textContent = address ? "" : input.why;
  if (address) { const image = picture(address); image.wanted = true; $("turned").append(image); place(); }
}

function place(anchor = null) {
  const view = state.views[state.view];
  const image = view && view.address ? state.pictures.get(view.address) : null;
  if (!image || !image.isConnected) return;
  if (image.dataset.failed || (image.complete && !image.naturalWidth)) {
    $("frame").hidden = true; $("no-picture").hidden = false; $("no-picture").textContent = "The picture could not be loaded."; return;
  }
  if (!image.naturalWidth) return;  // `decode` calls again
  const stage = $("stage"), frame = $("frame"), turned = $("turned"), across = state.turn % 180 !== 0;
  const [width, height] = across ? [image.naturalHeight, image.naturalWidth] : [image.naturalWidth, image.naturalHeight];
  const box = stage.getBoundingClientRect();
  const scale = Math.min((box.width - 2) / width, (box.height - 2) / height, 8) * state.zoom;
  const point = anchor || { x: box.left + box.width / 2, y: box.top + box.height / 2 };
  const before = frame.getBoundingClientRect();
  const share = before.width ? [(point.x - before.left) / before.width, (point.y - before.top) / before.height] : [0.5, 0.5];
  frame.style.width = Math.floor(width * scale) + "px"; frame.style.height = Math.floor(height * scale) + "px";
  turned.style.width = image.naturalWidth * scale + "px"; turned.style.height = image.naturalHeight * scale + "px";
  turned.style.transform = `translate(-50%, -50%) rotate(${state.turn}deg)`;
  const after = frame.getBoundingClientRect();
  stage.scrollLeft += after.left + share[0] * after.width - point.x; stage.scrollTop += after.top + share[1] * after.height - point.y;
  stage.classList.toggle("zoomed", state.zoom > 1);
  for (const old of turned.querySelectorAll(".region")) old.remove();
  state.queue[0].citations.forEach((citation, at) => {
    if (!citation.region || citation.part !== view.input.part || citation.page !== view.page) return;
    const [left, top, right, bottom] = citation.region.map((v) => 100 * v);
    const region = element("div", { className: "region" }, element("span", { textContent: String(at + 1) }));
    Object.assign(region.style, { left: left + "%", top: top + "%", width: right - left + "%", height: bottom - top + "%" });
    turned.append(region);
  });
}

function zoom(factor, anchor = null) {
  state.zoom = factor === 0 ? 1 : Math.min(12, Math.max(1, state.zoom * factor));
  place(anchor);
}

function turn(degrees) { state.turn = (state.turn + degrees + 360) % 360; place(); }

function step(by) {
  if (state.views.length > 1) { look((state.view + by + state.views.length) % state.views.length); say(`${state.view + 1} of ${state.views.length}`); }
}

// ---- keys, pointers, buttons

const ACTIONS = {
  previous: () => step(-1), following: () => step(1), smaller: () => zoom(1 / 1.4), larger: () => zoom(1.4), fit: () => zoom(0),
  left: () => turn(-90), right: () => turn(90),
};
const KEYS = {
  c: () => choose("correct"), w: () => choose("wrong"), u: () => choose("unsure"), z: undo, n: () => $("note").focus(),
  s: () => { if (state.queue.length) $("skip").showModal(); }, "?": () => $("keys").showModal(),
  "+": ACTIONS.larger, "=": ACTIONS.larger, "-": ACTIONS.smaller, 0: ACTIONS.fit, "[": ACTIONS.left, "]": ACTIONS.right,
  ",": ACTIONS.previous, ".": ACTIONS.following,
};
const ARROWS = { ArrowLeft: [-60, 0], ArrowRight: [60, 0], ArrowUp: [0, -60], ArrowDown: [0, 60] };

function onKey(event) {
  state.active = performance.now();
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.defaultPrevented) return;
  const target = event.target;
  const writing = target.matches("input:not([type=radio], [type=checkbox]), select, textarea");
  if ($("keys").open) return;
  if ($("skip").open) {
    const button = $("skip").querySelectorAll("[data-reason]")[Number(event.key) - 1];
    if (button && $("single").checked && !event.repeat) { event.preventDefault(); skip(button.dataset.reason); }
    return;
  }
  if (event.key === "Escape") {
    if (target === $("note")) target.blur();
    else if (state.verdict) { state.verdict = null; showQuestions(state.queue[0]); $("work").focus({ preventScroll: true }); say("Verdict taken back."); }
    return;
  }
  if (event.key === "Enter") {
    if (target.matches("button, a, summary, select")) return;
    event.preventDefault();
    if (state.verdict && !event.repeat) send();
    return;
  }
  if (writing || !$("single").checked) return;
  if (state.zoom > 1 && ARROWS[event.key] && !target.matches("input") && !target.closest("#beside")) {
    event.preventDefault();
    $("stage").scrollBy(...ARROWS[event.key]);
    return;
  }
  if (state.verdict && /^[1-9]$/.test(event.key)) {
    const sets = [...$("questions").querySelectorAll("fieldset")];
    const set = target.closest("fieldset") || sets.find((s) => s.querySelector(".options") && !s.querySelector(":checked"));
    const input = set && set.querySelectorAll(".options input")[Number(event.key) - 1];
    if (input) { event.preventDefault(); input.focus(); input.click(); }
    return;
  }
  const act = KEYS[event.key];
  if (!act) return;
  event.preventDefault();
  if (!event.repeat || "+-=".includes(event.key)) act();
}

function listen() {
  document.addEventListener("keydown", onKey);
  document.addEventListener("pointerdown", () => { state.active = performance.now(); });
  for (const button of document.querySelectorAll("[data-verdict]")) button.addEventListener("click", () => choose(button.dataset.verdict));
  for (const button of document.querySelectorAll("[data-do]")) button.addEventListener("click", ACTIONS[button.dataset.do]);
  for (const button of document.querySelectorAll("[data-reason]")) button.addEventListener("click", () => skip(button.dataset.reason));
  for (const button of document.querySelectorAll("[data-close]")) button.addEventListener("click", () => button.closest("dialog").close());
  $("skip-open").addEventListener("click", KEYS.s);
  $("keys-open").addEventListener("click", KEYS["?"]);
  $("undo").addEventListener("click", undo);
  $("again").addEventListener("click", () => { showEmpty(""); take(); });
  $("notice-close").addEventListener("click", () => { notice(""); $("work").focus({ preventScroll: true }); });
  $("answer").addEventListener("submit", (event) => { event.preventDefault(); send(); });
  const stage = $("stage");
  stage.addEventListener("wheel", (event) => {
    if (event.ctrlKey || $("frame").hidden) return;
    event.preventDefault();
    zoom(event.deltaY < 0 ? 1.15 : 1 / 1.15, { x: event.clientX, y: event.clientY });
  }, { passive: false });
  let from = null;
  stage.addEventListener("pointerdown", (event) => {
    if (event.pointerType !== "mouse" || event.button !== 0 || state.zoom <= 1) return;
    from = [event.clientX + stage.scrollLeft, event.clientY + stage.scrollTop];
    stage.setPointerCapture(event.pointerId);
  });
  stage.addEventListener("pointermove", (event) => { if (from) stage.scrollTo(from[0] - event.clientX, from[1] - event.clientY); });
  for (const name of ["pointerup", "pointercancel"]) stage.addEventListener(name, () => { from = null; });
  new ResizeObserver(() => place()).observe(stage);
  addEventListener("online", flush);
  addEventListener("beforeunload", (event) => { if (state.outbox.length) event.preventDefault(); });
  try {
    $("single").checked = localStorage.getItem("driftline-single-keys") !== "off";
    $("single").addEventListener("change", () => localStorage.setItem("driftline-single-keys", $("single").checked ? "on" : "off"));
  } catch { /* not remembered */ }
  setInterval(renew, Math.min(15000, settings.lease_ms / 4));
}

listen();
restore();
if (state.outbox.length) flush(); else take();
progressSoon();
