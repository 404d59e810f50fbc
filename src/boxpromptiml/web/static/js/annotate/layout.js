// Where things are: toolbar, drawing area, actions, panels.

import { pressing } from "../canvas/pressing.js";
import { button, fill, h, icon } from "../dom.js";
import { STATE_NAMES } from "./image-list.js";

const MASKS = { accepted: "mask accepted", stale: "mask of other boxes" };
const SAVE_ICONS = { saved: "check", saving: "cloud", offline: "offline", elsewhere: "offline", locked: "offline" };
const AWAY = {
  offline: "The server does not answer. The changes are sent when it is back.",
  elsewhere: "The changes are sent when this page's dataset is served at this address again.",
  locked: "The server was started with another token. Open the address that it printed, in this browser: the changes are sent then.",
};
const KEPT = "Until then they are kept in this browser.";
const UNKEPT = "This browser has no room to keep them: leave the page open until then.";

export class Layout {
  #toastTimer = 0;

  /** @param run `(command)`: a button was pressed. */
  constructor({ list, stage, panels, run }) {
    const press = (name) => ({ onClick: () => run(name) });
    const tool = (name, iconName, label, keys, more = {}) =>
      button({ icon: iconName, label, keys, class: "quiet", ...press(name), ...more });
    this.name = h("h1", { class: "image-name" });
    this.badge = h("span", { class: "badge" });
    this.maskBadge = h("span", { class: "badge mask-badge", hidden: true });
    this.saveState = h("span", { class: "save-state" });
    this.undo = tool("undo", "undo", "Undo", "Ctrl+Z");
    this.redo = tool("redo", "redo", "Redo", "Ctrl+Shift+Z");
    this.remove = tool("removeBox", "trash", "Delete the selected box", "Del", { class: "quiet danger toolbar-remove" });
    this.zoom = button({ text: "100%", label: "Show the whole image", keys: "0", class: "quiet zoom", onClick: () => stage.fit() });
    this.listToggle = this.#drawer("list", "Images", "images");
    this.panelToggle = this.#drawer("panel", "Boxes, help, progress", "panels");
    this.place = h("span", { class: "place", "aria-hidden": "true" });
    this.toast = h("div", { class: "toast", hidden: true });
    this.notice = h("div", { class: "stage-notice", hidden: true });
    const action = (name, iconName, text, key, classes = "") =>
      button({ icon: iconName, text, class: classes, keys: key, label: text, ...press(name), "data-run": name }, key && h("kbd", { text: key, "aria-hidden": "true" }));
    this.actions = h(
      "div",
      { class: "actions", role: "toolbar", "aria-label": "Decide" },
      button({ icon: "previous", label: "Previous image", keys: "P", "data-run": "previous", ...press("previous") }),
      action("skip", "skip", "Skip", "S"),
      action("authentic", "check", "Authentic", "A", "act-authentic"),
      action("acceptAndNext", "box", "Tampered, next", "⏎", "primary"),
      button({ icon: "next", label: "Next image", keys: "N", "data-run": "next", ...press("next") }),
      action("nextUnlabelled", "jump", "Next unlabelled", "J", "act-jump"),
    );
    this.main = h(
      "section",
      { class: "work", "aria-label": "Image" },
      h(
        "div",
        { class: "toolbar" },
        this.listToggle,
        h("div", { class: "toolbar-title" }, this.name, this.badge, this.maskBadge),
        this.saveState,
        h("div", { class: "toolbar-group" }, this.remove, this.undo, this.redo),
        h(
          "div",
          { class: "toolbar-group zooming" },
          button({ icon: "minus", label: "Zoom out", keys: "-", class: "quiet", onClick: () => stage.zoomBy(0.8) }),
          this.zoom,
          button({ icon: "plus", label: "Zoom in", keys: "+", class: "quiet", onClick: () => stage.zoomBy(1.25) }),
        ),
        this.panelToggle,
      ),
      h("div", { class: "stage-frame" }, stage.element, this.place, this.notice, this.toast),
      this.actions,
    );
    this.panels = h("aside", { class: "side panels", "aria-label": "Boxes, help, progress" }, panels);
    this.element = h("div", { class: "annotate" }, list, this.main, this.panels);
    pressing(this.element, stage);
    this.showSave({ state: "saved", waiting: 0, kept: true });
  }

