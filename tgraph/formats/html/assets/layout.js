// One level of boxes: boxes {w, h, entries, exits, open, kind} and signals {key, state, tail, heads, leaves} get their places.
// tail null: the signal enters the level at its top; leaves: it goes out at the bottom. Places of these are the level's
// entries and exits, which fix where the signal meets the level's own box in the level around it.

/** Place a level. Returns {w, h, wires, entries, exits}; boxes get x and y of their upper left corners. */
function arrange(boxes, signals, deadline) {
  const layerOf = assignLayers(boxes, signals);
  const shift = signals.some(s => !s.tail) ? 1 : 0;
  let last = shift;
  for (const layer of layerOf.values()) last = Math.max(last, layer + shift + 1);
  const cells = new Map(boxes.map(b => [b, new Cell(b, layerOf.get(b) + shift)]));
  const layers = Array.from({ length: last + 1 }, () => []);
  for (const cell of cells.values()) layers[cell.layer].push(cell);
  const entries = new Map(),
    exits = new Map(),
    margins = [],
    back = [];
  const routes = signals.map(signal => {
    let start = cells.get(signal.tail);
    if (!signal.tail) {
      start = new Cell(null, 0);
      entries.set(signal.key, start);
      layers[0].push(start);
    }
    const ends = [];
    for (const head of signal.heads) {
      const cell = cells.get(head);
      if (cell.layer > start.layer) ends.push(cell);
      else if (cell !== start) back.push([signal, start, cell]);
    }
    if (signal.leaves) {
      const end = new Cell(null, last);
      exits.set(signal.key, end);
      layers[last].push(end);
      ends.push(end);
    }
    return { signal, start, ends, length: Math.max(0, ...ends.map(e => e.layer - start.layer - 1)) };
  });
  let excess = routes.reduce((sum, r) => sum + r.length, 0) - PLACES;
  const beside = new Set();
  for (const route of excess > 0 ? [...routes].sort((a, b) => b.length - a.length) : []) {
    if (excess <= 0) break;
    beside.add(route);
    excess -= route.length;
  }
  for (const route of routes) {
    if (!route.ends.length) continue;
    if (beside.has(route)) margins.push(route);
    else layLane(route, layers);
  }
  orderCells(layers, deadline);
  placeCells(layers, deadline + 300);
  let left = Infinity,
    right = -Infinity;
  for (const layer of layers) {
    for (const cell of layer) {
      left = Math.min(left, cell.x - cell.width / 2);
      right = Math.max(right, cell.x + cell.width / 2);
    }
  }
  if (left > right) left = right = 0;
  const extra = placeMargins(margins, right);
  for (const layer of layers) for (const cell of layer) cell.x -= left;
  for (const margin of margins) margin.x -= left;
  const { tops, bottoms } = heights(layers);
  for (const layer of layers) {
    for (const cell of layer) {
      if (cell.box) {
        cell.box.x = cell.x - cell.width / 2;
        cell.box.y = tops[cell.layer];
      }
    }
  }
  const wires = wiresOf(layers, tops, bottoms);
  for (const margin of margins) wires.push(...marginWires(margin, tops, bottoms));
  for (const [signal, start, cell] of back) wires.push(backWire(signal, start, cell));
  const places = found => new Map([...found].map(([key, cell]) => [key, cell.x]));
  return { w: right - left + extra, h: bottoms.at(-1), wires, entries: places(entries), exits: places(exits) };
}

const BRANCH = 0.02; // how much a lane of several readers minds where each of them is

/** The cells and links of one signal, from layer to layer down; all its readers share one lane. */
function layLane({ signal, start, ends }, layers) {
  const byLayer = new Map();
  for (const end of ends) byLayer.set(end.layer, [...(byLayer.get(end.layer) ?? []), end]);
  const deepest = Math.max(...byLayer.keys());
  let current = start;
  for (let layer = start.layer + 1; layer <= deepest; layer++) {
    let passing = null;
    if (deepest > layer) {
      passing = new Cell(null, layer);
      layers[layer].push(passing);
    }
    for (const lower of byLayer.get(layer) ?? []) {
      const branch = new Link(signal, current, lower);
      if (passing || ends.length > 1) branch.pull = BRANCH;
    }
    if (passing) {
      new Link(signal, current, passing);
      current = passing;
    }
  }
}

