// Shows the operations of the OpenAPI document, without any other library.

import { $, make } from "./dom.js";

let schemas = {};

async function show() {
  const response = await fetch("openapi.json");
  if (!response.ok) throw new Error(await response.text());
  const document = await response.json();
  schemas = document.components.schemas;
  const all = Object.entries(document.paths).flatMap(([path, operations]) =>
    Object.entries(operations).map(([method, operation]) => ({ method, path, operation })),
  );
  const groups = document.tags.map(({ name }) =>
    group(name, all.filter(({ operation }) => operation.tags.includes(name))),
  );
  $("operations").replaceChildren(...groups);
}

function group(name, operations) {
  const entries = operations.map(({ method, path, operation }) => entry(method, path, operation));
  return make("section", {}, make("h2", {}, name), ...entries);
}

function entry(method, path, operation) {
  const name = make("code", {}, make("span", { className: "method" }, method), path);
  const summary = make("summary", {}, name, make("span", {}, operation.summary));
  const details = make("details", {}, summary);
  for (const [kind, { schema }] of Object.entries(operation.requestBody?.content ?? {})) {
    details.append(make("h3", {}, `Body: ${kind}`), ...fields(schema));
  }
  if (operation.parameters.length) {
    const rows = operation.parameters.map(({ name, schema }) => [name, type(schema), note(schema)]);
    details.append(make("h3", {}, "Parameters"), table(["name", "type", "meaning"], rows));
  }
  const answers = Object.entries(operation.responses).map(([status, answer]) => {
    const kinds = Object.entries(answer.content ?? {}).map(([kind, { schema }]) =>
      schema.$ref ? `${kind} (${target(schema)})` : kind,
    );
    return [status, kinds.join(", "), answer.description];
  });
  details.append(make("h3", {}, "Answers"), table(["status", "type", "meaning"], answers));
  return details;
}

function fields(schema) {
  const rows = properties(schema).map(([name, each]) => [name, type(each), note(each)]);
  return rows.length ? [table(["field", "type", "meaning"], rows)] : [];
}

function properties(schema) {
  if (schema.allOf) return schema.allOf.flatMap(properties);
  if (schema.$ref) return properties(schemas[target(schema)]);
  return Object.entries(schema.properties ?? {});
}

function type(schema) {
  if (schema.$ref) return target(schema);
  if (schema.anyOf) return schema.anyOf.map(type).filter((each) => each !== "null").join(" or ");
  if (schema.type === "array") return `list of ${type(schema.items)}`;
  if (schema.enum) return schema.enum.join(", ");
  return schema.contentMediaType ? "file" : (schema.type ?? "any");
}

function note(schema) {
  const standard = schema.default ?? null;
  const words = schema.description ?? "";
  return standard === null ? words : `${words} Default: ${standard}`.trim();
}

function target(schema) {
  return schema.$ref.split("/").at(-1);
}

function table(heads, rows) {
  const row = (cells, tag) => make("tr", {}, ...cells.map((cell) => make(tag, {}, cell)));
  return make("table", {}, row(heads, "th"), ...rows.map((cells) => row(cells, "td")));
}

show().catch((error) => {
  $("operations").replaceChildren(make("p", { role: "alert" }, `It cannot be shown: ${error.message}`));
});
