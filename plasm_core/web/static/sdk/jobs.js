/** Jobs, nodes and peers as the HTTP API shows them (docs/openapi.json). */
export const LIVE_STATES = ["QUEUED", "INITIALIZING", "RUNNING"];
/** Whether a job has no result yet. */
export function isLive(job) {
    return LIVE_STATES.includes(job.state);
}
