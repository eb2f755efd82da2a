// Draws every `.chart` of the page with Plotly; the data of a chart is the JSON beside its place.
"use strict";

const FEW_POINTS = 40; // up to which each point of a line has a dot
const FEW_LINES = 4; // up to which the pointer shows the values of all lines, if their labels are short
const SHORT = 24;
const COLOURS = 8; // --c0 ... of page.css
const PLACES = { train: 0, val: 1, training: 0, reference: 0, output: 1, source: 4 }; // the same colour in every chart
const FINGER = matchMedia("(pointer: coarse)").matches; // it scrolls the page, and does not zoom into a chart

function style(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function literal(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;"); // Plotly takes tags in a text for markup
}

function colourOf(line, place) {
  return style(`--c${(PLACES[line.label] ?? place) % COLOURS}`);
}

function traceOf(line, place) {
  const color = colourOf(line, place);
  const trace = { name: literal(line.label), x: line.x, y: line.y };
  if (line.kind === "bars") return { ...trace, type: "bar", marker: { color } };
  const dots = line.x.length <= FEW_POINTS ? "lines+markers" : "lines";
  return {
    ...trace,
    type: "scatter",
    mode: line.kind === "points" ? "markers" : dots,
    line: { color, width: 1.8 },
    marker: { color, size: line.kind === "points" ? 9 : 5 },
  };
}

function axis(more) {
  const line = style("--line");
  return { gridcolor: line, linecolor: line, zeroline: false, automargin: true, exponentformat: "e", ...more };
}

function xAxis(chart) {
  const xs = chart.series.flatMap((line) => line.x);
  const most = Math.max(...xs);
  const few = most >= 2 && most - Math.min(...xs) <= 8;
  const title = { text: literal(chart.x), font: { color: style("--quiet"), size: 12 }, standoff: 8 };
  const unifiedhovertitle = { text: `${literal(chart.x)} %{x}` };
  return axis({ title, showgrid: false, unifiedhovertitle, ...(few ? { dtick: 1 } : {}) });
}

function yAxis(chart) {
  const ys = chart.series.flatMap((line) => line.y);
  const room = Math.abs(ys[0]) * 0.1 || 1; // above and below a line without any rise
  const flat = ys.every((y) => y === ys[0]) && chart.series.every((line) => line.kind !== "bars");
  const range = flat ? { range: [ys[0] - room, ys[0] + room] } : {};
  return axis({ type: chart.log ? "log" : "linear", hoverformat: ".4~g", ...range });
}

function legendEntry(plot, line, place) {
  const entry = Object.assign(document.createElement("button"), { type: "button", textContent: line.label });
  entry.style.setProperty("--colour", colourOf(line, place));
  entry.setAttribute("aria-pressed", "true");
  entry.addEventListener("click", () => {
    const visible = entry.getAttribute("aria-pressed") === "false";
    entry.setAttribute("aria-pressed", String(visible));
    Plotly.restyle(plot, { visible }, [place]);
  });
  return entry;
}

function draw(figure) {
  const chart = JSON.parse(figure.querySelector("script").textContent);
  const text = style("--text");
  const easy = chart.series.every((line) => line.kind !== "points" && line.label.length <= SHORT);
  const together = easy && chart.series.length <= FEW_LINES;
  const hovertemplate = `%{fullData.name}${together ? "" : `<br>${literal(chart.x)} %{x}`}: %{y}<extra></extra>`;
  const layout = {
    paper_bgcolor: "transparent",
    plot_bgcolor: "transparent",
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: text },
    margin: { l: 8, r: 12, t: 8, b: 8 },
    xaxis: xAxis(chart),
    yaxis: yAxis(chart),
    showlegend: false, // Plotly's takes its room from the chart
    hovermode: together ? "x unified" : "closest",
    hoverlabel: { bgcolor: style("--raised"), bordercolor: style("--line"), font: { color: text } },
    dragmode: FINGER ? false : "zoom",
  };
  const plot = figure.querySelector(".plot");
  const traces = chart.series.map((line, place) => ({ ...traceOf(line, place), hovertemplate }));
  Plotly.react(plot, traces, layout, { displayModeBar: false, responsive: true });
  figure.querySelector(".legend").replaceChildren(...chart.series.map((line, place) => legendEntry(plot, line, place)));
}

function drawAll() {
  document.querySelectorAll(".chart").forEach(draw);
}

drawAll();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
