// The server, as functions. Everything that goes over the wire goes through here.

const TOKEN_KEY = "boxpromptiml.token";

/** An answer that says no. `status` is HTTP's, 0 where the server could not be reached; `data` the answer's JSON. */
export class ApiError extends Error {
  constructor(status, message, data = null) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.data = data;
  }

  /** Whether trying the same again later may work: the server is away, restarting or overloaded. */
  get temporary() {
    return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500;
  }

  /** Whether another dataset is served at this address than the one that the page is about. */
  get elsewhere() {
    return this.status === 412;
  }

  /** Whether the server wants another token than this page has: it was started anew. */
  get locked() {
    return this.status === 401;
  }
}

/** The token of the page's address, kept for this tab only, and taken out of the address bar and its history. */
function takeToken() {
  const address = new URL(location.href);
  const given = address.searchParams.get("token");
  if (given) {
    address.searchParams.delete("token");
    history.replaceState(history.state, "", address);
  }
  try {
    if (given) sessionStorage.setItem(TOKEN_KEY, given);
    return given ?? sessionStorage.getItem(TOKEN_KEY);
  } catch {
    return given; // no storage: known until the page is closed
  }
}

export class Api {
  #token = takeToken();
  // Tells this page's requests for previews from those of others: a newer one of the same page replaces an older one.
  #client = crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;
  // What the page is about, as long as it lives: the server refuses what is about another dataset than it has by then.
  #dataset = null;
  onReached = () => {}; // called with true or false after every request: was the server there?

  /** `/api/...` with a query; null and undefined parameters are left out. Photos that are localized are of no dataset. */
  url(path, query = {}) {
    const all = path.startsWith("/api/localize") ? query : { ...query, dataset: this.#dataset };
    const pairs = Object.entries(all).filter(([, value]) => value !== null && value !== undefined && value !== "");
    const text = new URLSearchParams(pairs).toString();
    return text ? `${path}?${text}` : path;
  }

  /**
   * One request; returns the Response of a success.
   *
   * @throws ApiError for every other answer and where there is none; AbortError where `signal` ended it.
   */
  async request(path, { method = "GET", query, json, body, headers = {}, signal, keepalive, cache } = {}) {
    const all = { ...headers };
    if (this.#token) all.Authorization = `Bearer ${this.#token}`;
    if (json !== undefined) all["Content-Type"] = "application/json";
    let response;
    try {
      response = await fetch(this.url(path, query), {
        method, headers: all, body: json !== undefined ? JSON.stringify(json) : body,
        signal, keepalive, cache, credentials: "same-origin",
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      this.onReached(false);
      throw new ApiError(0, "the server does not answer");
    }
    this.onReached(true);
    if (response.ok) return response;
    const data = await response.json().catch(() => null);
    throw new ApiError(response.status, data?.error ?? `the server answered ${response.status}`, data);
  }

  /** One request whose answer is JSON. */
  async json(path, options) {
    const response = await this.request(path, options);
    try {
      return await response.json();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ApiError(0, "the server's answer broke off");
    }
  }

  get(path, query, signal) {
    return this.json(path, { query, signal });
  }

  post(path, json, options = {}) {
    return this.json(path, { ...options, method: "POST", json });
  }

  async session(signal) {
    const session = await this.get("/api/session", {}, signal);
    this.#dataset ??= session.id;
    return session;
  }

  stats = (signal) => this.get("/api/stats", {}, signal);
  images = (query, signal) => this.get("/api/images", query, signal);
  position = (image, filters, signal) => this.get("/api/position", { ...filters, image }, signal);
  record = (image, signal) => this.get("/api/record", { image }, signal);
  suggestion = (image, signal) => this.get("/api/suggestion", { image }, signal);
  preview = (body, signal) => this.post("/api/preview", { ...body, client: this.#client }, { signal });
  prefetch = (images, signal) =>
    this.request("/api/prefetch", { method: "POST", json: { images, client: this.#client }, signal });

  /** The image after (direction 1) or before (-1) `image` among those of `filters`, or null. */
  async next(image, filters, { direction = 1, wrap = false } = {}, signal) {
    const query = { ...filters, image, direction, wrap: wrap ? 1 : 0 };
    return (await this.get("/api/next", query, signal)).image;
  }

  /** Store boxes and label. A conflict is an ApiError 409 with `data.record`. */
  save = (image, change, { keepalive = false, signal } = {}) =>
    this.json("/api/record", { method: "PUT", query: { image }, json: change, keepalive, signal });

  /** The bytes of a picture: `thumb`, `view` or `full`. */
  async pictureBlob(image, size, signal) {
    const response = await this.request("/api/picture", { query: { image, size }, signal });
    try {
      return await response.blob();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ApiError(0, "the picture broke off");
    }
  }

  /** A picture, decoded off the main thread, ready to draw. Call `.close()` when done with it. */
  async picture(image, size, signal) {
    const blob = await this.pictureBlob(image, size, signal);
    try {
      return await createImageBitmap(blob);
    } catch {
      throw new ApiError(415, "the browser can't show this picture");
    }
  }
}

/** A grey PNG in base64 as an ImageBitmap. */
export async function greyBitmap(base64) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  return createImageBitmap(new Blob([bytes], { type: "image/png" }));
}
