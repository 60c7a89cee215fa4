// A front end as the document describes it. All it knows beside is where mails can be read, because
// nobody here has a mailbox.
import createClient from "openapi-fetch";
import type { paths } from "./schema.js";

declare const process: { argv: string[] };
const [, , base] = process.argv;
const api = createClient<paths>({ baseUrl: `${base}/api/recovery` });

type Mail = { Kind: string; To: string; Token: string; Code: string };

async function lastMail(kind: string): Promise<Mail> {
  const mails: Mail[] = await (await fetch(`${base}/mailbox`)).json();
  const mail = mails.at(-1);
  if (mail?.Kind !== kind) throw new Error(`the last mail is ${mail?.Kind}, not ${kind}`);
  return mail;
}

function equal<T>(what: string, got: T, want: T) {
  if (got !== want) throw new Error(`${what}: ${got}, not ${want}`);
}

const problems = "https://example.com/recovery/problems/";
const password = "Correct-h0rse-7";

async function rules(): Promise<string[]> {
  const { data } = await api.GET("/policy");
  return data!.rules.map((rule) => rule.name);
}

// By token: a bad password tells all its reasons, and the token stays alive until it is used.
async function byToken() {
  const { response, data } = await api.POST("/resets", { body: { username: "billybob" } });
  equal("a request", response.status, 202);
  equal("the ticket's length", data!.ticket.length, 52);
  const { Token: token } = await lastMail("reset_token");

  const rejected = await api.POST("/completions", { body: { token, password: "secret" } });
  equal("a bad password", rejected.response.status, 422);
  if (rejected.error?.type !== `${problems}password`) throw new Error("no problem of passwords");
  const known = await rules();
  const reasons = rejected.error.reasons.map((reason) => reason.name);
  if (reasons.length < 2) throw new Error(`not all reasons: ${reasons}`);
  for (const reason of reasons) if (!known.includes(reason)) throw new Error(`no rule: ${reason}`);

  const done = await api.POST("/completions", { body: { token, password, username: "billybob" } });
  equal("a completion", done.response.status, 204);
  await lastMail("password_changed");
  const again = await api.POST("/completions", { body: { token, password } });
  equal("a used token", again.response.status, 410);
  equal("its type", again.error?.type, `${problems}token`);
}

// By code, with a second factor.
async function byCode() {
  const { data } = await api.POST("/resets", { body: { email: "alice@example.com", code: true } });
  const { ticket } = data!;
  const { Code: code } = await lastMail("reset_token");
  const complete = (more: { code: string; factor?: string }) =>
    api.POST("/completions", { body: { ticket, password, ...more } });

  equal("a wrong code", (await complete({ code: "BCDF-GHJK" })).response.status, 410);
  const challenged = await complete({ code });
  equal("no factor", challenged.response.status, 403);
  if (challenged.error?.type !== `${problems}challenge`) throw new Error("no challenge");
  equal("the factor", challenged.error.challenge.name, "totp");
  equal("a wrong factor", (await complete({ code, factor: "654321" })).response.status, 403);
  equal("both", (await complete({ code, factor: "123456" })).response.status, 204);
  await lastMail("password_changed");
  equal("a used code", (await complete({ code, factor: "123456" })).response.status, 410);
}

async function usernames() {
  const { response } = await api.POST("/usernames", { body: { email: "alice@example.com" } });
  equal("user names", response.status, 202);
  await lastMail("usernames");
}

// The compiler refuses what the document refuses.
async function malformed() {
  // @ts-expect-error: neither username nor email
  const { response, error } = await api.POST("/resets", { body: { code: true } });
  equal("neither name", response.status, 400);
  equal("its type", error?.type, `${problems}malformed`);
  // @ts-expect-error: a code without its ticket
  equal("no ticket", (await api.POST("/completions", { body: { code: "BCDF-GHJK", password } })).response.status, 400);
}

await byToken();
await byCode();
await usernames();
await malformed();
