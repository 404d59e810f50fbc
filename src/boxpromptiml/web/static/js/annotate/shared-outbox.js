// The page's one outbox: it goes on sending while another view is shown.

import { Journal } from "./journal.js";
import { Outbox } from "./outbox.js";

let outbox = null;

/** The outbox; made, and told what earlier pages left behind, when it is first asked for. */
export async function sharedOutbox(api, session) {
  if (outbox) return outbox;
  const journal = new Journal(session.id ?? session.name);
  outbox = new Outbox(api, journal);
  addEventListener("online", () => outbox.wake());
  addEventListener("beforeunload", (event) => outbox.kept || event.preventDefault());
  addEventListener("pagehide", () => outbox.sendBeforeLeaving());
  document.addEventListener("visibilitychange", () => (document.hidden ? outbox.flush() : outbox.wake()));
  await outbox.recover();
  return outbox;
}
