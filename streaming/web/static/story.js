// The prompts of the stream: those shown before, the one on screen, and those to come.

import { compose } from "./composer.js";
import { $, make } from "./dom.js";
import { clock } from "./format.js";
import { promptOnScreen } from "./stage.js";
import { status, subscribe } from "./state.js";

function cues() {
  const { shown, coming, waiting_prompt: waiting, fps } = status();
  const onScreen = shown.indexOf(promptOnScreen());
  const time = (cue) => clock(cue.start / fps);
  const kind = (i) => (i < onScreen ? "shown" : i === onScreen ? "now" : "coming");
  const list = shown.map((cue, i) => ({ time: time(cue), prompt: cue.prompt, kind: kind(i) }));
  if (waiting) list.push({ time: "next", prompt: waiting, kind: "coming" });
  const later = coming.map((cue) => ({ time: time(cue), prompt: cue.prompt, kind: "coming" }));
  return [...list, ...later];
}

function item({ time, prompt, kind }) {
  const button = make("button", { type: "button", title: "Put this prompt into the box" });
  if (kind === "now") button.setAttribute("aria-current", "true");
  button.append(make("time", {}, time), make("span", {}, prompt));
  button.addEventListener("click", () => compose(prompt));
  return make("li", { className: kind }, button);
}

function render() {
  if (!status().shown) return;
  const list = cues();
  const key = JSON.stringify(list);
  const story = $("story");
  if (story.dataset.key === key) return;
  story.dataset.key = key;
  story.replaceChildren(...list.map(item));
  const now = story.querySelector(".now");
  if (now && story.scrollHeight > story.clientHeight) {
    story.scrollTop = now.offsetTop - story.offsetTop - 40;
  }
}

export function startStory() {
  subscribe(render);
  setInterval(render, 250);
}
