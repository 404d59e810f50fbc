// Help while drawing: the teacher's mask of the boxes, and the student's heat map with boxes to take over.

import { button, debounce, h } from "../dom.js";
import { sameBox } from "../canvas/boxes.js";
import { reasonsOf } from "../review/reasons.js";
import { palette } from "./palette.js";
import { Overlay } from "./overlay.js";

const DELAY_MS = 200;
const KEY = "boxpromptiml.assist";

export class Assist {
  onAccept = () => {}; // (boxes): of the suggestion, to be added
  onSay = () => {}; // (text): to be seen and heard
  #api;
  #stage;
  #session;
  #announce;
  #image = null;
  #boxes = [];
  #suggested = [];
  #abort = { mask: null, heat: null };
  #settings;

  constructor({ api, session, announce }, stage) {
    this.#api = api;
    this.#stage = stage;
    this.#session = session;
    this.#announce = announce;
    this.#settings = { mask: true, heat: false, maskOpacity: 0.45, heatOpacity: 0.6, ...stored() };
    this.heat = new Overlay(stage, "heat", this.#settings.heatOpacity);
    this.mask = new Overlay(stage, "mask", this.#settings.maskOpacity);
    stage.addLayer({ draw: (ctx, viewport) => this.#drawSuggested(ctx, viewport) });
    this.element = this.#build();
    this.#showToggles();
  }

  /** Another image: what was shown of the last one goes. */
  open(image, boxes) {
    this.#cancel("mask");
    this.#cancel("heat");
    this.mask.clear();
    this.heat.clear();
    this.#suggested = [];
    this.#image = image;
    this.#boxes = boxes;
    this.maskNote.textContent = "";
    this.heatNote.textContent = "";
    this.#showToggles();
    if (!image) return;
    this.#preview();
    this.#suggest();
  }

  /** The boxes changed. The old mask stays until the new one is there, so that nothing flickers. */
  boxesChanged(boxes) {
    this.#boxes = boxes;
    this.#cancel("mask");
    if (!boxes.length) {
      this.mask.clear();
      this.maskNote.textContent = "";
    }
    this.#previewSoon();
  }

  toggleMask() {
    if (!this.#session.teacher) return this.onSay("This server has no teacher.");
    this.#settings.mask = !this.#settings.mask;
    this.#changed("mask", () => this.#preview());
    return this.#announce(this.#settings.mask ? "Mask preview on" : "Mask preview off");
  }

  toggleHeat() {
    if (!this.#session.model) return this.onSay("This server has no student model.");
    this.#settings.heat = !this.#settings.heat;
    this.#suggested = [];
    this.#changed("heat", () => this.#suggest());
    return this.#announce(this.#settings.heat ? "Suggestion on" : "Suggestion off");
  }

  /** Make both overlays more or less opaque. */
  fade(step) {
    for (const kind of ["mask", "heat"]) this.#setOpacity(kind, Math.min(1, Math.max(0.1, this[kind].opacity + step)));
  }

  accept() {
    const wanted = this.#suggested.filter((box) => !this.#boxes.some((other) => sameBox(box, other)));
    if (!wanted.length) return this.onSay(this.#nothingToTake);
    this.#suggested = [];
    this.#showToggles();
    this.#stage.invalidate();
    this.onAccept(wanted);
    return this.#announce(`${wanted.length} box${wanted.length === 1 ? "" : "es"} taken over`);
  }

  get #nothingToTake() {
    if (!this.#session.model) return "This server has no student model.";
    return this.#settings.heat ? "There is no suggestion to take over." : "Press H first, to see the student's suggestion.";
  }

  #changed(kind, show) {
    store(this.#settings);
    this.#cancel(kind);
    this[kind].clear();
    this.#showToggles();
    if (this.#settings[kind]) show();
  }

  #previewSoon = debounce(() => this.#preview(), DELAY_MS);

  async #preview() {
    if (!this.#settings.mask || !this.#session.teacher || !this.#image || !this.#boxes.length) return;
    const signal = this.#begin("mask");
    this.maskNote.textContent = "…";
    try {
      // A rough mask at once where the exact one takes longer, then the exact one.
      for (const exact of [false, true]) {
        const answer = await this.#api.preview({ image: this.#image, boxes: this.#boxes, exact }, signal);
        if (signal.aborted) return;
        // Another page of the same browser asked for something newer; it is that page's turn.
        if (answer.superseded) return void (this.maskNote.textContent = "");
        await this.mask.show(answer.png, () => !signal.aborted);
        if (signal.aborted) return;
        const reasons = reasonsOf({ pseudo: answer, boxes: this.#boxes }).map(({ text }) => text);
        this.maskNote.textContent = reasons.join(" ") || `${answer.seconds.toFixed(1)} s`;
        if (!answer.draft) break;
        this.maskNote.textContent += " Rough; refining …";
      }
    } catch (error) {
      if (signal.aborted) return;
      this.mask.clear();
      this.maskNote.textContent = error.status === 409 ? "" : error.message;
    }
  }

  async #suggest() {
    if (!this.#settings.heat || !this.#session.model || !this.#image) return;
    const signal = this.#begin("heat");
    this.heatNote.textContent = "…";
    try {
      const answer = await this.#api.suggestion(this.#image, signal);
      await this.heat.show(answer.png, () => !signal.aborted);
      if (signal.aborted) return;
      this.#suggested = answer.boxes;
      this.#showToggles();
      this.heatNote.textContent = `score ${answer.score.toFixed(2)}, ${answer.boxes.length || "no"} region${answer.boxes.length === 1 ? "" : "s"}`;
    } catch (error) {
      if (signal.aborted) return;
      this.heatNote.textContent = error.message;
    }
  }

  #begin(kind) {
    this.#cancel(kind);
    this.#abort[kind] = new AbortController();
    return this.#abort[kind].signal;
  }

  #cancel(kind) {
    if (kind === "mask") this.#previewSoon.cancel();
    this.#abort[kind]?.abort();
  }

  #setOpacity(kind, value) {
    this[kind].opacity = value;
    this.#settings[`${kind}Opacity`] = value;
    this[`${kind}Range`].value = Math.round(value * 100);
    store(this.#settings);
  }

  #build() {
    const { teacher, model } = this.#session;
    const range = (kind, label) =>
      h("input", {
        type: "range", min: "10", max: "100", step: "5", value: Math.round(this[kind].opacity * 100), "aria-label": label,
        onInput: (event) => this.#setOpacity(kind, event.target.valueAsNumber / 100),
      });
    this.maskToggle = button({ icon: "mask", text: "Mask", label: "Teacher's mask", keys: "T", onClick: () => this.toggleMask() });
    this.heatToggle = button({ icon: "bulb", text: "Suggestion", keys: "H", onClick: () => this.toggleHeat() });
    this.acceptButton = button({ icon: "check", text: "Take over as boxes", keys: "Y", onClick: () => this.accept() });
    this.maskRange = range("mask", "Opacity of the teacher's mask");
    this.heatRange = range("heat", "Opacity of the suggestion");
    this.maskNote = h("p", { class: "note", text: "" });
    this.heatNote = h("p", { class: "note", text: "" });
    const row = (toggle, control) => h("div", { class: "assist-row" }, toggle, control);
    return h(
      "section",
      { class: "panel-section assist", "aria-label": "Help" },
      h("header", {}, h("h3", { text: "Help" })),
      row(this.maskToggle, this.maskRange),
      h("p", { class: "note", text: teacher ? `${teacher.name}` : "No teacher on this server." , hidden: Boolean(teacher) }),
      this.maskNote,
      row(this.heatToggle, this.heatRange),
      h("p", { class: "note", text: "Start the server with --model to see a student's suggestion.", hidden: Boolean(model) }),
      this.heatNote,
      this.acceptButton,
    );
  }

  #showToggles() {
    const { teacher, model } = this.#session;
    for (const [kind, there] of [["mask", teacher], ["heat", model]]) {
      const on = Boolean(this.#settings[kind] && there);
      this[`${kind}Toggle`].setAttribute("aria-pressed", String(on));
      this[`${kind}Toggle`].disabled = !there;
      this[`${kind}Range`].hidden = !on;
      this[`${kind}Note`].hidden = !on;
    }
    this.acceptButton.hidden = !(this.#settings.heat && this.#suggested.length);
  }

  #drawSuggested(ctx, viewport) {
    ctx.setLineDash([6, 4]);
    ctx.lineWidth = 2;
    ctx.strokeStyle = palette().heat;
    for (const [x0, y0, x1, y1] of this.#settings.heat ? this.#suggested : []) {
      const [left, top] = viewport.toScreen(x0, y0);
      ctx.strokeRect(left, top, (x1 - x0) * viewport.scale, (y1 - y0) * viewport.scale);
    }
  }
}

function stored() {
  try {
    return JSON.parse(localStorage.getItem(KEY)) ?? {};
  } catch {
    return {};
  }
}

function store(settings) {
  try {
    localStorage.setItem(KEY, JSON.stringify(settings));
  } catch {
    // No storage: the choice lasts until the page is closed.
  }
}
