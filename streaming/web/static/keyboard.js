// Keys of the page, where no box has the focus, and the list of them.

import { goBack, togglePause } from "./controls.js";
import { showDialog } from "./dialogs.js";
import { $, make } from "./dom.js";
import { toggleFull, toggleSharp, toggleTheatre } from "./screen-size.js";
import { toggleSound } from "./sound.js";
import { player, togglePlay } from "./stage.js";

const STEP = 5; // seconds
const focusPrompt = () => !$("prompt").disabled && $("prompt").focus();

// Keys, what they do in words, and the action.
const KEYS = [
  [["Space", "K"], "Pause or play the video", togglePlay],
  [["←", "→"], `Move ${STEP} seconds`, null],
  [["L"], "Back to live", () => player.follow()],
  [["/"], "Write a prompt", focusPrompt],
  [["P"], "Pause or resume the stream", togglePause],
  [["B"], "Go back 10 seconds", goBack],
  [["F"], "Full screen", toggleFull],
  [["T"], "Theatre mode", toggleTheatre],
  [["M"], "Sound on or off, where the stream has some", toggleSound],
  [["S"], "Sharp or smooth pixels", toggleSharp],
  [["?"], "This list", showKeys],
];
const OF_BOXES = [
  [["Enter"], "Send the prompt"],
  [["↑", "↓"], "Earlier and later prompts"],
  [["Esc"], "Leave the box"],
];
const OF_STRIP = [
  [["←", "→"], "The prompt before or after"],
  [["Shift ←", "Shift →"], "Move a coming prompt by a second"],
  [["Enter"], "Change a coming prompt"],
  [["Delete"], "Delete a coming prompt"],
];
const ACTIONS = {
  ...Object.fromEntries(
    KEYS.flatMap(([keys, , action]) => keys.map((key) => [key.toLowerCase(), action])),
  ),
  " ": togglePlay,
  arrowleft: () => player.seek(player.time - STEP),
  arrowright: () => player.seek(player.time + STEP),
};

function list(title, keys) {
  const rows = keys.map(([names, words]) => {
    const marks = names.flatMap((name, i) => [...(i ? [" "] : []), make("kbd", {}, name)]);
    return make("div", {}, make("dt", {}, ...marks), make("dd", {}, words));
  });
  return make("section", {}, make("h3", {}, title), make("dl", { className: "keys" }, ...rows));
}

function showKeys() {
  const close = make("button", { value: "" }, "Close");
  const buttons = make("div", { className: "buttons" }, close);
  const form = make("form", { method: "dialog" }, make("h2", {}, "Keyboard shortcuts"));
  form.append(list("The page", KEYS), list("The box for prompts", OF_BOXES));
  form.append(list("A prompt of the timeline", OF_STRIP), buttons);
  showDialog(form, "Keyboard shortcuts");
}

function onKey(event) {
  if (event.target.closest("textarea, input, select, dialog, [popover]")) return;
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (event.key === " " && event.target.closest("button, a, summary")) return;
  const action = ACTIONS[event.key.toLowerCase()];
  if (!action) return;
  event.preventDefault();
  action();
}

export function startKeyboard() {
  document.addEventListener("keydown", onKey);
  $("help").addEventListener("click", showKeys);
}
