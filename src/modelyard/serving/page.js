const main = document.getElementById("main");
const trouble = document.getElementById("trouble");
const locked = document.getElementById("locked");

function node(tag, values = {}, ...children) {
  const made = Object.assign(document.createElement(tag), values);
  made.append(...children);
  return made;
}

function complain(message) {
  trouble.textContent = message;
  trouble.hidden = !message;
}

async function ask(path, options = {}) {
  const key = sessionStorage.getItem("modelyard-key");
  const headers = { ...options.headers, ...(key ? { "x-api-key": key } : {}) };
  let response;
  try {
    response = await fetch(path, { ...options, headers, cache: "no-cache" });
  } catch {
    throw new Error("The server does not answer.");
  }
  locked.hidden = response.status !== 401;
  if (response.ok) return response;
  let reason = "status " + response.status;
  try {
    reason = (await response.json()).error ?? reason;
  } catch {
    // a proxy's page; its status says enough
  }
  throw new Error(reason);
}

locked.addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("modelyard-key", locked.querySelector("input").value);
  location.reload();
});

async function showIndex() {
  const response = await ask("v2/repository/index", { method: "POST", body: '{"ready": true}' });
  const versions = new Map();
  for (const { name, version } of await response.json()) {
    versions.set(name, [...(versions.get(name) ?? []), version]);
  }
  const list = node("ul");
  for (const [name, loaded] of versions) {
    const link = node("a", { href: "models/" + name, textContent: name });
    list.append(node("li", {}, link, " ", node("span", { className: "note" }, "loaded: " + loaded.join(", "))));
  }
  const about = node("a", { href: "openapi.json", textContent: "openapi.json" });
  main.replaceChildren(
    node("h1", { textContent: "Models" }),
    versions.size ? list : node("p", { className: "note", textContent: "No model is live yet." }),
    node("p", { className: "note" }, "For programs: ", about),
  );
}

function control(field) {
  const given = field.example;
  const text = given === null || given === undefined ? "" : String(given);
  const name = field.name;
  if (field.type === "boolean" || field.choices.length) {
    const values = field.type === "boolean" ? ["true", "false"] : field.choices;
    const listed = text && !values.includes(text) ? [text, ...values] : values;
    const select = node("select", { name });
    for (const value of field.required ? listed : ["", ...listed]) {
      select.append(new Option(value || "(missing)", value));
    }
    select.value = text;
    return select;
  }
  switch (field.type) {
    case "number":
    case "integer":
      return node("input", { name, type: "number", step: field.type === "integer" ? "1" : "any", value: text });
    case "date":
      return node("input", { name, type: "date", value: text });
    case "text":
      return node("textarea", { name, value: text });
    case "json":
      return node("textarea", { name, value: JSON.stringify(given ?? []) });
    default:
      return node("input", { name, type: "text", value: text });
  }
}

function valueOf(field, text) {
  if (field.type === "json") return JSON.parse(text);
  if (text === "") return null;
  if (field.type === "boolean") return text === "true";
  return ["number", "integer"].includes(field.type) ? Number(text) : text;
}

function fileInput(form, page) {
  const [field] = form.fields;
  const kind = form.media_type.split("/")[0];
  const input = node("input", { type: "file", name: field.name, accept: kind === "image" ? "image/*" : ".wav,audio/wav" });
  const preview = node(kind === "image" ? "img" : "audio", { className: "preview", hidden: true, controls: true, alt: "" });
  input.addEventListener("change", () => {
    if (preview.src) URL.revokeObjectURL(preview.src);
    preview.hidden = !input.files.length;
    if (input.files.length) preview.src = URL.createObjectURL(input.files[0]);
  });
  const hint = node("span", { className: "note", textContent: "without a file the model's example is sent" });
  page.append(node("label", {}, field.name + " ", hint, input), preview);
  return () => {
    const [file] = input.files;
    if (!file) return JSON.stringify({ rows: [{ [field.name]: field.example }] });
    return new Blob([file], { type: file.type || (kind === "audio" ? "audio/wav" : "image/png") });
  };
}

function rowInputs(form, page) {
  for (const field of form.fields) {
    const about = node("span", { className: "note", textContent: field.type === "json" ? "lists, " + field.shape.join(" x ") : field.type + (field.required ? ", required" : "") });
    page.append(node("label", {}, field.name + " ", about, control(field)));
  }
  return () => {
    const row = {};
    for (const field of form.fields) {
      const element = page.elements.namedItem(field.name);
      if (element.validity && !element.validity.valid) throw new Error(field.name + ": " + element.validationMessage);
      row[field.name] = valueOf(field, element.value);
    }
    return JSON.stringify({ rows: [row] });
  };
}

function showAnswer(answer, response, milliseconds) {
  const [row] = answer.predictions;
  const said = row.label ?? (row.labels ? row.labels.join(", ") || "none" : String(row.prediction));
  const bars = Object.entries(row.probabilities ?? {}).sort((a, b) => b[1] - a[1]).slice(0, 20);
  return [
    node("div", { className: "answer", id: "answer", textContent: said }),
    ...bars.map(([name, value]) => {
      const fill = node("span", { className: "fill" });
      fill.style.width = 100 * value + "%";
      const percent = (100 * value).toFixed(1) + "%";
      return node("div", { className: "bar", title: name }, node("span", { className: "name", textContent: name }), node("span", { className: "track" }, fill), node("span", { className: "value", textContent: percent }));
    }),
    node("p", { className: "note" }, "Version ", node("span", { id: "answered-by", textContent: response.headers.get("x-model-version") }), ", ", node("span", { id: "latency", textContent: milliseconds.toFixed(1) + " ms" }), ", request " + response.headers.get("x-request-id")),
  ];
}

