// The annotate view: puts its parts together, and gives them the keyboard.

import { debounce, fill, h, isTyping } from "../dom.js";
import { Stage } from "../canvas/stage.js";
import { Ahead, RecordStore } from "./ahead.js";
import { sameContent } from "./annotation.js";
import { Assist } from "./assist.js";
import { BoxList } from "./box-list.js";
import { BoxTool } from "./box-tool.js";
import { askConflict, askFailed } from "./conflict-dialog.js";
import { commandOf, SHORTCUTS } from "./commands.js";
import { ImageList } from "./image-list.js";
import { Layout } from "./layout.js";
import { PictureStore } from "./picture-store.js";
import { sharedOutbox } from "./shared-outbox.js";
import { StatsPanel } from "./stats-panel.js";
import { Workbench } from "./workbench.js";

const AWAY = {
  offline: "The server does not answer.",
  elsewhere: "Another dataset is served here.",
  locked: "The server wants another token: open the address that it printed.",
};
const STATS_DELAY_MS = 700;
const STATS_EVERY_MS = 60_000; // others may work on the same dataset

export function mount(root, context) {
  const view = new AnnotateView(root, context);
  view.started = view.start(context.router.current.params);
  return view;
}

class AnnotateView {
  shortcuts = SHORTCUTS;
  #root;
  #context;
  #parts = {};
  #bench;
  #wanted = {}; // what the address says: the image, and which ones are listed
  #listed = false; // the list is there: images can be opened
  #asking = Promise.resolve(); // one dialog at a time
  #leave = new AbortController();
  #statsTimer = 0;

  constructor(root, context) {
    this.#root = root;
    this.#context = context;
  }

