// Having dead letters read again: each button asks for one, or for all of a reason, and the page is read again.

const TIMEOUT_MS = 15000;
const KEPT = "driftline-letters";
const { csrf } = document.body.dataset;
const $ = (name) => document.getElementById(name);
let busy = false;

function tell(name, text) {
  for (const each of ["said", "failed"]) { $(each).hidden = each !== name; $(each).textContent = each === name ? text : ""; }
}

async function ask(body) {
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), TIMEOUT_MS);
  try {
    const answer = await fetch("/api/dead-letters/retries", {
      method: "POST", signal: stop.signal, cache: "no-store", credentials: "same-origin", body: JSON.stringify(body),
      headers: { "content-type": "application/json", "x-csrf-token": csrf },
    });
    const found = await answer.json();
    if (answer.ok) return { asked: found.asked };
    const again = answer.status === 401 || answer.status === 403 ? " Reload the page, and log in again if it asks." : "";
    return { problem: (found.error || "no reason was given") + again };
  } catch {
    return { problem: "driftline cannot be reached; nothing was lost: press again when it can" };
  } finally { clearTimeout(timer); }
}

async function press(button) {
  if (busy) return;
  busy = true;
  const { record, reason } = button.dataset;
  const { asked, problem } = await ask(record ? { record } : { reason });
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