function showShares(shares) {
  const largest = Math.max(...shares.map((share) => Math.abs(share.attribution))) || 1;
  return shares.slice(0, 20).map(({ input, attribution }) => {
    const fill = node("span", { className: attribution < 0 ? "fill lowers" : "fill" });
    fill.style.width = 100 * Math.abs(attribution) / largest + "%";
    const signed = (attribution < 0 ? "" : "+") + attribution.toPrecision(2);
    return node("div", { className: "bar share", title: input }, node("span", { className: "name", textContent: input }), node("span", { className: "track" }, fill), node("span", { className: "value", textContent: signed }));
  });
}

async function showMap(map, body) {
  const canvas = node("canvas", { className: "map", id: "map", height: map.length, width: map[0].length });
  const context = canvas.getContext("2d");
  if (typeof body === "string") {
    const [picture] = Object.values(JSON.parse(body).rows[0]);
    picture.forEach((line, y) => line.forEach((pixel, x) => {
      context.fillStyle = "rgb(" + (Array.isArray(pixel) ? pixel : [pixel, pixel, pixel]).join() + ")";
      context.fillRect(x, y, 1, 1);
    }));
  } else {
    context.drawImage(await createImageBitmap(body), 0, 0, canvas.width, canvas.height);
  }
  context.fillStyle = "rgba(255, 255, 255, .6)";
  context.fillRect(0, 0, canvas.width, canvas.height);
  const largest = Math.max(...map.map((line) => Math.max(...line.map(Math.abs)))) || 1;
  map.forEach((line, y) => line.forEach((value, x) => {
    context.fillStyle = "rgba(" + (value < 0 ? "200, 30, 20, " : "20, 80, 220, ") + Math.abs(value) / largest + ")";
    context.fillRect(x, y, 1, 1);
  }));
  return canvas;
}

async function showExplanation(answer, response, body) {
  const [row] = answer.explanations;
  const [first] = row.attributions;
  const said = row.target ? "why " + row.target : "why " + row.score.toPrecision(4);
  const about = "Blue raises the score, red lowers it: from " + row.baseline_score.toPrecision(3) + " (" + answer.baseline + ") to " + row.score.toPrecision(3) + ", off by " + Math.abs(row.convergence_delta).toPrecision(1) + ". The served model says " + row.served_score.toPrecision(3) + ".";
  return [
    node("div", { className: "answer", id: "why", textContent: said }),
    ...(first.map ? [await showMap(first.map, body)] : showShares(row.attributions)),
    node("p", { className: "note", textContent: about }),
    node("p", { className: "note" }, "Version ", node("span", { id: "explained-by", textContent: response.headers.get("x-model-version") }), ", request " + response.headers.get("x-request-id")),
  ];
}

async function showModel(name) {
  const path = "../predict/" + name;
  const form = await (await ask(name + "/form")).json();
  const version = node("span", { id: "version", textContent: form.version });
  const page = node("form");
  const read = ["image/*", "audio/wav"].includes(form.media_type) ? fileInput(form, page) : rowInputs(form, page);
  const button = node("button", { type: "submit", textContent: "Predict" });
  const result = node("section", { id: "result" });
  const why = node("button", { type: "button", textContent: "Explain", hidden: !form.explainable });
  page.append(button, " ", why);
  page.noValidate = true;
  why.addEventListener("click", async () => {
    why.disabled = true;
    try {
      const body = read();
      const type = typeof body === "string" ? "application/json" : body.type;
      const response = await ask("../v2/models/" + name + "/explain", { method: "POST", body, headers: { "content-type": type } });
      result.replaceChildren(...await showExplanation(await response.json(), response, body));
      complain("");
    } catch (error) {
      result.replaceChildren();
      complain(error.message);
    }
    why.disabled = false;
  });
  page.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    try {
      const body = read();
      const type = typeof body === "string" ? "application/json" : body.type;
      const started = performance.now();
      const response = await ask(path, { method: "POST", body, headers: { "content-type": type } });
      const answer = await response.json();
      result.replaceChildren(...showAnswer(answer, response, performance.now() - started));
      complain("");
    } catch (error) {
      result.replaceChildren();
      complain(error.message);
    }
    button.disabled = false;
  });
  main.replaceChildren(
    node("p", { className: "note" }, node("a", { href: "..", textContent: "Models" })),
    node("h1", { textContent: form.name }),
    node("p", { className: "note" }, "Version ", version, " is live. " + form.task),
    node("div", { className: "sides" }, page, result),
  );
  let away = false;
  setInterval(async () => {
    try {
      const response = await ask("../v2/models/" + name);
      version.textContent = response.headers.get("x-model-version");
      if (away) complain("");
      away = false;
    } catch (error) {
      away = true;
      complain(error.message);
    }
  }, 2000);
}

const place = location.pathname.match(/models\/([^/]+)\/?$/);
(place ? showModel(place[1]) : showIndex()).catch((error) => complain(error.message));
