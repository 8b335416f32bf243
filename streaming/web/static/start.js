// The start screen: example prompts, as pictures where the model has some. A click begins a stream.

import { tell } from "./answer.js";
import { base, getJson, root } from "./api.js";
import { isAskedFor, isBeginning } from "./beginning.js";
import { $, make } from "./dom.js";
import { status, subscribe } from "./state.js";
import { beginStream } from "./streams.js";

let examples = null; // null: not asked for yet

async function load() {
  examples = [];
  try {
    ({ examples } = await getJson(`${root}examples`));
  } catch {
    examples = null; // asked for again with the next status
    return;
  }
  $("start").replaceChildren(
    make("h2", {}, "Start with one of these, or write a prompt"),
    make("ul", { className: examples.some((each) => each.picture) ? "pictures" : "texts" },
      ...examples.map(item)),
  );
  render(status());
}

function item({ prompt, picture }) {
  const button = make("button", { type: "button" });
  if (picture) button.append(make("img", { src: root + picture, alt: "", loading: "lazy" }));
  button.append(make("span", {}, prompt));
  button.addEventListener("click", () => begin(prompt, button));
  return make("li", {}, button);
}

async function begin(prompt, button) {
  button.disabled = true; // one stream a click
  const answer = await tell(() => beginStream({ prompt }), "Sent. The stream starts in a moment.");
  button.disabled = false;
  const shownHere = !isAskedFor() && base === root; // the page of the newest stream
  if (!answer) return;
  if (shownHere) $("play").focus({ preventScroll: true }); // the list of examples disappears
  else location.href = answer.links.page;
}

function render({ state }) {
  const wanted = isBeginning() && state !== "connecting";
  if (wanted && examples === null) load();
  $("start").hidden = !wanted || !examples?.length;
  $("start").classList.toggle("below", state === "finished" && !isAskedFor());
}

export function startStart() {
  subscribe(render);
}
