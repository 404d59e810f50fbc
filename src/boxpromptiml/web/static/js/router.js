// The address after `#`: which view, and what it shows. `#/annotate?image=a%2Fb.jpg`.

export class Router {
  #names;
  #onChange;
  #start = null;
  #seen = null; // what the address said when the views last heard or wrote it
  #places = new Map(); // name -> parameters: where a view was last

  /**
   * An address that says no more than a view's name leads to where that view was last.
   *
   * @param names of the views. @param onChange called with (name, params) whenever the address says something else.
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
   * Change the address of what is shown already: no view is told, and the back button does not notice. Nothing is done
   * while the address says already where to go next: browsers tell of it a moment later, and it would be forgotten.
   */
  replace(name, params = {}) {
    if (location.hash !== this.#seen) return;
    history.replaceState(history.state, "", `#${this.#address(name, params)}`);
    this.#see();
  }

  #see() {
    this.#seen = location.hash;
    const { name, params } = this.current;
    if (name !== null) this.#places.set(name, params);
  }

  #address(name, params) {
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
    this.#seen = location.hash;
    const { name, params } = this.current;
    const bare = Object.keys(params).length === 0;
    if (name === null) this.replace(this.#start);
    else if (bare) this.replace(name, this.#places.get(name));
    this.#see();
    if (location.hash !== before) this.#onChange(name ?? this.#start, this.current.params);
  }
}
