// The box for prompts: the next one of this stream, or the first one of another.

import { isBad, say, tell } from "./answer.js";
import { base, postForm, postJson } from "./api.js";
import { isAskedFor, isBeginning, toggleAskedFor } from "./beginning.js";
import { $, setText } from "./dom.js";
import { attached, detach } from "./picture.js";
import { recall, remember } from "./prompt-history.js";
import { newStreamSettings } from "./settings.js";
import { isPlaying, player, video } from "./stage.js";
import { isOver, mayDirect, status, subscribe } from "./state.js";
import { beginStream } from "./streams.js";

const GIVE_UP_SECONDS = 60; // of waiting for a prompt on the screen
let sent = null; // the last prompt sent, until it is shown
let stateBefore = null;

// Put a prompt into the box, to be changed or sent.
export function compose(text) {
  $("prompt").value = text;
  $("prompt").dispatchEvent(new Event("input", { bubbles: true }));
  $("prompt").focus();
}

function render(now) {
  if (stateBefore !== now.state && !isBad() && !sent) say("");
  stateBefore = now.state;
  const first = isBeginning();
  const enabled = first || mayDirect();
  for (const id of ["prompt", "send"]) $(id).disabled = !enabled;
  $("blend").disabled = !mayDirect();
  $("blending").hidden = first; // the first prompt has nothing before it
  $("new").hidden = !now.may_begin || isOver() || now.state === "connecting";
  $("new").setAttribute("aria-pressed", isAskedFor());
  setText($("new"), isAskedFor() ? "Back to this stream" : "New stream");
  setText($("label"), first ? "First prompt of a new stream" : "What happens next");
  setText($("send"), first ? "Start" : "Send");
  watchForSent(now);
}

async function send() {
  const text = $("prompt").value.trim();
  const enough = text || (attached() && !isBeginning()); // a running stream keeps its prompt
  if (!enough || $("send").disabled || (!isBeginning() && !$("blend").reportValidity())) return;
  const [at, before] = [performance.now(), status().stream];
  const answer = await (isBeginning() ? begin(text) : direct(text));
  if (answer === null) return;
  detach();
  const { prompt, from_frame_or_later: frame, links } = answer;
  const elsewhere = links && !isNewestPage();
  if (!elsewhere && text) sent = { text: prompt ?? text, frame: frame ?? Infinity, at, before };
  if (text) remember(text);
  $("prompt").value = "";
  $("prompt").dispatchEvent(new Event("input", { bubbles: true }));
  if (elsewhere) location.href = links.page;
}

// The page of the newest stream shows the new one by itself.
const isNewestPage = () => !isAskedFor() && !/\/streams\/\d+\/$/.test(base);

function begin(text) {
  const content = { prompt: text, ...newStreamSettings() };
  return tell(() => beginStream(content, attached()), "Sent. The stream starts in a moment.");
}

function direct(text) {
  if (attached()) {
    const done = "Sent. The video cuts to the picture with the next block.";
    return tell(() => postForm(`${base}image`, text ? { prompt: text } : {}, attached()), done);
  }
  const transition_blocks = $("blend").valueAsNumber;
  const content = transition_blocks ? { prompt: text, transition_blocks } : { prompt: text };
  const done = isRunning(text)
    ? "This prompt is running already: nothing changes."
    : "Sent. It takes effect with the next block.";
  return tell(() => postJson(`${base}prompt`, content), done);
}

// Whether a prompt is that of the newest block, and no other one waits for the next.
function isRunning(text) {
  const { shown = [], waiting_prompt: waiting } = status();
  return !waiting && shown.at(-1)?.prompt === text;
}

// Show how long a prompt took from sending to the screen.
function watchForSent({ shown, fps, stream }) {
  if (!sent || !shown) return;
  const waited = (performance.now() - sent.at) / 1000;
  const cue = shown.findLast((each) => each.prompt === sent.text);
  const isNew = cue && (sent.before === stream ? cue.start >= sent.frame : true);
  const ago = isNew ? player.time - cue.start / fps : -1;
  if (ago >= 0 && isPlaying()) {
    say(`On screen ${(waited - ago / (video.playbackRate || 1)).toFixed(1)} s after it was sent.`);
    sent = null;
  } else if (waited > GIVE_UP_SECONDS) {
    say("");
    sent = null;
  }
}

function onKey(event) {
  const box = event.target;
  const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    send();
  } else if (event.key === "Escape") {
    box.blur();
  } else if (step && isAtEdge(box, step)) {
    event.preventDefault();
    const text = recall(step);
    if (text !== null) compose(text);
  }
}

function isAtEdge(box, step) {
  const [from, to] = [box.selectionStart, box.selectionEnd];
  const rest = step < 0 ? box.value.slice(0, from) : box.value.slice(to);
  return !rest.includes("\n");
}

export function startComposer() {
  subscribe(render);
  $("form").addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  $("new").addEventListener("click", () => {
    toggleAskedFor();
    $("prompt").focus();
  });
  $("prompt").addEventListener("keydown", onKey);
  setInterval(() => watchForSent(status()), 250);
}
