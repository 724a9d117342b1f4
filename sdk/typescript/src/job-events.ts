/** The events of jobs. After a lost connection the client reconnects. */

import { unbase64 } from "./bytes.js";
import { ProblemError, UnreachableError } from "./errors.js";
import { readEvents, type ServerEvent } from "./event-stream.js";
import { pause, type Http } from "./http.js";
import type { Connection, Job, JobChange, JobEvent } from "./jobs.js";

const FIRST_PAUSE_S = 0.25, EVENT_IDLE_S = 90, LONGEST_PAUSE_S = 10;

/** Follow a job until its end. Throws: `ProblemError` if there is no such job; the signal's reason. */
export async function* followJob(http: Http, jobId: string, signal: AbortSignal): AsyncGenerator<JobEvent> {
  for await (const event of stream(http, `/v1/jobs/${jobId}/events`, signal)) {
    const told = "event" in event ? eventOf(event.event, event.data) : event;
    if (told === undefined) continue;
    yield told;
    if (told.type === "end") return;
  }
}

/** Follow all jobs of a token. Does not end by itself. Throws: as `followJob`. */
export async function* followJobs(http: Http, signal: AbortSignal): AsyncGenerator<JobChange> {
  for await (const event of stream(http, "/v1/events", signal)) {
    if (!("event" in event)) yield event;
    else if (event.event === "job") yield { type: "status", job: JSON.parse(event.data) as Job };
  }
}

/** Read a stream of events, and reconnect when the connection is lost. */
async function* stream(http: Http, path: string, outer: AbortSignal): AsyncGenerator<ServerEvent | Connection> {
  let last: string | undefined;
  for (let wait = FIRST_PAUSE_S; ; wait = Math.min(2 * wait, LONGEST_PAUSE_S)) {
    let problem: Error = new UnreachableError("the stream ended before the job");
    const idle = new AbortController(), signal = AbortSignal.any([outer, idle.signal]);
    let timer = setTimeout(() => idle.abort(), 1000 * EVENT_IDLE_S);
    const heard = (): void => {
      clearTimeout(timer);
      timer = setTimeout(() => idle.abort(), 1000 * EVENT_IDLE_S);
    };
    try {
      const response = await http.send(path, {
        headers: { Accept: "text/event-stream", ...(last === undefined ? {} : { "Last-Event-ID": last }) },
        signal, patienceS: 0,
      });
      if (response.status === 204) return;
      yield { type: "connected" };
      for await (const event of readEvents(watched(response, heard))) {
        if (event.event === "problem") {
          problem = new UnreachableError((JSON.parse(event.data) as { detail?: string }).detail ?? "the server had a problem");
          continue;
        }
        if (event.id !== "") last = event.id;
        wait = FIRST_PAUSE_S;
        yield event;
      }
    } catch (error) {
      outer.throwIfAborted();
      if (error instanceof ProblemError && error.status < 500 && error.status !== 429 && error.status !== 408) throw error;
      if (error instanceof Error) problem = error;
    } finally {
      clearTimeout(timer);
    }
    yield { type: "reconnect", problem };
    await pause(wait, outer);
  }
}

function watched(response: Response, heard: () => void): ReadableStream<Uint8Array> {
  const { body } = response;
  if (body === null) throw new UnreachableError("the event stream is empty");
  return body.pipeThrough(
    new TransformStream<Uint8Array, Uint8Array>({
      transform(chunk, controller) {
        heard();
        controller.enqueue(chunk);
      },
    }),
  );
}

function eventOf(name: string, data: string): JobEvent | undefined {
  const value = JSON.parse(data) as never;
  if (name === "status" || name === "end") return { type: name, job: value };
  if (name === "restart") return { type: name, attempt: Number((value as { attempt?: number }).attempt ?? value) };
  if (name !== "output") return undefined;
  const { stream, attempt, offset, data: text } = value as { stream: "stdout" | "stderr"; attempt: number; offset: number; data: string };
  return { type: "output", stream, attempt, offset, data: unbase64(text) };
}
