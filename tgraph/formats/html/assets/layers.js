// Layered drawing: the layer of each box, the order of cells within each layer by barycentres, their places by least squares.
// After Sugiyama, Tagawa and Toda, "Methods for Visual Understanding of Hierarchical System Structures" (1981).

const LANE = 10,
  SPACE = 18,
  GAP = 20; // width of a wire that passes a layer; space between boxes; space between layers
const PULL = [8, 0.5, 10]; // of a link between two boxes, a box and a lane, two pieces of a lane
const MOST_SWEEPS = 240; // of a small level
const SWEEPS = 8,
  PATIENCE = 100000; // cells to look at in all sweeps: a level of many cells gets fewer sweeps
const PLACES = 12000; // lanes in layers that a level may have; what is longer runs beside

/** A place in a layer: of a box, or (box null) of a signal that passes. */
class Cell {
  constructor(box, layer) {
    this.box = box;
    this.layer = layer;
    this.width = box ? box.w : LANE;
    this.height = box ? box.h : 0;
    this.x = 0; // of the middle
    this.rank = 0;
    this.above = []; // links
    this.below = [];
  }
}

/** A piece of a signal between neighbouring layers; offsets are from the middles of the cells. */
class Link {
  constructor(signal, upper, lower) {
    this.signal = signal;
    this.upper = upper;
    this.lower = lower;
    const exit = upper.box?.exits?.get(signal.key),
      entry = lower.box?.entries?.get(signal.key);
    this.from = exit === undefined ? 0 : exit - upper.width / 2;
    this.to = entry === undefined ? 0 : entry - lower.width / 2;
    this.pull = PULL[(upper.box === null) + (lower.box === null)]; // how much it wants to be straight
    this.shift = upper.box?.kind === "scope" && lower.box?.kind === "scope" ? 0 : this.from - this.to; // scopes form a column
    upper.below.push(this);
    lower.above.push(this);
  }
}

/** Layers by the longest chain that ends in a box. Signals that go back, where boxes depend on each other, do not count. */
function assignLayers(boxes, signals) {
  const next = new Map(boxes.map(b => [b, []]));
  for (const s of signals) if (s.tail) for (const head of s.heads) if (head !== s.tail) next.get(s.tail).push(head);
  let finished = finishingOrder(boxes, next);
  if (finished.cyclic) {
    // of two scopes that read each other's values, the one whose nodes come first is above
    for (const [box, after] of next)
      next.set(
        box,
        after.filter(b => box.rank <= b.rank),
      );
    finished = finishingOrder(boxes, next);
  }
  const layer = new Map(boxes.map(b => [b, 0])),
    read = new Set();
  for (let i = finished.length - 1; i >= 0; i--) {
    for (const after of next.get(finished[i])) {
      layer.set(after, Math.max(layer.get(after), layer.get(finished[i]) + 1));
      read.add(after);
    }
  }
  // What reads nothing stands right above its first reader, but inputs at the top.
  const entered = new Set(signals.filter(s => !s.tail).flatMap(s => [...s.heads]));
  for (const box of boxes) {
    if (!read.has(box) && !entered.has(box) && box.kind !== "input" && next.get(box).length) {
      layer.set(box, Math.max(0, Math.min(...next.get(box).map(b => layer.get(b))) - 1));
    }
  }
  return layer;
}

/** Boxes, each after all that it leads to, by a search depth first; `cyclic` if boxes lead to each other. */
function finishingOrder(boxes, next) {
  const state = new Map(),
    finished = [];
  for (const root of boxes) {
    if (state.has(root)) continue;
    const stack = [[root, 0]];
    state.set(root, "open");
    while (stack.length) {
      const top = stack.at(-1),
        [box, i] = top,
        after = next.get(box)[i];
      if (after === undefined) {
        state.set(box, "done");
        finished.push(box);
        stack.pop();
        continue;
      }
      top[1]++;
      if (state.get(after) === "open") finished.cyclic = true;
      else if (!state.has(after)) {
        state.set(after, "open");
        stack.push([after, 0]);
      }
    }
  }
  return finished;
}

