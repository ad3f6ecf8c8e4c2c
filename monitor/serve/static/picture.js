// The picture: loaded ahead, fitted, zoomed, moved, turned, with the cited regions drawn on it.

import { $, element, say } from "./parts.js";

const MOST_LOADED = 12;

const loaded = new Map();   // address -> image
const shown = { citations: [], views: [], view: 0, zoom: 1, turn: 0 };

// Show the parts of an item that are looked at, the first with pixels first.
export function showPictures(item) {
  shown.citations = item.citations;
  shown.views = item.inputs.filter((i) => !i.text).flatMap((i) => {
    const pages = Object.keys(i.pictures).map(Number).sort((a, b) => a - b);
    return pages.length ? pages.map((page) => ({ input: i, page, address: i.pictures[page] })) : [{ input: i, page: 1, address: null }];
  });
  $("looked-at").hidden = !shown.views.length;
  $("work").classList.toggle("words", !shown.views.length);
  look(Math.max(0, shown.views.findIndex((view) => view.address)));
}

// Show the page of a citation. False where no pixels of it are stored.
export function showCited(citation) {
  const at = shown.views.findIndex((view) => view.input.part === citation.part && view.page === citation.page && view.address);
  if (at >= 0) look(at);
  return at >= 0;
}

export function preload(item) {
  for (const input of item.inputs) for (const address of Object.values(input.pictures)) picture(address);
}

export function unload(item) {
  for (const input of item.inputs) for (const address of Object.values(input.pictures)) loaded.delete(address);
}

export const zoomed = () => shown.zoom > 1;

function picture(address) {
  let image = loaded.get(address);
  if (!image) {
    image = element("img", { alt: "The input", src: address, draggable: false });
    image.decode().catch(() => { image.dataset.failed = "1"; }).finally(() => { if (image.isConnected || image.wanted) place(); });
    loaded.set(address, image);
    if (loaded.size > MOST_LOADED) loaded.delete(loaded.keys().next().value);
  }
  return image;
}

function look(at) {
  shown.view = at; shown.zoom = 1; shown.turn = 0;
  const view = shown.views[at];
  if (!view) return;
  const { input, page, address } = view;
  const several = shown.views.length > 1;
  $("view-at").textContent = several ? `${at + 1} of ${shown.views.length}` : "";
  $("caption").textContent = [input.kind, input.caption, input.pages > 1 ? `page ${page}${Object.keys(input.pictures).length < input.pages ? ", the others are not stored" : ""}` : ""].filter(Boolean).join(" · ");
  for (const name of ["previous", "following"]) document.querySelector(`[data-do=${name}]`).closest(".group").hidden = !several;
  $("turned").replaceChildren();
  $("frame").hidden = !address;
  $("no-picture").hidden = Boolean(address);
  $("no-picture").textContent = address ? "" : input.why;
  if (address) { const image = picture(address); image.wanted = true; $("turned").append(image); place(); }
}

export function place(anchor = null) {
  const view = shown.views[shown.view];
  const image = view && view.address ? loaded.get(view.address) : null;
  if (!image || !image.isConnected) return;
  if (image.dataset.failed || (image.complete && !image.naturalWidth)) {
    $("frame").hidden = true; $("no-picture").hidden = false; $("no-picture").textContent = "The picture could not be loaded."; return;
  }
  if (!image.naturalWidth) return;  // `decode` calls again
  const stage = $("stage"), frame = $("frame"), turned = $("turned"), across = shown.turn % 180 !== 0;
  const [width, height] = across ? [image.naturalHeight, image.naturalWidth] : [image.naturalWidth, image.naturalHeight];
  const box = stage.getBoundingClientRect();
  const scale = Math.min((box.width - 2) / width, (box.height - 2) / height, 8) * shown.zoom;
  const point = anchor || { x: box.left + box.width / 2, y: box.top + box.height / 2 };
  const before = frame.getBoundingClientRect();
  const share = before.width ? [(point.x - before.left) / before.width, (point.y - before.top) / before.height] : [0.5, 0.5];
  frame.style.width = Math.floor(width * scale) + "px"; frame.style.height = Math.floor(height * scale) + "px";
  turned.style.width = image.naturalWidth * scale + "px"; turned.style.height = image.naturalHeight * scale + "px";
  turned.style.transform = `translate(-50%, -50%) rotate(${shown.turn}deg)`;
  const after = frame.getBoundingClientRect();
  stage.scrollLeft += after.left + share[0] * after.width - point.x; stage.scrollTop += after.top + share[1] * after.height - point.y;
  stage.classList.toggle("zoomed", shown.zoom > 1);
  for (const old of turned.querySelectorAll(".region")) old.remove();
  shown.citations.forEach((citation, at) => {
    if (!citation.region || citation.part !== view.input.part || citation.page !== view.page) return;
    const [left, top, right, bottom] = citation.region.map((v) => 100 * v);
    const region = element("div", { className: "region" }, element("span", { textContent: String(at + 1) }));
    Object.assign(region.style, { left: left + "%", top: top + "%", width: right - left + "%", height: bottom - top + "%" });
    turned.append(region);
  });
}

export function zoom(factor, anchor = null) {
  shown.zoom = factor === 0 ? 1 : Math.min(12, Math.max(1, shown.zoom * factor));
  place(anchor);
}

export function turn(degrees) { shown.turn = (shown.turn + degrees + 360) % 360; place(); }

export function step(by) {
  if (shown.views.length > 1) { look((shown.view + by + shown.views.length) % shown.views.length); say(`${shown.view + 1} of ${shown.views.length}`); }
}

export function listenOnStage() {
  const stage = $("stage");
  stage.addEventListener("wheel", (event) => {
    if (event.ctrlKey || $("frame").hidden) return;
    event.preventDefault();
    zoom(event.deltaY < 0 ? 1.15 : 1 / 1.15, { x: event.clientX, y: event.clientY });
  }, { passive: false });
  let from = null;
  stage.addEventListener("pointerdown", (event) => {
    if (event.pointerType !== "mouse" || event.button !== 0 || shown.zoom <= 1) return;
    from = [event.clientX + stage.scrollLeft, event.clientY + stage.scrollTop];
    stage.setPointerCapture(event.pointerId);
  });
  stage.addEventListener("pointermove", (event) => { if (from) stage.scrollTo(from[0] - event.clientX, from[1] - event.clientY); });
  for (const name of ["pointerup", "pointercancel"]) stage.addEventListener(name, () => { from = null; });
  new ResizeObserver(() => place()).observe(stage);
}
