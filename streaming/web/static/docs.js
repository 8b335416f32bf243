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
    details.append(...models(schema, `Body: ${kind}`));
  }
  if (operation.parameters.length) {
    const rows = operation.parameters.map(({ name, schema }) => [name, type(schema), note(schema)]);
    details.append(make("h3", {}, "Parameters"), table(["name", "type", "meaning"], rows));
  }
  const answers = Object.entries(operation.responses);
  const rows = answers.map(([status, { content = {}, description }]) => {
    const kinds = Object.entries(content).map(([kind, { schema }]) =>
      schema.$ref ? `${kind} (${target(schema)})` : kind,
    );
    return [status, kinds.join(", "), description];
  });
  details.append(make("h3", {}, "Answers"), table(["status", "type", "meaning"], rows));
  for (const [, { content }] of answers.filter(([status]) => status < "300")) {
    const schema = content?.["application/json"]?.schema;
    if (schema) details.append(...models(schema, "Answer"));
  }
  return details;
}

// The fields of a body or an answer, and below them those of every model that they name.
function models(schema, title) {
  const parts = fields(schema, make("h3", {}, title));
  const shown = new Set([target(schema)]);
  const next = named(schema);
  for (let name = next.shift(); name; name = next.shift()) {
    if (shown.has(name)) continue;
    shown.add(name);
    parts.push(...fields(schemas[name], make("h4", {}, name)));
    next.push(...named(schemas[name]));
  }
  return parts;
}

function fields(schema, heading) {
  const rows = properties(schema).map(([name, each]) => [name, type(each), note(each)]);
  const heads = rows.some(([, , meaning]) => meaning) ? ["field", "type", "meaning"] : ["field", "type"];
  return rows.length ? [heading, table(heads, rows.map((row) => row.slice(0, heads.length)))] : [];
}

// Names of the models that a schema or its fields refer to.
function named(schema) {
  const { items, anyOf = [] } = resolved(schema);
  const inside = [items, ...anyOf, ...properties(schema).map(([, each]) => each)];
  return inside.filter(Boolean).flatMap((each) => (each.$ref ? [target(each)] : named(each)));
}

function properties(schema) {
  if (schema.allOf) return schema.allOf.flatMap(properties);
  if (schema.$ref) return properties(resolved(schema));
  return Object.entries(schema.properties ?? {});
}

function type(schema) {
  if (schema.$ref) return resolved(schema).enum ? type(resolved(schema)) : target(schema);
  if (schema.anyOf) return schema.anyOf.map(type).filter((each) => each !== "null").join(" or ");
  if (schema.prefixItems) return `[${schema.prefixItems.map(type).join(", ")}]`;
  if (schema.type === "array") return `list of ${type(schema.items)}`;
  if (schema.enum) return schema.enum.join(", ");
  return schema.contentMediaType ? "file" : (schema.type ?? "any");
}

function note(schema) {
  const standard = schema.default ?? null;
  const words = schema.description ?? "";
  return standard === null ? words : `${words} Default: ${standard}`.trim();
}

const resolved = (schema) => (schema.$ref ? schemas[target(schema)] : schema);

function target(schema) {
  return schema.$ref?.split("/").at(-1);
}

function table(heads, rows) {
  const row = (cells, tag) => make("tr", {}, ...cells.map((cell) => make(tag, {}, cell)));
  return make("table", {}, row(heads, "th"), ...rows.map((cells) => row(cells, "td")));
}

show().catch((error) => {
  $("operations").replaceChildren(make("p", { role: "alert" }, `It cannot be shown: ${error.message}`));
});
