// Having dead letters read again, and refused deliveries sent again or dismissed: each button asks for one thing, and the
// page is read again.

import { send } from "./sending.js";

const KEPT = "driftline-health";
const { csrf } = document.body.dataset;
const $ = (name) => document.getElementById(name);
let busy = false;

// Where is "" (dead letters) or "sinks-": what it says is said beside what was pressed.
function tell(where, name, text) {
  for (const each of ["said", "failed"]) {
    const line = $(where + each);
    line.hidden = each !== name;
    line.textContent = each === name ? text : "";
  }
}

async function press(where, address, body, words, problems) {
  if (busy) return;
  busy = true;
  let found = {};
  const problem = await send(address, csrf, body, (answer) => { found = answer; });
  busy = false;
  if (problem) { tell(where, "failed", `${problems}: ${problem}`); return; }
  try { sessionStorage.setItem(KEPT, JSON.stringify([where, words(found)])); } catch { /* told by the page alone */ }
  location.reload();
}

for (const button of document.querySelectorAll("[data-record],[data-reason]")) {
  const { record, reason } = button.dataset;
  const words = ({ asked }) => (asked
    ? `${asked} to be read again; the service that owns the partition does it within seconds. Reload to see what came of it.`
    : "Nothing to do: what there is waits already, or is an event by now.");
  const body = record ? { record } : { reason };
  button.addEventListener("click", () => press("", "/api/dead-letters/retries", body, words, "Not asked for"));
}

for (const button of document.querySelectorAll("[data-action]")) {
  const { action, id, sink } = button.dataset;
  const words = ({ decided }) => {
    if (!decided) return "Nothing was changed: it has just become another one. Look at it again.";
    return action === "resend"
      ? "To be sent again, within seconds. Reload to see how that went."
      : `Dismissed. \u201cdriftline alerts dismiss --undo ${id}\u201d puts it back.`;
  };
  const body = { action, id, sink };
  button.addEventListener("click", () => press("sinks-", "/api/deliveries/decisions", body, words, "Nothing was changed"));
}

try {
  const kept = sessionStorage.getItem(KEPT);
  sessionStorage.removeItem(KEPT);
  if (kept) {
    const [where, text] = JSON.parse(kept);
    $(where ? "sinks-title" : "letters-title").focus();
    tell(where, "said", text);
  }
} catch { /* a browser that keeps nothing */ }
