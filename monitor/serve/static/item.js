// An item: prompt, output, citations, facts, the questions about it, and what is told of one that is labelled.

import { $, element, folded, notice, percent, plain } from "./parts.js";
import { showCited, showPictures } from "./picture.js";

export function showItem(item) {
  $("prompt").replaceChildren(...item.inputs.filter((i) => i.text).map((i) => folded(i.text)));
  if (!$("prompt").children.length) $("prompt").append(element("p", { className: "soft", textContent: item.missing || "The event carries no text." }));
  showOutput(item);
  showCitations(item);
  showFacts(item);
  showPictures(item);
  $("beside").scrollTop = 0;
  scrollTo(0, 0);           // where the page itself scrolls: on a phone
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
    if (where) row.append(element("p", { className: "soft text", textContent: where }));
    if (citation.region) {
      const button = element("button", { type: "button", textContent: "Show the region" });
      button.addEventListener("click", () => {
        if (showCited(citation)) $("stage").focus(); else notice("No pixels of that page are stored.");
      });
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

export function showLast(task, revealed) {
  const said = task.body.verdict ? `Last: ${task.body.verdict}` : "Last: skipped";
  const words = revealed ? told(revealed).filter((row) => row[1]).map(([name, value]) => `${name.toLowerCase()} ${value}`) : [];
  $("last").textContent = [said, ...words].join(" · ");
  $("last").hidden = false;
}

// Ask what there is to ask with a verdict; with null, nothing.
export function showQuestions(item, verdict) {
  const asked = item && verdict ? questionsFor(item, verdict) : [];
  for (const button of document.querySelectorAll("[data-verdict]")) button.setAttribute("aria-pressed", String(Boolean(asked.length) && button.dataset.verdict === verdict));
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

export function questionsFor(item, verdict) { return item.questions.filter((q) => q.when === null || q.when === verdict); }
