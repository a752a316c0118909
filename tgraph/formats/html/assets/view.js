// One picture: a canvas with a camera on a scene, its pointer and wheel, and the motion from one scene to the next.

const MOTION = 260; // milliseconds
const STAGE_NAME = 34; // pixels
const STILL = 1500; // boxes: larger scenes change without motion

class View {
  /** app: the page, which is told of clicks. side: "left", "right" or "only", as in scenes. */
  constructor(app, canvas, side) {
    this.app = app;
    this.canvas = canvas;
    this.side = side;
    this.context = canvas.getContext("2d");
    this.camera = new Camera();
    this.from = this.to = 0;
    this.hovered = null;
    this.pointers = new Map();
    this.frames = []; // milliseconds that the last frames took to draw
    new ResizeObserver(() => this.resize()).observe(canvas.parentElement);
    canvas.addEventListener("pointerdown", event => this.down(event));
    canvas.addEventListener("pointermove", event => this.move(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, event => this.up(event));
    canvas.addEventListener("pointerleave", () => {
      this.hovered = null;
      this.draw();
    });
    canvas.addEventListener("wheel", event => this.wheel(event), { passive: false });
    canvas.addEventListener("dblclick", event => {
      const box = this.hit(event);
      if (box) this.show(box);
    });
  }

  // Scenes

  /** Show the graph after `to` steps, with what changed since `from`. What stays keeps its place on the screen. */
  go(from, to, anchor = null) {
    this.from = from;
    this.to = to;
    this.rebuild(anchor);
  }

  /** The position that the picture shows. */
  get time() {
    return this.side === "left" ? this.from : this.to;
  }

  rebuild(anchor = null) {
    const old = this.scene,
      { timeline, tree, shownOpen: open } = this.app.graph;
    const began = performance.now();
    this.scene = new Scene(timeline, tree, this.from, this.to, open, this.side);
    this.layoutTime = performance.now() - began;
    if (old && old.timeline === timeline) {
      this.keepPlace(old, anchor);
      if (this.fitted && this.badlyPlaced()) this.fit();
      this.moveFrom(old);
    } else this.fit();
    this.draw();
  }

  /** Move the camera so that a box that both scenes have is where it was: the given one, or what is nearest to the middle. */
  keepPlace(old, anchor) {
    const [mx, my] = this.camera.toScene(this.width / 2, this.height / 2);
    const distance = b => Math.hypot(b.x + b.w / 2 - mx, b.y + b.h / 2 - my);
    let best = anchor && old.byKey.get(anchor);
    if (!best || !this.scene.byKey.has(best.key)) {
      best = null;
      for (const box of old.boxes) {
        if (!box.open && this.scene.byKey.has(box.key) && (!best || distance(box) < distance(best))) best = box;
      }
    }
    if (!best) return;
    const now = this.scene.byKey.get(best.key);
    this.camera.x += now.x + (anchor ? 0 : now.w / 2) - best.x - (anchor ? 0 : best.w / 2);
    this.camera.y += now.y - best.y;
    this.shifted = [now.x - best.x, now.y - best.y];
  }

  /** Whether a scene that was fitted into the window before it changed is no longer in it, or very small in it. */
  badlyPlaced() {
    const { camera, scene } = this,
      wanted = new Camera();
    wanted.fit({ x: 0, y: 0, w: scene.w, h: scene.h }, this.width, this.free);
    const [x0, y0] = camera.toScene(0, 0),
      [x1, y1] = camera.toScene(this.width, this.free);
    return x0 > 0 || y0 > 0 || x1 < scene.w || y1 < scene.h || wanted.k > 1.4 * camera.k;
  }

  /** Let boxes glide from where they were to where they are. */
  moveFrom(old) {
    if (old.boxes.length + this.scene.boxes.length > STILL || matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    const [dx, dy] = this.shifted ?? [0, 0];
    const places = new Map(old.boxes.map(b => [b.key, { x: b.x + dx, y: b.y + dy, w: b.w, h: b.h }]));
    this.motion = { old: places, began: performance.now(), share: 0 };
    this.shifted = null;
  }

  // Drawing

  resize() {
    const { clientWidth, clientHeight } = this.canvas.parentElement;
    const first = !this.width && clientWidth;
    this.width = clientWidth;
    this.height = clientHeight;
    this.ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(clientWidth * this.ratio);
    this.canvas.height = Math.round(clientHeight * this.ratio);
    if (first && this.scene) this.fit();
    this.drawNow();
  }

  /** Draw at the next frame, once. */
  draw() {
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => this.drawNow());
  }

  drawNow() {
    if (this.waiting) cancelAnimationFrame(this.waiting);
    this.waiting = 0;
    if (!this.scene || !this.width) return;
    const began = performance.now();
    let motion = null;
    if (this.motion) {
      const t = Math.min(1, (began - this.motion.began) / MOTION);
      this.motion.share = 1 - (1 - t) ** 3;
      motion = this.motion;
      if (t === 1) motion = this.motion = null;
    }
    paint(this.context, this.width, this.height, this.ratio, this.scene, this.camera, this.look(), motion);
    this.frames.push(performance.now() - began);
    if (this.frames.length > 200) this.frames.shift();
    if (this.motion) this.draw();
    if (this === this.app.active) this.app.minimap.draw();
  }

  /** How boxes look, as `painter.js` wants it. */
  look() {
    const { app, scene } = this,
      overlay = app.overlay,
      { theme } = app;
    const selected = app.keyIn(this);
    const overlaid = overlay.id !== "kind" && overlay.id !== "none";
    const isolated = app.fade && (scene.changes.added.size || scene.changes.erased.size || scene.changes.rewired.size);
    return {
      theme,
      selected,
      hovered: this.hovered,
      selectedInputs: scene.previous.get(selected) ?? new Set(),
      related: this.related ?? new Set(),
      matches: app.matchKeys(this),
      kind: box => (overlaid && overlay.kind ? overlay.kind(box.node) : scene.model.nodes[box.node].category),
      fill: box => (overlaid && box.kind !== "input" && box.kind !== "output" ? overlay.fill(box, this, theme) : null),
      filled: box => (overlaid && overlay.strong?.(box, this) ? (theme.dark ? "#fff" : "#201400") : null),
      note: box => (overlaid && box.kind === "scope" ? overlay.label(box, this) : null),
      faded: box =>
        isolated &&
        (box.kind === "node" ? box.state === SAME : box.kind === "scope" ? box.counts[SAME] === box.nodes.length : true),
    };
  }

  /** The height that nothing lies over: on a small window the details are a sheet. */
  get free() {
    const panel = byId("panel");
    const sheet = getComputedStyle(panel).position === "absolute" && panel.offsetHeight;
    return this.height - (sheet || 0) > 120 ? this.height - (sheet || 0) : this.height;
  }

  /** Show all of the scene, at most at `largest`; the name of the stage at the top hides nothing of it. */
  fit(largest = 1.25) {
    if (!this.width || !this.scene) return;
    const top = this.side === "only" ? 0 : STAGE_NAME;
    this.camera.fit({ x: 0, y: 0, w: this.scene.w, h: this.scene.h }, this.width, this.free - top, largest);
    this.camera.y -= top / this.camera.k;
    this.moved();
    this.fitted = true;
  }

  /** Bring a box into the window, as large as it can be read. */
  show(box, always = true) {
    const { free } = this,
      [x0, y0] = this.camera.toScene(0, 0),
      [x1, y1] = this.camera.toScene(this.width, free);
    const inside = box.x >= x0 && box.y >= y0 && box.x + box.w <= x1 && box.y + box.h <= y1;
    if (inside && this.camera.k > 0.5 && !always) return;
    if (box.w * this.camera.k > this.width - 40 || box.h * this.camera.k > free - 40 || this.camera.k < 0.5 || always) {
      this.camera.fit(box, this.width, free, Math.max(1, Math.min(this.camera.k, 1.25)), 40);
      if (this.camera.k < 0.25 && box.open) {
        // too large to read as a whole: its upper end
        this.camera.k = 0.5;
        this.camera.x = box.x + box.w / 2 - this.width / 2 / this.camera.k;
        this.camera.y = box.y - 30;
      }
    } else {
      this.camera.x += box.x + box.w / 2 - (x0 + x1) / 2;
      this.camera.y += box.y + box.h / 2 - (y0 + y1) / 2;
    }
    this.moved();
  }

  /** After the camera has moved. */
  moved() {
    this.fitted = false;
    this.app.cameraMoved(this);
    this.draw();
  }

  // Pointer

  place(event) {
    const frame = this.canvas.getBoundingClientRect();
    return [event.clientX - frame.left, event.clientY - frame.top];
  }

  hit(event) {
    return this.scene?.at(...this.camera.toScene(...this.place(event)));
  }

  down(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.canvas.focus({ preventScroll: true });
    this.app.active = this;
    this.pointers.set(event.pointerId, this.place(event));
    if (this.pointers.size === 1) this.travel = 0;
  }

  move(event) {
    const place = this.place(event),
      old = this.pointers.get(event.pointerId);
    if (!old) {
      const key = this.hit(event)?.key ?? null;
      this.canvas.style.cursor = key ? "pointer" : "grab";
      if (key !== this.hovered) {
        this.hovered = key;
        this.app.hovered(this, key);
        this.draw();
      }
      return;
    }
    const others = [...this.pointers].filter(([id]) => id !== event.pointerId).map(([, p]) => p);
    this.pointers.set(event.pointerId, place);
    if (others.length) {
      // two fingers: pinch
      const [other] = others;
      const spread = p => Math.hypot(p[0] - other[0], p[1] - other[1]) || 1;
      this.camera.pan((place[0] - old[0]) / 2, (place[1] - old[1]) / 2);
      this.camera.zoom(spread(place) / spread(old), (place[0] + other[0]) / 2, (place[1] + other[1]) / 2);
      this.travel = 99;
    } else {
      this.travel += Math.abs(place[0] - old[0]) + Math.abs(place[1] - old[1]);
      if (this.travel > 4) {
        this.canvas.style.cursor = "grabbing";
        this.camera.pan(place[0] - old[0], place[1] - old[1]);
      }
    }
    this.moved();
  }

  up(event) {
    const pressed = this.pointers.delete(event.pointerId);
    if (event.type !== "pointerup" || !pressed || this.travel > 4) return;
    const box = this.hit(event);
    if (box?.kind === "scope") {
      const onTitle = !box.open || this.camera.toScene(...this.place(event))[1] < box.y + TITLE;
      if (onTitle) this.app.toggle(box, this);
      else this.app.select(null, this);
    } else this.app.selectBox(box ?? null, this);
  }

  wheel(event) {
    event.preventDefault();
    const place = this.place(event);
    if (event.ctrlKey || event.deltaMode || (Math.abs(event.deltaY) >= 40 && !event.deltaX)) {
      this.camera.zoom(
        Math.exp(-Math.max(-240, Math.min(240, event.deltaY * (event.deltaMode ? 30 : 1))) * (event.ctrlKey ? 0.01 : 0.0018)),
        ...place,
      );
    } else this.camera.pan(-event.deltaX, -event.deltaY); // two fingers on a touchpad
    this.moved();
  }
}
