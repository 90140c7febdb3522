// What the step does. It knows nothing of who runs it: `host` logs and sets outputs.

const LONGEST = 64;

/** What went wrong, with an exit status. */
export class Failure extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

export function greet(args, host) {
  const [whom = "world", ...more] = args;
  if (more.length > 0) throw new Failure(2, `one name is enough, ${more.length} more were given`);
  if (whom.length > LONGEST) throw new Failure(2, `a name has at most ${LONGEST} characters`);
  const greeting = `hello, ${whom}`;
  host.info(greeting);
  host.setOutput("greeting", greeting);
}
