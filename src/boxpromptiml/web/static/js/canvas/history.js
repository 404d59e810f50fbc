// Undo and redo over immutable states. Pure: knows neither boxes nor pages.

const LIMIT = 200;

export class History {
  #states;
  #position = 0;
  #same;

  /** @param initial the first state. @param same tells whether two states are equal; equal ones are not kept twice. */
  constructor(initial, same = Object.is) {
    this.#states = [initial];
    this.#same = same;
  }

  get state() {
    return this.#states[this.#position];
  }

  get canUndo() {
    return this.#position > 0;
  }

  get canRedo() {
    return this.#position < this.#states.length - 1;
  }

  /** A new state; what was undone before it is gone. Returns whether it differs from the present one. */
  push(state) {
    if (this.#same(state, this.state)) return false;
    this.#states.length = this.#position + 1;
    this.#states.push(state);
    if (this.#states.length > LIMIT) this.#states.shift();
    this.#position = this.#states.length - 1;
    return true;
  }

  /**
   * Put another state in the place of the present one: the same change went on, such as a key held down. Where it leads
   * back to the state before, there was no change, and nothing to undo. Returns whether there still is one.
   */
  amend(state) {
    const back = this.canUndo && this.#same(state, this.#states[this.#position - 1]);
    if (back) this.#position -= 1;
    else this.#states[this.#position] = state;
    this.#states.length = this.#position + 1;
    return !back;
  }

  undo() {
    if (!this.canUndo) return false;
    this.#position -= 1;
    return true;
  }

  redo() {
    if (!this.canRedo) return false;
    this.#position += 1;
    return true;
  }
}
