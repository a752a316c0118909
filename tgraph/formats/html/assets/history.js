// The history of a graph: its state after any number of rewrites, what differs between two states, and what became of a node.

const SNAPSHOTS = 64; // states that are kept

class Timeline {
  constructor(model) {
    this.model = model;
    this.steps = []; // {stage, index in the stage, rule, changes, old, made}
    this.starts = []; // for each stage, the number of steps before it
    model.stages.forEach((stage, number) => {
      this.starts.push(this.steps.length);
      stage.steps.forEach((step, index) => this.steps.push({ ...step, stage: number, index }));
    });
    this.length = this.steps.length;
    this.known = new Map([[0, { reads: model.first, outputs: model.outputs }]]);
  }

  /** The number of steps at the end of a stage. */
  endOf(stage) {
    return stage < 0 ? 0 : this.starts[stage] + this.model.stages[stage].steps.length;
  }

  /** The stage that the step before a position belongs to; -1 before the first. */
  stageAt(time) {
    return time > 0 ? this.steps[time - 1].stage : -1;
  }

  /** The graph after so many steps: what each node reads, and the outputs. */
  stateAt(time) {
    const found = this.known.get(time);
    if (found) return found;
    let start = 0;
    for (const t of this.known.keys()) if (t <= time && t > start) start = t;
    const reads = new Map(this.known.get(start).reads);
    let outputs = this.known.get(start).outputs;
    for (let t = start; t < time; t++) {
      for (const [kind, ...change] of this.steps[t].changes) {
        if (kind === 0) reads.set(change[0], change[1]);
        else if (kind === 1) reads.delete(change[0]);
        else if (kind === 2) {
          const [node, position, , value] = change;
          const read = [...reads.get(node)];
          read[position] = value;
          reads.set(node, read);
        } else outputs = change[0];
      }
    }
    if (this.known.size > SNAPSHOTS) this.known.delete([...this.known.keys()][1]); // never the first
    const state = { reads, outputs };
    this.known.set(time, state);
    return state;
  }

  /** What differs between two states: nodes that came, went, or read something else. */
  difference(from, to) {
    const before = this.stateAt(from).reads,
      after = this.stateAt(to).reads;
    const added = new Set(),
      erased = new Set(),
      rewired = new Set();
    if (from === to) return { added, erased, rewired };
    for (const [node, reads] of after) {
      const old = before.get(node);
      if (!old) added.add(node);
      else if (old !== reads && reads.some((v, i) => !sameValue(v, old[i]))) rewired.add(node);
    }
    for (const node of before.keys()) if (!after.has(node)) erased.add(node);
    return { added, erased, rewired };
  }

  /** What nodes of one state are in another one: what they became if it is later, what they came from if it is earlier. */
  follow(nodes, from, to) {
    const reached = new Set(nodes);
    if (from < to) {
      for (let t = from; t < to; t++) {
        const { old, made } = this.steps[t];
        if (old.some(n => reached.has(n))) made.forEach(n => reached.add(n));
      }
    } else {
      for (let t = from - 1; t >= to; t--) {
        const { old, made } = this.steps[t];
        if (made.some(n => reached.has(n))) old.forEach(n => reached.add(n));
      }
    }
    const alive = this.stateAt(to).reads;
    return [...reached].filter(n => alive.has(n));
  }

  /** When a node came to be, or was erased, or read something else: [time, "made" | "erased" | "rewired"]. */
  eventsOf(node) {
    const found = [];
    this.steps.forEach((step, t) => {
      for (const [kind, first] of step.changes) {
        if (kind < 3 && first === node && !(found.at(-1)?.[0] === t + 1))
          found.push([t + 1, ["made", "erased", "rewired"][kind]]);
      }
    });
    return found;
  }

  /** A position at which a node is there, the nearest to `time`. */
  aliveNear(node, time) {
    if (this.stateAt(time).reads.has(node)) return time;
    const alive = [];
    if (this.model.first.has(node)) alive.push(0);
    for (const [t, kind] of this.eventsOf(node)) alive.push(kind === "erased" ? t - 1 : t);
    return alive.sort((a, b) => Math.abs(a - time) - Math.abs(b - time))[0] ?? 0;
  }

  /** The name of a position, for people. */
  nameOf(time) {
    if (time === 0) return "as traced";
    const step = this.steps[time - 1],
      stage = this.model.stages[step.stage];
    return time === this.endOf(step.stage) ? `after ${bare(stage.name)}` : `${bare(stage.name)}, rewrite ${step.index + 1}`;
  }
}

/** The name of a pass without its options. */
const bare = name => name.replace(/\{.*\}$/s, "");
