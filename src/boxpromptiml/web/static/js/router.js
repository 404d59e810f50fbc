// The address after `#`: which view, and what it shows. `#/annotate?image=a%2Fb.jpg`.

export class Router {
  #names;
  #onChange;
  #start = null;
  #seen = null; // what the address said when the views last heard or wrote it
  #places = new Map(); // name -> parameters: where a view was last

  /**
   * An address that says no more than a view's name leads to where that view was last, as long as the page lives.
   *
   * @param names of the views. @param onChange called with (name, params, {again}) whenever there is another address;
   * `again` where it leads to where one is.
   */
  constructor(names, onChange) {
    this.#names = names;
    this.#onChange = onChange;
  }

  /** Begin; an address that names no view shows `initial`. */
  start(initial) {
    if (this.#start === null) addEventListener("hashchange", () => this.#heard());
    this.#start = initial;
    this.#seen = null;
    this.#changed();
  }

  /** The view and the parameters of the address: `{name, params}`; `name` is null where it names none. */
  get current() {
    const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
    return { name: this.#names.includes(path) ? path : null, params: Object.fromEntries(new URLSearchParams(query)) };
  }

  /** Show a view; the browser's back button returns to the present one. */
  go(name, params = {}) {
    location.hash = this.#address(name, params);
  }

  /**
   * Where a view is. The address says so, if it is about that view: no view is told, and the back button does not notice.
   * Where it is about another one, or says already where to go next (browsers tell of it a moment later), it is left
   * alone, and the place kept for whoever comes back.
   */
  write(name, params) {
    this.#places.set(name, params);
    if ([name, null].includes(this.current.name) && location.hash === this.#seen) this.restore(name);
  }

  /** Have the address say where a view is. */
  restore(name) {
    history.replaceState(history.state, "", `#${this.#address(name, this.#places.get(name))}`);
    this.#seen = location.hash;
  }

  #address(name, params = {}) {
    const pairs = Object.entries(params).filter(([, value]) => value !== null && value !== undefined && value !== "");
    const query = new URLSearchParams(pairs).toString();
    return query ? `/${name}?${query}` : `/${name}`;
  }

  #heard() {
    // `#place` is a place in the page, as everywhere: what is shown stays.
    if (/^(#\/|$)/.test(location.hash)) this.#changed();
    else this.#seen = location.hash;
  }

  #changed() {
    const before = this.#seen;
    const { name, params } = this.current;
    const shown = name ?? this.#start;
    if (name === null || Object.keys(params).length === 0) this.restore(shown);
    else this.#places.set(shown, params);
    this.#seen = location.hash;
    this.#onChange(shown, this.current.params, { again: location.hash === before });
  }
}
