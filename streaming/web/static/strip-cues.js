// The prompts of the time strip as ranges: a list box whose coming ones can be moved and changed.

import { say } from "./answer.js";
import { editCue } from "./cue-editor.js";
import { $, make, setText } from "./dom.js";
import { clock } from "./format.js";
import { showMoment } from "./moment-menu.js";
import { promptOnScreen } from "./stage.js";
import { isOver, mayDirect, status } from "./state.js";
import { blockSeconds, comesAt, coming, earliest, hasStarted, tryToReplace } from "./story-edit.js";
import { pixels, range, xOf } from "./strip-scale.js";

const THRESHOLD = 4; // pixels of movement that make a drag
const list = $("cues");
let active = 0; // index of the option that the Tab key reaches
let dragged = null; // { element, cue, from, moved }

// The prompts in order: { at, end, prompt, kind, blocks }, times in seconds.
function ranges() {
  const { shown = [], fps, seconds, waiting_prompt: waiting } = status();
  const onScreen = shown.indexOf(promptOnScreen());
  const past = shown.map((cue, i) => ({
    at: cue.start / fps,
    prompt: cue.prompt,
    kind: i === onScreen ? "now" : "shown",
    blocks: 0,
  }));
  const next = waiting ? [{ at: seconds, prompt: waiting, kind: "waiting", blocks: 0 }] : [];
  const later = isOver() ? [] : coming().map((cue) => ({ ...cue, kind: hasStarted(cue) ? "waiting" : "coming" }));
  const all = [...past, ...next, ...later].sort((a, b) => a.at - b.at);
  const { from, to } = range();
  return all
    .map((cue, i) => ({ ...cue, end: all[i + 1]?.at ?? to }))
    .filter((cue) => cue.end > from && cue.end > cue.at);
}

const STARTING = "This prompt is starting: it cannot be moved or deleted any more.";
const KINDS = { shown: "shown", now: "on screen", waiting: "next", coming: "coming" };

function describe(cue) {
  const blend = cue.blocks ? `, blended over ${cue.blocks} ${cue.blocks === 1 ? "block" : "blocks"}` : "";
  return `${clock(cue.at)}, ${KINDS[cue.kind]}${blend}: ${cue.prompt}`;
}

function option(cue, index) {
  const text = make("span", { className: "text" }, cue.prompt);
  const edge = make("span", { className: "edge" }); // by which a coming prompt is dragged
  const element = make("div", { role: "option", id: `cue-${index}` }, text, edge);
  element.addEventListener("pointerdown", onPointerDown);
  element.addEventListener("pointermove", onPointerMove);
  element.addEventListener("pointerup", onPointerUp);
  element.addEventListener("pointercancel", () => (dragged = null));
  element.addEventListener("click", onClick);
  element.addEventListener("focus", () => (active = [...list.children].indexOf(element)));
  return element;
}

function place(element, cue) {
  const left = Math.max(0, xOf(cue.at));
  element.style.left = `${left}px`;
  element.style.width = `${Math.max(3, xOf(cue.end) - left)}px`;
  const made = (status().seconds - Math.max(cue.at, range().from)) * pixels();
  element.style.setProperty("--part", `${made}px`); // of a prompt that continues
  element.style.setProperty("--blend", `${cue.blocks * blockSeconds() * pixels()}px`);
}

export function renderCues() {
  if (dragged) return;
  const all = ranges();
  const focused = list.contains(document.activeElement);
  while (list.children.length > all.length) list.lastChild.remove();
  active = Math.min(active, Math.max(0, all.length - 1));
  all.forEach((cue, index) => {
    const element = list.children[index] ?? list.appendChild(option(cue, index));
    element.cue = cue;
    if (element.className !== cue.kind) element.className = cue.kind;
    setText(element.firstChild, cue.prompt);
    const words = describe(cue);
    if (element.getAttribute("aria-label") !== words) element.setAttribute("aria-label", words);
    element.title = words;
    element.setAttribute("aria-selected", cue.kind === "now");
    element.tabIndex = index === active ? 0 : -1;
    place(element, cue);
  });
  if (focused && !list.contains(document.activeElement)) list.children[active]?.focus();
}

