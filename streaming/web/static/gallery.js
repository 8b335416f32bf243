// Films that are not written now: thumbnail, prompts, length; watch, download, branch from the end, delete.

import { getJson, request, root } from "./api.js";
import { branchFrom } from "./branch.js";
import { confirmed, showDialog } from "./dialogs.js";
import { $, make, setText } from "./dom.js";
import { bytes, clock } from "./format.js";
import { status, subscribe } from "./state.js";

let shown = []; // films, newest first
let mayDelete = false;
let available = true; // whether this server has films
let streamsBefore = null;

const path = (film, end) => `${root}films/${film.id}${end}`;
const isInterrupted = (film) => film.state === "interrupted"; // its stream waits for its turn
const title = (film) => film.prompts[0]?.prompt ?? `Stream ${film.id}`;

async function fetchFilms(before) {
  const answer = await getJson(`${root}films${before ? `?before=${before}` : ""}`);
  mayDelete = answer.may_delete;
  return answer;
}

// Ask for the newest films; those that were shown below them stay.
async function refresh() {
  try {
    const { films, more } = await fetchFilms();
    const oldest = films.at(-1)?.id ?? 0;
    const below = more ? shown.filter(({ id }) => id < oldest) : [];
    show([...films, ...below], below.length ? !$("gallery-more").hidden : more);
  } catch (error) {
    available = error.status !== 404;
    $("gallery").hidden = !available;
  }
}

async function showMore() {
  const button = $("gallery-more");
  button.disabled = true;
  try {
    const { films, more } = await fetchFilms(shown.at(-1).id);
    show([...shown, ...films], more);
  } catch (error) {
    say(error.message);
  }
  button.disabled = false;
}

function show(films, more) {
  const key = JSON.stringify(films) + mayDelete + status().may_begin;
  shown = films;
  $("gallery").hidden = false;
  $("gallery-empty").hidden = films.length > 0;
  $("gallery-more").hidden = !more;
  if ($("gallery-films").dataset.key === key) return;
  $("gallery-films").dataset.key = key;
  $("gallery-films").replaceChildren(...films.map(item));
}

const say = (text) => setText($("gallery-answer"), text);

function item(film) {
  const image = make("img", { src: path(film, ".jpg"), alt: "", loading: "lazy" });
  image.style.aspectRatio = `${film.width} / ${film.height}`;
  const watch = make("button", { type: "button", className: "watch", "aria-label": `Watch: ${title(film)}` },
    image, make("span", { className: "length" }, clock(film.seconds)));
  watch.addEventListener("click", () => play(film));
  const further = film.prompts.length - 1;
  const name = make("p", { className: "name", title: title(film) }, title(film));
  const day = new Date(film.finished_at * 1000).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  const facts = [
    ...(isInterrupted(film) ? ["Interrupted, will be resumed"] : []),
    day, bytes(film.bytes), ...(further > 0 ? [`${further + 1} prompts`] : []),
  ].join(" · ");
  return make("li", {}, watch, name, make("p", { className: "hint" }, facts), buttons(film));
}

function buttons(film) {
  const row = make("div", { className: "buttons" });
  row.append(make("a", { className: "button", href: path(film, ".mp4"), download: "" }, "Download"));
  if (film.may_branch && status().may_begin) {
    const branch = make("button", { type: "button" }, "Branch from the end");
    const prompt = film.prompts.at(-1)?.prompt ?? "";
    branch.addEventListener("click", () => branchFrom(null, { stream: film.id, prompt }));
    row.append(branch);
  }
  if (mayDelete) {
    const remove = make("button", { type: "button", className: "danger" }, "Delete");
    remove.setAttribute("aria-label", `Delete: ${title(film)}`);
    remove.addEventListener("click", () => removeFilm(film));
    row.append(remove);
  }
  return row;
}

// The button that had the focus is gone with its film: the next film gets it, or the heading.
function focusFilm(place) {
  const watch = [...$("gallery-films").querySelectorAll(".watch")];
  (watch[Math.min(place, watch.length - 1)] ?? $("gallery-heading")).focus();
}

async function removeFilm(film) {
  const question = {
    title: "Delete this film?",
    text: `“${title(film)}”, ${clock(film.seconds)}. Its file is removed from the server${isInterrupted(film) ? ", and its stream is not resumed" : ""}.`,
    yes: "Delete the film",
    danger: true,
  };
  if (!(await confirmed(question))) return;
  try {
    await request(path(film, ""), { method: "DELETE" });
    say("");
    const place = shown.findIndex(({ id }) => id === film.id);
    show(shown.filter(({ id }) => id !== film.id), !$("gallery-more").hidden);
    focusFilm(place);
  } catch (error) {
    say(`Not deleted: ${error.message}`);
  }
  refresh();
}

function play(film) {
  const video = make("video", { src: path(film, ".mp4"), controls: true, autoplay: true, loop: true });
  const list = make("ol", { className: "prompts" }, ...film.prompts.map(({ seconds, prompt }) => {
    const button = make("button", { type: "button" }, make("time", {}, clock(seconds)), make("span", {}, prompt));
    button.addEventListener("click", () => {
      video.currentTime = seconds;
      video.play().catch(() => {});
    });
    return make("li", {}, button);
  }));
  const close = make("button", { type: "button", autofocus: true }, "Close");
  close.addEventListener("click", () => close.closest("dialog").close(""));
  const row = make("div", { className: "buttons" }, close);
  showDialog(make("div", { className: "film" }, make("h2", {}, title(film)), video, list, row), title(film))
    .then(() => video.removeAttribute("src")); // no more of it is loaded
}

// Films are asked for again when a stream has ended.
function render({ streams, state }) {
  if (!available || !streams) return;
  const now = JSON.stringify(streams.map(({ id }) => id)) + (state === "finished");
  if (now === streamsBefore) return;
  streamsBefore = now;
  refresh();
  setTimeout(refresh, 2000); // its file is completed a little later
}

export function startGallery() {
  const more = make("button", { id: "gallery-more", type: "button", hidden: true }, "Show more");
  more.addEventListener("click", showMore);
  $("gallery").append(
    make("h2", { id: "gallery-heading", tabIndex: -1 }, "Recorded films"),
    make("p", { id: "gallery-answer", className: "bad", role: "status" }),
    make("p", { id: "gallery-empty", className: "hint", hidden: true }, "Films that have ended are kept here."),
    make("ul", { id: "gallery-films" }),
    more,
  );
  subscribe(render);
}
