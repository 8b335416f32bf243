// The page around the video: state, prompts, story, figures. Text from users is never HTML.

import { Player } from "/player.js";

const $ = (id) => document.getElementById(id);
const base = location.pathname.match(/^\/streams\/\d+\//)?.[0] ?? "/"; // of the stream shown
const video = $("video");
const player = new Player(video, `${base}live.mp4`, onPlayer);
const history = readHistory();
let status = null; // the last answer of the server
let playing = null; // number of the stream being played
let retryAt = 0;
let unplayable = false;
let sent = null; // the last prompt sent, until it is shown
let asksNew = false; // the box takes the first prompt of another stream
let place = history.length; // in the history, for the arrow keys

const STATES = {
  connecting: ["connecting", "Connecting …"],
  empty: ["waiting", "No stream has begun yet."], // replaced for clients that may begin one
  queued: ["in the queue", "This stream waits in the queue."],
  cancelled: ["cancelled", "This stream was cancelled before it began."],
  failed: ["failed", "This stream could not begin."],
  starting: ["starting", "The first block is being generated …"],
  running: ["live", ""],
  paused: ["paused", ""],
  finished: ["finished", ""],
  disconnected: ["disconnected", "Disconnected. Trying again …"],
};
const OVER = ["empty", "finished", "cancelled", "failed"]; // another stream may begin here
const UNPLAYABLE = `This browser cannot play the stream. Open ${base}live.mp4 in a video player.`;
const BEGIN = "Write a prompt below to begin a stream.";

function readHistory() {
  try {
    const kept = JSON.parse(localStorage.getItem("prompts"));
    return Array.isArray(kept) ? kept.filter((text) => typeof text === "string") : [];
  } catch {
    return [];
  }
}

function clock(seconds) {
  const whole = Math.floor(seconds);
  const pad = (number) => String(number).padStart(2, "0");
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return h ? `${h}:${pad(m)}:${pad(s)}` : `${m}:${pad(s)}`;
}

function show(state) {
  const [word, usual] = STATES[state];
  const controls = Boolean(status?.may_direct) && ["starting", "running", "paused"].includes(state);
  const begins = Boolean(status?.may_begin) && (asksNew || OVER.includes(state));
  const queue = state === "queued" && status.place ? ` Its place is ${status.place}.` : "";
  const invites = begins && ["empty", "finished"].includes(state);
  const overlay = unplayable && !usual ? UNPLAYABLE : invites ? BEGIN : usual + queue;
  if (document.body.dataset.state !== state && $("answer").className !== "bad" && !sent) {
    $("answer").textContent = ""; // it was about the state before
  }
  document.body.dataset.state = state;
  if ($("state").textContent !== word) $("state").textContent = word;
  if ($("overlay").textContent !== overlay) $("overlay").textContent = overlay;
  if (video.controls !== !overlay) video.controls = !overlay;
  for (const id of ["prompt", "send"]) $(id).disabled = !(controls || begins);
  $("blend").disabled = !controls;
  $("blending").hidden = begins; // the first prompt has nothing before it
  for (const id of ["pause", "stop"]) {
    $(id).hidden = !status?.may_direct || [...OVER, "connecting", "queued"].includes(state);
    $(id).disabled = !controls;
  }
  $("new").hidden = !status?.may_begin || OVER.includes(state) || state === "connecting";
  $("new").setAttribute("aria-pressed", asksNew);
  $("new").textContent = asksNew ? "Back to this stream" : "New stream";
  $("label").textContent = begins ? "First prompt of a new stream" : "What happens next";
  $("send").textContent = begins ? "Begin" : "Send";
  $("pause").textContent = state === "paused" ? "Resume the stream" : "Pause the stream";
}

async function poll() {
  try {
    const response = await fetch(`${base}status`, { signal: AbortSignal.timeout(4000) });
    if (!response.ok) throw new Error(`status ${response.status}`);
    status = await response.json();
    render();
  } catch {
    show("disconnected");
  }
  setTimeout(poll, sent ? 250 : 1000);
}

function render() {
  show(status.state);
  renderStreams();
  document.title = $("title").textContent = status.title || "sana-stream";
  if (!status.mime) return; // it has not begun
  player.speed = status.speed;
  $("screen").style.setProperty("aspect-ratio", `${status.width} / ${status.height}`);
  if (playing !== status.stream && status.state !== "starting" && Date.now() >= retryAt) {
    playing = status.stream;
    player.play(status.mime);
  }
  $("speed").textContent = status.blocks ? `${status.speed.toFixed(2)} ×` : "–";
  $("real-time").textContent = status.blocks ? "real time" : "";
  const total = status.total_seconds === null ? "" : ` of ${clock(status.total_seconds)}`;
  $("made").textContent = clock(status.seconds) + total;
  const mib = (bytes) => Math.round(bytes / 2 ** 20);
  $("memory").textContent = status.blocks ? `${mib(status.memory_bytes)} MiB` : "–";
  $("peak").textContent = status.blocks ? `peak ${mib(status.peak_memory_bytes)}` : "";
  $("viewers").textContent = status.viewers;
  $("download").hidden = !status.may_download || !status.blocks;
  $("download").textContent = status.state === "finished" ? "Download" : "Download so far";
  if ($("notice").textContent !== status.notice) $("notice").textContent = status.notice;
  renderStory();
}

// A link to each stream that runs, where there are several.
function renderStreams() {
  const streams = status.streams ?? [];
  const key = JSON.stringify(streams) + status.stream;
  $("streams").hidden = streams.length < 2 && streams.every(({ id }) => id === status.stream);
  if ($("streams").dataset.key === key) return;
  $("streams").dataset.key = key;
  $("streams").replaceChildren(
    ...streams.map(({ id, title }) => {
      const link = document.createElement("a");
      link.href = `/streams/${id}/`;
      link.textContent = `${id} ${title}`;
      link.title = title;
      if (id === status.stream) link.setAttribute("aria-current", "page");
      return link;
    }),
  );
}

function onPlayer(what) {
  unplayable = what === "unplayable";
  if (what === "playing" || unplayable) return;
  retryAt = Date.now() + 1000;
  if (what === "lost" || status?.state !== "finished") playing = null;
  if (what === "lost") show("disconnected");
}

// The story: prompts shown before, the one on screen, the next one, and those to come.
function cues() {
  const at = player.time * status.fps + 0.5;
  const onScreen = status.shown.findLastIndex((cue) => cue.start <= at);
  const list = status.shown.map((cue, i) => ({
    time: clock(cue.start / status.fps),
    prompt: cue.prompt,
    kind: i < onScreen ? "shown" : i === onScreen ? "now" : "coming",
  }));
  if (status.waiting_prompt) {
    list.push({ time: "next", prompt: status.waiting_prompt, kind: "coming" });
  }
  for (const cue of status.coming) {
    list.push({ time: clock(cue.start / status.fps), prompt: cue.prompt, kind: "coming" });
  }
  return list;
}

// Show how long a prompt took from sending to the screen.
function watchForSent() {
  if (!sent) return;
  const waited = performance.now() - sent.at;
  const cue = status.shown.findLast((each) => each.prompt === sent.text);
  const isNew = cue && (sent.before === status.stream ? cue.start >= sent.frame : true);
  const ago = isNew ? player.time - cue.start / status.fps : -1;
  if (ago >= 0 && playing === status.stream) {
    const seconds = waited / 1000 - ago / (video.playbackRate || 1);
    $("answer").textContent = `On screen ${seconds.toFixed(1)} s after it was sent.`;
    sent = null;
  } else if (waited > 60000) {
    $("answer").textContent = "";
    sent = null;
  }
}

function renderStory() {
  watchForSent();
  const list = cues();
  const key = JSON.stringify(list);
  $("caption").textContent = list.find((cue) => cue.kind === "now")?.prompt ?? "";
  if ($("story").dataset.key === key) return;
  $("story").dataset.key = key;
  $("story").replaceChildren(
    ...list.map((cue) => {
      const item = document.createElement("li");
      item.className = cue.kind;
      const button = document.createElement("button");
      button.type = "button";
      button.title = "Put this prompt into the box";
      if (cue.kind === "now") button.setAttribute("aria-current", "true");
      const time = document.createElement("time");
      time.textContent = cue.time;
      const text = document.createElement("span");
      text.textContent = cue.prompt;
      button.append(time, text);
      button.addEventListener("click", () => write(cue.prompt));
      item.append(button);
      return item;
    }),
  );
  const now = $("story").querySelector(".now");
  if (now && $("story").scrollHeight > $("story").clientHeight) {
    $("story").scrollTop = now.offsetTop - $("story").offsetTop - 40;
  }
}

function write(text) {
  $("prompt").value = text;
  $("prompt").focus();
}

// Send text, or an object as JSON.
async function post(path, content, done) {
  const isText = typeof content === "string";
  $("answer").className = "";
  try {
    const response = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": `${isText ? "text/plain" : "application/json"};charset=utf-8` },
      body: isText ? content : JSON.stringify(content),
      signal: AbortSignal.timeout(8000),
    });
    const answer = await response.text();
    if (!response.ok) throw new Error(answer.trim());
    $("answer").textContent = done;
    return answer;
  } catch (error) {
    $("answer").className = "bad";
    $("answer").textContent = `Not sent: ${error.message}`;
    return null;
  }
}

