// Marks the words of the prompt that the model does not know, and offers the nearest known ones.

import { getJson, root } from "./api.js";
import { $, make, setText } from "./dom.js";

const WAIT = 300; // milliseconds without a key, after which the server is asked
let timer = 0;
let asked = ""; // the newest prompt that was sent to the server
let open = false; // the model reads any word
let marks = null; // lies under the box, with the same text

async function check() {
  const prompt = $("prompt").value;
  asked = prompt;
  if (open || !prompt.trim()) return show([]);
  try {
    const found = await getJson(`${root}words?prompt=${encodeURIComponent(prompt)}`);
    open = !found.closed_vocabulary;
    if (asked === prompt) show(found.unknown);
  } catch {
    show([]); // the box works without it
  }
}

function show(unknown) {
  $("word-notes").replaceChildren(...unknown.map(note));
  mark(unknown.map((each) => each.word));
}

function note({ word, nearest }) {
  const line = make("p", {}, make("mark", {}, word), " is not known to this model. ");
  if (nearest.length) line.append(nearest.length > 1 ? "Nearest: " : "Did you mean ");
  nearest.forEach((near) => {
    const button = make("button", { type: "button", title: `Write ${near} in place of ${word}` }, near);
    button.addEventListener("click", () => replace(word, near));
    line.append(button, " ");
  });
  return line;
}

const pattern = (words) =>
  new RegExp(`(?<![\\p{L}\\p{N}_])(${words.map(escape).join("|")})(?![\\p{L}\\p{N}_])`, "giu");
const escape = (word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

function mark(words) {
  const text = $("prompt").value;
  const parts = words.length ? text.split(pattern(words)) : [text];
  const nodes = parts.map((part, i) => (i % 2 ? make("mark", {}, part) : part));
  marks.replaceChildren(...nodes, "\n"); // a last line break is not shown without one more
  follow();
}

function follow() {
  marks.scrollTop = $("prompt").scrollTop;
}

function replace(word, near) {
  const box = $("prompt");
  box.value = box.value.replace(pattern([word]), () => near);
  box.dispatchEvent(new Event("input", { bubbles: true }));
  box.focus();
}

function onInput() {
  clearTimeout(timer);
  if (open) return;
  if (marks.textContent.trimEnd() !== $("prompt").value.trimEnd()) setText(marks, ""); // old places
  timer = setTimeout(check, $("prompt").value ? WAIT : 0);
}

export function startWords() {
  const box = $("prompt");
  marks = make("div", { className: "marks", "aria-hidden": "true" });
  const frame = make("div", { className: "marked" });
  box.replaceWith(frame);
  frame.append(marks, box);
  box.addEventListener("input", onInput);
  box.addEventListener("scroll", follow);
  new ResizeObserver(() => {
    marks.style.width = `${box.clientWidth + 2}px`; // without the scroll bar, with the borders
    marks.style.height = `${box.offsetHeight}px`;
  }).observe(box);
  onInput();
}
