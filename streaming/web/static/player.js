// Plays the growing stream: fragments of one long response, through Media Source Extensions.

const KEPT_SECONDS = 90; // of played video, for seeking back
const FAR_BEHIND = 6; // seconds of lead from which the video jumps to the newest

export class Player {
  #video;
  #report;
  #abort = null;
  #following = true;
  #jumping = false;
  #url;
  #timer;
  speed = 1; // of the generation, relative to real time

  // `report` is called with "playing", "ended", "lost" or "unplayable".
  constructor(video, url, report) {
    this.#video = video;
    this.#url = url;
    this.#report = report;
    video.addEventListener("seeking", () => {
      if (!this.#jumping) this.#following = this.#lead() < 3;
      this.#jumping = false;
    });
    this.#timer = setInterval(() => this.#keepUp(), 200);
  }

  get following() {
    return this.#following;
  }

  get time() {
    return this.#video.currentTime;
  }

  stop() {
    this.#abort?.abort();
    this.#abort = null;
  }

  // Stop, never to start again.
  close() {
    this.stop();
    clearInterval(this.#timer);
  }

  async play(mime) {
    this.stop();
    if (!(window.ManagedMediaSource ?? window.MediaSource)?.isTypeSupported(mime)) {
      this.#report("unplayable");
      return;
    }
    const abort = (this.#abort = new AbortController());
    this.#following = true;
    try {
      const [source, buffer] = await this.#open(mime);
      const response = await fetch(this.#url, { signal: abort.signal, cache: "no-store" });
      if (!response.ok) throw new Error(`status ${response.status}`);
      const reader = response.body.getReader();
      let begun = false;
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        await this.#append(buffer, value);
        if (!begun && this.#video.buffered.length) {
          begun = true;
          this.#jump(this.#video.buffered.start(0));
          this.#video.play().catch(() => {});
          this.#report("playing");
        }
      }
      if (source.readyState === "open") source.endOfStream();
      this.#report("ended");
    } catch {
      if (this.#abort === abort) this.#report("lost");
    }
  }

  // Whether a time is there to be played.
  has(time) {
    const { buffered } = this.#video;
    for (let i = 0; i < buffered.length; i++) {
      if (time >= buffered.start(i) - 0.05 && time < buffered.end(i)) return true;
    }
    return false;
  }

  // Play from a time, as far as it is there; the newest moments are followed again.
  seek(time) {
    const { buffered } = this.#video;
    if (!buffered.length) return;
    this.#video.currentTime = Math.min(Math.max(time, buffered.start(0)), this.#end() - 0.1);
  }

  follow() {
    this.#following = true;
    this.#jump(this.#end() - 0.5);
    this.#video.play().catch(() => {});
  }

  async #open(mime) {
    const source = new (window.ManagedMediaSource ?? window.MediaSource)();
    this.#video.disableRemotePlayback = true;
    this.#video.src = URL.createObjectURL(source);
    await new Promise((done) => source.addEventListener("sourceopen", done, { once: true }));
    URL.revokeObjectURL(this.#video.src);
    return [source, source.addSourceBuffer(mime)];
  }

  async #append(buffer, data) {
    const idle = () =>
      new Promise((done, failed) => {
        buffer.addEventListener("updateend", done, { once: true });
        buffer.addEventListener("error", failed, { once: true });
      });
    const old = this.#video.currentTime - KEPT_SECONDS;
    if (buffer.buffered.length && buffer.buffered.start(0) < old - 10) {
      buffer.remove(0, old);
      await idle();
    }
    try {
      buffer.appendBuffer(data);
    } catch (error) {
      if (error.name !== "QuotaExceededError") throw error;
      buffer.remove(0, Math.max(0.1, this.#video.currentTime - 5));
      await idle();
      buffer.appendBuffer(data);
    }
    await idle();
  }

  #end() {
    const ranges = this.#video.buffered;
    return ranges.length ? ranges.end(ranges.length - 1) : 0;
  }

  #lead() {
    return this.#end() - this.#video.currentTime;
  }

  #jump(time) {
    if (Math.abs(time - this.#video.currentTime) < 0.001) return;
    this.#jumping = true;
    this.#video.currentTime = time;
  }

  #keepUp() {
    const video = this.#video;
    const ranges = video.buffered;
    if (!ranges.length) return;
    const now = video.currentTime;
    let next = null; // where to continue when nothing is buffered at the current time
    for (let i = 0; i < ranges.length; i++) {
      if (now >= ranges.start(i) - 0.05 && now <= ranges.end(i) + 0.05) next = now;
      else if (next === null && ranges.start(i) > now) next = ranges.start(i);
    }
    if (next === null) next = ranges.start(ranges.length - 1);
    if (next !== now) this.#jump(next);
    if (!this.#following) {
      video.playbackRate = 1;
      return;
    }
    const lead = this.#lead();
    if (lead > FAR_BEHIND && !video.paused) this.#jump(this.#end() - 1);
    if (lead > 3.2) video.playbackRate = 1.08;
    else if (this.speed > 0 && this.speed < 1) video.playbackRate = Math.max(0.3, this.speed * 0.97);
    else video.playbackRate = 1;
  }
}