const mayMove = (cue) => cue.kind === "coming" && mayDirect();
const original = (cue) => coming().find((each) => each.at === cue.at);

function open(element) {
  const { cue } = element;
  if (mayMove(cue)) editCue(original(cue), cue.at, element);
  else if (cue.kind === "waiting") say(STARTING);
  else {
    const box = element.getBoundingClientRect();
    const strip = $("strip").getBoundingClientRect();
    const x = Math.min(Math.max(box.left, strip.left), strip.right);
    showMoment(cue.at, cue.prompt, { x, top: box.top, bottom: box.bottom });
  }
}

// Move a coming prompt to another time.
function retime(cue, at) {
  const { total_seconds: total } = status();
  const latest = total === null ? Infinity : total - blockSeconds();
  const others = coming().filter((each) => each.at !== cue.at);
  let moved = Math.min(Math.max(at, earliest()), latest);
  while (others.some((each) => each.at === moved)) moved += 0.1;
  const changed = { ...original(cue), at: moved };
  return tryToReplace([...others, changed], comesAt(changed));
}

function onPointerDown(event) {
  const element = event.currentTarget;
  if (event.button || !mayMove(element.cue)) return;
  const onEdge = event.target.className === "edge";
  if (event.pointerType === "touch" && !onEdge) return; // the strip scrolls
  dragged = { element, cue: element.cue, from: event.clientX, moved: false };
  element.setPointerCapture(event.pointerId);
}

function onPointerMove(event) {
  if (!dragged || dragged.element !== event.currentTarget) return;
  const distance = event.clientX - dragged.from;
  if (Math.abs(distance) >= THRESHOLD) dragged.moved = true;
  if (!dragged.moved) return;
  const { element, cue } = dragged;
  const at = Math.max(earliest(), cue.at + distance / pixels());
  element.style.left = `${xOf(at)}px`;
  element.style.width = `${Math.max(24, xOf(cue.end) - xOf(at))}px`;
  element.classList.add("moving");
  element.dataset.at = clock(at);
  dragged.at = at;
}

function onPointerUp(event) {
  if (!dragged || dragged.element !== event.currentTarget) return;
  const { element, cue, moved, at } = dragged;
  if (!moved) {
    dragged = null;
    return; // a click follows
  }
  element.dataset.moved = "yes";
  element.classList.remove("moving");
  dragged = null;
  retime(cue, at);
}

function onClick(event) {
  const element = event.currentTarget;
  event.stopPropagation();
  if (element.dataset.moved) delete element.dataset.moved;
  else open(element);
}

function focusOption(index) {
  const element = list.children[Math.min(Math.max(index, 0), list.children.length - 1)];
  if (!element) return;
  list.children[active]?.setAttribute("tabindex", "-1");
  element.tabIndex = 0;
  element.focus();
  element.scrollIntoView({ block: "nearest", inline: "nearest" });
}

function onKey(event) {
  const element = event.target.closest("[role=option]");
  if (!element) return;
  const { cue } = element;
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (step && event.shiftKey && mayMove(cue)) retime(cue, cue.at + step);
  else if (step) focusOption(active + step);
  else if (event.key === "Home") focusOption(0);
  else if (event.key === "End") focusOption(list.children.length);
  else if (event.key === "Enter" || event.key === " ") open(element);
  else if (["Delete", "Backspace"].includes(event.key) && mayMove(cue)) {
    tryToReplace(coming().filter((each) => each.at !== cue.at), "The prompt was deleted.");
  } else if (["Delete", "Backspace"].includes(event.key) && cue.kind === "waiting") say(STARTING);
  else return;
  event.preventDefault();
  event.stopPropagation();
}

export function startCues() {
  list.addEventListener("keydown", onKey);
}
