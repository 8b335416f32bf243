// The card in which a coming prompt is written, moved, blended and deleted.

import { say } from "./answer.js";
import { placeCard } from "./card.js";
import { $, make } from "./dom.js";
import { clock } from "./format.js";
import { blockSeconds, comesAt, coming, earliest, replaceComing } from "./story-edit.js";
import { subscribe } from "./state.js";
import { markWords } from "./words.js";

const card = $("cue");
let edited = null; // the coming prompt as it was; null: a new one
let offered = ""; // the time that a new prompt is offered, until another one is entered
let returnTo = null; // the element that gets the focus back

const heading = make("h3", { id: "cue-heading" });
const text = make("textarea", { id: "cue-prompt", rows: 2, maxLength: 4000, required: true });
const notes = make("div", { className: "word-notes", "aria-live": "polite" });
const at = make("input", { id: "cue-at", type: "number", step: "any", min: 0, required: true });
const blocks = make("input", {
  ...{ id: "cue-blend", type: "number", min: 0, max: 1000, step: 1, required: true },
});
const answer = make("p", { className: "bad", role: "alert" });
const remove = make("button", { type: "button", className: "danger" }, "Delete");
const cancel = make("button", { type: "button" }, "Cancel");
const save = make("button", { type: "submit", className: "primary" }, "Save");

const form = make(
  "form",
  {},
  heading,
  make("label", { htmlFor: "cue-prompt" }, "Prompt"),
  text,
  notes,
  make(
    "div",
    { className: "row" },
    make("label", {}, "Starts at ", at, " s"),
    make("label", {}, "Blend over ", blocks, " blocks"),
  ),
  answer,
  make("div", { className: "buttons" }, remove, cancel, save),
);
card.append(form);

const tenth = (seconds) => Math.ceil(seconds * 10) / 10;
const soonest = () => tenth(earliest() + blockSeconds());
const others = () => coming().filter((cue) => !edited || cue.at !== edited.at);

function offer(time) {
  at.value = time;
  offered = at.value;
}

// Open the card for a coming prompt, or for a new one at a time; `anchor` is an element or a point.
export function editCue(cue, time, anchor) {
  edited = cue;
  returnTo = anchor.focus ? anchor : $("add");
  heading.textContent = cue ? `Prompt at ${clock(cue.at)}` : "New prompt";
  text.value = cue?.prompt ?? "";
  text.dispatchEvent(new Event("input"));
  if (cue) at.value = Number(cue.at.toFixed(3));
  else offer(tenth(Math.max(time, earliest())));
  blocks.value = cue?.blocks ?? 0;
  answer.textContent = "";
  remove.hidden = !cue;
  const box = anchor.getBoundingClientRect?.() ?? anchor;
  placeCard(card, box.left + box.width / 2, box.top, box.bottom);
  text.focus();
}

function close() {
  if (!card.matches(":popover-open")) return;
  card.hidePopover();
  returnTo?.focus?.();
}

// While a new prompt is typed, the time that was offered for it may pass.
function keepAhead() {
  if (!edited && at.value === offered && at.valueAsNumber < earliest()) offer(soonest());
}

async function store(cues, done) {
  try {
    await replaceComing(cues);
    say(done);
    close();
  } catch (error) {
    if (error.status === 409) offer(soonest());
    answer.textContent = error.message;
  }
}

export function startCueEditor() {
  markWords(text, notes);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const cue = { at: at.valueAsNumber, prompt: text.value.trim(), blocks: blocks.valueAsNumber };
    if (cue.prompt) store([...others(), cue], comesAt(cue));
  });
  remove.addEventListener("click", () => store(others(), "The prompt was deleted."));
  cancel.addEventListener("click", close);
  card.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
    else if (event.key === "Enter" && event.target === text && !event.shiftKey) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
  document.addEventListener("pointerdown", (event) => {
    const outside = !event.target.closest("#cue, #track");
    if (outside && !text.value.trim()) close(); // nothing is lost
  });
  subscribe(({ state }) => {
    if (!["running", "paused", "starting", "disconnected"].includes(state)) close();
    else if (card.matches(":popover-open")) keepAhead();
  });
}
