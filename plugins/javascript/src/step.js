// The step: `run` of the contract, and what the contract has of the host.

import log from "attest:step/log@0.1.0";
import outputs from "attest:step/outputs@0.1.0";
import { Failure, greet } from "./greeting.js";

const host = {
  info: (message) => log.write("info", message),
  setOutput(name, value) {
    try {
      outputs.set(name, value);
    } catch (error) {
      throw new Failure(1, `output \`${name}\`: ${outputError(error.payload)}`);
    }
  },
};

// An import that returns a `result` throws, with its error as `payload`: here the variant `output-error`.
function outputError({ tag, val }) {
  switch (tag) {
    case "not-declared":
      return `not declared. Add to step.toml:\n${val}`;
    case "set-already":
      return "has been set before";
    case "too-long":
      return `longer than ${val} bytes`;
    default:
      return tag;
  }
}

// An export that returns a `result` throws its error: here the record `step-error`, with plain members. Anything else
// that is thrown ends the component by a trap, which says nothing: hence the last resort.
export function run(args) {
  try {
    greet(args, host);
  } catch (error) {
    if (error instanceof Failure) throw { code: error.code, message: error.message };
    throw { code: 1, message: `${error}\n${error?.stack ?? ""}` };
  }
}
