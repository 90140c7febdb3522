// The same as a program of the command line, for runtimes that know nothing of attest-run: what is logged goes to
// standard error, outputs go to standard output.

import environment from "wasi:cli/environment@0.2.12";
import exit from "wasi:cli/exit@0.2.12";
import stderr from "wasi:cli/stderr@0.2.12";
import stdout from "wasi:cli/stdout@0.2.12";
import { greet } from "./greeting.js";

// This QuickJS has no TextEncoder.
const utf8 = (text) => Uint8Array.from(unescape(encodeURIComponent(text)), (byte) => byte.charCodeAt(0));
const print = (stream, line) => stream.blockingWriteAndFlush(utf8(`${line}\n`));

const host = {
  info: (message) => print(stderr.getStderr(), message),
  setOutput: (name, value) => print(stdout.getStdout(), `${name}=${value}`),
};

export const run = {
  run() {
    try {
      greet(environment.getArguments().slice(1), host);
    } catch (error) {
      print(stderr.getStderr(), `error: ${error.message}`);
      exit.exitWithCode(error.code ?? 1);
    }
  },
};
