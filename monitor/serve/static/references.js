// Deciding about references: a button sends one decision, and the page is read again, which shows what stands.

import { send } from "./sending.js";

const { csrf } = document.body.dataset;
const $ = (name) => document.getElementById(name);
const KEPT = "driftline-decided";
const DONE = { approve: "is approved; it can be put to use now.", activate: "is in use from the next tick on." };
let chosen = null;

function tell(name, text) {
  for (const each of ["said", "failed"]) { $(each).hidden = each !== name; $(each).textContent = each === name ? text : ""; }
}

async function decide(button, action, note) {
  if (button.getAttribute("aria-busy") === "true") return;
  button.setAttribute("aria-busy", "true");
  const problem = await send(`/api/references/${button.dataset.id}/decisions`, csrf, { action, note });
  button.removeAttribute("aria-busy");
  if ($("sure").open) $("sure").close();
  if (problem) { tell("failed", `Nothing was changed: ${problem}`); return; }
  const text = `Version ${button.dataset.version} ${DONE[action]}`;
  try { sessionStorage.setItem(KEPT, JSON.stringify({ at: location.href, text })); } catch { /* told by the page alone */ }
  location.reload();
}

for (const button of document.querySelectorAll("[data-decide]")) {
  button.addEventListener("click", () => {
    if (button.dataset.decide === "approve") { decide(button, "approve", ""); return; }
    chosen = button;
    $("sure-version").textContent = button.dataset.version;
    $("sure").showModal();
  });
}
for (const button of document.querySelectorAll("[data-close]")) button.addEventListener("click", () => $("sure").close());
$("activate").addEventListener("click", () => { if (chosen) decide(chosen, "activate", $("remark").value.trim()); });

try {
  const kept = JSON.parse(sessionStorage.getItem(KEPT) || "null");
  sessionStorage.removeItem(KEPT);
  if (kept && kept.at === location.href) { $("versions-title").focus(); tell("said", kept.text); }
} catch { /* a browser that keeps nothing */ }