async function send() {
  const text = $("prompt").value.trim();
  if (!text || $("send").disabled) return;
  const begins = asksNew || OVER.includes(document.body.dataset.state);
  if (!begins && !$("blend").reportValidity()) return;
  const blocks = $("blend").valueAsNumber;
  const at = performance.now();
  const answer = begins
    ? await post("/streams", { prompt: text }, "Sent. The stream begins in a moment.")
    : await post(
        `${base}prompt`,
        blocks ? { prompt: text, transition_blocks: blocks } : text,
        "Sent. It takes effect with the next block.",
      );
  if (answer === null) return;
  const { prompt, from_frame_or_later: frame, links } = JSON.parse(answer);
  const elsewhere = links && (asksNew || base !== "/");
  if (!elsewhere) sent = { text: prompt ?? text, frame: frame ?? Infinity, at, before: status.stream };
  history.push(text);
  history.splice(0, history.length - 50);
  localStorage.setItem("prompts", JSON.stringify(history));
  place = history.length;
  $("prompt").value = "";
  if (elsewhere) location.href = links.page;
}

function recall(step) {
  const next = place + step;
  if (next < 0 || next > history.length) return;
  place = next;
  $("prompt").value = history[place] ?? "";
}

const togglePause = () =>
  status?.state === "paused"
    ? post(`${base}command`, "/resume", "The stream continues.")
    : post(`${base}command`, "/pause", "The stream pauses after the current block.");

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
$("pause").addEventListener("click", togglePause);
$("new").addEventListener("click", () => {
  asksNew = !asksNew;
  show(document.body.dataset.state);
  $("prompt").focus();
});
$("download").href = `${base}download`;
$("stop").addEventListener("click", () => {
  if (confirm("End the stream? The video so far is kept.")) {
    post(`${base}command`, "/stop", "The stream ends after the current block.");
  }
});
$("live").addEventListener("click", () => player.follow());
$("prompt").addEventListener("keydown", (event) => {
  const box = event.target;
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    send();
  } else if (event.key === "Escape") {
    box.blur();
  } else if (event.key === "ArrowUp" && !box.value.slice(0, box.selectionStart).includes("\n")) {
    event.preventDefault();
    recall(-1);
  } else if (event.key === "ArrowDown" && !box.value.slice(box.selectionEnd).includes("\n")) {
    event.preventDefault();
    recall(1);
  }
});
document.addEventListener("keydown", (event) => {
  if (event.target.closest("textarea, input") || event.ctrlKey || event.metaKey || event.altKey) {
    return;
  }
  if (event.key === "/") {
    event.preventDefault();
    $("prompt").focus();
  } else if (event.key.toLowerCase() === "p" && !$("pause").hidden && !$("pause").disabled) {
    togglePause();
  }
});
setInterval(() => {
  $("live").hidden = player.following || !status?.mime;
  if (status?.shown) renderStory();
}, 250);

show("connecting");
poll();
