// How the time strip maps seconds of the video to pixels.

import { $ } from "./dom.js";
import { isOver, status } from "./state.js";

const PAST = 300; // seconds of an endless stream that are shown
const FUTURE = 45; // after the newest moment
const AFTER_LAST = 20; // after the last coming prompt
const WHOLE = 1800; // the longest film that is shown from its beginning
const STEP = 60; // of the beginning of what is shown, so that it rarely moves
const LEVELS = [2, 4, 8, 14, 24, 48]; // pixels a second
const kept = Number(localStorage.getItem("zoom") ?? 3);
let level = kept in LEVELS ? kept : 3;

export const pixels = () => LEVELS[level]; // a second

// Show more or less time; returns whether there was another level.
export function zoom(step) {
  if (!(level + step in LEVELS)) return false;
  level += step;
  localStorage.setItem("zoom", level);
  return true;
}

// The seconds of the video that the strip shows.
export function range() {
  const { seconds = 0, total_seconds: total = null, coming = [], fps = 1 } = status();
  const isWhole = total !== null && total <= WHOLE;
  const from = isWhole ? 0 : Math.max(0, Math.floor((seconds - PAST) / STEP) * STEP);
  if (isOver()) return { from, to: seconds };
  if (total !== null) return { from, to: total };
  const last = coming.length ? coming.at(-1).start / fps : 0;
  const filled = from + $("strip").clientWidth / pixels(); // an endless stream has no edge in view
  return { from, to: Math.max(seconds + FUTURE, last + AFTER_LAST, filled) };
}

export const xOf = (time) => (time - range().from) * pixels();
export const timeAt = (x) => x / pixels() + range().from;
