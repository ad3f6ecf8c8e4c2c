// The map of the sample: the dot one points at shows its picture, and arrow keys go from dot to dot.

const dots = [...document.querySelectorAll("#dots a")];
const peek = document.getElementById("peek");
const image = document.getElementById("peek-image");
const text = document.getElementById("peek-text");

function show(dot) {
  const address = dot.getAttribute("href");
  const pictured = address.endsWith("/thumbnail");
  image.hidden = !pictured;
  if (pictured) image.src = address;
  text.textContent = dot.getAttribute("aria-label");
  peek.hidden = false;
}

function hide() { peek.hidden = true; }

// From left to right, whichever period they are of.
const place = (dot) => Number(dot.querySelector("circle").getAttribute("cx"));
const order = dots.toSorted ? dots.toSorted((a, b) => place(a) - place(b)) : [...dots].sort((a, b) => place(a) - place(b));
const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

function go(from, key) {
  const to = key === "Home" ? 0 : key === "End" ? order.length - 1 : order.indexOf(from) + STEPS[key];
  const next = order[Math.min(Math.max(to, 0), order.length - 1)];
  from.setAttribute("tabindex", "-1");
  next.setAttribute("tabindex", "0");
  next.focus();
}

for (const dot of dots) {
  dot.addEventListener("pointerenter", () => show(dot));
  dot.addEventListener("pointerleave", hide);
  dot.addEventListener("focus", () => show(dot));
  dot.addEventListener("blur", hide);
  dot.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide();
    if (!(event.key in STEPS) && event.key !== "Home" && event.key !== "End") return;
    event.preventDefault();
    go(dot, event.key);
  });
}
if (order.length) {
  order[0].setAttribute("tabindex", "0");
  document.getElementById("map-help").textContent = "Each dot leads to its session: point at one, or go there with the arrow keys.";
}
