// Requests to the server, at addresses that also hold below the path of a proxy.

export const root = new URL(".", import.meta.url).pathname; // of the server
export const base = location.pathname.match(/^.*\/streams\/\d+\//)?.[0] ?? root; // of the stream

// A request that was refused or not answered; its message is the server's reason.
class RequestError extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status; // 0: no answer
  }
}

// Send a request and return the response; `seconds` is how long to wait for its head.
export async function request(path, options = {}, seconds = 8) {
  let response;
  try {
    response = await fetch(path, { signal: AbortSignal.timeout(seconds * 1000), ...options });
  } catch (error) {
    const late = error.name === "TimeoutError";
    throw new RequestError(late ? "the server does not answer" : "the server cannot be reached");
  }
  if (response.ok) return response;
  throw new RequestError(reason(await response.text()) || `status ${response.status}`, response.status);
}

export async function getJson(path, seconds) {
  return (await request(path, {}, seconds)).json();
}

// Send an object as JSON; returns the answer as JSON, or null where it has no content.
async function sendJson(method, path, content) {
  const headers = { "Content-Type": "application/json" };
  const response = await request(path, { method, headers, body: JSON.stringify(content) });
  const text = await response.text();
  return text.startsWith("{") || text.startsWith("[") ? JSON.parse(text) : null;
}

export const postJson = (path, content) => sendJson("POST", path, content);
export const putJson = (path, content) => sendJson("PUT", path, content);

// Send fields and a picture as a form; returns the answer as JSON.
export async function postForm(path, fields, image) {
  const body = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    body.append(name, typeof value === "string" ? value : JSON.stringify(value));
  }
  body.append("image", image);
  return (await request(path, { method: "POST", body }, 90)).json();
}

// Send a command such as "/pause" to the stream of this page.
export async function command(line) {
  const headers = { "Content-Type": "text/plain;charset=utf-8" };
  await request(`${base}command`, { method: "POST", headers, body: line });
}

// The reason in an answer: a line of text, or an error object as of the OpenAI API.
function reason(text) {
  try {
    const { error, detail } = JSON.parse(text);
    return error?.message ?? error ?? detail;
  } catch {
    return text.trim();
  }
}