/** Reorder each layer by the mean place of its cells' neighbours, down and up in turn; keep what crosses least. */
function orderCells(layers, deadline) {
  const rank = () =>
    layers.forEach(layer =>
      layer.forEach((cell, i) => {
        cell.rank = i;
      }),
    );
  const total = layers.reduce((sum, layer) => sum + layer.length, 0);
  const sweeps = Math.max(2, Math.min(SWEEPS, PATIENCE / Math.max(1, total)));
  rank();
  let best = layers.map(layer => [...layer]),
    fewest = crossings(layers);
  for (let sweep = 0; sweep < sweeps && fewest && performance.now() < deadline; sweep++) {
    const down = sweep % 2 === 0;
    for (const layer of down ? layers : [...layers].reverse()) {
      const wanted = new Map(
        layer.map(cell => {
          const links = down ? cell.above : cell.below;
          const sum = links.reduce(
            (s, k) => s + (down ? k.upper.rank + k.from / (k.upper.width + 1) : k.lower.rank + k.to / (k.lower.width + 1)),
            0,
          );
          return [cell, links.length ? sum / links.length : cell.rank];
        }),
      );
      layer.sort((a, b) => wanted.get(a) - wanted.get(b) || a.rank - b.rank);
      layer.forEach((cell, i) => {
        cell.rank = i;
      });
    }
    const found = crossings(layers);
    if (found < fewest) {
      best = layers.map(layer => [...layer]);
      fewest = found;
    }
  }
  best.forEach((layer, i) => {
    layers[i] = layer;
  });
  rank();
}

/** How many pairs of links cross: inversions, counted in a Fenwick tree over the ranks of lower ends. */
function crossings(layers) {
  let total = 0;
  for (const layer of layers) {
    const links = [];
    for (const cell of layer) {
      for (const k of cell.below)
        links.push([cell.rank + k.from / (cell.width + 1), k.lower.rank + k.to / (k.lower.width + 1)]);
    }
    if (links.length < 2) continue;
    links.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    const places = [...new Set(links.map(l => l[1]))].sort((a, b) => a - b),
      place = new Map(places.map((p, i) => [p, i + 1]));
    const tree = new Int32Array(places.length + 1);
    links.forEach(([, lower], seen) => {
      let notAfter = 0;
      for (let i = place.get(lower); i > 0; i -= i & -i) notAfter += tree[i];
      total += seen - notAfter;
      for (let i = place.get(lower); i <= places.length; i += i & -i) tree[i]++;
    });
  }
  return total;
}

/** Place cells as near to their neighbours as their order and the space between boxes allow. */
function placeCells(layers, deadline) {
  for (const layer of layers)
    settle(
      layer,
      layer.map(() => 0),
      layer.map(() => 1),
    );
  const total = layers.reduce((sum, layer) => sum + layer.length, 0);
  const sweeps = Math.max(8, Math.min(MOST_SWEEPS, (2 * PATIENCE) / Math.max(1, total)));
  for (let sweep = 0; sweep < sweeps && performance.now() < deadline; sweep++) {
    const down = sweep % 2 === 0,
      both = sweep >= Math.min(SWEEPS, sweeps / 2);
    for (const layer of down ? layers : [...layers].reverse()) {
      const wanted = [],
        weights = [];
      for (const cell of layer) {
        let pulled = 0,
          pull = 0;
        if (down || both) {
          for (const k of cell.above) {
            pull += k.pull;
            pulled += k.pull * (k.upper.x + k.shift);
          }
        }
        if (!down || both) {
          for (const k of cell.below) {
            pull += k.pull;
            pulled += k.pull * (k.lower.x - k.shift);
          }
        }
        wanted.push(pull ? pulled / pull : cell.x);
        weights.push(pull || 0.01);
      }
      settle(layer, wanted, weights);
    }
  }
}

/** Places nearest to the wanted ones at minimal distances: isotonic regression by pooling adjacent violators. */
function settle(layer, wanted, weights) {
  const pools = [],
    offsets = []; // a pool: mean, weight, count
  let offset = 0;
  layer.forEach((cell, i) => {
    const before = layer[i - 1];
    if (before) offset += (before.width + cell.width) / 2 + (before.box || cell.box ? SPACE : 0);
    offsets.push(offset);
    let pool = [wanted[i] - offset, weights[i], 1];
    while (pools.length && pools.at(-1)[0] > pool[0]) {
      const [mean, weight, count] = pools.pop();
      pool = [(pool[0] * pool[1] + mean * weight) / (pool[1] + weight), pool[1] + weight, pool[2] + count];
    }
    pools.push(pool);
  });
  let i = 0;
  for (const [mean, , count] of pools) for (let n = 0; n < count; n++, i++) layer[i].x = mean + offsets[i];
}
