// One image under review: its mask, boxes and points, and what is done to them.

import { ApiError } from "../api.js";
import { ReviewCanvas } from "./canvas.js";
import { handleKey } from "./keys.js";
import { Masks } from "./masks.js";
import { PaintedMask } from "./painted.js";
import { Panel, TOOLS } from "./panel.js";
import { encodeGrey } from "./png.js";
import { Previewer } from "./previewer.js";
import { Prompts } from "./prompts.js";
import { askConflict, askPrompts, askReplace, askStrokes } from "./questions.js";
import { reasonsOf } from "./reasons.js";
import { SIZES } from "./tools.js";

export class Editor {
  record = null;
  painted = null;
  prompts = null;
  onStored = () => {}; // (record, review before)
  onConflict = () => {}; // (record): theirs shall be shown
  onBusy = () => {}; // (what is being done, in words; null once it is)
  #api;
  #announce;
  #frame;
  #session;
  #masks;
  #teacher;
  #running = null; // the change that is under way, a promise
  #boxesShown = true;
  #hidden = false;
  #previewer;
  #on; // what buttons and keys do

  constructor({ api, session, announce, frame }) {
    this.#api = api;
    this.#session = session;
    this.#announce = announce;
    this.#frame = frame;
    this.#masks = new Masks(api);
    this.#previewer = new Previewer(api);
    this.#teacher = this.#usualTeacher;
    this.canvas = new ReviewCanvas(api, announce);
    this.#on = {
      tool: (name) => this.setTool(name),
      mode: (mode) => this.#setMode(mode),
      opacity: (value) => this.#setOpacity(value),
      boxes: () => this.#toggleBoxes(),
      hide: () => this.#toggleMask(),
      size: (size) => this.#chooseSize(size),
      undo: () => this.#undo(),
      redo: () => this.#undo(true),
      store: () => this.store(),
      discard: () => this.discard(),
      teacher: (name) => this.#setTeacher(name),
      remake: () => this.remake(),
      removeBox: (index) => this.canvas.refuse() || this.#prompted(this.prompts.removeBox(index)),
      selectBox: (index) => this.#selectBox(index),
    };
    this.panel = new Panel(this.#on, { teachers: session.teachers, teacher: this.#teacher, readOnly: session.read_only });
    this.#previewer.onMask = (field) => this.canvas.showPreview(field);
    this.#previewer.onNote = (text) => this.panel.note && (this.panel.note.textContent = text);
    const { box, point, brush } = this.canvas;
    box.onChange = (index, content) => this.#putBox(index, content);
    box.onSelect = (index) => this.#select(index);
    point.onPoint = (x, y) => this.#addPoint(x, y);
    point.onRemove = (index) => this.#prompted(this.prompts.removePoint(index));
    brush.onChange = () => this.canvas.redrawMask();
    brush.onStroke = () => this.#refresh();
    this.#refresh();
  }

  destroy() {
    this.#previewer.drop();
    this.canvas.destroy();
  }

  /** Whether something was done that is not stored. */
  get changed() {
    return Boolean(this.painted?.changed || this.prompts?.changed);
  }

  /** Whether a mask is being made or stored: what is seen is not yet what is there. */
  get busy() {
    return this.#running !== null;
  }

  /** What is known of the mask, for those who do not see it. */
  get summary() {
    const reasons = reasonsOf(this.record).map(({ text }) => text);
    return `${this.record.review ?? "open"}. ${reasons.join(" ") || "Nothing is suspicious."}`;
  }

  /** Show nothing but the name of an image that is not there to be seen, if any. */
  clear(name = "") {
    delete this.canvas.stage.element.dataset.ready;
    this.record = this.painted = this.prompts = null;
    this.#previewer.drop();
    this.canvas.clear();
    this.panel.showNothing(name);
    this.#refresh();
  }

