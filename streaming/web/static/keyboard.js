// Keys of the page, where no box has the focus.

import { togglePause } from "./controls.js";
import { $ } from "./dom.js";

const KEYS = {
  "/": () => $("prompt").focus(),
  p: togglePause,
};

export function startKeyboard() {
  document.addEventListener("keydown", (event) => {
    if (event.target.closest("textarea, input, dialog")) return;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const action = KEYS[event.key.toLowerCase()];
    if (!action) return;
    event.preventDefault();
    action();
  });
}
