// Run a script of `graalvm.js` once, or once a row; what it is to do stands in a file.
const fs = require("fs");
const vm = require("vm");

const asked = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
const logger = {};
for (const level of ["trace", "debug", "info", "warn", "error"]) {
  logger[level] = (message, ...values) => {
    for (const value of values) message = String(message).replace("{}", String(value));
    const said = { level: level.toUpperCase(), message: String(message) };
    console.log("::" + JSON.stringify({ logs: [said] }) + "::");
  };
}
const known = vm.createContext({ ...asked.variables, logger, console });
const script = new vm.Script(asked.script, { filename: "script" });

function run() {
  if (asked.source === null) {
    let found = script.runInContext(known);
    if (typeof found === "function") found = found();
    const place = found !== null && typeof found === "object" ? found : known;
    const named = asked.outputs.map((name) => [name, place[name] ?? null]);
    fs.writeFileSync(asked.target, JSON.stringify(Object.fromEntries(named)));
  } else {
    const out = fs.openSync(asked.target, "w");
    for (const line of fs.readFileSync(asked.source, "utf8").split("\n")) {
      if (line === "") continue;
      known.row = JSON.parse(line);
      known.rows = null;
      script.runInContext(known);
      for (const row of known.rows ?? [known.row]) {
        if (row !== null && row !== undefined) fs.writeSync(out, JSON.stringify(row) + "\n");
      }
    }
    fs.closeSync(out);
  }
}

try {
  run();
} catch (error) {
  console.error(error instanceof Error || error?.stack ? error.stack : String(error));
  console.error(String(error));
  process.exitCode = 1;
}
