/**
 * The socket to the server: messages, requests with their replies, and connecting anew.
 *
 * Messages are {panel, type, id, data}; see the docstring of chainrule.app.
 */

const FIRST_WAIT = 250; // ms until the first new attempt
const LONGEST_WAIT = 4000;

/** What a request ends with that the connection's end has cut off. */
export class Disconnected extends Error {}

export class Connection {
  /** `onMessage(panel, type, data)`, `onOpen()` after each connecting, `onLost()` */
  constructor(address, { onMessage, onOpen, onLost }) {
    this.address = address;
    this.onMessage = onMessage;
    this.onOpen = onOpen;
    this.onLost = onLost;
    this.session = null;
    this.pending = new Map();
    this.count = 0;
    this.wait = FIRST_WAIT;
    this.connect();
  }

  connect() {
    const socket = new WebSocket(this.address);
    this.socket = socket;
    socket.onmessage = (event) => this.take(JSON.parse(event.data));
    socket.onclose = () => {
      const wasOpen = this.session !== null;
      this.session = null;
      for (const { reject } of this.pending.values()) reject(new Disconnected("not connected"));
      this.pending.clear();
      this.tellPending();
      if (wasOpen || this.wait > FIRST_WAIT) this.onLost();
      setTimeout(() => this.connect(), this.wait * (0.75 + Math.random() / 2));
      this.wait = Math.min(this.wait * 1.6, LONGEST_WAIT);
    };
  }

  take({ panel, type, id, data }) {
    if (panel === "page" && type === "welcome") {
      this.session = data.session;
      this.wait = FIRST_WAIT;
      this.onOpen();
      return;
    }
    if (id === undefined) {
      this.onMessage(panel, type, data);
      return;
    }
    const waiting = this.pending.get(id);
    this.pending.delete(id);
    this.tellPending();
    if (!waiting) return;
    if (type === "error") waiting.reject(new Error(data.message));
    else waiting.resolve(data);
  }

  /** Say on the page how many replies are waited for: 0 when what it shows is up to date. */
  tellPending() {
    document.body.dataset.pending = this.pending.size;
  }

  get isOpen() {
    return this.session !== null && this.socket.readyState === WebSocket.OPEN;
  }

  /** Send without waiting for anything; false if there is no connection. */
  send(panel, type, data = {}) {
    if (!this.isOpen) return false;
    this.socket.send(JSON.stringify({ panel, type, data }));
    return true;
  }

  /** Send and promise the reply. */
  request(panel, type, data = {}) {
    if (!this.isOpen) return Promise.reject(new Disconnected("not connected"));
    const id = ++this.count;
    return new Promise((resolve, reject) => {
      this.pending.set(id, { resolve, reject });
      this.tellPending();
      this.socket.send(JSON.stringify({ panel, type, id, data }));
    });
  }

  /** Give a panel a file; promises what its `uploaded` returns. onProgress gets 0 … 1. */
  upload(panel, file, onProgress = () => {}) {
    return new Promise((resolve, reject) => {
      if (!this.isOpen) {
        reject(new Disconnected("not connected"));
        return;
      }
      const request = new XMLHttpRequest();
      const name = encodeURIComponent(file.name);
      request.open("POST", `upload/${this.session}/${panel}?name=${name}`);
      request.responseType = "json";
      request.upload.onprogress = (event) => onProgress(event.loaded / event.total);
      request.onload = () => {
        if (request.status === 200) resolve(request.response);
        else reject(new Error(request.response?.message ?? "the file was not taken"));
      };
      request.onerror = () => reject(new Disconnected("the file could not be sent"));
      request.send(file);
    });
  }

  /** The address of a file that a panel makes. */
  download(panel, name) {
    return `download/${this.session}/${panel}/${encodeURIComponent(name)}`;
  }
}