  async start(params) {
    this.#wanted = params;
    const { api, session } = this.#context;
    const stage = new Stage({ label: "Picture" });
    // In the order in which they are painted: suggestion, mask, boxes.
    const assist = new Assist(this.#context, stage);
    const records = new RecordStore(api);
    const pictures = new PictureStore(api);
    const list = new ImageList(api);
    const boxList = new BoxList();
    const statsPanel = new StatsPanel();
    const layout = new Layout({
      list: list.element, stage, panels: [boxList.element, assist.element, statsPanel.element], run: (name) => this.#run(name),
    });
    this.#parts = { stage, assist, pictures, list };
    const outbox = await sharedOutbox(api, session);
    if (this.#left) return;
    const stats = { refreshSoon: debounce(() => this.#refreshStats(), STATS_DELAY_MS) };
    this.#parts = {
      stage, assist, records, pictures, list, boxList, layout, statsPanel, stats, outbox, context: this.#context,
      tool: new BoxTool(stage), ahead: new Ahead(api, records, pictures, Boolean(session.teacher)),
    };
    this.#bench = new Workbench(this.#parts);
    assist.onSay = (text) => this.#bench.say(text);
    outbox.onState = (state) => this.#saveState(state);
    outbox.onConflict = (...args) => this.#queue(() => this.#conflict(...args));
    outbox.onFailed = (...args) => this.#queue(() => this.#failed(...args));
    outbox.onAdopted = (image) => this.#bench.adopted(image);
    outbox.isInHand = (image) => this.#bench.isInHand(image);
    outbox.remind();
    document.addEventListener("keydown", this.#keydown);
    fill(this.#root, layout.element);
    this.#statsTimer = setInterval(() => !document.hidden && this.#refreshStats(), STATS_EVERY_MS);
    this.#refreshStats();
    await this.#go();
  }

  navigate(params) {
    this.#wanted = params;
    if (this.#listed) this.#go().catch((error) => this.#bench.say(`${error.message}.`));
  }

  async #go() {
    const wanted = this.#wanted;
    const { image, ...filters } = wanted;
    await this.#parts.list.show(filters);
    if (this.#left) return;
    this.#listed = true;
    if (wanted !== this.#wanted) await this.#go(); // it says something else by now
    else if (image) await this.#bench.open(image);
    else if (!this.#bench.image) await this.#openFirst();
  }

  /** Keys, timers and answers reach nothing here any more; resolves when what was drawn is where others look for it. */
  async unmount() {
    this.#leave.abort();
    document.removeEventListener("keydown", this.#keydown);
    clearInterval(this.#statsTimer);
    const { stage, list, pictures, outbox, stats, assist } = this.#parts;
    assist.open(null);
    if (this.#bench) {
      stats.refreshSoon.cancel();
      this.#bench.close();
      for (const name of ["onState", "onSaved", "onConflict", "onFailed", "onAdopted", "isInHand"]) outbox[name] = () => {};
      // What other views show must be what was drawn here.
      await outbox.settled(1500);
    }
    stage.destroy();
    list.destroy();
    pictures.clear();
  }

  /** Whether another view is shown by now, or going to be. */
  get #left() {
    return this.#leave.signal.aborted;
  }

  /** The first to be done of those listed, else the first of them, else of all. */
  async #openFirst() {
    const { api, session, announce } = this.#context;
    const { filters } = this.#parts.list;
    const todo = { ...filters, state: filters.state ?? "todo" };
    const first = (await api.next(null, todo)) ?? (await api.next(null, filters)) ?? (await api.next(null, {}));
    if (this.#left || this.#bench.image) return;
    if (first) {
      await this.#bench.open(first);
    } else {
      this.#parts.layout.showNotice(`${session.name} has no images yet.`);
      announce("There are no images.");
    }
  }

  #keydown = (event) => {
    if (event.defaultPrevented || document.querySelector("dialog[open]")) return;
    if (isTyping(event)) {
      if (event.key === "Escape") {
        // Browsers empty a search field by it: the list would stay filtered by a text that is gone.
        event.preventDefault();
        this.#parts.stage.element.focus();
      }
      return;
    }
    // What a button, a link or a slider does with a key comes first.
    const control = event.target instanceof Element ? event.target.closest("button, a, input, [role=listbox]") : null;
    if (control && ["Enter", " "].includes(event.key)) return;
    const onPicture = !control;
    if (onPicture && this.#bench.arrow(event)) event.preventDefault();
    else if (control?.matches("input") && event.key.startsWith("Arrow")) return;
    else if (this.#parts.stage.handleKey(event)) event.preventDefault();
    else this.#command(event);
  };

  #command(event) {
    const command = commandOf(event);
    if (!command) return;
    event.preventDefault();
    this.#run(command.run);
  }

  #run(name) {
    const { assist, list, stage, layout } = this.#parts;
    const own = {
      toggleMask: () => assist.toggleMask(),
      toggleHeat: () => assist.toggleHeat(),
      acceptSuggestion: () => assist.accept(),
      fadeOut: () => assist.fade(-0.1),
      fadeIn: () => assist.fade(0.1),
      focusSearch: () => (layout.openImages(), list.search.focus()),
      focusList: () => (layout.openImages(), list.rows.element.focus()),
      focusStage: () => stage.element.focus(),
    };
    if (own[name]) own[name]();
    else this.#bench[name]();
  }

  #saveState(state) {
    const { layout } = this.#parts;
    const before = layout.saveState.dataset.state;
    layout.showSave(state);
    const later = state.kept ? "Changes are kept and sent later." : "Changes are sent later; leave the page open until then.";
    if (AWAY[state.state] && before !== state.state) this.#context.announce(`${AWAY[state.state]} ${later}`);
    if (AWAY[before] && state.state === "saved") this.#context.announce("The server is back. Everything is saved.");
  }

  /** One question after the other. What goes wrong with one must not keep the next from being asked. */
  #queue(ask) {
    this.#asking = this.#asking
      .then(() => this.#left || ask()) // who comes back later is asked then
      .catch((error) => {
        console.error(error);
        this.#bench.say(`Not saved yet: ${error.message}.`);
      });
  }

  async #conflict(image, mine, theirs) {
    const { pictures, outbox } = this.#parts;
    const picture = await pictures.load(image, "view").catch(() => null);
    const ours = outbox.pending(image) ?? mine;
    const question = { image, width: theirs.width, height: theirs.height, mine: ours, theirs, picture };
    const stays = await askConflict(question, this.#leave.signal);
    if (stays === null) return;
    outbox.resolve(image, theirs, stays);
    if (stays !== ours) await this.#bench.reload(image);
  }

  async #failed(image, error, content) {
    const { outbox, layout } = this.#parts;
    const newest = outbox.pending(image);
    // It was given up, or something newer is to be sent: what was refused is no longer the question.
    if (!newest || !sameContent(newest, content)) return undefined;
    const text = error.message.startsWith(image) ? error.message : `${image}: ${error.message}`;
    if (error.status === 400 && content.label === "authentic") {
      // It contradicts a true mask. Nothing was drawn that could be lost, and it would be refused again.
      await this.#bench.withdrawAuthentic(image);
      this.#bench.say(`Not saved. ${text}.`);
      layout.showToast(`Not saved. ${text}.`, { action: "Show", onAction: () => this.#bench.open(image), lasting: 10_000 });
      return undefined;
    }
    const choice = await askFailed(text, this.#leave.signal);
    if (choice === null) return undefined;
    if (choice === "retry") return outbox.retry(image);
    outbox.discard(image);
    return this.#bench.reload(image);
  }

  async #refreshStats() {
    try {
      const stats = await this.#context.api.stats();
      this.#parts.statsPanel.show(stats);
      this.#parts.list.showCounts(stats);
    } catch {
      // The figures stay as they are; the next change asks again.
    }
  }
}
