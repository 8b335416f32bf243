// Buttons that rewind, branch, pause and end the stream, and the link to its recording.

import { tell } from "./answer.js";
import { base, command, request, root } from "./api.js";
import { isBeginning } from "./beginning.js";
import { branchFrom } from "./branch.js";
import { confirmed } from "./dialogs.js";
import { $, setText } from "./dom.js";
import { clock } from "./format.js";
import { player } from "./stage.js";
import { isOver, mayDirect, status, subscribe } from "./state.js";

const BACK_SECONDS = 10;

export function togglePause() {
  if (!mayDirect()) return null;
  return status().state === "paused"
    ? tell(() => command("/resume"), "The stream continues.")
    : tell(() => command("/pause"), "The stream pauses after the current block.");
}

// What follows a rewind: a paused stream stays paused.
const afterwards = () => (status().state === "paused" ? "waits there until it is resumed" : "continues from there");

// Rewind the stream by ten seconds.
export function goBack() {
  if (!mayDirect()) return null;
  const done = `The stream goes back ${BACK_SECONDS} s and ${afterwards()}.`;
  return tell(() => command(`/back ${BACK_SECONDS}`), done);
}

// Rewind the stream to a time of its video.
export function rewindTo(seconds) {
  const done = `The stream goes back to ${clock(seconds)} and ${afterwards()}.`;
  return tell(() => command(`/back to ${seconds.toFixed(3)}`), done);
}

// Take a stream out of the queue.
function cancel() {
  const path = `${root}streams/${status().stream}`;
  return tell(() => request(path, { method: "DELETE" }).then(() => ({})), "The stream was cancelled.");
}

export async function end() {
  if (status().state === "queued") return void cancel();
  const question = {
    title: "Stop the stream?",
    text: "The video so far is kept.",
    yes: "Stop the stream",
    danger: true,
  };
  if (await confirmed(question)) {
    tell(() => command("/stop"), "The stream stops after the current block.");
  }
}

function render(now) {
  const directs = now.may_direct && !isOver() && !["connecting", "queued"].includes(now.state);
  for (const id of ["back", "pause", "stop"]) {
    $(id).hidden = !directs;
    $(id).disabled = !mayDirect();
  }
  if (now.may_direct && now.state === "queued") $("stop").hidden = $("stop").disabled = false;
  setText($("stop"), now.state === "queued" ? "Cancel this stream" : "Stop");
  $("back").disabled ||= !now.blocks;
  $("branch").hidden = !now.may_begin || !now.may_download || !now.blocks;
  setText($("pause"), now.state === "paused" ? "Resume" : "Pause");
  $("download").hidden = !now.may_download || !now.blocks;
  setText($("download"), now.state === "finished" ? "Download" : "Download so far");
  $("panel").hidden = !now.may_direct && $("download").hidden;
  $("form").hidden = !now.may_direct || (now.state === "queued" && !isBeginning()); // nothing to direct yet
}

export function startControls() {
  subscribe(render);
  $("download").href = `${base}download`;
  $("back").addEventListener("click", goBack);
  $("branch").addEventListener("click", () => branchFrom(isOver() || player.following ? null : player.time));
  $("pause").addEventListener("click", togglePause);
  $("stop").addEventListener("click", end);
}
