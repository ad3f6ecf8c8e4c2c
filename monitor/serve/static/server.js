// Asking the server. A request that fails for a while may be sent again: its id makes it count once.

import { settings } from "./parts.js";

const TIMEOUT_MS = 15000;

export function requestId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
}

export class Problem extends Error {
  constructor(status, message, why) { super(message); this.status = status; this.why = why; }
  get passing() { return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500; }
  get loggedOut() { return this.status === 401 || this.status === 403; }
}

export async function ask(path, body) {
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
