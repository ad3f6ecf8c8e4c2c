// The review page: items that are ours, answers that wait in an outbox until the server has them, and keys.
// Each answer has an id, so that sending one again changes nothing.

import { showItem, showLast, showQuestions, questionsFor } from "./item.js";
import { $, notice, plain, reviewer, say, settings } from "./parts.js";
import { listenOnStage, preload, step, turn, unload, zoom, zoomed } from "./picture.js";
import { ask, requestId } from "./server.js";

const AHEAD = 2;            // items leased: the one shown and the next
const LOOK_AGAIN_MS = 30000;
const KEPT = "driftline-outbox";

const state = {
  queue: [],                // items of ours, the first is shown
  outbox: [],               // answers the server may not have yet, in their order
  verdict: null,            // chosen while questions are open
  sending: false,
  undoing: false,
  failures: 0,
  active: performance.now(),
};

// ---- the outbox

function keep() {
  try { sessionStorage.setItem(KEPT, JSON.stringify({ reviewer, outbox: state.outbox })); } catch { /* then only this page has it */ }
}

function restore() {
  try {
    const kept = JSON.parse(sessionStorage.getItem(KEPT) || "null");
    if (!kept || !kept.outbox.length) return;
    if (kept.reviewer === reviewer) state.outbox = kept.outbox;
    else notice(`Answers that ${kept.reviewer} gave in this tab (${kept.outbox.length}) were not sent, and are dropped: you are ${reviewer}.`, "bad");
  } catch { /* nothing was kept */ }
}

async function flush() {
  if (state.sending) return;
  state.sending = true;
  $("answer").setAttribute("aria-busy", "true");
  let empty = "";           // what the last answer says of why nothing is next
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
      empty = found.empty || "";
    }
  } finally { state.sending = false; $("answer").setAttribute("aria-busy", String(state.outbox.length > 0)); }
  if (!state.queue.length) { if (empty) showEmpty(empty); else await take(); }
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
  if (task.path === "undo") { state.undoing = false; notice(error.message, "bad"); return; }
  const note = task.body.note ? ` Your note was: ${task.body.note}` : "";
  const said = task.body.verdict ? `“${task.body.verdict}”` : "the skip";
  notice(error.why === "not_leased" || error.why === "done"
    ? `Your lease had run out and another reviewer took that item, so ${said} was not recorded and nothing is lost. Here is the next one.${note}`
    : `${said} was not recorded: ${error.message}.${note}`, "bad");
}

function answered(task, found) {
  merge(found.items);
  showLast(task, found.revealed);
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

// ---- items

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
    preload(item);
    if (wasEmpty) render();
  }
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

function render() {
  const item = state.queue[0];
  $("work").hidden = !item;
  $("empty").hidden = Boolean(item);
  showQuestions(item, state.verdict);
  for (const button of document.querySelectorAll("[data-verdict], #skip-open")) button.disabled = !item;
  if (!item) { showEmpty(""); return; }
  showItem(item);
  if (document.activeElement && document.activeElement.closest("#questions")) $("work").focus({ preventScroll: true });
}

function showEmpty(text, title = "") {
  if (state.queue.length) return;
  $("work").hidden = true; $("empty").hidden = false;
  $("empty-title").textContent = title || (text ? "Nothing to review" : "Loading…");
  $("empty-text").textContent = text;
  $("again").hidden = !text;
  if (text && $("spoken").textContent !== text) say(text);
}

// ---- answering

function choose(verdict) {
  const item = state.queue[0];
  if (!item || state.undoing) return;
  if (!questionsFor(item, verdict).length) { state.verdict = verdict; send(); return; }
  state.verdict = verdict;
  showQuestions(item, state.verdict);
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
  unload(left);
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

// ---- keys and buttons

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
    if (writing) $("work").focus({ preventScroll: true });
    else if (state.verdict) { state.verdict = null; showQuestions(null, null); $("work").focus({ preventScroll: true }); say("Verdict taken back."); }
    return;
  }
  if (event.key === "Enter") {
    if (target.matches("button, a, summary, select")) return;
    event.preventDefault();
    if (state.verdict && !event.repeat) send();
    return;
  }
  if (writing || !$("single").checked) return;
  if (zoomed() && ARROWS[event.key] && !target.matches("input") && !target.closest("#beside")) {
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
  listenOnStage();
  addEventListener("online", flush);
  addEventListener("beforeunload", (event) => { if (state.outbox.length) event.preventDefault(); });
  try {
    $("single").checked = localStorage.getItem("driftline-single-keys") !== "off";
    $("single").addEventListener("change", () => localStorage.setItem("driftline-single-keys", $("single").checked ? "on" : "off"));
  } catch { /* not remembered */ }
  setInterval(renew, Math.min(15000, settings.lease_ms / 4));
  setInterval(() => { if (!document.hidden && !state.queue.length && !state.outbox.length && !$("again").hidden) take(); }, LOOK_AGAIN_MS);
}

listen();
restore();
if (state.outbox.length) flush();
take();
progressSoon();
