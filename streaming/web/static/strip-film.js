// The small pictures of the time strip: one in each slot of its width.

import { base } from "./api.js";
import { $, make } from "./dom.js";
import { pixels, range, xOf } from "./strip-scale.js";
import { status } from "./state.js";

const PART = 0.7; // of the width of a picture, whose middle is shown
const slots = new Map(); // images by the number of their slot
let layout = ""; // what the slots depend on

// The newest block that has a picture and starts at or before a frame; null where it is far.
function blockAt(starts, frame, reach) {
  let low = 0;
  let high = starts.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (starts[middle] <= frame) low = middle + 1;
    else high = middle;
  }
  const found = starts[low - 1];
  return found !== undefined && frame - found <= reach ? found : null;
}

function set(slot, source, x, width) {
  let image = slots.get(slot);
  if (source === null) {
    image?.remove();
    slots.delete(slot);
    return;
  }
  if (!image) {
    image = make("img", { alt: "", decoding: "async", draggable: false });
    slots.set(slot, image);
    $("film").append(image);
  }
  if (image.getAttribute("src") !== source) image.src = source;
  image.style.left = `${x}px`;
  image.style.width = `${width}px`;
}

// Frames between pictures may be as far apart as the sparse ones of long streams.
function reachOf(starts, fps) {
  const longest = starts.slice(1).reduce((most, start, i) => Math.max(most, start - starts[i]), 0);
  return Math.max(longest, 4 * fps);
}

export function renderFilm() {
  const { thumbnails: starts = [], thumbnail_version: version, fps, seconds, stream } = status();
  const film = $("film");
  const { from } = range();
  const width = (PART * film.clientHeight * status().width) / status().height;
  const current = [version, stream, from, pixels(), width].join();
  if (current !== layout) {
    film.replaceChildren();
    slots.clear();
    layout = current;
  }
  film.style.width = `${Math.max(0, xOf(seconds))}px`;
  const reach = reachOf(starts, fps);
  const count = Math.ceil(xOf(seconds) / width);
  for (let slot = 0; slot < count; slot++) {
    const frame = (from + ((slot + 0.5) * width) / pixels()) * fps;
    const start = blockAt(starts, Math.min(frame, seconds * fps - 1), reach);
    const source = start === null ? null : `${base}thumbnails/${start}.jpg?v=${version}`;
    set(slot, source, slot * width, width);
  }
}

// Hatch the parts that the stream has left by rewinding.
export function renderLeftOut() {
  const { left_out: parts = [], fps } = status();
  const film = $("film");
  const key = JSON.stringify([parts, layout]);
  if (film.dataset.left === key) return;
  film.dataset.left = key;
  for (const old of film.querySelectorAll(".left-out")) old.remove();
  for (const [begin, end] of parts) {
    const part = make("div", { className: "left-out", title: "Left by a rewind" });
    part.style.left = `${xOf(begin / fps)}px`;
    part.style.width = `${((end - begin) / fps) * pixels()}px`;
    film.append(part);
  }
}