/** Tops and bottoms of layers; there is more space where many wires move sideways. */
function heights(layers) {
  const tops = [],
    bottoms = [];
  let y = 0;
  layers.forEach((layer, i) => {
    let height = 0,
      sideways = 0;
    for (const cell of layer) {
      height = Math.max(height, cell.height);
      for (const k of cell.below) sideways += Math.abs(k.upper.x + k.from - k.lower.x - k.to) > 200;
    }
    tops.push(y);
    bottoms.push(y + height);
    y += height + (i + 1 < layers.length && (layers[i + 1].length || layer.length) ? GAP + Math.min(60, 4 * sideways) : 0);
  });
  return { tops, bottoms };
}

/** Wires of all links: straight down from (x0, y0) to y1, a curve to (x1, y2), straight down to y3. */
function wiresOf(layers, tops, bottoms) {
  const starts = new Map(),
    stops = new Map(),
    wires = [];
  for (const layer of layers) for (const cell of layer) spread(cell, starts, stops);
  for (const layer of layers) {
    for (const cell of layer) {
      for (const link of cell.below) {
        const { upper, lower, signal } = link;
        wires.push({
          signal,
          head: lower.box,
          arrow: lower.box !== null && !lower.box.entries?.has(signal.key),
          x0: starts.get(link),
          y0: upper.box ? upper.box.y + upper.box.h : tops[upper.layer],
          y1: bottoms[upper.layer],
          x1: stops.get(link),
          y2: tops[lower.layer],
          y3: lower.box ? lower.box.y : tops[lower.layer],
        });
      }
    }
  }
  return wires;
}

/** Where links touch a cell: at fixed places, or spread over the side of a box in the order of their other ends. */
function spread(cell, starts, stops) {
  const keys = [...new Set(cell.below.map(k => k.signal.key))];
  for (const link of cell.below) {
    const free = cell.box && !cell.box.exits?.has(link.signal.key) && keys.length > 1;
    const share = free ? (keys.indexOf(link.signal.key) + 1) / (keys.length + 1) - 0.5 : 0;
    starts.set(link, cell.x + link.from + share * cell.width);
  }
  for (const link of cell.above) stops.set(link, cell.x + link.to);
  const free = cell.above.filter(k => cell.box && !cell.box.entries?.has(k.signal.key));
  free.sort((a, b) => a.upper.x + a.from - b.upper.x - b.from);
  free.forEach((link, i) => stops.set(link, cell.x + ((i + 1) / (free.length + 1) - 0.5) * cell.width * 0.8));
}

/** Lanes beside the layers for signals that are too long to pass through them. Returns their width. */
function placeMargins(margins, right) {
  const busy = []; // the last layer of each place
  for (const margin of [...margins].sort((a, b) => a.start.layer - b.start.layer)) {
    let place = busy.findIndex(last => last <= margin.start.layer);
    if (place < 0) place = busy.push(0) - 1;
    busy[place] = Math.max(...margin.ends.map(e => e.layer));
    margin.x = right + SPACE + (place + 0.5) * LANE;
  }
  return busy.length ? SPACE + busy.length * LANE : 0;
}

function marginWires({ signal, start, ends, x }, tops, bottoms) {
  const out = bottoms[start.layer],
    wires = [];
  const from = start.x + (start.box?.exits?.has(signal.key) ? start.box.exits.get(signal.key) - start.width / 2 : 0);
  let down = out;
  for (const end of ends) {
    const to = end.x + (end.box?.entries?.has(signal.key) ? end.box.entries.get(signal.key) - end.width / 2 : 0);
    const near = bottoms[end.layer - 1],
      direct = end.layer === start.layer + 1;
    wires.push({
      signal,
      head: end.box,
      arrow: end.box !== null && !end.box.entries?.has(signal.key),
      x0: direct ? from : x,
      y0: near,
      y1: near,
      x1: to,
      y2: tops[end.layer],
      y3: end.box ? end.box.y : tops[end.layer],
    });
    if (!direct) down = Math.max(down, near);
  }
  wires.push({
    signal,
    head: null,
    arrow: false,
    x0: from,
    y0: start.box ? start.box.y + start.box.h : out,
    y1: out,
    x1: x,
    y2: tops[start.layer + 1],
    y3: down,
  });
  return wires;
}

/** A wire up, where a cycle of scopes leaves no other way: from the bottom of one box to the top of the other. */
function backWire(signal, start, end) {
  const from = start.box ? start.box.y + start.box.h : 0,
    to = end.box ? end.box.y : 0;
  const port = (places, cell) => (places?.has(signal.key) ? places.get(signal.key) - cell.width / 2 : 0);
  return {
    signal,
    head: end.box,
    arrow: !end.box?.entries?.has(signal.key),
    back: true,
    y0: from,
    y1: from,
    y2: to,
    y3: to,
    x0: start.x + port(start.box?.exits, start),
    x1: end.x + port(end.box?.entries, end),
  };
}
