// Having dead letters read again: each button asks for one, or for all of a reason, and the page is read again.

import { send } from "./sending.js";

const KEPT = "driftline-letters";
const { csrf } = document.body.dataset;
const $ = (name) => document.getElementById(name);
let busy = false;

function tell(name, text) {
  for (const each of ["said", "failed"]) { $(each).hidden = each !== name; $(each).textContent = each === name ? text : ""; }
}

async function press(button) {
  if (busy) return;
  busy = true;
  const { record, reason } = button.dataset;
  let asked = 0;
  const heard = (found) => { asked = found.asked; };
  const problem = await send("/api/dead-letters/retries", csrf, record ? { record } : { reason }, heard);
  busy = false;
  if (problem) { tell("failed", `Not asked for: ${problem}`); return; }
  const text = asked
    ? `${asked} to be read again; the service that owns the partition does it within seconds. Reload to see what came of it.`
    : "Nothing to do: what there is waits already, or is an event by now.";
  try { sessionStorage.setItem(KEPT, text); } catch { /* told by the page alone */ }
  location.reload();
}

for (const button of document.querySelectorAll("[data-record],[data-reason]")) {
  button.addEventListener("click", () => press(button));
}

try {
  const text = sessionStorage.getItem(KEPT);
  sessionStorage.removeItem(KEPT);
  if (text) { $("letters-title").focus(); tell("said", text); }
} catch { /* a browser that keeps nothing */ }
