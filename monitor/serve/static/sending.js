// Sending one change to the API: "" where it was recorded, else what went wrong and what to do. `heard` gets its answer.

const TIMEOUT_MS = 15000;

export async function send(address, csrf, body, heard) {
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), TIMEOUT_MS);
  try {
    const answer = await fetch(address, {
      method: "POST", signal: stop.signal, cache: "no-store", credentials: "same-origin", body: JSON.stringify(body),
      headers: { "content-type": "application/json", "x-csrf-token": csrf },
    });
    if (answer.ok) { heard?.(await answer.json()); return ""; }
    const found = await answer.json();
    const again = answer.status === 401 || answer.status === 403 ? " Reload the page, and log in again if it asks." : "";
    return (found.error || "no reason was given") + again;
  } catch {
    return "driftline cannot be reached; nothing was lost: press again when it can";
  } finally { clearTimeout(timer); }
}
