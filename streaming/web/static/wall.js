// The other streams that run, side by side with the one on the stage, each with its live video.

import { getJson, root } from "./api.js";
import { $, make, setText } from "./dom.js";
import { Player } from "./player.js";
import { subscribe } from "./state.js";

const MOST_PLAYING = 3; // a browser holds six connections to a server; the page itself needs three
const SECONDS = 2; // between two questions for the state of a stream
const STATES = { starting: "starting", running: "live", paused: "paused", finished: "finished" };
const tiles = new Map(); // by id

class Tile {
  constructor({ id, title }) {
    this.visible = false;
    this.video = make("video", { muted: true, playsInline: true, disablePictureInPicture: true });
    this.video.setAttribute("aria-hidden", "true");
    this.state = make("span", { className: "state" }, "…");
    this.speed = make("span", { className: "speed" });
    const name = make("span", { className: "name" }, title || `Stream ${id}`);
    const foot = make("span", { className: "foot" }, name, this.state, this.speed);
    const link = make("a", { href: `${root}streams/${id}/` }, this.video, foot);
    link.title = `Direct stream ${id}: ${title}`;
    this.item = make("li", {}, link);
    this.path = `${root}streams/${id}/`;
    this.player = new Player(this.video, `${this.path}live.mp4`, (what) => this.#onPlayer(what));
    this.playing = false;
    this.mime = null;
    this.retryAt = 0;
    this.timer = setTimeout(() => this.#ask(), 0);
  }

  // Play, or stop playing, which leaves the last frame.
  play(wanted) {
    const wants = wanted && this.mime !== null && Date.now() >= this.retryAt;
    if (wants && !this.playing) {
      this.playing = true;
      this.player.play(this.mime);
    } else if (!wanted && this.playing) {
      this.playing = false;
      this.player.stop();
      this.video.pause();
    }
    this.item.classList.toggle("still", !this.playing);
  }

  close() {
    clearTimeout(this.timer);
    this.player.close();
    this.item.remove();
  }

  #onPlayer(what) {
    if (what === "playing") return;
    this.playing = false;
    this.retryAt = Date.now() + 3000;
  }

  async #ask() {
    try {
      const now = await getJson(`${this.path}status`, 4);
      this.mime = now.state === "starting" ? null : now.mime ?? null;
      this.player.speed = now.speed ?? 1;
      this.item.dataset.state = now.state;
      setText(this.state, STATES[now.state] ?? now.state);
      setText(this.speed, now.blocks ? `${now.speed.toFixed(2)} ×` : "");
      if (now.width) this.video.style.aspectRatio = `${now.width} / ${now.height}`;
    } catch {
      setText(this.state, "disconnected");
    }
    playVisible();
    this.timer = setTimeout(() => this.#ask(), SECONDS * 1000);
  }
}

const observer = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    const tile = [...tiles.values()].find((each) => each.item === target);
    if (tile) tile.visible = isIntersecting;
  }
  playVisible();
});

// Play the first tiles that can be seen; the others keep their last frame.
function playVisible() {
  const shown = document.visibilityState === "visible";
  let left = MOST_PLAYING;
  for (const tile of tiles.values()) {
    const wanted = shown && tile.visible && left > 0;
    if (wanted) left -= 1;
    tile.play(wanted);
  }
}

function render({ streams = [], stream }) {
  const others = streams.filter(({ id }) => id !== stream);
  for (const [id, tile] of tiles) {
    if (others.some((each) => each.id === id)) continue;
    tile.close();
    tiles.delete(id);
  }
  for (const each of others) {
    if (tiles.has(each.id)) continue;
    const tile = new Tile(each);
    tiles.set(each.id, tile);
    $("wall-streams").append(tile.item);
    observer.observe(tile.item);
  }
  $("wall").hidden = !tiles.size;
}

export function startWall() {
  $("wall").append(make("h2", {}, "Other streams"), make("ul", { id: "wall-streams" }));
  document.addEventListener("visibilitychange", playVisible);
  subscribe(render);
}
