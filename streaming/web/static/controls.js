// Buttons that pause and end the stream, and the link to its recording.

import { base, command } from "./api.js";
import { tell } from "./composer.js";
import { confirmed } from "./dialogs.js";
import { $, setText } from "./dom.js";
import { isOver, mayDirect, status, subscribe } from "./state.js";

export function togglePause() {
  if (!mayDirect()) return null;
  return status().state === "paused"
    ? tell(() => command("/resume"), "The stream continues.")
    : tell(() => command("/pause"), "The stream pauses after the current block.");
}

async function end() {
  const question = {
    title: "End the stream?",
    text: "The video so far is kept.",
    yes: "End the stream",
    danger: true,
  };
  if (await confirmed(question)) {
    tell(() => command("/stop"), "The stream ends after the current block.");
  }
}

function render(now) {
  for (const id of ["pause", "stop"]) {
    $(id).hidden = !now.may_direct || isOver() || ["connecting", "queued"].includes(now.state);
    $(id).disabled = !mayDirect();
  }
  setText($("pause"), now.state === "paused" ? "Resume the stream" : "Pause the stream");
  $("download").hidden = !now.may_download || !now.blocks;
  setText($("download"), now.state === "finished" ? "Download" : "Download so far");
}

export function startControls() {
  subscribe(render);
  $("download").href = `${base}download`;
  $("pause").addEventListener("click", togglePause);
  $("stop").addEventListener("click", end);
}
