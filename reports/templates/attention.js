// Shows the cross-attention of each `.attention`: a chosen generated token colours the source tokens by their weights.
"use strict";

const STRONGEST = 5;

function weightsOf(map, layer) {
  const bytes = atob(map.layers[layer]);
  return (row) => map.source.map((_, column) => bytes.charCodeAt(row * map.source.length + column) / 255);
}

function show(place) {
  const map = JSON.parse(place.querySelector("script").textContent);
  const [layer, generated, source, strongest] = ["select", ".generated", ".source", ".strongest"].map((name) =>
    place.querySelector(name),
  );
  for (const number of Object.keys(map.layers)) layer.add(new Option(`${number} of ${map.depth}`, number));
  layer.selectedIndex = layer.length - 1;
  const tokens = map.source.map((token) => source.appendChild(Object.assign(document.createElement("span"), { textContent: token })));

  let chosen = 0;
  const buttons = map.target.map((token, row) => {
    const button = generated.appendChild(Object.assign(document.createElement("button"), { type: "button", textContent: token }));
    for (const event of ["click", "mouseenter", "focus"]) button.addEventListener(event, () => choose(row));
    return button;
  });

  function choose(row) {
    chosen = row;
    const weights = weightsOf(map, layer.value)(row);
    const greatest = Math.max(...weights, 1e-9);
    buttons.forEach((button, each) => button.setAttribute("aria-pressed", String(each === row)));
    tokens.forEach((token, column) => {
      token.style.setProperty("--weight", (weights[column] / greatest).toFixed(3));
      token.classList.toggle("dark", weights[column] / greatest > 0.6);
      token.title = weights[column].toFixed(2);
    });
    const order = weights.map((weight, column) => [weight, column]).sort((a, b) => b[0] - a[0]).slice(0, STRONGEST);
    strongest.textContent = "most attended: " + order.map(([weight, column]) => `${map.source[column]} ${weight.toFixed(2)}`).join(", ");
  }

  layer.addEventListener("change", () => choose(chosen));
  if (map.target.length) choose(0);
}

document.querySelectorAll(".attention").forEach(show);
