// Where in the pipeline the page is: after how many rewrites, compared with what, in one picture or in two side by side.

class Positions {
  /** Show the graph after `to` steps and what changed since `from`. */
  go(from, to) {
    [this.from, this.to] = [from, to];
    this.followRewrite();
    if (
      this.selection?.node !== undefined &&
      !this.graph.timeline.stateAt(to).reads.has(this.selection.node) &&
      !this.graph.timeline.stateAt(from).reads.has(this.selection.node)
    ) {
      const [heir] = this.graph.timeline.follow(
        [this.selection.node],
        this.graph.timeline.aliveNear(this.selection.node, to),
        to,
      );
      this.selection = heir === undefined ? null : { node: heir };
    }
    this.rebuild(this.keyIn(this.active));
    this.stages.update();
    this.refresh();
    if (this.graph.followed.size) this.showChanges();
  }

  /** Open the scopes in which a single rewrite changed something, as long as it is shown. */
  followRewrite() {
    const { timeline, tree } = this.graph,
      { from, to } = this;
    this.graph.followed = new Set();
    if (!this.following || this.side || to - from !== 1) return;
    const { added, erased, rewired } = timeline.difference(from, to),
      changed = [...added, ...erased, ...rewired];
    if (changed.length > 80) return;
    for (const node of changed) for (let s = tree.of[node]; s; s = s.parent) this.graph.followed.add(s.path);
  }

  /** Bring what changed into the window, if it is not there. */
  showChanges() {
    const { scene } = this.right,
      boxes = scene.boxes.filter(b => b.kind === "node" && (b.state === ADDED || b.state === ERASED));
    if (!boxes.length) return;
    const x = Math.min(...boxes.map(b => b.x)),
      y = Math.min(...boxes.map(b => b.y));
    this.right.show(
      { x, y, w: Math.max(...boxes.map(b => b.x + b.w)) - x, h: Math.max(...boxes.map(b => b.y + b.h)) - y },
      false,
    );
  }

  /** The position to compare with, by the chosen basis. */
  fromOf(to) {
    const { timeline } = this.graph;
    if (this.side) return this.from;
    return { rewrite: Math.max(0, to - 1), pass: to ? timeline.starts[timeline.stageAt(to)] : 0, traced: 0, nothing: to }[
      this.basis
    ];
  }

  goStep(to) {
    this.stage = null;
    if (this.basis === "pass") this.basis = "rewrite";
    this.go(this.fromOf(to), to);
  }

  /** The graph after a pass, and what the pass changed; -1: as traced. */
  goStage(number) {
    const { timeline } = this.graph,
      to = timeline.endOf(number);
    this.stage = number;
    if (this.basis === "rewrite" || this.basis === "pass") this.basis = "pass";
    const from = this.side ? this.from : { pass: number < 0 ? 0 : timeline.starts[number], traced: 0, nothing: to }[this.basis];
    this.go(from, to);
  }

  step(by) {
    const to = this.to + by;
    if (to >= 0 && to <= this.graph.timeline.length) this.goStep(to);
  }

  stepStage(by) {
    const { timeline, model } = this.graph;
    let number = (this.stage ?? timeline.stageAt(this.to)) + by;
    while (number >= 0 && number < model.stages.length && !model.stages[number].changed) number += by;
    if (number >= -1 && number < model.stages.length) this.goStage(number);
  }

  setBasis(basis) {
    this.basis = basis;
    this.go(this.fromOf(this.to), this.to);
  }

  /** Two stages side by side: the left one stays, the slider moves the right one. */
  setSide(on) {
    this.side = on;
    document.body.classList.toggle("side", on);
    byId("split").setAttribute("aria-pressed", on);
    this.right.side = on ? "right" : "only";
    if (on) {
      this.active = this.right;
      if (this.to === 0) [this.from, this.to] = [0, this.graph.timeline.length];
      else if (this.to - this.from <= 1) this.from = 0;
    } else {
      this.active = this.right;
      this.left.scene = null;
    }
    this.stage = null;
    if (!on) this.from = this.fromOf(this.to);
    this.left.resize();
    this.right.resize();
    this.rebuild();
    if (on) {
      this.aligning = true; // neither moves the other
      const k = Math.min(...[this.left, this.right].map(view => (view.fit(), view.camera.k))); // both equally large
      for (const view of [this.left, this.right]) view.fit(k);
      this.aligning = false;
    }
    this.stages.update();
    this.refresh();
  }

  rebuild(anchor = null) {
    this.right.go(this.from, this.to, anchor);
    if (this.side) this.left.go(this.from, this.to, anchor);
    if (this.side) {
      for (const [id, time] of [
        ["left-stage", this.from],
        ["right-stage", this.to],
      ]) {
        byId(id).value = time;
        if (!byId(id).value) byId(id).selectedIndex = -1;
      }
    }
  }
}
