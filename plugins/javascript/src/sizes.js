// A step that reads a directory of the runner, by WASI's `descriptor`: the files in it, and how long each is.

import directories from "attest:step/directories@0.1.0";
import log from "attest:step/log@0.1.0";

export function run(args) {
  try {
    if (args.length > 0) throw { code: 2, message: "no argument is known" };
    for (const { name, size } of files(directories.open("dist"))) log.write("info", `${size} ${name}`);
  } catch (error) {
    throw stepError(error);
  }
}

function files(directory) {
  const names = [];
  const stream = directory.readDirectory();
  for (let entry; (entry = stream.readDirectoryEntry()) !== null; ) {
    if (entry.type === "regular-file") names.push(entry.name);
  }
  return names.sort().map((name) => ({ name, size: directory.statAt({}, name).size }));
}

// `step-error`: of what this file throws, of what an import throws, and of a defect in this file.
function stepError({ code, message, payload, stack }) {
  if (code !== undefined) return { code, message };
  if (payload === undefined) return { code: 1, message: `${message}\n${stack}` };
  const { tag = payload, val = "" } = payload;
  return { code: 1, message: tag === "not-declared" ? `not declared. Add to step.toml:\n${val}` : `${tag}` };
}
