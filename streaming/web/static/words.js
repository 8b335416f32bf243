// Marks the words of a prompt that the model does not know, and offers the nearest known ones.

import { getJson, root } from "./api.js";
import { $, make, setText } from "./dom.js";

const WAIT = 300; // milliseconds without a key, after which the server is asked
let open = false; // the model reads any word

const pattern = (words) =>
  new RegExp(`(?<![\\p{L}\\p{N}_])(${words.map(escape).join("|")})(?![\\p{L}\\p{N}_])`, "giu");
const escape = (word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

// One box for a prompt, with the element that lists its unknown words.
class MarkedBox {
  #box;
  #notes;
  #marks = make("div", { className: "marks", "aria-hidden": "true" }); // under the box, same text
  #timer = 0;
  #asked = ""; // the newest prompt that was sent to the server

  constructor(box, notes) {
    this.#box = box;
    this.#notes = notes;
    const frame = make("div", { className: "marked" });
    box.replaceWith(frame);
    frame.append(this.#marks, box);
    box.addEventListener("input", () => this.#onInput());
    box.addEventListener("scroll", () => this.#follow());
    new ResizeObserver(() => {
      this.#marks.style.width = `${box.clientWidth + 2}px`; // without the scroll bar, with the borders
      this.#marks.style.height = `${box.offsetHeight}px`;
    }).observe(box);
    this.#onInput();
  }

  #onInput() {
    clearTimeout(this.#timer);
    if (open) return;
    const text = this.#box.value;
    if (this.#marks.textContent.trimEnd() !== text.trimEnd()) setText(this.#marks, ""); // old places
    this.#timer = setTimeout(() => this.#check(), text ? WAIT : 0);
  }

  async #check() {
    const prompt = this.#box.value;
    this.#asked = prompt;
    if (open || !prompt.trim()) return this.#show([]);
    try {
      const found = await getJson(`${root}words?prompt=${encodeURIComponent(prompt)}`);
      open = !found.closed_vocabulary;
      if (this.#asked === prompt) this.#show(found.unknown);
    } catch {
      this.#show([]); // the box works without it
    }
  }

  #show(unknown) {
    this.#notes.replaceChildren(...unknown.map((each) => this.#note(each)));
    const words = unknown.map((each) => each.word);
    const parts = words.length ? this.#box.value.split(pattern(words)) : [this.#box.value];
    const nodes = parts.map((part, i) => (i % 2 ? make("mark", {}, part) : part));
    this.#marks.replaceChildren(...nodes, "\n"); // a last line break is not shown without one more
    this.#follow();
  }

  #note({ word, nearest }) {
    const line = make("p", {}, make("mark", {}, word), " is not known to this model. ");
    if (nearest.length) line.append(nearest.length > 1 ? "Nearest: " : "Did you mean ");
    nearest.forEach((near) => {
      const button = make("button", { type: "button", title: `Write ${near} in place of ${word}` }, near);
      button.addEventListener("click", () => this.#replace(word, near));
      line.append(button, " ");
    });
    return line;
  }

  #replace(word, near) {
    this.#box.value = this.#box.value.replace(pattern([word]), () => near);
    this.#box.dispatchEvent(new Event("input", { bubbles: true }));
    this.#box.focus();
  }

  #follow() {
    this.#marks.scrollTop = this.#box.scrollTop;
  }
}

// Mark the unknown words of a box inside a parent element.
export const markWords = (box, notes) => new MarkedBox(box, notes);

export const startWords = () => markWords($("prompt"), $("word-notes"));
