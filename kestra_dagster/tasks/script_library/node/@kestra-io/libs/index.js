// Stands in for Kestra's package `@kestra-io/libs` where it is not installed: Node looks into
// NODE_PATH last, so an installed one comes first.
"use strict";

class Kestra {
  static format(map) {
    return `::${JSON.stringify(map)}::`;
  }

  static _send(map) {
    console.log(Kestra.format(map));
  }

  static _metrics(name, type, value, tags) {
    Kestra._send({ metrics: [{ name, type, value, tags: tags || {} }] });
  }

  static outputs(map) {
    Kestra._send({ outputs: map });
  }

  static counter(name, value, tags) {
    Kestra._metrics(name, "counter", value, tags);
  }

  static gauge(name, value, tags) {
    Kestra._metrics(name, "gauge", value, tags);
  }

  static timer(name, duration, tags) {
    if (typeof duration !== "function") {
      Kestra._metrics(name, "timer", duration, tags);
      return;
    }
    const start = process.hrtime.bigint();
    duration(() => {
      Kestra._metrics(name, "timer", Number(process.hrtime.bigint() - start) / 1e9, tags);
    });
  }

  static logger() {
    const write = (level) => (...parts) => {
      const message = parts.map((part) => (typeof part === "string" ? part : JSON.stringify(part)));
      Kestra._send({ logs: [{ level, message: message.join(" ") }] });
    };
    return {
      trace: write("TRACE"),
      debug: write("DEBUG"),
      info: write("INFO"),
      log: write("INFO"),
      warn: write("WARN"),
      error: write("ERROR"),
    };
  }
}

module.exports = Kestra;
module.exports.default = Kestra;
