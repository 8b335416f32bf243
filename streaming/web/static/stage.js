// The stage: the video, what is said over it, its caption, and the way back to the live edge.

import { base } from "./api.js";
import { $, setText } from "./dom.js";
import { Player } from "./player.js";
import { isOver, status, subscribe, update } from "./state.js";

const OVERLAYS = {
  connecting: "Connecting …",
  empty: "No stream has started yet.", // replaced for clients that may begin one
  queued: "This stream waits in the queue.",
  cancelled: "This stream was cancelled before it started.",
  failed: "This stream could not start.",
  starting: "The first block is being generated …",
  disconnected: "Disconnected. Trying again …",
};
const UNPLAYABLE = `This browser cannot play the stream. Open ${base}live.mp4 in a video player.`;
const BEGIN = "Write a prompt to start a stream.";
const RETRY_SECONDS = 1;

export const video = $("video");
export const player = new Player(video, `${base}live.mp4`, onPlayer);
let playing = null; // number of the stream being played
let retryAt = 0;
let unplayable = false;

// Whether the newest stream is the one being played.
export const isPlaying = () => playing !== null && playing === status().stream;

function onPlayer(what) {
  unplayable = what === "unplayable";
  if (what === "playing" || unplayable) return;
  retryAt = Date.now() + RETRY_SECONDS * 1000;
  if (what === "lost" || status().state !== "finished") playing = null;
  if (what === "lost") update({ state: "disconnected" });
}

function overlay({ state, may_begin: mayBegin, place }) {
  if (mayBegin && ["empty", "finished"].includes(state)) {
    return state === "finished" && video.buffered.length ? "" : BEGIN;
  }
  const text = OVERLAYS[state] ?? "";
  if (!text && unplayable) return UNPLAYABLE;
  return state === "queued" && place ? `${text.slice(0, -1)}, at place ${place}.` : text;
}

function render(now) {
  setText($("overlay"), overlay(now));
  if (!now.mime) return; // it has not begun
  player.speed = now.speed;
  const ready = !["starting", "disconnected"].includes(now.state) && Date.now() >= retryAt;
  if (playing !== now.stream && ready) {
    playing = now.stream;
    player.play(now.mime);
  }
}

// The prompt on the screen, from which a caption is made.
export function promptOnScreen() {
  const { shown, fps } = status();
  if (!shown) return null;
  const at = player.time * fps + 0.5;
  return shown.findLast((cue) => cue.start <= at) ?? null;
}

// Pause the player, or continue where it was paused.
export function togglePlay() {
  if (video.paused) video.play().catch(() => {});
  else video.pause();
}

function renderPlay() {
  const words = video.paused ? "Play" : "Pause the player";
  $("play").dataset.icon = video.paused ? "play" : "pause";
  $("play").setAttribute("aria-label", words);
  $("play").title = `${words} (space)`;
}

export function startStage() {
  subscribe(render);
  renderPlay();
  for (const event of ["play", "pause"]) video.addEventListener(event, renderPlay);
  video.addEventListener("click", togglePlay);
  $("play").addEventListener("click", togglePlay);
  $("live").addEventListener("click", () => player.follow());
  setInterval(() => {
    const nothing = !status().mime || !video.buffered.length; // to return from
    $("live").hidden = (player.following && !video.paused) || nothing || isOver();
    setText($("caption"), promptOnScreen()?.prompt ?? "");
  }, 250);
}
