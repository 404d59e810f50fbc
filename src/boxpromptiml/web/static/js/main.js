// The page's frame: router, navigation, theme, shortcuts overlay. The views know nothing of each other.

import { Api } from "./api.js";
import { button, fill, h, icon, isTyping } from "./dom.js";
import { Router } from "./router.js";
import { showShortcuts } from "./shortcuts.js";
import { themeButton } from "./theme-button.js";

// `needsDataset`: a server that was started for one photo at a time has none.
const VIEWS = {
  annotate: { title: "Annotate", icon: "box", needsDataset: true, load: () => import("./annotate/view.js") },
  review: { title: "Review", icon: "check", needsDataset: true, load: () => import("./review/view.js") },
  localize: { title: "Localize", icon: "search", needsDataset: false, load: () => import("./localize/view.js") },
};

const SPOKEN_MS = 4000; // an announcement stays for so long

const GENERAL = [
  { keys: "Alt+1 Alt+2 Alt+3", text: "annotate, review, localize" },
  { keys: "?", text: "show or hide this list" },
];

class Page {
  #api = new Api();
  #session = null;
  #view = null; // what mount() returned; it may still be on its way to its first image
  #name = null;
  #turn = 0; // a view that comes late, after another was asked for, is not shown
  #leaving = Promise.resolve(); // the last view has let go of everything
  #main = document.getElementById("view");
  #links = new Map();
  #live = document.getElementById("announcements");
  #router = new Router(Object.keys(VIEWS), (name, params, how) => this.#show(name, params, how));

  constructor() {
    // The address is the views': the link goes there without one of its own.
    document.querySelector(".skip-link").addEventListener("click", (event) => {
      event.preventDefault();
      this.#main.focus();
    });
  }

  async start() {
    this.#frame();
    try {
      this.#session = await this.#api.session();
    } catch (error) {
      this.#fail("This page can't be used yet", error, () => this.start());
      return;
    }
    const { name } = this.#session;
    document.title = name ? `${name} · BoxPromptIML` : "BoxPromptIML";
    document.getElementById("dataset-name").textContent = name ?? "";
    for (const [key, link] of this.#links) link.hidden = VIEWS[key].needsDataset && !name;
    this.#router.start(name ? "annotate" : "localize");
  }

  announce = (text) => {
    // Added rather than replaced: what follows quickly must not swallow what came before.
    const line = h("p", { text });
    this.#live.append(line);
    setTimeout(() => line.remove(), SPOKEN_MS);
  };

  #frame() {
    const links = Object.entries(VIEWS).map(([name, view]) => {
      const link = h("a", { href: `#/${name}`, class: "nav-link", title: view.title }, icon(view.icon), h("span", { text: view.title }));
      link.addEventListener("click", (event) => {
        // There already: no step for the back button. With these keys it is for another tab or window.
        if (this.#isShown(name) && !event.ctrlKey && !event.metaKey && !event.shiftKey) event.preventDefault();
      });
      this.#links.set(name, link);
      return link;
    });
    fill(document.getElementById("nav"), links);
    fill(
      document.getElementById("tools"),
      themeButton(),
      button({ icon: "keyboard", label: "Keyboard shortcuts", keys: "?", class: "quiet", onClick: () => this.#shortcuts() }),
    );
    // `start` may run again after a failure.
    document.removeEventListener("keydown", this.#keydown);
    document.addEventListener("keydown", this.#keydown);
  }

  #keydown = (event) => {
    if (event.key === "?" && !isTyping(event) && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      this.#shortcuts();
    } else if (event.altKey && ["1", "2", "3"].includes(event.key) && !document.querySelector("dialog[open]")) {
      const [name, link] = [...this.#links][Number(event.key) - 1];
      if (link.hidden) return;
      event.preventDefault();
      if (!this.#isShown(name)) this.#router.go(name);
    }
  };

  #shortcuts() {
    showShortcuts([
      { title: VIEWS[this.#name]?.title ?? "This view", rows: this.#view?.shortcuts ?? [] },
      { title: "Everywhere", rows: GENERAL },
    ]);
  }

  #isShown(name) {
    return name === this.#name && this.#view !== null;
  }

  async #show(name, params, { again = false } = {}) {
    const turn = ++this.#turn;
    if (again && this.#isShown(name)) return;
    if (name === this.#name && this.#view?.navigate) {
      this.#view.navigate(params);
      return;
    }
    // A view that would lose something asks first, and puts its address back where it stays.
    if (this.#view?.mayLeave) {
      const may = await this.#view.mayLeave();
      if (turn !== this.#turn) return;
      if (!may) return void this.#router.restore(this.#name);
    }
    await this.#leave();
    if (turn !== this.#turn) return;
    this.#name = name;
    for (const [key, link] of this.#links) {
      if (key === name) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    try {
      const [module, session] = await Promise.all([VIEWS[name].load(), this.#freshSession()]);
      if (turn !== this.#turn) return;
      await this.#mount(name, module, session);
    } catch (error) {
      if (turn === this.#turn) this.#broken(name, error);
    }
  }

  /**
   * A view listens to keys from the moment it is made. So it is known at once, and can be ended before its first image
   * is there.
   */
  async #mount(name, module, session) {
    fill(this.#main);
    this.#main.inert = false;
    this.#main.className = `view view-${name}`;
    const view = module.mount(this.#main, { api: this.#api, session, router: this.#router, announce: this.announce });
    this.#view = view;
    try {
      await view.started;
    } catch (error) {
      // What goes wrong with a view that was left is of no interest.
      if (this.#view !== view) return;
      const turn = this.#turn;
      await this.#leave();
      if (turn === this.#turn) this.#broken(name, error);
    }
  }

  async #broken(name, error) {
    console.error(error);
    const turn = this.#turn;
    // Of a module that did not arrive browsers tell in words of their own; the server, asked once more, makes it plain.
    const reason = error instanceof TypeError ? await this.#api.session().then(() => error, (away) => away) : error;
    if (turn !== this.#turn) return;
    this.#fail(`${VIEWS[name].title} can't be shown`, reason, () => this.#show(name, this.#router.current.params));
  }

  /** What the server can do may have changed since the page was opened; without an answer the last one stands. */
  async #freshSession() {
    try {
      this.#session = await this.#api.session();
    } catch {
      // The view will notice for itself that the server is away.
    }
    return this.#session;
  }

  /** End the present view. Resolves when it has ended, also for those who ask while it is at it. */
  #leave() {
    const view = this.#view;
    this.#view = null;
    if (view) {
      // It is seen until the next one comes, but takes nothing any more.
      this.#main.inert = true;
      this.#leaving = Promise.resolve(view.unmount()).catch((error) => console.error(error));
    }
    return this.#leaving;
  }

  #fail(title, error, again) {
    this.#main.inert = false;
    fill(
      this.#main,
      h(
        "div",
        { class: "notice-page", role: "alert" },
        h("h1", { text: title }),
        h("p", { text: `${error.message}.` }),
        button({ icon: "refresh", text: "Try again", class: "primary", onClick: again }),
      ),
    );
  }
}

new Page().start();