  /** Nothing is changed any more until the returned function is called: it would be lost. `why` in words. */
  hold(why) {
    return this.canvas.hold(() => this.#tell(why));
  }

  /** What a person can do about an image that has no mask. */
  get remedy() {
    const drawn = this.prompts.boxes.length ? "" : "draw a box (B), then ";
    return this.#teacher ? `${drawn}let the teacher make one (T), or paint it (D)` : "paint it (D)";
  }

  /** Show a record with its picture and mask, unless `signal` ends it or it is not `wanted` by then. */
  async show(record, { signal, wanted = () => !signal?.aborted }) {
    const { dataset } = this.canvas.stage.element;
    delete dataset.ready;
    // The image before stays until all of this one is there: no picture is seen under another's mask.
    const [values, picture] = await Promise.all([this.#masks.take(record, signal), this.canvas.loadPicture(record.image, signal)]);
    if (!wanted()) return;
    // Another teacher is chosen for one image; it would be a surprise on the next.
    if (record.image !== this.record?.image) this.#chooseTeacher(this.#usualTeacher);
    this.record = record;
    this.painted = new PaintedMask(values, record.width, record.height);
    this.prompts = new Prompts(record.boxes, record.width, record.height);
    this.#previewer.drop();
    this.canvas.showPicture(picture, record);
    this.canvas.showMask(this.painted);
    this.#usualSize(record);
    this.panel.showRecord(record);
    this.#refresh();
    dataset.ready = record.image;
  }

  prefetch(record) {
    this.canvas.prefetch(record.image);
    this.#masks.prefetch(record);
  }

  /** Whether the image may be left: true where nothing was changed, or a person has decided what becomes of it. */
  async mayLeave() {
    // Changes that a mask is being made of are not lost; a failed one has said so itself.
    await this.#running?.catch(() => {});
    if (this.painted?.changed) {
      const choice = await askStrokes();
      if (choice === "store") return (await this.store()) && this.mayLeave(); // boxes, and strokes made meanwhile
      if (choice === "discard") this.discard();
      return choice === "discard";
    }
    if (!this.prompts?.changed) return true;
    const choice = await askPrompts();
    if (choice === "make") return this.remake();
    if (choice === "discard") this.discard();
    return choice === "discard";
  }

  /** Back to what is stored. */
  discard() {
    while (this.painted.undo());
    this.prompts = new Prompts(this.record.boxes, this.record.width, this.record.height);
    if (this.painted.changed) this.onConflict(this.record); // the oldest strokes are forgotten: load it again
    this.#previewer.drop();
    this.canvas.redrawMask();
    this.#refresh();
  }

  /** Store what was painted as a person's mask, accepted. Returns whether it is stored. */
  async store() {
    if (!this.painted?.changed || this.#session.read_only || this.busy) return false;
    const { painted } = this;
    const { image, width, height } = this.record;
    return this.#changing("Your mask is being stored", async (version) => {
      const taken = painted.take();
      const body = await encodeGrey(taken.values, width, height);
      const record = await this.#api.json("/api/pseudo", {
        method: "PUT", query: { image, version }, body, headers: { "Content-Type": "image/png" },
      });
      // What was painted is what is stored: nothing has to be loaded again. What was painted since is still to be stored.
      painted.settle(taken);
      this.#announce("Stored as your mask, accepted");
      return record;
    });
  }

  /** Have the teacher make the mask again, with the boxes and clicks as they are. Returns whether it did. */
  async remake() {
    if (!this.prompts?.boxes.length || this.#session.read_only || !this.#teacher || this.busy || this.canvas.refuse()) return false;
    if (this.painted.changed && (await askReplace()) !== "go") return false;
    const { boxes, points } = this.prompts;
    this.#frame.say(`${this.#teacher} makes the mask …`);
    const what = `${this.#teacher} is making the mask`;
    // Its mask takes the place of all that could be drawn until then.
    const release = this.hold(`${what}: go on when it is there`);
    const made = this.#changing(what, async (version) => {
      const { image } = this.record;
      const body = { image, version, teacher: this.#teacher, boxes, points };
      const record = await this.#api.post("/api/relabel", body);
      await this.show(record, { wanted: () => this.record?.image === image });
      this.#frame.hush();
      this.#announce(`Mask made by ${this.#teacher}. ${this.summary}`);
      return record;
    });
    return made.finally(release);
  }

