// The document of the page: unpacking it, and its graphs with texts in place of numbers.
// The format is described in document.py.

/** The bytes of base64 of gzip as text. */
async function unpack(base64) {
  const bytes = Uint8Array.from(atob(base64), c => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

// A value is a number of a node (its first result), [node, result], -1 - leaf, or null.
const nodeOf = value => (value === null ? -1 : Array.isArray(value) ? value[0] : value >= 0 ? value : -1);
const leafOf = value => (typeof value === "number" && value < 0 ? -1 - value : -1);
const sameValue = (a, b) => a === b || (Array.isArray(a) && Array.isArray(b) && a[0] === b[0] && a[1] === b[1]);

/** One graph, or one function, of the document. */
class Model {
  constructor(data, entry, isFunction = false) {
    const text = i => data.strings[i];
    this.name = entry.name;
    this.isFunction = isFunction;
    this.entry = entry;
    this.symbols = entry.symbols;
    this.leaves = entry.leaves.map(([kind, name, type, detail]) => ({
      kind,
      name: text(name),
      type: text(type),
      detail: text(detail),
    }));
    this.nodes = entry.nodes.map(([op, attributes, types, path, scopes, lines, flops, bytes, called], id) => {
      const [name, summary, operandNames, category] = data.ops[op];
      return {
        id,
        op: name,
        summary,
        operandNames,
        category: called >= 0 ? "kernel" : category,
        title: called >= 0 ? "$" + data.functions[called].name : name,
        called,
        attributes: text(attributes),
        types: types.map(text),
        path: text(path),
        scopes: scopes.map(text),
        lines: lines.map(([file, line, code]) => ({ file: text(file), line, code: text(code) })),
        flops: text(flops),
        bytes: text(bytes),
      };
    });
    this.first = new Map(entry.first.map((node, i) => [node, entry.reads[i]]));
    this.outputs = entry.outputs;
    this.stages = entry.stages.map(stage => ({
      ...stage,
      steps: stage.steps.map(([rule, changes, old, made]) => ({ rule: text(rule), changes, old, made })),
      misses: stage.misses.map(([rule, root, matched, at, reason]) => ({
        rule: text(rule),
        root,
        matched,
        at,
        reason: text(reason),
      })),
    }));
    this.overlays = entry.overlays;
    this.statistics = new Map(entry.statistics ?? []);
    this.heads = entry.heads ?? [];
  }

  /** A short name of a value, as a link shows it. */
  valueName(value) {
    const leaf = this.leaves[leafOf(value)];
    if (leaf) return leaf.kind === "parameter" ? "@" + leaf.name : leaf.kind === "constant" ? leaf.detail : "%" + leaf.name;
    const node = this.nodes[nodeOf(value)];
    return node ? `${node.title} #${node.id}` + (Array.isArray(value) ? `.${value[1]}` : "") : "(absent)";
  }

  valueType(value) {
    const leaf = this.leaves[leafOf(value)];
    return leaf ? leaf.type : (this.nodes[nodeOf(value)]?.types[Array.isArray(value) ? value[1] : 0] ?? "");
  }
}
