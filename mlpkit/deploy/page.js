"use strict";
const form = document.querySelector("form"), output = document.querySelector("output");
const MOST_SHOWN = 10;  // probabilities

function line(kind, text, parent = output) {
  const element = document.createElement(kind.split(".")[0]);
  if (kind.includes(".")) element.className = kind.split(".")[1];
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
}

function body() {
  const file = form.querySelector("input[type=file]"), text = form.querySelector("textarea");
  if (file) return file.files[0];
  if (text) return text.value;
  const row = {};
  for (const field of form.querySelectorAll("[name]")) row[field.name] = field.value === "" ? null : field.value;
  return JSON.stringify([row]);
}

function show(answer) {
  for (const row of answer.predictions.slice(0, MOST_SHOWN)) {
    const said = Object.entries(row).filter(([name]) => !/^p\(.*\)$/.test(name) && name !== "label");
    for (const [name, value] of said) line("p.said", name === "class" ? value : `${name}: ${value}`);
    const shares = Object.entries(row).filter(([name]) => /^p\(.*\)$/.test(name));
    shares.sort((one, other) => other[1] - one[1]);
    for (const [name, share] of shares.slice(0, MOST_SHOWN)) {
      const parent = line("div.share");
      line("span", name.slice(2, -1), parent);
      line("div", undefined, line("div", undefined, parent)).style.width = `${100 * share}%`;
      line("span", `${(100 * share).toFixed(2)} %`, parent);
    }
  }
  const more = answer.predictions.length - MOST_SHOWN;
  if (more > 0) line("p.note", `${more} more rows`);
  for (const note of answer.notes) line("p.note", note.replace(/^request: /, ""));
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    const response = await fetch("predict", { method: "POST", body: body() });
    const answer = await response.json();
    output.replaceChildren();
    if (response.ok) show(answer); else line("p.error", answer.error);
  } catch (error) {
    output.replaceChildren();
    line("p.error", `The server does not answer (${error.message}).`);
  }
});

// Values in the address, as in /?x1=0.3&x2=0.5, fill the form.
const given = new URLSearchParams(location.search);
for (const field of form.querySelectorAll("[name]")) {
  if (!given.has(field.name)) continue;
  const value = given.get(field.name);
  field.value = value;
  if (field.value !== value) field.add(new Option(value, value, true, true));  // a choice that training did not have
}
if ([...given].length) form.requestSubmit();
