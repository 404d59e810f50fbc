// The page's one outbox: it goes on sending while another view is shown.

import { Journal } from "./journal.js";
import { Outbox } from "./outbox.js";

const RECOVER_MS = 5000; // how often it is looked whether another page has ended

let outbox = null;
let ready = null;

/** The outbox; made, and told what earlier pages left behind, when it is first asked for. */
export async function sharedOutbox(api, session) {
  if (!outbox) begin(api, session);
  await ready;
  return outbox;
}

function begin(api, session) {
  const journal = new Journal(session.id ?? session.name);
  outbox = new Outbox(api, journal);
  // What others left behind can wait for the next time; what is drawn now cannot wait for it.
  const recover = () => outbox.recover().catch((error) => console.error(error));
  addEventListener("online", () => outbox.wake());
  addEventListener("beforeunload", (event) => outbox.kept || event.preventDefault());
  addEventListener("pagehide", () => {
    outbox.sendBeforeLeaving();
    journal.leave();
  });
  addEventListener("pageshow", (event) => event.persisted && journal.comeBack());
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return outbox.flush();
    outbox.wake();
    return recover();
  });
  // Hidden pages leave it to the one that is looked at.
  setInterval(() => document.hidden || recover(), RECOVER_MS);
  ready = recover();
}
