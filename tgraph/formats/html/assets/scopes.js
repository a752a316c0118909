// Scopes: the tree of a model's modules, of all nodes that there ever are, so that it is the same at every stage.

const RUN = 24; // so many numbered scopes side by side are shown one by one; more are gathered in groups
const ROOM = 15; // boxes that the first picture may have
const FEW = 32; // a graph of so few nodes is shown whole

class Scope {
  constructor(path, name, parent) {
    this.path = path;
    this.name = name;
    this.parent = parent;
    this.children = new Map();
    this.nodes = [];
  }
}

/** The tree of scopes of a model; `of` has the innermost scope of each node. */
class ScopeTree {
  constructor(model) {
    this.root = new Scope("", "", null);
    const made = new Map([["", this.root]]);
    const scopeAt = parts => {
      const path = parts.join(".");
      if (!made.has(path)) {
        const parent = scopeAt(parts.slice(0, -1)),
          scope = new Scope(path, parts.at(-1), parent);
        parent.children.set(path, scope);
        made.set(path, scope);
      }
      return made.get(path);
    };
    for (const node of model.nodes) scopeAt(node.path ? node.path.split(".") : []).nodes.push(node.id);
    this.join(this.root);
    this.group(this.root);
    this.of = [];
    this.byPath = new Map();
    const list = scope => {
      this.byPath.set(scope.path, scope);
      for (const node of scope.nodes) this.of[node] = scope;
      scope.children.forEach(list);
    };
    list(this.root);
  }

  /** Make one scope of a scope and its only content: encoder.layer. */
  join(scope) {
    for (const [path, child] of [...scope.children]) {
      this.join(child);
      if (!child.nodes.length && child.children.size === 1) {
        const [only] = child.children.values();
        only.name = `${child.name}.${only.name}`;
        only.parent = scope;
        scope.children = new Map([...scope.children].map(([p, c]) => (p === path ? [only.path, only] : [p, c])));
      }
    }
  }

  /** Gather long runs of numbered scopes: 0 … 19, 20 … 39. */
  group(scope) {
    scope.children.forEach(child => this.group(child));
    const numbered = [...scope.children.values()].filter(c => /^\d+(\.|$)/.test(c.name));
    if (numbered.length <= RUN) return;
    numbered.sort((a, b) => parseInt(a.name) - parseInt(b.name));
    const size = numbered.length > 400 ? 50 : numbered.length > 100 ? 20 : 10;
    for (let i = 0; i < numbered.length; i += size) {
      const part = numbered.slice(i, i + size),
        first = part[0],
        last = part.at(-1);
      const group = new Scope(`${scope.path}[${first.name}-${last.name}]`, `${first.name} \u2026 ${last.name}`, scope);
      for (const child of part) {
        scope.children.delete(child.path);
        group.children.set(child.path, child);
        child.parent = group;
      }
      scope.children.set(group.path, group);
    }
  }

  /** The title of a scope's box; one that is only a number takes its parent's last name along: layer.3. */
  titleOf(scope) {
    let parent = scope.parent;
    while (parent && parent.path.endsWith("]")) parent = parent.parent;
    const above = parent?.path.split(".").at(-1);
    return /^\d/.test(scope.name) && above ? `${above}.${scope.name}` : scope.name;
  }

  /** The scopes to open at first: from the outside in, while there is room, and of numbered ones side by side none. */
  openAtFirst(alive) {
    const open = new Set([""]),
      sizes = new Map();
    if (alive.size <= FEW) return new Set(this.byPath.keys());
    const measure = scope => {
      scope.children.forEach(measure);
      const own = scope.nodes.reduce((sum, n) => sum + alive.has(n), 0);
      sizes.set(scope, { own, all: [...scope.children.values()].reduce((sum, c) => sum + sizes.get(c).all, own) });
    };
    measure(this.root);
    const added = scope => sizes.get(scope).own + [...scope.children.values()].filter(c => sizes.get(c).all).length - 1;
    let shown = added(this.root),
      waiting = [this.root];
    while (waiting.length) {
      const next = [];
      for (const scope of waiting) {
        const children = [...scope.children.values()].sort((a, b) => sizes.get(b).all - sizes.get(a).all); // the large ones first
        const layers = children.filter(c => /^\d/.test(c.name));
        for (const child of children) {
          if ((layers.length < 2 || !layers.includes(child)) && shown + added(child) <= ROOM) {
            open.add(child.path);
            shown += added(child);
            next.push(child);
          }
        }
      }
      waiting = next;
    }
    return open;
  }
}
