// The time strip: ruler, prompts, pictures and playhead, which follow the stream.

import { editCue, startCueEditor } from "./cue-editor.js";
import { $, make, setText } from "./dom.js";
import { clock } from "./format.js";
import { showMoment } from "./moment-menu.js";
import { player, promptOnScreen } from "./stage.js";
import { mayDirect, status, subscribe } from "./state.js";
import { blockSeconds, earliest } from "./story-edit.js";
import { renderCues, startCues } from "./strip-cues.js";
import { renderFilm, renderLeftOut } from "./strip-film.js";
import { pixels, range, timeAt, xOf, zoom } from "./strip-scale.js";

const TICK_PIXELS = 90; // the least distance of two times on the ruler
const TICKS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600]; // seconds
const EDGE = 0.62; // of the width of the strip, where the newest moment is kept
const REST_SECONDS = 8; // after the user has scrolled, before the strip follows again
const strip = $("strip");
let restUntil = 0;
let fromBefore = 0;
let scrolledTo = 0; // where the strip was scrolled to last

function renderRuler() {
  const { from, to } = range();
  const step = TICKS.find((seconds) => seconds * pixels() >= TICK_PIXELS) ?? TICKS.at(-1);
  const key = [from, Math.ceil(to), step, pixels()].join();
  const ruler = $("ruler");
  if (ruler.dataset.key === key) return;
  ruler.dataset.key = key;
  const ticks = [];
  for (let time = Math.ceil(from / step) * step; time <= to; time += step) {
    const tick = make("span", {}, clock(time));
    tick.style.left = `${xOf(time)}px`;
    ticks.push(tick);
  }
  ruler.replaceChildren(...ticks);
}

function scrollTo(x) {
  strip.scrollLeft = x;
  scrolledTo = strip.scrollLeft; // inside its limits
}

function noticeScroll() {
  if (Math.abs(strip.scrollLeft - scrolledTo) < 2) return;
  scrolledTo = strip.scrollLeft;
  restUntil = performance.now() + REST_SECONDS * 1000;
}

function follow() {
  noticeScroll();
  const busy = performance.now() < restUntil || strip.contains(document.activeElement);
  if (busy || document.querySelector(":popover-open")) return;
  const wanted = Math.max(0, Math.round(xOf(earliest()) - strip.clientWidth * EDGE));
  if (Math.abs(strip.scrollLeft - wanted) >= 2) scrollTo(wanted);
}

function render(now) {
  $("timeline").hidden = !now.blocks;
  if (!now.blocks) return;
  const { from, to } = range();
  $("track").style.width = `${Math.max(strip.clientWidth, xOf(to))}px`;
  $("track").style.setProperty("--made", `${xOf(now.seconds)}px`);
  $("track").classList.toggle("directed", mayDirect());
  $("add").hidden = !mayDirect();
  if (from !== fromBefore) scrollTo(strip.scrollLeft - (from - fromBefore) * pixels());
  fromBefore = from;
  renderRuler();
  renderFilm();
  renderLeftOut();
  renderCues();
  movePlayhead();
  follow();
}

function movePlayhead() {
  const now = status();
  if (!now.blocks) return;
  const time = Math.min(player.time, now.seconds);
  const head = $("playhead");
  head.style.transform = `translateX(${xOf(Math.max(time, range().from))}px)`;
  head.setAttribute("aria-valuemax", now.seconds.toFixed(1));
  head.setAttribute("aria-valuenow", time.toFixed(1));
  head.setAttribute("aria-valuetext", `${clock(time)} of ${clock(now.seconds)}`);
  const total = now.total_seconds === null ? "" : ` / ${clock(now.total_seconds)}`;
  setText($("time"), `${clock(time)}${total}`);
}

const promptAt = (time) =>
  status().shown.findLast((cue) => cue.start <= time * status().fps + 0.5)?.prompt;

// A click on the past moves the playhead there and offers what can be done; on the future, a prompt.
function openAt(time, point) {
  if (time > earliest()) {
    if (mayDirect() && time < range().to) editCue(null, time, point);
    return;
  }
  if (player.has(time)) player.seek(time);
  movePlayhead();
  showMoment(time, promptAt(time), { ...point, x: point.left });
}

function onClick(event) {
  const box = $("track").getBoundingClientRect();
  const { top, bottom } = strip.getBoundingClientRect();
  const time = Math.max(range().from, timeAt(event.clientX - box.left));
  openAt(time, { left: event.clientX, width: 0, top, bottom });
}

function onHeadKey(event) {
  const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 };
  if (event.key in step) player.seek(player.time + step[event.key]);
  else if (event.key === "Home") player.seek(0);
  else if (event.key === "End") player.follow();
  else if (event.key === "Enter") {
    const { left, top, bottom } = $("playhead").getBoundingClientRect();
    showMoment(player.time, promptOnScreen()?.prompt, { x: left, top, bottom });
  } else return;
  event.preventDefault();
  event.stopPropagation();
  movePlayhead();
}

function zoomBy(step) {
  const middle = timeAt(strip.scrollLeft + strip.clientWidth / 2);
  if (!zoom(step)) return;
  render(status());
  scrollTo(xOf(middle) - strip.clientWidth / 2);
}

function addPrompt(event) {
  const time = earliest() + 2 * blockSeconds();
  editCue(null, Math.ceil(time), event.currentTarget);
}

export function startStrip() {
  startCues();
  startCueEditor();
  subscribe(render);
  setInterval(() => {
    movePlayhead();
    if (status().blocks) renderCues();
  }, 200);
  $("track").addEventListener("click", onClick);
  $("playhead").addEventListener("keydown", onHeadKey);
  $("playhead").addEventListener("click", (event) => event.stopPropagation());
  $("zoom-in").addEventListener("click", () => zoomBy(1));
  $("zoom-out").addEventListener("click", () => zoomBy(-1));
  $("add").addEventListener("click", addPrompt);
  strip.addEventListener("scroll", noticeScroll);
  addEventListener("resize", () => render(status()));
}
