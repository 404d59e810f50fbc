// The localize view: photos come in, the model's map lies over them.

import { Overlay } from "../canvas/overlay.js";
import { Stage } from "../canvas/stage.js";
import { button, debounce, fill, h, icon, isTyping } from "../dom.js";
import { Controls } from "./controls.js";
import { chooser, takeFiles } from "./intake.js";
import { photoList } from "./list.js";
import { downloads, regionList, saveFile, VERDICTS, verdictCard, verdictOf } from "./panel.js";
import { Photos } from "./photos.js";

const SHORTCUTS = [
  { keys: "← →", text: "previous, next photo" },
  { keys: "M", text: "map on or off" },
  { keys: "O", text: "outline of the mask on or off" },
  { keys: "B", text: "boxes of the regions on or off" },
  { keys: "K", text: "mask alone" },
  { keys: "D T", text: "look closer, mirrored too" },
  { keys: ", .", text: "lower, raise the threshold" },
  { keys: "[ ]", text: "less, more of the map" },
  { keys: "+ - 0 1", text: "zoom in, out, fit, 100 %" },
];

let kept = null; // the photos, and how they are looked at, stay while another view is

export function mount(root, { api, session, announce }) {
  const { model, limits } = session;
  if (!model) {
    fill(root, withoutModel());
    return { unmount() {}, shortcuts: [] };
  }
  const photos = kept?.photos ?? new Photos(api);
  photos.serve(model.id, limits);
  // Another model has a threshold of its own, and not every server looks closer.
  const server = `${model.id} ${limits.tiles > 0}`;
  const controls = kept?.server === server ? kept.controls : makeControls(model, limits, photos);
  kept = { photos, controls, server };
  const view = new LocalizeView(root, kept, session, announce);
  return { unmount: () => view.destroy(), shortcuts: SHORTCUTS };
}

function makeControls({ threshold }, { tiles }, { passes: { detail, tta } }) {
  return new Controls(threshold, tiles ? { detail, tta } : { tta });
}

class LocalizeView {
  #photos;
  #model;
  #announce;
  #controls;
  #abort = new AbortController();
  #asked = null; // the question about the present threshold
  #photo = null;
  #bitmap = null; // promise of what the browser makes of the file
  #regions = [];
  #picked = -1;
  #stage = new Stage({ label: "Photo with the model's map. What it shows is listed beside it" });
  #heat = new Overlay();
  #mask = new Overlay();

