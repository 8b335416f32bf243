// The coming prompts of the stream, which the page may replace.

import { say } from "./answer.js";
import { base, putJson } from "./api.js";
import { clock } from "./format.js";
import { hurry } from "./poll.js";
import { change, status } from "./state.js";

// The coming prompts, as they are edited: seconds, text, blocks of the blend.
export const coming = () =>
  (status().coming ?? []).map((cue) => ({
    at: cue.start / status().fps,
    prompt: cue.prompt,
    blocks: cue.transition_blocks,
  }));

// The earliest second that a new prompt can have.
export const earliest = () => status().seconds ?? 0;

// Whether the block that a coming prompt starts with is being generated.
export const hasStarted = (cue) => status().state === "running" && cue.at < earliest() + 0.001;

// What is said of a prompt in its place.
export function comesAt({ at, blocks }) {
  const unit = blocks === 1 ? "block" : "blocks";
  return `The prompt comes at ${clock(at)}${blocks ? `, blended over ${blocks} ${unit}` : ""}.`;
}

// Replace the coming prompts, which are shown in their new places at once; throws the server's reason.
export async function replaceComing(cues) {
  const sorted = [...cues].sort((a, b) => a.at - b.at);
  const content = sorted.map(({ at, prompt, blocks }) => ({
    at_seconds: Math.round(at * 1000) / 1000,
    prompt,
    transition_blocks: blocks,
  }));
  const shown = sorted.map(({ at, prompt, blocks }) => ({
    start: at * status().fps,
    prompt,
    transition_blocks: blocks,
  }));
  const end = change({ coming: shown });
  let answer = {};
  try {
    const { coming: kept } = await putJson(`${base}story`, { cues: content });
    answer = { coming: kept };
  } finally {
    hurry(3); // before the end: an older status does not replace the answer
    end(answer);
  }
}

// The same, with the reason of an error under the box for prompts; returns whether it was done.
export async function tryToReplace(cues, done) {
  try {
    await replaceComing(cues);
    say(done);
    return true;
  } catch (error) {
    say(`Not changed: ${error.message}`, true);
    return false;
  }
}

// Seconds of video in a block, as far as blocks were made.
export function blockSeconds() {
  const { seconds, blocks, fps, thumbnails = [] } = status();
  if (thumbnails.length > 1) return (thumbnails.at(-1) - thumbnails.at(-2)) / fps;
  return blocks ? seconds / blocks : 1;
}
