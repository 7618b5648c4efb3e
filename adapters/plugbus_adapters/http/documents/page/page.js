"use strict";
// Lists what openapi.json describes, and sends requests by forms. Everything is set as text, never as markup.
const METHODS = ["get", "post", "put", "patch", "delete", "head", "options"];
const base = new URL(".", location.href);
const byId = (id) => document.getElementById(id);

function element(name, text = "", attributes = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function resolved(api, schema, seen = []) {
  if (Array.isArray(schema)) return schema.map((each) => resolved(api, each, seen));
  if (schema === null || typeof schema !== "object") return schema;
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    if (seen.includes(name)) return { description: `${name}, as above` };
    return resolved(api, api.components.schemas[name] ?? {}, [...seen, name]);
  }
  return Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, resolved(api, value, seen)]));
}

function example(schema) {
  if (!schema || typeof schema !== "object") return null;
  if ("default" in schema) return schema.default;
  if ("const" in schema) return schema.const;
  if (schema.enum) return schema.enum[0];
  const choice = schema.anyOf ?? schema.oneOf ?? schema.allOf;
  if (choice) return example(choice[0]);
  switch (schema.type) {
    case "object":
      return Object.fromEntries(Object.entries(schema.properties ?? {}).map(([key, value]) => [key, example(value)]));
    case "array": return [example(schema.items)];
    case "integer": case "number": return 0;
    case "boolean": return false;
    case "string": return "";
    default: return null;
  }
}

function headers(extra = {}) {
  const token = byId("token").value;
  return token ? { ...extra, Authorization: `Bearer ${token}` } : extra;
}

async function send(api, form, method, path, operation, output) {
  const query = new URLSearchParams();
  const given = {};
  for (const each of operation.parameters ?? []) {
    const value = form.elements[`${each.in}.${each.name}`].value;
    if (each.in === "path") path = path.replace(`{${each.name}}`, encodeURIComponent(value));
    else if (value !== "" && each.in === "query") query.append(each.name, value);
    else if (value !== "" && each.in === "header") given[each.name] = value;
  }
  const options = { method: method.toUpperCase() };
  const body = form.elements.body?.value;
  if (body) {
    options.body = body;
    given["Content-Type"] = "application/json";
  }
  options.headers = headers(given);
  const suffix = query.size ? `?${query}` : "";
  try {
    const root = (api.servers?.[0]?.url ?? "").replace(/\/$/, "");
    const answer = await fetch(`${new URL(root + path, location.origin)}${suffix}`, options);
    let text = await answer.text();
    try { text = JSON.stringify(JSON.parse(text), null, 2); } catch { /* it is no JSON, and shown as it is */ }
    output.textContent = `${answer.status} ${answer.statusText}\n\n${text}`;
  } catch (error) {
    output.textContent = String(error);
  }
}

function tryIt(api, method, path, operation) {
  const form = element("form");
  for (const each of operation.parameters ?? []) {
    const type = resolved(api, each.schema ?? {}).type ?? "";
    const label = element("label", `${each.name} (${each.in}${type ? `, ${type}` : ""}) `, { class: "field" });
    if (each.required) label.classList.add("required");
    label.append(element("input", "", { name: `${each.in}.${each.name}` }));
    form.append(label);
  }
  const content = operation.requestBody?.content?.["application/json"];
  if (content) {
    const schema = resolved(api, content.schema);
    form.append(element("p", "Body"), element("pre", JSON.stringify(schema, null, 2)));
    const area = element("textarea", JSON.stringify(example(schema), null, 2), { name: "body", "aria-label": "Body" });
    form.append(area);
  }
  const output = element("pre", "", { hidden: "" });
  form.append(element("button", "Send"), output);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    output.hidden = false;
    send(api, form, method, path, operation, output);
  });
  return form;
}

function shown(api, method, path, operation) {
  const details = element("details");
  const summary = element("summary");
  const what = operation.security?.length === 0 ? "public" : (operation.security?.[0]?.bearer ?? []).join(", ") || "user";
  summary.append(element("span", method.toUpperCase(), { class: "method" }), element("code", path));
  summary.append(element("span", [operation.summary, `[${what}]`].filter(Boolean).join(" "), { class: "what" }));
  details.append(summary);
  if (operation.description) details.append(element("p", operation.description));
  for (const [status, answer] of Object.entries(operation.responses)) {
    const schema = Object.values(answer.content ?? {})[0]?.schema;
    if (status !== "default") details.append(element("p", `${status} ${answer.description ?? ""}`));
    if (schema) details.append(element("pre", JSON.stringify(resolved(api, schema), null, 2)));
  }
  details.append(tryIt(api, method, path, operation));
  return details;
}

function show(api) {
  document.title = byId("title").textContent = `${api.info.title} ${api.info.version}`;
  const groups = new Map();
  for (const [path, operations] of Object.entries(api.paths)) {
    for (const method of METHODS.filter((each) => operations[each])) {
      const tag = operations[method].tags?.[0] ?? "other";
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(shown(api, method, path, operations[method]));
    }
  }
  const sections = [...groups].sort(([a], [b]) => a.localeCompare(b)).map(([tag, found]) => {
    const section = element("section");
    section.append(element("h2", tag), ...found);
    return section;
  });
  byId("operations").replaceChildren(...sections);
}

async function load() {
  const answer = await fetch(new URL("openapi.json", base), { headers: headers() });
  byId("note").textContent = answer.ok ? "" : `${answer.status}: give a bearer token to see what there is.`;
  if (answer.ok) show(await answer.json());
}

byId("login").addEventListener("submit", (event) => {
  event.preventDefault();
  load();
});
load();
