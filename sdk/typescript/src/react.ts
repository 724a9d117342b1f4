/** A hook for React 18 or newer: `useJob`. */

import { useMemo, useSyncExternalStore } from "react";
import type { PlasmClient } from "./client.js";
import { JobFollower, type Followed } from "./job-follower.js";

/** Follow a job while the component is mounted: its state, its output as it comes, and its verified result. */
export function useJob(client: PlasmClient, jobId: string): Followed {
  const follower = useMemo(() => new JobFollower(client, jobId), [client, jobId]);
  return useSyncExternalStore(follower.subscribe, follower.snapshot, follower.snapshot);
}
