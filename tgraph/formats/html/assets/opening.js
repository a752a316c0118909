// Opening and closing of scopes, and walking through the graph with the arrow keys.

class Opening extends Selecting {
  toggle(box, view) {
    const { open, followed } = this.graph,
      { path } = box.scope;
    if (followed.delete(path)) open.delete(path);
    else if (!open.delete(path)) {
      open.add(path);
      for (
        let [inner] = box.scope.children.values();
        box.scope.children.size === 1 && !box.scope.nodes.length && inner;
        inner = null
      )
        open.add(inner.path);
    }
    const opened = open.has(path);
    this.selection = { key: box.key };
    this.rebuild(box.key);
    this.select({ key: box.key }, view);
    const now = view.scene.byKey.get(box.key);
    if (opened && now) view.show(now, false);
    if (this.side) this.alignOther(view);
  }

  openAll(scope) {
    const { open, tree } = this.graph;
    const visit = s => {
      open.add(s.path);
      s.children.forEach(visit);
    };
    visit(scope);
    this.rebuild();
    if (scope === tree.root) this.active.fit();
    this.refresh();
  }

  closeAll() {
    const { graph } = this;
    graph.open = new Set(graph.first);
    this.rebuild();
    this.active.fit();
    this.refresh();
  }

  closeAround() {
    const box = this.active.scene.byKey.get(this.keyIn(this.active)),
      around = box?.open ? box : box?.parent;
    if (around && around !== this.active.scene.root) this.toggle(around, this.active);
  }

  enter() {
    const box = this.active.scene.byKey.get(this.keyIn(this.active));
    if (!box) return;
    if (box.kind === "scope") this.toggle(box, this.active);
    else byId("panel").focus();
  }

  /** Select what is next in a direction: along the wires up and down, else the nearest box beside. */
  walk(direction) {
    const view = this.active,
      { scene } = view,
      box = scene.byKey.get(this.keyIn(view));
    const boxes = scene.boxes.filter(b => !b.open);
    if (!box) {
      if (boxes.length) this.selectBox([...boxes].sort((a, b) => a.y - b.y)[0], view);
      return;
    }
    const [cx, cy] = [box.x + box.w / 2, box.y + (box.open ? 0 : box.h / 2)];
    const nearest = list =>
      list.sort(
        (a, b) =>
          Math.hypot(a.x + a.w / 2 - cx, (a.y + a.h / 2 - cy) * 0.6) -
          Math.hypot(b.x + b.w / 2 - cx, (b.y + b.h / 2 - cy) * 0.6),
      )[0];
    let target;
    if (box.open)
      target = direction === "down" ? nearest(boxes.filter(b => within(b, box))) : direction === "up" ? box.parent : null;
    else if (direction === "up" || direction === "down") {
      target = nearest(
        [...((direction === "down" ? scene.next : scene.previous).get(box.key) ?? [])].map(k => scene.byKey.get(k)),
      );
    } else {
      const sign = direction === "right" ? 1 : -1;
      target = nearest(
        boxes.filter(b => sign * (b.x + b.w / 2 - cx) > 2 && Math.abs(b.y + b.h / 2 - cy) < Math.max(box.h, 60)),
      );
    }
    if (!target || target === scene.root) return;
    this.selectBox(target, view);
    view.show(target, false);
  }

  escape() {
    if (this.search.field.value) this.search.clear();
    else this.select(null);
    byId("hits").hidden = true;
    document.body.classList.remove("sheet", "list");
  }
}

/** Whether a box lies in another one. */
function within(box, around) {
  for (let b = box.parent; b; b = b.parent) if (b === around) return true;
  return false;
}