  constructor(root, { photos, controls }, { model }, announce) {
    this.#photos = photos;
    this.#controls = controls;
    this.#model = model;
    this.#announce = announce;
    this.#controls.onPasses = () => this.#photos.setPasses(this.#controls.passes, this.#photo);
    this.#controls.onThreshold = () => this.#follow();
    this.#controls.onShow = () => this.#draw();
    this.#heat.mode = "heat";
    this.#stage.addLayer(this.#heat);
    this.#stage.addLayer(this.#mask);
    this.#stage.addLayer({ draw: (ctx, viewport) => this.#drawBoxes(ctx, viewport) });
    this.#build(root);
    const signal = this.#abort.signal;
    takeFiles(root, (files) => this.#take(files), signal);
    document.addEventListener("keydown", (event) => this.#key(event), { signal });
    photos.onChange = (changed, how) => this.#changed(changed, how);
    this.#select(photos.list.includes(photos.shown) ? photos.shown : (photos.list[0] ?? null));
  }

  destroy() {
    this.#photos.onChange = () => {};
    this.#abort.abort();
    this.#asked?.abort();
    this.#refine.cancel();
    this.#stage.destroy();
  }

  #build(root) {
    const take = (files) => this.#take(files);
    this.empty = h(
      "div",
      { class: "drop-here" },
      icon("search"),
      h("h1", { text: "Drop a photo here" }),
      h("p", { text: "or paste one, or choose one or more. The map shows where the model sees signs of manipulation." }),
      chooser("Choose photos", take, { primary: true }),
      h("p", { class: "note", text: privacy() }),
    );
    this.message = h("div", { class: "stage-message", hidden: true });
    this.list = photoList((photo) => this.#select(photo), (photo) => this.#remove(photo));
    this.verdict = verdictCard();
    this.regions = regionList((region, index) => this.#show(region, index));
    this.about = h("p", { class: "note about" });
    this.answer = h(
      "div",
      { class: "answer" },
      this.verdict.element,
      this.#controls.element,
      this.regions.element,
      downloads((file) => this.#save(file)),
      this.about,
    );
    this.panel = h("aside", { class: "panel", "aria-label": "Result" }, h("div", { class: "photos-bar" }, chooser("Add photos", take)), this.list.element, this.#controls.passElement, this.answer);
    const zoom = h(
      "div",
      { class: "zoom-bar", role: "group", "aria-label": "Zoom" },
      button({ icon: "minus", label: "Zoom out", keys: "-", onClick: () => this.#stage.zoomBy(0.8) }),
      button({ icon: "fit", label: "Show the whole photo", keys: "0", onClick: () => this.#stage.fit() }),
      button({ icon: "plus", label: "Zoom in", keys: "+", onClick: () => this.#stage.zoomBy(1.25) }),
    );
    this.pane = h("div", { class: "pane" }, this.#stage.element, zoom, this.message);
    fill(root, h("div", { class: "localize" }, this.empty, this.pane, this.panel));
  }

  #take(files) {
    const [first] = this.#photos.add(files);
    this.#announce(files.length === 1 ? `Looking at ${first.name}` : `Looking at ${files.length} photos`);
    this.#select(first);
  }

  #changed(photos, { isNew }) {
    // Answers that are merely shown again would be read aloud for minutes.
    for (const photo of photos) if (isNew || photo === this.#photo) this.#tell(photo);
    this.#drawList();
    if (!photos.includes(this.#photo)) return;
    this.#update();
    if (this.#photo.state === "done") this.#showPicture(this.#photo);
  }

  #tell({ state, name, answer, error }) {
    if (state === "done") {
      const verdict = VERDICTS[verdictOf(answer.score, this.#controls.threshold)].text;
      this.#announce(`${name}: ${verdict.toLowerCase()}, score ${answer.score.toFixed(2)}`);
    } else if (state === "failed") this.#announce(error.message);
  }

  #select(photo) {
    if (photo === this.#photo && photo) return;
    this.#photo = this.#photos.shown = photo;
    this.#regions = [];
    this.#picked = -1;
    this.#heat.field = this.#mask.field = null;
    this.#stage.setImage(null, 1, 1);
    this.#drawList();
    this.#update();
    if (!photo) return;
    this.#bitmap = createImageBitmap(photo.file).catch(() => null);
    this.#showPicture(photo);
  }

  /** The browser's own picture at once; the server's where the browser has none or another than the model saw. */
  async #showPicture(photo) {
    let bitmap = await this.#bitmap;
    if (photo !== this.#photo) return;
    if (photo.state !== "done") {
      if (bitmap) this.#stage.renewImage(bitmap, bitmap.width, bitmap.height);
      return;
    }
    const { passes } = photo;
    const { width, height, as_it_is: asItIs } = photo.answer;
    let map;
    try {
      // The same size is not enough: a picture may be turned upside down, or hide what is under its transparency.
      if (!asItIs || bitmap?.width !== width || bitmap.height !== height) {
        bitmap = await createImageBitmap((await this.#photos.file(photo, "preview.jpg")).blob);
      }
      map = await photo.map();
    } catch (error) {
      if (photo !== this.#photo || error.name === "AbortError") return;
      this.#stage.setImage(null, 1, 1); // the browser's own would be taken for what the model saw
      this.#complain(error);
      return;
    }
    if (photo !== this.#photo || photo.passes !== passes) return;
    this.#stage.renewImage(bitmap, width, height);
    // Not before: no map lies over another picture than its own.
    this.#heat.field = this.#mask.field = map;
    this.#draw();
  }

  #update() {
    const photo = this.#photo;
    this.empty.hidden = photo !== null;
    this.pane.hidden = this.panel.hidden = photo === null;
    this.answer.hidden = photo?.state !== "done";
    if (!photo) return;
    if (photo.state === "failed") {
      const again = button({ icon: "refresh", text: "Try again", onClick: () => this.#photos.retry(photo) });
      this.#say("warning", photo.error.message, photo.error.temporary && again);
    } else if (photo.state !== "done") this.#say("search", `Looking at ${photo.name} …`);
    else {
      const { width, height, seconds, model, detail, tta } = photo.answer;
      const how = [detail && "looked at closely", tta && "mirrored too"].filter(Boolean).join(" ");
      this.message.hidden = true;
      this.about.textContent = `${[`${width} × ${height} pixels`, how, `${seconds.toFixed(2)} s`].filter(Boolean).join(", ")}, model ${[model === this.#model.id && this.#model.name, model].filter(Boolean).join(" ")}. ${privacy()}`;
      this.#follow();
    }
  }

  #say(iconName, text, ...more) {
    fill(this.message, icon(iconName), h("p", { text }), ...more);
    this.message.classList.toggle("alone", this.#photo?.state === "failed");
    this.message.hidden = false;
  }

  /** Everything that depends on the threshold: picture and verdict at once, the regions as soon as the server says. */
  #follow() {
    this.#drawList();
    if (this.#photo?.state !== "done") return;
    this.verdict.update(this.#photo.answer, this.#controls.threshold);
    this.#draw();
    this.#refine(this.#photo, this.#controls.threshold);
  }

  #refine = debounce(async (photo, threshold) => {
    this.#asked?.abort();
    this.#asked = new AbortController();
    try {
      const { answer } = photo;
      const { regions } = threshold === answer.threshold ? answer : await this.#photos.result(photo, threshold, this.#asked.signal);
      if (photo !== this.#photo || threshold !== this.#controls.threshold) return;
      this.#regions = regions;
      this.#picked = -1;
      this.regions.update(regions, answer);
      this.#stage.invalidate();
    } catch (error) {
      if (error.name !== "AbortError" && photo === this.#photo) this.#complain(error);
    }
  }, 60);

  #draw() {
    const only = this.#controls.isOn("only");
    this.#heat.visible = this.#controls.isOn("map") && !only;
    this.#heat.strength = this.#controls.opacity;
    this.#mask.visible = this.#controls.isOn("outline") || only;
    this.#mask.mode = only ? "mask" : "outline";
    this.#mask.level = this.#controls.threshold * 255;
    this.#heat.changed();
    this.#mask.changed();
    this.#stage.invalidate();
  }

  #drawBoxes(ctx, viewport) {
    ctx.font = "600 12px system-ui, sans-serif";
    this.#regions.forEach(({ box }, index) => {
      if (!this.#controls.isOn("boxes") && index !== this.#picked) return;
      const [x0, y0] = viewport.toScreen(box[0], box[1]);
      const [x1, y1] = viewport.toScreen(box[2], box[3]);
      for (const [colour, width] of [["rgb(0 0 0 / 60%)", 4], ["#ff9500", 2]]) {
        ctx.strokeStyle = colour;
        ctx.lineWidth = width;
        ctx.strokeRect(x0, y0, x1 - x0, y1 - y0);
      }
      const text = String(index + 1);
      const top = Math.max(0, y0 - 18);
      ctx.fillStyle = "#ff9500";
      ctx.fillRect(x0 - 1, top, ctx.measureText(text).width + 10, 18);
      ctx.fillStyle = "#201200";
      ctx.fillText(text, x0 + 4, top + 13);
    });
  }

  #show({ box: [x0, y0, x1, y1] }, index) {
    const { viewport } = this.#stage;
    this.#picked = index;
    this.#stage.zoomTo(Math.min(viewport.width / (x1 - x0), viewport.height / (y1 - y0)) / 1.6);
    const [sx, sy] = viewport.toScreen((x0 + x1) / 2, (y0 + y1) / 2);
    this.#stage.panBy(viewport.width / 2 - sx, viewport.height / 2 - sy);
    this.#announce(`Region ${index + 1} is shown`);
  }

  async #save(file) {
    try {
      saveFile(await this.#photos.file(this.#photo, file, this.#controls.threshold));
    } catch (error) {
      if (error.name !== "AbortError") this.#complain(error); // the photo was removed, or is looked at in another way
    }
  }

  #complain(error) {
    this.#say("warning", error.message, button({ text: "Close", onClick: () => (this.message.hidden = true) }));
    this.#announce(error.message);
  }

  #drawList() {
    this.list.update(this.#photos.list, this.#photo, this.#controls.threshold);
  }

  #remove(photo) {
    const { list } = this.#photos;
    const next = list[list.indexOf(photo) + 1] ?? list[list.indexOf(photo) - 1] ?? null;
    this.#photos.remove(photo);
    if (photo === this.#photo) this.#select(next);
    else this.#drawList();
    if (!next) this.empty.querySelector("input").focus();
  }

  #key(event) {
    if (isTyping(event) || event.ctrlKey || event.metaKey || event.altKey || !this.#photo) return;
    if (document.querySelector("dialog[open]")) return;
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
      if (event.target.matches("input[type=range]")) return;
      const { list } = this.#photos;
      this.#select(list[list.indexOf(this.#photo) + (event.key === "ArrowLeft" ? -1 : 1)] ?? this.#photo);
    } else if (!this.#controls.handleKey(event.key) && !this.#stage.handleKey(event)) return;
    event.preventDefault();
  }
}

function privacy() {
  const local = ["127.0.0.1", "localhost", "[::1]"].includes(location.hostname);
  return local
    ? "Nothing leaves this machine: the program that serves this page looks at the photo, and stores it nowhere."
    : `The photo goes to ${location.host}, which serves this page, and nowhere else; it is stored nowhere.`;
}

function withoutModel() {
  return h(
    "div",
    { class: "notice-page" },
    h("h1", { text: "No model is loaded" }),
    h("p", {}, "Start the server again with a model folder: ", h("code", { text: "--model FOLDER" }), "."),
    h("p", {}, h("code", { text: "boxpromptiml demo" }), " makes a small one in minutes, ", h("code", { text: "boxpromptiml train" }), " your own."),
  );
}
