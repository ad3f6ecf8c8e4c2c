// Small parts: what the page was opened with, elements, texts that are cut, what is said.
// Every text of an event is written as a text node; nothing builds HTML.

const FOLD = 1500;          // characters of a text before "show all"

export const settings = JSON.parse(document.body.dataset.settings);
export const reviewer = document.body.dataset.reviewer;
export const $ = (id) => document.getElementById(id);

export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children.filter((child) => child !== null));
  return made;
}

export function notice(text, kind = "") {
  $("notice-text").textContent = text;
  $("notice").className = "notice " + kind;
  $("notice").hidden = !text;
}

export function say(text) { $("spoken").textContent = text; }

export const plain = (value, digits = 2) => value.toLocaleString("en", { maximumFractionDigits: digits });
export const percent = (value) => plain(100 * value, 1) + " %";

export function folded(shown, className = "text") {
  const text = element("p", { className, dir: "auto" });
  const more = shown.more ? element("p", { className: "soft", textContent: `${plain(shown.more)} more characters are not shown.` }) : null;
  if (shown.text.length <= FOLD + 200) { text.textContent = shown.text; return element("div", {}, text, more); }
  text.textContent = shown.text.slice(0, FOLD) + " …";
  if (more) more.hidden = true;
  const button = element("button", { type: "button", textContent: `Show all (${plain(shown.text.length)} characters)` });
  button.addEventListener("click", () => { text.textContent = shown.text; if (more) more.hidden = false; button.remove(); });
  return element("div", {}, text, button, more);
}
