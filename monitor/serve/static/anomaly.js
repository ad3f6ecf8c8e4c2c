// Responding to one anomaly: each button sends one response, and the page is read again, which shows what stands.

import { send } from "./sending.js";

const { id, csrf } = document.body.dataset;
const $ = (name) => document.getElementById(name);
const KEPT = "driftline-said";
const DONE = {
  acknowledge: "Acknowledged: you are at it.", unacknowledge: "Taken back: nobody is at it.", snooze: "Snoozed.",
  wake: "The snooze is over.", real: "Marked real.", false: "Marked a false alarm.", unmark: "The mark is taken back.",
  accept: "Accepted: it is over at the next tick.",
};

function tell(name, text) {
  for (const each of ["said", "failed"]) { $(each).hidden = each !== name; $(each).textContent = each === name ? text : ""; }
}

async function respond(button) {
  const form = $("answers");
  if (form.getAttribute("aria-busy") === "true") return;
  form.setAttribute("aria-busy", "true");
  const { action } = button.dataset;
  const body = { action, note: $("remark").value.trim() };
  if (button.dataset.for) body.for = button.dataset.for;
  const problem = await send(`/api/anomalies/${id}/responses`, csrf, body);
  form.setAttribute("aria-busy", "false");
  if ($("sure").open) $("sure").close();
  if (problem) { tell("failed", `Not recorded: ${problem}`); return; }
  try { sessionStorage.setItem(KEPT, JSON.stringify({ id, text: DONE[action] })); } catch { /* told by the page alone */ }
  location.reload();
}

for (const button of document.querySelectorAll("[data-action]")) button.addEventListener("click", () => respond(button));
for (const button of document.querySelectorAll("[data-close]")) button.addEventListener("click", () => $("sure").close());
$("accept")?.addEventListener("click", () => $("sure").showModal());
// Enter in the note must not send anything: which of the buttons would it be?
$("answers").addEventListener("submit", (event) => event.preventDefault());

try {
  const kept = JSON.parse(sessionStorage.getItem(KEPT) || "null");
  sessionStorage.removeItem(KEPT);
  if (kept && kept.id === id) { $("respond-title").focus(); tell("said", kept.text); }
} catch { /* a browser that keeps nothing */ }
