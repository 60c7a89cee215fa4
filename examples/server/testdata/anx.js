// Makes each call that standard input has on a line of JSON, with anx-api, and writes a line of what
// the client made of the answer.
const { AnxApi, statusOk } = require("anx-api");
const readline = require("node:readline");

// With rateLimiting the client would wait until a limit is over, and call again.
const api = new AnxApi({ target: process.argv[2], rateLimiting: false });

async function make({ method, body }) {
  try {
    const answer = await api[method]("account-recovery", { "account-recovery": body });
    return { ok: statusOk(answer.body), status: answer.statusCode };
  } catch (e) {
    const { name: error, statusCode: status, id, code, message, description, retryAfter } = e;
    return { error, status, id, code, message, description, retryAfter };
  }
}

(async () => {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    console.log(JSON.stringify(await make(JSON.parse(line))));
  }
})();
