// Draws every `.chart` of the page with uPlot; the data of a chart is the JSON beside its place.
"use strict";

const HEIGHT = 230;
const FEW_POINTS = 40; // up to which each point of a line has a dot
const COLOURS = 8; // --c0 ... of page.css
const PLACES = { train: 0, val: 1, training: 0, reference: 0, output: 1, source: 4 }; // the same colour in every chart

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function number(value) {
  if (value == null) return "";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e7)) return value.toExponential(2);
  return size >= 1000 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(4)));
}

function last(values) {
  for (let place = values.length - 1; place >= 0; place--) if (values[place] != null) return values[place];
  return null;
}

function seriesOf(chart, line, place) {
  const stroke = colour(`--c${(PLACES[line.label] ?? place) % COLOURS}`);
  const series = {
    label: line.label,
    stroke,
    width: 1.8,
    points: { show: line.kind === "points" || (line.kind === "line" && line.x.length <= FEW_POINTS), size: 6, fill: stroke },
    value: (plot, value, index) => number(value ?? last(plot.data[index])), // without a cursor, the last value
  };
  if (line.kind === "bars") {
    series.paths = uPlot.paths.bars({ size: [0.8, 48] });
    series.fill = stroke;
    series.points.show = false;
  }
  return series;
}

const WHOLE = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000]; // steps of an axis

function axis(label, log, whole) {
  const filter = log ? (plot, splits) => splits.map((value) => (isPower(value) ? value : null)) : undefined;
  return {
    ...(whole ? { incrs: WHOLE } : {}),
    ...(log ? { filter } : {}),
    label,
    labelSize: label ? 22 : 0,
    labelFont: "12px system-ui, sans-serif",
    font: "12px system-ui, sans-serif",
    stroke: colour("--quiet"),
    grid: { stroke: colour("--line"), width: 1, ...(log ? { filter } : {}) },
    ticks: { stroke: colour("--line"), width: 1, size: 4, ...(log ? { filter } : {}) },
    size: label ? 34 : 58,
    values: (plot, values) => values.map(number),
  };
}

function isPower(value) {
  const exponent = Math.log10(value);
  return Math.abs(exponent - Math.round(exponent)) < 1e-6;
}

function draw(figure) {
  const chart = JSON.parse(figure.querySelector("script").textContent);
  const box = figure.querySelector(".plot");
  const [xs, ys] = ["x", "y"].map((name) => chart.series.flatMap((line) => line[name]));
  const bars = chart.series.some((line) => line.kind === "bars");
  const flat = !bars && !chart.log && ys.every((value) => value === ys[0]);
  const room = Math.abs(ys[0]) * 0.1 || 1; // above and below a line without any rise
  const least = Math.min(...xs);
  const margin = (Math.max(...xs) - least) * 0.06 || 0.06; // for half a bar on either side
  const scales = { x: { time: false }, y: { distr: chart.log ? 3 : 1 } };
  if (flat) scales.y.range = [ys[0] - room, ys[0] + room];
  if (bars) {
    scales.x.range = [least - margin, Math.max(...xs) + margin];
    scales.y.range = [0, Math.max(...ys) * 1.08];
  }
  const options = {
    width: box.clientWidth,
    height: HEIGHT,
    cursor: { drag: { x: true, y: false }, points: { size: 7 } },
    scales,
    axes: [axis(chart.x, false, Math.max(...xs) >= 2), axis("", chart.log, false)],
    series: [{ label: chart.x, value: (plot, value) => number(value) || "–" }],
    legend: { markers: { width: 0, fill: (plot, index) => options.series[index].stroke } },
  };
  options.series.push(...chart.series.map((line, place) => seriesOf(chart, line, place)));
  const data = uPlot.join(chart.series.map((line) => [line.x, line.y]));
  const plot = new uPlot(options, data, box);
  const observer = new ResizeObserver(() => {
    if (box.clientWidth && box.clientWidth !== plot.width) plot.setSize({ width: box.clientWidth, height: HEIGHT });
  });
  observer.observe(box);
  return () => {
    observer.disconnect();
    plot.destroy();
  };
}

function drawAll() {
  return Array.from(document.querySelectorAll(".chart"), draw);
}

let undo = drawAll();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  undo.forEach((each) => each());
  undo = drawAll();
});
