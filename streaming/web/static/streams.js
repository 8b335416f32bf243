// Links to the streams that run, where there are several; beginning another one.

import { postForm, postJson, root } from "./api.js";
import { $, make } from "./dom.js";
import { subscribe } from "./state.js";

// Ask the server for a new stream, which may begin with a picture; returns its job, with `links`.
export const beginStream = (fields, image = null) =>
  image ? postForm(`${root}streams`, fields, image) : postJson(`${root}streams`, fields);

function render({ streams = [], stream }) {
  const key = JSON.stringify(streams) + stream;
  $("streams").hidden = streams.length < 2 && streams.every(({ id }) => id === stream);
  if ($("streams").dataset.key === key) return;
  $("streams").dataset.key = key;
  $("streams").replaceChildren(
    ...streams.map(({ id, title }) => {
      const link = make("a", { href: `${root}streams/${id}/`, title }, `${id} ${title}`);
      if (id === stream) link.setAttribute("aria-current", "page");
      return link;
    }),
  );
}

export function startStreams() {
  subscribe(render);
}