  /** One change of the record, with nothing else beside it. Returns whether it was made. */
  async #changing(what, change) {
    this.#running = this.#attempt(change, this.record.version);
    this.onBusy(what);
    this.#refresh();
    try {
      return await this.#running;
    } finally {
      this.#running = null;
      this.onBusy(null);
      this.#refresh();
    }
  }

  /** A conflict is shown and may be decided for one's own version. */
  async #attempt(change, version) {
    const before = this.record.review;
    try {
      const record = await change(version);
      this.record = record;
      this.panel.showRecord(record);
      this.onStored(record, before);
      return true;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.#frame.say(error.message, { warning: true });
      this.#announce(error.message);
      if (error.status === 409 && error.data?.record) return this.#conflict(change, error.data.record);
      return false;
    }
  }

  async #conflict(change, theirs) {
    const choice = await askConflict(theirs);
    this.#frame.hush();
    if (choice === "mine") {
      this.record = { ...this.record, review: theirs.review };
      return this.#attempt(change, theirs.version);
    }
    if (choice === "theirs") {
      this.clear();
      await this.onConflict(theirs);
    }
    return false;
  }

  setTool(name) {
    if (this.#session.read_only) return;
    if (!this.#points && (name === "include" || name === "exclude")) return void this.#tell(this.#noPoints);
    this.canvas.setTool(name);
    if (name === "brush" || name === "eraser") this.#hidden = false;
    this.#announce(TOOLS[name].title);
    this.#refresh();
  }

  get #points() {
    return Boolean(this.#session.points?.[this.#teacher]);
  }

  /** Why Include and Exclude are off. */
  get #noPoints() {
    return this.#teacher ? `${this.#teacher} takes boxes only: Include and Exclude are off` : "Clicks are for a teacher, and the server has none";
  }

  get #usualTeacher() {
    return this.#session.teacher?.name ?? this.#session.teachers[0] ?? null;
  }

  #chooseTeacher(name) {
    this.#teacher = name;
    if (!this.#points && (this.canvas.tool === "include" || this.canvas.tool === "exclude")) this.canvas.setTool("look");
  }

  #setTeacher(name) {
    this.#chooseTeacher(name);
    this.#refresh();
    this.#preview();
  }

  #addPoint(x, y) {
    if (!this.prompts) return; // no image is there
    const positive = this.canvas.tool === "include";
    if (!this.prompts.boxes.length) this.#tell("Draw a box first: clicks belong to a box");
    else if (positive && !this.prompts.covers(x, y)) this.#tell("What belongs to the manipulation lies in a box: enlarge the box, or draw another");
    else if (this.prompts.addPoint(x, y, positive)) this.#prompted();
  }

  #tell(text) {
    this.#frame.toast(text);
    this.#announce(text);
  }

  #putBox(index, content) {
    const before = this.prompts.points.length;
    this.#prompted(this.prompts.putBox(index, content));
    if (this.prompts.points.length < before) this.#tell("Clicks that the box left outside were removed");
  }

  #prompted() {
    this.#refresh();
    this.#preview();
  }

  #select(index) {
    this.prompts.selected = index;
    this.#refresh();
  }

  #selectBox(index) {
    this.#select(index);
    this.canvas.stage.reveal(this.prompts.boxes[index]);
  }

  /** Show what the teacher would make of the boxes and clicks as they are. */
  #preview() {
    const { record, prompts } = this;
    if (!record || !this.#teacher) return;
    const made = record.pseudo?.teacher.split(":")[0] === this.#teacher;
    if (!prompts.boxes.length || (made && !prompts.changed)) this.#previewer.drop();
    else this.#previewer.ask(record, prompts, this.#teacher);
  }

  #undo(forward = false) {
    if (this.busy || this.canvas.refuse()) return; // a stroke that is on its way to the server cannot be taken back
    const painting = this.canvas.tool === "brush" || this.canvas.tool === "eraser";
    for (const what of painting ? [this.painted, this.prompts] : [this.prompts, this.painted]) {
      if (!what || !(forward ? what.redo() : what.undo())) continue;
      if (what === this.prompts) this.#prompted();
      this.canvas.redrawMask();
      this.#refresh();
      this.#announce(forward ? "Redone" : "Undone");
      return;
    }
  }

  #setMode(mode) {
    this.canvas.setMode(mode);
    this.#hidden = false;
    this.#refresh();
  }

  #setOpacity(value) {
    this.canvas.mask.strength = Math.min(1, Math.max(0, Math.round(value * 100) / 100));
    this.canvas.stage.invalidate();
    this.#refresh();
  }

  #toggleMask() {
    this.#hidden = !this.#hidden;
    this.#refresh();
  }

  #toggleBoxes() {
    this.#boxesShown = !this.#boxesShown;
    this.#refresh();
  }

  #setSize(size) {
    this.canvas.brush.size = size;
    this.canvas.stage.invalidate();
    this.#refresh();
  }

  #chooseSize(size) {
    this.sized = true;
    this.#setSize(size);
  }

  /** A brush that suits the image, until a person has chosen another. */
  #usualSize({ width, height }) {
    if (this.sized) return;
    const usual = Math.max(width, height) / 40;
    this.canvas.brush.size = SIZES.find((size) => size >= usual) ?? SIZES.at(-1);
  }

  #refresh() {
    const { canvas } = this;
    canvas.mask.visible = !this.#hidden;
    canvas.box.layer.visible = this.#boxesShown || canvas.tool === "box";
    canvas.showPrompts(this.prompts);
    this.panel.showState({
      tool: canvas.tool,
      mode: canvas.mask.mode,
      opacity: canvas.mask.strength,
      hidden: this.#hidden,
      boxesShown: this.#boxesShown,
      size: canvas.brush.size,
      prompts: this.prompts,
      painted: this.painted,
      teacher: this.#teacher,
      points: this.#points,
      noPoints: this.#noPoints,
      busy: this.busy,
    });
  }

  /** Keys of the image and its tools. Returns whether it was one of them. */
  handleKey(event) {
    return Boolean(this.record) && handleKey(event, this.#on, this.canvas, this.#session.read_only ? -1 : this.prompts.selected);
  }
}
