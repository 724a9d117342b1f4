/** What the HTTP API says of jobs, nodes and peers (docs/openapi.json). */
export const LIVE_STATES = ["QUEUED", "INITIALIZING", "RUNNING"];
/** Whether a job has no result yet. */
export function isLive(job) {
    return LIVE_STATES.includes(job.state);
}
