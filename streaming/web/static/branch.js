// A new stream that begins as a branch of this one, or of a finished film.

import { showDialog } from "./dialogs.js";
import { make } from "./dom.js";
import { clock } from "./format.js";
import { promptOnScreen } from "./stage.js";
import { isOver, status } from "./state.js";
import { beginStream } from "./streams.js";
import { markWords } from "./words.js";

// Ask for the prompt of a branch from a time of the video, or from its end, and open its page.
export async function branchFrom(seconds, film = thisStream()) {
  const newest = film.runs ? "the newest block" : "the end";
  const where = seconds === null ? newest : clock(seconds);
  const prompt = make("textarea", { id: "branch-prompt", rows: 3, maxLength: 4000, required: true });
  const notes = make("div", { className: "word-notes", "aria-live": "polite" });
  prompt.value = film.prompt;
  const answer = make("p", { className: "bad", role: "alert" });
  const cancel = make("button", { type: "button" }, "Cancel");
  const form = make(
    "form",
    {},
    make("h2", {}, `Branch from ${where}`),
    make("p", { className: "hint" }, "A new stream continues from there; this one stays as it is."),
    make("label", { htmlFor: "branch-prompt" }, "First prompt of the branch"),
    prompt,
    notes,
    answer,
    make("div", { className: "buttons" }, cancel, make("button", { className: "primary" }, "Branch")),
  );
  markWords(prompt, notes);
  cancel.addEventListener("click", () => form.closest("dialog").close(""));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    answer.textContent = "";
    try {
      location.href = (await begin(prompt.value.trim(), seconds, film.stream)).links.page;
    } catch (error) {
      answer.textContent = `The stream cannot be branched: ${error.message}`;
    }
  });
  await showDialog(form, `Branch from ${where}`);
}

const thisStream = () => ({
  stream: status().stream,
  prompt: promptOnScreen()?.prompt ?? "",
  runs: !isOver(),
});

function begin(prompt, seconds, stream) {
  const from = { stream };
  if (seconds !== null) from.seconds = Math.round(seconds * 1000) / 1000;
  return beginStream({ prompt, branch_from: from });
}
