// What is selected, in one picture or in both, and the ways to bring a node or scope into the window.

class Selecting extends Positions {
  /** The key of the box that shows what is selected. */
  keyIn(view) {
    const { selection } = this;
    if (!selection || !view.scene) return null;
    if (selection.node !== undefined) return view.scene.boxOf.get(selection.node)?.key ?? null;
    return view.scene.byKey.has(selection.key) ? selection.key : null;
  }

  selectBox(box, view) {
    this.select(!box ? null : box.kind === "node" ? { node: box.node } : { key: box.key }, view);
  }

  select(selection, view = this.active) {
    this.selection = selection;
    this.active = view;
    document.body.classList.toggle("sheet", selection !== null);
    this.refresh();
    this.alignOther(view);
    const box = view.scene.byKey.get(this.keyIn(view));
    if (box) byId("live").textContent = `${box.kind} ${box.title}, ${box.lines.join(", ")}`;
  }

  /** In the other picture, or among ghosts: what the selected nodes became, or what they come from. */
  relate() {
    const { timeline } = this.graph,
      views = this.side ? [this.left, this.right] : [this.right];
    for (const view of views) view.related = new Set();
    const box = this.active.scene.byKey.get(this.keyIn(this.active));
    if (!box || box === this.active.scene.root) return;
    const nodes = box.kind === "node" ? [box.node] : box.open ? [] : box.nodes;
    if (this.side) {
      const other = this.active === this.left ? this.right : this.left;
      const found = box.kind === "node" || !box.open ? timeline.follow(nodes, this.active.time, other.time) : [];
      other.related = new Set(found.map(n => other.scene.boxOf.get(n)?.key));
      if (!nodes.length && other.scene.byKey.has(box.key)) other.related.add(box.key);
    } else if (box.kind === "node") {
      const ghost = this.active.scene.isGhost(box.node);
      const found = ghost ? timeline.follow(nodes, this.from, this.to) : timeline.follow(nodes, this.to, this.from);
      for (const n of found)
        if (n !== box.node && this.active.scene.boxOf.get(n)) this.active.related.add(this.active.scene.boxOf.get(n).key);
    }
  }

  /** Move the other picture so that what belongs together stands at one height. */
  alignOther(view) {
    if (!this.side) return;
    const other = view === this.left ? this.right : this.left,
      box = view.scene.byKey.get(this.keyIn(view));
    const [key] = other.related,
      twin = other.scene.byKey.get(key);
    if (!box || !twin) return;
    other.camera.k = view.camera.k;
    other.camera.x = view.camera.x + twin.x + twin.w / 2 - box.x - box.w / 2;
    other.camera.y = view.camera.y + twin.y - box.y;
    other.draw();
  }

  /** Both pictures move together. */
  cameraMoved(view) {
    const last = view.last ?? view.camera;
    if (this.side && !this.aligning) {
      const other = view === this.left ? this.right : this.left;
      if (last !== view.camera) {
        const [mx, my] = [view.width / 2, view.height / 2];
        const before = [last.x + mx / last.k, last.y + my / last.k],
          now = view.camera.toScene(mx, my);
        const [ox, oy] = other.camera.toScene(mx, my);
        other.camera.k = view.camera.k;
        other.camera.x = ox + now[0] - before[0] - mx / view.camera.k;
        other.camera.y = oy + now[1] - before[1] - my / view.camera.k;
        other.last = { ...other.camera };
        other.draw();
      }
    }
    view.last = { ...view.camera };
  }

  /** Show a node, wherever it is: at another stage if it is not there now. */
  reveal(node, at = null) {
    const { timeline, tree, open } = this.graph;
    const view = this.active,
      shown = view.scene.boxOf.has(node);
    if ((at !== null && at !== this.to && !this.side) || !shown) {
      const time = timeline.aliveNear(node, at ?? this.to);
      this.stage = null;
      [this.from, this.to] = this.side ? [this.from, time] : [this.fromOf(time), time];
      if (this.side) this.active = this.right;
    }
    for (let s = tree.of[node]; s; s = s.parent) open.add(s.path);
    this.rebuild();
    this.stages.update();
    this.select({ node }, this.active);
    const box = this.active.scene.boxOf.get(node);
    if (box) this.active.show(box, false);
    if (box) this.alignOther(this.active);
  }

  /** Show a scope by its path. */
  revealScope(path) {
    const { tree, open } = this.graph;
    const plain = path.split(/[./]/).filter(Boolean).join(".");
    let scope = tree.byPath.get(path) ?? tree.byPath.get(plain);
    for (let p = plain; !scope && p; p = p.split(".").slice(0, -1).join(".")) scope = tree.byPath.get(p);
    if (!scope) return;
    for (let s = scope.parent; s; s = s.parent) open.add(s.path);
    this.rebuild();
    const box = this.active.scene.byKey.get(`s:${scope.path}`);
    this.select(box ? { key: box.key } : null);
    if (box) this.active.show(box);
  }

  showFirst(set) {
    const [first] = this.active.scene.nodes.filter(n => set.has(n) && this.active.scene.boxOf.has(n));
    if (first !== undefined) this.reveal(first);
  }

  showSelected() {
    const box = this.active.scene.byKey.get(this.keyIn(this.active));
    if (box) this.active.show(box);
  }
}
