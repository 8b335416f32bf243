// The size of the picture: normal, theatre and full screen, with sharp or smooth pixels.

import { $ } from "./dom.js";
import { status, subscribe } from "./state.js";

const MOST = 3; // times the native size outside theatre and full screen: more looks out of focus
const PHONE = 640; // pixels
const AROUND = { normal: 400, theatre: 320, full: 52 }; // pixels of height for everything else
const PLACEHOLDER = { width: 224, height: 126 };

let sharp = localStorage.getItem("sharp") === "true";
let theatre = localStorage.getItem("theatre") === "true";

const isFull = () => document.fullscreenElement === $("stage");
const mode = () => (isFull() ? "full" : theatre ? "theatre" : "normal");

function fit() {
  const now = status();
  const { width, height } = now.width ? now : PLACEHOLDER;
  const room = $("room");
  const isPhone = innerWidth < PHONE;
  const tall = isPhone && !isFull() ? innerHeight * 0.6 : innerHeight - AROUND[mode()];
  let scale = Math.min(room.clientWidth / width, Math.max(tall, 200) / height);
  if (mode() === "normal" && !isPhone) scale = Math.min(scale, MOST);
  const dots = scale * devicePixelRatio; // of the display, for a pixel of the video
  if (sharp && dots >= 1) scale = Math.floor(dots) / devicePixelRatio;
  const screen = $("screen");
  screen.style.width = `${width * scale}px`;
  screen.style.height = `${height * scale}px`;
  $("video").classList.toggle("sharp", sharp);
  const above = isPhone ? `${$("stage").offsetHeight + 8}px` : ""; // where the stage stays
  document.documentElement.style.scrollPaddingTop = above;
}

function render() {
  document.body.dataset.mode = mode();
  $("sharp").setAttribute("aria-pressed", sharp);
  $("theatre").setAttribute("aria-pressed", theatre);
  $("full").setAttribute("aria-pressed", isFull());
  fit();
}

export function toggleSharp() {
  sharp = !sharp;
  localStorage.setItem("sharp", sharp);
  render();
}

export function toggleTheatre() {
  theatre = !theatre;
  localStorage.setItem("theatre", theatre);
  if (isFull()) document.exitFullscreen();
  render();
}

export function toggleFull() {
  const stage = $("stage");
  if (isFull()) document.exitFullscreen();
  else if (stage.requestFullscreen) stage.requestFullscreen().catch(() => {});
  else $("video").webkitEnterFullscreen?.(); // of phones that have it for videos only
}

export function startScreenSize() {
  let before = "";
  subscribe(({ width, height }) => {
    const size = `${width} ${height}`;
    if (size !== before) fit();
    before = size;
  });
  new ResizeObserver(fit).observe($("room"));
  addEventListener("resize", fit);
  document.addEventListener("fullscreenchange", render);
  $("sharp").addEventListener("click", toggleSharp);
  $("theatre").addEventListener("click", toggleTheatre);
  $("full").addEventListener("click", toggleFull);
  $("video").addEventListener("dblclick", toggleFull);
  render();
}