  /** Close panels that lie over the picture. */
  closeDrawers() {
    for (const name of ["images", "panels"]) this.#open(name, false);
  }

  /** Where the list lies over the picture, show it. */
  openImages() {
    this.#open("images", true);
  }

  /** @param acceptance of its mask; see `acceptanceOf`. */
  showImage(name, annotation, writable, acceptance) {
    const cut = (name ?? "").lastIndexOf("/") + 1;
    this.name.textContent = name?.slice(cut) ?? "";
    this.name.title = name ?? "";
    const state = annotation?.state;
    this.badge.className = `badge ${state ?? ""}`;
    this.badge.textContent = !state ? "" : state === "boxed" ? `${annotation.boxes.length} box${annotation.boxes.length === 1 ? "" : "es"}` : STATE_NAMES[state];
    this.badge.hidden = !state;
    this.maskBadge.hidden = !acceptance;
    this.maskBadge.textContent = MASKS[acceptance] ?? "";
    this.maskBadge.title = acceptance === "stale" ? "A person accepted this image's mask, but it was made of other boxes." : "";
    this.undo.disabled = !writable || !annotation?.canUndo;
    this.remove.hidden = !annotation?.boxes[annotation.selected];
    this.redo.disabled = !writable || !annotation?.canRedo;
    for (const control of this.actions.querySelectorAll("[data-run=skip], [data-run=authentic], [data-run=acceptAndNext]")) {
      control.disabled = !writable || !annotation;
    }
  }

  showZoom(scale) {
    this.zoom.firstChild.textContent = `${scale < 0.1 ? (scale * 100).toFixed(1) : Math.round(scale * 100)}%`;
  }

  showPlace(point, annotation) {
    const inside = point && annotation && point.x >= 0 && point.y >= 0 && point.x < annotation.width && point.y < annotation.height;
    this.place.textContent = inside ? `${Math.floor(point.x)}, ${Math.floor(point.y)}` : annotation ? `${annotation.width} × ${annotation.height}` : "";
  }

  showSave({ state, waiting, kept }) {
    const changes = `${waiting} change${waiting === 1 ? "" : "s"} waiting${kept ? "" : " in this page only"}`;
    const text = {
      saved: "Saved", saving: "Saving…", offline: `Offline · ${changes}`, elsewhere: `Another dataset is served here · ${changes}`,
      locked: `Open the server's new address · ${changes}`,
    }[state];
    this.saveState.dataset.state = state;
    fill(this.saveState, icon(SAVE_ICONS[state]), h("span", { text }));
    this.saveState.title = AWAY[state] ? `${AWAY[state]} ${kept ? KEPT : UNKEPT}` : text;
  }

  /** A short message at the foot of the picture, with something to do about it. */
  showToast(text, { action, onAction, lasting = 4500 } = {}) {
    clearTimeout(this.#toastTimer);
    const hide = () => (this.toast.hidden = true);
    fill(this.toast, h("span", { text }), action && button({ text: action, class: "quiet", onClick: () => (hide(), onAction()) }));
    this.toast.hidden = false;
    this.#toastTimer = setTimeout(hide, lasting);
  }

  /** Something in the place of the picture; null takes it away. */
  showNotice(text, again) {
    this.notice.hidden = text === null;
    if (text !== null) fill(this.notice, h("p", { role: "alert", text }), again && button({ icon: "refresh", text: "Try again", onClick: again }));
  }

  #drawer(iconName, label, name) {
    return button({
      icon: iconName, label, class: `quiet toggle-${name}`, "aria-expanded": "false",
      onClick: (event) => this.#open(name, event.currentTarget.getAttribute("aria-expanded") !== "true"),
    });
  }

  #open(name, open) {
    this.element.classList.toggle(`show-${name}`, open);
    const toggle = name === "images" ? this.listToggle : this.panelToggle;
    toggle.setAttribute("aria-expanded", String(open));
    if (open) this.#open(name === "images" ? "panels" : "images", false);
  }
}
